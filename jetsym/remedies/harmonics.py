"""Spherical tensors of torch: solid harmonics and their products, in the convention of jetsym.spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from jetsym.errors import ConfigError
from jetsym.spectrum.coupling import rotation_generators_in, stretched_coupling_in

__all__ = ["bounded", "couple", "power", "rotate_infinitesimally", "solid_harmonics", "triple_product"]


def bounded(vectors: Tensor) -> Tensor:
    """v / √(1 + |v|²): shorter than one, in the same direction, and smooth at zero."""
    return vectors / (1 + vectors.square().sum(dim=-1, keepdim=True)).sqrt()


def solid_harmonics(lam: int, vectors: Tensor) -> Tensor:
    """Real solid harmonics S_λ(v) = |v|^λ √(4π/(2λ+1)) Y_λ(v/|v|), polynomials of v.

    Parameters
    ----------
    lam
        λ ≥ 0.
    vectors
        (…, 3) as x, y, z.

    Returns
    -------
    (…, 2λ+1) tensor, m from −λ to λ; S_1 = (y, z, x), and ‖S_λ(v)‖ = |v|^λ.

    Examples
    --------
    >>> solid_harmonics(2, torch.tensor([0.0, 0.0, 3.0])).round(decimals=4) + 0.0
    tensor([0., 0., 9., 0., 0.])
    """
    if lam < 0:
        raise ConfigError(f"lam is {lam}; expected an integer ≥ 0")
    return power(lam, vectors.roll(-1, dims=-1))


def power(exponent: int, vector: Tensor) -> Tensor:
    """A tensor of λ = 1, (…, 3) in the order y, z, x, coupled with itself to the largest λ: (…, 2·exponent+1)."""
    result = torch.ones_like(vector[..., :1])
    for _ in range(exponent):
        result = couple(result, vector)
    return result


def couple(first: Tensor, second: Tensor) -> Tensor:
    """The coupling of spherical tensors (…, 2l₁+1) and (…, 2l₂+1) to λ = l₁ + l₂, (…, 2λ+1).

    See :func:`~jetsym.spectrum.coupling.stretched_coupling`; S_l₁(v) and S_l₂(v) couple to S_λ(v).
    """
    lams = first.shape[-1] // 2, second.shape[-1] // 2
    if 0 in lams:
        return first * second
    coupling = stretched_coupling_in(torch, *lams, dtype=first.dtype, device=first.device)
    return torch.einsum("...a,...b,abc->...c", first, second, coupling)


def rotate_infinitesimally(vectors: Tensor, tensors: Tensor) -> Tensor:
    """(v · J) T of vectors (…, 3) as x, y, z and spherical tensors (…, 2λ+1): v × u for λ = 1.

    It has the λ of T and the other σ.

    Examples
    --------
    >>> x, y = torch.eye(3)[:2]
    >>> rotate_infinitesimally(x, solid_harmonics(1, y)).round().abs()  # x × y = z
    tensor([0., 1., 0.])
    """
    lam = tensors.shape[-1] // 2
    generators = rotation_generators_in(torch, lam, dtype=tensors.dtype, device=tensors.device)
    return torch.einsum("...i,iab,...b->...a", vectors, generators, tensors)


def triple_product(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """v₁ · (v₂ × v₃) of vectors (…, 3): a pseudoscalar (…)."""
    return (first * torch.linalg.cross(second, third)).sum(dim=-1)
