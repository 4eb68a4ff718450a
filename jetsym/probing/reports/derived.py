"""Sums of a report's fractions with an error: power at high λ, pseudotensors, effective bandwidth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.reports.significance import Share
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum import Irrep

__all__ = ["bandwidth", "casimir_of", "share_of", "weighted"]

Array = NDArray[np.float64]


def weighted(report: SymmetryReport, weight: Callable[[Irrep], float]) -> tuple[Array, Array]:
    """Compute Σ_α w_α b_α of every layer, and an upper bound of its standard error.

    A report holds the errors of single fractions, not how they go together. Whatever their correlations, the error of
    a sum is at most the sum of the errors, Σ|w_α| σ_α. As the fractions and the tail add up to one, any constant c may
    be taken off all weights, including the tail's, which is 0: the bound is Σ|w_α − c| σ_α + |c| σ_tail, and the
    smallest over c, at one of the weights, is given.

    Parameters
    ----------
    report
        A report under a compact group.
    weight
        Weight of an irrep.

    Returns
    -------
    value, stderr
        (layers,) arrays.

    Examples
    --------
    >>> import jetsym
    >>> points = np.random.default_rng(0).normal(size=(4, 3))
    >>> report = jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=1, progress=False)
    >>> value, stderr = weighted(report, lambda irrep: 1.0)  # Parseval: all of it, although each part has an error
    >>> float(value[0].round(12)), bool(stderr[0] < 1e-12), bool(report.stderr[0, 0] > 0.01)
    (1.0, True, True)
    """
    weights = np.array([weight(irrep) for irrep in report.irreps])
    errors = np.column_stack([report.stderr, report.tail_stderr])
    shifted = np.abs(np.append(weights, 0.0)[None] - np.append(weights, 0.0)[:, None])
    return report.fractions @ weights, (errors @ shifted.T).min(axis=1)


def casimir_of(irrep: Irrep) -> float:
    """Return λ(λ+1), or m² for a mode: minus the eigenvalue of the Laplacian on the group."""
    if irrep.is_named:  # has no λ
        return float("nan")
    return float(irrep.lam**2 if irrep.is_mode else irrep.lam * (irrep.lam + 1))


def bandwidth(report: SymmetryReport) -> tuple[Array, Array]:
    """Compute the effective bandwidth Σ λ(λ+1) b_λ of every layer, with an upper bound of its standard error.

    It is the mean squared slope under rotations over the mean square, ∫ Σ_a‖X_a u‖² dμ / ∫‖u‖² dμ, as far as l_max
    reaches: what lies beyond is not in it, so that it is a lower bound where ``report.unseen()`` is not small. For
    SO(2) it is Σ m² b_m.

    Examples
    --------
    A vector has the bandwidth 1·2, whatever its direction:

    >>> import jetsym
    >>> points = np.random.default_rng(0).normal(size=(4, 3))
    >>> report = jetsym.probe(lambda x: x[:, 0], points, l_max=2, progress=False)
    >>> bandwidth(report)[0].round(12)
    array([2.])
    """
    return weighted(report, casimir_of)


def share_of(report: SymmetryReport, row: int, chosen: Callable[[Irrep], bool]) -> Share:
    """Return the power of a layer in chosen irreps."""
    value, stderr = weighted(report, lambda irrep: float(chosen(irrep)))
    return Share(float(value[row]), float(stderr[row]), float(report.noise_floor[row]), report.meta["n_inputs"])
