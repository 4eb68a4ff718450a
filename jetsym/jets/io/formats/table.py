"""Tables: the columns of a file of any format, one row per entry, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError, closest
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex
from jetsym.jets.io.formats.layout import Layout, choose_layout
from jetsym.jets.io.remote import File
from jetsym.jets.schema import TREE

__all__ = ["Column", "OpenTable", "Table", "depth_of", "index_jetclass", "split_digits", "unpacked"]


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Parameters
    ----------
    type
        As the file calls it.
    depth
        0 for one number per entry, 1 for a list, 2 for a list of lists; None for what is no numbers. All rows of a
        matrix are lists of one length.
    fixed
        Whether all lists are of one length, so that some of what they hold may be padding.
    """

    type: str
    depth: int | None
    fixed: bool = False


class Table:
    """An open table of a file; a format derives its own, with the last two methods.

    Parameters
    ----------
    path
        The file.
    source
        What messages call the table.
    n_entries
        How many rows it has.
    names
        Of its columns. A number behind a dot, as in ``x.0``, is a place in the last axis of a column of arrays.
    """

    def __init__(self, path: File, source: str, n_entries: int, names: Sequence[str]) -> None:
        self.path, self.source, self.n_entries, self.names = path, source, n_entries, tuple(names)

    def column(self, name: str) -> Column | None:
        """Tell what a column holds; None if there is none of this name."""
        raise NotImplementedError

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        """Find where chosen columns lie; the reader of this index gives them as they are."""
        raise NotImplementedError

    def depth(self, name: str) -> int:
        """Return the depth of a column of numbers.

        Raises
        ------
        DataError
            If there is no such column, or it holds something else.
        """
        found = self.column(name)
        if found is None:
            raise DataError(f"{self.source} has no branch {name!r}; {closest(name, sorted(self.names))}")
        if found.depth is None or found.depth > 2:
            raise DataError(
                f"{self.path}: the branch {name!r} is {found.type}; expected one number, or one list of numbers, per "
                "entry, or a list of such lists"
            )
        return found.depth


#: From a file and the name of a tree or group, None for the only one, to its table.
OpenTable = Callable[[Any, str | None], AbstractContextManager[Table]]


def index_jetclass(open_table: OpenTable, path: File) -> FileIndex:
    """Read where everything in a file with JetClass's columns lies.

    Raises
    ------
    DataError
        If the file is missing, is damaged, or lacks the tree, jets or a column.
    """
    with open_table(path, TREE) as table:
        if not table.n_entries:
            raise EmptyFileError(f"{path}: the tree {TREE!r} holds no jets; expected at least one")
        columns = {name: found for name in table.names if (found := table.column(name)) is not None}
        layout = choose_layout(
            path,
            types := {name: column.type for name, column in columns.items()},
            ragged={name for name, column in columns.items() if column.depth == 1 and not column.fixed},
            flat={name for name, column in columns.items() if column.depth == 0},
        )
        return replace(table.index(layout.branches, layout), types=types)


def split_digits(name: str) -> tuple[str, int] | None:
    """Split the name of a place in the last axis of a column.

    Examples
    --------
    >>> split_digits("particle_features.2")
    ('particle_features', 2)
    """
    stem, dot, digits = name.rpartition(".")
    return (stem, int(digits)) if dot and digits.isascii() and digits.isdecimal() and len(digits) < 6 else None


def depth_of(form: Any) -> int | None:
    """Return how deep the lists of a form of awkward's are; None for what is no numbers.

    Examples
    --------
    >>> depth_of(ak.Array([[1.0], [2.0, 3.0]]).layout.form), depth_of(ak.Array(["a"]).layout.form)
    (1, None)
    """
    depth = 0
    while form.parameter("__array__") in (None, "categorical"):
        if isinstance(form, ak.forms.NumpyForm):
            return depth + len(form.inner_shape) if np.dtype(form.primitive).kind in "biuf" else None
        if form.is_list:
            depth += 1
        elif not (form.is_option or form.is_indexed):
            return None
        form = form.content
    return None


def unpacked(array: Any, where: str, *, first: int = 0) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
    """Return the numbers of an array of awkward's, and for each level of its lists their lengths.

    Parameters
    ----------
    array
        Numbers, or lists of them.
    where
        The file and the column, for messages.
    first
        Entry of the file that the first row is.

    Raises
    ------
    DataError
        If values are missing.

    Examples
    --------
    >>> values, lengths = unpacked(ak.Array([[1.0], [2.0, 3.0]]), "column")
    >>> values.tolist(), [each.tolist() for each in lengths]
    ([1.0, 2.0, 3.0], [[1, 2]])
    """
    counts: list[NDArray[np.int64]] = []
    rows = np.arange(first, first + len(array))
    while True:
        if array.layout.is_option:
            if len(missing := np.flatnonzero(ak.to_numpy(ak.is_none(array)))):
                raise DataError(
                    f"{where} has {len(missing)} missing values, the first at entry {rows[missing[0]]}; fill them, or "
                    "leave such entries out of the file"
                )
            array = ak.drop_none(array, axis=0)
        if array.ndim == 1:
            return np.asarray(ak.to_numpy(array)), counts
        counts.append(ak.to_numpy(ak.num(array)).astype(np.int64))
        rows, array = np.repeat(rows, counts[-1]), ak.flatten(array)
