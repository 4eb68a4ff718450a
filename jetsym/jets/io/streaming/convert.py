"""Conversion of files of jets to a ragged cache, in one pass that can be interrupted, or to Parquet files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jetsym.arguments import at_least, checked
from jetsym.errors import DataError, lacks_explained
from jetsym.files import (
    check_out,
    checksum,
    finished_file,
    is_hidden,
    mark_finished,
    mark_unfinished,
    write_json,
)
from jetsym.jets.io.block import BadJets, ColumnSet
from jetsym.jets.io.formats.parquet import source_of, write_parquet
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.paths import Paths, data_in, local_files
from jetsym.jets.io.read import MappingFile
from jetsym.jets.io.streaming.appending import JOURNAL, CacheWriter, as_entry, clear, open_journal
from jetsym.jets.io.streaming.blocks import JetFiles, Skipped
from jetsym.jets.io.streaming.cache import (
    FORMAT,
    MANIFEST,
    CacheFiles,
    SourceFile,
    describe,
    is_cache,
)
from jetsym.jets.io.streaming.turns import append_blocks, remove_blocks
from jetsym.locks import locked
from jetsym.progress import progress_bar
from jetsym.ranks import here
from jetsym.reading import parse_json

__all__ = ["convert", "to_parquet"]


@checked(threads=at_least(1))
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

    Processes that share (:mod:`jetsym.ranks`) read in turn, and the first writes: the cache has the same bytes, and
    what some have begun others go on with, however many they are. All of them must see the files and the folder.

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
    files, known = local_files(paths), load_mapping(mapping)
    if cache := next((file for file in files if file.is_dir()), None):
        raise DataError(f"{cache} is a cache already; expected files to make one of")
    if Path(out).expanduser().is_file():
        raise DataError(f"{out} is a file; expected a folder to write the cache to")
    beside, ranks = [] if known is None else known.friends_of(files), here()
    folder = ranks.of_first(lambda: check_out(out, inputs=[*files, *beside], folder=True))
    with ExitStack() as stack:
        ranks.of_first(lambda: stack.enter_context(locked(folder, "jetsym convert")))
        stack.enter_context(_explained(folder))

        def is_made() -> bool:
            """Tell whether the cache is there already, and make room for it where it is not."""
            if _is_made(folder) and not overwrite:
                CacheFiles(folder, sources=files, mapping=known, columns=columns, also=also)
                (folder / JOURNAL).unlink(missing_ok=True)  # of a process that was killed at its very end
                return True
            if overwrite:
                clear(folder)
            return False

        if ranks.of_first(is_made):
            return folder
        source = JetFiles(files, columns=columns, also=also, bad_jets=bad_jets, skip_bad=skip_bad, mapping=known)
        ranks.expect_same(source.fingerprint(), "files")
        ranks.of_first(lambda: _check_space(folder, source))
        facts = _facts(source, known, columns, progress=progress)
        done = _write(folder, source, facts["sources"], threads=threads, skip_bad=skip_bad, progress=progress)
        ranks.of_first(lambda: _finish(folder, source, facts, done))
    return folder


def _is_made(folder: Path) -> bool:
    """Tell whether a folder holds a finished cache, and refuse one that holds anything else than a cache."""
    there = is_cache(folder) or (folder / JOURNAL).exists()
    strangers = data_in(folder) if there else [path for path in folder.iterdir() if not is_hidden(path.name)]
    if strangers:
        words = "besides a cache" if there else "and no cache"
        raise DataError(f"{folder} holds {strangers[0].name!r} {words}; choose another folder")
    return is_cache(folder)


def _facts(source: JetFiles, mapping: TreeMapping | None, columns: ColumnSet, *, progress: bool) -> dict[str, Any]:
    """Return what a manifest says of the files that a cache is made of."""
    friends = [] if mapping is None else mapping.friends_of(source.files)
    empty = [Skipped(path, 0, "it has no entries") for path in source.oddities.empty]
    return {
        **FORMAT,
        "columns": columns,
        "mapping": None if mapping is None else mapping.fingerprint,
        "classes": source.classes,
        "sources": describe([path for path in source.files if isinstance(path, Path)], progress=progress),
        "friends": describe([*dict.fromkeys(friends)], progress=False),
        "skipped": [as_entry(one) for one in (*source.skipped, *empty)],
    }


def _write(
    folder: Path, source: JetFiles, described: Any, *, threads: int, skip_bad: bool, progress: bool
) -> dict[str, Any]:
    """Append what is not there yet; gives the journal."""
    ranks = here()

    def begin() -> dict[str, Any]:
        remove_blocks(folder)
        return open_journal(folder, [source.fingerprint(), described])

    journal = ranks.of_first(begin)
    blocks = source.blocks[journal["blocks"] :]
    total = sum(map(len, source.blocks))
    with ExitStack() as stack:
        writer = stack.enter_context(CacheWriter(folder, journal)) if ranks.is_first else None
        advance = stack.enter_context(progress_bar("convert", total, shown=progress))
        advance(total - sum(map(len, blocks)))
        append_blocks(folder, source, blocks, writer, threads=threads, skip_bad=skip_bad, advance=advance)
    return journal


def _finish(folder: Path, source: JetFiles, facts: dict[str, Any], journal: dict[str, Any]) -> None:
    """Write the manifest, with which the cache is finished."""
    if not journal["jets"]:
        raise DataError(f"{source.files[0]} and the other files hold no jets that can be used; expected at least one")
    written = [folder / name for name in sorted(journal["rows"])]
    manifest = facts | {
        "names": journal["names"],
        "inputs": journal["inputs"],
        "jets": journal["jets"],
        "skipped": facts["skipped"] + journal["skipped"],
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in written},
    }
    write_json(folder / MANIFEST, manifest)
    (folder / JOURNAL).unlink()


def to_parquet(paths: Paths, out: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = True) -> Path:
    """Write ROOT files as Parquet files of the same names, with all branches that hold a number or a list of them.

    Until all of them are there the folder is not read as one of jets. Every file says of which ROOT file it was made.
    Processes that share (:mod:`jetsym.ranks`) write a file each in turn.

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
    files, ranks = local_files(paths), here()
    ranks.expect_same([path.name for path in files], "files")
    folder = ranks.of_first(lambda: check_out(out, inputs=files, folder=True))
    targets = [folder / f"{path.stem}.parquet" for path in files]
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise DataError(f"several of the files would become {twice}; convert them into folders of their own")
    pairs = list(zip(files, targets, strict=True))
    with ExitStack() as stack:
        ranks.of_first(lambda: stack.enter_context(locked(folder, "jetsym convert")))
        advance = stack.enter_context(progress_bar("convert", len(files), shown=progress))
        left = ranks.of_first(lambda: _begin_parquet(folder, pairs, overwrite=overwrite))
        advance(len(files) - len(left))
        for first in range(0, len(left), ranks.size):
            turn = left[first : first + ranks.size]
            ranks.in_order(partial(_write_parquet, [pairs[place] for place in turn[ranks.rank :][:1]]))
            advance(len(turn))
        ranks.of_first(lambda: mark_finished(folder))
    return folder


def _begin_parquet(folder: Path, pairs: Sequence[tuple[Path, Path]], *, overwrite: bool) -> list[int]:
    """Refuse other data in a folder or remove it, and return the places of the files that are not there yet."""
    old, wanted = data_in(folder), {target: path for path, target in pairs}
    if not overwrite:
        _refuse_others(folder, old, wanted)
    elif strangers := [path for path in old if path not in wanted and source_of(path) is None]:
        raise DataError(f"{folder} holds {strangers[0].name!r}, which was not made here; choose another folder")
    mark_unfinished(folder, command="jetsym convert")
    for path in old if overwrite else ():
        path.unlink()
    return [place for place, (_, target) in enumerate(pairs) if not target.exists()]


def _write_parquet(pairs: Sequence[tuple[Path, Path]]) -> list[Any]:
    """Write ROOT files as Parquet files."""
    for path, target in pairs:
        with finished_file(target) as unfinished:
            write_parquet(path, unfinished, source=json.dumps(asdict(SourceFile.of(path))))
    return []


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
