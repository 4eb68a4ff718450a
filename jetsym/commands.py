"""What the command line adds to the library's functions: where results are written, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.console import Console

from jetsym.errors import ConfigError
from jetsym.files import write_atomically

if TYPE_CHECKING:
    from jetsym.jets.io.root import BadJets, Columns
    from jetsym.jets.models import ParticleNet, Tagger
    from jetsym.probing.attribution_report import Attribution
    from jetsym.probing.comparison import Comparison
    from jetsym.probing.findings import Diagnosis
    from jetsym.probing.monitor import History
    from jetsym.probing.probe import Report
    from jetsym.training.evaluation_report import Evaluation

__all__ = [
    "attribute",
    "compare",
    "convert",
    "diagnose",
    "download",
    "evaluate",
    "export",
    "inspect",
    "predict",
    "probe",
    "repair",
    "spectra",
    "train",
]


def convert(
    paths: str | list[str],
    *,
    out: str,
    to: Literal["cache", "parquet"] = "cache",
    columns: Columns = "all",
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    overwrite: bool = False,
    mapping: str | None = None,
) -> Path:
    """Make a cache of files of jets, see :func:`jetsym.jets.io.convert.convert`, or Parquet files of ROOT files.

    Parameters
    ----------
    paths
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, a directory, or a list of these.
    out
        Folder of the cache, or of the Parquet files; what is unfinished is continued.
    to
        "cache", or "parquet" for one file per ROOT file, with all its branches; the options below are the cache's.
    columns
        "kin" for momenta, "full" for the particles' scalars as well, "all" for the per-jet columns as well.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity.
    skip_bad
        Leave out damaged files and parts of files.
    threads
        Threads that read.
    overwrite
        Replace a cache of other files.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    """
    if to == "parquet":
        if mapping is not None:
            raise ConfigError("--mapping makes caches; with --to parquet all branches keep their names")
        from jetsym.jets.io.parquet import to_parquet

        return to_parquet(paths, out, overwrite=overwrite)
    from jetsym.jets.io.convert import convert as make_cache

    return make_cache(
        paths,
        out,
        columns=columns,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        threads=threads,
        overwrite=overwrite,
        mapping=mapping,
    )


def inspect(
    path: str | list[str], *, picture: str | None = None, verify: bool = False, mapping: str | None = None
) -> None:
    """Say what files of jets or a cache hold: jets per class, branches, ranges, bad values.

    Parameters
    ----------
    path
        Files of jets (ROOT, Parquet, HDF5 or npz: a path, an address, a glob pattern, a directory, or a list of these),
        or the folder of a cache.
    picture
        A file for histograms (.png, .pdf or .svg).
    verify
        Compare the files of a folder with the checksums in its manifest first.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    """
    from jetsym.jets.io.cache import verify as compare
    from jetsym.jets.io.inspect import inspect as look

    if verify:
        if not isinstance(path, str):
            raise ConfigError("--verify takes one folder with a manifest.json")
        print(f"{compare(path)} files are as {path}/manifest.json says")
    summary = look(path, mapping=mapping)
    Console().print(summary.table())
    if picture is not None:
        from jetsym.plotting import save_figure

        save_figure(summary.plot(), picture)


def download(
    what: Literal["weights", "jetclass"],
    *,
    model: str | list[str] | None = None,
    split: str | list[str] = "val_5M",
    out: str = ".",
    allow_unverified: bool = False,
    keep_archives: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> None:
    """Fetch what others have published, checked and continued where an earlier attempt was cut off.

    Parameters
    ----------
    what
        "weights": networks trained on JetClass, published with the ParT paper; "jetclass": the data set itself.
    model
        particlenet-kin, particlenet-kinpid, particlenet-full, part-kin, part-kinpid, part-full, or a list of them; by
        default those whose checksum is known.
    split
        train_100M (or one of its parts, train_100M_part0 to train_100M_part9), val_5M, test_20M, or a list of them.
    out
        Folder to write to; made if it is not there.
    allow_unverified
        Fetch models whose checksum is not known as well; the SHA-256 of what has come is then shown.
    keep_archives
        Keep JetClass's archives beside the files that were in them.
    dry_run
        Show what would be fetched, and fetch nothing.
    progress
        Show a progress bar.
    """
    if what == "jetclass":
        from jetsym.jets.io.datasets import chosen_splits, download_jetclass

        if dry_run:
            for archive in chosen_splits(split):
                there = "there already" if archive.is_there(Path(out).expanduser()) else f"md5 {archive.md5}"
                print(f"{archive.url} -> {Path(out) / archive.folder} ({there})")
            return
        for folder in download_jetclass(split, out=out, keep_archives=keep_archives, progress=progress):
            print(folder)
        return
    from jetsym.jets.io.download import checksum
    from jetsym.jets.io.weights import chosen, download_weights

    items = chosen(model, allow_unverified=allow_unverified)
    if dry_run:
        for item in items.values():
            size = "size unknown" if item.size is None else f"{item.size:,} bytes"
            print(f"{item.url} -> {Path(out) / item.file} ({size}, sha256 {item.sha256 or 'unknown'})")
        return
    for name in items:  # one after the other, so that each is shown as soon as it is there
        path = download_weights(name, out=out, allow_unverified=allow_unverified, progress=progress)[name]
        print(path if items[name].sha256 else f"{path} (unverified: sha256 {checksum(path)})")


def train(
    data: str | list[str], out: str, *, dry_run: bool = False, find_lr: bool = False, **options: Any
) -> Path | None:
    """Train a tagger on ROOT files; see :func:`jetsym.training.loop.train`.

    Parameters
    ----------
    data
        ROOT files to train on: a path, a glob pattern, or a list of them.
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

    if dry_run or find_lr:
        _try_before(data, Path(out), options, find=find_lr)
        return None
    path = train_tagger(data, out, **options).path
    return path if is_first_process() else None


