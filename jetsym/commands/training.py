"""The commands on taggers: train, evaluate, predict, export, repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from jetsym.commands import check_results, keep_numbers, save, use_network
from jetsym.commands.pages import BESIDE, draw_evaluation
from jetsym.errors import ConfigError
from jetsym.files import check_out
from jetsym.lazy import is_entry
from jetsym.locks import locked
from jetsym.ranks import here
from jetsym.text import as_text

if TYPE_CHECKING:
    from jetsym.jets.batch import JetBatch
    from jetsym.jets.evaluation.report import Evaluation
    from jetsym.jets.io.block import BadJets
    from jetsym.jets.models import ParticleNet, Tagger

__all__ = ["evaluate", "evaluate_scores", "export", "predict", "repair", "train"]

#: Jets whose particles an evaluation has in memory at a time.
PORTION = 16_384


def train(
    data: str | list[str], out: str, *, dry_run: bool = False, find_lr: bool = False, **options: Any
) -> Path | None:
    """Train a tagger on ROOT files; see :func:`jetsym.training.loop.train`.

    Parameters
    ----------
    data
        Files of jets to train on: a path, a glob pattern, a directory, a cache, @LIST, or several of them.
    out
        Folder of the run.
    dry_run
        Train and validate on one batch only, and write nothing.
    find_lr
        Only look for a learning rate, by steps with growing ones; a table is printed, and learning_rate.json and .png
        are written to the folder.
    """
    from jetsym.training.engine import is_first_process
    from jetsym.training.loop import train as train_tagger

    _import_own(options)
    if dry_run or find_lr:
        _try_before(data, Path(out), options, find=find_lr)
        return None
    path = train_tagger(data, out, **options).path
    return path if is_first_process() else None


def _import_own(options: dict[str, Any]) -> None:
    """Import the network of one's own that ``--model`` names, if it does, and put its own name there."""
    if is_entry(options.get("model")):
        from jetsym.jets.models.own import imported_network, own_tagger

        options["model"] = own_tagger(imported_network("--model", options["model"])).name


