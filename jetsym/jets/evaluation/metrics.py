"""Metrics of taggers: accuracy, areas under ROC curves, background rejections. Scores in, plain floats out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from jetsym.errors import DataError, closest
from jetsym.jets.schema import CLASSES

__all__ = [
    "accuracy",
    "auc_pair",
    "auc_with_influence",
    "background_rejection",
    "background_share_with_influence",
    "log_odds",
    "macro_auc",
    "pair_score",
    "summary",
]


def accuracy(logits: Tensor, label: Tensor) -> float:
    """Return the share of the jets whose largest logit is at their label.

    Parameters
    ----------
    logits
        (B, classes) logits or probabilities.
    label
        (B,) int64.

    Examples
    --------
    >>> import torch
    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    0.5
    """
    _check(logits, label)
    return float((logits.argmax(dim=-1) == label).double().mean())


def macro_auc(logits: Tensor, label: Tensor) -> float:
    """Average the area under the ROC curve of each class's probability against all others over the classes present.

    Parameters
    ----------
    logits
        (B, classes) logits.
    label
        (B,) int64. A class without a jet in the sample has no ROC curve and is left out of the average.

    Raises
    ------
    DataError
        All jets are of one class, so that there is no curve at all.

    Examples
    --------
    >>> import torch
    >>> macro_auc(torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1, 1]))
    1.0
    """
    _check(logits, label)
    probabilities, truth = logits.double().softmax(dim=-1).numpy(force=True), label.numpy(force=True)
    present = np.unique(truth)
    if len(present) < 2:
        raise DataError(f"all {len(truth)} jets are of class number {present.tolist()}; a ROC curve needs two classes")
    return float(np.mean([roc_auc_score(truth == number, probabilities[:, number]) for number in present]))


def pair_score(
    logits: Tensor, label: Tensor, signal: str, background: str, *, classes: Sequence[str] = CLASSES
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the score p_s / (p_s + p_b) of the jets of two classes, and which of them are signal.

    It is the likelihood ratio of the two, undisturbed by the other classes. Parameters and errors are those of
    :func:`auc_pair`; both results have shape (jets of the two classes,).
    """
    _check(logits, label)
    for name in (signal, background):
        if name not in classes:
            raise DataError(f"there is no class {name!r}; {closest(name, classes)}")
    odds, is_signal = log_odds(logits, label, signal, (background,), classes=classes)
    if is_signal.all() or not is_signal.any():
        counts = f"{int(is_signal.sum())} jets of {signal} and {int((~is_signal).sum())} of {background}"
        raise DataError(f"the sample has {counts}; expected both")
    return odds, is_signal


def log_odds(
    logits: Tensor, label: Tensor, signal: str, background: Sequence[str], *, classes: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compute log(p_s / p_b) of the jets of signal and background, p_b summed over the latter, and which are signal.

    It orders jets as the score p_s / (p_s + p_b) of the field does, without its rounding to 0 and 1.

    Parameters
    ----------
    logits, label
        (B, classes) and (B,) int64.
    signal, background, classes
        Names; the last in the order of the logits.

    Returns
    -------
    (n,) float64, (n,) bool
    """
    names = list(classes)
    numbers = [names.index(name) for name in background]
    truth, scores = label.numpy(force=True), logits.double()
    is_signal = truth == names.index(signal)
    odds = scores[:, names.index(signal)] - scores[:, numbers].logsumexp(dim=1)
    chosen = is_signal | np.isin(truth, numbers)
    return odds.numpy(force=True)[chosen], is_signal[chosen]


def auc_pair(logits: Tensor, label: Tensor, signal: str, background: str, *, classes: Sequence[str] = CLASSES) -> float:
    """Compute the area under the ROC curve of one class against another, by the score p_s / (p_s + p_b).

    Parameters
    ----------
    logits
        (B, classes) logits.
    label
        (B,) int64; jets of other classes are left out.
    signal, background
        Names of the two classes.
    classes
        Names of all classes, in the order of the logits.

    Raises
    ------
    DataError
        A name is not among the classes, or the sample has no jet of one of the two.

    Examples
    --------
    >>> import torch
    >>> auc_pair(torch.eye(2), torch.tensor([0, 1]), "top", "QCD", classes=("QCD", "top"))
    1.0
    """
    score, is_signal = pair_score(logits, label, signal, background, classes=classes)
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


def auc_with_influence(score: NDArray[np.floating], is_signal: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Compute the area under the ROC curve, and what each jet contributes to its error.

    Parameters
    ----------
    score
        (n,) larger for signal.
    is_signal
        (n,) bool.

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
    n_signal, n_background = int(is_signal.sum()), int((~is_signal).sum())
    # Of the others, the share that stands below: from the rank among all less the rank among one's own.
    overtaken = rankdata(score)
    overtaken[is_signal] = (overtaken[is_signal] - rankdata(score[is_signal])) / n_background
    overtaken[~is_signal] = 1 - (overtaken[~is_signal] - rankdata(score[~is_signal])) / n_signal
    area = float(overtaken[is_signal].mean())
    return area, (overtaken - area) / np.where(is_signal, n_signal, n_background)


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
    logits: Tensor, label: Tensor, *, classes: Sequence[str] = CLASSES, efficiencies: Sequence[float] = (0.3, 0.5)
) -> dict[str, float]:
    """Compute all numbers that a sample allows: accuracy, macro AUC, and top against QCD where both are there.

    Returns
    -------
    dict
        ``accuracy``; ``macro_auc`` if there are two classes; ``auc_top_qcd`` (Tbqq against QCD) and, for each of the
        signal ``efficiencies``, ``rejection_30`` and so on (in percent), if the sample has both.

    Examples
    --------
    >>> import torch
    >>> summary(torch.eye(2), torch.tensor([0, 1]), classes=("Hbb", "QCD"))
    {'accuracy': 1.0, 'macro_auc': 1.0}
    """
    values = {"accuracy": accuracy(logits, label)}
    present = {classes[number] for number in label.unique().tolist()}
    if len(present) > 1:
        values["macro_auc"] = macro_auc(logits, label)
    if {"Tbqq", "QCD"} <= present:
        score, is_signal = pair_score(logits, label, "Tbqq", "QCD", classes=classes)
        values["auc_top_qcd"] = float(roc_auc_score(is_signal, score))
        for efficiency in efficiencies:
            values[f"rejection_{100 * efficiency:.4g}"] = background_rejection(
                score, is_signal, signal_efficiency=efficiency
            )
    return values


def _both_kinds(is_signal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    is_signal = np.asarray(is_signal, dtype=bool)
    if is_signal.all() or not is_signal.any():
        raise DataError(f"the sample has {int(is_signal.sum())} signal jets of {len(is_signal)}; expected both kinds")
    return is_signal


def _check(logits: Tensor, label: Tensor) -> None:
    if logits.ndim != 2 or label.ndim != 1 or len(logits) != len(label) or not len(label):
        raise DataError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(label.shape)}; expected (B, classes) and (B,)"
        )
    if not bool(logits.isfinite().all()):
        raise DataError("the logits are not all finite; check the model and its inputs before measuring it")
