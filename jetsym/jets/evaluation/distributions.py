"""Distributions behind the numbers of an evaluation: of scores, and of the background's mass before and after a cut.

Sources: of the divergence J. Lin, IEEE Trans. Inf. Theory 37 (1991) 145; of its use for what a tagger does to the mass
of the background G. Kasieczka, D. Shih, "DisCo Fever", arXiv:2001.05310.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, rel_entr

from jetsym.jets.weights import effective_number

__all__ = [
    "MassSculpting",
    "ScoreHistogram",
    "SculptedMass",
    "jensen_shannon",
    "mass_before",
    "mass_sculpted",
    "score_histogram",
]

Array = NDArray[np.float64]

#: Bins of scores, and of masses; the range of these holds this share of the background.
SCORE_BINS, MASS_BINS = 50, 30
RANGE = 0.99
#: Draws of jets at random, to say what divergence a cut has that does not look at the mass.
DRAWS = 200


@dataclass(frozen=True)
class ScoreHistogram:
    """Jets of a signal and of the background by the score p_s/(p_s + p_b) of that signal.

    Parameters
    ----------
    edges
        (bins + 1,) of the score.
    signal, background
        (bins,) jets; where they have weights, sums of these.
    signal_stderr, background_stderr
        (bins,) √Σw².
    cut
        Where the working point lies: jets at or above it pass.
    """

    edges: tuple[float, ...]
    signal: tuple[float, ...]
    background: tuple[float, ...]
    signal_stderr: tuple[float, ...]
    background_stderr: tuple[float, ...]
    cut: float


@dataclass(frozen=True)
class SculptedMass:
    """The mass of the background jets that pass the cut of one signal.

    Parameters
    ----------
    jets
        Background jets that pass, within the edges.
    passed, passed_stderr
        (bins,) jets, or sums of weights, and √Σw².
    divergence
        Jensen–Shannon divergence of the mass of the jets that pass from that of those that do not, in bits: 0 for equal
        distributions, 1 for such as do not overlap. None where none pass, or all.
    by_chance, by_chance_at_most
        What it would be of as many jets taken at random, whatever their mass: the mean, and the bound that 95 % of the
        draws are below. Of jets with weights, of as many equal ones as they are worth.
    """

    jets: int
    passed: tuple[float, ...]
    passed_stderr: tuple[float, ...]
    divergence: float | None
    by_chance: float | None
    by_chance_at_most: float | None

    @property
    def excess(self) -> float:
        """The divergence beyond that by chance, which is large where few jets pass, or few do not."""
        return 0.0 if self.divergence is None or self.by_chance is None else self.divergence - self.by_chance

    @property
    def is_seen(self) -> bool:
        """Whether the divergence is more than chance makes of so few jets."""
        return (
            self.divergence is not None
            and self.by_chance_at_most is not None
            and self.divergence > self.by_chance_at_most
        )


@dataclass(frozen=True)
class MassSculpting:
    """What the cuts of a tagger, each at the signal efficiency of its working point, do to the mass of the background.

    Parameters
    ----------
    mass
        Which mass it is: a column's name, or "jet mass".
    edges
        (bins + 1,) GeV. They hold 99 % of the background's jets; the others are not counted.
    jets
        Background jets within the edges.
    background, background_stderr
        (bins,) jets before any cut, or sums of weights, and √Σw².
    signals
        Signal -> what is left of it.
    """

    mass: str
    edges: tuple[float, ...]
    jets: int
    background: tuple[float, ...]
    background_stderr: tuple[float, ...]
    signals: Mapping[str, SculptedMass] = field(default_factory=dict)


def score_histogram(odds: Array, is_signal: NDArray[np.bool_], weights: Array, *, cut: float) -> ScoreHistogram:
    """Sort signal and background by the score that log-odds (n,) and a cut on these are of.

    Examples
    --------
    >>> found = score_histogram(np.array([-4.0, 0.01, 4.0]), np.array([False, True, True]), np.ones(3), cut=0.0)
    >>> found.background[0], found.signal[25], found.signal[49], found.cut
    (1.0, 1.0, 1.0, 0.5)
    """
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    score = expit(np.asarray(odds, np.float64))
    signal, background, of_signal, of_background = (
        _histogram(score[chosen], weights[chosen] ** power, edges)
        for power in (1, 2)
        for chosen in (is_signal, ~is_signal)
    )
    return ScoreHistogram(
        tuple(edges.tolist()),
        tuple(signal.tolist()),
        tuple(background.tolist()),
        tuple(np.sqrt(of_signal).tolist()),
        tuple(np.sqrt(of_background).tolist()),
        float(expit(cut)),
    )


def mass_before(mass: Array, weights: Array, *, named: str) -> MassSculpting | None:
    """Sort the background, before any cut, by its mass (n,) in GeV; None where no masses differ."""
    known = mass[np.isfinite(mass)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - RANGE) / 2, (1 + RANGE) / 2])
    edges = np.linspace(np.floor(low), np.ceil(high), MASS_BINS + 1)
    if edges[0] >= edges[-1]:
        return None
    sums, squares = (_histogram(mass, weights**power, edges) for power in (1, 2))
    inside = int(_within(mass, edges).sum())
    return MassSculpting(named, tuple(edges.tolist()), inside, tuple(sums.tolist()), tuple((squares**0.5).tolist()))


def mass_sculpted(before: MassSculpting, mass: Array, weights: Array, passes: NDArray[np.bool_]) -> SculptedMass:
    """Sort the background jets that pass a cut by their mass, and say how far they are from those that do not.

    Parameters
    ----------
    before
        Of the same jets, see :func:`mass_before`.
    mass, weights, passes
        (n,) of the background's jets.

    Examples
    --------
    A cut on the mass itself sculpts all there is to sculpt; one on every second jet nothing:

    >>> mass = np.linspace(0, 200, 4001)
    >>> before = mass_before(mass, np.ones(4001), named="jet mass")
    >>> found = mass_sculpted(before, mass, np.ones(4001), mass > 150)
    >>> round(found.divergence, 2), found.is_seen
    (0.96, True)
    >>> mass_sculpted(before, mass, np.ones(4001), np.arange(4001) % 2 == 0).is_seen
    False
    """
    edges = np.array(before.edges)
    inside = _within(mass, edges)
    sums, squares = (_histogram(mass[passes], weights[passes] ** power, edges) for power in (1, 2))
    rest = np.array(before.background) - sums
    divergence = jensen_shannon(sums, rest)
    mean, bound = None, None
    if divergence is not None:
        total, taken = (effective_number(weights[chosen]) for chosen in (inside, inside & passes))
        mean, bound = _by_chance(np.array(before.background), total, taken)
    return SculptedMass(
        int((inside & passes).sum()),
        tuple(sums.tolist()),
        tuple((squares**0.5).tolist()),
        divergence,
        mean,
        bound,
    )


def jensen_shannon(first: Array, second: Array) -> float | None:
    """Return the Jensen–Shannon divergence of two histograms in bits, each as its shares; None where one is empty.

    JSD = ½ Σ p log₂(p/m) + ½ Σ q log₂(q/m) with m = (p + q)/2. What negative weights make negative counts as zero.

    Examples
    --------
    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 3.0])), jensen_shannon(np.ones(2), np.ones(2))
    (1.0, 0.0)
    """
    shares = [np.clip(values, 0, None) for values in (first, second)]
    if min(values.sum() for values in shares) <= 0:
        return None
    return float(_divergence(*(values / values.sum() for values in shares)))


def _divergence(p: Array, q: Array) -> Any:
    """Compute it of shares (…, bins)."""
    middle = (p + q) / 2
    found = rel_entr(p, middle) + rel_entr(q, middle)
    return np.maximum(found.sum(axis=-1) / (2 * np.log(2)), 0.0)


def _by_chance(background: Array, total: float, taken: float) -> tuple[float | None, float | None]:
    """Return mean and 95 % bound of the divergence of equal jets taken at random; None where all are, or none."""
    shares = np.clip(background, 0, None)
    counts = np.round(total * shares / shares.sum()).astype(np.int64)
    chosen = round(taken)
    if not 0 < chosen < counts.sum():
        return None, None
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_hypergeometric(counts, chosen, size=DRAWS, method="marginals").astype(np.float64)
    found = _divergence(drawn / chosen, (counts - drawn) / (counts.sum() - chosen))
    return float(found.mean()), float(np.quantile(found, 0.95))


def _within(mass: Array, edges: Array) -> NDArray[np.bool_]:
    return np.asarray((mass >= edges[0]) & (mass <= edges[-1]))


def _histogram(values: Array, weights: Array, edges: Array) -> Array:
    return np.asarray(np.histogram(values, edges, weights=weights)[0], np.float64)
