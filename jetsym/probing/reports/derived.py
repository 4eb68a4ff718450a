"""Sums of a report's fractions with an error: power at high λ, pseudotensors, effective bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from jetsym.spectrum import Irrep

if TYPE_CHECKING:
    from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["FEWEST_INPUTS", "Share", "bandwidth", "casimir_of", "pseudo_share", "quantile", "share_of", "weighted"]

Array = NDArray[np.float64]


#: With fewer inputs the tail of their distribution is out of sight: nothing is said to stay below a bound.
FEWEST_INPUTS = 8


def quantile(sigma: float, inputs: int) -> float:
    """Return how many standard errors of so many inputs have the tail probability of ``sigma`` normal ones.

    It is that of Student's t with ``inputs`` − 1 degrees of freedom; infinite for a single input.

    Examples
    --------
    >>> [round(quantile(3.0, inputs), 2) for inputs in (1, 4, 16, 10**6)]
    [inf, 9.22, 3.59, 3.0]
    """
    return float(special.stdtrit(inputs - 1, special.ndtr(sigma))) if inputs > 1 else float("inf")


class Share(NamedTuple):
    """A fraction of power that is uncertain in two ways: by the choice of inputs, and by rounding.

    Rounding changes √b by no more than √floor (see :class:`~jetsym.spectrum.Spectrum`), so that b lies between
    (√b − √floor)² and (√b + √floor)². The choice of inputs is judged on the log-odds ln b/(1 − b), whose standard error
    is that of b by b(1 − b), by Student's t of ``inputs`` − 1 degrees: shares are skew, and a few of them have no
    normal mean. An error over twice the value is that of an unbiased estimate about zero, and taken as it is.

    Examples
    --------
    >>> Share(0.02, 0.001, 0.0, 64).surely_above(0.01), Share(0.02, 0.004, 0.0, 64).surely_above(0.01)
    (True, False)
    >>> Share(1e-12, 0.0, 1e-6, 64).surely_below(1e-5), Share(0.0, float("nan"), 0.0, 1).surely_below(1.0)
    (True, False)
    >>> Share(0.02, 0.001, 0.0, 3).surely_above(0.01), Share(0.001, 0.0001, 0.0, 7).surely_below(0.1)
    (False, False)
    """

    value: float
    stderr: float
    floor: float
    inputs: int

    def surely_above(self, bound: float, sigma: float = 3.0) -> bool:
        """Tell whether it exceeds a bound, beyond what chance and rounding can do."""
        least = max(np.sqrt(max(self.value, 0.0)) - np.sqrt(self.floor), 0.0) ** 2
        return bool(self._moved(least, -quantile(sigma, self.inputs)) > bound)

    def surely_below(self, bound: float, sigma: float = 3.0) -> bool:
        """Tell whether it stays below a bound, beyond what chance and rounding can do."""
        most = (np.sqrt(max(self.value, 0.0)) + np.sqrt(self.floor)) ** 2
        return self.inputs >= FEWEST_INPUTS and bool(self._moved(most, quantile(sigma, self.inputs)) < bound)

    def _moved(self, value: float, errors: float) -> float:
        """Return a value so many standard errors away."""
        if self.stderr == 0.0:
            return value
        if not self.stderr <= 2.0 * self.value < 2.0 or not 0.0 < value < 1.0:
            return value + errors * self.stderr
        step = errors * self.stderr / (self.value * (1.0 - self.value))
        return float(special.expit(special.logit(value) + step))


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
    reaches: what lies in the tail is not in it. For SO(2) it is Σ m² b_m.

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


def pseudo_share(report: SymmetryReport) -> tuple[Array, Array]:
    """Return the power of layers in pseudotensors, Σ_λ b_(λ,−), with a bound of its error; 0 without inversion."""
    return weighted(report, lambda irrep: float(irrep.sigma == -1))


def share_of(report: SymmetryReport, row: int, chosen: Callable[[Irrep], bool]) -> Share:
    """Return the power of a layer in chosen irreps."""
    value, stderr = weighted(report, lambda irrep: float(chosen(irrep)))
    return Share(float(value[row]), float(stderr[row]), float(report.noise_floor[row]), report.meta["n_inputs"])
