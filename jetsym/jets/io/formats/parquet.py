"""Parquet files with JetClass's columns: written from ROOT files, and read like them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import uproot

from jetsym.errors import require
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex, JetReader
from jetsym.jets.io.formats.layout import choose_layout, is_number
from jetsym.jets.io.formats.opening import explained, open_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParquetReader", "index_parquet", "source_of", "write_parquet"]

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
    arrow, parquet = _pyarrow()
    with open_tree(path) as tree, explained(path):
        names = [
            name
            for name in tree.keys(recursive=False)
            if is_number(how := tree[name].interpretation)
            or (isinstance(how, uproot.AsJagged) and is_number(how.content))
        ]
        writer = None
        try:
            for start in range(0, tree.num_entries, _ROWS):
                arrays = tree.arrays(names, entry_start=start, entry_stop=start + _ROWS, library="ak", how=dict)
                columns = {name: _column(arrow, array) for name, array in arrays.items()}
                table = arrow.table(columns, metadata={_SOURCE: source})
                if writer is None:
                    writer = parquet.ParquetWriter(
                        target, table.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
                    )
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    if writer is None:
        raise EmptyFileError(f"{path}: the tree holds no jets; expected at least one")


def source_of(path: Path) -> str | None:
    """Return how a Parquet file describes what it was made of; None for any other file."""
    arrow, parquet = _pyarrow()
    try:
        found = (parquet.read_schema(path).metadata or {}).get(_SOURCE)
    except (OSError, arrow.ArrowException):
        return None
    return None if found is None else str(found, "utf-8")


def _column(arrow: Any, array: Any) -> Any:
    import awkward as ak

    if array.ndim == 1:
        return arrow.array(ak.to_numpy(array))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array)))]).astype(np.int32)
    return arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(ak.to_numpy(ak.flatten(array))))


def index_parquet(path: Path) -> FileIndex:
    """Read where everything in a file lies.

    Raises
    ------
    DataError
        If the file is damaged, or lacks jets or a column.
    """
    arrow, _ = _pyarrow()
    with _open(path) as file:
        types = {field.name: field.type for field in file.schema_arrow}
        named = {name: str(kind) for name, kind in types.items()}
        ragged = {name for name, kind in types.items() if arrow.types.is_list(kind) and _plain(arrow, kind.value_type)}
        layout = choose_layout(
            path,
            named,
            ragged=ragged,
            flat={name for name, kind in types.items() if _plain(arrow, kind)},
        )
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        first = next(i for i in range(len(types)) if file.schema.column(i).path.startswith(f"{layout.ragged[0]}."))
        values = sum(file.metadata.row_group(number).column(first).num_values for number in range(len(groups)))
    return FileIndex.of(
        path,
        n_jets=sum(groups),
        particles=values,
        layout=layout,
        boundaries=np.concatenate([[0], np.cumsum([rows for rows in groups if rows])]).astype(np.int64),
        reader=ParquetReader,
        types=named,
    )


class ParquetReader(JetReader):
    """An open file from which ranges of jets are read."""

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

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values of a column with one number per jet."""
        values: NDArray[Any] = self._column(name, start, stop).to_numpy(zero_copy_only=False)
        return values

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        column = self._column(name, start, stop)
        offsets = column.offsets.to_numpy().astype(np.int64)
        values = column.values.slice(offsets[0], offsets[-1] - offsets[0])
        if values.null_count:
            raise ValueError(f"{name!r} has {values.null_count} missing values")
        return values.to_numpy(zero_copy_only=False), np.diff(offsets)

    def _column(self, name: str, start: int, stop: int) -> Any:
        begin = int(np.searchsorted(self._edges, start, side="right")) - 1
        end = int(np.searchsorted(self._edges, stop, side="left"))
        table = self._file.read_row_groups(list(range(begin, end)), columns=[name], use_threads=False)
        column = table.column(name).slice(start - int(self._edges[begin]), stop - start).combine_chunks()
        if column.null_count:
            raise ValueError(f"{name!r} has {column.null_count} missing values")
        return column


def _plain(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_boolean(kind))


def _open(path: Any) -> Any:
    _, parquet = _pyarrow()
    return parquet.ParquetFile(path, page_checksum_verification=True)


def _pyarrow() -> Sequence[Any]:
    return [
        require(name, extra="formats", purpose="reading and writing Parquet") for name in ("pyarrow", "pyarrow.parquet")
    ]


register(Format(name="Parquet", suffixes=(".parquet",), index=index_parquet))
