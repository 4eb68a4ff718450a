"""Random elements of what acts on jets, drawn from an explicit generator, and the augmentation that applies them.

Rotations have the Haar measure. Boosts have none that is finite: their rapidity is drawn from a declared distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.actions import about_jet_axis, boost, rotate, rotate_at_rest, transform
from jetsym.jets.moves.frames import axes_along, has_rest_frame, jet_momentum
from jetsym.jets.moves.sampling import (
    random_directions,
    random_lorentz,
    random_orthogonal,
    random_rapidities,
    random_rotations,
    random_turns,
)
from jetsym.spectrum.windows import Distribution

__all__ = ["AugmentationConfig", "augment"]

Group = Literal["none", "SO2", "SO3", "O3", "boost", "lorentz"]
Frame = Literal["lab", "rest"]
Axis = Literal["beam", "jet", "random"]


#: What each group takes besides its name.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "SO2": ("axis",),
    "SO3": ("frame",),
    "O3": ("frame",),
    "boost": ("axis", "rapidity", "width", "bound"),
    "lorentz": ("rapidity", "width", "bound"),
}


@dataclass(frozen=True)
class AugmentationConfig:
    """How training jets are moved, anew every time they are seen.

    Impact parameters have no law under these moves and are held fixed; charge and particle flags are invariant.

    Parameters
    ----------
    group
        ``"none"``, ``"SO2"`` (rotations about an axis), ``"SO3"``, ``"O3"`` (reflections as well), ``"boost"`` (along
        an axis) or ``"lorentz"`` (rotation, boost, rotation).
    frame
        Of SO3 and O3: ``"lab"``, if not given, or ``"rest"``, the rest frame of each jet's constituents. A jet that has
        none, such as a single particle, is turned about its momentum (and mirrored through planes that hold it): this
        is what is left of the rotations at rest as the mass goes to zero.
    axis
        Of SO2 and boost: ``"beam"``, if not given, ``"jet"`` (the axis of each jet) or ``"random"`` (uniform on the
        sphere, anew for every jet).
    rapidity
        Of boost and lorentz: ``"uniform"`` on [−width, width], if not given, or ``"normal"``.
    width
        Of boost and lorentz: half width or standard deviation of the rapidity.
    bound
        Largest rapidity of a normal distribution, which is cut there; not cut if not given.

    Raises
    ------
    ConfigError
        A value cannot be used, or does not go with the group.

    Examples
    --------
    >>> AugmentationConfig("boost", frame="rest", width=0.5)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: augmentation.frame is 'rest', which the group 'boost' does not take; leave it out, or \
take the group 'SO3' or 'O3'
    """

    group: Group = "none"
    frame: Frame | None = None
    axis: Axis | None = None
    rapidity: Distribution | None = None
    width: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        for name, choices in (("group", Group), ("frame", Frame), ("axis", Axis), ("rapidity", Distribution)):
            if getattr(self, name) not in get_args(choices) and (name == "group" or getattr(self, name) is not None):
                self._refuse(name, f"; expected one of {', '.join(map(repr, get_args(choices)))}")
        for name in ("frame", "axis", "rapidity", "width", "bound"):
            if getattr(self, name) is not None and name not in _OPTIONS[self.group]:
                takers = " or ".join(repr(group) for group, options in _OPTIONS.items() if name in options)
                remedy = f"leave it out, or take the group {takers}"
                self._refuse(name, f", which the group {self.group!r} does not take; {remedy}")
        if "width" in _OPTIONS[self.group] and (self.width is None or not 0 < self.width < math.inf):
            self._refuse("width", f"; the group {self.group!r} needs a rapidity more than 0, such as 0.5")
        if self.bound is not None and not 0 < self.bound < math.inf:
            self._refuse("bound", "; expected a rapidity more than 0")
        if self.bound is not None and self.rapidity != "normal":
            self._refuse("bound", ", which cuts a normal distribution; set rapidity to 'normal', or leave bound out")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConfigError(f"augmentation.{name} is {getattr(self, name)!r}{expected}")


def augment(
    batch: JetBatch, config: AugmentationConfig, *, shared: bool = False, generator: torch.Generator | None = None
) -> JetBatch:
    """Move every jet by a random element of its own; the batch itself is returned where the group is "none".

    With ``shared`` one element moves them all. ``generator`` is on the batch's device; None takes torch's global one.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> moved = augment(batch, AugmentationConfig("boost", width=1.0), generator=torch.Generator().manual_seed(0))
    >>> moved.p4[0, 0, 1:3]  # a boost along the beam
    tensor([3., 0.])
    """
    if config.group == "none":
        return batch
    n, jets = 1 if shared else len(batch), len(batch)
    source: dict[str, Any] = {"generator": generator, "device": batch.device}
    if config.group in ("SO3", "O3"):
        sample = random_rotations if config.group == "SO3" else random_orthogonal
        if config.frame == "rest":
            elements, turns = sample(n, **source), random_turns(n, **source)
            return _rotate_at_rest_or_about_momentum(batch, elements.expand(jets, 3, 3), turns.expand(jets, 3, 3))
        return rotate(batch, sample(n, dtype=batch.dtype, **source).expand(jets, 3, 3)[None])
    if config.group == "SO2":
        turns = random_turns(n, **source).expand(jets, 3, 3)
        if config.axis == "jet":
            return about_jet_axis(batch, turns[None])
        if config.axis == "random":
            turns = _conjugate(turns, random_directions(n, **source))
        return rotate(batch, turns[None])
    options = {"width": config.width, "bound": config.bound, **source}
    if config.group == "lorentz":
        elements = random_lorentz(n, config.rapidity or "uniform", **options)
        return transform(batch, elements.expand(jets, 4, 4)[None])
    rapidity = random_rapidities(n, config.rapidity or "uniform", **options).expand(jets)
    direction = random_directions(n, **source).expand(jets, 3) if config.axis == "random" else config.axis or "beam"
    return boost(batch, rapidity[None], direction)


def _rotate_at_rest_or_about_momentum(batch: JetBatch, elements: Tensor, turns: Tensor) -> JetBatch:
    """Elements (B, 3, 3) of O(3) at rest; jets without a rest frame are turned (B, 3, 3) about their momentum."""
    massive = has_rest_frame(batch)
    if massive.all():
        return rotate_at_rest(batch, elements[None])
    mirrored = turns.clone()
    mirrored[:, :, 1] *= torch.linalg.det(elements).sign()[:, None]
    moved = rotate(batch, _conjugate(mirrored, jet_momentum(batch)[:, 1:])[None])
    at_rest = rotate_at_rest(batch[massive], elements[massive][None])
    p4, jet_p4 = moved.p4.clone(), moved.jet_p4.clone()
    p4[massive], jet_p4[massive] = at_rest.p4, at_rest.jet_p4
    return moved.replace(p4=p4, jet_p4=jet_p4)


def _conjugate(turns: Tensor, axes: Tensor) -> Tensor:
    """Rotations about z, (n, 3, 3), as the same rotations about other axes (n, 3)."""
    frame = axes_along(axes)
    return frame.mT @ turns @ frame
