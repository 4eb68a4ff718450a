"""Optimizer, learning rate, and the moving average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jetsym.errors import ConfigError, closest, require
from jetsym.jets.batch import JetBatch
from jetsym.training.config import OptimizerName, TrainConfig
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

#: Prefix of the optimizer's tensors in a checkpoint, and of a group's number there.
_OPTIMIZER, _GROUP = "optimizer.", "group"

#: Steps that an optimizer has done, where it keeps them for a group of parameters.
_COUNTS = ("step", "step_counter")

#: Name of an optimizer -> its class, of torch or else of pytorch-optimizer, and what is not its default.
_OPTIMIZERS: dict[OptimizerName, tuple[str, dict[str, Any]]] = {
    "adamw": ("AdamW", {}),
    "adam": ("Adam", {}),
    "lion": ("Lion", {}),
    "ranger": ("Ranger", {"use_gc": False, "degenerated_to_sgd": True}),  # as weaver-core's
}


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimizer of what is not frozen; it decays weight matrices, not biases and norms.

    Raises
    ------
    MissingDependencyError
        It is Lion or Ranger, and the extra ``optimizers`` is not installed.
    """
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in free if parameter.ndim >= 2]
    others = [parameter for parameter in free if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    maker, options = _OPTIMIZERS[config.optimizer]
    library: Any = torch.optim
    if not hasattr(library, maker):
        library = require("pytorch_optimizer", extra="optimizers", purpose=f"--optimizer {config.optimizer}")
    made: torch.optim.Optimizer = getattr(library, maker)(groups, lr=config.lr, **options)
    return made


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Compute the rate of a step: a linear warm-up, and what the schedule makes of the steps after it.

    With t the fraction of those after the warm-up that are done, and lr the largest rate:

    - "cosine": lr (1 + cos πt)/2, down to zero at the end;
    - "flat": lr;
    - "flat+decay": lr, and in the last n = ⌊0.3 epochs⌋ epochs, one at least, lr · 0.01^(k/n) in the k-th of them,
      which is weaver-core's default;
    - "one-cycle": of T steps half a cosine from lr/25 up to lr at step 0.3 T − 1, without a warm-up of its own, and
      half a cosine down to lr/250,000 at the last (L. N. Smith and N. Topin, arXiv:1708.07120, as torch has it).
    """
    if config.schedule == "one-cycle":
        return config.lr * _one_cycle(step, total_steps)
    warm_steps = max(1, round(config.warmup * total_steps))
    if step < warm_steps:
        return config.lr * (step + 1) / warm_steps
    if config.schedule == "cosine":
        past = (step - warm_steps) / max(1, total_steps - warm_steps)
        return config.lr * 0.5 * (1.0 + math.cos(math.pi * past))
    if config.schedule == "flat+decay":
        falling = max(1, int(0.3 * config.epochs))
        epoch = step * config.epochs // total_steps
        return config.lr * math.pow(0.01, max(0, epoch + 1 + falling - config.epochs) / falling)
    return config.lr


def _one_cycle(step: int, total_steps: int) -> float:
    """Return the rate of a step over the largest one."""
    top, last = 0.3 * total_steps - 1, total_steps - 1
    begin, end, past = (1 / 25, 1.0, step / top) if step <= top else (1.0, 4e-6, (step - top) / (last - top))
    return end + (begin - end) * 0.5 * (1.0 + math.cos(math.pi * min(past, 1.0)))


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
    """Return the optimizer's state as tensors named ``optimizer.<parameter number>.<quantity>``.

    Steps that are counted for a group of parameters are named ``optimizer.group<number>.<quantity>``.
    """
    found = optimizer.state_dict()
    tensors = {f"{number}.{name}": value for number, values in found["state"].items() for name, value in values.items()}
    for number, group in enumerate(found["param_groups"]):
        counts = {name: torch.tensor(group[name]) for name in _COUNTS if name in group}
        tensors |= {f"{_GROUP}{number}.{name}": count for name, count in counts.items()}
    return {_OPTIMIZER + name: tensor for name, tensor in tensors.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the optimizer's state, the inverse of :func:`optimizer_tensors`; tensors of other names are ignored."""
    own = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            number, name = key.removeprefix(_OPTIMIZER).split(".")
            if number.startswith(_GROUP):
                own["param_groups"][int(number.removeprefix(_GROUP))][name] = int(tensor)
            else:
                state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(own | {"state": state})
