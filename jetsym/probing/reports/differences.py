"""Differences between two reports, number by number, and how probable each is by chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.probing.reports.significance import chance_of, corrected, error_of_log_odds, p_value
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["Difference", "differences_of"]

#: Probability that any number at all is said to differ where none does: that of three standard deviations.
LEVEL = chance_of(3.0)
#: What has to agree for numbers of two reports to be of one thing.
ALIKE = ("group", "frame", "axis")


class Measured(NamedTuple):
    """A number with its standard error over so many inputs or draws, and what rounding can make of it."""

    value: float
    stderr: float
    number: int
    rounding: float


class Difference(NamedTuple):
    """The difference of one number between two reports.

    Parameters
    ----------
    layer, quantity
        What it is of: an irrep by name for a fraction of power; "absolute A", in the unit of the output, or
        "A / spread".
    value, stderr
        What it is more than in the other report, and its standard error, as of independent inputs.
    p_value
        How probable such a difference is by chance, by Welch's t, for shares on their log-odds as well; 1 where
        rounding explains it. It is corrected (Holm) for all numbers that were compared.
    """

    layer: str
    quantity: str
    value: float
    stderr: float
    p_value: float

    @property
    def is_real(self) -> bool:
        """True where it is surely no chance, for all that was compared."""
        return self.p_value < LEVEL


def differences_of(report: SymmetryReport, other: SymmetryReport) -> list[Difference]:
    """Return by how much each number of a report exceeds that of another, for layers and outputs of the same name.

    What is compared of outputs is A itself, and A over the spread, never A over a size that is another in each report.
    Reports hold no numbers of single inputs, so that errors are combined as of independent inputs: of the same inputs
    most differences are known better.

    Examples
    --------
    >>> import jetsym
    >>> points = np.random.default_rng(0).normal(size=(16, 3))
    >>> one, two = (jetsym.probe(lambda x, c=c: 1 + c * x[:, 0], points, l_max=1, progress=False) for c in (0.1, 0.5))
    >>> [found.is_real for found in differences_of(two, one) if found.quantity in ("absolute A", "(1,−)")]
    [False, True]
    """
    if any(report.meta.get(key) != other.meta.get(key) for key in ALIKE):
        return []
    found = [*_shares(report, other), *_errors(report, other)]
    chances = corrected([item.p_value for item in found])
    return [item._replace(p_value=chance) for item, chance in zip(found, chances, strict=True)]


def _shares(report: SymmetryReport, other: SymmetryReport) -> Iterator[Difference]:
    for row, layer in enumerate(report.layers):
        if layer not in other.layers:
            continue
        place = other.layers.index(layer)
        for column, irrep in enumerate(report.irreps):
            if irrep in other.irreps:
                numbers = (_fraction(report, row, column), _fraction(other, place, other.irreps.index(irrep)))
                yield _share(layer, str(irrep), *numbers)


def _fraction(report: SymmetryReport, row: int, column: int) -> Measured:
    root = float(np.sqrt(report.noise_floor[row]))
    return _over(report, report.fractions[row, column], report.stderr[row, column], root)


def _over(report: SymmetryReport, value: float, stderr: float, rounding: float) -> Measured:
    """Return a number with the error of the next draw where it is a mean over draws, and else of the inputs."""
    draws = report.meta.get("n_draws")
    if draws is None:
        return Measured(float(value), float(stderr), report.meta["n_inputs"], rounding)
    return Measured(float(value), float(stderr) * float(np.sqrt(1 + 1 / draws)), draws, rounding)


def _share(layer: str, irrep: str, one: Measured, two: Measured) -> Difference:
    """Compare two fractions of power, as they are and on their log-odds: both have to differ."""
    roots = [float(np.sqrt(max(item.value, 0.0))) for item in (one, two)]
    rounded = abs(roots[0] - roots[1]) <= one.rounding + two.rounding
    odds = [_log_odds(item) for item in (one, two)]
    first, second = (of or item for item, of in zip((one, two), odds, strict=True))
    # The log-odds of a share that a few inputs make up have longer tails than their errors tell.
    plain = _chance(one, two)
    chance = 1.0 if rounded else plain if None in odds else max(plain, _chance(first, second))
    return Difference(layer, irrep, one.value - two.value, float(np.hypot(one.stderr, two.stderr)), chance)


def _log_odds(item: Measured) -> Measured | None:
    """Return the log-odds of a share; None for one about zero or one, whose error is not that of its log-odds."""
    error = error_of_log_odds(item.value, item.stderr)
    return None if error is None else item._replace(value=float(special.logit(item.value)), stderr=error)


def _errors(report: SymmetryReport, other: SymmetryReport) -> Iterator[Difference]:
    for name, item in report.equivariance.items():
        second = other.equivariance.get(name)
        if second is None or second.kind != item.kind:
            continue
        for quantity, of in (("absolute A", "absolute"), ("A / spread", "over_spread")):
            one, two = (
                _over(source, getattr(each, of), getattr(each, f"{of}_stderr"), _rounding(each, of))
                for source, each in ((report, item), (other, second))
            )
            if not np.isfinite([one.value, two.value]).all():
                continue
            rounded = abs(one.value - two.value) <= one.rounding + two.rounding
            chance = 1.0 if rounded else _chance(one, two)
            yield Difference(name, quantity, one.value - two.value, float(np.hypot(one.stderr, two.stderr)), chance)


def _rounding(item: Equivariance, of: str) -> float:
    """Return what rounding makes of A, or of A over the spread: the noise floor is over the size."""
    return KNOWN_TO * item.noise_floor * abs(getattr(item, of) / item.relative) if item.relative else 0.0


def _chance(one: Measured, two: Measured) -> float:
    """Return how probable a difference is by chance, by Welch's t."""
    squares = [item.stderr**2 for item in (one, two)]
    total = sum(squares)
    below = sum(
        square**2 / (item.number - 1) for square, item in zip(squares, (one, two), strict=True) if item.number > 1
    )
    if min(one.number, two.number) < 2:
        return 1.0
    degrees = total**2 / below if below > 0 else 1.0
    return p_value(one.value - two.value, float(np.sqrt(total)), degrees)
