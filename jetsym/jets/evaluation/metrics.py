"""Metrics of taggers: accuracy, areas under ROC curves, background rejections. Scores in, plain floats out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from jetsym.errors import DataError, closest, expect_one_of
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.schema import CLASSES

__all__ = [
    "MultiClass",
    "accuracy",
    "auc_pair",
    "auc_with_influence",
    "background_rejection",
    "background_share_with_influence",
    "checked",
    "log_odds",
    "macro_auc",
    "macro_auc_with_influence",
    "odds_against_rest",
    "pair_score",
    "summary",
]

#: Whom each class is told from in a macro-averaged AUC, in scikit-learn's words: one other class at a time, or the
#: rest. The name of the metric ends in it: ``macro_auc_ovo``, ``macro_auc_ovr``.
MultiClass = Literal["ovo", "ovr"]


def accuracy(logits: Tensor, label: Tensor, *, scores: Scores | None = None) -> float:
    """Return the share of the jets whose largest logit is at their label.

    Parameters
    ----------
    logits
        (B, classes) logits or probabilities, or one alone for two classes.
    label
        (B,) int64.
    scores
        What a single one is; see :func:`jetsym.jets.evaluation.scores.as_logits`.

    Examples
    --------
    >>> import torch
    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    0.5
    >>> accuracy(torch.tensor([2.0, -3.0]), torch.tensor([1, 0]))
    1.0
    """
    several = logits.ndim == 2 and logits.shape[1] > 1  # the largest is the same one of logits and of probabilities
    logits = checked(logits, label, "logits" if several and scores is None else scores)
    return float((logits.argmax(dim=-1) == label).double().mean())


def macro_auc(logits: Tensor, label: Tensor, *, multi_class: MultiClass = "ovo", scores: Scores | None = None) -> float:
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

    Raises
    ------
    DataError
        All jets are of one class, so that there is no curve at all.

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
    return macro_auc_with_influence(checked(logits, label, scores), label, multi_class=multi_class)[0]


def macro_auc_with_influence(
    logits: Tensor, label: Tensor, *, multi_class: MultiClass = "ovo"
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
    areas = [auc_with_influence(odds[:, number], truth == number, kinds=kinds) for number in present]
    return float(np.mean([area for area, _ in areas])), np.mean([influence for _, influence in areas], axis=0)


def odds_against_rest(logits: Tensor) -> NDArray[np.float64]:
    """Compute log(p / (1 − p)) of every class, (B, classes), from logits (B, classes).

    It orders jets as the probability p of a class does, without its rounding to 0 and 1.

    Examples
    --------
    >>> import torch
    >>> odds_against_rest(torch.tensor([[0.0, 50.0], [0.0, 40.0]])).tolist()
    [[-50.0, 50.0], [-40.0, 40.0]]
    """
    table = logits.double()
    below = table - table.amax(dim=1, keepdim=True)
    # sorted, as jets whose logits differ by a shift or by the order of the rest tie, in spite of rounding
    rest = below.sort(dim=1, descending=True).values[:, 1:]  # without the largest, which is 0
    others = (rest.exp().sum(dim=1, keepdim=True) - below.exp()).clamp(min=0)  # without the class's own as well
    odds = torch.where(below == 0, -rest.logsumexp(dim=1, keepdim=True), below - others.log1p())
    return odds.numpy(force=True)


def pair_score(
    logits: Tensor,
    label: Tensor,
    signal: str,
    background: str,
    *,
    classes: Sequence[str] = CLASSES,
    scores: Scores | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the score p_s / (p_s + p_b) of the jets of two classes, and which of them are signal.

    It is the likelihood ratio of the two, undisturbed by the other classes. Parameters and errors are those of
    :func:`auc_pair`; both results have shape (jets of the two classes,).
    """
    for name in (signal, background):
        if name not in classes:
            raise DataError(f"there is no class {name!r}; {closest(name, classes)}")
    odds, is_signal = log_odds(logits, label, signal, (background,), classes=classes, scores=scores)
    if is_signal.all() or not is_signal.any():
        counts = f"{int(is_signal.sum())} jets of {signal} and {int((~is_signal).sum())} of {background}"
        raise DataError(f"the sample has {counts}; expected both")
    return odds, is_signal


