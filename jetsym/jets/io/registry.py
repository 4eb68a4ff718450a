"""The registry of formats: which reader a file belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.errors import DataError
from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.layout import find_layout
from jetsym.jets.io.formats.opening import explained, open_tree, stamp_of
from jetsym.jets.io.formats.root import index_tree
from jetsym.jets.io.mapping.mapping import TreeMapping
from jetsym.jets.io.paths import ARRAYS, File
from jetsym.jets.schema import TREE

if TYPE_CHECKING:
    from jetsym.jets.io.mapping.mapping import TreeMapping

__all__ = ["count_jets", "index_file"]


def index_file(path: File, mapping: TreeMapping | None = None) -> FileIndex:
    """Read where everything in a file lies; with a mapping, in any tree of one entry per jet.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, is damaged, or lacks the tree, jets or a branch.
    """
    if mapping is not None:
        from jetsym.jets.io.mapping.reader import index_mapped

        return index_mapped(path, mapping)
    if path.suffix == ".parquet":
        from jetsym.jets.io.formats.parquet import index_parquet

        return index_parquet(path)
    if path.suffix in ARRAYS:
        from jetsym.jets.io.formats.arrays import index_arrays

        return index_arrays(path)
    size, mtime_ns = stamp_of(path)
    with open_tree(path) as tree:
        if not tree.num_entries:
            raise DataError(f"{path}: the tree {TREE!r} holds no jets; expected at least one")
        with explained(path):
            layout = find_layout(tree, path)
            return index_tree(path, size, mtime_ns, tree, {name: tree[name] for name in layout.branches}, layout)


def count_jets(path: File, mapping: TreeMapping | None = None) -> int:
    """Number of jets of one file, from its tree's header alone, or of those that a mapping selects.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, is damaged, or lacks the tree.
    """
    if path.suffix == ".parquet" and mapping is None:
        from jetsym.jets.io.formats.parquet import count_rows

        return count_rows(path)
    if mapping is not None or path.suffix in ARRAYS:
        return index_file(path, mapping).n_jets
    with open_tree(path) as tree:
        return int(tree.num_entries)
