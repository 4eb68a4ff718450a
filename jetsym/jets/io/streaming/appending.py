"""The files of a cache that is being made: arrays that grow, and a journal that says how far they have come."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.files import write_atomically
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.ragged import cast_exactly
from jetsym.jets.io.streaming.blocks import Skipped
from jetsym.jets.io.streaming.cache import MANIFEST, column_file, input_file
from jetsym.reading import parse_json, read_text

__all__ = ["JOURNAL", "CacheWriter", "CachedBlock", "as_entry", "clear", "open_journal"]

#: How far an unfinished cache has come; it goes when the manifest comes.
JOURNAL = "unfinished.json"


@dataclass(frozen=True, eq=False)
class CachedBlock:
    """What a cache keeps of the jets of a block.

    Parameters
    ----------
    jets
        Their number.
    names
        Their further columns.
    inputs
        The forms of their inputs, as the manifest has them.
    arrays
        Name of a file of the cache -> the rows that are appended to it.
    offsets
        Name of a file of offsets -> (jets,) the end of each jet, counted from the first row of the block; and that of
        the file whose rows they count.
    """

    jets: int
    names: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    offsets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, jets: PackedJets) -> CachedBlock:
        """Take it from jets.

        Raises
        ------
        DataError
            Charges or flags do not fit the byte that a cache has for them.
        """
        if jets.kinds is not None and jets.kinds.ndim == 2:
            raise DataError(
                "some charges are not −1, 0 or 1, or flags not 0 or 1, which a cache cannot hold; stream from the files"
            )
        arrays: dict[str, NDArray[Any]] = {
            "offsets.npy": jets.offsets[1:],
            "values.npy": jets.values,
            "jet_p4.npy": jets.jet_p4,
        }
        offsets = {"offsets.npy": "values.npy"}
        arrays |= {} if jets.kinds is None else {"kinds.npy": jets.kinds}
        arrays |= {} if jets.label is None else {"label.npy": jets.label}
        for name, one in jets.inputs.items():
            values, ends = input_file(name, "values"), input_file(name, "offsets")
            arrays[values] = one.values
            if one.offsets is not None:
                arrays[ends], offsets[ends] = one.offsets[1:], values
        arrays |= {column_file(name): column for name, column in jets.columns.items()}
        forms = {name: asdict(form) for name, form in jets.input_forms.items()}
        return cls(len(jets), tuple(sorted(jets.columns)), forms, arrays, offsets)


class CacheWriter:
    """Appends blocks to the files of a cache, and writes down in its journal how far they have come.

    Parameters
    ----------
    folder
        Of the cache.
    journal
        As :func:`open_journal` gives it.
    """

    def __init__(self, folder: Path, journal: dict[str, Any]) -> None:
        self.folder, self.journal = folder, journal
        self._files: dict[str, _GrowingArray] = {}

    def __enter__(self) -> CacheWriter:
        self._open = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def append(self, block: CachedBlock | Skipped, *, where: str) -> None:
        """Append what is kept of a block, or note why nothing is.

        Raises
        ------
        DataError
            A column has values that do not fit its type in the blocks before; ``where`` says of which file.
        """
        if isinstance(block, Skipped):
            self.journal["skipped"].append(as_entry(block))
        else:
            before: Mapping[str, int] = self.journal["rows"]
            for name, rows in block.arrays.items():
                counted = block.offsets.get(name)
                if name not in self._files:
                    first = rows[:0] if counted is None else rows[:1] * 0
                    grown = _GrowingArray(self.folder / name, first, before.get(name))
                    self._files[name] = self._open.enter_context(grown)
                self._files[name].append(rows if counted is None else rows + before.get(counted, 0), where=where)
            self.journal["jets"] += block.jets
            self.journal["names"] = list(block.names)
            self.journal["inputs"] = dict(block.inputs)
        for file in self._files.values():
            file.flush()
        self.journal["blocks"] += 1
        self.journal["rows"] |= {name: file.rows for name, file in self._files.items()}
        write_atomically(self.folder / JOURNAL, json.dumps(self.journal))


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


def open_journal(folder: Path, plan: Any) -> dict[str, Any]:
    """Read how far an unfinished cache of the same plan has come; another one is removed."""
    fresh = {"plan": plan, "blocks": 0, "jets": 0, "names": [], "inputs": {}, "rows": {}, "skipped": []}
    try:
        found: dict[str, Any] = parse_json(read_text(folder / JOURNAL))
        found.pop("particles", None)  # of earlier versions
    except (OSError, ValueError, AttributeError):
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
