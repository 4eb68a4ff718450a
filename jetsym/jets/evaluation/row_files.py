"""Files that take rows in portions and appear when they are whole: ROOT trees and Parquet tables, with facts beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import require
from jetsym.files import finished_file
from jetsym.jets.io.ragged import cast_exactly

__all__ = ["SUFFIXES", "Columns", "Write", "fact_of", "row_file"]

Columns = dict[str, NDArray[Any]]
#: Appends rows to a file.
Write = Callable[[Columns], None]


@contextmanager
def row_file(out: Path, facts: dict[str, str], tree: str) -> Iterator[Write]:
    """Open a file that takes rows in portions, in the types of the first of them.

    Parameters
    ----------
    out
        The file, whose suffix is one of :data:`SUFFIXES`; it appears under its name when it is whole.
    facts
        Strings by name that are kept beside the columns: in a ROOT file as such, in Parquet in the schema's metadata.
    tree
        Name of the tree of a ROOT file.
    """
    dtypes: dict[str, np.dtype[Any]] = {}
    with finished_file(out) as unfinished, _OPENED[out.suffix](unfinished, facts, tree) as write:

        def alike(columns: Columns) -> None:
            first = {name: dtypes.setdefault(name, column.dtype) for name, column in columns.items()}
            write({name: cast_exactly(column, first[name], name, where=str(out)) for name, column in columns.items()})

        yield alike


def fact_of(path: Path, name: str) -> str | None:
    """Read a fact of a file; None where there is no such file, or it has none of that name, or cannot be read."""
    try:
        return _READ[path.suffix](path, name)
    except (OSError, ValueError, LookupError, AttributeError):  # whatever it is, it is not whole and from here
        return None


@contextmanager
def _root(path: Path, facts: dict[str, str], tree: str) -> Iterator[Write]:
    """Open a TTree that takes rows in portions."""
    import uproot

    with uproot.recreate(path, compression=uproot.ZLIB(4)) as file:
        for name, text in facts.items():
            file[name] = text
        trees: list[Any] = []

        def write(columns: Columns) -> None:
            if not trees:
                trees.append(file.mktree(tree, {name: column.dtype for name, column in columns.items()}))
            trees[0].extend(columns)

        yield write


def _fact_in_root(path: Path, name: str) -> str | None:
    import uproot

    with uproot.open(path) as file:
        return str(file[name])


@contextmanager
def _parquet(path: Path, facts: dict[str, str], _: str) -> Iterator[Write]:
    """Open a table that takes rows in portions, each a row group."""
    arrow, parquet = _of_parquet("pyarrow"), _of_parquet("pyarrow.parquet")
    with ExitStack() as stack:
        writers: list[Any] = []

        def write(columns: Columns) -> None:
            table = arrow.table(columns, metadata=facts)
            if not writers:
                writer = parquet.ParquetWriter(path, table.schema, write_page_checksum=True)
                writers.append(stack.enter_context(writer))
            writers[0].write_table(table)

        yield write


def _fact_in_parquet(path: Path, name: str) -> str | None:
    found: bytes = _of_parquet("pyarrow.parquet").read_schema(path).metadata[name.encode()]
    return found.decode()


def _of_parquet(module: str) -> Any:
    return require(module, extra="formats", purpose="writing Parquet")


_OPENED: dict[str, Callable[[Path, dict[str, str], str], AbstractContextManager[Write]]] = {
    ".root": _root,
    ".parquet": _parquet,
}
_READ: dict[str, Callable[[Path, str], str | None]] = {".root": _fact_in_root, ".parquet": _fact_in_parquet}

#: Of the files that can be written.
SUFFIXES = tuple(_OPENED)
