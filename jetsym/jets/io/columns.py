"""Columns with one value per jet, of any tree or table: what files hold besides, or instead of, jets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError, require
from jetsym.jets.io.formats.base import format_of
from jetsym.jets.io.formats.hdf5 import column_names
from jetsym.jets.io.formats.opening import explained, open_root
from jetsym.jets.io.remote import File
from jetsym.jets.schema import TREE

__all__ = ["Columns", "open_columns"]

#: What a tree is called where a file has several: by jetsym and JetClass, and by weaver-core and NanoAOD.
TREES = (TREE, "Events")


@dataclass(frozen=True)
class Columns:
    """The columns of an open file.

    Parameters
    ----------
    names
        Of all columns, in the order of the file.
    load
        From a name to its values, of whatever shape.
    facts
        Texts that stand beside the columns, by name.
    ordered
        Whether the file keeps the order in which its columns were written.
    """

    names: tuple[str, ...]
    load: Callable[[str], NDArray[Any]]
    facts: Mapping[str, str] = field(default_factory=dict)
    ordered: bool = True

    def read(self, name: str) -> NDArray[Any]:
        """Return a column (jets,) in the machine's byte order.

        Raises
        ------
        DataError
            It does not hold one value per jet.
        """
        values = np.asarray(self.load(name))
        if values.ndim != 1 or values.dtype.kind == "O":
            raise DataError(f"the column {name!r} does not hold one value per jet; expected one number, or one name")
        return values.astype(values.dtype.newbyteorder("="))


@contextmanager
def open_columns(path: File) -> Iterator[Columns]:
    """Open a ROOT file (TTree or RNTuple), a Parquet or HDF5 file, or a ``.npz``.

    Of an HDF5 file the columns are its one-dimensional datasets, the fields of its compound ones, and the columns of
    tables that pandas has written.

    Raises
    ------
    DataError
        The file is missing, is damaged, is of another format, or has no single tree.
    MissingDependencyError
        What reads the format is not installed.
    """
    form = format_of(path).name
    if form not in _OPEN:
        raise DataError(f"{path}: is of the format {form}; expected one of {', '.join(_OPEN)} with columns of scores")
    with explained(path), _OPEN[form](path) as columns:
        yield columns


@contextmanager
def _root(path: File) -> Iterator[Columns]:
    import awkward as ak

    with open_root(path) as file:
        kinds = file.classnames(cycle=False)
        trees = [name for name, kind in kinds.items() if kind in ("TTree", "ROOT::RNTuple")]
        chosen = next((name for name in (*TREES, *trees[:1]) if name in trees), None)
        if chosen is None or (chosen not in TREES and len(trees) > 1):
            there = ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items()) or "nothing"
            raise DataError(f"{path}: holds {there}; expected one tree, or one called {' or '.join(map(repr, TREES))}")
        tree = file[chosen]

        def load(name: str) -> NDArray[Any]:
            values = tree[name].array()
            return np.array([None]) if values.ndim != 1 else np.asarray(ak.to_numpy(values))

        facts = {name: str(file[name]) for name, kind in kinds.items() if kind == "TObjString"}
        names = tuple(tree.keys(recursive=False))
        # uproot writes the columns of an RNTuple in the order of the alphabet, whatever it is given.
        ordered = kinds[chosen] == "TTree" or list(names) != sorted(names)
        yield Columns(names, load, facts, ordered=ordered)


@contextmanager
def _parquet(path: Any) -> Iterator[Columns]:
    arrow, parquet = (
        require(module, extra="formats", purpose="reading Parquet") for module in ("pyarrow", "pyarrow.parquet")
    )
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow

        def is_text(kind: Any) -> bool:
            """Tell whether values are texts, or bytes that stand for them."""
            return any(
                getattr(arrow.types, f"is_{name}")(kind)
                for name in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
            )

        def load(name: str) -> NDArray[Any]:
            column = file.read(columns=[name]).column(0)
            if arrow.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if column.null_count:
                raise DataError(f"{path}: the column {name!r} has {column.null_count} missing values")
            if arrow.types.is_decimal(column.type):
                column = column.cast(arrow.float64())
            values: NDArray[Any] = column.to_numpy()
            return column.cast(arrow.string()).to_numpy().astype(str) if is_text(column.type) else values

        facts = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
        yield Columns(tuple(schema.names), load, facts)


@contextmanager
def _hdf5(path: Any) -> Iterator[Columns]:
    h5py = require("h5py", extra="formats", purpose="reading HDF5")
    with suppress(ImportError):  # some files are compressed with what HDF5 itself does not know
        import hdf5plugin  # noqa: F401
    with h5py.File(path, "r") as file:
        places: dict[str, Callable[[], Any]] = {}
        plain: list[str] = []

        def visit(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset) or item.ndim != 1:
                return
            if not item.dtype.names:
                plain.append(name)
                places[name.rpartition("/")[2]] = item.asstr if h5py.check_string_dtype(item.dtype) else lambda: item
            for array in item.dtype.names or ():
                if not item.dtype[array].shape:
                    places[array] = partial(item.__getitem__, array)
                    continue
                for number, column in enumerate(column_names(item, array)):  # of pandas: several in one array
                    places[column] = partial(_column, item, array, number)

        file.visititems(visit)

        def load(name: str) -> NDArray[Any]:
            values = np.asarray(places[name]()[:])
            return values.astype(str) if values.dtype.kind in "OS" else values

        facts = {name: str(text) for name, text in file.attrs.items() if isinstance(text, str)}
        yield Columns(tuple(places), load, facts, ordered=not plain)


def _column(table: Any, array: str, number: int) -> Any:
    """Return one of the columns that pandas keeps in an array."""
    return table[array][:, number]


@contextmanager
def _npz(path: Any) -> Iterator[Columns]:
    with np.load(Path(path), allow_pickle=False) as file:
        yield Columns(tuple(file.files), file.__getitem__)


_OPEN: dict[str, Callable[[Any], AbstractContextManager[Columns]]] = {
    "ROOT": _root,
    "RNTuple": _root,
    "Parquet": _parquet,
    "HDF5": _hdf5,
    "NumPy": _npz,
}
