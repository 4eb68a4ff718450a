"""The table of formats: each registers itself here, and says which files are of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsym.errors import DataError, expect_a
from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.table import OpenTable
from jetsym.jets.io.remote import File, RemoteFile

__all__ = ["FORMATS", "Format", "format_of", "readable", "register"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files of jets.

    Parameters
    ----------
    name
        As messages call it.
    suffixes
        Of its files, with the dot; several formats may have the same.
    index
        From a file to where everything in it lies, with a reader of its own; see
        :class:`jetsym.jets.io.formats.index.JetReader`.
    look
        Whether an opened file of such a suffix is of this format; None where it is whatever other formats are not.
    remote
        Whether files on other machines are read.
    table
        From a file and the name of a tree or group, None for the only one, to its open table, with which mappings
        read other columns than JetClass's; see :class:`jetsym.jets.io.formats.table.Table`. None where they do not.
    """

    name: str
    suffixes: tuple[str, ...]
    index: Callable[[Any], FileIndex]
    look: Callable[[Path], bool] | None = None
    remote: bool = False
    table: OpenTable | None = None


#: Name -> format, in the order in which directories are searched for them.
FORMATS: dict[str, Format] = {}


def register(new: Format) -> Format:
    """Register a format, or refuse what is none with a ConfigError; one of the same name is replaced."""
    expect_a("format", new, Format)
    FORMATS[new.name] = new
    return new


def format_of(path: File) -> Format:
    """Find the format of a file, from its suffix and, where several formats have it, from a look at what is in it.

    A file of an unknown suffix is taken for a ROOT file, and refused as such if it is none.

    Raises
    ------
    DataError
        It is on another machine, from where its format is not read.
    """
    found = [one for one in FORMATS.values() if path.suffix in one.suffixes] or [FORMATS["ROOT"]]
    local = path if isinstance(path, Path) else None
    looked = (one for one in found if one.look is not None and local is not None and one.look(local))
    chosen = next(looked, None) or next((one for one in found if one.look is None), found[0])
    if isinstance(path, RemoteFile) and not chosen.remote:
        known = " and ".join(one.name for one in FORMATS.values() if one.remote)
        raise DataError(f"{path}: is on another machine, from where only {known} files are read; fetch it first")
    return chosen


def readable() -> str:
    """List the formats with their suffixes, for messages.

    Examples
    --------
    >>> readable()
    'ROOT (.root), RNTuple (.root), Parquet (.parquet), HDF5 (.h5, .hdf5), NumPy (.npz)'
    """
    return ", ".join(f"{one.name} ({', '.join(one.suffixes)})" for one in FORMATS.values())
