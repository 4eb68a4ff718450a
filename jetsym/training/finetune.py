"""Fine-tuning of a trained tagger on other jets: its weights, a new last layer, and what stays frozen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase

from torch import nn

from jetsym.errors import ConfigError, closest
from jetsym.jets import checkpoint
from jetsym.jets.models import Tagger
from jetsym.jets.models.registry import build, name_of
from jetsym.training.config import TrainConfig
from jetsym.training.engine import is_first_process

__all__ = ["adopt", "freeze", "starting_point"]

BACKBONE = "backbone"


def starting_point(config: TrainConfig, given: Tagger | None = None) -> tuple[TrainConfig, Tagger | None]:
    """Load the tagger that a run begins from, if any; return the configuration with its model and options, and it.

    ``given`` is one that was made already, whose weights it begins from.

    Raises
    ------
    CheckpointError
        ``config.init`` cannot be loaded.
    ConfigError
        Another model was asked for, or the options do not go with it.
    """
    if config.init is None:
        return config, given
    if given is not None:
        raise ConfigError(f"model is a network with weights, and --init is {config.init!r}; expected one of the two")
    source = checkpoint.load(config.init)
    name = name_of(source)
    if config.model not in (TrainConfig.model, name):  # the default cannot be told from a wish for it
        raise ConfigError(f"--model is {config.model!r}, but --init {config.init} holds a {name!r}; leave --model out")
    if config.fold is not None and source.held_out not in (None, (config.fold, config.fold_by)):
        raise ConfigError(
            f"--fold is {config.fold!r} by {config.fold_by!r}, with jets to validate on that --init {config.init} was "
            f"trained on: its training has held out {' by '.join(source.held_out or ())}; hold out the same"
        )
    if config.fold is None and source.held_out is not None and is_first_process():
        fold, column = source.held_out
        print(
            f"note: --init {config.init} was trained on jets of all folds but {fold} by {column!r}; without --fold "
            f"this run may validate on them: --fold {fold} --fold_by {column} holds out the same",
            file=sys.stderr,
            flush=True,
        )
    resolved = replace(config, model=name, options=asdict(source.config) | config.options)
    return resolved, source


def adopt(tagger: Tagger, source: Tagger) -> list[str]:
    """Copy the weights of another tagger; where the classes are others, all but those of the last layer.

    Returns
    -------
    list of str
        Names of the weights that begin anew.

    Raises
    ------
    ConfigError
        The two differ in more than their classes.
    """
    theirs, own = source.state_dict(), tagger.state_dict()
    anew = [] if tagger.classes == source.classes else _of_the_classes(tagger)
    for name in sorted((own.keys() | theirs.keys()) - set(anew)):
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (own, theirs)]
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"the weights of --init do not fit --options: {name!r} is {shapes[1]} there and {shapes[0]} here; "
                "change only options without weights, such as dropout"
            )
    tagger.load_state_dict(own | {name: tensor for name, tensor in theirs.items() if name not in anew})
    return anew


def freeze(tagger: Tagger, patterns: Sequence[str]) -> list[nn.Module]:
    """Exclude weights from training, by the names of blocks or weights, which may have wildcards.

    Returns
    -------
    list of Module
        Layers all of whose own weights are frozen; in training they are to be kept in evaluation mode, lest their
        running statistics move.

    Raises
    ------
    ConfigError
        A pattern fits nothing, or nothing is left to be trained.

    Examples
    --------
    >>> model = build("pointnet", width=8, heads=2)
    >>> len(freeze(model, ["backbone"])), [name for name, weight in model.named_parameters() if weight.requires_grad][0]
    (20, 'head.0.weight')
    """
    names = [name for name, _ in tagger.named_parameters()]
    for pattern in patterns:
        if pattern != BACKBONE and not any(_fits(name, pattern) for name in names):
            children = [BACKBONE, *(name for name, _ in tagger.named_children())]
            raise ConfigError(
                f"--freeze names {pattern!r}, which the model does not have; {closest(pattern, children)}"
            )
    for name, weight in tagger.named_parameters():
        if any(_fits(name, pattern) for pattern in patterns):
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in tagger.parameters()):
        raise ConfigError(f"--freeze is {list(patterns)}, which leaves nothing to be trained")
    own = [(layer, list(layer.parameters(recurse=False))) for layer in tagger.modules()]
    return [layer for layer, weights in own if weights and not any(weight.requires_grad for weight in weights)]


def _fits(name: str, pattern: str) -> bool:
    if pattern == BACKBONE:
        return "head" not in name.split(".")  # also that of a tagger inside another
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _of_the_classes(tagger: Tagger) -> list[str]:
    """Return the names of the weights whose shapes depend on the number of classes."""
    wider = build(name_of(tagger), (*tagger.classes, "one more"), **asdict(tagger.config)).state_dict()
    return [name for name, tensor in tagger.state_dict().items() if tensor.shape != wider[name].shape]
