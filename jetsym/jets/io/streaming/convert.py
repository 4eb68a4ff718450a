"""Conversion of files of jets to a ragged cache, in one pass that can be interrupted, or to Parquet files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jetsym.errors import DataError, expect_one_of, lacks_explained
from jetsym.files import (
    check_out,
    finished_file,
    is_hidden,
    mark_finished,
    mark_unfinished,
    sha256_of,
    write_atomically,
    write_json,
)
from jetsym.jets.io.block import BadJets, BadJetsError, ColumnSet
from jetsym.jets.io.formats.parquet import source_of, write_parquet
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.paths import Paths, data_in, local_files
from jetsym.jets.io.ragged import cast_exactly
from jetsym.jets.io.read import MappingFile, check_number
from jetsym.jets.io.streaming.blocks import Block, JetFiles, Skipped
from jetsym.jets.io.streaming.cache import (
    FORMAT,
    MANIFEST,
    CacheFiles,
    SourceFile,
    column_file,
    describe,
    input_file,
    is_cache,
)
from jetsym.locks import locked
from jetsym.progress import progress_bar
from jetsym.reading import parse_json, read_text

__all__ = ["JOURNAL", "convert", "to_parquet"]

#: How far an unfinished cache has come; it goes when the manifest comes.
JOURNAL = "unfinished.json"


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
            _clear(folder)
        source = JetFiles(files, columns=columns, also=also, bad_jets=bad_jets, skip_bad=skip_bad, mapping=known)
        _check_space(folder, source)
        described = describe([path for path in source.files if isinstance(path, Path)], progress=progress)
        friends = [] if known is None else known.friends_of(source.files)
        empty = [Skipped(path, 0, "it has no entries") for path in source.oddities.empty]
        files_skipped = [_as_entry(one) for one in (*source.skipped, *empty)]
        done = _write(folder, source, described, threads=threads, skip_bad=skip_bad, progress=progress)
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


def _write(
    folder: Path, source: JetFiles, described: Any, *, threads: int, skip_bad: bool, progress: bool
) -> dict[str, Any]:
    """Append what is not there yet; gives the journal."""
    journal = _journal(folder, [source.fingerprint(), described])
    blocks = source.blocks[journal["blocks"] :]
    done = sum(map(len, source.blocks)) - sum(map(len, blocks))
    with ExitStack() as stack:
        columns: dict[str, _GrowingArray] = {}
        bar = stack.enter_context(progress_bar("convert", done + sum(map(len, blocks)), shown=progress))
        bar(done)
        for block, jets in _ahead(source, blocks, threads=threads, skip_bad=skip_bad):
            if isinstance(jets, Skipped):
                journal["skipped"].append(_as_entry(jets))
            else:
                for name, values in _arrays(jets, journal["particles"], journal["rows"]).items():
                    if name not in columns:
                        first = values[:1] * 0 if name.endswith("offsets.npy") else values[:0]
                        columns[name] = stack.enter_context(
                            _GrowingArray(folder / name, first, journal["rows"].get(name))
                        )
                    columns[name].append(values, where=str(source.files[block.file]))
                journal["jets"] += len(jets)
                journal["particles"] += len(jets.values)
                journal["names"] = sorted(jets.columns)
                journal["inputs"] = {name: asdict(form) for name, form in jets.input_forms.items()}
            for column in columns.values():
                column.flush()
            journal["blocks"] += 1
            journal["rows"] |= {name: column.rows for name, column in columns.items()}
            write_atomically(folder / JOURNAL, json.dumps(journal))
            bar(len(block))
    if not journal["jets"]:
        raise DataError(f"{source.files[0]} and the other files hold no jets that can be used; expected at least one")
    return journal


def _ahead(
    source: JetFiles, blocks: list[Block], *, threads: int, skip_bad: bool
) -> Iterator[tuple[Block, PackedJets | Skipped]]:
    """Give blocks in order, some of them read in advance."""
    remaining = iter(blocks)
    with ThreadPoolExecutor(threads, thread_name_prefix="jetsym-convert") as pool:
        try:
            reading = [(block, pool.submit(source.read, block)) for block in islice(remaining, 2 * threads)]
            while reading:
                block, future = reading.pop(0)
                jets: PackedJets | Skipped
                try:
                    jets = future.result()[0]
                except DataError as error:
                    if not skip_bad or isinstance(error, BadJetsError):
                        raise
                    jets = Skipped(source.files[block.file], len(block), str(error))
                reading += [(later, pool.submit(source.read, later)) for later in islice(remaining, 1)]
                yield block, jets
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _arrays(jets: PackedJets, particles: int, rows: dict[str, int]) -> dict[str, NDArray[Any]]:
    if jets.kinds is not None and jets.kinds.ndim == 2:
        raise DataError(
            "some charges are not −1, 0 or 1, or flags not 0 or 1, which a cache cannot hold; stream from the files"
        )
    arrays: dict[str, NDArray[Any]] = {
        "offsets.npy": jets.offsets[1:] + particles,
        "values.npy": jets.values,
        "jet_p4.npy": jets.jet_p4,
    }
    arrays |= {} if jets.kinds is None else {"kinds.npy": jets.kinds}
    arrays |= {} if jets.label is None else {"label.npy": jets.label}
    for name, one in jets.inputs.items():
        arrays[input_file(name, "values")] = one.values
        if one.offsets is not None:
            arrays[input_file(name, "offsets")] = one.offsets[1:] + rows.get(input_file(name, "values"), 0)
    return arrays | {column_file(name): column for name, column in jets.columns.items()}


class _GrowingArray:
    """A ``.npy`` file that grows; its header, of constant length, is written again whenever it is flushed."""

    def __init__(self, path: Path, first: NDArray[Any], rows: int | None) -> None:
        self.rows = len(first) if rows is None else rows
        self._first, self._path = first, path
        self._new = rows is None
        self._dtype = first.dtype if self._new else _dtype_in(path)

    def __enter__(self) -> _GrowingArray:
        self._file: BinaryIO = self._path.open("wb" if self._new else "r+b")
        self._header()
        if self._new:
            self._file.write(self._first.tobytes())
        # What a killed process has written after its last entry in the journal is written again.
        row = self._dtype.itemsize * int(np.prod(self._first.shape[1:]))
        self._file.flush()
        self._file.truncate(self._start + self.rows * row)
        self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, values: NDArray[Any], *, where: str) -> None:
        column = self._path.stem.removeprefix(Path(column_file("")).stem)
        values = cast_exactly(values, self._dtype, column, where=where)
        self._file.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

    def flush(self) -> None:
        self._header()
        self._file.seek(0, os.SEEK_END)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _header(self) -> None:
        self._file.seek(0)
        shape = (self.rows, *self._first.shape[1:])
        described = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, described)
        self._start = self._file.tell()


def _dtype_in(path: Path) -> np.dtype[Any]:
    """Return the type that the header of a file names, of which as many values as it says need not be there yet."""
    with path.open("rb") as file:
        npy.read_magic(file)
        return npy.read_array_header_1_0(file)[2]


def _as_entry(skipped: Skipped) -> dict[str, Any]:
    return {"path": str(skipped.path), "jets": skipped.n_jets, "reason": skipped.reason}


def _journal(folder: Path, plan: Any) -> dict[str, Any]:
    """Read how far an unfinished cache of the same plan has come; another one is removed."""
    fresh = {"plan": plan, "blocks": 0, "jets": 0, "particles": 0, "names": [], "inputs": {}, "rows": {}, "skipped": []}
    try:
        found: dict[str, Any] = parse_json(read_text(folder / JOURNAL))
    except (OSError, ValueError):
        found = {}
    if found.keys() == fresh.keys() and found["plan"] == json.loads(json.dumps(plan)):
        return found
    _clear(folder)
    return fresh


def _clear(folder: Path) -> None:
    """Remove a cache, the manifest first; the journal stays, and says what the folder is for."""
    write_atomically(folder / JOURNAL, "{}")
    for path in (folder / MANIFEST, *folder.glob("*.npy")):
        path.unlink(missing_ok=True)


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
