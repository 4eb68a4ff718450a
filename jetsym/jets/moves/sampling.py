"""Random elements of groups: rotations, turns about an axis, directions, rapidities, Lorentz matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jetsym.spectrum import FiniteGroup, group_of
from jetsym.symmetry import Distribution, Symmetry

__all__ = [
    "random_directions",
    "random_elements",
    "random_lorentz",
    "random_orthogonal",
    "random_rapidities",
    "random_rotations",
    "random_turns",
]


def random_rotations(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw rotations by the Haar measure of SO(3).

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
    """Draw elements of O(3) by its Haar measure: a random rotation times a fair sign.

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


def random_elements(
    symmetry: Symmetry,
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw elements of a compact group by its Haar measure; those of SO(2) turn about z.

    Parameters and result are those of :func:`random_rotations`, but that a registered group may have matrices
    (n, 4, 4).

    Examples
    --------
    >>> random_elements(Symmetry("SO3"), 2).shape
    torch.Size([2, 3, 3])
    """
    options: dict[str, Any] = {"generator": generator, "device": device, "dtype": dtype}
    if symmetry.is_orthogonal:
        return (random_orthogonal if symmetry.has_inversion else random_rotations)(n, **options)
    if symmetry.axis is not None:
        return random_turns(n, **options)
    group = group_of(symmetry)
    assert isinstance(group, FiniteGroup)
    weights = torch.as_tensor(group.weights, device=device)
    chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
    return torch.as_tensor(group.elements, device=device, dtype=dtype)[chosen]


def random_turns(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw rotations (n, 3, 3) about z by angles uniform on [−π, π): the Haar measure of SO(2).

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
    """Draw unit vectors (n, 3), uniform on the sphere: normal numbers over their norm.

    Examples
    --------
    >>> random_directions(2, generator=torch.Generator().manual_seed(0)).norm(dim=-1)
    tensor([1., 1.], dtype=torch.float64)
    """
    vectors = torch.randn(n, 3, generator=generator, device=device, dtype=dtype)
    return vectors.div(torch.linalg.vector_norm(vectors, dim=-1, keepdim=True))


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
    """Draw rapidities (n,), in float64 by the inverse of their distribution function, whatever the width.

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
    """Draw Lorentz transformations (n, 4, 4) of (E, px, py, pz), proper and orthochronous: rotation · boost · rotation.

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
    boosts, first, last = torch.eye(4, device=device, dtype=torch.float64).repeat(3, n, 1, 1).unbind()
    boosts[:, 0, 0] = boosts[:, 3, 3] = rapidity.cosh()
    boosts[:, 0, 3] = boosts[:, 3, 0] = rapidity.sinh()
    for rotation in (first, last):
        rotation[:, 1:, 1:] = random_rotations(n, **source)
    return (last @ boosts @ first).to(dtype)
