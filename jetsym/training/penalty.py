"""Symmetry penalties of a training run, from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jetsym.arguments import anything, at_least, checked
from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.symmetry import GroupName
from jetsym.training.nested import nested

__all__ = ["PenaltyConfig", "penalties_of"]


@checked(ConfigError, "--penalty.", weight=at_least(0), moves=anything)
@dataclass(frozen=True)
class PenaltyConfig:
    """Configuration of a term in the loss for symmetries that the logits lack; see :mod:`jetsym.remedies.penalty`.

    Parameters
    ----------
    weight
        Weight of the penalty, which is in units of logits squared; 0 for none.
    moves
        Random transformations: the logits of each jet are compared in two positions. For a rotation group the mean of
        the penalty is A² of a probe.
    against
        ``moved`` compares two random positions; ``input`` a random one with the jet as it is shown.
    generators
        In place of moves, some of J_x, J_y, J_z, K_x, K_y, K_z: the slopes of the logits along them.
    axes
        Axes of the generators: ``beam`` for x, y, z of the lab, ``jet`` for those along each jet.

    Raises
    ------
    ConfigError
        A value cannot be used, or there is a weight and nothing to weigh, or the other way round.

    Examples
    --------
    >>> PenaltyConfig(weight=0.1)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: penalty.weight is 0.1, but there is nothing to weigh; set either penalty.moves.group or \
penalty.generators
    """

    weight: float = 0.0
    moves: AugmentationConfig = field(default_factory=AugmentationConfig)
    against: Literal["moved", "input"] = "moved"
    generators: list[str] = field(default_factory=list)
    axes: Literal["beam", "jet"] = "beam"

    def __post_init__(self) -> None:
        moves = nested("penalty.moves", AugmentationConfig, self.moves, example={"group": GroupName.O3})
        object.__setattr__(self, "moves", moves)
        by_moves, by_generators = self.moves.symmetry is not None, bool(self.generators)
        if by_moves and by_generators:
            raise ConfigError("penalty.moves and penalty.generators were both given; choose one")
        if bool(self.weight) != (by_moves or by_generators):
            wanted = "there is nothing to weigh; set either penalty.moves.group or penalty.generators"
            if not self.weight:
                wanted = "a penalty was asked for; give it a weight above 0, such as 0.1"
            raise ConfigError(f"penalty.weight is {self.weight}, but {wanted}")
        penalties_of(self)


def penalties_of(config: PenaltyConfig) -> list[Callable[[nn.Module, JetBatch, torch.Generator], Tensor]]:
    """Return the terms to add to the loss: one, or none."""
    from jetsym.remedies.penalty import GeneratorPenalty, TransformationPenalty

    penalty: Any
    if config.generators:
        penalty = GeneratorPenalty(tuple(config.generators), axes=config.axes)
    else:
        penalty = TransformationPenalty(partial(two_positions, config=config))
    return [lambda model, jets, generator: config.weight * penalty(model, jets, generator)] if config.weight else []


def two_positions(batch: JetBatch, generator: torch.Generator | None, *, config: PenaltyConfig) -> JetBatch:
    """Return 2B jets: each as it is or moved at random, and then each moved at random.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> config = PenaltyConfig(weight=1.0, moves={"group": "SO2"}, against="input")
    >>> both = two_positions(batch, torch.Generator().manual_seed(0), config=config)
    >>> both.p4[0, 0], both.p4[1, 0, 3]  # rotated about the beam
    (tensor([5., 3., 0., 4.]), tensor(4.))
    """
    first = augment(batch, config.moves, generator=generator) if config.against == "moved" else batch
    return JetBatch.concatenate([first, augment(batch, config.moves, generator=generator)])
