"""Device, processes and precision of a run, through Lightning Fabric."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from jetsym.errors import ConfigError, JetsymError
from jetsym.locks import locked
from jetsym.ranks import started
from jetsym.training.config import TrainConfig

__all__ = ["is_first_process", "locked_by_first", "make_fabric", "total"]


def make_fabric(config: TrainConfig) -> Fabric:
    """Set up devices, the processes that drive them, and a precision that leaves the model's JetBatches as they are.

    Under torchrun and SLURM's srun this process is one of those that they have started; otherwise Lightning starts this
    program again for every further device.

    Raises
    ------
    ConfigError
        The devices are not there.
    """
    accelerator = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no CUDA device; use --device cpu or auto")
    devices, nodes = started()
    devices, nodes = config.devices or devices, config.num_nodes or nodes
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(f"--devices is {devices}, but torch finds {torch.cuda.device_count()} CUDA devices")
    if devices * nodes > 1 and hasattr(sys, "ps1"):
        raise ConfigError(f"--devices is {devices}; a notebook or a prompt can train on one only: use a program")
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    plugin = _Float32() if precision == "32-true" else _Mixed(precision, device=accelerator)
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, plugins=[plugin])
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Tell whether this is the process that prints and writes, of those that :func:`make_fabric` knows of."""
    return not rank_zero_only.rank  # type: ignore[attr-defined]


@contextmanager
def locked_by_first(fabric: Fabric, folder: Path, purpose: str) -> Iterator[None]:
    """Hold the lock of a folder in the first process, see :func:`jetsym.locks.locked`; without it all of them end.

    Raises
    ------
    LockedError
        A process of another run holds the lock.
    """
    refused: Exception | None = None
    with ExitStack() as stack:
        if fabric.is_global_zero:
            try:
                stack.enter_context(locked(folder, purpose))
            except (JetsymError, OSError) as error:
                refused = error
        refused = fabric.broadcast(refused)
        if refused is not None:
            raise refused
        yield


def total(fabric: Fabric, value: float) -> float:
    """Sum a number over all processes, in each of them."""
    if fabric.world_size == 1:
        return value
    summed = fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=fabric.device), reduce_op="sum")
    assert isinstance(summed, Tensor)
    return float(summed)


class _Untouched:
    """Inputs as they are: Fabric casts those of a model to its precision; momenta must not be rounded to 16 bits."""

    def convert_input(self, data: Any) -> Any:
        return data


class _Float32(_Untouched, Precision):
    precision = "32-true"


class _Mixed(_Untouched, MixedPrecision):
    pass
