"""Opening ROOT files, here or on another machine, and what to say of those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import uproot

from jetsym.errors import DataError, JetsymError
from jetsym.jets.io.paths import File, check_header, check_root
from jetsym.jets.io.remote import RemoteFile, open_remote
from jetsym.jets.schema import TREE

__all__ = ["explained", "open_tree", "stamp_of"]


def stamp_of(path: File) -> tuple[int, int]:
    """Size of a file, and a number that changes when it does."""
    if isinstance(path, RemoteFile):
        opened, size, stamp = open_remote(path, ahead=False)
        opened.close()
        return size, stamp
    check_root(path)
    found = path.stat()
    return found.st_size, found.st_mtime_ns


#: uproot's classes as they came. A damaged file can put the classes that it describes itself in their place, for all
#: files that are opened after it; likewise the versions of a class.
CLASSES = dict(uproot.classes)
VERSIONS = {kind: dict(kind.known_versions) for kind in CLASSES.values() if hasattr(kind, "known_versions")}


@contextmanager
def open_tree(path: File, name: str | None = TREE) -> Iterator[Any]:
    """A tree of a file, by default JetClass's, as uproot's object; None for the only one that the file has.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, is damaged, or lacks the tree.
    """
    uproot.classes.update(CLASSES)
    for kind, versions in VERSIONS.items():
        kind.known_versions = dict(versions)
    with ExitStack() as stack:
        if isinstance(path, RemoteFile):
            remote, size, _ = open_remote(path, ahead=True)
            stack.enter_context(remote)
            with explained(path):
                header = remote.read(20)
                check_header(path, header, size)
                remote.seek(0)
                file = stack.enter_context(uproot.open(remote))
        else:
            check_root(path)
            with explained(path):
                # A dict keeps colons in names from being taken for a tree's.
                file = stack.enter_context(uproot.open({path: None}))
        with explained(path):
            trees = file.classnames(cycle=False)
            only = [each for each, kind in trees.items() if kind == "TTree"]
            name = only[0] if name is None and len(only) == 1 else name
            tree = file[name] if name in trees else None
        if not isinstance(tree, uproot.TTree):
            found = ", ".join(f"{each!r} ({kind})" for each, kind in trees.items()) or "nothing"
            wanted = (
                "no single TTree, so that its name has to be given" if name is None else f"no TTree called {name!r}"
            )
            raise DataError(f"{path}: {wanted}; the file holds {found}; expected one entry per jet there")
        yield tree


@contextmanager
def explained(path: File) -> Iterator[None]:
    """Whatever goes wrong inside uproot on a damaged file, of whatever type, becomes one DataError with the file."""
    try:
        yield
    except JetsymError:
        raise
    except Exception as error:
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
