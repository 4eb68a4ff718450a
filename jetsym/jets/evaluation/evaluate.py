"""Evaluation of a tagger on a sample of jets, as they are and after random rotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from jetsym.errors import CheckpointError, DataError, expect_at_least, lacks_explained
from jetsym.jets.batch import JetBatch, first_difference, labels_of
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.auc import MultiClass
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.inputs import expect_standardised
from jetsym.jets.kinematics import mass2, pt
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.sampling import random_rotations
from jetsym.jets.schema import WEIGHT
from jetsym.jets.targets import refuse_target
from jetsym.jets.weights import weight_column
from jetsym.ranks import here

__all__ = ["evaluate", "expect_finite_weights", "expect_same_classes", "predict_logits", "predict_outputs"]

#: Column of the mass that tells the sculpting of the background, where jets have it; else it is that of their axis.
GROOMED = "jet_sdmass"


def predict_logits(model: nn.Module, batch: JetBatch, *, batch_size: int = 512, scores: Scores | None = None) -> Tensor:
    """Compute logits (B, classes) of a tagger in evaluation mode, without gradients, on the CPU.

    The jets are taken ``batch_size`` at a time to the model's device; its training mode is put back afterwards.
    Processes that share (:mod:`jetsym.ranks`) take the batches in turn, and each of them has the logits of all jets.

    Parameters
    ----------
    model
        From a JetBatch to logits (B, classes), or to one alone, (B, 1) or (B,), for two classes. The classes are
        those that it has as ``classes``, else those of the jets.
    batch
        The jets.
    batch_size
        Jets per forward pass.
    scores
        What the model gives; see :func:`jetsym.jets.evaluation.scores.as_logits`.

    Raises
    ------
    DataError
        There are no jets, or their inputs were standardised with other numbers than those of the model's training; or
        the model gives probabilities, or not one logit for every class.
    ResourceError
        Memory does not suffice for so many jets at a time.

    Examples
    --------
    >>> from jetsym.jets.models import PointNet
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> predict_logits(PointNet(("QCD", "Tbqq"), width=8), jets).shape
    torch.Size([1, 2])
    """
    refuse_target(model, "an evaluation of scores")
    found = predict_outputs(model, batch, batch_size=batch_size)
    return as_logits(found, scores, classes=getattr(model, "classes", batch.classes)).float()


def predict_outputs(model: nn.Module, batch: JetBatch, *, batch_size: int = 512) -> Tensor:
    """Compute what a model gives for jets, as it gives it, in their order; as :func:`predict_logits` otherwise."""
    expect_at_least("batch_size", batch_size, 1)
    if not len(batch):
        raise DataError("there are no jets to evaluate; expected at least one")
    expect_standardised(batch.input_forms, getattr(model, "standardisation", None))
    parameter = next(model.parameters(), None)
    device = batch.device if parameter is None else parameter.device
    # Jets of similar length go together, so that little padding is computed; their order is put back afterwards.
    order = batch.n_particles.argsort(stable=True)
    batches, ranks = list(enumerate(order.split(batch_size))), here()
    helps = "choose a smaller batch_size (--batch_size)"

    def own() -> list[tuple[int, Tensor]]:
        mine = batches[ranks.rank :: ranks.size]
        return [(place, model(batch[chosen].trim().to(device)).cpu()) for place, chosen in mine]

    with _inference(model), lacks_explained(f"{batch_size} jets at a time cannot be scored", memory=helps):
        found = torch.cat(ranks.in_order(own))
    return found[order.argsort().cpu()]


def evaluate(
    model: nn.Module,
    batch: JetBatch | Iterable[JetBatch],
    *,
    rotated: int | None = None,
    batch_size: int = 512,
    background: str | Sequence[str] | None = None,
    working_points: Mapping[str, float] | None = None,
    pt_edges: Sequence[float] | None = None,
    confidence: float = 0.95,
    multi_class: MultiClass = "ovo",
    scores: Scores | None = None,
    weights: str | None = None,
) -> Evaluation:
    """Measure a tagger on labelled jets.

    Parameters
    ----------
    model
        From a JetBatch to logits (B, classes), or to one alone for two classes, see :func:`predict_logits`.
    batch
        Jets with labels, at once or in portions: of each only logits, label, weight, jet pT and mass are kept.
    rotated
        A seed: the same is then measured on the jets after a rotation of its own for each, drawn from the Haar
        measure, as :attr:`~jetsym.jets.evaluation.report.Evaluation.rotated`.
    batch_size
        Jets per forward pass.
    background, working_points, pt_edges, confidence, multi_class
        See :func:`jetsym.jets.evaluation.assess.assess`.
    scores
        "probabilities" for a model that gives these, such as one that ends in a softmax; see
        :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        Column of the jets that weighs them in every number: by default ``weight`` where there is one; "none" for none.

    Raises
    ------
    DataError
        The jets have no labels, there are none, or their classes are not those of ``model.classes``; or the model
        gives probabilities; or the weights of a class sum to zero or less.
    CheckpointError
        Weights of the model are not finite.
    ConfigError
        An option names no class or column, or has no meaning.
    """
    expect_finite_weights(model)
    generator = None if rotated is None else torch.Generator().manual_seed(rotated)
    parts: list[_Scored] = []
    for jets in [batch] if isinstance(batch, JetBatch) else batch:
        parts.append(_scored(model, jets, generator, batch_size=batch_size, scores=scores, weights=weights))
        scores = scores or "logits"  # as the first jets have shown: a few may look like anything
        del jets
    if not parts:
        raise DataError("there are no jets to evaluate; expected at least one")
    known = _Scored.of_all(parts)
    del parts  # memory of each jet counts where there are many

    def measured(logits: Tensor) -> Evaluation:
        return assess(
            logits,
            known.label,
            classes=known.classes,
            jet_pt=known.jet_pt,  # a rotated jet keeps its bin
            jet_mass=known.jet_mass,
            mass=known.mass,
            background=background,
            working_points=working_points,
            pt_edges=pt_edges,
            confidence=confidence,
            multi_class=multi_class,
            scores="logits",
            weights=known.weights,
            column=known.column or WEIGHT,
        )

    found = measured(known.logits)
    if known.rotated is None:
        return found
    return replace(found, rotated=measured(known.rotated), meta={**found.meta, "rotated": rotated})


@dataclass(frozen=True, eq=False)
class _Scored:
    """What an evaluation keeps of some jets (B,): logits (B, classes) as they are and rotated, and what they go by."""

    classes: tuple[str, ...]
    label: Tensor
    jet_pt: Tensor
    jet_mass: Tensor
    mass: str
    column: str | None
    weights: Tensor | None
    logits: Tensor
    rotated: Tensor | None

    @classmethod
    def of_all(cls, parts: Sequence[_Scored]) -> _Scored:
        """Put some one after the other; what is said once is the first one's."""
        weights = [part.weights for part in parts if part.weights is not None]
        rotated = [part.rotated for part in parts if part.rotated is not None]
        return replace(
            parts[0],
            label=torch.cat([part.label for part in parts]),
            jet_pt=torch.cat([part.jet_pt for part in parts]),
            jet_mass=torch.cat([part.jet_mass for part in parts]),
            weights=torch.cat(weights) if weights else None,
            logits=torch.cat([part.logits for part in parts]),
            rotated=torch.cat(rotated) if rotated else None,
        )


