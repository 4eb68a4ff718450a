"""Logits against labels: every number that says how good a tagger is, without the tagger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from jetsym.errors import ConfigError
from jetsym.jets.evaluation import metrics
from jetsym.jets.evaluation.calibration import measure_calibration
from jetsym.jets.evaluation.metrics import MultiClass
from jetsym.jets.evaluation.rejection import Rejection, background_of, measure_rejection, working_points_of
from jetsym.jets.evaluation.report import Bin, ClassQuality, Evaluation
from jetsym.jets.evaluation.scores import Scores

__all__ = ["assess"]

#: Signal efficiencies at which ROC curves are kept, and number of bins of pT where none are named.
EFFICIENCIES = (*(percent / 100 for percent in range(1, 100)), 0.995, 0.999, 1.0)
PT_BINS = 5


@dataclass(frozen=True)
class _Setting:
    """Classes, backgrounds, working points and edges of an assessment."""

    classes: tuple[str, ...]
    background: tuple[str, ...]
    working_points: Mapping[str, float]
    confidence: float
    multi_class: MultiClass

    def signals(self, label: Tensor) -> list[str]:
        """Return those of which the sample has jets, if it has background as well."""
        present = {self.classes[number] for number in label.unique().tolist()}
        if present.isdisjoint(self.background):
            return []
        return [name for name in self.working_points if name in present]

    def scored(self, logits: Tensor, label: Tensor, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return metrics.log_odds(logits, label, name, self.background, classes=self.classes, scores="logits")

    def rejection(self, name: str, score: NDArray[np.float64], is_signal: NDArray[np.bool_]) -> Rejection:
        return measure_rejection(
            score,
            is_signal,
            signal_efficiency=self.working_points[name],
            signal=name,
            background=self.background,
            confidence=self.confidence,
        )


def assess(
    logits: Tensor,
    label: Tensor,
    *,
    classes: Sequence[str],
    jet_pt: Tensor | None = None,
    background: str | Sequence[str] | None = None,
    working_points: Mapping[str, float] | None = None,
    pt_edges: Sequence[float] | None = None,
    confidence: float = 0.95,
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
) -> Evaluation:
    """Measure logits against labels.

    Parameters
    ----------
    logits
        (B, classes), or one alone for two classes: the larger, the more like the second one.
    label
        (B,) int64.
    classes
        Names, in the order of the logits.
    jet_pt
        (B,) GeV, to measure by pT as well.
    background
        Class or classes against which the others are told: by default QCD (all "QCD_…"), else the first.
    working_points
        Class -> signal efficiency of its rejection, where it is not the field's, see
        :func:`jetsym.jets.evaluation.rejection.working_points_of`.
    pt_edges
        Edges of the bins of pT in GeV; by default five bins with as many jets each.
    confidence
        Level of the rejections' intervals.
    multi_class
        Which macro AUC is taken, "ovo" or "ovr"; see :func:`jetsym.jets.evaluation.metrics.macro_auc`.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.

    Raises
    ------
    DataError
        Shapes do not go together, there are no jets, logits are not finite, or are probabilities.
    ConfigError
        An option names no class, or has no meaning.

    Examples
    --------
    >>> logits, label = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.5, 0.0]]), torch.tensor([0, 0, 1, 1])
    >>> found = assess(logits, label, classes=("QCD", "top"))
    >>> found.metrics["accuracy"], found.rejections["top"].value, found.confusion
    (0.75, inf, ((2, 0), (1, 1)))
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; expected a level in (0, 1)")
    classes, against = tuple(classes), background_of(classes, background)
    points = working_points_of([name for name in classes if name not in against], working_points)
    setting = _Setting(classes, against, points, confidence, multi_class)
    logits, label = logits.detach().cpu(), label.cpu()
    logits = metrics.checked(logits, label, scores, classes=classes)
    calibration = measure_calibration(logits, label, scores="logits")
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((label, logits.argmax(dim=-1)), torch.tensor(1), accumulate=True)
    found = _metrics(logits, label, setting) | {
        "log_loss": float(F.cross_entropy(logits.double(), label)),
        "ece": calibration.ece,
        "ece_floor": calibration.ece_floor,
    }
    return Evaluation(
        metrics=found,
        classes=classes,
        background=against,
        qualities=_qualities(logits, label, setting),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=calibration,
        bins=() if jet_pt is None else _by_pt(logits, label, jet_pt, pt_edges, setting),
        meta={"jets": len(label), "confidence": confidence},
    )