def _try_before(data: str | list[str], out: Path, options: dict[str, Any], *, find: bool) -> None:
    from jetsym.training.config import TrainConfig
    from jetsym.training.engine import is_first_process
    from jetsym.training.trials import dry_run, find_lr

    run = ("resume", "overwrite", "progress")
    config = TrainConfig(data=data, **{name: value for name, value in options.items() if name not in run})
    if find:
        check_out(out, inputs=[config.data, config.val, config.init], folder=True)
        with locked(out, "jetsym train --find_lr") if is_first_process() else nullcontext():
            curve = find_lr(config, progress=options.get("progress", True))
            if is_first_process():
                save(curve, out / "learning_rate.json")
                print(curve, end="")
        return
    found = dry_run(config)
    if is_first_process():
        for name, value in found.items():
            print(f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}")


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
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
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
        Particles kept per jet; by default as many as in the tagger's training.
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
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    tree
        Name of the tree that the mapping is of, whatever it says itself.
    vectors
        The input that holds px, py, pz and energy, where the mapping is a data configuration of weaver-core; by default
        pf_vectors.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity; how many is said.
    skip_bad
        Leave out files that cannot be read, and damaged parts of files; which is said.
    fold
        k/n: judge the jets whose number of --fold_by is k modulo n alone. By default the fold that the training of the
        run has held out, if it has; "none" for all jets, even those that it was trained on.
    fold_by
        The column of whole numbers that tells folds apart; by default that of the run, or event.
    network
        The class of a network of one's own that was trained, as package.module:Class; its code runs.
    out
        A JSON file to write the numbers to; figures (_roc.png, _confusion.png, _reliability.png and, as far as the jets
        allow, _scores.png, _rejection_by_pt.png, _sculpting.png and others) and a page (.html) with all go beside it.
    """
    from jetsym.jets.evaluation.evaluate import evaluate as measure
    from jetsym.jets.io.folds import judged_fold
    from jetsym.jets.io.mapping.parse import tagger_mapping
    from jetsym.jets.weights import columns_to_read

    check_results(out, model, data, beside=BESIDE)
    if not here().is_first:
        out = None
    use_network(network)
    tagger = _load(model, device)
    if tagger.target is not None:
        given: dict[str, Any] = {"stability": stability, "background": background, "working_points": working_points}
        given |= {"pt_edges": pt_edges, "weights": weights}
        _refuse_of_classes(tagger.target.name, given, multi_class)
    reading: dict[str, Any] = {
        "columns": "full",
        "also": columns_to_read(weights) if tagger.target is None else (tagger.target.name,),
        "bad_jets": bad_jets,
        "skip_bad": skip_bad,
        "mapping": tagger_mapping(
            mapping, vectors=vectors, tree=tree, test=True, standardisation=tagger.standardisation
        ),
        "fold": judged_fold(tagger.held_out, fold, fold_by),
    }
    most = max_particles or tagger.max_particles
    at_once = limit is not None or stability or tagger.target is not None
    jets = _jets_at_once(data, limit, most, reading) if at_once else None
    if tagger.target is not None and jets is not None:
        from jetsym.jets.evaluation.regression import regress

        found = regress(tagger, jets, rotated=rotated, batch_size=batch_size)
        keep_numbers(replace(found, meta={**found.meta, "model": model, "data": data}), out)
        return
    evaluation, decisions = None, None
    if jets is None or jets.label is not None or not stability:
        evaluation = measure(
            tagger,
            _in_portions(data, most, reading) if jets is None else jets,
            rotated=rotated,
            batch_size=batch_size,
            background=background,
            working_points=working_points,
            pt_edges=pt_edges,
            multi_class=multi_class,
            weights=weights,
        )
        evaluation = replace(evaluation, meta={**evaluation.meta, "model": model, "data": data})
        if out is not None:
            evaluation.save(out)
    if jets is not None and stability:
        from jetsym.jets.evaluation.stability import stability as decide

        seed = rotated or 0
        decisions = decide(
            tagger,
            jets,
            draws=draws,
            width=width,
            seed=seed,
            batch_size=batch_size,
            multi_class=multi_class,
            weights=weights,
            curves=out is not None,
            progress=True,
        )
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


def _jets_at_once(data: str | list[str], limit: int | None, most: int, reading: Mapping[str, Any]) -> JetBatch:
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


def predict(
    model: str,
    data: str | list[str],
    *,
    out: str,
    logits: bool = False,
    max_particles: int | None = None,
    batch_size: int = 512,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    device: str = "auto",
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    fold: str | None = None,
    fold_by: str | None = None,
    friend: bool = False,
    network: str | None = None,
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for jets, in their order; see :func:`jetsym.jets.evaluation.predict.predict`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    data
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, or a list of them; labels are not needed.
    out
        The file to write: a name that ends in .root or .parquet; {stem} in it with --friend.
    logits
        Write the logits beside the probabilities.
    max_particles
        Particles kept per jet; by default as many as in the tagger's training.
    batch_size
        Jets per forward pass.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity; these have rows with scores of NaN.
    skip_bad
        Leave out files that cannot be read; damaged parts of files have rows with scores of NaN.
    threads
        Threads that read.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    tree
        Name of the tree that the mapping is of, whatever it says itself.
    vectors
        The input that holds px, py, pz and energy, where the mapping is a data configuration of weaver-core; by default
        pf_vectors.
    fold
        k/n: give scores to the jets whose number of --fold_by is k modulo n alone. By default the fold that the run
        has held out of its training, if it has; "none" for all jets, even those that it was trained on.
    fold_by
        The column of whole numbers that tells folds apart; by default that of the run, or event.
    friend
        Write a friend of each file's tree: a tree "scores" of as many entries in the same order, with NaN where there
        is no score. Of several files each has its own; in --out {stem} stands for its name.
    network
        The class of a network of one's own that was trained, as package.module:Class; its code runs.
    progress
        Show a progress bar.
    """
    from jetsym.jets.evaluation.predict import predict as write
    from jetsym.jets.io.folds import NO_FOLD, judged_fold
    from jetsym.jets.io.mapping.parse import tagger_mapping

    use_network(network)
    tagger = _load(model, device)
    return write(
        tagger,
        data,
        out,
        logits=logits,
        max_particles=max_particles,
        batch_size=batch_size,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        threads=threads,
        mapping=tagger_mapping(mapping, vectors=vectors, tree=tree, test=True, standardisation=tagger.standardisation),
        fold=judged_fold(tagger.held_out, fold, fold_by) or NO_FOLD,
        friend=friend,
        progress=progress,
    )


