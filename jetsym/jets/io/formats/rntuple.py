"""ROOT files whose ``tree`` is an RNTuple, as uproot reads it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import awkward as ak
import numpy as np
from uproot.models.RNTuple import Model_ROOT_3a3a_RNTuple

from jetsym.errors import DataError
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.layout import choose_layout
from jetsym.jets.io.formats.opening import open_root, open_tree
from jetsym.jets.schema import TREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RNTupleReader", "holds_rntuple", "index_rntuple"]

_NUMBER = r"(?:float|double|bool|(?:std::)?u?int(?:8|16|32|64)_t|char)"


def holds_rntuple(path: Path) -> bool:
    """Tell whether a file opens, and has an RNTuple where JetClass has its TTree."""
    try:
        with open_root(path) as file:
            return bool(file.classnames(cycle=False).get(TREE) == "ROOT::RNTuple")
    except DataError:
        return False


def _open(path: Path) -> Any:
    return open_tree(path, kind=Model_ROOT_3a3a_RNTuple)


def _types(path: Path) -> dict[str, str]:
    with _open(path) as ntuple:
        return {name: ntuple[name].typename for name in ntuple.keys(recursive=False)}


def _count(path: Path) -> int:
    with _open(path) as ntuple:
        return int(ntuple.num_entries)


def index_rntuple(path: Path) -> FileIndex:
    """Read where everything in a file lies.

    Raises
    ------
    DataError
        If the file is damaged, or lacks jets or a field.
    """
    with _open(path) as ntuple:
        types = {name: ntuple[name].typename for name in ntuple.keys(recursive=False)}
        layout = choose_layout(
            path,
            types,
            ragged={name for name, kind in types.items() if re.fullmatch(rf"std::vector<{_NUMBER}>", kind)},
            flat={name for name, kind in types.items() if re.fullmatch(_NUMBER, kind)},
        )
        n_jets, clusters = int(ntuple.num_entries), [one.num_first_entry for one in ntuple.cluster_summaries]
        particles = int(ak.count(ntuple[layout.ragged[0]].array())) if n_jets else 0
    return FileIndex.of(
        path,
        n_jets=n_jets,
        particles=particles,
        layout=layout,
        boundaries=np.unique([*clusters, n_jets]),
        reader=RNTupleReader,
    )


class RNTupleReader(JetReader):
    """An open file from which ranges of jets are read."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack = ExitStack()
        assert isinstance(self.index.path, Path)
        self._ntuple = self._stack.enter_context(_open(self.index.path))
        return self

    def __exit__(self, *arguments: object) -> None:
        self._stack.__exit__(None, None, None)

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        values: NDArray[Any] = ak.to_numpy(self._ntuple[name].array(entry_start=start, entry_stop=stop))
        return values

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        lists = self._ntuple[name].array(entry_start=start, entry_stop=stop)
        return ak.to_numpy(ak.flatten(lists)), ak.to_numpy(ak.num(lists)).astype(np.int64)


register(
    Format(
        name="RNTuple",
        suffixes=(".root",),
        index=index_rntuple,
        count=_count,
        types=_types,
        look=holds_rntuple,
    )
)
