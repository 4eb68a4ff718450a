"""Points of ROC curves against the background, each with the binomial interval of what passes its cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from jetsym.jets.evaluation.rejection import effective_counts
from jetsym.jets.evaluation.shares import expect_ordered
from jetsym.jets.evaluation.working_points import cuts_at
from jetsym.jets.weights import effective_number

__all__ = ["EFFICIENCIES", "roc_points"]

Points = tuple[float, ...]

#: Signal efficiencies at which ROC curves are kept.
EFFICIENCIES = (*(percent / 100 for percent in range(1, 100)), 0.995, 0.999, 1.0)


def roc_points(
    score: NDArray[np.float64], is_signal: NDArray[np.bool_], weights: NDArray[np.float64], *, confidence: float
) -> tuple[tuple[Points, Points], tuple[Points, Points]]:
    """Return signal efficiencies and the share of background that passes at each; and the intervals of these shares.

    The interval at a cut that k of n background jets pass is that of Clopper and Pearson (Biometrika 26 (1934) 404);
    jets with weights count by :func:`jetsym.jets.evaluation.rejection.effective_counts`. It is at the cut as it was
    found: that the signal's sample is finite as well is counted at the working points alone, by
    :func:`jetsym.jets.evaluation.rejection.passing_share_interval`.

    Parameters
    ----------
    score, is_signal, weights
        (n,) of the jets of a signal and of the background.
    confidence
        Level of the intervals, in (0, 1).

    Examples
    --------
    >>> score = np.concatenate([np.linspace(1, 2, 100), np.linspace(0, 1.5, 300)])
    >>> (efficiency, share), (low, high) = roc_points(score, np.arange(400) < 100, np.ones(400), confidence=0.95)
    >>> [round(row[79], 3) for row in (efficiency, share, low, high)]
    [0.8, 0.2, 0.156, 0.25]
    """
    expect_ordered(score)
    own = weights[~is_signal]
    order = np.argsort(score[~is_signal])
    cuts = cuts_at(score[is_signal], np.array(EFFICIENCIES), weights[is_signal])
    place = np.searchsorted(score[~is_signal][order], cuts, side="left")
    below, below_squared = (np.concatenate([[0.0], np.cumsum(own[order] ** power)]) for power in (1, 2))
    share, squares = 1 - below[place] / below[-1], below_squared[-1] - below_squared[place]
    variance = (squares * (1 - share) ** 2 + below_squared[place] * share**2) / below[-1] ** 2
    k, n = effective_counts(share, variance, effective_number(own))
    miss = (1 - confidence) / 2
    low = np.where(k > 0, beta.ppf(miss, np.maximum(k, 1e-300), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - miss, k + 1, np.maximum(n - k, 1e-300)), 1.0)
    return (EFFICIENCIES, tuple(share.tolist())), (tuple(low.tolist()), tuple(high.tolist()))
