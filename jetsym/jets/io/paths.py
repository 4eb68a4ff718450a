"""Paths that users name (files, patterns, directories), and the files of jets that they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from jetsym.errors import DataError
from jetsym.jets.io.registry import FORMATS, readable
from jetsym.jets.io.remote import File, RemoteFile, is_remote

__all__ = ["Paths", "jet_files", "local_files"]

#: A file, a glob pattern, a directory, or a sequence of these.
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def local_files(paths: Paths) -> list[Path]:
    """List the files meant by a path, a glob pattern, a directory, or a sequence of these.

    Parameters
    ----------
    paths
        A pattern gives what it matches, sorted by name (``**`` descends); a directory all ``*.root`` below it,
        sorted by path (else all files of the next format that is there); a sequence keeps its own order. A file that
        is named twice is listed once.

    Raises
    ------
    DataError
        If something named does not exist, or a pattern, a directory or the sequence holds no file.

    Examples
    --------
    >>> local_files([])
    Traceback (most recent call last):
    ...
    jetsym.errors.DataError: no paths to read; expected a ROOT file, a pattern, a directory or a sequence of these
    """
    files: list[Path] = []
    for file in jet_files(paths):
        if isinstance(file, RemoteFile):
            raise DataError(f"{file}: is on another machine; expected files on this one: fetch it first")
        files.append(file)
    return files


def jet_files(paths: Paths) -> list[File]:
    """List files as :func:`local_files` does, for readers that take addresses (https, http, s3, root) as well.

    Examples
    --------
    >>> print(*jet_files(["https://example.org/b.root", "https://example.org/a.root", "https://example.org/b.root"]))
    https://example.org/b.root https://example.org/a.root
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not named:
        raise DataError("no paths to read; expected a ROOT file, a pattern, a directory or a sequence of these")
    files: dict[File, File] = {}
    for path in named:
        if isinstance(path, str) and is_remote(path):
            if "*" in path:
                raise DataError(f"{path}: patterns work on this machine only; name the files one by one")
            files.setdefault(RemoteFile(path), RemoteFile(path))
            continue
        for file in _expand(Path(path).expanduser()):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        for one in FORMATS.values():
            if found := sorted(file for end in one.suffixes for file in path.rglob(f"*{end}") if file.is_file()):
                return found
        raise DataError(
            f"{path}: no *.root files in this directory or below, nor others; expected at least one of {readable()}"
        )
    if path.exists():
        return [path]
    if any(character in str(path) for character in "*?["):
        # pathlib globs only relative patterns, so an absolute one is taken apart at its root.
        matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not matches:
            raise DataError(f"{path}: no file matches this pattern (seen from {Path.cwd()}); check it with ls")
        return [file for match in matches for file in _expand(match)]
    raise DataError(
        f"{path}: no such file (seen from {Path.cwd()}); expected one of {readable()}, a pattern or a directory"
    )
