"""How weights follow their gradients: optimizer, learning rate, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from jetsym.training.config import TrainConfig

__all__ = ["learning_rate", "load_optimizer", "make_optimizer", "optimizer_tensors", "set_rate"]

_OPTIMIZER = "optimizer."  # prefix of the optimizer's tensors in a checkpoint


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays weight matrices, not biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to zero at the end."""
    warm_steps = max(1, round(config.warmup * total_steps))
    if step < warm_steps:
        return config.lr * (step + 1) / warm_steps
    share = (step - warm_steps) / max(1, total_steps - warm_steps)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * share))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named ``optimizer.<parameter number>.<quantity>``."""
    state = optimizer.state_dict()["state"]
    return {f"{_OPTIMIZER}{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of :func:`optimizer_tensors`; tensors of other names are left alone."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            number, name = key.removeprefix(_OPTIMIZER).split(".")
            state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
