"""Functions whose spectrum is known in closed form: the oracle of every estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from jetsym.spectrum.groups import Irrep
from jetsym.spectrum.wigner import real_wigner_d

__all__ = ["known_spectrum"]


def known_spectrum(
    powers: Mapping[Irrep, float], *, features: int = 1, rng: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function of a frame whose power in every irrep is prescribed.

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
