"""Representations of SO(3) and SO(2): Wigner small-d, real Wigner D and characters.

Conventions: rotations act actively, R = Rz(α) Ry(β) Rz(γ), and D^λ_mn(R) = e^{−imα} d^λ_mn(β) e^{−inγ} with the
Condon–Shortley phase; m and n run from −λ to λ. Everything here is float64 numpy, except the characters, which follow
the array type they are given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy.integrate import lebedev_rule
from scipy.special import sph_harm_y

from jetsym.errors import SpectrumError, expect_at_least
from jetsym.spectrum.quadrature import lebedev_order

__all__ = ["characters", "mode_characters", "real_spherical_harmonics", "real_wigner_d", "small_d"]


def small_d(lam: int, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Wigner's small-d matrices d^λ_mn(β) = ⟨λm| e^{−iβJ_y} |λn⟩.

    Computed as V e^{−iβΛ} V† from the eigenvectors of J_y, which keeps full precision at any λ and β.

    Parameters
    ----------
    lam
        λ ≥ 0.
    beta
        (…) angles in radians.

    Returns
    -------
    (…, 2λ+1, 2λ+1) array, rows m and columns n from −λ to λ.

    Examples
    --------
    >>> small_d(1, np.array(np.pi / 3))[1, 1].round(12)  # d¹₀₀(β) = cos β
    np.float64(0.5)
    """
    expect_at_least("lam", lam, 0, SpectrumError)
    vectors = _eigenvectors(lam)
    phases = np.exp(-1j * np.asarray(beta)[..., None] * np.arange(-lam, lam + 1))
    return np.real((vectors * phases[..., None, :]) @ vectors.conj().T)


@lru_cache(maxsize=128)
def _eigenvectors(lam: int) -> NDArray[np.complex128]:
    """Return the eigenvectors of J_y, one a column, by rising eigenvalue −λ … λ; do not write to them."""
    m = np.arange(-lam, lam)
    raising = np.sqrt((lam - m) * (lam + m + 1.0))
    j_y = np.zeros((2 * lam + 1, 2 * lam + 1), dtype=complex)
    j_y[np.arange(1, 2 * lam + 1), np.arange(2 * lam)] = raising / 2j
    return np.linalg.eigh(j_y + j_y.conj().T)[1]


def characters(l_max: int, rotations: Any) -> Any:
    """Compute the characters χ_λ(R) = sin((2λ+1)θ/2) / sin(θ/2) for λ = 0 … l_max, straight from the trace.

    cos θ = (tr R − 1)/2 and χ_λ = 1 + 2 Σ_{k≤λ} T_k(cos θ) with Chebyshev polynomials T_k, so no angle is ever taken
    and nothing happens at θ = 0 or π.

    Parameters
    ----------
    l_max
        Largest λ.
    rotations
        (…, 3, 3) proper rotation matrices of any array type.

    Returns
    -------
    (…, l_max+1) array of the same type and dtype.

    Examples
    --------
    >>> characters(3, np.eye(3))  # the dimensions 2λ+1
    array([1., 3., 5., 7.])
    """
    xp = array_namespace(rotations)
    modes = mode_characters(l_max, rotations)
    result = [modes[..., 0]]
    for m in range(1, l_max + 1):
        result.append(result[-1] + modes[..., m])
    return xp.stack(result, axis=-1)


def mode_characters(l_max: int, rotations: Any) -> Any:
    """Compute 1, 2 cos θ, 2 cos 2θ, … 2 cos l_max·θ of the rotation angle θ, straight from the trace.

    Characters of the real irreps of SO(2), and what each λ adds to the character of λ − 1 of SO(3): 2 T_m(cos θ) with
    Chebyshev polynomials T_m and cos θ = (tr R − 1)/2.

    Parameters
    ----------
    l_max
        Largest multiple of the angle.
    rotations
        (…, 3, 3) proper rotation matrices of any array type.

    Returns
    -------
    (…, l_max+1) array of the same type and dtype.

    Examples
    --------
    >>> half_turn = np.diag([-1.0, -1.0, 1.0])
    >>> mode_characters(3, half_turn)
    array([ 1., -2.,  2., -2.])
    """
    expect_at_least("l_max", l_max, 0, SpectrumError)
    xp = array_namespace(rotations)
    cosine = (rotations[..., 0, 0] + rotations[..., 1, 1] + rotations[..., 2, 2] - 1.0) / 2.0
    chebyshev = [xp.ones_like(cosine), cosine]
    while len(chebyshev) <= l_max:
        chebyshev.append(2.0 * cosine * chebyshev[-1] - chebyshev[-2])
    return xp.stack([chebyshev[0], *(2.0 * term for term in chebyshev[1 : l_max + 1])], axis=-1)


def real_spherical_harmonics(lam: int, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute real orthonormal spherical harmonics Y_λm of unit vectors (…, 3), as (…, 2λ+1) with m from −λ to λ.

    For λ = 1 the components are (y, z, x) times √(3/4π).
    """
    x, y, z = np.moveaxis(np.asarray(directions, dtype=float), -1, 0)
    polar, azimuth = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    orders = np.arange(0, lam + 1)
    complex_harmonics = sph_harm_y(lam, orders, polar[..., None], azimuth[..., None])
    signed = (-1.0) ** orders * np.sqrt(2) * complex_harmonics
    # Not [..., :0:-1]: torch.compile, where it meets this, takes that to end at 0 and not before it.
    negative, zero, positive = (
        np.imag(signed[..., 1:][..., ::-1]),
        np.real(complex_harmonics[..., :1]),
        np.real(signed[..., 1:]),
    )
    return np.concatenate([negative, zero, positive], axis=-1)


def real_wigner_d(lam: int, rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the orthogonal matrices D with Y_λ(R x) = D(R) Y_λ(x), straight from rotation matrices.

    D(R) = ∫ Y_λ(R x) Y_λ(x)ᵀ dx, by a Lebedev rule of degree 2λ, for which the integral is exact: no Euler angles, so
    no pole is special.

    Parameters
    ----------
    lam
        λ ≥ 0.
    rotations
        (…, 3, 3) proper rotation matrices.

    Returns
    -------
    (…, 2λ+1, 2λ+1) float64 array.

    Examples
    --------
    >>> rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x → y
    >>> np.abs(real_wigner_d(1, rotation)).round(12)  # in the order y, z, x
    array([[0., 0., 1.],
           [0., 1., 0.],
           [1., 0., 0.]])
    """
    points, weights = lebedev_rule(lebedev_order(2 * lam))
    moved = np.asarray(rotations, dtype=float) @ points
    rotated = real_spherical_harmonics(lam, np.swapaxes(moved, -1, -2))
    fixed: NDArray[np.float64] = real_spherical_harmonics(lam, points.T) * weights[:, None]
    return np.swapaxes(rotated, -1, -2) @ fixed
