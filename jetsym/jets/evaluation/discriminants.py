"""What orders jets: the log-odds of classes, from the logits of a tagger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError, closest
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.schema import CLASSES

__all__ = ["AT_ONCE", "checked_logits", "log_odds", "odds_against_rest", "of_classes", "pair_score"]

#: Jets whose logits are looked at at a time, as what is computed of them takes many times their memory.
AT_ONCE = 65_536


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
    table = checked_logits(logits, label, scores, classes=classes)
    table = table[torch.from_numpy(chosen).to(table.device)].double()
    odds = table[:, names.index(signal)] - table[:, numbers].logsumexp(dim=1)
    return odds.numpy(force=True), label.numpy(force=True)[chosen] == names.index(signal)


def of_classes(label: Tensor, names: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which jets, of labels (B,), are of some classes: (B,) bool."""
    return np.isin(label.numpy(force=True), [list(classes).index(name) for name in names])


def checked_logits(
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
