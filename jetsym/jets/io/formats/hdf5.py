"""The top-tagging reference set (G. Kasieczka et al., arXiv:1902.09914): tables of pandas in HDF5.

Columns E_i, PX_i, PY_i, PZ_i in GeV, and is_signal_new (1 = top); see :mod:`jetsym.jets.io.formats.padded`.
"""

from __future__ import annotations

import pickletools
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jetsym.errors import DataError, MissingDependencyError, require
from jetsym.jets.io.formats.array_table import Source, open_array_table, sources
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.padded import TOP, PaddedArrays, PaddedJets, index_padded, whole_labels

__all__ = ["column_names", "open_hdf5"]


@contextmanager
def open_hdf5(path: Path) -> Iterator[PaddedArrays]:
    """Open a table of pandas (``to_hdf(…, format="table")``), which keeps its columns in one array per type.

    Raises
    ------
    DataError
        If it holds no such table.
    MissingDependencyError
        If h5py, or a filter with which the file is compressed, is not installed.
    """
    with _opened(path) as file:
        table = next((group["table"] for group in file.values() if "table" in getattr(group, "keys", tuple)()), None)
        if table is None or not getattr(table.dtype, "names", None):
            raise DataError(f"{path}: holds {', '.join(file) or 'nothing'}; expected a table written by pandas")
        places: dict[str, tuple[str, int]] = {}
        for array in table.dtype.names:
            names = column_names(table, array)
            if names and table.dtype[array].shape != (len(names),):
                raise DataError(f"{path}: {array} has shape {table.dtype[array].shape} for {len(names)} names")
            for place, name in enumerate(names):
                places[name] = array, place
        slots = 0
        while all(f"{part}_{slots}" in places for part in ("E", "PX", "PY", "PZ")):
            slots += 1
        if not slots:
            raise DataError(
                f"{path}: the table has no columns E_0, PX_0, PY_0 and PZ_0; expected the top-tagging set's"
            )
        wanted = [[places[f"{part}_{slot}"] for part in ("E", "PX", "PY", "PZ")] for slot in range(slots)]
        arrays = {array for row in wanted for array, _ in row}
        if len(arrays) != 1:
            raise DataError(f"{path}: the momenta are of several types ({', '.join(sorted(arrays))}); expected one")
        array, columns = arrays.pop(), np.array([[place for _, place in row] for row in wanted])
        signal = places.get("is_signal_new")

        def load(start: int, stop: int) -> PaddedJets:
            rows = table[start:stop]
            p4 = rows[array][:, columns]
            label = None if signal is None else whole_labels(path, start, rows[signal[0]][:, signal[1]])
            return p4, (p4 != 0).any(axis=2), label, None

        yield PaddedArrays(len(table), slots, None if signal is None else TOP, load)


def column_names(table: Any, array: str) -> list[str]:
    """Return the names of the columns in an array of pandas. Their pickle is taken apart here, and never run."""
    if array == "index" or f"{array}_kind" not in table.attrs:
        return []
    content = np.asarray(table.attrs[f"{array}_kind"])
    return [value for _, value, _ in pickletools.genops(content.tobytes()) if isinstance(value, str)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = require("h5py", extra="formats", purpose="reading HDF5")
    with suppress(ImportError):  # some files are compressed with what HDF5 itself does not know
        import hdf5plugin  # noqa: F401
    with h5py.File(path, "r") as file:
        try:
            yield file
        except OSError as error:
            if "filter" not in str(error) or sys.modules.get("hdf5plugin") is not None:
                raise
            raise MissingDependencyError.of("hdf5plugin", extra="formats", purpose=f"{path}") from error


@contextmanager
def _open_arrays(path: Path, group: str | None) -> Iterator[Mapping[str, Source]]:
    """Open the columns of any file, or of a group: its datasets, the fields of compound ones, and frames of pandas.

    A dataset in a group is called ``group.dataset``. The columns of a frame have its name before theirs if there are
    several frames; those that are numbered, as E_0, E_1, …, are together a column of lists as well, E.
    """
    with _opened(path) as file:
        if group is not None and group not in file:
            raise DataError(f"{path}: has no group {group!r}; the file holds {', '.join(file) or 'nothing'}")
        top = file if group is None else file[group]
        if not hasattr(top, "visititems"):
            yield (
                sources(group or "", top)
                if top.dtype.names is None
                else {field: Source(top, field) for field in top.dtype.names}
            )
            return
        found: dict[str, Source] = {}
        frames: dict[str, dict[str, Source]] = {"": {}} if "pandas_type" in top.attrs else {}

        def visit(name: str, item: Any) -> None:
            frame = next(
                (each for each in frames if f"/{name}".startswith(f"/{each}/".replace("//", "/"))), None
            )  # groups come before members
            if "pandas_type" in item.attrs and not hasattr(item, "dtype"):
                frames[name] = {}
            elif frame is not None:
                own = hasattr(item, "dtype") and "pandas_type" in item.parent.attrs
                frames[frame].update(_of_frame(item.parent, item) if own else {})
            elif hasattr(item, "dtype"):
                found.update(sources(name.replace("/", "."), item))

        top.visititems(visit)
        for name, columns in frames.items():
            prefix = f"{name.replace('/', '.')}." if len(frames) > 1 else ""
            found |= {prefix + column: source for column, source in {**_numbered(columns), **columns}.items()}
        yield found


def _of_frame(frame: Any, item: Any) -> dict[str, Source]:
    """List the columns that a dataset of a frame of pandas holds."""
    name = item.name.rpartition("/")[2]
    if item.dtype.names:  # format="table"
        found = {}
        for array in item.dtype.names:
            if not item.dtype[array].shape:
                found[array] = Source(item, array)
            for place, column in enumerate(column_names(item, array) if item.dtype[array].shape else ()):
                found[column] = Source(item, array, place)
        return found
    items = frame.get(name.replace("_values", "_items"))  # format="fixed"
    if not name.endswith("_values") or items is None or items.dtype.kind not in "Siu" or item.ndim != 2:
        return {}
    names = [each.decode() if isinstance(each, bytes) else str(each) for each in items[:]]
    if len(names) != item.shape[1]:
        raise DataError(f"{frame.file.filename}: {item.name} has shape {item.shape} for {len(names)} names")
    return {column: Source(item, None, place) for place, column in enumerate(names)}


def _numbered(columns: Mapping[str, Source]) -> dict[str, Source]:
    """Put numbered columns of one array together."""
    lists: dict[str, dict[int, Source]] = {}
    for name, source in columns.items():
        if match := re.fullmatch(r"(.*[^_\d])_?(\d{1,5})", name):
            lists.setdefault(match[1], {})[int(match[2])] = source
    found = {}
    for name, members in lists.items():
        first = members.get(0)
        if first is None or sorted(members) != [*range(len(members))] or len(members) == 1:
            continue
        if all(one.array is first.array and one.field == first.field for one in members.values()):
            places = tuple(place for n in range(len(members)) if isinstance(place := members[n].place, int))
            found[name] = Source(first.array, first.field, places)
    return found


register(
    Format(
        name="HDF5",
        suffixes=(".h5", ".hdf5"),
        index=partial(index_padded, open_hdf5),
        table=partial(open_array_table, _open_arrays),
    )
)