def _try_before(data: str | list[str], out: Path, options: dict[str, Any], *, find: bool) -> None:
    from jetsym.plotting import save_figure
    from jetsym.training.config import TrainConfig
    from jetsym.training.engine import is_first_process
    from jetsym.training.trials import dry_run, find_lr

    run = ("resume", "overwrite", "progress")
    config = TrainConfig(data=data, **{name: value for name, value in options.items() if name not in run})
    if find:
        curve = find_lr(config, progress=options.get("progress", True))
        if is_first_process():
            print(curve, end="")
            write_atomically(out / "learning_rate.json", json.dumps(curve.to_dict(), indent=1) + "\n")
            save_figure(curve.plot(), out / "learning_rate.png")
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
    device: str = "auto",
    mapping: str | None = None,
    out: str | None = None,
) -> None:
    """Measure a trained tagger on jets, which need labels for all but the stability of its decisions.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    data
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, or a list of them.
    rotated
        Seed of the random rotations that the jets are measured under as well; null measures them upright only.
    stability
        Count decisions that flip when the jets are turned or boosted, and the spread of AUC and rejections.
    draws
        Elements of each action for the stability; each moves all jets.
    width
        Of the stability under boosts: their rapidities are uniform on [-width, width].
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
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    out
        A JSON file to write the numbers to; pictures (_roc.png, _confusion.png, _reliability.png) go beside it.
    """
    from jetsym.jets import read
    from jetsym.training.evaluate import evaluate as measure

    if out is not None and Path(out).suffix != ".json":
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json (the pictures take its stem)")
    tagger = _load(model, device)
    jets = read(data, limit=limit, max_particles=max_particles or tagger.max_particles, mapping=mapping)
    values: dict[str, Any] = {}
    evaluation = None
    if jets.label is not None or not stability:
        evaluation = measure(
            tagger,
            jets,
            rotated=rotated,
            batch_size=batch_size,
            background=background,
            working_points=working_points,
            pt_edges=pt_edges,
        )
        evaluation = replace(evaluation, meta={**evaluation.meta, "model": model, "data": data})
        values |= evaluation.to_dict()
        Console().print(evaluation.table())
    if stability:
        from jetsym.training.stability import stability as decide

        found = decide(tagger, jets, draws=draws, width=width, seed=rotated or 0, batch_size=batch_size, progress=True)
        print(found, end="")
        values["stability"] = found.to_dict()
    if out is not None:
        write_atomically(out, json.dumps(values, indent=1) + "\n")
        if evaluation is not None:
            _draw(evaluation, Path(out))


