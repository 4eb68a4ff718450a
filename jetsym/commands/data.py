"""The command line's functions for files of jets: download, convert, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jetsym.errors import ConfigError
from jetsym.files import check_out, checksum
from jetsym.text import as_text

if TYPE_CHECKING:
    from jetsym.jets.io.block import BadJets, ColumnSet

__all__ = ["convert", "download", "inspect"]


def download(
    what: Literal["weights", "jetclass", "toptagging", "quarkgluon", "jetnet", "jetnet150"],
    *,
    model: str | list[str] | None = None,
    split: str | list[str] = "val_5M",
    files: str | list[str] | None = None,
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
        "weights": networks trained on JetClass, published with the ParT paper; "jetclass": the data set itself;
        "toptagging": the top-tagging reference set; "quarkgluon": EnergyFlow's quark and gluon jets;
        "jetnet", "jetnet150": JetNet with 30 or 150 particles, read with the mapping jetnet.
    model
        particlenet-kin, particlenet-kinpid, particlenet-full, part-kin, part-kinpid, part-full, or a list of them; by
        default those whose checksum is known.
    split
        train_100M (or one of its parts, train_100M_part0 to train_100M_part9), val_5M, test_20M, or a list of them.
    files
        Of the last four, names or patterns such as test.h5, or a list of them; all by default.
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
    if not dry_run:
        check_out(out, folder=True)
    if what == "jetclass":
        from jetsym.jets.io.download.jetclass import chosen_splits, download_jetclass

        if dry_run:
            for archive in chosen_splits(split):
                there = "there already" if archive.is_there(Path(out).expanduser()) else f"md5 {archive.md5}"
                print(f"{archive.url} -> {Path(out) / archive.folder} ({there})")
            return
        for folder in download_jetclass(split, out=out, keep_archives=keep_archives, progress=progress):
            print(folder)
        return
    if what != "weights":
        from jetsym.jets.io.download.zenodo import chosen_files, download_set

        if dry_run:
            for file in chosen_files(what, files):
                print(f"{file.url} -> {Path(out) / file.name} ({file.size:,} bytes, md5 {file.md5})")
            return
        for path in download_set(what, files, out=out, progress=progress):
            print(path)
        return
    from jetsym.jets.io.download.weights import chosen, download_weights

    items = chosen(model, allow_unverified=allow_unverified)
    if dry_run:
        for item in items.values():
            size = "size unknown" if item.size is None else f"{item.size:,} bytes"
            print(f"{item.url} -> {Path(out) / item.file} ({size}, sha256 {item.sha256 or 'unknown'})")
        return
    for name in items:  # one after the other, so that each is shown as soon as it is there
        path = download_weights(name, out=out, allow_unverified=allow_unverified, progress=progress)[name]
        print(path if items[name].sha256 else f"{path} (unverified: sha256 {checksum(path)})")


def convert(
    paths: str | list[str],
    *,
    out: str,
    to: Literal["cache", "parquet"] = "cache",
    columns: ColumnSet = "all",
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    overwrite: bool = False,
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
) -> Path:
    """Make a cache of files of jets, or Parquet files of ROOT files; see :mod:`jetsym.jets.io.streaming.convert`.

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
    mapping, tree, vectors
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    if to == "parquet":
        if mapping is not None or tree is not None or vectors is not None:
            raise ConfigError("--mapping makes caches; with --to parquet all branches keep their names")
        from jetsym.jets.io.streaming.convert import to_parquet

        return to_parquet(paths, out, overwrite=overwrite)
    from jetsym.jets.io.mapping.parse import load_mapping
    from jetsym.jets.io.streaming.convert import convert as make_cache

    return make_cache(
        paths,
        out,
        columns=columns,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        threads=threads,
        overwrite=overwrite,
        mapping=load_mapping(mapping, vectors=vectors, tree=tree),
    )


def inspect(
    path: str | list[str],
    *,
    figure: str | None = None,
    verify: bool = False,
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
) -> None:
    """Say what files of jets or a cache hold: jets per class, branches, ranges, bad values.

    Parameters
    ----------
    path
        Files of jets (ROOT, Parquet, HDF5 or npz: a path, an address, a glob pattern, a directory, or a list of these),
        or the folder of a cache.
    figure
        A file for histograms (.png, .pdf or .svg).
    verify
        Compare the files of a folder with the checksums in its manifest first.
    mapping, tree, vectors
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    from jetsym.jets.io.inspect import inspect as look
    from jetsym.jets.io.mapping.parse import load_mapping
    from jetsym.jets.io.streaming.cache import verify as compare

    if figure is not None:
        if Path(figure).suffix not in (".png", ".pdf", ".svg"):
            raise ConfigError(f"--figure is {figure!r}; expected a name that ends in .png, .pdf or .svg")
        check_out(figure, inputs=path)
    if verify:
        if not isinstance(path, str):
            raise ConfigError("--verify takes one folder with a manifest.json")
        print(f"{compare(path)} files are as {path}/manifest.json says")
    summary = look(path, mapping=load_mapping(mapping, vectors=vectors, tree=tree))
    if figure is not None:
        from jetsym.plotting import save_figure

        save_figure(summary.plot(), figure)
    print(as_text(summary.table()), end="")
