"""Tables of arrays (of HDF5 and NumPy): datasets whose first axis is the jets, compound ones, and frames of pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.formats.table import Column, Table, split_digits

__all__ = ["ArrayReader", "ArrayTable", "Source", "open_array_table", "sources"]


@dataclass(frozen=True)
class Source:
    """Where the values of a column are.

    Parameters
    ----------
    array
        What can be sliced along its first axis, the entries.
    field
        Of a compound array; None for a plain one.
    place
        In the last axis, or several, which make a list; None for all.
    """

    array: Any
    field: str | None = None
    place: int | tuple[int, ...] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        kind: np.dtype[Any] = self.array.dtype if self.field is None else self.array.dtype[self.field]
        return kind.base

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values of one entry."""
        inner = () if self.field is None else self.array.dtype[self.field].shape
        shape: tuple[int, ...] = (*self.array.shape[1:], *inner)
        if self.place is None:
            return shape
        return shape[:-1] if isinstance(self.place, int) else (*shape[:-1], len(self.place))

    def at(self, place: int) -> Source | None:
        """Return one place of the last axis; None where there is none."""
        if not self.shape or place >= self.shape[-1]:
            return None
        return Source(self.array, self.field, self.place[place] if isinstance(self.place, tuple) else place)


def sources(name: str, array: Any) -> dict[str, Source]:
    """List the columns of an array: itself, or the fields of a compound one."""
    if array.dtype.names is None:
        return {name: Source(array)}
    return {f"{name}.{field}": Source(array, field) for field in array.dtype.names}


#: What opens a file of arrays, or one group of it: the sources of its columns by name.
OpenArrays = Callable[[Path, str | None], AbstractContextManager[Mapping[str, Source]]]


class ArrayTable(Table):
    """An open file of arrays; those of other lengths than most of the data has are no columns."""

    def __init__(self, path: Path, found: Mapping[str, Source], reader: Callable[[FileIndex], JetReader]) -> None:
        sizes: dict[int, int] = {}
        arrays = {id(one.array): one.array for one in found.values() if one.array.ndim}
        for array in arrays.values():
            sizes[len(array)] = sizes.get(len(array), 0) + array.size * array.dtype.itemsize
        length = max(sizes, key=sizes.__getitem__, default=0)
        self._sources = {n: one for n, one in found.items() if one.array.ndim and len(one.array) == length}
        self._reader = reader
        super().__init__(path, f"{path}: the table", length, list(self._sources))

    def column(self, name: str) -> Column | None:
        """Tell what an array holds; None if there is none of this name."""
        if (source := find_source(self._sources, name)) is None:
            return None
        shape = "".join(f"[{size}]" for size in source.shape)
        return Column(f"{source.dtype}{shape}", len(source.shape) if source.dtype.kind in "biuf" else None)

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        """Make the index of chosen arrays; parameters as of :class:`FileIndex`."""
        assert isinstance(self.path, Path)
        depths = {name: self.depth(name) for name in names}
        shapes = [one.shape for name in names if (one := find_source(self._sources, name)) and one.shape]
        return FileIndex.of(
            self.path,
            n_jets=self.n_entries,
            particles=self.n_entries * int(np.prod(shapes[0])) if shapes else 0,
            layout=layout,
            reader=self._reader,
            depths=depths,
        )


class ArrayReader(JetReader):
    """An open file of arrays, from which ranges of entries are read."""

    def __init__(self, open_arrays: OpenArrays, group: str | None, index: FileIndex) -> None:
        super().__init__(index)
        self._open_arrays, self._group = open_arrays, group
        self._rows: dict[int, tuple[int, int, Any]] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        assert isinstance(self.index.path, Path)
        self._stack = ExitStack()
        self._sources = self._stack.enter_context(self._open_arrays(place_of(self.index.path), self._group))
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.clear()
        self._stack.close()

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per entry."""
        return self._values(name, start, stop)

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values of lists of one length, and that length for each entry."""
        values = self._values(name, start, stop)
        return values.ravel(), np.full(len(values), values.shape[1])

    def nested(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Read the values of lists of lists, the lengths of the inner ones, and those of the outer."""
        values = self._values(name, start, stop)
        jets, outer, inner = values.shape
        return values.ravel(), np.full(jets * outer, inner), np.full(jets, outer)

    def _values(self, name: str, start: int, stop: int) -> NDArray[Any]:
        source = find_source(self._sources, name)
        assert source is not None
        # Rows that have been read give the other columns of the same array as well.
        key = id(source.array)
        if key not in self._rows or self._rows[key][:2] != (start, stop):
            self._rows[key] = start, stop, source.array[start:stop]
        rows = self._rows[key][2]
        values = rows if source.field is None else rows[source.field]
        if source.place is None:
            return np.asarray(values)
        return np.asarray(values[..., list(source.place) if isinstance(source.place, tuple) else source.place])


def find_source(found: Mapping[str, Source], name: str) -> Source | None:
    """Find a column, or the place in the last axis of one."""
    if name in found:
        return found[name]
    split = split_digits(name)
    return found[split[0]].at(split[1]) if split is not None and split[0] in found else None


@contextmanager
def open_array_table(open_arrays: OpenArrays, path: Path, group: str | None) -> Iterator[Table]:
    """Open the table of a file of arrays, or of one group of it."""
    with explained(path), open_arrays(path, group) as found:
        if not found:
            raise DataError(f"{path}: holds no arrays{'' if group is None else f' in {group!r}'}; expected some")
        yield ArrayTable(path, found, partial(ArrayReader, open_arrays, group))
