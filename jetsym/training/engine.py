"""Where a run computes: device, processes and precision, through Lightning Fabric."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from jetsym.errors import ConfigError
from jetsym.training.config import TrainConfig

__all__ = ["make_fabric", "total"]


def make_fabric(config: TrainConfig) -> Fabric:
    """One device, and a precision in which JetBatches go to the model as they are.

    Raises
    ------
    ConfigError
        The device is not there.
    """
    accelerator = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no CUDA device; use --device cpu or auto")
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    plugin = _Float32() if precision == "32-true" else _Mixed(precision, device=accelerator)
    return Fabric(accelerator=accelerator, devices=1, plugins=[plugin])


def total(fabric: Fabric, *values: float) -> list[float]:
    """The sums of numbers over all processes, in each of them."""
    if fabric.world_size == 1:
        return list(values)
    summed = fabric.all_reduce(torch.tensor(values, dtype=torch.float64, device=fabric.device), reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed.tolist()


class _Untouched:
    """Fabric casts the inputs of a model to its precision; momenta must not be rounded to 16 bits."""

    def convert_input(self, data: Any) -> Any:
        return data


class _Float32(_Untouched, Precision):
    precision = "32-true"


class _Mixed(_Untouched, MixedPrecision):
    pass
