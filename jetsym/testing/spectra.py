"""Functions whose spectrum is known in closed form: the oracle of every estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.wigner import real_wigner_d

__all__ = ["known_modes", "known_spectrum"]


@checked(powers=at_least(0), features=at_least(1))
def known_spectrum(
    powers: Mapping[Irrep, float], *, features: int = 1, rng: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a function of a frame whose power in every irrep is prescribed.

    f(x) = Σ_α √(d_α P_α) Σ_mn C^α_mn D^α_mn(x) with random C of unit norm. The input x is an orthogonal matrix (three
    orthonormal vectors as columns) on which g acts as g·x; Schur's orthogonality then gives B_α = P_α for every x.

    Parameters
    ----------
    powers
        P_α ≥ 0 for the irreps with content; an irrep without a sign belongs to SO(3).
    features
        Number of features F of the function.
    rng
        Draws the coefficients C.

    Returns
    -------
    Function from frames (…, 3, 3) to responses (…, F), float64.

    Examples
    --------
    >>> f = known_spectrum({Irrep(0, 1): 4.0}, rng=np.random.default_rng(0))
    >>> abs(f(np.eye(3))).round(12)  # only the invariant part: a constant of power 4
    array([2.])
    """
    coefficients = {}
    for irrep in powers:
        c = rng.normal(size=(features, irrep.dimension, irrep.dimension))
        coefficients[irrep] = c / np.linalg.norm(c)

    def function(frames: NDArray[np.float64]) -> NDArray[np.float64]:
        determinant = np.sign(np.linalg.det(frames))[..., None, None]
        proper = frames * determinant
        total = np.zeros((*frames.shape[:-2], features))
        for irrep, power in powers.items():
            element = real_wigner_d(irrep.lam, proper) * np.where(determinant < 0, irrep.parity or 1, 1)
            total += np.sqrt(irrep.dimension * power) * np.einsum("fmn,...mn->...f", coefficients[irrep], element)
        return total

    return function


@checked(powers=at_least(0), features=at_least(1))
def known_modes(
    powers: Mapping[int, float], *, features: int = 1, rng: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a function of vectors whose power in every mode of SO(2) about z is prescribed.

    f(x) = Σ_m √(P_m) (a_m cos mφ + b_m sin mφ) of the azimuth φ of x, with Σ(a² + b²)/2 = 1 over the features, and a
    constant of power P_0. A rotation about z shifts φ, so that B_m = P_m for every x.

    Parameters
    ----------
    powers
        P_m ≥ 0 for the modes m ≥ 0 with content.
    features
        Number of features F of the function.
    rng
        Draws the coefficients.

    Returns
    -------
    Function from vectors (…, 3) to responses (…, F), float64.

    Examples
    --------
    >>> f = known_modes({0: 9.0}, rng=np.random.default_rng(0))
    >>> abs(f(np.array([1.0, 0.0, 0.0]))).round(12)
    array([3.])
    """
    coefficients = {}
    for m in powers:
        c = rng.normal(size=(2, features)) * (1.0 if m else np.array([[1.0], [0.0]]))
        coefficients[m] = c / np.linalg.norm(c) * np.sqrt(2.0 if m else 1.0)

    def function(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        phi = np.arctan2(vectors[..., 1], vectors[..., 0])
        total = np.zeros((*phi.shape, features))
        for m, power in powers.items():
            waves = np.stack([np.cos(m * phi), np.sin(m * phi)], axis=-1)
            total += np.sqrt(power) * waves @ coefficients[m]
        return total

    return function
