"""Device, processes and precision of a run, through Lightning Fabric."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from jetsym.errors import ConfigError, JetsymError, TrainingError
from jetsym.launch import launched
from jetsym.locks import locked
from jetsym.ranks import started
from jetsym.training.config import TrainConfig

__all__ = ["is_first_process", "locked_by_first", "make_fabric", "total"]

#: Variable of the environment: seconds that a process waits for the others before it says that one stands still.
PATIENCE = "JETSYM_PATIENCE"
#: Seconds in which a process whose parent is gone may save its state.
_GRACE = 60.0
#: What torch says of processes that it does not reach.
_LOST = re.compile(r"gloo|NCCL|Dist\w*Error|[Cc]onnection (closed|reset|refused)|[Tt]imed out|process group")


def make_fabric(config: TrainConfig) -> Fabric:
    """Set up devices, the processes that drive them, and a precision that leaves the model's JetBatches as they are.

    Under torchrun and SLURM's srun this process is one of those that they have started; otherwise Lightning starts this
    program again for every further device.

    Raises
    ------
    ConfigError
        The devices are not there, they are not as many as processes have been started, or these do not meet.
    """
    accelerator = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no CUDA device; use --device cpu or auto")
    devices, nodes = _counted(config)
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(
            f"--devices is {devices}, but torch finds {torch.cuda.device_count()} CUDA devices; under SLURM every "
            "process has to see all of its node: ask for --gpus-per-node, without --gpus-per-task and --gpu-bind"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    plugin = _Float32() if precision == "32-true" else _Mixed(precision, device=accelerator)
    strategy = DDPStrategy(timeout=timedelta(seconds=_patience())) if devices * nodes > 1 else "auto"
    if "TORCHELASTIC_RUN_ID" in os.environ or (devices > 1 and os.environ.get("LOCAL_RANK", "0") != "0"):
        _end_with_parent()
    return launched(accelerator=accelerator, devices=devices, num_nodes=nodes, plugins=[plugin], strategy=strategy)


def _counted(config: TrainConfig) -> tuple[int, int]:
    """Return processes per node, and nodes."""
    given = local, everywhere = started()
    devices, nodes = config.devices or local, config.num_nodes or everywhere
    if given not in {(1, 1), (devices, nodes)}:
        raise ConfigError(
            f"--devices is {devices} and --num_nodes is {nodes}, but torchrun or srun has started {local} processes on "
            f"each of {everywhere} nodes; leave out what differs"
        )
    if devices * nodes > 1 and hasattr(sys, "ps1"):
        raise ConfigError(f"--devices is {devices}; a notebook or a prompt can train on one only: use a program")
    return devices, nodes


def _patience() -> float:
    """Return the seconds that processes wait for each other; see :data:`PATIENCE`."""
    said = os.environ.get(PATIENCE, "1800")
    if not said.isdecimal() or int(said) < 1:
        raise ConfigError(f"{PATIENCE} is {said!r}; expected the seconds that processes wait for each other, as 1800")
    return float(said)


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
        with _told_of_others(fabric):
            yield


@contextmanager
def _told_of_others(fabric: Fabric) -> Iterator[None]:
    """Say in one line that another process of the run has ended, or stands still, where torch tells of its sockets.

    Raises
    ------
    TrainingError
        One has.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not _LOST.search(f"{type(error).__name__} {error}"):
            raise
        raise TrainingError(
            f"process {fabric.global_rank} of {fabric.world_size} does not hear from the others: one has ended, or "
            f"stands still ({' '.join(str(error).split())[:160]}); look for its own error, and go on with --resume"
        ) from error


def _end_with_parent() -> None:
    """Let a process that another one has started end when that one is gone, as nobody would end it any more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)  # to save the last step; a process that waits for others never comes to it
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


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
