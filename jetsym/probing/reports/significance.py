"""What can surely be said of a number that was measured on a few inputs, or over a few draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

__all__ = ["FEWEST_INPUTS", "Share", "chance_of", "corrected", "error_of_log_odds", "in_sigma", "p_value", "quantile"]

#: With fewer inputs the tail of their distribution is out of sight: nothing is said to stay below a bound.
FEWEST_INPUTS = 8


def p_value(difference: float, stderr: float, degrees: float) -> float:
    """Return how probable a difference of this size or more is by chance, by Student's t; 1 where no error is known.

    Examples
    --------
    >>> round(p_value(2.0, 1.0, 11), 3), p_value(1.0, 0.0, 11), p_value(0.0, 0.0, 11), p_value(1.0, float("nan"), 0)
    (0.071, 0.0, 1.0, 1.0)
    """
    if degrees <= 0 or not np.isfinite(stderr) or not difference:
        return 1.0
    return float(2 * special.stdtr(degrees, -abs(difference) / stderr)) if stderr else 0.0


def chance_of(sigma: float) -> float:
    """Return the probability of a normal number beyond so many standard deviations, on either side."""
    return 2.0 * float(special.ndtr(-sigma))


def in_sigma(probability: float) -> float:
    """Return how many standard deviations of a normal number are as improbable, on either side.

    The inverse of :func:`chance_of`.

    Examples
    --------
    >>> round(in_sigma(0.0455), 2), in_sigma(1.0)
    (2.0, 0.0)
    """
    return abs(float(special.ndtri(probability / 2)))


def corrected(p_values: Sequence[float]) -> list[float]:
    """Return probabilities corrected for how many were looked at, by Holm's step-down rule.

    Examples
    --------
    >>> corrected([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(steps, 1.0)
    return [float(value) for value in result]


def quantile(sigma: float, inputs: int) -> float:
    """Return how many standard errors of so many inputs have the tail probability of ``sigma`` normal ones.

    It is that of Student's t with ``inputs`` − 1 degrees of freedom; infinite for a single input.

    Examples
    --------
    >>> [round(quantile(3.0, inputs), 2) for inputs in (1, 4, 16, 10**6)]
    [inf, 9.22, 3.59, 3.0]
    """
    return float(special.stdtrit(inputs - 1, special.ndtr(sigma))) if inputs > 1 else float("inf")


def error_of_log_odds(share: float, stderr: float) -> float | None:
    """Return the standard error of ln b/(1 − b) for a share b; None where b is an estimate about zero."""
    if not stderr <= 2.0 * share < 2.0 or not share > 0.0:
        return None
    return stderr / (share * (1.0 - share))


class Share(NamedTuple):
    """A fraction of power that is uncertain in two ways: by the choice of inputs, and by rounding.

    Rounding changes √b by no more than √floor (see :class:`~jetsym.spectrum.Spectrum`), so that b lies between
    (√b − √floor)² and (√b + √floor)². The choice of inputs is judged on the log-odds ln b/(1 − b), whose standard error
    is that of b by b(1 − b), by Student's t of ``inputs`` − 1 degrees: shares are skew, and a few of them have no
    normal mean. An error over twice the value is that of an unbiased estimate about zero, and taken as it is.

    Examples
    --------
    >>> Share(0.02, 0.001, 0.0, 64).surely_above(0.01), Share(0.02, 0.006, 0.0, 64).surely_above(0.01)
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
        error = error_of_log_odds(self.value, self.stderr)
        if error is None or not 0.0 < value < 1.0:
            return value + errors * self.stderr
        return float(special.expit(special.logit(value) + errors * error))
