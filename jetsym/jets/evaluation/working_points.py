"""Cuts on a score at given signal efficiencies, and the background that passes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.evaluation.shares import Weights, both_kinds, positive, share_with_influence
from jetsym.jets.weights import as_weights

__all__ = ["background_rejection", "background_share_with_influence", "cuts_at"]


def cuts_at(
    score: NDArray[np.floating], efficiencies: NDArray[np.float64], weights: Weights = None
) -> NDArray[np.floating]:
    """Find the tightest cuts that at least given shares of some jets pass: those with score ≥ cut.

    Parameters
    ----------
    score
        (n,) of the jets.
    efficiencies
        (k,) in (0, 1].
    weights
        (n,) of the jets. With negative ones the share that passes may fall again as the cut is loosened; the tightest
        cut that reaches the efficiency is taken all the same.

    Returns
    -------
    (k,) scores of jets

    Examples
    --------
    >>> cuts_at(np.array([0.9, 0.7, 0.5, 0.3]), np.array([0.25, 0.3, 1.0])).tolist()
    [0.9, 0.7, 0.3]
    >>> cuts_at(np.array([0.9, 0.7, 0.5, 0.3]), np.array([0.5]), np.array([1.0, -0.5, 0.5, 1.0])).tolist()
    [0.9]
    """
    values = positive(as_weights(weights, len(score)), "the signal")
    falling, place = np.unique(-np.asarray(score), return_inverse=True)
    passed = np.cumsum(np.bincount(place, values))
    # The tolerance absorbs the rounding of k/n; all of the jets pass the last cut.
    reached = np.maximum.accumulate(passed / passed[-1])
    return -falling[np.minimum(np.searchsorted(reached, efficiencies - 1e-12), len(falling) - 1)]


def background_rejection(
    score: NDArray[np.floating], is_signal: NDArray[np.bool_], *, signal_efficiency: float, weights: Weights = None
) -> float:
    """Compute one over the share of the background that passes the cut at which a given share of the signal does.

    Parameters
    ----------
    score
        (n,) larger for signal.
    is_signal
        (n,) bool.
    signal_efficiency
        The least share of the signal that has to pass, in (0, 1]; the tightest cut that lets it pass is taken, see
        :func:`cuts_at`.
    weights
        (n,) of the jets.

    Returns
    -------
    float
        1 / ε_b. Where not one background jet passes, or the weights of those that pass sum to zero or less, it is
        infinite, which says that the sample is too small: with n_b background jets the rejection is then beyond about
        n_b.

    Raises
    ------
    DataError
        The efficiency is out of range, or one of the two kinds is missing, or its weights sum to zero or less.

    Examples
    --------
    >>> score, is_signal = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0], bool)
    >>> background_rejection(score, is_signal, signal_efficiency=0.8)
    2.0
    >>> background_rejection(score, is_signal, signal_efficiency=0.8, weights=np.array([1.0, 1.0, 1.0, 3.0]))
    4.0
    """
    share, _ = background_share_with_influence(score, is_signal, signal_efficiency=signal_efficiency, weights=weights)
    return 1.0 / share if share > 0 else float("inf")


def background_share_with_influence(
    score: NDArray[np.floating], is_signal: NDArray[np.bool_], *, signal_efficiency: float, weights: Weights = None
) -> tuple[float, NDArray[np.float64]]:
    """Compute the inverse of :func:`background_rejection`, and what each jet contributes to its error at the cut.

    Returns
    -------
    share, influence
        ε_b and (n,) ψ, of which √Σψ² = √(ε_b (1 − ε_b) / n_b) without weights, the binomial error. How far the cut
        itself may move with the sample of signal is not in it.

    Examples
    --------
    >>> score, is_signal = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0], bool)
    >>> background_share_with_influence(score, is_signal, signal_efficiency=0.8)
    (0.5, array([ 0.  ,  0.25,  0.  , -0.25]))
    """
    if not 0 < signal_efficiency <= 1:
        raise DataError(f"signal_efficiency is {signal_efficiency}; expected a share in (0, 1]")
    is_signal, values = both_kinds(is_signal, score), as_weights(weights, len(score))
    cut = cuts_at(score[is_signal], np.array([signal_efficiency]), values[is_signal])[0]
    of_background = positive(values[~is_signal], "the background")
    influence = np.zeros(len(score))
    share, influence[~is_signal] = share_with_influence(score[~is_signal] >= cut, of_background)
    return share, influence
