"""From what a user names (files, patterns, directories) to a list of ROOT files that can be opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from jetsym.errors import DataError
from jetsym.jets.io.remote import RemoteFile, is_remote

__all__ = ["ARRAYS", "File", "Paths", "check_header", "check_root", "jet_files", "root_files"]

#: A file, a glob pattern, a directory, or a sequence of these.
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

#: Suffixes of files that hold padded arrays.
ARRAYS = (".npz", ".h5", ".hdf5")

#: A file of jets, on this machine or on another one.
File = Path | RemoteFile


def root_files(paths: Paths) -> list[Path]:
    """Files meant by a path, a glob pattern, a directory, or a sequence of these.

    Parameters
    ----------
    paths
        A pattern gives what it matches, sorted by name (``**`` descends); a directory all ``*.root`` below it,
        sorted by path (else all ``*.parquet``, ``*.h5`` or ``*.npz``); a sequence keeps its own order. A file that is
        named twice is listed once.

    Raises
    ------
    DataError
        If something named does not exist, or a pattern, a directory or the sequence holds no file.

    Examples
    --------
    >>> root_files([])
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
    """As :func:`root_files`, for readers that take addresses (https, http, s3, root) as well.

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
        found = sorted(file for file in path.rglob("*.root") if file.is_file())
        for other in ("*.parquet", "*.h5", "*.npz"):
            found = found or sorted(file for file in path.rglob(other) if file.is_file())
        if not found:
            raise DataError(f"{path}: no *.root files in this directory or below; expected at least one")
        return found
    if path.exists():
        return [path]
    if any(character in str(path) for character in "*?["):
        # pathlib globs only relative patterns, so an absolute one is taken apart at its root.
        matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not matches:
            raise DataError(f"{path}: no file matches this pattern (seen from {Path.cwd()}); check it with ls")
        return [file for match in matches for file in _expand(match)]
    raise DataError(f"{path}: no such file (seen from {Path.cwd()}); expected a ROOT file, a pattern or a directory")


def check_root(path: Path) -> None:
    """Refuse what cannot be a whole ROOT file, from its first bytes and its size alone.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, lacks the magic bytes, or is shorter than its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); expected a readable ROOT file") from error
    check_header(path, header, size)


def check_header(path: File, header: bytes, size: int) -> None:
    """As :func:`check_root`, from the first 20 bytes and the size."""
    if size == 0:
        raise DataError(f"{path}: empty (0 bytes); expected a ROOT file: fetch or write it again")
    if not header.startswith(b"root"):
        raise DataError(f"{path}: not a ROOT file; it begins with {header[:4]!r}, expected b'root'")
    # TFile's header: version, fBEGIN, fEND; the end is 8 bytes wide in files that have outgrown 2 GB.
    version = int.from_bytes(header[4:8], "big")
    end = int.from_bytes(header[12 : 20 if version >= 1_000_000 else 16], "big")
    if size < end or len(header) < 20:
        raise DataError(f"{path}: truncated: it holds {size} bytes, and its header says {end}; fetch or write it again")
