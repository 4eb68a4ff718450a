"""Areas under ROC curves: of two classes, and averaged over all; see :mod:`jetsym.jets.evaluation.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError, expect_one_of
from jetsym.jets.evaluation.discriminants import checked_logits, odds_against_rest, of_classes, pair_score
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.shares import Weights, both_kinds, positive
from jetsym.jets.schema import CLASSES
from jetsym.jets.weights import as_weights

__all__ = ["MultiClass", "auc_pair", "auc_with_influence", "macro_auc", "macro_auc_with_influence"]

#: Whom each class is told from in a macro-averaged AUC, in scikit-learn's words: one other class at a time, or the
#: rest. The name of the metric ends in it: ``macro_auc_ovo``, ``macro_auc_ovr``.
MultiClass = Literal["ovo", "ovr"]


def macro_auc(
    logits: Tensor,
    label: Tensor,
    *,
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
    weights: Weights = None,
) -> float:
    """Average the area under the ROC curve over the classes present.

    Parameters
    ----------
    logits
        (B, classes) logits, or one alone for two classes.
    label
        (B,) int64. A class without a jet in the sample has no ROC curve and is left out of the average.
    multi_class
        "ovo" takes each class's probability against each other class by itself, and averages over all pairs: what the
        field quotes (scikit-learn's ``roc_auc_score(multi_class="ovo", average="macro")``; arXiv:2202.03772), and what
        the number of jets of each class does not change. "ovr" takes it against all others together.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        (B,) of the jets.

    Raises
    ------
    DataError
        All jets are of one class, so that there is no curve at all; or the weights of a class sum to zero or less.

    Notes
    -----
    M = Σ_{i≠j} A(i|j) / (c(c − 1)), with A(i|j) the share of the pairs of jets in which that of class i has the larger
    probability of i (D. Hand, R. Till, Machine Learning 45 (2001) 171).

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[2.0, 1, 0], [3, 2, 0], [0, 0, 3], [0, 0, 2], [2, 0, 1]])
    >>> label = torch.tensor([0, 1, 2, 2, 2])
    >>> round(macro_auc(logits, label), 4), round(macro_auc(logits, label, multi_class="ovr"), 4)
    (0.8056, 0.875)
    """
    table = checked_logits(logits, label, scores)
    return macro_auc_with_influence(table, label, multi_class=multi_class, weights=weights)[0]


def macro_auc_with_influence(
    logits: Tensor, label: Tensor, *, multi_class: MultiClass = "ovo", weights: Weights = None
) -> tuple[float, NDArray[np.float64]]:
    """Compute :func:`macro_auc` of logits (B, classes), and what each jet contributes to its error, (B,) ψ.

    √Σψ² is its standard error, see :func:`auc_with_influence`.
    """
    expect_one_of("multi_class", multi_class, ("ovo", "ovr"))
    odds, truth = odds_against_rest(logits), label.numpy(force=True)
    present = np.unique(truth)
    if len(present) < 2:
        raise DataError(f"all {len(truth)} jets are of class number {present.tolist()}; a ROC curve needs two classes")
    kinds = truth if multi_class == "ovo" else None
    areas, influence = list[float](), np.zeros(len(truth))
    for one in present:
        area, own = auc_with_influence(odds[:, one], truth == one, kinds=kinds, weights=weights)
        areas.append(area)
        influence += own
    return float(np.mean(areas)), influence / len(present)


def auc_pair(
    logits: Tensor,
    label: Tensor,
    signal: str,
    background: str,
    *,
    classes: Sequence[str] = CLASSES,
    scores: Scores | None = None,
    weights: Weights = None,
) -> float:
    """Compute the area under the ROC curve of one class against another, by the score p_s / (p_s + p_b).

    Parameters
    ----------
    logits
        (B, classes) logits, or one alone for two classes.
    label
        (B,) int64; jets of other classes are left out.
    signal, background
        Names of the two classes.
    classes
        Names of all classes, in the order of the logits.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        (B,) of the jets.

    Raises
    ------
    DataError
        A name is not among the classes, the sample has no jet of one of the two, or its weights sum to zero or less.

    Examples
    --------
    >>> import torch
    >>> auc_pair(3 * torch.eye(2), torch.tensor([0, 1]), "top", "QCD", classes=("QCD", "top"))
    1.0
    """
    score, is_signal = pair_score(logits, label, signal, background, classes=classes, scores=scores)
    own = as_weights(weights, len(label))[of_classes(label, (signal, background), classes)]
    return auc_with_influence(score, is_signal, weights=own)[0]


def auc_with_influence(
    score: NDArray[np.floating],
    is_signal: NDArray[np.bool_],
    *,
    kinds: NDArray[Any] | None = None,
    weights: Weights = None,
) -> tuple[float, NDArray[np.float64]]:
    """Compute the area under the ROC curve, and what each jet contributes to its error.

    Parameters
    ----------
    score
        (n,) larger for signal.
    is_signal
        (n,) bool.
    kinds
        (n,) which kind of background a jet is: the area is then the mean of those against each kind. None for one.
    weights
        (n,) of the jets.

    Returns
    -------
    area, influence
        The area and (n,) ψ: √Σψ² is its standard error after E. DeLong, D. DeLong, D. Clarke-Pearson (Biometrics 44
        (1988) 837), with n instead of n − 1; differences of areas on the same jets have differences of ψ.

    Raises
    ------
    DataError
        One of the two kinds is missing, or the weights of one, or of a kind of background, sum to zero or less, or a
        score is NaN.

    Examples
    --------
    >>> area, influence = auc_with_influence(np.array([0.9, 0.3, 0.7, 0.1]), np.array([1, 1, 0, 0], bool))
    >>> area, influence.tolist()
    (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    is_signal = both_kinds(is_signal, score)
    values = as_weights(weights, len(score))
    signal, background = score[is_signal], score[~is_signal]
    of_signal, of_background = positive(values[is_signal], "the signal"), values[~is_signal]
    del values
    kind = _numbered(None if kinds is None else np.asarray(kinds)[~is_signal], len(background))
    sums = positive(np.bincount(kind, of_background).astype(np.float64), "a class of the background", each=True)
    total = of_background.sum()
    factor = of_background * total / (len(sums) * sums[kind])  # the weights, where there is one kind
    # Of the others, the share that stands below: of those with the same score, half.
    overtaken = np.empty(len(score))
    overtaken[is_signal] = _weight_below(background, factor, signal, total)
    overtaken[~is_signal] = 1 - _weight_below(signal, of_signal, background) / of_signal.sum()
    area = float((of_signal * overtaken[is_signal]).sum() / of_signal.sum())
    means = np.bincount(kind, of_background * overtaken[~is_signal]) / sums
    overtaken[is_signal] = (overtaken[is_signal] - area) * (of_signal / of_signal.sum())
    overtaken[~is_signal] = (overtaken[~is_signal] - means[kind]) * (factor / total)
    return area, overtaken


def _numbered(kinds: NDArray[Any] | None, n: int) -> NDArray[np.int64]:
    """Return (n,) the number of each kind among those that there are; zeros where all are of one."""
    return np.zeros(n, np.int64) if kinds is None else np.searchsorted(np.unique(kinds), kinds)


def _weight_below(
    others: NDArray[np.floating], weights: NDArray[np.float64], values: NDArray[np.floating], total: float = 1.0
) -> NDArray[np.float64]:
    """Return, for each value, the weight of the others that are below it, and half of that of its equals, over a total.

    Each of the two is divided by the total before their mean is taken.
    """
    order = np.argsort(others)
    weight = np.concatenate([[0.0], np.cumsum(weights[order])])
    weight /= total
    ordered = others[order]
    del order
    found = weight[np.searchsorted(ordered, values, side="left")]
    found += weight[np.searchsorted(ordered, values, side="right")]
    found /= 2
    return np.asarray(found)
