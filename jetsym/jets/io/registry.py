"""The registry of formats: what can be asked of a file of jets, whatever its format.

A format registers itself with :func:`register`; those of jetsym stand in :mod:`jetsym.jets.io.formats`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jetsym.jets.io.formats  # noqa: F401 - whose formats register themselves
from jetsym.jets.io.formats.base import FORMATS, Format, format_of, readable, register
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.remote import File

if TYPE_CHECKING:
    from jetsym.jets.io.mapping.tree_mapping import TreeMapping

__all__ = [
    "FORMATS",
    "FileIndex",
    "Format",
    "JetReader",
    "count_jets",
    "index_file",
    "readable",
    "register",
    "types_of",
]


def index_file(path: File, mapping: TreeMapping | None = None) -> FileIndex:
    """Read where everything in a file lies; with a mapping, in any tree of one entry per jet.

    Raises
    ------
    DataError
        If the file is missing, is not what its name says, is damaged, or lacks the tree, jets or a branch.
    """
    if mapping is not None:
        from jetsym.jets.io.mapping.mapped_reader import index_mapped

        return index_mapped(path, mapping)
    form = format_of(path)
    with explained(path):
        return form.index(path)


def count_jets(path: File, mapping: TreeMapping | None = None) -> int:
    """Return the number of jets of a file, from its header alone if that has it, or of those that a mapping selects.

    Raises
    ------
    DataError
        If the file is missing, is not what its name says, is damaged, or lacks the tree.
    """
    count = None if mapping is not None else format_of(path).count
    if count is None:
        return index_file(path, mapping).n_jets
    with explained(path):
        return count(path)


def types_of(path: File, mapping: TreeMapping | None = None) -> dict[str, str]:
    """Return the types of a file's branches by name, or, where they are not known, the names of those that are read."""
    types = None if mapping is not None else format_of(path).types
    if types is None:
        layout = index_file(path, mapping).layout
        return dict.fromkeys((*layout.ragged, *layout.labels), "")
    with explained(path):
        return types(path)
