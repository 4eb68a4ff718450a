"""Logits against labels: every number that says how good a tagger is, without the tagger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from jetsym.errors import ConfigError
from jetsym.jets.evaluation.auc import MultiClass, auc_with_influence, macro_auc_with_influence
from jetsym.jets.evaluation.calibration import measure_calibration
from jetsym.jets.evaluation.discriminants import (
    AT_ONCE,
    checked_logits,
    log_odds,
    odds_against_rest,
    of_classes,
    pair_score,
)
from jetsym.jets.evaluation.distributions import MassSculpting, mass_before, mass_sculpted, score_histogram
from jetsym.jets.evaluation.rejection import Rejection, background_of, measure_rejection, working_points_of
from jetsym.jets.evaluation.report import Bin, ClassQuality, Evaluation
from jetsym.jets.evaluation.roc import roc_points
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.shares import Weights, share_with_influence
from jetsym.jets.evaluation.working_points import cuts_at
from jetsym.jets.schema import WEIGHT
from jetsym.jets.weights import as_weights, check_weights, describe_weights, effective_number

__all__ = ["assess"]

#: Number of bins of pT where none are named.
PT_BINS = 5


@dataclass(frozen=True)
class _Setting:
    """Classes, backgrounds, working points and edges of an assessment, and whether jets are weighted."""

    classes: tuple[str, ...]
    background: tuple[str, ...]
    working_points: Mapping[str, float]
    confidence: float
    multi_class: MultiClass
    weighted: bool

    def signals(self, label: Tensor) -> list[str]:
        """Return those of which the sample has jets, if it has background as well."""
        present = {self.classes[number] for number in label.unique().tolist()}
        if present.isdisjoint(self.background):
            return []
        return [name for name in self.working_points if name in present]

    def scored(self, sample: _Sample, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """Return score and truth of the jets of a signal and of the background, and their weights."""
        own = sample.weights[of_classes(sample.label, (name, *self.background), self.classes)]
        pair = log_odds(sample.logits, sample.label, name, self.background, classes=self.classes, scores="logits")
        return *pair, own

    def rejection(
        self, name: str, score: NDArray[np.float64], is_signal: NDArray[np.bool_], weights: NDArray[np.float64]
    ) -> Rejection:
        return measure_rejection(
            score,
            is_signal,
            signal_efficiency=self.working_points[name],
            signal=name,
            background=self.background,
            confidence=self.confidence,
            weights=weights if self.weighted else None,
        )

    def cut(
        self, name: str, score: NDArray[np.float64], is_signal: NDArray[np.bool_], weights: NDArray[np.float64]
    ) -> float:
        """Return the score from which on jets pass at the working point of a signal."""
        return float(cuts_at(score[is_signal], np.array([self.working_points[name]]), weights[is_signal])[0])


@dataclass(frozen=True, eq=False)
class _Sample:
    """Logits (B, classes), labels (B,) and weights (B,) of jets."""

    logits: Tensor
    label: Tensor
    weights: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Sample:
        those = torch.from_numpy(chosen)
        return _Sample(self.logits[those], self.label[those], self.weights[chosen])


def assess(
    logits: Tensor,
    label: Tensor,
    *,
    classes: Sequence[str],
    jet_pt: Tensor | None = None,
    jet_mass: Tensor | None = None,
    mass: str = "jet mass",
    background: str | Sequence[str] | None = None,
    working_points: Mapping[str, float] | None = None,
    pt_edges: Sequence[float] | None = None,
    confidence: float = 0.95,
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
    weights: Weights = None,
    column: str = WEIGHT,
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
    jet_mass, mass
        (B,) GeV, to say what the cuts do to the mass of the background, and what this mass is called.
    background
        Class or classes against which the others are told: by default QCD (all "QCD_…"), else the first.
    working_points
        Class -> signal efficiency of its rejection, where it is not the field's, see
        :func:`jetsym.jets.evaluation.rejection.working_points_of`.
    pt_edges
        Edges of the bins of pT in GeV; by default five bins with as many jets each, whatever their weights.
    confidence
        Level of the rejections' intervals.
    multi_class
        Which macro AUC is taken, "ovo" or "ovr"; see :func:`jetsym.jets.evaluation.auc.macro_auc`.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        (B,) of the jets, see :mod:`jetsym.jets.evaluation.metrics`: every number counts them, the confusion included.
        A bin of pT in which a class has jets, and weights that sum to zero or less, has no metrics.
    column
        What the weights are called.

    Raises
    ------
    DataError
        Shapes do not go together, there are no jets, logits are not finite, or are probabilities; or the weights of a
        class sum to zero or less.
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
    setting = _Setting(classes, against, points, confidence, multi_class, weights is not None)
    logits, label = logits.detach().cpu(), label.cpu()
    sample = _Sample(
        checked_logits(logits, label, scores, classes=classes), label, own := as_weights(weights, len(label))
    )
    check_weights(own, label.numpy(), classes)
    calibration = measure_calibration(sample.logits, label, scores="logits", weights=own)
    confusion = np.zeros((len(classes), len(classes)), np.int64 if weights is None else np.float64)
    decided = sample.logits.argmax(dim=-1).numpy()
    np.add.at(confusion, (label.numpy(), decided), 1 if weights is None else own)
    parts = zip(sample.logits.split(AT_ONCE), label.split(AT_ONCE), strict=True)
    losses = torch.cat([F.cross_entropy(own.double(), true, reduction="none") for own, true in parts]).numpy()
    found = _metrics(sample, setting) | {
        "log_loss": float((own * losses).sum() / own.sum()),
        "ece": calibration.ece,
        "ece_floor": calibration.ece_floor,
    }
    return Evaluation(
        metrics=found,
        classes=classes,
        background=against,
        qualities=_qualities(sample, setting),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=calibration,
        bins=() if jet_pt is None else _by_pt(sample, jet_pt, pt_edges, setting),
        sculpting=None if jet_mass is None else _sculpting(sample, jet_mass, setting, named=mass),
        meta={
            "jets": len(label),
            "confidence": confidence,
            "weights": None if weights is None else describe_weights(column, own),
        },
    )


def _metrics(sample: _Sample, setting: _Setting) -> dict[str, float]:
    """Compute accuracy and areas as far as a sample allows, each with its standard error over jets."""
    logits, label, weights = sample.logits, sample.label, sample.weights
    found = {"accuracy": share_with_influence((logits.argmax(dim=-1) == label).numpy(), weights)}
    present = label.unique().tolist()
    if len(present) > 1:
        found[f"macro_auc_{setting.multi_class}"] = macro_auc_with_influence(
            logits, label, multi_class=setting.multi_class, weights=weights
        )
    if {"Tbqq", "QCD"} <= {setting.classes[number] for number in present}:
        pair = pair_score(logits, label, "Tbqq", "QCD", classes=setting.classes, scores="logits")
        own = weights[of_classes(label, ("Tbqq", "QCD"), setting.classes)]
        found["auc_top_qcd"] = auc_with_influence(*pair, weights=own)
    values: dict[str, float] = {}
    for name, (value, influence) in found.items():
        values |= {name: value, f"{name}_stderr": float(np.sqrt(np.square(influence).sum()))}
    return values


def _qualities(sample: _Sample, setting: _Setting) -> tuple[ClassQuality, ...]:
    """Measure how well each class present is found."""
    label, weights = sample.label, sample.weights
    decided, signals = sample.logits.argmax(dim=-1).numpy(), setting.signals(label)
    odds, qualities = odds_against_rest(sample.logits), []
    for number in label.unique().tolist():
        name, own = setting.classes[number], label.numpy() == number
        quality = ClassQuality(
            name=name,
            jets=int(own.sum()),
            found=share_with_influence((decided == number)[own], weights[own])[0],
            auc=None if own.all() else auc_with_influence(odds[:, number], own, weights=weights)[0],
            n_eff=effective_number(weights[own]) if setting.weighted else None,
        )
        if name in signals:
            scored = setting.scored(sample, name)
            area, influence = auc_with_influence(*scored[:2], weights=scored[2])
            roc, band = roc_points(*scored, confidence=setting.confidence)
            quality = replace(
                quality,
                auc_background=area,
                auc_background_stderr=float(np.sqrt(np.square(influence).sum())),
                rejection=setting.rejection(name, *scored),
                roc=roc,
                roc_band=band,
                scores=score_histogram(*scored, cut=setting.cut(name, *scored)),
            )
        qualities.append(quality)
    return tuple(qualities)


def _sculpting(sample: _Sample, jet_mass: Tensor, setting: _Setting, *, named: str) -> MassSculpting | None:
    """Say what the cut of every signal does to the mass of the background; None where there is nothing to say it of."""
    of_background = of_classes(sample.label, setting.background, setting.classes)
    mass, weights = jet_mass.detach().cpu().double().numpy()[of_background], sample.weights[of_background]
    before = mass_before(mass, weights, named=named)
    if before is None:
        return None
    signals = {}
    for name in setting.signals(sample.label):
        score, is_signal, own = setting.scored(sample, name)
        passes = score[~is_signal] >= setting.cut(name, score, is_signal, own)
        signals[name] = mass_sculpted(before, mass, weights, passes)
    return replace(before, signals=signals)


def _by_pt(sample: _Sample, jet_pt: Tensor, edges: Sequence[float] | None, setting: _Setting) -> tuple[Bin, ...]:
    """Compute the metrics in bins of pT; of a bin without jets there are none."""
    values = jet_pt.detach().cpu().double().numpy()
    if edges is None:
        inner = np.round(np.quantile(values, np.linspace(0, 1, PT_BINS + 1))[1:-1])
        edges = np.unique([np.floor(values.min()), *inner, np.floor(values.max()) + 1]).tolist()
    elif len(edges) < 2 or not all(low < high for low, high in pairwise(edges)):
        raise ConfigError(f"pt_edges is {list(edges)}; expected two or more rising numbers, in GeV")
    bins = []
    for low, high in pairwise(edges):
        chosen = (values >= low) & (values < high)
        own = sample[chosen]
        numbers, place = np.unique(own.label.numpy(), return_inverse=True)
        known = len(numbers) > 0 and bool((np.bincount(place, own.weights) > 0).all())
        found = _metrics(own, setting) if known else {}
        names = setting.signals(own.label) if known else []
        rejections = {name: setting.rejection(name, *setting.scored(own, name)) for name in names}
        n_eff = effective_number(own.weights) if setting.weighted else None
        bins.append(Bin(float(low), float(high), int(chosen.sum()), found, rejections, n_eff))
    return tuple(bins)
