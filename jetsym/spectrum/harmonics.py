"""Spherical tensors of any array library: solid harmonics and their products, in the convention of this package."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, device

from jetsym.errors import SpectrumError, expect_at_least
from jetsym.spectrum.coupling import rotation_generators_in, stretched_coupling_in

__all__ = ["bounded", "couple", "rotate_infinitesimally", "solid_harmonics"]


def bounded(vectors: Any) -> Any:
    """Return v / √(1 + |v|²) of vectors (…, 3): shorter than one, in the same direction, and smooth at zero."""
    xp = array_namespace(vectors)
    return vectors / xp.sqrt(1 + xp.sum(vectors * vectors, axis=-1, keepdims=True))


def solid_harmonics(lam: int, vectors: Any) -> Any:
    """Return the real solid harmonics S_λ(v) = |v|^λ √(4π/(2λ+1)) Y_λ(v/|v|), polynomials of v.

    Parameters
    ----------
    lam
        λ ≥ 0.
    vectors
        (…, 3) as x, y, z.

    Returns
    -------
    (…, 2λ+1) array, m from −λ to λ; S_1 = (y, z, x), and ‖S_λ(v)‖ = |v|^λ.

    Raises
    ------
    SpectrumError
        λ is negative.

    Examples
    --------
    >>> import numpy as np
    >>> solid_harmonics(2, np.array([0.0, 0.0, 3.0])).round(12) + 0.0
    array([0., 0., 9., 0., 0.])
    """
    expect_at_least("lam", lam, 0, SpectrumError)
    xp = array_namespace(vectors)
    spherical, result = xp.roll(vectors, -1, axis=-1), xp.ones_like(vectors[..., :1])
    for _ in range(lam):
        result = couple(result, spherical)
    return result


def couple(first: Any, second: Any, *, xp: Any = None) -> Any:
    """Couple spherical tensors (…, 2l₁+1) and (…, 2l₂+1) to λ = l₁ + l₂, (…, 2λ+1).

    See :func:`~jetsym.spectrum.coupling.stretched_coupling`; S_l₁(v) and S_l₂(v) couple to S_λ(v). ``xp`` names the
    arrays' namespace, which torch cannot look up while it compiles.
    """
    lams = first.shape[-1] // 2, second.shape[-1] // 2
    if 0 in lams:
        return first * second
    xp = xp or array_namespace(first)
    coupling = stretched_coupling_in(xp, *lams, dtype=first.dtype, device=first.device)
    # As one matrix product: an einsum of three would fix the numbers of jets and particles in exported graphs.
    products = first[..., :, None] * second[..., None, :]
    return xp.reshape(products, (*products.shape[:-2], -1)) @ xp.reshape(coupling, (-1, coupling.shape[-1]))


def rotate_infinitesimally(vectors: Any, tensors: Any) -> Any:
    """Return (v · J) T of vectors (…, 3) as x, y, z and spherical tensors (…, 2λ+1): v × u for λ = 1.

    It has the λ of T and the other σ.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.eye(3)[:2]
    >>> abs(rotate_infinitesimally(x, solid_harmonics(1, y)).round(12))  # x × y = z
    array([0., 1., 0.])
    """
    xp, size = array_namespace(tensors), tensors.shape[-1]
    generators = rotation_generators_in(xp, size // 2, dtype=tensors.dtype, device=device(tensors))
    moved = tensors @ xp.reshape(generators, (3 * size, size)).T  # under J_x, J_y and J_z, one after the other
    return (vectors[..., None, :] @ xp.reshape(moved, (*tensors.shape[:-1], 3, size)))[..., 0, :]
