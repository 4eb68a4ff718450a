"""The bounds of a diagnosis: where each stands, what it means, and why it has the value it has."""

from __future__ import annotations

from dataclasses import dataclass, fields

from jetsym.errors import ConfigError, closest

__all__ = ["Thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """From where on a number counts as a failure.

    No bound is compared with a bare number: the number has to be beyond it by ``sigma`` of its jackknife standard
    errors, and by what rounding can do (see :class:`~jetsym.probing.reports.derived.Share`). What cannot be told
    apart from the bound is no finding. With one input there are no errors, and nothing is found but that.

    Parameters
    ----------
    sigma
        Standard errors that a number has to be beyond a bound. A report of ten layers and ten irreps is a hundred
        chances to be wrong, of which 3 σ leaves 0.3.
    deviation
        Relative A of an output that counts: a hundredth of its size, 10⁻⁴ of its power.
    severe
        Relative A that is a problem rather than a warning: a tenth of its size.
    starved
        Fraction of power in an irrep below which the features hold too little of it: at 10⁻³ a linear readout has to
        amplify its amplitude thirtyfold against everything else.
    absent
        Fraction of power that counts as none at all, where an architecture forbids an irrep: a thousandth in amplitude.
        (Rounding in float32 stays below it.)
    tail
        Fraction of power beyond l_max that is left unexplained; the tolerance of ``l_max="auto"`` as well.
    collapse
        Factor by which the head alone lowers the part that is not invariant, when the layers before have not halved it.
    drift
        Rise of relative A from its lowest value in training, as a part of that value.
    azimuth
        Relative A under rotations about the beam: a detector is built the same all around it.
    boost, boost_width
        Relative A under boosts along the beam, uniform in rapidity on [−width, width]: a detector's cells and the edge
        of its acceptance justify some of it, a tenth of the output for half a unit.
    uncertain
        Standard error of a fraction of power above which a spectrum says too little: 0.05, five points in a hundred.

    Raises
    ------
    ConfigError
        A value that is no positive number; a factor or a number of errors below 1.

    Examples
    --------
    >>> Thresholds(deviation=-1)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: the threshold deviation is -1; expected a number above 0
    """

    sigma: float = 3.0
    deviation: float = 0.01
    severe: float = 0.1
    starved: float = 1e-3
    absent: float = 1e-6
    tail: float = 0.01
    collapse: float = 10.0
    drift: float = 0.25
    azimuth: float = 0.01
    boost: float = 0.1
    boost_width: float = 0.5
    uncertain: float = 0.05

    def __post_init__(self) -> None:
        for item in fields(self):
            value, least = getattr(self, item.name), 1 if item.name in ("sigma", "collapse") else 0
            if not least <= value < float("inf") or value == 0:
                expected = "at least 1" if least else "a number above 0"
                raise ConfigError(f"the threshold {item.name} is {value!r}; expected {expected}")

    @classmethod
    def of(cls, **changes: float) -> Thresholds:
        """The bounds with some of them changed.

        Raises
        ------
        ConfigError
            There is no such bound.
        """
        names = [item.name for item in fields(cls)]
        for name in changes:
            if name not in names:
                raise ConfigError(f"there is no threshold {name!r}; {closest(name, names)}")
        return cls(**changes)
