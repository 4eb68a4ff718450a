"""Parquet files with JetClass's columns: written from ROOT files, and read like them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from typing_extensions import override

from jetsym.errors import require
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex, JetReader
from jetsym.jets.io.formats.layout import Layout, is_number
from jetsym.jets.io.formats.opening import explained, open_tree
from jetsym.jets.io.formats.table import Column, Table, index_jetclass, unpacked

__all__ = ["ParquetReader", "ParquetTable", "open_table", "source_of", "write_parquet"]

#: Jets of a row group, which is what is read at once.
_ROWS = 10_000


#: Key of the schema's metadata that says what a file was made of.
_SOURCE = b"jetsym.source"


def write_parquet(path: Path, target: Path, *, source: str = "") -> None:
    """Write a ROOT file as a Parquet file, with all branches that hold a number or a list of them.

    ``source`` is kept in it as a description of the ROOT file, see :func:`source_of`.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no jets.
    MissingDependencyError
        If pyarrow is not installed.
    """
    _, parquet = _pyarrow()
    with ExitStack() as stack:
        writer = None
        for table in _tables(path, {_SOURCE: source}):  # whose errors are the file's, and those below the target's
            if writer is None:
                writer = parquet.ParquetWriter(
                    target, table.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
                )
                stack.enter_context(writer)
            writer.write_table(table)
    if writer is None:
        raise EmptyFileError(f"{path}: the tree holds no jets; expected at least one")


def _tables(path: Path, metadata: Mapping[bytes, str]) -> Iterator[Any]:
    """Read a ROOT file, some rows at a time."""
    arrow, _ = _pyarrow()
    with open_tree(path) as tree, explained(path):
        names = [
            name
            for name in tree.keys(recursive=False)
            if is_number(how := tree[name].interpretation)
            or (isinstance(how, uproot.AsJagged) and is_number(how.content))
        ]
        for start in range(0, tree.num_entries, _ROWS):
            arrays = tree.arrays(names, entry_start=start, entry_stop=start + _ROWS, library="ak", how=dict)
            columns = {name: _column(arrow, array) for name, array in arrays.items()}
            yield arrow.table(columns, metadata=metadata)


def source_of(path: Path) -> str | None:
    """Return how a Parquet file describes what it was made of; None for any other file."""
    arrow, parquet = _pyarrow()
    try:
        found = (parquet.read_schema(path).metadata or {}).get(_SOURCE)
    except (OSError, arrow.ArrowException):
        return None
    return None if found is None else str(found, "utf-8")


def _column(arrow: Any, array: Any) -> Any:
    if array.ndim == 1:
        return arrow.array(ak.to_numpy(array))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array)))]).astype(np.int32)
    return arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(ak.to_numpy(ak.flatten(array))))


class ParquetTable(Table):
    """An open file, with the fields of records and of lists of records as columns of their own."""

    def __init__(self, path: Path, file: Any) -> None:
        self._file = file
        leaves = (file.schema.column(number).path for number in range(len(file.schema)))
        #: Name -> what it holds, where it lies in the file, and the number of its first leaf.
        self._columns: dict[str, tuple[Column, str, int]] = {}
        number = 0
        for field in file.schema_arrow:
            for name, kind, depth, size in _parts(field.name, field.type, 0):
                place = [next(leaves) for _ in range(size)]
                fixed = str(kind).startswith("fixed_size_list")
                self._columns[name] = (
                    Column(str(kind), depth, fixed=fixed),
                    place[0] if size == 1 else field.name,
                    number,
                )
                number += size
        super().__init__(path, f"{path}: the table", int(file.metadata.num_rows), list(self._columns))

    def column(self, name: str) -> Column | None:
        """Tell what a column holds; None if there is none of this name."""
        return self._columns[name][0] if name in self._columns else None

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        """Find where chosen columns lie; parameters as of :class:`FileIndex`."""
        metadata = self._file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        depths = {name: self.depth(name) for name in names}
        leaf = next((self._columns[name][2] for name in names if depths[name]), None)
        assert isinstance(self.path, Path)
        return FileIndex.of(
            self.path,
            n_jets=self.n_entries,
            particles=0 if leaf is None else sum(group.column(leaf).num_values for group in groups),
            layout=layout,
            boundaries=np.cumsum([0, *(group.num_rows for group in groups if group.num_rows)]),
            reader=partial(ParquetReader, places={name: self._columns[name][1] for name in names}),
            depths=depths,
        )


class ParquetReader(JetReader):
    """An open file from which ranges of jets are read."""

    def __init__(self, index: FileIndex, *, places: Mapping[str, str]) -> None:
        super().__init__(index)
        self._places = places

    def __enter__(self) -> Self:
        super().__enter__()
        self._file = _open(self.index.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        metadata = self._file.metadata
        return np.cumsum([0, *(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))])

    @override
    def unpacked(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
        begin = int(np.searchsorted(self._edges, start, side="right")) - 1
        end = int(np.searchsorted(self._edges, stop, side="left"))
        table = self._file.read_row_groups(list(range(begin, end)), columns=[self._places[name]], use_threads=False)
        field = next(one for one in table.column_names if name == one or name.startswith(f"{one}."))
        rows = table.column(field).slice(start - int(self._edges[begin]), stop - start).combine_chunks()
        array = ak.from_arrow(rows)
        for part in name[len(field) + 1 :].split(".") if name != field else ():
            array = array[part]
        return unpacked(array, f"{self.index.path}: the column {name!r}", first=start)


@contextmanager
def open_table(path: Path, name: str | None) -> Iterator[Table]:
    """Open the table of a file, which has one alone, whatever its name."""
    with explained(path), _open(path) as file:
        yield ParquetTable(path, file)


def _parts(name: str, kind: Any, lists: int) -> Iterator[tuple[str, Any, int | None, int]]:
    """List the columns of a field: their names, types, depths, and of how many leaves they are."""
    types = require("pyarrow", extra="formats", purpose="reading Parquet").types
    inner, depth = kind, lists
    while any(test(inner) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        inner, depth = inner.value_type, depth + 1
    if types.is_struct(inner):
        for number in range(inner.num_fields):
            yield from _parts(f"{name}.{inner.field(number).name}", inner.field(number).type, depth)
        return
    value = inner.value_type if types.is_dictionary(inner) else inner
    plain = types.is_integer(value) or types.is_floating(value) or types.is_boolean(value)
    yield name, kind, depth if plain else None, _leaves(kind)


def _leaves(kind: Any) -> int:
    return max(1, sum(_leaves(kind.field(number).type) for number in range(kind.num_fields)))


def _open(path: Any) -> Any:
    _, parquet = _pyarrow()
    return parquet.ParquetFile(place_of(path), page_checksum_verification=True)


def _pyarrow() -> Sequence[Any]:
    return [
        require(name, extra="formats", purpose="reading and writing Parquet") for name in ("pyarrow", "pyarrow.parquet")
    ]


register(Format(name="Parquet", suffixes=(".parquet",), index=partial(index_jetclass, open_table), table=open_table))
