"""The registry of formats: what can be asked of a file of jets, whatever its format.

A format registers itself with :func:`register`; those of jetsym stand in :mod:`jetsym.jets.io.formats`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jetsym.jets.io.formats  # noqa: F401 - whose formats register themselves
from jetsym.jets.io.folds import Fold, folded
from jetsym.jets.io.formats.base import FORMATS, Format, format_of, readable, register
from jetsym.jets.io.formats.cached import index_cache
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
    "index_file",
    "readable",
    "register",
]


def index_file(path: File, mapping: TreeMapping | None = None, fold: Fold | None = None) -> FileIndex:
    """Read where everything in a file lies, of the jets of a fold; with a mapping, in any tree of one entry per jet.

    Raises
    ------
    DataError
        If the file is missing, is not what its name says, is damaged, or lacks the tree, jets or a branch.
    """
    if isinstance(path, Path) and path.is_dir():
        index = index_cache(path, mapping)
    elif mapping is not None:
        from jetsym.jets.io.mapping.mapped_reader import index_mapped

        return index_mapped(path, mapping if fold is None else replace(mapping, fold=fold))
    else:
        form = format_of(path)
        with explained(path):
            index = form.index(path)
    return index if fold is None else folded(index, fold)
