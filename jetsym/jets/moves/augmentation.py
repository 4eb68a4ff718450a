"""Random elements of what acts on jets, drawn from an explicit generator, and the augmentation that applies them.

Rotations have the Haar measure. Boosts have none that is finite: their rapidity is drawn from a declared distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.actions import about_jet_axis, boost, rotate, rotate_at_rest, transform
from jetsym.jets.moves.frames import axes_along, has_rest_frame, jet_momentum
from jetsym.jets.moves.inputs import follow
from jetsym.jets.moves.sampling import (
    random_directions,
    random_elements,
    random_lorentz,
    random_rapidities,
    random_turns,
)
from jetsym.symmetry import Symmetry, group_names

__all__ = ["AugmentationConfig", "augment"]

#: The group that leaves jets as they are.
NONE = "none"
#: Axes that jets are moved about or along.
AXES = ("beam", "jet", "random")


@dataclass(frozen=True)
class AugmentationConfig:
    """How training jets are moved, anew every time they are seen.

    Impact parameters have no law under these moves and are held fixed; charge and particle flags are invariant.

    Parameters
    ----------
    group
        ``"none"``, ``"SO2"`` (rotations about an axis), ``"SO3"``, ``"O3"`` (reflections as well), ``"boost"`` (along
        an axis), ``"lorentz"`` (rotation, boost, rotation), or one that was registered, in any case of letters.
    frame
        Of SO3 and O3: ``"lab"``, if not given, or ``"rest"``, the rest frame of each jet's constituents. A jet that has
        none, such as a single particle, is rotated about its momentum (and mirrored through planes that hold it): this
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

    group: str = NONE
    frame: str | None = None
    axis: str | None = None
    rapidity: str | None = None
    width: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        symmetry = self.symmetry
        for name in ("bound",) if symmetry else ("frame", "axis", "rapidity", "width", "bound"):
            if getattr(self, name) is not None and (symmetry is None or symmetry.distribution is None):
                self._refuse(name, f", which the group {self.group!r} does not take; leave it out")
        if symmetry is None:
            return
        object.__setattr__(self, "group", symmetry.group)
        if self.axis is not None:
            object.__setattr__(self, "axis", symmetry.axis)
        if symmetry.axis not in (None, *AXES):
            self._refuse("axis", f"; expected one of {', '.join(map(repr, AXES))}")
        if symmetry.distribution is not None and self.width is None:
            self._refuse("width", f"; the group {self.group!r} needs a rapidity more than 0, such as 0.5")
        if self.bound is not None and not 0 < self.bound < math.inf:
            self._refuse("bound", "; expected a rapidity more than 0")
        if self.bound is not None and self.rapidity != "normal":
            self._refuse("bound", ", which cuts a normal distribution; set rapidity to 'normal', or leave bound out")

    @classmethod
    def of(cls, symmetry: Symmetry) -> AugmentationConfig:
        """Return how jets are moved by a symmetry, without what goes without saying."""
        usual = replace(Symmetry(symmetry.group), width=symmetry.width)
        given = {name: value for name, value in symmetry.to_dict().items() if value != getattr(usual, name)}
        axis, rapidity = given.get("axis"), given.get("distribution")
        return cls(symmetry.group, given.get("frame"), axis, rapidity, symmetry.width)

    @property
    def symmetry(self) -> Symmetry | None:
        """What acts; None leaves jets as they are."""
        if self.group == NONE:
            return None
        called = {name: f"augmentation.{name}" for name in ("group", "frame", "axis", "width")}
        options = (self.frame, self.axis, self.width, self.rapidity)
        called["distribution"] = "augmentation.rapidity"
        return Symmetry.parse(self.group, *options, called=called, groups=(NONE, *group_names(drawn=True)))

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
    symmetry = config.symmetry
    if symmetry is None:
        return batch
    n, jets = 1 if shared else len(batch), len(batch)
    source: dict[str, Any] = {"generator": generator, "device": batch.device}
    if not symmetry.is_compact:
        return _boosted(batch, config, symmetry, n, source)
    if symmetry.is_at_rest:
        elements = random_elements(symmetry, n, **source)
        still = torch.eye(3, device=batch.device, dtype=elements.dtype)
        turns = random_turns(n, **source) if symmetry.is_orthogonal else still  # which are no part of other groups
        return _rotate_at_rest_or_about_momentum(batch, elements.expand(jets, 3, 3), turns.expand(jets, 3, 3))
    elements = random_elements(symmetry, n, dtype=batch.dtype if symmetry.is_orthogonal else torch.float64, **source)
    if symmetry.axis == "random":
        elements = _conjugate(elements, random_directions(n, **source))
    act = about_jet_axis if symmetry.axis == "jet" else transform if symmetry.named.on_four_vectors else rotate
    return act(batch, elements.expand(jets, *elements.shape[1:])[None])


def _boosted(
    batch: JetBatch, config: AugmentationConfig, symmetry: Symmetry, n: int, source: dict[str, Any]
) -> JetBatch:
    """Boost jets by n random rapidities, or by random Lorentz transformations."""
    jets = len(batch)
    options = {"width": config.width, "bound": config.bound, **source}
    assert symmetry.distribution is not None
    if symmetry.axis is None:
        return transform(batch, random_lorentz(n, symmetry.distribution, **options).expand(jets, 4, 4)[None])
    rapidity = random_rapidities(n, symmetry.distribution, **options).expand(jets)
    direction = random_directions(n, **source).expand(jets, 3) if symmetry.axis == "random" else str(symmetry.axis)
    return boost(batch, rapidity[None], direction)


def _rotate_at_rest_or_about_momentum(batch: JetBatch, elements: Tensor, turns: Tensor) -> JetBatch:
    """Move jets by elements (B, 3, 3) at rest; those that cannot rest are rotated (B, 3, 3) about their momentum."""
    massive = has_rest_frame(batch)
    if massive.all():
        return rotate_at_rest(batch, elements[None])
    mirrored = turns.clone()
    mirrored[:, :, 1] *= torch.linalg.det(elements).sign()[:, None]
    moved = rotate(batch, _conjugate(mirrored, jet_momentum(batch)[:, 1:])[None])
    at_rest = rotate_at_rest(batch[massive], elements[massive][None])
    p4, jet_p4 = moved.p4.clone(), moved.jet_p4.clone()
    p4[massive], jet_p4[massive] = at_rest.p4, at_rest.jet_p4
    return follow(batch, moved.replace(p4=p4, jet_p4=jet_p4))


def _conjugate(turns: Tensor, axes: Tensor) -> Tensor:
    """Return rotations about z, (n, 3, 3), as the same rotations about other axes (n, 3)."""
    frame = axes_along(axes)
    return frame.mT @ turns @ frame