def export(model: str, *, out: str, tolerance: float = 1e-5, network: str | None = None) -> Path:
    """Write a trained tagger for other programs: as an ONNX graph, or as weights in weaver-core's layout.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    out
        A name that ends in .onnx for a graph of raw four-momenta to logits, see
        :func:`jetsym.jets.export.export_onnx`; in .pt for weights of a ParticleTransformer or a ParticleNet.
    tolerance
        Largest difference of a logit between the graph and torch that is let pass, where logits are larger than one in
        units of the largest.
    network
        The class of a network of one's own that was trained, as package.module:Class; its code runs.
    """
    use_network(network)
    if Path(out).suffix not in (".onnx", ".pt"):
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .onnx, or in .pt for weaver's layout")
    path = check_out(out, inputs=model)
    tagger = _load(model, "cpu")
    if path.suffix == ".pt":
        from jetsym.jets.models.weaver import export as write_weights

        write_weights(cast("ParticleNet", tagger), path)  # which refuses others
        return path
    from jetsym.jets.export import export_onnx

    return export_onnx(tagger, path, tolerance=tolerance)


def repair(
    run: str,
    *,
    finding: str,
    report: str | None = None,
    remedy: str | None = None,
    weight: float | None = None,
    from_weights: bool = False,
    out: str | None = None,
) -> Path:
    """Write the configuration of a run that repairs what was found in another, of jetsym train or jetsym atoms train.

    Where it is the measurement that says too little, the options of a probe that would say more.
    See :func:`jetsym.repair.dispatch.repair`.

    Parameters
    ----------
    run
        Folder of the run.
    finding
        What was found, as jetsym diagnose names it.
    report
        The report or the diagnosis it was found in, for group, frame and axis; a report tells as well what an average
        at inference takes.
    remedy
        What to do about it, such as augment; another word names those that there are. By default the least intrusive
        one that repairs the finding and that the run does not have.
    weight
        Of a new penalty; by default 0.1.
    from_weights
        Begin from the best weights of the run instead of anew.
    out
        A YAML file to write to; by default ``repair-FINDING.yaml`` in the folder of the run.
    """
    from jetsym.repair import repair as repaired_run

    name = Path(run).expanduser() / f"repair-{finding}.yaml" if out is None else out
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .yaml")
    repaired = repaired_run(
        run, finding=finding, report=report, remedy=remedy, weight=weight, from_weights=from_weights
    )
    path = repaired.save(name)
    print(repaired, end="")
    print(f"Go on with: {repaired.start(path)}")
    return path


def _load(model: str, device: str) -> Tagger:
    """Load a tagger onto the device that a user names."""
    from jetsym.jets.checkpoint import load

    return load(model, device=placed(device))


def placed(device: str) -> str:
    """Return the device that a user means by cpu, cuda or auto."""
    import torch

    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device is {device!r}; expected cpu, cuda or auto")
    there = torch.cuda.is_available()
    if kind == "cuda" and not there:
        raise ConfigError(f"--device is {device!r}, but torch finds no CUDA device; use --device cpu or auto")
    return ("cuda" if there else "cpu") if kind == "auto" else device
