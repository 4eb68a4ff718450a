"""The files of a cache that is being made: arrays that grow, and a journal that says how far they have come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.files import write_atomically
from jetsym.jets.io.block import BadJetsError
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.ragged import cast_exactly
from jetsym.jets.io.streaming.blocks import Block, JetFiles, Skipped
from jetsym.jets.io.streaming.cache import MANIFEST, column_file, input_file
from jetsym.progress import progress_bar
from jetsym.reading import parse_json, read_text

__all__ = ["JOURNAL", "append_blocks", "as_entry", "clear"]

#: How far an unfinished cache has come; it goes when the manifest comes.
JOURNAL = "unfinished.json"


def append_blocks(
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
                journal["skipped"].append(as_entry(jets))
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


def as_entry(skipped: Skipped) -> dict[str, Any]:
    """Return a file, or some jets of it, that has been left out as the manifest lists it."""
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
    clear(folder)
    return fresh


def clear(folder: Path) -> None:
    """Remove a cache, the manifest first; the journal stays, and says what the folder is for."""
    write_atomically(folder / JOURNAL, "{}")
    for path in (folder / MANIFEST, *folder.glob("*.npy")):
        path.unlink(missing_ok=True)
