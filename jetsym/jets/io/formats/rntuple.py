"""RNTuples of ROOT files, as uproot reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override
from uproot.models.RNTuple import Model_ROOT_3a3a_RNTuple as NTuple

from jetsym.errors import DataError
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.formats.opening import explained, open_root, open_tree
from jetsym.jets.io.formats.table import Column, Table, depth_of, index_jetclass, unpacked
from jetsym.jets.io.remote import File

__all__ = ["NTuple", "NTupleReader", "NTupleTable", "holds_rntuple", "open_table"]


def holds_rntuple(path: Path) -> bool:
    """Tell whether a file opens, and has an RNTuple and no TTree."""
    try:
        with open_root(path) as file:
            kinds = set(file.classnames(cycle=False).values())
            return "ROOT::RNTuple" in kinds and "TTree" not in kinds
    except DataError:
        return False


class NTupleTable(Table):
    """An open RNTuple, with the fields of records and of lists of records as columns of their own."""

    def __init__(self, path: File, ntuple: Any) -> None:
        self._ntuple = ntuple
        self._columns: dict[str, Column] = {}
        for name in ntuple.keys(recursive=False):
            try:
                form = ntuple[name].to_akform()[0].content(name)
            except Exception:  # whatever uproot says of what it does not know
                self._columns[name] = Column(ntuple[name].typename, None)
                continue
            kind = ntuple[name].typename
            for each, part, depth in _parts(name, form, 0):
                own = kind if each == name and kind else str(part.type)
                self._columns[each] = Column(own, depth, fixed=part.is_regular)
        where = f"{path}: the RNTuple {ntuple.name!r}"
        super().__init__(path, where, int(ntuple.num_entries), list(self._columns))

    def column(self, name: str) -> Column | None:
        """Tell what a field holds; None if there is none of this name."""
        return self._columns.get(name)

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        """Find where chosen fields lie; parameters as of :class:`FileIndex`."""
        depths = {name: self.depth(name) for name in names}
        lists = next((name for name in names if depths[name]), None)
        assert isinstance(self.path, Path)
        return FileIndex.of(
            self.path,
            n_jets=self.n_entries,
            particles=int(ak.count(_read(self._ntuple, lists))) if lists else 0,
            layout=layout,
            boundaries=np.unique([*(one.num_first_entry for one in self._ntuple.cluster_summaries), self.n_entries]),
            reader=partial(NTupleReader, name=self._ntuple.name),
            depths=depths,
        )


class NTupleReader(JetReader):
    """An open file from which ranges of jets are read."""

    def __init__(self, index: FileIndex, *, name: str) -> None:
        super().__init__(index)
        self._name = name

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack = ExitStack()
        self._ntuple = self._stack.enter_context(open_tree(self.index.path, self._name, kind=NTuple))
        return self

    def __exit__(self, *arguments: object) -> None:
        self._stack.__exit__(None, None, None)

    @override
    def unpacked(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
        array = _read(self._ntuple, name, entry_start=start, entry_stop=stop)
        return unpacked(array, f"{self.index.path}: the field {name!r}", first=start)


@contextmanager
def open_table(path: Path, name: str | None) -> Iterator[Table]:
    """Open an RNTuple of a file; None for the only one that it has."""
    with open_tree(path, name, kind=NTuple) as ntuple, explained(path):
        yield NTupleTable(path, ntuple)


def _parts(name: str, form: Any, lists: int) -> Iterator[tuple[str, Any, int | None]]:
    """List the columns of a field: their names, forms and depths."""
    if form.is_record and not form.is_tuple:
        for field in form.fields:
            yield from _parts(f"{name}.{field}", form.content(field), lists)
    elif form.is_list and form.content.is_record:
        yield from _parts(name, form.content, lists + 1)
    else:
        depth = depth_of(form)
        yield name, form, None if depth is None else depth + lists


def _read(ntuple: Any, name: str, **entries: int) -> Any:
    """Read a column; of records, the field behind the dots."""
    field = next(one for one in ntuple.keys(recursive=False) if name == one or name.startswith(f"{one}."))
    array = ntuple[field].array(**entries)
    for part in name[len(field) + 1 :].split(".") if name != field else ():
        array = array[part]
    return array


register(
    Format(
        name="RNTuple",
        suffixes=(".root",),
        index=partial(index_jetclass, open_table),
        look=holds_rntuple,
        table=open_table,
    )
)
