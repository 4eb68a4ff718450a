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
from jetsym.forms import made_of
from jetsym.jets.evaluation.shares import Weights, expect_ordered
from jetsym.jets.evaluation.working_points import background_share_with_influence, cuts_at
from jetsym.jets.weights import as_weights, effective_number

__all__ = [
    "FEW",
    "Rejection",
    "background_of",
    "effective_counts",
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
    share
        Where jets have weights: the share ε_b of the background's weight that passes. With negative ones among few jets
        it may be zero or below: then it bounds the rejection from below only.
    passed_effective
        Where jets have weights: n_eff of the background jets that pass.

    Examples
    --------
    >>> print(Rejection("top", ("QCD",), 0.5, 1000, 1000, 20, 0.0123, 0.0307, 0.95))
    50 [33, 81]
    >>> print(Rejection("top", ("QCD",), 0.5, 1000, 1000, 0, 0.0, 0.0037, 0.95))
    > 270 (none passes)
    >>> print(Rejection("top", ("QCD",), 0.5, 1000, 1000, 20, 0.005, 0.027, 0.95, 0.0125, 9.8))
    80* [37, 200]
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
    share: float | None = None
    passed_effective: float | None = None

    @property
    def value(self) -> float:
        """1/ε_b, infinite where none passes, or where the weights of those that pass cancel."""
        if self.share is not None:
            return 1 / self.share if self.share > 0 else math.inf
        return self.n_background / self.passed if self.passed else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """Of the rejection; infinite above where the sample does not bound it."""
        return 1 / self.high, (1 / self.low if self.low else math.inf)

    @property
    def few(self) -> bool:
        """True where so few background jets pass that the interval says more than the value; by n_eff with weights."""
        return (self.passed if self.passed_effective is None else self.passed_effective) < FEW

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
        values = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return made_of(cls, values)

    def __str__(self) -> str:
        lower, upper = (f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in self.interval)
        if self.value == math.inf:
            return f"> {lower} ({'weights cancel' if self.passed else 'none passes'})"
        digits = f"{self.value:.3g}" if self.value < 1000 else f"{self.value:.0f}"
        return f"{digits}{'*' if self.few else ''} [{lower}, {upper.replace('inf', '∞')}]"


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
    weights: Weights = None,
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
    weights
        (n,) of the jets. The cut is then the tightest that the asked share of the signal's weight passes.

    Raises
    ------
    DataError
        The efficiency is out of range, one of the two kinds is missing, its weights sum to zero or less, or a score is
        NaN.

    Examples
    --------
    >>> score = np.concatenate([np.linspace(0, 1, 100) ** 0.2, np.linspace(0, 1, 200)])
    >>> found = measure_rejection(score, np.arange(300) < 100, signal_efficiency=0.5)
    >>> found.passed, round(found.value, 2), tuple(round(float(edge), 2) for edge in found.interval)
    (26, 7.69, (4.96, 12.95))
    """
    share, _ = background_share_with_influence(score, is_signal, signal_efficiency=signal_efficiency, weights=weights)
    is_signal, values = np.asarray(is_signal, dtype=bool), as_weights(weights, len(score))
    cut = cuts_at(score[is_signal], np.array([signal_efficiency]), values[is_signal])[0]
    passing = ~is_signal & (np.asarray(score) >= cut)
    low, high = passing_share_interval(
        score[is_signal],
        score[~is_signal],
        signal_efficiency=signal_efficiency,
        confidence=confidence,
        signal_weights=values[is_signal],
        background_weights=values[~is_signal],
    )
    return Rejection(
        signal,
        tuple(background),
        float(signal_efficiency),
        int(is_signal.sum()),
        int((~is_signal).sum()),
        int(passing.sum()),
        low,
        high,
        confidence,
        share=None if weights is None else share,
        passed_effective=None if weights is None else effective_number(values[passing]),
    )


def passing_share_interval(
    signal: NDArray[np.floating],
    background: NDArray[np.floating],
    *,
    signal_efficiency: float,
    confidence: float,
    signal_weights: Weights = None,
    background_weights: Weights = None,
) -> tuple[float, float]:
    """Return the confidence interval of the share of background above the cut that lets a share of the signal pass.

    At a fixed cut that k of n background jets pass, Clopper and Pearson bound the share by quantiles of the Beta
    distributions (k, n − k + 1) from below and (k + 1, n − k) from above. But the cut is found on a sample of signal:
    the number j of its jets above the true cut is binomial, so that the true cut lies between the j-th and the
    (j + 1)-th largest score. The interval takes the quantiles of the Beta distributions averaged over j, with k
    counted at the edge that makes it wider. With ever more signal it becomes that of Clopper and Pearson, which covers
    the truth too seldom where the signal is not much larger than the background that passes.

    Where jets have weights, k and n are the effective numbers of :func:`effective_counts` at every cut; j is binomial
    of the effective number of signal jets at the cut that was found, and the true cut lies between those that j and
    j + 1 of it pass.

    Parameters
    ----------
    signal, background
        (n_s,) and (n,) scores.
    signal_efficiency, confidence
        In (0, 1] and (0, 1); either side misses with probability (1 − confidence)/2.
    signal_weights, background_weights
        (n_s,) and (n,) of the jets.

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
    expect_ordered(signal, background)
    of_signal, of_background = as_weights(signal_weights, len(signal)), as_weights(background_weights, len(background))
    found = np.asarray(signal) >= cuts_at(signal, np.array([signal_efficiency]), of_signal)[0]
    share, variance = _share_and_variance(of_signal[found], of_signal[~found])
    n_signal = max(1, round(float(effective_counts(share, variance, effective_number(of_signal))[1])))
    first, last = binom.ppf([1e-10, 1 - 1e-10], n_signal, signal_efficiency).astype(int)
    above = np.arange(first, last + 1)
    weights = binom.pmf(above, n_signal, signal_efficiency)
    levels = np.arange(first, last + 2) / n_signal
    cuts = cuts_at(signal, levels.clip(1 / n_signal, 1), of_signal).astype(float)
    cuts[levels == 0], cuts[levels > 1] = np.inf, -np.inf

    order = np.argsort(background)
    places, own = np.searchsorted(background[order], cuts), of_background[order]
    sums, squares = (np.append(np.cumsum(values[::-1])[::-1], 0.0) for values in (own, own**2))
    shares = sums / sums[0]  # that pass, by the number of the first jet that does
    variances = (squares * (1 - shares) ** 2 + (squares[0] - squares) * shares**2) / sums[0] ** 2
    counts, trials = effective_counts(shares, variances, effective_number(own))
    miss = (1 - confidence) / 2

    def quantile(level: float, at: NDArray[np.int64], extra: int) -> float:
        unique, same = np.unique(at, return_inverse=True)
        return _averaged_quantile(
            level, counts[unique], np.bincount(same, weights) / weights.sum(), trials[unique], extra=extra
        )

    return quantile(miss, places[:-1], 0), quantile(1 - miss, places[1:], 1)


def effective_counts(
    share: NDArray[np.float64] | float, variance: NDArray[np.float64] | float, n_eff: NDArray[np.float64] | float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the hits k of n equal trials that say as much of a share as weighted ones do, for binomial intervals.

    n = ε(1 − ε)/V and k = ε n have the share ε and its variance V = Σ w²(h − ε)²/(Σw)²; of equal weights they are the
    numbers themselves. Where no trial hits, or all do, V is 0 and n is n_eff of all. Where hits are worth less than
    one (as positive and negative weights cancel), ε/√V no longer counts anything, and √V is taken for the weight of a
    hit: n = √((1 − ε)/V), which goes on smoothly from k = 1; likewise for the trials that do not hit. So the bound of a
    share near or below 0 is 3.7 √V, and not without end.

    Parameters
    ----------
    share, variance
        Of any shape: ε and V.
    n_eff
        Of all trials.

    Returns
    -------
    k, n
        As above, 0 ≤ k ≤ n; a share outside of [0, 1] counts as the nearer end.

    Examples
    --------
    >>> k, n = effective_counts(0.2, 0.2 * 0.8 / 50, 50)
    >>> round(float(k), 6), round(float(n), 6)
    (10.0, 50.0)
    """
    inside, spread = np.clip(np.asarray(share, np.float64), 0, 1), np.asarray(variance, np.float64)
    rare = np.minimum(inside, 1 - inside)
    with np.errstate(divide="ignore", invalid="ignore"):
        trials = inside * (1 - inside) / spread
        trials = np.where(rare * trials < 1, np.sqrt((1 - rare) / spread), trials)
    trials = np.where(spread > 0, trials, n_eff)
    return inside * trials, trials


def _share_and_variance(hits: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Return the share of the weight that hits, and its variance, from the weights of those that do and do not."""
    total = hits.sum() + others.sum()
    share = float(hits.sum() / total)
    variance = (np.square(hits).sum() * (1 - share) ** 2 + np.square(others).sum() * share**2) / total**2
    return share, float(variance)


def _averaged_quantile(
    level: float, counts: NDArray[np.float64], weights: NDArray[np.float64], n: NDArray[np.float64], *, extra: int
) -> float:
    """Return the quantile of Σ w_k Beta(k + extra, n − k + 1 − extra), a point at 0 for k = 0 and at 1 for k = n."""
    first, second = counts + extra, n - counts + 1 - extra
    ends = np.where(first == 0, 0.0, 1.0)
    inner = (first > 0) & (second > 0)
    first, second = np.where(inner, first, 1), np.where(inner, second, 1)

    def excess(share: float) -> float:
        below = np.where(inner, beta.cdf(share, first, second), share >= ends)
        return float(weights @ below) - level

    quantiles = np.where(inner, beta.ppf(level, first, second), ends)
    low, high = float(quantiles.min()), float(quantiles.max())
    if excess(low) >= 0:
        return low
    if excess(np.nextafter(high, 0)) <= 0:  # a point at the upper end carries the rest
        return high
    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-10))
