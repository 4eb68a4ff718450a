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

import numpy as np
from torch import Tensor

from jetsym.jets.evaluation.auc import MultiClass, auc_with_influence, macro_auc_with_influence
from jetsym.jets.evaluation.discriminants import checked_logits, of_classes, pair_score
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.shares import Weights, share_with_influence
from jetsym.jets.evaluation.working_points import background_rejection
from jetsym.jets.schema import CLASSES
from jetsym.jets.weights import as_weights

__all__ = ["accuracy", "summary"]


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
    logits = checked_logits(logits, label, "logits" if several and scores is None else scores)
    return share_with_influence((logits.argmax(dim=-1) == label).numpy(force=True), weights)[0]


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
    logits, own = checked_logits(logits, label, scores, classes=classes), as_weights(weights, len(label))
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
