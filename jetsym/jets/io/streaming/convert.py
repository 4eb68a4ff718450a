"""Conversion of files of jets to a ragged cache, in one pass that can be interrupted, or to Parquet files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jetsym.errors import DataError, expect_one_of, lacks_explained
from jetsym.files import (
    check_out,
    finished_file,
    is_hidden,
    mark_finished,
    mark_unfinished,
    sha256_of,
    write_json,
)
from jetsym.jets.io.block import BadJets, ColumnSet
from jetsym.jets.io.formats.parquet import source_of, write_parquet
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.paths import Paths, data_in, local_files
from jetsym.jets.io.read import MappingFile, check_number
from jetsym.jets.io.streaming.appending import JOURNAL, append_blocks, as_entry, clear
from jetsym.jets.io.streaming.blocks import JetFiles, Skipped
from jetsym.jets.io.streaming.cache import (
    FORMAT,
    MANIFEST,
    CacheFiles,
    SourceFile,
    describe,
    is_cache,
)
from jetsym.locks import locked
from jetsym.progress import progress_bar
from jetsym.reading import parse_json

__all__ = ["convert", "to_parquet"]


def convert(
    paths: Paths,
    out: str | os.PathLike[str],
    *,
    columns: ColumnSet = "all",
    also: Sequence[str] = (),
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    overwrite: bool = False,
    mapping: MappingFile = None,
    progress: bool = True,
) -> Path:
    """Make a cache of files of jets, or finish one, from which :class:`~jetsym.jets.io.JetStream` reads faster.

    Parameters
    ----------
    paths
        As in :func:`jetsym.jets.read`.
    out
        Folder of the cache. If it holds an unfinished one of the same files, that is continued; if it holds a
        finished one of the same files, nothing is done.
    columns, also, bad_jets, skip_bad, threads
        As for :class:`~jetsym.jets.io.streaming.stream.JetStream`; jets left out here are not in the cache.
    overwrite
        Replace a cache of other files.
    mapping
        As in :func:`jetsym.jets.read`; the cache holds what it selects, and needs it no more.
    progress
        Show progress bars.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If files cannot be read, or the folder holds something else, or cannot be written to.
    ConfigError
        If an option has no meaning.
    LockedError
        If another process is writing to the folder.
    """
    expect_one_of("columns", columns, ("all", "full", "kin"))
    check_number("threads", threads, "threads")
    files, known = local_files(paths), load_mapping(mapping)
    if cache := next((file for file in files if file.is_dir()), None):
        raise DataError(f"{cache} is a cache already; expected files to make one of")
    if Path(out).expanduser().is_file():
        raise DataError(f"{out} is a file; expected a folder to write the cache to")
    beside = [] if known is None else known.friends_of(files)
    folder = check_out(out, inputs=[*files, *beside], folder=True)
    with locked(folder, "jetsym convert"), _explained(folder):
        there = is_cache(folder) or (folder / JOURNAL).exists()
        strangers = data_in(folder) if there else [path for path in folder.iterdir() if not is_hidden(path.name)]
        if strangers:
            words = "besides a cache" if there else "and no cache"
            raise DataError(f"{folder} holds {strangers[0].name!r} {words}; choose another folder")
        if is_cache(folder) and not overwrite:
            CacheFiles(folder, sources=files, mapping=known, columns=columns, also=also)
            (folder / JOURNAL).unlink(missing_ok=True)  # of a process that was killed at its very end
            return folder
        if overwrite:
            clear(folder)
        source = JetFiles(files, columns=columns, also=also, bad_jets=bad_jets, skip_bad=skip_bad, mapping=known)
        _check_space(folder, source)
        described = describe([path for path in source.files if isinstance(path, Path)], progress=progress)
        friends = [] if known is None else known.friends_of(source.files)
        empty = [Skipped(path, 0, "it has no entries") for path in source.oddities.empty]
        files_skipped = [as_entry(one) for one in (*source.skipped, *empty)]
        done = append_blocks(folder, source, described, threads=threads, skip_bad=skip_bad, progress=progress)
        written = [folder / name for name in sorted(done["rows"])]
        manifest = {
            **FORMAT,
            "columns": columns,
            "mapping": None if known is None else known.fingerprint,
            "classes": source.classes,
            "names": done["names"],
            "inputs": done["inputs"],
            "jets": done["jets"],
            "sources": described,
            "friends": describe([*dict.fromkeys(friends)], progress=False),
            "skipped": files_skipped + done["skipped"],
            "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in written},
        }
        write_json(folder / MANIFEST, manifest)
        (folder / JOURNAL).unlink()
    return folder


def to_parquet(paths: Paths, out: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = True) -> Path:
    """Write ROOT files as Parquet files of the same names, with all branches that hold a number or a list of them.

    Until all of them are there the folder is not read as one of jets. Every file says of which ROOT file it was made.

    Parameters
    ----------
    paths
        As in :func:`jetsym.jets.read`.
    out
        A folder for these files alone. What an earlier call has made of the same files is left as it is, so that one
        that was stopped is continued.
    overwrite
        Replace what was made of other files, or of files that have changed since, by these.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If a file cannot be read, or two have the same name; or if the folder holds other data: what was not made here
        of these files, or, with ``overwrite``, what was not made here at all.
    ConfigError
        If nothing can be written to the folder, or it holds the files to read.
    LockedError
        If another process is writing to the folder.
    MissingDependencyError
        If pyarrow is not installed.
    """
    files = local_files(paths)
    folder = check_out(out, inputs=files, folder=True)
    targets = [folder / f"{path.stem}.parquet" for path in files]
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise DataError(f"several of the files would become {twice}; convert them into folders of their own")
    with locked(folder, "jetsym convert"), progress_bar("convert", len(files), shown=progress) as advance:
        old = data_in(folder)
        if not overwrite:
            _refuse_others(folder, old, dict(zip(targets, files, strict=True)))
        elif strangers := [path for path in old if path not in targets and source_of(path) is None]:
            raise DataError(f"{folder} holds {strangers[0].name!r}, which was not made here; choose another folder")
        mark_unfinished(folder, command="jetsym convert")
        for path in old if overwrite else ():
            path.unlink()
        for path, target in zip(files, targets, strict=True):
            if not target.exists():
                with finished_file(target) as unfinished:
                    write_parquet(path, unfinished, source=json.dumps(describe([path], progress=False)[0]))
            advance(1)
        mark_finished(folder)
    return folder


def _refuse_others(folder: Path, old: list[Path], wanted: dict[Path, Path]) -> None:
    """Refuse a folder with any data but what was made of the same files as they are now."""
    for path in old:
        said = source_of(path)
        if path not in wanted:
            reason = "none of the files to write"
        elif said is None:
            reason = f"which does not say that it was made of {wanted[path]}"
        elif (differs := SourceFile(**parse_json(said)).differs(wanted[path])) is not None:
            reason = f"made of another file than {wanted[path]}: {differs}"
        else:
            continue
        raise DataError(
            f"{folder} holds {path.name!r}, {reason}; choose another folder, or replace what jetsym convert has made "
            "there: --overwrite"
        )


def _check_space(folder: Path, source: JetFiles) -> None:
    width = 4 * 4 if source.columns == "kin" else 8 * 4 + 1
    needed = sum(source.particles(block) * width + len(block) * 120 for block in source.blocks)
    there = sum(path.stat().st_size for path in folder.glob("*.npy"))
    if needed - there > shutil.disk_usage(folder).free:
        raise DataError(
            f"{folder} needs {needed / 1e9:.1f} GB, and the disk has {shutil.disk_usage(folder).free / 1e9:.1f} GB free"
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    begun = "what is there is not read as a cache, and will be continued"
    try:
        with lacks_explained(f"{folder}: the cache could not be written ({begun})"):
            yield
    except OSError as error:
        raise DataError(
            f"{folder}: the cache could not be written ({error.strerror}); {begun} by the same command"
        ) from error