def predict(
    model: str,
    data: str | list[str],
    *,
    out: str,
    logits: bool = False,
    max_particles: int | None = None,
    batch_size: int = 512,
    bad_jets: BadJets = "raise",
    threads: int = 2,
    device: str = "auto",
    mapping: str | None = None,
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for jets, in their order; see :func:`jetsym.training.predict.predict`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    data
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, or a list of them; labels are not needed.
    out
        The file to write: a name that ends in .root or .parquet.
    logits
        Write the logits beside the probabilities.
    max_particles
        Particles kept per jet; by default as many as in the tagger's training.
    batch_size
        Jets per forward pass.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity.
    threads
        Threads that read.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    progress
        Show a progress bar.
    """
    from jetsym.training.predict import predict as write

    return write(
        _load(model, device),
        data,
        out,
        logits=logits,
        max_particles=max_particles,
        batch_size=batch_size,
        bad_jets=bad_jets,
        threads=threads,
        mapping=mapping,
        progress=progress,
    )


def export(model: str, *, out: str, tolerance: float = 1e-5) -> Path:
    """Write a trained tagger for other programs: as an ONNX graph, or as weights in weaver-core's layout.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    out
        A name that ends in .onnx for a graph of raw four-momenta to logits, see
        :func:`jetsym.training.export.export_onnx`; in .pt for weights of a ParticleTransformer or a ParticleNet.
    tolerance
        Largest difference of a logit between the graph and torch that is let pass, where logits are larger than one in
        units of the largest.
    """
    if Path(out).suffix not in (".onnx", ".pt"):
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .onnx, or in .pt for weaver's layout")
    tagger = _load(model, "cpu")
    if Path(out).suffix == ".pt":
        from jetsym.jets.models.weaver import export as write_weights

        write_weights(cast("ParticleNet", tagger), out)  # which refuses others
        return Path(out)
    from jetsym.training.export import export_onnx

    return export_onnx(tagger, out, tolerance=tolerance)


def _load(model: str, device: str) -> Tagger:
    """A tagger on the device that a user names."""
    import torch

    from jetsym.training.checkpoint import load

    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device is {device!r}; expected cpu, cuda or auto")
    there = torch.cuda.is_available()
    if kind == "cuda" and not there:
        raise ConfigError(f"--device is {device!r}, but torch finds no CUDA device; use --device cpu or auto")
    return load(model, device=("cuda" if there else "cpu") if kind == "auto" else device)


def _draw(evaluation: Evaluation, out: Path) -> None:
    """The pictures of an evaluation, beside its numbers."""
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of, plot_confusion, plot_reliability, plot_roc, save_figure

    for name, plot in {"roc": plot_roc, "confusion": plot_confusion, "reliability": plot_reliability}.items():
        picture = plot(evaluation)
        save_figure(picture, out.with_name(f"{out.stem}_{name}.png"))
        plt.close(figure_of(picture))


def probe(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    out: str | None = None,
    over_training: bool = False,
    **options: Any,
) -> Report | History:
    """Measure which symmetry a trained tagger has; see :func:`jetsym.probe`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    inputs
        Files of jets to probe with; the bundled jets where none are named.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    out
        A JSON file to write the report to; a picture (.png) and a page (.html) of the same name go beside it.
    over_training
        Show what a run with --monitor_every measured as it was trained, instead of measuring it now: a table, and the
        data and the picture in ``over_training.json`` and ``.png`` in its folder, or as ``out`` says.
    """
    from jetsym.plotting import save_figure
    from jetsym.probing.html import report_page
    from jetsym.probing.probe import probe as measure

    _check_out(out)
    if over_training:
        why = "--over_training shows what was measured earlier"
        if mapping is not None:
            raise ConfigError(f"--mapping is {mapping!r}, but {why}; leave it out")
        _refuse_changed(measure, {"inputs": inputs, **options}, why=why)
        return _show_history(model, out)
    report = measure(model, _jets(model, inputs, mapping, options), **options)
    print(report)
    if out is not None:
        picture = report.plot()
        report.save(out)
        write_atomically(Path(out).with_suffix(".html"), report_page(report, picture))
        save_figure(picture, Path(out).with_suffix(".png"))
    return report


def _refuse_changed(function: Callable[..., Any], options: Mapping[str, Any], *, why: str) -> None:
    """Refuse options of a function that are not as by default, where they would have no effect."""
    defaults = {name: parameter.default for name, parameter in signature(function).parameters.items()}
    for name, value in options.items():
        given = tuple(value) if isinstance(value, list) else value  # a sequence from the command line is a list
        if given != defaults[name]:
            raise ConfigError(f"--{name} is {value!r}, but {why}; leave it out")


def _show_history(run: str, out: str | None) -> History:
    """Print the spectra of a run over its training, and save them with their picture."""
    from jetsym.plotting import save_figure
    from jetsym.probing.monitor import History

    history = History.load(run)
    print(history, end="")
    path = Path(run, "over_training.json") if out is None else Path(out)
    history.save(path)
    save_figure(history.plot(), path.with_suffix(".png"))
    return history


def attribute(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Attribution:
    """Measure what the symmetry of a trained tagger breaks on; see :func:`jetsym.probing.attribution.attribute`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    inputs
        Files of jets to measure on; the bundled jets where none are named.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    out
        A JSON file to write the report to.
    """
    from jetsym.jets.sources import ALL_PARTICLES
    from jetsym.probing.attribution import attribute as measure

    report = measure(model, _jets(model, inputs, mapping, options, max_particles=ALL_PARTICLES), **options)
    print(report, end="")
    if out is not None:
        report.save(out)
    return report


def _jets(
    model: str,
    inputs: str | list[str] | None,
    mapping: str | None,
    options: dict[str, Any],
    *,
    max_particles: int | None = None,
) -> Any:
    """The inputs as they are named, or read through a mapping, by default as many particles as the model takes."""
    if mapping is None:
        return inputs
    if inputs is None:
        raise ConfigError(f"--mapping is {mapping!r}, and --inputs names no files; expected both")
    from jetsym.jets import read
    from jetsym.training.checkpoint import load

    return read(
        inputs, mapping=mapping, limit=options.get("limit"), max_particles=max_particles or load(model).max_particles
    )


def diagnose(
    report: str,
    *,
    baseline: str | None = None,
    history: list[str] | None = None,
    readout: str | None = None,
    needs: dict[str, list[str]] | None = None,
    thresholds: dict[str, float] | None = None,
    out: str | None = None,
) -> Diagnosis:
    """Say what is wrong with a model from its report, and what to try; see :func:`jetsym.diagnose`.

    Parameters
    ----------
    report
        A JSON file that jetsym probe wrote; or the folder of a run with --monitor_every, of which the last probe is
        judged, and the earlier ones for drift.
    baseline
        That of an untrained copy; by default the one in the report.
    history
        Those of earlier steps of the training, in their order and measured alike, for drift.
    readout
        The layer that the outputs are read from; by default the last one before them.
    needs
        Output -> irreps that it needs, such as '{"dipole": ["(1,+)"]}'; by default those of its kind.
    thresholds
        Bounds to change, such as '{"deviation": 0.05}'; see jetsym.probing.thresholds.Thresholds.
    out
        A JSON file to write the findings to.
    """
    from jetsym.probing.diagnose import diagnose as find
    from jetsym.probing.monitor import History
    from jetsym.probing.reading import read_report
    from jetsym.probing.report import SymmetryReport
    from jetsym.probing.thresholds import Thresholds

    past = [SymmetryReport.load(path) for path in history or []]
    subject: Report
    if Path(report).is_dir():
        *watched, subject = History.load(report).reports
        past = past or watched
    else:
        subject = read_report(report)
    found = find(
        subject,
        baseline=None if baseline is None else read_report(baseline),
        history=past,
        readout=readout,
        needs=needs,
        thresholds=Thresholds.of(**(thresholds or {})),
    )
    print(found, end="")
    if out is not None:
        found.save(out)
    return found


def compare(reports: list[str], *, names: list[str] | None = None, out: str | None = None) -> Comparison:
    """Put reports side by side; see :func:`jetsym.compare`.

    Parameters
    ----------
    reports
        JSON files that jetsym probe wrote.
    names
        What to call them; by default the names of the files.
    out
        A JSON file to write all of it to; a picture (.png) and a page (.html) of the same name go beside it.
    """
    from jetsym.plotting import save_figure
    from jetsym.probing.comparison import compare as put_together
    from jetsym.probing.comparison import numbered
    from jetsym.probing.html import figure_element, page
    from jetsym.probing.reading import read_report

    _check_out(out)
    read: list[Any] = [read_report(path) for path in reports]
    compared = put_together(*read, names=names or numbered([Path(path).stem for path in reports]))
    print(compared, end="")
    if out is not None:
        picture = compared.plot()
        compared.save(out)
        parts = [figure_element(picture, "Reports side by side, by depth"), compared._repr_html_()]
        write_atomically(Path(out).with_suffix(".html"), page(f"Symmetry of {', '.join(compared.names)}", parts))
        save_figure(picture, Path(out).with_suffix(".png"))
    return compared


def _check_out(out: str | None) -> None:
    if out is not None and Path(out).suffix != ".json":
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json (picture and page take its stem)")


def spectra(run: str, *, inputs: str | list[str], out: str | None = None, limit: int = 8, l_max: int = 4) -> None:
    """Print the symmetry of a metatrain run's model over training.

    Parameters
    ----------
    run
        Folder of a run of ``jetsym atoms train``.
    inputs
        Files of structures.
    out
        Folder for a JSON file per epoch.
    limit
        At most so many structures.
    l_max
        Largest λ.
    """
    from jetsym.training.history import over_training

    history = over_training(run, inputs, limit=limit, l_max=l_max)
    print(history)
    if out is not None:
        history.save(out)


def repair(
    run: str,
    *,
    finding: str,
    report: str | None = None,
    remedy: str | None = None,
    weight: float = 0.1,
    from_weights: bool = False,
    out: str | None = None,
) -> Path:
    """Write the configuration of a run that mends what was found in another; see :mod:`jetsym.training.repair`.

    Parameters
    ----------
    run
        Folder of the run.
    finding
        What was found, as jetsym diagnose names it.
    report
        The report or the diagnosis it was found in, for group, frame and axis.
    remedy
        augment, mirror, penalty, harmonics, pairs, canonical or calmer; by default the least intrusive one that the
        run does not have.
    weight
        Of a new penalty.
    from_weights
        Begin from the best weights of the run instead of anew.
    out
        A YAML file to write to; by default ``repair-FINDING.yaml`` in the folder of the run.
    """
    from jetsym.training.repair import repair as mend

    mended = mend(run, finding=finding, report=report, remedy=remedy, weight=weight, from_weights=from_weights)
    print(mended, end="")
    path = mended.save(Path(run).expanduser() / f"repair-{finding}.yaml" if out is None else out)
    print(f"Train it with: jetsym train --config {path} --out NEW_RUN")
    return path
