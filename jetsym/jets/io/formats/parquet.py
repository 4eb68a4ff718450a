"""Parquet files with JetClass's columns: written from ROOT files, and read like them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uproot

from jetsym.errors import DataError, MissingDependencyError
from jetsym.files import finished_file
from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.layout import choose_layout, is_number
from jetsym.jets.io.formats.opening import explained, open_tree
from jetsym.jets.io.paths import File, Paths, root_files
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParquetReader", "column_types", "count_rows", "index_parquet", "to_parquet"]

#: Jets of a row group, which is what is read at once.
_ROWS = 10_000


def to_parquet(paths: Paths, out: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = True) -> Path:
    """Write ROOT files as Parquet files of the same names, with all branches that hold a number or a list of them.

    Parameters
    ----------
    paths
        As in :func:`jetsym.jets.read`.
    out
        A folder. Files that are there already, and not older than their sources, are left alone.
    overwrite
        Write them again nevertheless.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If a file cannot be read, or two have the same name.
    MissingDependencyError
        If pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    files, folder = root_files(paths), Path(out).expanduser()
    targets = [folder / f"{path.stem}.parquet" for path in files]
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise DataError(f"several of the files would become {twice}; convert them into folders of their own")
    with progress_bar("convert", len(files), shown=progress) as advance:
        for path, target in zip(files, targets, strict=True):
            if overwrite or not target.exists() or target.stat().st_mtime_ns < path.stat().st_mtime_ns:
                with finished_file(target) as unfinished:
                    _write(arrow, parquet, path, unfinished)
            advance(1)
    return folder


def _write(arrow: Any, parquet: Any, path: Path, target: Path) -> None:
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
                table = arrow.table({name: _column(arrow, array) for name, array in arrays.items()})
                if writer is None:
                    writer = parquet.ParquetWriter(
                        target, table.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
                    )
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    if writer is None:
        raise DataError(f"{path}: the tree holds no jets; expected at least one")


def _column(arrow: Any, array: Any) -> Any:
    import awkward as ak

    if array.ndim == 1:
        return arrow.array(ak.to_numpy(array))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array)))]).astype(np.int32)
    return arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(ak.to_numpy(ak.flatten(array))))


def count_rows(path: File) -> int:
    """Number of jets of a file, from its footer alone."""
    with explained(path), _open(path) as file:
        return int(file.metadata.num_rows)


def column_types(path: File) -> dict[str, str]:
    """Type of every column, in Arrow's words."""
    with explained(path), _open(path) as file:
        return {field.name: str(field.type) for field in file.schema_arrow}


def index_parquet(path: File) -> FileIndex:
    """What :func:`jetsym.jets.io.registry.index_file` gives, of a Parquet file.

    Raises
    ------
    DataError
        If the file is damaged, or lacks jets or a column.
    """
    arrow, _ = _pyarrow()
    with explained(path), _open(path) as file:
        status = _local(path).stat()
        types = {field.name: field.type for field in file.schema_arrow}
        ragged = {name for name, kind in types.items() if arrow.types.is_list(kind) and _plain(arrow, kind.value_type)}
        layout = choose_layout(
            path,
            {name: str(kind) for name, kind in types.items()},
            ragged=ragged,
            flat={name for name, kind in types.items() if _plain(arrow, kind)},
        )
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        if not sum(groups):
            raise DataError(f"{path}: holds no jets; expected at least one")
        first = next(i for i in range(len(types)) if file.schema.column(i).path.startswith(f"{layout.ragged[0]}."))
        values = sum(file.metadata.row_group(number).column(first).num_values for number in range(len(groups)))
    return FileIndex(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        n_jets=sum(groups),
        layout=layout,
        branches={},
        particles=values,
        boundaries=np.concatenate([[0], np.cumsum([rows for rows in groups if rows])]),
        reader=ParquetReader,
    )


class ParquetReader:
    """An open file from which ranges of jets are read, like :class:`jetsym.jets.io.formats.root.BasketReader`."""

    def __init__(self, index: FileIndex) -> None:
        self._index = index

    def __enter__(self) -> ParquetReader:
        path = self._index.path
        status = _local(path).stat() if _local(path).exists() else None
        self._index.check_unchanged(None if status is None else (status.st_size, status.st_mtime_ns))
        self._file = _open(self._index.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        metadata = self._file.metadata
        return np.cumsum([0, *(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))])

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """(stop − start,) values of a column with one number per jet."""
        values: NDArray[Any] = self._column(name, start, stop).to_numpy(zero_copy_only=False)
        return values

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values (P,) of the particles of some jets, and their number in each jet."""
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


def _local(path: File) -> Path:
    if not isinstance(path, Path):
        raise DataError(f"{path}: is on another machine, from where only ROOT files are read; fetch it first")
    return path


def _open(path: File) -> Any:
    _, parquet = _pyarrow()
    return parquet.ParquetFile(_local(path), page_checksum_verification=True)


def _pyarrow() -> Sequence[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError.of("pyarrow", extra="formats", purpose="reading and writing Parquet") from error
    return pyarrow, pyarrow.parquet
