"""Scores of jets that are moved further and further: by the angle of a rotation, and by the rapidity of a boost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.stability_report import ScoreCurve
from jetsym.jets.moves.actions import boost, rotate
from jetsym.jets.moves.sampling import random_directions
from jetsym.progress import progress_bar

__all__ = ["score_curves"]

#: Points of each curve, and the most jets that they are measured on, drawn at random.
POINTS, MOST = 9, 4096


def score_curves(
    model: nn.Module,
    jets: JetBatch,
    *,
    width: float = 0.5,
    seed: int = 0,
    batch_size: int = 512,
    scores: Scores | None = None,
    weights: NDArray[np.float64] | None = None,
    progress: bool = False,
) -> dict[str, ScoreCurve]:
    """Measure scores against the angle of a rotation in the lab, and the rapidity of boosts along beam and jet.

    Each jet turns about an axis of its own, the same at all angles. Angles are 0 … 180 degrees, rapidities −width …
    width. Of more than 4096 jets so many are drawn at random.

    Parameters
    ----------
    model
        From a JetBatch to logits (B, classes).
    jets
        The jets; where they have no labels, each counts as of its most probable class.
    width
        Largest rapidity.
    seed
        Of the axes, and of the jets where not all are taken.
    batch_size, scores
        See :func:`jetsym.jets.evaluation.evaluate.predict_logits`.
    weights
        (B,) of the jets.
    progress
        Show a progress bar.

    Examples
    --------
    >>> from jetsym.jets.models import PointNet
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4.sum(1), torch.tensor([1]))
    >>> found = score_curves(PointNet(("QCD", "Tbqq"), width=8), jets.replace(classes=("QCD", "Tbqq")))
    >>> list(found), found["rotation"].values[-1], found["rotation"].changes["Tbqq"][0]
    (['rotation', 'boost beam', 'boost jet'], 180.0, 0.0)
    """
    generator = torch.Generator().manual_seed(seed)
    own = np.ones(len(jets)) if weights is None else np.asarray(weights, np.float64)
    if len(jets) > MOST:
        chosen = torch.randperm(len(jets), generator=generator)[:MOST].sort().values
        jets, own = jets[chosen.to(jets.device)], own[chosen.numpy()]
    axes = random_directions(len(jets), generator=generator).double().cpu().numpy()

    def turned(angle: float) -> JetBatch:
        matrices = Rotation.from_rotvec(np.radians(angle) * axes).as_matrix()
        return rotate(jets, torch.from_numpy(matrices)[None].to(jets.device))

    def boosted(axis: str) -> Callable[[float], JetBatch]:
        return lambda rapidity: boost(jets, torch.tensor([rapidity], dtype=torch.float64, device=jets.device), axis)

    angles, rapidities = np.linspace(0, 180, POINTS), np.linspace(-width, width, POINTS)
    moves: dict[str, tuple[str, NDArray[np.float64], Callable[[float], JetBatch]]] = {
        "rotation": ("angle of the rotation [degrees]", angles, turned),
        "boost beam": ("rapidity of the boost along the beam", rapidities, boosted("beam")),
        "boost jet": ("rapidity of the boost along the jet", rapidities, boosted("jet")),
    }
    options = {"batch_size": batch_size, "scores": scores}
    unmoved = predict_logits(model, jets, **options).double().softmax(dim=-1)  # type: ignore[arg-type]
    label = unmoved.argmax(dim=-1) if jets.label is None else jets.label.cpu()
    before = unmoved.gather(1, label[:, None])[:, 0].numpy()
    options["scores"] = scores or "logits"
    curves = {}
    with progress_bar("moving jets further", len(moves) * POINTS * len(jets), shown=progress) as advance:
        for name, (unit, values, move) in moves.items():
            after = []
            for value in values:
                logits = predict_logits(model, move(float(value)), **options)  # type: ignore[arg-type]
                after.append(logits.double().softmax(dim=-1).gather(1, label[:, None])[:, 0].numpy())
                advance(len(jets))
            curves[name] = _curve(unit, values, before, np.array(after), label, own, jets.classes)
    return curves


def _curve(
    unit: str,
    values: NDArray[np.float64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    label: Tensor,
    weights: NDArray[np.float64],
    classes: tuple[str, ...],
) -> ScoreCurve:
    """Average the scores of unmoved jets (B,) and of moved ones (values, B) by class."""
    scores, stderr, changes, jets = {}, {}, {}, {}
    for number in label.unique().tolist():
        chosen = label.numpy() == number
        own = weights[chosen] / weights[chosen].sum()
        name, mean = classes[number], after[:, chosen] @ own
        spread = own * (after[:, chosen] - mean[:, None])
        moved = np.square(after[:, chosen] - before[chosen]) @ own
        scores[name] = tuple(mean.tolist())
        stderr[name] = tuple(np.sqrt(np.square(spread).sum(axis=1)).tolist())
        changes[name] = tuple(np.sqrt(np.maximum(moved, 0)).tolist())
        jets[name] = int(chosen.sum())
    return ScoreCurve(unit, tuple(values.tolist()), scores, stderr, changes, jets)
