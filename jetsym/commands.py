"""What the command line adds to the library's functions: where results are written, and what is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.console import Console

from jetsym.errors import ConfigError
from jetsym.files import write_atomically

if TYPE_CHECKING:
    from jetsym.jets.io.root import BadJets, Columns
    from jetsym.jets.models import ParticleNet, Tagger
    from jetsym.probing.attribution_report import Attribution
    from jetsym.probing.probe import Report
    from jetsym.training.evaluation_report import Evaluation

__all__ = ["attribute", "convert", "download", "evaluate", "export", "inspect", "predict", "probe", "train"]


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
) -> Path:
    """Make a cache of ROOT files, see :func:`jetsym.jets.io.convert.convert`, or Parquet files.

    Parameters
    ----------
    paths
        ROOT files: a path, a glob pattern, a directory, or a list of these.
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
    """
    if to == "parquet":
        from jetsym.jets.io.parquet import to_parquet

        return to_parquet(paths, out, overwrite=overwrite)
    from jetsym.jets.io.convert import convert as make_cache

    return make_cache(
        paths, out, columns=columns, bad_jets=bad_jets, skip_bad=skip_bad, threads=threads, overwrite=overwrite
    )


def inspect(path: str | list[str], *, picture: str | None = None, verify: bool = False) -> None:
    """Say what ROOT files or a cache hold: jets per class, branches, ranges, bad values.

    Parameters
    ----------
    path
        ROOT files (a path, a glob pattern, a directory, or a list of these), or the folder of a cache.
    picture
        A file for histograms (.png, .pdf or .svg).
    verify
        Compare the files of a folder with the checksums in its manifest first.
    """
    from jetsym.jets.io.cache import verify as compare
    from jetsym.jets.io.inspect import inspect as look

    if verify:
        if not isinstance(path, str):
            raise ConfigError("--verify takes one folder with a manifest.json")
        print(f"{compare(path)} files are as {path}/manifest.json says")
    summary = look(path)
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


def train(data: str | list[str], out: str, **options: Any) -> Path:
    """Train a tagger on ROOT files; see :func:`jetsym.training.loop.train`.

    Parameters
    ----------
    data
        ROOT files to train on: a path, a glob pattern, or a list of them.
    out
        Folder of the run.
    """
    from jetsym.training.loop import train as train_tagger

    return train_tagger(data, out, **options).path


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
    out: str | None = None,
) -> None:
    """Measure a trained tagger on jets, which need labels for all but the stability of its decisions.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    data
        ROOT files: a path, a glob pattern, or a list of them.
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
    out
        A JSON file to write the numbers to; pictures (_roc.png, _confusion.png, _reliability.png) go beside it.
    """
    from jetsym.jets import read
    from jetsym.training.evaluate import evaluate as measure

    if out is not None and Path(out).suffix != ".json":
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json (the pictures take its stem)")
    tagger = _load(model, device)
    jets = read(data, limit=limit, max_particles=max_particles or tagger.max_particles)
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
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for jets, in their order; see :func:`jetsym.training.predict.predict`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    data
        ROOT files: a path, a glob pattern, or a list of them; labels are not needed.
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


def probe(model: str, *, inputs: str | list[str] | None = None, out: str | None = None, **options: Any) -> Report:
    """Measure which symmetry a trained tagger has; see :func:`jetsym.probe`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    inputs
        ROOT files to probe with; the bundled jets where none are named.
    out
        A JSON file to write the report to; a picture (.png) and a page (.html) of the same name go beside it.
    """
    from jetsym.plotting import save_figure
    from jetsym.probing.html import report_page
    from jetsym.probing.probe import probe as measure

    if out is not None and Path(out).suffix != ".json":
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json (picture and page take its stem)")
    report = measure(model, inputs, **options)
    print(report)
    if out is not None:
        picture = report.plot()
        report.save(out)
        write_atomically(Path(out).with_suffix(".html"), report_page(report, picture))
        save_figure(picture, Path(out).with_suffix(".png"))
    return report


def attribute(
    model: str, *, inputs: str | list[str] | None = None, out: str | None = None, **options: Any
) -> Attribution:
    """Measure what the symmetry of a trained tagger breaks on; see :func:`jetsym.probing.attribution.attribute`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    inputs
        ROOT files to measure on; the bundled jets where none are named.
    out
        A JSON file to write the report to.
    """
    from jetsym.probing.attribution import attribute as measure

    report = measure(model, inputs, **options)
    print(report, end="")
    if out is not None:
        report.save(out)
    return report
