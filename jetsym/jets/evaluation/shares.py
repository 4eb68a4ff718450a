"""Shares of jets, what each jet contributes to their errors, and what a sample must have for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.weights import as_weights

__all__ = ["Weights", "both_kinds", "expect_ordered", "positive", "share_with_influence"]

#: (n,) weights of jets; None where each counts once.
Weights = Tensor | NDArray[Any] | None


def share_with_influence(hits: NDArray[np.bool_], weights: Weights = None) -> tuple[float, NDArray[np.float64]]:
    """Compute the share Σ w h / Σ w of hits among jets, and what each jet contributes to its error, (n,) ψ.

    ψ_i = w_i (h_i − share) / Σ w, so that √Σψ² is its standard error: the binomial one where all weights are equal.

    Raises
    ------
    DataError
        The weights do not sum to more than zero.

    Examples
    --------
    >>> share, influence = share_with_influence(np.array([True, False, False, True]))
    >>> share, float(np.square(influence).sum()) == share * (1 - share) / 4
    (0.5, True)
    """
    values = positive(as_weights(weights, len(hits)), "the jets")
    share = float((values * hits).sum() / values.sum())
    return share, values * (hits - share) / values.sum()


def both_kinds(is_signal: NDArray[np.bool_], score: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which jets are signal, as bool (n,), where there are jets of both kinds; refuse it otherwise, and NaN."""
    is_signal = np.asarray(is_signal, dtype=bool)
    expect_ordered(score)
    if is_signal.all() or not is_signal.any():
        raise DataError(f"the sample has {int(is_signal.sum())} signal jets of {len(is_signal)}; expected both kinds")
    return is_signal


def expect_ordered(*scores: NDArray[np.floating]) -> None:
    """Refuse scores that are NaN, which numpy sorts above all others, as if they were surely signal.

    Raises
    ------
    DataError
        Some are.
    """
    for each in scores:
        if lost := int(np.isnan(each).sum()):
            raise DataError(
                f"the scores of {lost} of {len(each)} jets are NaN, the first of number {int(np.isnan(each).argmax())}; "
                "expected numbers: leave these jets out"
            )


def positive(weights: NDArray[np.float64], whose: str, *, each: bool = False) -> NDArray[np.float64]:
    """Return weights that sum to more than zero; with ``each``, sums all of which are."""
    smallest = float(weights.min() if each else weights.sum())
    if smallest <= 0:
        raise DataError(
            f"the weights of {whose} sum to {smallest:.4g}; expected more than 0, or no share of them has a meaning"
        )
    return weights
