"""Metrics of taggers: accuracy, areas under ROC curves, background rejections. Scores in, plain floats out.

Where jets have weights w, every count of jets becomes a sum of weights: shares are Σ w 1[…] / Σ w, and the area under a
ROC curve is Σ_ij w_i w_j (1[s_i > s_j] + ½ 1[s_i = s_j]) / (Σ_i w_i Σ_j w_j) over signal i and background j. Standard
errors are √Σψ², with the contribution ψ_i ∝ w_i of every jet; where the weights know nothing of the scores, they are
those of n_eff = (Σw)²/Σw² jets. Weights may be negative, as event generators beyond leading order give them: sums over
the jets of a class must be positive, and an area, or the share that passes a cut, is the unbiased estimate that it is,
which may then lie outside of [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError, closest, expect_one_of
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.schema import CLASSES
from jetsym.jets.weights import as_weights

__all__ = [
    "AT_ONCE",
    "MultiClass",
    "Weights",
    "accuracy",
    "auc_pair",
    "auc_with_influence",
    "background_rejection",
    "background_share_with_influence",
    "checked",
    "cuts_at",
    "log_odds",
    "macro_auc",
    "macro_auc_with_influence",
    "odds_against_rest",
    "of_classes",
    "pair_score",
    "share_with_influence",
    "summary",
]

#: Whom each class is told from in a macro-averaged AUC, in scikit-learn's words: one other class at a time, or the
#: rest. The name of the metric ends in it: ``macro_auc_ovo``, ``macro_auc_ovr``.
MultiClass = Literal["ovo", "ovr"]

#: Jets whose logits are looked at at a time, as what is computed of them takes many times their memory.
AT_ONCE = 65_536

#: (n,) weights of jets; None where each counts once.
Weights = Tensor | NDArray[Any] | None


def accuracy(logits: Tensor, label: Tensor, *, scores: Scores | None = None, weights: Weights = None) -> float:
    """Return the share of the jets whose largest logit is at their label.

    Parameters
    ----------
    logits
        (B, classes) logits or probabilities, or one alone for two classes.
    label
        (B,) int64.
    scores
        What a single one is; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        (B,) of the jets.

    Examples
    --------
    >>> import torch
    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    0.5
    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]), weights=torch.tensor([3.0, 1.0]))
    0.75
    >>> accuracy(torch.tensor([2.0, -3.0]), torch.tensor([1, 0]))
    1.0
    """
    several = logits.ndim == 2 and logits.shape[1] > 1  # the largest is the same one of logits and of probabilities
    logits = checked(logits, label, "logits" if several and scores is None else scores)
    return share_with_influence((logits.argmax(dim=-1) == label).numpy(force=True), weights)[0]


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
    values = _positive(as_weights(weights, len(hits)), "the jets")
    share = float((values * hits).sum() / values.sum())
    return share, values * (hits - share) / values.sum()


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
    table = checked(logits, label, scores)
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


def odds_against_rest(logits: Tensor) -> NDArray[np.float64]:
    """Compute log(p / (1 − p)) of every class, (B, classes), from logits (B, classes).

    It orders jets as the probability p of a class does, without its rounding to 0 and 1.

    Examples
    --------
    >>> import torch
    >>> odds_against_rest(torch.tensor([[0.0, 50.0], [0.0, 40.0]])).tolist()
    [[-50.0, 50.0], [-40.0, 40.0]]
    """
    found = np.empty(tuple(logits.shape))
    for start in range(0, len(logits), AT_ONCE):
        found[start : start + AT_ONCE] = _odds_against_rest(logits[start : start + AT_ONCE].double())
    return found


def _odds_against_rest(table: Tensor) -> NDArray[np.float64]:
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
    chosen = of_classes(label, (signal, *background), classes)
    table = checked(logits, label, scores, classes=classes)
    table = table[torch.from_numpy(chosen).to(table.device)].double()
    odds = table[:, names.index(signal)] - table[:, numbers].logsumexp(dim=1)
    return odds.numpy(force=True), label.numpy(force=True)[chosen] == names.index(signal)


def of_classes(label: Tensor, names: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which jets, of labels (B,), are of some classes: (B,) bool."""
    return np.isin(label.numpy(force=True), [list(classes).index(name) for name in names])


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
    values = _positive(as_weights(weights, len(score)), "the signal")
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
        One of the two kinds is missing, or the weights of one, or of a kind of background, sum to zero or less.

    Examples
    --------
    >>> area, influence = auc_with_influence(np.array([0.9, 0.3, 0.7, 0.1]), np.array([1, 1, 0, 0], bool))
    >>> area, influence.tolist()
    (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    is_signal = _both_kinds(is_signal)
    values = as_weights(weights, len(score))
    signal, background = score[is_signal], score[~is_signal]
    of_signal, of_background = _positive(values[is_signal], "the signal"), values[~is_signal]
    del values
    kind = _numbered(None if kinds is None else np.asarray(kinds)[~is_signal], len(background))
    sums = _positive(np.bincount(kind, of_background).astype(np.float64), "a class of the background", each=True)
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
    is_signal, values = _both_kinds(is_signal), as_weights(weights, len(score))
    cut = cuts_at(score[is_signal], np.array([signal_efficiency]), values[is_signal])[0]
    of_background = _positive(values[~is_signal], "the background")
    influence = np.zeros(len(score))
    share, influence[~is_signal] = share_with_influence(score[~is_signal] >= cut, of_background)
    return share, influence


def summary(
    logits: Tensor,
    label: Tensor,
    *,
    classes: Sequence[str] = CLASSES,
    efficiencies: Sequence[float] = (0.3, 0.5),
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
    weights: Weights = None,
) -> dict[str, float]:
    """Compute all numbers that a sample allows: accuracy, macro AUC, and top against QCD where both are there.

    Jets may have weights (B,). Where those of a class sum to zero or less there is the accuracy alone.

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
    logits, own = checked(logits, label, scores, classes=classes), as_weights(weights, len(label))
    values = {"accuracy": accuracy(logits, label, weights=own)}
    numbers, place = np.unique(label.numpy(force=True), return_inverse=True)
    present = {classes[number] for number in numbers} if (np.bincount(place, own) > 0).all() else set()
    if len(present) > 1:
        found = macro_auc_with_influence(logits, label, multi_class=multi_class, weights=own)
        values[f"macro_auc_{multi_class}"] = found[0]
    if {"Tbqq", "QCD"} <= present:
        score, is_signal = pair_score(logits, label, "Tbqq", "QCD", classes=classes, scores="logits")
        own = own[of_classes(label, ("Tbqq", "QCD"), classes)]
        values["auc_top_qcd"] = auc_with_influence(score, is_signal, weights=own)[0]
        for efficiency in efficiencies:
            values[f"rejection_{100 * efficiency:.4g}"] = background_rejection(
                score, is_signal, signal_efficiency=efficiency, weights=own
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


def _positive(weights: NDArray[np.float64], whose: str, *, each: bool = False) -> NDArray[np.float64]:
    """Return weights that sum to more than zero; with ``each``, sums all of which are."""
    smallest = float(weights.min() if each else weights.sum())
    if smallest <= 0:
        raise DataError(
            f"the weights of {whose} sum to {smallest:.4g}; expected more than 0, or no share of them has a meaning"
        )
    return weights
