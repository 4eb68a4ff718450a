"""ROOT files opened, here or on another machine, and messages about those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uproot

from jetsym.errors import DataError, JetsymError, MissingDependencyError, ResourceError, lack_of, lacks_explained
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.base import readable
from jetsym.jets.io.remote import File, RemoteFile, open_remote
from jetsym.jets.schema import TREE
from jetsym.reading import expect_regular

__all__ = ["explained", "open_root", "open_tree", "stamp_of"]


def stamp_of(path: File) -> tuple[int, int]:
    """Return the size of a ROOT file, and a number that changes when it does."""
    if isinstance(path, RemoteFile):
        opened, size, stamp = open_remote(path, ahead=False)
        opened.close()
        return size, stamp
    return check_root(path)


#: uproot's classes as they came. A damaged file can put the classes that it describes itself in their place, for all
#: files that are opened after it; likewise the versions of a class.
CLASSES = dict(uproot.classes)
VERSIONS = {kind: dict(kind.known_versions) for kind in CLASSES.values() if hasattr(kind, "known_versions")}


@contextmanager
def open_root(path: File) -> Iterator[Any]:
    """Open a ROOT file as uproot's object.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, or is damaged.
    """
    uproot.classes.update(CLASSES)
    for kind, versions in VERSIONS.items():
        kind.known_versions = dict(versions)
    with ExitStack() as stack:
        if isinstance(place := place_of(path), RemoteFile):
            remote, size, _ = open_remote(place, ahead=True)
            stack.enter_context(remote)
            with explained(path):
                header = remote.read(20)
                check_header(path, header, size)
                remote.seek(0)
                file = stack.enter_context(uproot.open(remote))
        else:
            check_root(place)
            with explained(path):
                # A dict keeps colons in names from being taken for a tree's.
                file = stack.enter_context(uproot.open({place: None}))
        yield file


@contextmanager
def open_tree(path: File, name: str | None = TREE, *, kind: Any = uproot.TTree) -> Iterator[Any]:
    """Open a tree of a file, by default JetClass's, as uproot's object; None for the only one that the file has.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, is damaged, or lacks the tree.
    """
    with open_root(path) as file:
        with explained(path):
            trees = file.classnames(cycle=False)
            only = [each for each, found in trees.items() if found in ("TTree", "ROOT::RNTuple")]
            name = only[0] if name is None and len(only) == 1 else name
            tree = file[name] if name in trees else None
        if not isinstance(tree, kind):
            there = ", ".join(f"{each!r} ({found})" for each, found in trees.items()) or "nothing"
            wanted = (
                "no single TTree, so that its name has to be given" if name is None else f"no TTree called {name!r}"
            )
            raise DataError(f"{path}: {wanted}; the file holds {there}; expected one entry per jet there")
        yield tree


def check_root(path: Path) -> tuple[int, int]:
    """Refuse what cannot be a whole ROOT file, from its first bytes and its size alone; return size and time.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, lacks the magic bytes, or is shorter than its header says.
    """
    try:
        with lacks_explained(f"{path}: cannot be read"):
            expect_regular(path)
            found = path.stat()
            with path.open("rb") as file:
                header = file.read(20)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); expected a readable ROOT file") from error
    check_header(path, header, found.st_size)
    return found.st_size, found.st_mtime_ns


def check_header(path: File, header: bytes, size: int) -> None:
    """Refuse the same, from the first 20 bytes and the size."""
    if size == 0:
        raise DataError(f"{path}: empty (0 bytes); expected a ROOT file: fetch or write it again")
    if not header.startswith(b"root"):
        raise DataError(
            f"{path}: not a ROOT file; it begins with {header[:4]!r}, expected b'root': files are read as what their "
            f"names end in: {readable()}"
        )
    # TFile's header: version, fBEGIN, fEND; the end is 8 bytes wide in files that have outgrown 2 GB.
    version = int.from_bytes(header[4:8], "big")
    end = int.from_bytes(header[12 : 20 if version >= 1_000_000 else 16], "big")
    if size < end or len(header) < 20:
        raise DataError(f"{path}: truncated: it holds {size} bytes, and its header says {end}; fetch or write it again")


@contextmanager
def explained(path: File) -> Iterator[None]:
    """Turn whatever goes wrong inside a library on a damaged file, of whatever type, into a DataError with the file.

    What the machine lacks is no fault of the file, which is then not to be left out: that is a ResourceError, and a
    MissingDependencyError where it is a package, such as that of a compression.
    """
    try:
        yield
    except JetsymError:
        raise
    except ModuleNotFoundError as error:
        package, reason = error.name or "a package", " ".join(str(error).split())
        raise MissingDependencyError(f"{path}: cannot be read without {package}: {reason}") from error
    except Exception as error:
        lack = lack_of(error, memory=False)
        if lack is not None:
            raise ResourceError(f"{path}: cannot be read: {lack[0]}; {lack[1]}, and try again") from error
        reason = str(error).strip().partition("\n")[0]
        if isinstance(path, RemoteFile):
            raise DataError(
                f"{path}: cannot be read ({type(error).__name__}: {reason}); check the connection, and whether the "
                "file is whole"
            ) from error
        raise DataError(
            f"{path}: damaged or not readable ({type(error).__name__}: {reason}); "
            "check the file against its checksum, and fetch or write it again"
        ) from error
