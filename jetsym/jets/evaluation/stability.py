"""Stability of a tagger's decisions: classes that flip, and metrics that move, when the jets are moved.

Each draw moves the whole sample by one random element, so that the spread over draws says how much depends on where
the sample happens to point. It does not shrink as the sample grows, as it would if every jet had its own element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.errors import ConfigError, expect_at_least
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.auc import MultiClass, auc_with_influence, macro_auc_with_influence
from jetsym.jets.evaluation.curves import score_curves
from jetsym.jets.evaluation.discriminants import of_classes, pair_score
from jetsym.jets.evaluation.evaluate import expect_same_classes, predict_logits
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.shares import share_with_influence
from jetsym.jets.evaluation.stability_report import FLIPS, REJECTION, Change, Stability
from jetsym.jets.evaluation.working_points import background_share_with_influence
from jetsym.jets.moves.augmentation import AXES, AugmentationConfig, augment
from jetsym.jets.moves.frames import has_rest_frame
from jetsym.jets.weights import as_weights, describe_weights, weight_column, weights_in_words
from jetsym.progress import progress_bar
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["Move", "actions_on_jets", "stability"]

Array = NDArray[np.float64]
#: An action: how to draw an element and move jets by it. The generator starts alike for all jets of one draw.
Move = Callable[[JetBatch, torch.Generator], JetBatch]

#: Jets that are moved together, which bounds the memory.
TOGETHER = 8192


def actions_on_jets(width: float = 0.5) -> dict[str, AugmentationConfig]:
    """Return the actions that jets are usually moved by; boosts have rapidities uniform on [−width, width].

    Examples
    --------
    >>> list(actions_on_jets())
    ['O3 lab', 'O3 rest', 'SO2 jet', 'SO2 beam', 'boost beam', 'boost jet', 'boost random']
    """
    compact = [Symmetry(), Symmetry(frame="rest"), *(Symmetry(GroupName.SO2, axis=axis) for axis in ("jet", "beam"))]
    boosts = [Symmetry(GroupName.BOOST, axis=axis, width=width) for axis in AXES]
    return {symmetry.label: AugmentationConfig.of(symmetry) for symmetry in (*compact, *boosts)}


def stability(
    model: nn.Module,
    jets: JetBatch,
    *,
    actions: Mapping[str, AugmentationConfig | Move] | None = None,
    draws: int = 8,
    seed: int = 0,
    width: float = 0.5,
    signal: str | None = None,
    background: str | None = None,
    batch_size: int = 512,
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
    weights: str | None = None,
    curves: bool = False,
    progress: bool = False,
) -> Stability:
    """Measure how many decisions flip, and how far the metrics move, when the jets are moved.

    Parameters
    ----------
    model
        From a JetBatch to logits (B, classes), or to one alone for two classes.
    jets
        The jets; without labels only flips can be counted.
    actions
        Name -> :class:`~jetsym.jets.moves.augmentation.AugmentationConfig`, or a function of jets and a generator
        that moves them; default :func:`actions_on_jets`.
    draws
        Elements per action; each moves all jets.
    seed
        Of the elements.
    width
        Largest rapidity of the default boosts.
    signal, background
        Classes of the AUC and the rejections. By default Tbqq against QCD where the tagger has both; of any other two
        classes the second against the first.
    batch_size
        Jets per forward pass.
    multi_class
        Which macro AUC is taken, "ovo" or "ovr"; see :func:`jetsym.jets.evaluation.auc.macro_auc`.
    scores
        What the model gives; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        Column of the jets that weighs them in every number, the flips as well: by default ``weight`` where there is
        one; "none" for none.
    curves
        Measure scores against the angle of rotations and the rapidity of boosts as well; see
        :func:`jetsym.jets.evaluation.curves.score_curves`.
    progress
        Show a progress bar.

    Notes
    -----
    Errors over jets are those of an infinitesimal jackknife: standard errors of shares are binomial, those of areas
    are DeLong's (E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988) 837), those of rejections binomial at
    the cut that was found. Mean and difference combine the same jets' contributions, so that their correlation counts.

    Raises
    ------
    ConfigError
        No draws, or only one of signal and background.
    DataError
        There are no jets, they are of other classes than the tagger's, or there is no such class; or the model gives
        probabilities.

    Examples
    --------
    >>> from jetsym.jets.models import PointNet
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4.sum(1))
    >>> found = stability(PointNet(("QCD", "Tbqq"), width=8), jets, actions={"beam": AugmentationConfig("SO2")})
    >>> list(found.changes["beam"]), found.notes
    (['flips'], ('The jets have no labels: only the flips of classes can be counted.',))
    """
    expect_at_least("draws", draws, 1)
    moves = actions_on_jets(width) if actions is None else actions
    label = None if jets.label is None else jets.label.cpu()
    pair, column = None, weight_column(jets.columns, weights)
    weighing = as_weights(None if column is None else jets.columns[column], len(jets))
    said = () if column is None else (weights_in_words(describe_weights(column, weighing), len(jets)),)
    notes = (*_notes(jets, moves), *said)
    if label is not None:
        expect_same_classes(model, jets)
        pair = _pair(jets.classes, label, signal, background)
    signal, background = pair or (None, None)
    unmoved = predict_logits(model, jets, batch_size=batch_size, scores=scores)
    setting = _Setting(unmoved, label, jets.classes, pair, multi_class, weighing)
    expected = setting.quantities(unmoved)
    changes = {}
    with progress_bar("moving jets", len(moves) * draws * len(jets), shown=progress) as advance:
        for number, (name, move) in enumerate(moves.items()):
            found = []
            for draw in range(draws):
                own = int(np.random.SeedSequence((seed, number, draw)).generate_state(1, np.uint64)[0] >> np.uint64(1))
                options = {"batch_size": batch_size, "scores": scores or "logits"}
                found.append(setting.quantities(_logits(model, jets, _mover(move, own), **options)))
                advance(len(jets))
            changes[name] = {key: _change(key, expected[key], [item[key] for item in found]) for key in expected}
    further = {}
    if curves:
        further = score_curves(
            model,
            jets,
            width=width,
            seed=seed,
            batch_size=batch_size,
            scores=scores,
            weights=None if column is None else weighing,
            progress=progress,
        )
    return Stability(changes, signal, background, len(jets), draws, seed, notes, further)


def _logits(model: nn.Module, jets: JetBatch, move: Callable[[JetBatch], JetBatch], **options: Any) -> Tensor:
    """Compute logits (B, classes) of moved jets, moved some at a time."""
    parts = (jets[start : start + TOGETHER] for start in range(0, len(jets), TOGETHER))
    return torch.cat([predict_logits(model, move(part), **options) for part in parts])


def _mover(move: AugmentationConfig | Move, seed: int) -> Callable[[JetBatch], JetBatch]:
    """Return one draw: the same element for every part of the sample, as each starts from the same seed."""

    def moved(part: JetBatch) -> JetBatch:
        generator = torch.Generator(device=part.device).manual_seed(seed)
        if isinstance(move, AugmentationConfig):
            return augment(part, move, shared=True, generator=generator)
        return move(part, generator)

    return moved


#: A quantity, and what each jet contributes to its error: the square root of Σ ψ² is the standard error.
Quantity = tuple[float, Array]


@dataclass(frozen=True)
class _Setting:
    """Unmoved logits, labels and weights of the jets, the two classes of AUC and rejections, and which macro AUC."""

    unmoved: Tensor
    label: Tensor | None
    classes: Sequence[str]
    pair: tuple[str, str] | None
    multi_class: MultiClass
    weights: Array

    def quantities(self, logits: Tensor) -> dict[str, Quantity]:
        """Compute all numbers that a sample allows."""
        label, decided, own = self.label, logits.argmax(dim=-1), self.weights
        values = {FLIPS: share_with_influence((decided != self.unmoved.argmax(dim=-1)).numpy(), own)}
        if label is None:
            return values
        values["accuracy"] = share_with_influence((decided == label).numpy(), own)
        if len(label.unique()) > 1:
            found = macro_auc_with_influence(logits, label, multi_class=self.multi_class, weights=own)
            values[f"macro_auc_{self.multi_class}"] = found
        if self.pair is not None:
            score, is_signal = pair_score(logits, label, *self.pair, classes=self.classes, scores="logits")
            chosen = of_classes(label, self.pair, self.classes)
            values["auc"] = _spread(auc_with_influence(score, is_signal, weights=own[chosen]), chosen)
            for efficiency in (0.3, 0.5):
                share = background_share_with_influence(
                    score, is_signal, signal_efficiency=efficiency, weights=own[chosen]
                )
                values[f"{REJECTION}{100 * efficiency:.4g}"] = _spread(share, chosen)
        return values


def _spread(quantity: Quantity, chosen: NDArray[np.bool_]) -> Quantity:
    """Return contributions of some of the jets as those of all: the others have none."""
    value, psi = quantity
    everywhere = np.zeros(len(chosen))
    everywhere[chosen] = psi
    return value, everywhere


def _change(name: str, unmoved: Quantity, moved: Sequence[Quantity]) -> Change:
    values, psi = np.array([value for value, _ in moved]), np.mean([psi for _, psi in moved], axis=0)
    draws = len(values)
    std = float(values.std(ddof=1)) if draws > 1 else float("nan")
    over_draws = std / np.sqrt(draws) if draws > 1 else 0.0
    before, slope_before = _shown(name, unmoved[0])
    mean, slope = _shown(name, float(values.mean()))
    difference, difference_stderr = float("nan"), float("nan")
    if np.isfinite(mean) and np.isfinite(before):
        difference = mean - before
        over_jets = np.square(slope * psi - slope_before * unmoved[1]).sum()
        difference_stderr = float(np.sqrt(over_jets + (slope * over_draws) ** 2))
    smaller_is_worse = name != FLIPS and not name.startswith(REJECTION)  # of a rejection the share is held
    return Change(
        unmoved=before,
        unmoved_stderr=float(abs(slope_before) * np.sqrt(np.square(unmoved[1]).sum())),
        mean=mean,
        std=abs(slope) * std,
        worst=_shown(name, float(values.min() if smaller_is_worse else values.max()))[0],
        difference=difference,
        difference_stderr=difference_stderr,
    )


def _shown(name: str, value: float) -> tuple[float, float]:
    """Return a quantity as it is shown, and its derivative: a rejection is the inverse of the measured share."""
    if not name.startswith(REJECTION):
        return value, 1.0
    return (1 / value, -1 / value**2) if value > 0 else (float("inf"), float("nan"))


def _pair(classes: Sequence[str], label: Tensor, signal: str | None, background: str | None) -> tuple[str, str] | None:
    """Return signal and background, or None where the sample has not both and nobody asked for them."""
    if (signal is None) != (background is None):
        raise ConfigError(f"signal is {signal!r} and background is {background!r}; give both, or neither")
    if signal is not None and background is not None:
        return signal, background
    chosen = ("Tbqq", "QCD") if {"Tbqq", "QCD"} <= set(classes) else (classes[-1], classes[0])
    if len(classes) != 2 and chosen != ("Tbqq", "QCD"):
        return None
    present = {classes[number] for number in label.unique().tolist()}
    return chosen if set(chosen) <= present else None


def _notes(jets: JetBatch, moves: Mapping[str, AugmentationConfig | Move]) -> tuple[str, ...]:
    notes = []
    if jets.label is None:
        notes.append("The jets have no labels: only the flips of classes can be counted.")
    at_rest = [move for move in moves.values() if isinstance(move, AugmentationConfig) and move.frame == "rest"]
    lacking = int((~has_rest_frame(jets)).sum()) if at_rest else 0
    if lacking:
        notes.append(f"{lacking} jets have no rest frame; there they are rotated about their momentum instead.")
    boosts = [move for move in moves.values() if isinstance(move, AugmentationConfig) and move.width is not None]
    if boosts:
        laws = sorted({f"{move.rapidity or 'uniform'} of width {move.width:g}" for move in boosts})
        notes.append(f"Rapidities of boosts: {', '.join(laws)}.")
    return tuple(notes)
