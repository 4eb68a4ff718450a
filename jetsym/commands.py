"""What the command line adds to the library's functions: where results are written, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from jetsym.errors import ConfigError
from jetsym.files import write_atomically

if TYPE_CHECKING:
    from jetsym.jets.io.root import BadJets, Columns
    from jetsym.probing.attribution_report import Attribution
    from jetsym.probing.probe import Report

__all__ = ["attribute", "convert", "download", "evaluate", "inspect", "probe", "train"]


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
    mapping: str | None = None,
    out: str | None = None,
) -> None:
    """Measure a trained tagger on jets, which need labels for all but the stability of its decisions.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or published weights of ParticleNet (.pt).
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
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    out
        A JSON file to write the numbers to.
    """
    from jetsym.jets import read
    from jetsym.training.checkpoint import load
    from jetsym.training.evaluate import evaluate as measure

    tagger = load(model)
    jets = read(data, limit=limit, max_particles=max_particles or tagger.max_particles, mapping=mapping)
    values: dict[str, Any] = {}
    if jets.label is not None or not stability:
        values |= measure(tagger, jets, rotated=rotated, batch_size=batch_size)
        table = Table(title=f"{model} on {len(jets):,} jets", title_justify="left")
        table.add_column("metric")
        table.add_column("value", justify="right")
        for name, value in values.items():
            table.add_row(name, f"{value:.4g}")
        Console().print(table)
    if stability:
        from jetsym.training.stability import stability as decide

        found = decide(tagger, jets, draws=draws, width=width, seed=rotated or 0, batch_size=batch_size, progress=True)
        print(found, end="")
        values["stability"] = found.to_dict()
    if out is not None:
        write_atomically(out, json.dumps(values, indent=1) + "\n")


def probe(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Report:
    """Measure which symmetry a trained tagger has; see :func:`jetsym.probe`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or published weights of ParticleNet (.pt).
    inputs
        Files of jets to probe with; the bundled jets where none are named.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    out
        A JSON file to write the report to; a picture (.png) and a page (.html) of the same name go beside it.
    """
    from jetsym.plotting import save_figure
    from jetsym.probing.html import report_page
    from jetsym.probing.probe import probe as measure

    if out is not None and Path(out).suffix != ".json":
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json (picture and page take its stem)")
    report = measure(model, _jets(model, inputs, mapping, options), **options)
    print(report)
    if out is not None:
        picture = report.plot()
        report.save(out)
        write_atomically(Path(out).with_suffix(".html"), report_page(report, picture))
        save_figure(picture, Path(out).with_suffix(".png"))
    return report


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
        A run folder, a checkpoint, or published weights of ParticleNet (.pt).
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
