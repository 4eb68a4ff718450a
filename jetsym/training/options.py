"""The options of a training by name: for type checkers, and for the signature and the help of functions that take them.

What they mean, their defaults and what is refused are those of :class:`~jetsym.training.config.TrainConfig`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from torch import nn

from jetsym.errors import ConfigError
from jetsym.jets.io.block import BadJets
from jetsym.jets.models import Tagger
from jetsym.jets.models.own import given_tagger, own_tagger
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.jets.targets import Loss
from jetsym.training.config import LoggerName, OptimizerName, Precision, Schedule, TrainConfig
from jetsym.training.penalty import PenaltyConfig

__all__ = ["TrainOptions", "with_named_model", "with_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: The field of a configuration that functions take by place.
DATA = "data"


class TrainOptions(TypedDict, total=False):
    """The fields of :class:`~jetsym.training.config.TrainConfig` but the data, as functions take them."""

    val: str | list[str] | None
    model: str | nn.Module | type[nn.Module]
    options: dict[str, Any]
    augmentation: AugmentationConfig | Mapping[str, Any]
    penalty: PenaltyConfig | Mapping[str, Any]
    epochs: int
    batch_size: int
    accumulate: int
    optimizer: OptimizerName
    schedule: Schedule
    lr: float
    weight_decay: float
    warmup: float
    clip: float
    label_smoothing: float
    class_weights: Literal["none", "balanced"] | dict[str, float]
    weights: str | None
    target: str | None
    loss: Loss
    target_scale: list[float] | None
    ema: float
    patience: int | None
    init: str | None
    freeze: list[str]
    max_particles: int
    limit: int | None
    stream: bool
    cache: str | None
    buffer: int | None
    samples_per_epoch: int | None
    fold: str | None
    fold_by: str
    scratch: str | None
    scratch_size: str | int | None
    logger: LoggerName | None
    log_every: int
    monitor_every: int
    monitor_jets: int
    checkpoint_every: int
    max_skipped: int
    mapping: str | None
    tree: str | None
    vectors: str | None
    standardisation: dict[str, dict[str, list[float]]] | None
    bad_jets: BadJets
    skip_bad: bool
    other_jets: bool
    seed: int
    device: str
    devices: int | None
    num_nodes: int | None
    precision: Precision
    compile: bool


def with_named_model(options: TrainOptions) -> tuple[dict[str, Any], Tagger | None]:
    """Return options whose model is a name, and the tagger with its weights where it was given as one.

    Raises
    ------
    ConfigError
        It is no network that can be trained, or options of it are given as well.
    """
    named: dict[str, Any] = dict(options)
    model = named.get("model", "")
    if isinstance(model, str):
        return named, None
    given = given_tagger(model) if isinstance(model, nn.Module) else None
    tagger = own_tagger(model) if given is None else type(given)
    if given is not None and named.get("options"):
        raise ConfigError(f"options are {named['options']}, and model has been made already; make it with these")
    own = {} if given is None else {"options": asdict(given.config)}
    return named | {"model": tagger.name} | own, given


def with_options(function: _Function) -> _Function:
    """Show the options of a training in the signature and the help of a function that takes them as ``**fields``."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters = [*own, *_parameters()]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    head, entry, tail = inspect.cleandoc(function.__doc__ or "").partition("\nfields\n")
    if entry:  # which python -OO has taken away
        function.__doc__ = "\n".join([head, _described(), "", tail.partition("\n\n")[2]])
    return function


def _parameters() -> list[inspect.Parameter]:
    """Return the fields as parameters by name, with their defaults."""
    hints, found = get_type_hints(TrainConfig), []
    for one in fields(TrainConfig):
        if one.name != DATA:
            default = one.default if one.default_factory is MISSING else one.default_factory()
            kind = inspect.Parameter.KEYWORD_ONLY
            found.append(inspect.Parameter(one.name, kind, default=default, annotation=hints[one.name]))
    return found


def _described() -> str:
    """Return what the docstring of the configuration says of its fields, in the form of NumPy."""
    words = inspect.cleandoc(TrainConfig.__doc__ or "").partition("Parameters\n----------\n")[2]
    described = words.partition("\n\n")[0]
    return described[described.index("\nval\n") + 1 :]