def _scored(
    model: nn.Module,
    jets: JetBatch,
    generator: torch.Generator | None,
    *,
    batch_size: int,
    scores: Scores | None,
    weights: str | None,
) -> _Scored:
    """Score some jets, and with a generator the same under a rotation of its own for each."""
    column = weight_column(jets.columns, weights)
    expect_same_classes(model, jets)
    label, rotated = labels_of(jets).cpu(), None
    logits = predict_logits(model, jets, batch_size=batch_size, scores=scores)
    if generator is not None:
        moved = rotate(jets, random_rotations(len(jets), generator=generator)[None])
        rotated = predict_logits(model, moved, batch_size=batch_size, scores=scores or "logits")
    own = None if column is None else jets.columns[column].cpu()
    groomed = jets.columns.get(GROOMED)
    mass = mass2(jets.jet_p4.double()).clamp_min(0).sqrt() if groomed is None else groomed
    named = "jet mass" if groomed is None else GROOMED
    return _Scored(jets.classes, label, pt(jets.jet_p4).cpu(), mass.cpu(), named, column, own, logits, rotated)


def expect_same_classes(model: nn.Module, batch: JetBatch) -> None:
    """Raise a DataError that names the first difference between a tagger's classes and those of jets."""
    classes = getattr(model, "classes", batch.classes)
    if tuple(classes) != batch.classes:
        raise DataError(f"the jets are of other classes than the tagger's: {first_difference(batch.classes, classes)}")


def expect_finite_weights(model: nn.Module) -> None:
    """Refuse a model of whose weights some are NaN or infinite; buffers may hold infinity, as masks do.

    Raises
    ------
    CheckpointError
        There are such weights; the message names the first.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> _ = model.weight.data.fill_(torch.nan)
    >>> expect_finite_weights(model)
    Traceback (most recent call last):
    jetsym.errors.CheckpointError: 4 of 6 weights of the Linear are not finite, the first of 'weight'; its scores \
would be no numbers: take an earlier checkpoint, or train it again
    """
    wrong = {name: int((~one.isfinite()).sum()) for name, one in model.named_parameters() if one.is_floating_point()}
    wrong |= {name: int(one.isnan().sum()) for name, one in model.named_buffers() if one.is_floating_point()}
    if any(wrong.values()):
        first = next(name for name, number in wrong.items() if number)
        total = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
        raise CheckpointError(
            f"{sum(wrong.values())} of {total} weights of the {type(model).__name__} are not finite, the first of "
            f"{first!r}; its scores would be no numbers: take an earlier checkpoint, or train it again"
        )


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode and without gradients, for a while."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
