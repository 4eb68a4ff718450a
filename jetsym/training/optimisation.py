"""Optimizer, learning rate, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jetsym.errors import ConfigError, closest
from jetsym.jets.batch import JetBatch
from jetsym.training.config import TrainConfig
from jetsym.training.weights import WeighedStream, sums_of_classes

__all__ = [
    "class_weights",
    "learning_rate",
    "load_optimizer",
    "make_average",
    "make_optimizer",
    "optimizer_tensors",
    "set_rate",
]

_OPTIMIZER = "optimizer."  # prefix of the optimizer's tensors in a checkpoint


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Make AdamW for what is not frozen; it decays weight matrices, not biases and norms."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in free if parameter.ndim >= 2]
    others = [parameter for parameter in free if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Compute the rate of a step: a linear warm-up, then half a cosine down to zero at the end."""
    warm_steps = max(1, round(config.warmup * total_steps))
    if step < warm_steps:
        return config.lr * (step + 1) / warm_steps
    past = (step - warm_steps) / max(1, total_steps - warm_steps)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * past))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Copy the model for the exponential moving average of its weights, updated by its ``update_parameters``.

    The n-th update moves it by 1 − min(decay, (1 + n)/(10 + n)), so that the first weights are soon forgotten.
    """

    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, weights, updates)

    return AveragedModel(model, multi_avg_fn=update)  # type: ignore[arg-type]


def class_weights(config: TrainConfig, classes: tuple[str, ...], jets: JetBatch | WeighedStream) -> Tensor | None:
    """Return the factor (classes,) of the loss of a jet of each class, or None where all count alike.

    "balanced" gives every class that is there the same total weight, and jets a mean weight of 1: n/(k n_c) for n_c of
    n jets in one of k classes. Where jets have weights themselves, sums of these stand for numbers of jets. Of a stream
    the jets of all files count, as far as their labels tell.

    Raises
    ------
    ConfigError
        A class is not one of the jets', or its weights sum to less than 0.
    """
    if config.class_weights == "none":
        return None
    if isinstance(config.class_weights, str):
        sums = torch.from_numpy(sums_of_classes(jets))
        if bool((sums < 0).any()):
            number = int(sums.argmin())
            raise ConfigError(
                f"--class_weights is 'balanced', and the weights of the jets of {classes[number]!r} sum to "
                f"{float(sums[number]):.4g}; expected more than 0: give a weight per class"
            )
        return torch.where(sums > 0, sums.sum() / (sums.count_nonzero() * sums), 0.0).float()
    for name in config.class_weights:
        if name not in classes:
            raise ConfigError(
                f"--class_weights names a class {name!r} that the jets do not have; {closest(name, classes)}"
            )
    return torch.tensor([config.class_weights.get(name, 1.0) for name in classes])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named ``optimizer.<parameter number>.<quantity>``."""
    state = optimizer.state_dict()["state"]
    return {f"{_OPTIMIZER}{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the optimizer's state, the inverse of :func:`optimizer_tensors`; tensors of other names are ignored."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            number, name = key.removeprefix(_OPTIMIZER).split(".")
            state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
