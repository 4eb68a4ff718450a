"""Products of spherical tensors in the convention of :mod:`jetsym.spectrum.wigner`: the stretched coupling, and J."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import lebedev_rule

from jetsym.errors import SpectrumError, expect_at_least
from jetsym.spectrum.quadrature import lebedev_order
from jetsym.spectrum.responses import lasting
from jetsym.spectrum.wigner import real_spherical_harmonics, real_wigner_d

__all__ = ["rotation_generators", "rotation_generators_in", "stretched_coupling", "stretched_coupling_in"]

#: Function, arguments, library, dtype and device -> what was made of them.
_kept: dict[Any, Any] = {}


@lru_cache(maxsize=64)
def stretched_coupling(first: int, second: int) -> NDArray[np.float64]:
    """Return the Clebsch–Gordan coupling of two spherical tensors to the largest λ = l₁ + l₂, in real components.

    It is scaled such that products of harmonics are harmonics: Σ K_abc S_l₁(n)_a S_l₂(n)_b = S_λ(n)_c, of unit length
    as S_λ(n) = √(4π/(2λ+1)) Y_λ(n). Up to that factor K is ∫ Y_l₁a Y_l₂b Y_λc dn, which a Lebedev rule of
    degree 2λ gives exactly.

    Parameters
    ----------
    first, second
        l₁, l₂ ≥ 0.

    Returns
    -------
    (2l₁+1, 2l₂+1, 2λ+1) float64 array; do not write to it.

    Examples
    --------
    >>> z = np.array([0.0, 1.0, 0.0])  # in the order y, z, x
    >>> np.einsum("a,b,abc->c", z, z, stretched_coupling(1, 1)).round(12) + 0.0  # m = 0 of λ = 2
    array([0., 0., 1., 0., 0.])
    """
    if min(first, second) < 0:
        raise SpectrumError(f"tensors of λ = {first} and {second} are to be coupled; expected λ ≥ 0")
    total = first + second
    points, weights = lebedev_rule(lebedev_order(2 * total))
    a, b, c = (real_spherical_harmonics(lam, points.T) for lam in (first, second, total))
    coupling: NDArray[np.float64] = np.einsum("n,na,nb,nc->abc", weights, a, b, c, optimize=True)
    # All harmonics of the direction z but those of m = 0 vanish.
    coupling /= coupling[first, second, total]
    coupling.setflags(write=False)
    return coupling


def stretched_coupling_in(xp: Any, first: int, second: int, *, dtype: Any, device: Any) -> Any:
    """Return :func:`stretched_coupling` as an array of the library ``xp``, such as torch; do not write to it.

    Examples
    --------
    >>> stretched_coupling_in(np, 1, 1, dtype=np.float32, device="cpu").dtype
    dtype('float32')
    """
    return _made_in(xp, stretched_coupling, first, second, dtype=dtype, device=device)


@lru_cache(maxsize=16)
def rotation_generators(lam: int) -> NDArray[np.float64]:
    """Return the antisymmetric J_x, J_y, J_z with D^λ(R) = exp(ω · J) for the rotation R by |ω| about ω.

    Parameters
    ----------
    lam
        λ ≥ 0.

    Returns
    -------
    (3, 2λ+1, 2λ+1) float64 array; do not write to it.

    Examples
    --------
    >>> rotation_generators(1)[2] @ [0.0, 0.0, 1.0]  # z × x = y, in the order y, z, x
    array([1., 0., 0.])
    """
    expect_at_least("lam", lam, 0, SpectrumError)
    about_z = np.zeros((2 * lam + 1, 2 * lam + 1))
    m = np.arange(-lam, lam + 1)
    about_z[lam + m, lam - m] = -m  # d/dφ cos mφ = −m sin mφ, d/dφ sin mφ = m cos mφ
    z_to_x = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    to_x, to_y = real_wigner_d(lam, z_to_x), real_wigner_d(lam, z_to_x @ z_to_x)
    generators = np.stack([to_x @ about_z @ to_x.T, to_y @ about_z @ to_y.T, about_z])
    generators.setflags(write=False)
    return generators


def rotation_generators_in(xp: Any, lam: int, *, dtype: Any, device: Any) -> Any:
    """Return :func:`rotation_generators` as an array of the library ``xp``, such as torch; do not write to it."""
    return _made_in(xp, rotation_generators, lam, dtype=dtype, device=device)


def _made_in(xp: Any, function: Callable[..., NDArray[np.float64]], *lams: int, dtype: Any, device: Any) -> Any:
    # For every dtype: what is made once in float32, as a module's buffer, stays rounded in a module cast to float64.
    key = (function, lams, xp.__name__, dtype, device)
    if key in _kept:
        return _kept[key]
    made = xp.asarray(function(*lams).copy(), dtype=dtype, device=device)  # torch wants arrays that may be written to
    if lasting(made):
        _kept[key] = made
    return made
