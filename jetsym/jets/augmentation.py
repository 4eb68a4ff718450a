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
from jetsym.jets.actions import about_jet_axis, boost, rotate, rotate_at_rest, transform
from jetsym.jets.batch import JetBatch
from jetsym.jets.frames import axes_along, has_rest_frame, jet_momentum
from jetsym.spectrum.windows import Distribution

__all__ = [
    "AugmentationConfig",
    "augment",
    "random_directions",
    "random_lorentz",
    "random_orthogonal",
    "random_rapidities",
    "random_rotations",
    "random_turns",
]

Group = Literal["none", "SO2", "SO3", "O3", "boost", "lorentz"]
Frame = Literal["lab", "rest"]
Axis = Literal["beam", "jet", "random"]


def random_rotations(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Rotations distributed by the Haar measure of SO(3).

    Four independent normal numbers point uniformly on the unit sphere of quaternions, which covers SO(3) twice and
    evenly (K. Shoemake, "Uniform random rotations", Graphics Gems III, 1992).

    Parameters
    ----------
    n
        How many.
    generator
        The source of randomness, on ``device``; None takes torch's global one.
    device, dtype
        Where and how the matrices are held.

    Returns
    -------
    Tensor
        (n, 3, 3), R Rᵀ = 1 and det R = +1 to the rounding of ``dtype``.

    Examples
    --------
    >>> R = random_rotations(2, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(R @ R.mT, torch.eye(3, dtype=R.dtype)), torch.linalg.det(R).round()
    (True, tensor([1., 1.], dtype=torch.float64))
    """
    quaternions = torch.randn(n, 4, generator=generator, device=device, dtype=dtype)
    w, x, y, z = (quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def random_orthogonal(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Elements of O(3) distributed by its Haar measure: a random rotation times a fair sign.

    Parameters and result are those of :func:`random_rotations`, with det = ±1.

    Examples
    --------
    >>> g = random_orthogonal(4, generator=torch.Generator().manual_seed(0))
    >>> torch.linalg.det(g).round()
    tensor([ 1., -1.,  1.,  1.], dtype=torch.float64)
    """
    rotations = random_rotations(n, generator=generator, device=device, dtype=dtype)
    signs = torch.randint(0, 2, (n, 1, 1), generator=generator, device=device).to(dtype) * 2 - 1
    return rotations * signs


def random_turns(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Rotations (n, 3, 3) about z by angles uniform on [−π, π): the Haar measure of SO(2).

    Examples
    --------
    >>> R = random_turns(2, generator=torch.Generator().manual_seed(0))
    >>> R[:, 2]
    tensor([[0., 0., 1.],
            [0., 0., 1.]], dtype=torch.float64)
    """
    angle = torch.pi * (2 * torch.rand(n, generator=generator, device=device, dtype=dtype) - 1)
    matrices = torch.eye(3, device=device, dtype=dtype).repeat(n, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angle.cos()
    matrices[:, 1, 0] = angle.sin()
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def random_directions(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Unit vectors (n, 3), uniform on the sphere: normal numbers over their norm.

    Examples
    --------
    >>> random_directions(2, generator=torch.Generator().manual_seed(0)).norm(dim=-1)
    tensor([1., 1.], dtype=torch.float64)
    """
    vectors = torch.randn(n, 3, generator=generator, device=device, dtype=dtype)
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)


def random_rapidities(
    n: int,
    distribution: Distribution = "uniform",
    *,
    width: float,
    bound: float | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Rapidities (n,), drawn in float64 by the inverse of their distribution function, whatever the width.

    Parameters
    ----------
    n
        How many.
    distribution
        "uniform" on [−width, width], or "normal" of standard deviation width.
    width
        In units of rapidity, ≥ 0; it is not a velocity: those are tanh of what is drawn.
    bound
        Cuts the normal distribution to [−bound, bound]: values beyond are not clipped but never drawn. None cuts only
        at 8.2 widths, where float64 ends.
    generator
        The source of randomness, on ``device``; None takes torch's global one.
    device, dtype
        Where and how the rapidities are held.

    Examples
    --------
    >>> eta = random_rapidities(1000, "normal", width=2.0, bound=1.5, generator=torch.Generator().manual_seed(0))
    >>> bool((eta.abs() <= 1.5).all()), round(float(eta.std()), 1)  # nearly uniform: 1.5/√3
    (True, 0.8)
    """
    symmetric = 2 * torch.rand(n, generator=generator, device=device, dtype=torch.float64) - 1
    if distribution == "uniform":
        return (width * symmetric).to(dtype)
    # P(|η| < x) = erf(x / σ√2), within the bound relative to that of the bound.
    scale = math.sqrt(2) * width
    inside = 1.0 if bound is None or width == 0 else math.erf(bound / scale)
    drawn = scale * torch.erfinv((inside * symmetric).clamp(2**-53 - 1, 1 - 2**-53))
    return (drawn if bound is None else drawn.clamp(-bound, bound)).to(dtype)


def random_lorentz(
    n: int,
    distribution: Distribution = "uniform",
    *,
    width: float,
    bound: float | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Lorentz transformations (n, 4, 4) of (E, px, py, pz), proper and orthochronous: rotation · boost · rotation.

    Every such transformation is R₁ B_z(η) R₂. Both rotations are Haar-distributed, the rapidity is as
    :func:`random_rapidities` draws it, with its parameters; there is no Haar probability measure on the whole group.

    Returns
    -------
    Tensor
        (n, 4, 4), made in float64: Λᵀ g Λ = g to 1e-14 ‖Λ‖² in this dtype.

    Examples
    --------
    >>> L = random_lorentz(2, width=1.0, generator=torch.Generator().manual_seed(0))
    >>> g = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=L.dtype))
    >>> torch.allclose(L.mT @ g @ L, g)
    True
    """
    source: dict[str, Any] = {"generator": generator, "device": device}
    rapidity = random_rapidities(n, distribution, width=width, bound=bound, **source)
    boosts, first, last = torch.eye(4, device=device, dtype=torch.float64).repeat(3, n, 1, 1)
    boosts[:, 0, 0] = boosts[:, 3, 3] = rapidity.cosh()
    boosts[:, 0, 3] = boosts[:, 3, 0] = rapidity.sinh()
    for turned in (first, last):
        turned[:, 1:, 1:] = random_rotations(n, **source)
    return (last @ boosts @ first).to(dtype)


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
