"""The commands that evaluate: a tagger on jets, and scores that files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jetsym.commands import check_results, keep_numbers, use_network
from jetsym.commands.pages import BESIDE, draw_evaluation
from jetsym.commands.taggers import load_tagger
from jetsym.errors import ConfigError
from jetsym.ranks import here
from jetsym.text import as_text

if TYPE_CHECKING:
    from jetsym.jets.batch import JetBatch
    from jetsym.jets.evaluation.report import Evaluation
    from jetsym.jets.evaluation.stability_report import Stability
    from jetsym.jets.io.block import BadJets
    from jetsym.jets.models import Tagger

__all__ = ["evaluate", "evaluate_scores", "keep"]

#: Jets whose particles an evaluation has in memory at a time.
PORTION = 16_384


def evaluate(
    model: str,
    data: str | list[str],
    *,
    rotated: int | None = 0,
    stability: bool = False,
    draws: int = 8,
    width: float = 0.5,
    limit: int | None = None,
    max_particles: int | None = None,
    batch_size: int = 512,
    background: str | list[str] | None = None,
    working_points: dict[str, float] | None = None,
    pt_edges: list[float] | None = None,
    multi_class: Literal["ovo", "ovr"] = "ovo",
    weights: str | None = None,
    device: str = "auto",
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    fold: str | None = None,
    fold_by: str | None = None,
    network: str | None = None,
    out: str | None = None,
) -> None:
    """Measure a trained tagger on jets, which need labels for all but the stability of its decisions.

    Jets are in memory some at a time, however many there are; with ``limit`` or ``stability`` all at once.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    data
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, a cache, @LIST, or several of them.
    rotated
        Seed of the random rotations that the jets are measured under as well; null measures them unrotated only.
    stability
        Count decisions that flip when the jets are rotated or boosted, and the spread of AUC and rejections.
    draws
        Elements of each action for the stability; each moves all jets.
    width
        Of the stability under boosts: rapidities are uniform on [-width, width].
    limit
        At most so many jets.
    max_particles
        As for :func:`jetsym.commands.taggers.predict`.
    batch_size
        Jets per forward pass.
    background
        Class or classes that the others are told from; by default QCD, or the first.
    working_points
        Class -> signal efficiency at which its background rejection is quoted: {Tbqq: 0.3}. By default 0.99 for Hqql,
        0.995 for Tbl and 0.5 for all others.
    pt_edges
        Edges of the bins of jet pT in GeV; by default five bins of as many jets each.
    multi_class
        Which macro AUC: "ovo", one class against one other, which the field quotes, or "ovr", one against the rest.
    weights
        Column of the jets that weighs them in every number: by default weight, where there is one; "none" for none.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    mapping, tree, vectors, bad_jets
        As for :func:`jetsym.commands.symmetry.probe`.
    skip_bad
        Leave out files that cannot be read, and damaged parts of files; which is said.
    fold
        k/n: judge the jets whose number of --fold_by is k modulo n alone. By default the fold that the training of the
        run has held out, if it has; "none" for all jets, even those that it was trained on.
    fold_by
        As for :func:`jetsym.commands.taggers.predict`.
    network
        As for :func:`jetsym.commands.symmetry.probe`.
    out
        A JSON file to write the numbers to; figures (_roc.png, _confusion.png, _reliability.png and, as far as the jets
        allow, _scores.png, _rejection_by_pt.png, _sculpting.png and others) and a page (.html) with all go beside it.
    """
    check_results(out, model, data, beside=BESIDE)
    out = out if here().is_first else None
    use_network(network)
    tagger = load_tagger(model, device)
    reading = _reading(tagger, weights, bad_jets, skip_bad, mapping, vectors, tree, fold, fold_by)
    most, about = max_particles or tagger.max_particles, {"model": model, "data": data}
    if tagger.target is not None:
        given: dict[str, Any] = {"stability": stability, "background": background, "working_points": working_points}
        given |= {"pt_edges": pt_edges, "weights": weights}
        _refuse_of_classes(tagger.target.name, given, multi_class)
        _regress(tagger, _at_once(data, limit, most, reading), rotated, batch_size, about, out)
        return
    how: dict[str, Any] = {"batch_size": batch_size, "multi_class": multi_class, "weights": weights}
    jets = _at_once(data, limit, most, reading) if limit is not None or stability else None
    evaluation = None
    if jets is None or jets.label is not None or not stability:
        found = jets if jets is not None else _in_portions(data, most, reading)
        classes: dict[str, Any] = {"background": background, "working_points": working_points, "pt_edges": pt_edges}
        before = out if stability else None  # what is measured next may take long, or fail
        evaluation = _measured(tagger, found, about, before, rotated=rotated, **classes, **how)
    decisions = None
    if jets is not None and stability:
        from jetsym.jets.evaluation.stability import stability as decide

        how |= {"draws": draws, "width": width, "seed": rotated or 0, "curves": out is not None, "progress": True}
        decisions = decide(tagger, jets, **how)
    _keep_both(evaluation, decisions, out)


def _reading(
    tagger: Tagger,
    weights: str | None,
    bad_jets: BadJets,
    skip_bad: bool,
    mapping: str | None,
    vectors: str | None,
    tree: str | None,
    fold: str | None,
    fold_by: str | None,
) -> dict[str, Any]:
    """Return how jets are read for a tagger."""
    from jetsym.jets.io.folds import judged_fold
    from jetsym.jets.io.mapping.parse import tagger_mapping
    from jetsym.jets.weights import columns_to_read

    return {
        "columns": "full",
        "also": columns_to_read(weights) if tagger.target is None else (tagger.target.name,),
        "bad_jets": bad_jets,
        "skip_bad": skip_bad,
        "mapping": tagger_mapping(
            mapping, vectors=vectors, tree=tree, test=True, standardisation=tagger.standardisation
        ),
        "fold": judged_fold(tagger.held_out, fold, fold_by),
    }


def _measured(tagger: Tagger, jets: Any, about: Mapping[str, Any], out: str | None, **options: Any) -> Evaluation:
    """Measure a tagger of classes, and save that where anything else is measured after it."""
    from jetsym.jets.evaluation.evaluate import evaluate as measure

    evaluation: Evaluation = measure(tagger, jets, **options)
    evaluation = replace(evaluation, meta={**evaluation.meta, **about})
    if out is not None:
        evaluation.save(out)
    return evaluation


def _regress(
    tagger: Tagger, jets: JetBatch, rotated: int | None, batch_size: int, about: Mapping[str, Any], out: str | None
) -> None:
    """Measure a network that predicts a number of every jet."""
    from jetsym.jets.evaluation.regression import regress

    found = regress(tagger, jets, rotated=rotated, batch_size=batch_size)
    keep_numbers(replace(found, meta={**found.meta, **about}), out)


def _keep_both(evaluation: Evaluation | None, decisions: Stability | None, out: str | None) -> None:
    """Save what was measured, with the figures of an evaluation, and print it."""
    if out is not None and evaluation is not None:
        evaluation = replace(evaluation, stability=decisions)
        evaluation.save(out)
        draw_evaluation(evaluation, Path(out))
    elif out is not None and decisions is not None:
        decisions.save(out)
    if evaluation is not None:
        print(as_text(evaluation.table()), end="")
    if decisions is not None:
        print(decisions, end="")


def _refuse_of_classes(target: str, given: Mapping[str, Any], multi_class: str) -> None:
    """Refuse options of an evaluation of classes for a network that predicts a target."""
    changed = [name for name, value in given.items() if value not in (None, False)]
    changed += [] if multi_class == "ovo" else ["multi_class"]
    if changed:
        raise ConfigError(f"--{changed[0]} is for classes, and the network predicts {target}; leave it out")


def _at_once(data: str | list[str], limit: int | None, most: int, reading: Mapping[str, Any]) -> JetBatch:
    """Read jets into memory, and say what is odd about them."""
    from jetsym.jets import read
    from jetsym.jets.io.oddities import Oddities

    odd = Oddities()
    jets: JetBatch = read(data, limit=limit, max_particles=most, oddities=odd, **reading)
    odd.say()
    return jets


def _in_portions(data: str | list[str], most: int, reading: Mapping[str, Any]) -> Iterator[JetBatch]:
    """Yield jets some at a time, in the order of the files, and say what is odd about them."""
    from jetsym.jets.io.streaming.stream import JetStream

    stream = JetStream(data, batch_size=PORTION, shuffle=False, buffer=PORTION, **reading)
    for part in stream:
        yield part.to_padded(most)
    stream.oddities.say()


def evaluate_scores(
    data: str | list[str],
    *,
    scores: str | list[str],
    label: str | None = None,
    kind: Literal["probabilities", "logits"] | None = None,
    background: str | list[str] | None = None,
    working_points: dict[str, float] | None = None,
    pt_edges: list[float] | None = None,
    multi_class: Literal["ovo", "ovr"] = "ovo",
    weights: str | None = None,
    out: str | None = None,
) -> None:
    """Measure the scores that files hold, without a model; see :mod:`jetsym.jets.evaluation.scored_files`.

    Parameters
    ----------
    data
        Files with one value per jet in a column (ROOT, Parquet, HDF5 or npz), such as jetsym predict and weaver-core
        write: a path, a glob pattern, or a list of them.
    scores
        The columns of the scores: a pattern such as 'score_*', or a list of names. What stands for * is the class.
    label
        The column of the labels, numbers or names; or a pattern of flags such as 'label_*'. By default label, flags
        label_CLASS, jet_label, or is_signal_new, as the files have it.
    kind
        "probabilities" or "logits"; by default probabilities, but for columns whose names begin with logit.
    background
        Class or classes that the others are told from; by default QCD, or the first.
    working_points
        Class -> signal efficiency at which its background rejection is quoted: {Tbqq: 0.3}. By default 0.99 for Hqql,
        0.995 for Tbl and 0.5 for all others.
    pt_edges
        Edges of the bins of jet pT in GeV, where there is a column jet_pt; by default five bins of as many jets each.
    multi_class
        Which macro AUC: "ovo", one class against one other, which the field quotes, or "ovr", one against the rest.
    weights
        Column that weighs the jets in every number: by default weight, where there is one; "none" for none.
    out
        A JSON file to write the numbers to; figures (_roc.png, _confusion.png, _reliability.png and, as far as the jets
        allow, _scores.png, _rejection_by_pt.png, _sculpting.png and others) and a page (.html) with all go beside it.
    """
    from jetsym.jets.evaluation.scored_files import evaluate_scores as measure

    check_results(out, data, beside=BESIDE)
    evaluation = measure(
        data,
        scores,
        label=label,
        kind=kind,
        background=background,
        working_points=working_points,
        pt_edges=pt_edges,
        multi_class=multi_class,
        weights=weights,
    )
    keep(replace(evaluation, meta={**evaluation.meta, "data": data}), out)


def keep(evaluation: Evaluation, out: str | None) -> None:
    """Save an evaluation with its figures and its page, and print it; of processes that share, the first writes."""
    if out is not None and here().is_first:
        evaluation.save(out)
        draw_evaluation(evaluation, Path(out))
    print(as_text(evaluation.table()), end="")
