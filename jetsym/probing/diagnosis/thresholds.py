"""The bounds of a diagnosis: where each stands, what it means, and why it has the value it has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

from jetsym.errors import ConfigError, closest

__all__ = ["BOUNDS", "Bound", "Thresholds"]


class Bound(NamedTuple):
    """One bound.

    Parameters
    ----------
    default
        Its value where nobody says otherwise.
    meaning
        What is compared with it, and why it has that value.
    least
        The smallest value it may have; zero itself is none.
    """

    default: float
    meaning: str
    least: float = 0.0


#: Name -> bound. These serve all modes; a mode brings its own, see :func:`jetsym.probing.diagnosis.modes.register`.
BOUNDS: dict[str, Bound] = {
    "sigma": Bound(
        3.0,
        "Standard errors that a number has to be beyond a bound. A report of ten layers and ten irreps is a hundred "
        "chances to be wrong, of which 3 σ leaves 0.3.",
        least=1.0,
    ),
    "deviation": Bound(0.01, "Relative A of an output that counts: a hundredth of its size, 10⁻⁴ of its power."),
    "severe": Bound(0.1, "Relative A that is a problem rather than a warning: a tenth of its size."),
    "absent": Bound(
        1e-6,
        "Fraction of power that counts as none at all, where an architecture forbids an irrep: a thousandth in "
        "amplitude. (Rounding in float32 stays below it.)",
    ),
    "passes": Bound(
        1e-3,
        "Part of an output's squared gain that has to pass through a layer for it to count among those that the output "
        "is read from, or depends on: a thirtieth in amplitude.",
    ),
}


class Thresholds(SimpleNamespace):
    """From where on a number counts as a failure: an attribute for each of :data:`BOUNDS`; print it to see them.

    No bound is compared with a bare number: the number has to be beyond it by ``sigma`` of its jackknife standard
    errors, and by what rounding can do (see :class:`~jetsym.probing.reports.derived.Share`). What cannot be told
    apart from the bound is no finding. With one input there are no errors, and nothing is found but that.

    Parameters
    ----------
    changes
        Values in place of the defaults.

    Raises
    ------
    ConfigError
        There is no such bound, or a value is no positive number, or a factor or a number of errors below 1.

    Examples
    --------
    >>> Thresholds(deviation=-1)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: the threshold deviation is -1; expected a number above 0
    """

    def __init__(self, **changes: float) -> None:
        for name, value in changes.items():
            if name not in BOUNDS:
                raise ConfigError(f"there is no threshold {name!r}; {closest(name, BOUNDS)}")
            least = BOUNDS[name].least
            if not least <= value < float("inf") or value == 0:
                expected = f"at least {least:g}" if least else "a number above 0"
                raise ConfigError(f"the threshold {name} is {value!r}; expected {expected}")
        super().__init__(**{name: bound.default for name, bound in BOUNDS.items()} | changes)

    def __str__(self) -> str:
        return "\n".join(f"{name} = {value:g}: {BOUNDS[name].meaning}" for name, value in vars(self).items())