def log_odds(
    logits: Tensor,
    label: Tensor,
    signal: str,
    background: Sequence[str],
    *,
    classes: Sequence[str],
    scores: Scores | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compute log(p_s / p_b) of the jets of signal and background, p_b summed over the latter, and which are signal.

    It orders jets as the score p_s / (p_s + p_b) of the field does, without its rounding to 0 and 1.

    Parameters
    ----------
    logits, label
        (B, classes), or one alone for two classes, and (B,) int64.
    signal, background, classes
        Names; the last in the order of the logits.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.

    Returns
    -------
    (n,) float64, (n,) bool
    """
    names = list(classes)
    numbers = [names.index(name) for name in background]
    truth, table = label.numpy(force=True), checked(logits, label, scores, classes=classes).double()
    is_signal = truth == names.index(signal)
    odds = table[:, names.index(signal)] - table[:, numbers].logsumexp(dim=1)
    chosen = is_signal | np.isin(truth, numbers)
    return odds.numpy(force=True)[chosen], is_signal[chosen]


def auc_pair(
    logits: Tensor,
    label: Tensor,
    signal: str,
    background: str,
    *,
    classes: Sequence[str] = CLASSES,
    scores: Scores | None = None,
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

    Raises
    ------
    DataError
        A name is not among the classes, or the sample has no jet of one of the two.

    Examples
    --------
    >>> import torch
    >>> auc_pair(3 * torch.eye(2), torch.tensor([0, 1]), "top", "QCD", classes=("QCD", "top"))
    1.0
    """
    score, is_signal = pair_score(logits, label, signal, background, classes=classes, scores=scores)
    return float(roc_auc_score(is_signal, score))


def background_rejection(
    score: NDArray[np.floating], is_signal: NDArray[np.bool_], *, signal_efficiency: float
) -> float:
    """Compute one over the share of the background that passes the cut at which a given share of the signal does.

    Parameters
    ----------
    score
        (n,) larger for signal.
    is_signal
        (n,) bool.
    signal_efficiency
        The least share of the signal that has to pass, in (0, 1]; the tightest cut that lets it pass is taken.

    Returns
    -------
    float
        1 / ε_b. Where not one background jet passes it is infinite, which says that the sample is too small: with n_b
        background jets the rejection is then beyond about n_b.

    Raises
    ------
    DataError
        The efficiency is out of range, or one of the two kinds is missing.

    Examples
    --------
    >>> background_rejection(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0], bool), signal_efficiency=0.8)
    2.0
    """
    if not 0 < signal_efficiency <= 1:
        raise DataError(f"signal_efficiency is {signal_efficiency}; expected a share in (0, 1]")
    is_signal = _both_kinds(is_signal)
    false_positive, true_positive, _ = roc_curve(is_signal, score, drop_intermediate=False)
    # the tolerance absorbs the rounding of k/n; curves start at (0, 0) and end at (1, 1), so that one always passes
    passing = int(np.argmax(true_positive >= signal_efficiency - 1e-12))
    share = float(false_positive[passing])
    return 1.0 / share if share > 0 else float("inf")


def auc_with_influence(
    score: NDArray[np.floating], is_signal: NDArray[np.bool_], *, kinds: NDArray[Any] | None = None
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

    Returns
    -------
    area, influence
        The area and (n,) ψ: √Σψ² is its standard error after E. DeLong, D. DeLong, D. Clarke-Pearson (Biometrics 44
        (1988) 837), with n instead of n − 1; differences of areas on the same jets have differences of ψ.

    Raises
    ------
    DataError
        One of the two kinds is missing.

    Examples
    --------
    >>> area, influence = auc_with_influence(np.array([0.9, 0.3, 0.7, 0.1]), np.array([1, 1, 0, 0], bool))
    >>> area, influence.tolist()
    (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    is_signal = _both_kinds(is_signal)
    signal, background = score[is_signal], score[~is_signal]
    _, kind, counts = np.unique(
        np.zeros(len(background)) if kinds is None else np.asarray(kinds)[~is_signal],
        return_inverse=True,
        return_counts=True,
    )
    weight = len(background) / (len(counts) * counts[kind])  # 1 where there is one kind
    order = np.argsort(background)
    passed = np.concatenate([[0.0], np.cumsum(weight[order])]) / len(background)
    # Of the others, the share that stands below: of those with the same score, half.
    overtaken = np.empty(len(score))
    overtaken[is_signal] = passed[_places(background[order], signal)].mean(axis=0)
    overtaken[~is_signal] = 1 - _places(np.sort(signal), background).mean(axis=0) / len(signal)
    area, centre = float(overtaken[is_signal].mean()), np.empty(len(score))
    centre[is_signal] = area
    centre[~is_signal] = (np.bincount(kind, overtaken[~is_signal]) / counts)[kind]
    share = np.empty(len(score))
    share[is_signal], share[~is_signal] = 1 / len(signal), weight / len(background)
    return area, (overtaken - centre) * share


def _places(ordered: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return (2, n) how many of some ordered numbers are below each value, and how many are not above it."""
    return np.stack([np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")])


def background_share_with_influence(
    score: NDArray[np.floating], is_signal: NDArray[np.bool_], *, signal_efficiency: float
) -> tuple[float, NDArray[np.float64]]:
    """Compute the inverse of :func:`background_rejection`, and what each jet contributes to its error at the cut.

    Returns
    -------
    share, influence
        ε_b and (n,) ψ, of which √Σψ² = √(ε_b (1 − ε_b) / n_b), the binomial error. How far the cut itself may move
        with the sample of signal is not in it.

    Examples
    --------
    >>> score, is_signal = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0], bool)
    >>> background_share_with_influence(score, is_signal, signal_efficiency=0.8)
    (0.5, array([ 0.  ,  0.25,  0.  , -0.25]))
    """
    share = 1 / background_rejection(score, is_signal, signal_efficiency=signal_efficiency)
    is_signal = _both_kinds(is_signal)
    ordered = np.sort(score[is_signal])[::-1]
    cut = ordered[math.ceil(signal_efficiency * len(ordered) - 1e-9) - 1]
    return share, np.where(is_signal, 0.0, (score >= cut) - share) / (~is_signal).sum()


def summary(
    logits: Tensor,
    label: Tensor,
    *,
    classes: Sequence[str] = CLASSES,
    efficiencies: Sequence[float] = (0.3, 0.5),
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
) -> dict[str, float]:
    """Compute all numbers that a sample allows: accuracy, macro AUC, and top against QCD where both are there.

    Returns
    -------
    dict
        ``accuracy``; ``macro_auc_ovo`` (or ``macro_auc_ovr``, see :func:`macro_auc`) if there are two classes;
        ``auc_top_qcd`` (Tbqq against QCD) and, for each of the signal ``efficiencies``, ``rejection_30`` and so on (in
        percent), if the sample has both.

    Examples
    --------
    >>> import torch
    >>> summary(3 * torch.eye(2), torch.tensor([0, 1]), classes=("Hbb", "QCD"))
    {'accuracy': 1.0, 'macro_auc_ovo': 1.0}
    """
    logits = checked(logits, label, scores, classes=classes)
    values = {"accuracy": accuracy(logits, label)}
    present = {classes[number] for number in label.unique().tolist()}
    if len(present) > 1:
        values[f"macro_auc_{multi_class}"] = macro_auc_with_influence(logits, label, multi_class=multi_class)[0]
    if {"Tbqq", "QCD"} <= present:
        score, is_signal = pair_score(logits, label, "Tbqq", "QCD", classes=classes, scores="logits")
        values["auc_top_qcd"] = float(roc_auc_score(is_signal, score))
        for efficiency in efficiencies:
            values[f"rejection_{100 * efficiency:.4g}"] = background_rejection(
                score, is_signal, signal_efficiency=efficiency
            )
    return values


def checked(
    logits: Tensor, label: Tensor, scores: Scores | None = None, *, classes: Sequence[str] | None = None
) -> Tensor:
    """Return the logits (B, classes) of what can be measured against labels.

    Parameters
    ----------
    logits, scores, classes
        See :func:`jetsym.jets.evaluation.scores.as_logits`.
    label
        (B,) int64.

    Raises
    ------
    DataError
        Shapes do not go together, there are no jets, logits are not finite or are probabilities, or a label is beyond
        the classes.
    """
    if logits.ndim not in (1, 2) or label.ndim != 1 or len(logits) != len(label) or not len(label):
        raise DataError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(label.shape)}; expected (B, classes) and (B,)"
        )
    if not bool(logits.isfinite().all()):
        raise DataError("the logits are not all finite; check the model and its inputs before measuring it")
    table = as_logits(logits, scores, classes=classes)
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= table.shape[1]:
        raise DataError(f"labels are {low} to {high}; expected 0 to {table.shape[1] - 1} for {table.shape[1]} classes")
    return table


def _both_kinds(is_signal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    is_signal = np.asarray(is_signal, dtype=bool)
    if is_signal.all() or not is_signal.any():
        raise DataError(f"the sample has {int(is_signal.sum())} signal jets of {len(is_signal)}; expected both kinds")
    return is_signal
