"""Background rejection at the field's working points, with confidence intervals that say what a sample can tell.

Source of the score and of the working points: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging",
arXiv:2202.03772, eq. (5) and table 1. Source of the interval for a fixed cut: C. Clopper, E. Pearson, Biometrika 26
(1934) 404.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, binom

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.evaluation.metrics import background_rejection

__all__ = [
    "FEW",
    "Rejection",
    "background_of",
    "measure_rejection",
    "passing_share_interval",
    "working_points_of",
]

#: Signal efficiency at which the rejection of a class is quoted, where it is not one half.
WORKING_POINTS = {"Hqql": 0.99, "Tbl": 0.995}

#: A rejection measured on fewer passing background jets than this is uncertain by a third and more.
FEW = 10


@dataclass(frozen=True)
class Rejection:
    """Rejection of background where a given share of a signal passes.

    Parameters
    ----------
    signal, background
        The class, and those against which it is told.
    signal_efficiency
        The least share of the signal that passes the cut.
    n_signal, n_background
        Jets of the sample.
    passed
        Background jets that pass.
    low, high
        Confidence interval of the share ε_b of background that passes, see :func:`passing_share_interval`.
    confidence
        Its level.

    Examples
    --------
    >>> print(Rejection("top", ("QCD",), 0.5, 1000, 1000, 20, 0.0123, 0.0307, 0.95))
    50 [33, 81]
    >>> print(Rejection("top", ("QCD",), 0.5, 1000, 1000, 0, 0.0, 0.0037, 0.95))
    > 270 (none passes)
    """

    signal: str
    background: tuple[str, ...]
    signal_efficiency: float
    n_signal: int
    n_background: int
    passed: int
    low: float
    high: float
    confidence: float

    @property
    def value(self) -> float:
        """1/ε_b, infinite where none passes."""
        return self.n_background / self.passed if self.passed else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """Of the rejection; infinite above where the sample does not bound it."""
        return 1 / self.high, (1 / self.low if self.low else math.inf)

    @property
    def few(self) -> bool:
        """True where so few background jets pass that the interval says more than the value."""
        return self.passed < FEW

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON can hold; what is infinite is None."""
        values = {"value": self.value, "lower": self.interval[0], "upper": self.interval[1]}
        return {
            **asdict(self),
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "few": self.few,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rejection:
        """Return that of which :meth:`to_dict` gave ``data``."""
        values = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**values | {"background": tuple(values["background"])})

    def __str__(self) -> str:
        lower, upper = (f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in self.interval)
        if not self.passed:
            return f"> {lower} (none passes)"
        return f"{_digits(self.value)}{'*' if self.few else ''} [{lower}, {upper.replace('inf', '∞')}]"


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def background_of(classes: Sequence[str], named: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the classes that count as background: those named, else "QCD" or all "QCD_…", else the first.

    Raises
    ------
    ConfigError
        A name is not among the classes, or no class is left to be signal.

    Examples
    --------
    >>> background_of(("Hbb", "QCD")), background_of(("X_bb", "QCD_bb", "QCD_light")), background_of(("q", "g"))
    (('QCD',), ('QCD_bb', 'QCD_light'), ('q',))
    """
    if named is not None:
        chosen = (named,) if isinstance(named, str) else tuple(named)
        for name in chosen:
            if name not in classes:
                raise ConfigError(f"background is {name!r}, which is no class; {closest(name, classes)}")
    else:
        chosen = tuple(name for name in classes if name == "QCD" or name.startswith("QCD_")) or tuple(classes[:1])
    if not chosen or set(chosen) >= set(classes):
        raise ConfigError(f"background is {chosen} of the classes {tuple(classes)}; expected some, and not all")
    return chosen


def working_points_of(signals: Sequence[str], changes: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the signal efficiency of every class: 99 % for Hqql, 99.5 % for Tbl, else 50 %, but for the ``changes``.

    Raises
    ------
    ConfigError
        A change is not of one of the classes, or not in (0, 1].

    Examples
    --------
    >>> working_points_of(("Hbb", "Hqql", "Tbqq"), {"Tbqq": 0.3})
    {'Hbb': 0.5, 'Hqql': 0.99, 'Tbqq': 0.3}
    """
    for name, value in (changes or {}).items():
        if name not in signals:
            raise ConfigError(f"working_points names {name!r}; {closest(name, signals)}")
        if not 0 < value <= 1:
            raise ConfigError(f"working_points has {value} for {name!r}; expected a share in (0, 1]")
    return {name: (changes or {}).get(name, WORKING_POINTS.get(name, 0.5)) for name in signals}


def measure_rejection(
    score: NDArray[np.floating],
    is_signal: NDArray[np.bool_],
    *,
    signal_efficiency: float,
    signal: str = "signal",
    background: Sequence[str] = ("background",),
    confidence: float = 0.95,
) -> Rejection:
    """Measure the background rejection of a score with its confidence interval.

    Parameters
    ----------
    score
        (n,) larger for signal.
    is_signal
        (n,) bool.
    signal_efficiency
        The least share of the signal that has to pass, in (0, 1].
    signal, background
        Names for the result.
    confidence
        Level of the interval, in (0, 1).

    Raises
    ------
    DataError
        The efficiency is out of range, or one of the two kinds is missing.

    Examples
    --------
    >>> score = np.concatenate([np.linspace(0, 1, 100) ** 0.2, np.linspace(0, 1, 200)])
    >>> found = measure_rejection(score, np.arange(300) < 100, signal_efficiency=0.5)
    >>> found.passed, round(found.value, 2), tuple(round(float(edge), 2) for edge in found.interval)
    (26, 7.69, (4.96, 12.95))
    """
    share = 1 / background_rejection(score, is_signal, signal_efficiency=signal_efficiency)
    is_signal = np.asarray(is_signal, dtype=bool)
    n_background = int((~is_signal).sum())
    low, high = passing_share_interval(
        score[is_signal], score[~is_signal], signal_efficiency=signal_efficiency, confidence=confidence
    )
    return Rejection(
        signal,
        tuple(background),
        float(signal_efficiency),
        int(is_signal.sum()),
        n_background,
        round(share * n_background),
        low,
        high,
        confidence,
    )


def passing_share_interval(
    signal: NDArray[np.floating], background: NDArray[np.floating], *, signal_efficiency: float, confidence: float
) -> tuple[float, float]:
    """Return the confidence interval of the share of background above the cut that lets a share of the signal pass.

    At a fixed cut that k of n background jets pass, Clopper and Pearson bound the share by quantiles of the Beta
    distributions (k, n − k + 1) from below and (k + 1, n − k) from above. But the cut is found on a sample of signal:
    the number j of its jets above the true cut is binomial, so that the true cut lies between the j-th and the
    (j + 1)-th largest score. The interval takes the quantiles of the Beta distributions averaged over j, with k
    counted at the edge that makes it wider. With ever more signal it becomes that of Clopper and Pearson, which covers
    the truth too seldom where the signal is not much larger than the background that passes.

    Parameters
    ----------
    signal, background
        (n_s,) and (n,) scores.
    signal_efficiency, confidence
        In (0, 1] and (0, 1); either side misses with probability (1 − confidence)/2.

    Returns
    -------
    (float, float)
        Lower and upper end; 0 below if no background may pass, 1 above if all may.

    Examples
    --------
    No background passes: the share is at most 1 − 0.025^(1/n), the exact bound of n jets.

    >>> low, high = passing_share_interval(np.ones(10**6), np.zeros(100), signal_efficiency=0.5, confidence=0.95)
    >>> low, bool(np.isclose(high, 1 - 0.025 ** (1 / 100)))
    (0.0, True)
    """
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence}; expected a level in (0, 1)")
    n_signal, n = len(signal), len(background)
    first, last = binom.ppf([1e-10, 1 - 1e-10], n_signal, signal_efficiency).astype(int)
    above = np.arange(first, last + 1)
    weights = binom.pmf(above, n_signal, signal_efficiency)
    falling = np.concatenate([[np.inf], np.sort(signal)[::-1], [-np.inf]])
    passing = n - np.searchsorted(np.sort(background), falling[first : last + 2], side="left")
    miss = (1 - confidence) / 2
    fewest, most = _merged(passing[:-1], weights), _merged(passing[1:], weights)
    return _averaged_quantile(miss, *fewest, n, extra=0), _averaged_quantile(1 - miss, *most, n, extra=1)


def _merged(counts: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each count once, with the sum of its weights; these sum to one."""
    unique, places = np.unique(counts, return_inverse=True)
    return unique, np.bincount(places, weights) / weights.sum()


def _averaged_quantile(
    level: float, counts: NDArray[np.int64], weights: NDArray[np.float64], n: int, *, extra: int
) -> float:
    """Return the quantile of Σ w_k Beta(k + extra, n − k + 1 − extra), a point at 0 for k = 0 and at 1 for k = n."""
    first, second = counts + extra, n - counts + 1 - extra
    ends = np.where(first == 0, 0.0, 1.0)
    inner = (first > 0) & (second > 0)

    def excess(share: float) -> float:
        below = np.where(inner, beta.cdf(share, np.maximum(first, 1), np.maximum(second, 1)), share >= ends)
        return float(weights @ below) - level

    quantiles = np.where(inner, beta.ppf(level, np.maximum(first, 1), np.maximum(second, 1)), ends)
    low, high = float(quantiles.min()), float(quantiles.max())
    if excess(low) >= 0:
        return low
    if excess(np.nextafter(high, 0)) <= 0:  # a point at the upper end carries the rest
        return high
    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-10))