def _metrics(logits: Tensor, label: Tensor, setting: _Setting) -> dict[str, float]:
    """Compute accuracy and areas as far as a sample allows, each with its standard error over jets."""
    share = metrics.accuracy(logits, label)
    values = {"accuracy": share, "accuracy_stderr": math.sqrt(share * (1 - share) / len(label))}
    present = label.unique().tolist()
    areas = {}
    if len(present) > 1:
        found = metrics.macro_auc_with_influence(logits, label, multi_class=setting.multi_class)
        areas[f"macro_auc_{setting.multi_class}"] = found
    if {"Tbqq", "QCD"} <= {setting.classes[number] for number in present}:
        pair = metrics.pair_score(logits, label, "Tbqq", "QCD", classes=setting.classes, scores="logits")
        areas["auc_top_qcd"] = metrics.auc_with_influence(*pair)
    for name, (area, influence) in areas.items():
        values |= {name: area, f"{name}_stderr": float(np.sqrt(np.square(influence).sum()))}
    return values


def _qualities(logits: Tensor, label: Tensor, setting: _Setting) -> tuple[ClassQuality, ...]:
    """Measure how well each class present is found."""
    decided, signals, odds = logits.argmax(dim=-1), setting.signals(label), metrics.odds_against_rest(logits)
    qualities = []
    for number in label.unique().tolist():
        name, own = setting.classes[number], label == number
        quality = ClassQuality(
            name=name,
            jets=int(own.sum()),
            found=float((decided == number)[own].double().mean()),
            auc=None if own.all() else float(roc_auc_score(own.numpy(), odds[:, number])),
        )
        if name in signals:
            score, is_signal = setting.scored(logits, label, name)
            area, influence = metrics.auc_with_influence(score, is_signal)
            quality = replace(
                quality,
                auc_background=area,
                auc_background_stderr=float(np.sqrt(np.square(influence).sum())),
                rejection=setting.rejection(name, score, is_signal),
                roc=_roc(score, is_signal),
            )
        qualities.append(quality)
    return tuple(qualities)


def _roc(score: NDArray[np.float64], is_signal: NDArray[np.bool_]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return signal efficiencies, and the share of background that passes at each."""
    falling, background = np.sort(score[is_signal])[::-1], np.sort(score[~is_signal])
    efficiencies = np.array(EFFICIENCIES)
    cuts = falling[np.ceil(efficiencies * len(falling) - 1e-9).astype(int) - 1]
    shares = 1 - np.searchsorted(background, cuts, side="left") / len(background)
    return EFFICIENCIES, tuple(shares.tolist())


def _by_pt(
    logits: Tensor, label: Tensor, jet_pt: Tensor, edges: Sequence[float] | None, setting: _Setting
) -> tuple[Bin, ...]:
    """Compute the metrics in bins of pT; of a bin without jets there are none."""
    values = jet_pt.detach().cpu().double().numpy()
    if edges is None:
        inner = np.round(np.quantile(values, np.linspace(0, 1, PT_BINS + 1))[1:-1])
        edges = np.unique([np.floor(values.min()), *inner, np.floor(values.max()) + 1]).tolist()
    elif len(edges) < 2 or not all(low < high for low, high in pairwise(edges)):
        raise ConfigError(f"pt_edges is {list(edges)}; expected two or more rising numbers, in GeV")
    bins = []
    for low, high in pairwise(edges):
        chosen = torch.from_numpy((values >= low) & (values < high))
        own = logits[chosen], label[chosen]
        found = _metrics(*own, setting) if chosen.any() else {}
        rejections = {name: setting.rejection(name, *setting.scored(*own, name)) for name in setting.signals(own[1])}
        bins.append(Bin(float(low), float(high), int(chosen.sum()), found, rejections))
    return tuple(bins)
