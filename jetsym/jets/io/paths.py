"""Paths that users name (files, patterns, directories), and the files of jets that they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from jetsym.errors import DataError
from jetsym.files import UNFINISHED, expect_data, is_hidden
from jetsym.jets.io.formats.cached import is_cache
from jetsym.jets.io.registry import FORMATS, readable
from jetsym.jets.io.remote import File, RemoteFile, is_remote
from jetsym.reading import expect_path, read_text

__all__ = ["Paths", "data_in", "jet_files", "local_files", "would_be_read"]

#: What ends a line of a list.
_COMMENT = re.compile(r"(?:^|\s)#")
#: A path after a name and a colon; a single letter before it would be a drive.
_NAMED = re.compile(r"(?P<name>\w[\w+-]+):(?P<path>[^:].*)", re.DOTALL)

#: A file, a glob pattern, a directory, a cache, ``@LIST``, or a sequence of these.
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def local_files(paths: Paths) -> list[Path]:
    """List the files meant by a path, a glob pattern, a directory, or a sequence of these.

    Parameters
    ----------
    paths
        A pattern gives what it matches, sorted by name (``**`` descends); a directory all ``*.root`` below it,
        sorted by path (else all files of the next format that is there); a cache itself; ``@LIST`` what the lines of a
        text file name (those after # do not count, and relative paths begin at its folder); a sequence keeps its own
        order. A name before a path (``QCD:/data/QCD_*.root``), as weaver-core has it, says nothing here. A file that
        is named twice is listed once. Hidden files, in hidden folders too, and editors' copies (``x.root~``) are
        matched by no pattern and taken from no directory, unless a pattern names the hidden folder.

    Raises
    ------
    DataError
        If something named does not exist, or a pattern, a directory or the sequence holds no file; if a folder is not
        finished; or if a file that is named is none of data: one that was being written, or macOS's notes on another.

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
    named = _listed(paths)
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


def data_in(folder: Path) -> list[Path]:
    """List all files in a directory or below that are data by their names, of whatever format, sorted by path.

    Those of a directory that is not finished are listed as well.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.root", ".b.4711.part.root", "._b.root", "notes.txt", "a.parquet"):
    ...     (folder / name).touch()
    >>> [file.name for file in data_in(folder)]
    ['a.parquet', 'b.root']
    """
    endings = [end for one in FORMATS.values() for end in one.suffixes]
    return sorted({file for end in endings for file in _seen(folder, end, strict=False)})


def would_be_read(file: Path, paths: Paths) -> bool:
    """Tell whether a file, were it there, would be one of those that a directory or a pattern among the paths means."""
    named = _listed(paths)
    places = [Path(path).expanduser() for path in named if not (isinstance(path, str) and is_remote(path))]
    return any(
        file.resolve().is_relative_to(place.resolve())
        if place.is_dir()
        else file.absolute().match(str(place.absolute()))
        for place in places
    )


def _listed(paths: Paths) -> list[str | os.PathLike[str]]:
    """Take lists in text files apart (``@files.txt``), and the names before paths, as weaver-core has them, off."""
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    for path in named:
        expect_path("a path of jets", path)
    return [one for path in named for one in (_read_list(path) if _is_list(path) else [_unnamed(path)])]


def _is_list(path: str | os.PathLike[str]) -> bool:
    return str(path).startswith("@") and not Path(path).exists()


def _read_list(path: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """Read the paths of a text file, one a line; those that are not absolute begin at its folder."""
    file = Path(str(path)[1:]).expanduser()
    try:
        lines = [line.strip() for line in read_text(file).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: the list {file} cannot be read ({error}); expected a text file, a path a line"
        ) from error
    # Those of a Path raise where a line is longer than a name can be.
    lines = [line if os.path.exists(file.parent / line) else _COMMENT.split(line)[0].rstrip() for line in lines]  # noqa: PTH110
    found = [_unnamed(line, folder=file.parent) for line in lines if line]
    if not found:
        raise DataError(f"{path}: the list {file} names no files; expected a path, a pattern or a directory a line")
    # A list in a list would be one too many.
    if twice := next((line for line in found if str(line).startswith("@")), None):
        raise DataError(f"{path}: the list {file} names another list, {twice}; expected files, patterns or directories")
    return [one if is_remote(str(one)) else file.parent / Path(one).expanduser() for one in found]


def _unnamed(path: str | os.PathLike[str], *, folder: Path = Path()) -> str | os.PathLike[str]:
    """Take off the name of a group that weaver-core writes before a path: ``QCD:/data/QCD_*.root``.

    What is there under the whole name, colon and all, seen from a folder, is meant.

    Examples
    --------
    >>> [str(_unnamed(path)) for path in ("QCD:/data/*.root", "https://example.org/a.root", "a.root")]
    ['/data/*.root', 'https://example.org/a.root', 'a.root']
    """
    found = _NAMED.fullmatch(str(path)) if isinstance(path, str) else None
    if found is None or is_remote(str(path)) or (folder / path).exists() or _matching(folder / path):
        return path
    return found["path"]


def _matching(pattern: Path) -> list[Path]:
    """List what a pattern matches; pathlib globs only relative ones, so an absolute one is taken apart at its root."""
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        if is_cache(path):
            return [path]
        _expect_finished(path)
        for one in FORMATS.values():
            if found := sorted(file for end in one.suffixes for file in _seen(path, end)):
                for folder in {file.parent for file in found}:
                    _expect_finished(folder)
                return found
        raise DataError(
            f"{path}: no *.root files in this directory or below, nor others; expected at least one of {readable()}"
        )
    if path.exists():
        expect_data(path)
        return [path]
    if any(character in str(path) for character in "*?["):
        matches = _matching(path)
        shown = [match for match in matches if not any(map(is_hidden, {*match.parts} - {*path.parent.parts}))]
        if not shown:
            remedy = "those that do are hidden or unfinished" if matches else "check it with ls"
            raise DataError(f"{path}: no file matches this pattern (seen from {Path.cwd()}); {remedy}")
        for folder in {match.parent for match in shown}:
            _expect_finished(folder)
        return [file for match in shown for file in _expand(match)]
    raise DataError(
        f"{path}: no such file (seen from {Path.cwd()}); expected one of {readable()}, a pattern or a directory"
    )


def _seen(folder: Path, ending: str, *, strict: bool = True) -> Iterator[Path]:
    """Give the files in a directory or below whose names end so and are not hidden; links to directories are followed.

    Those that lead back to the directory itself are not, and no directory is entered twice. With ``strict`` what has
    such a name and cannot be read is an error: a link that leads nowhere, a pipe, a directory that may not be read.
    """

    def refuse(error: OSError) -> None:
        if strict:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    entered, start = set[str](), os.path.realpath(folder)
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        leads_back = place != str(folder) and Path(start).is_relative_to(real)
        if real in entered or leads_back:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if name.endswith(ending) and not is_hidden(name):
                file = Path(place, name)
                if strict:
                    expect_data(file)
                if file.is_file():
                    yield file


def _expect_finished(folder: Path) -> None:
    """Refuse a directory whose files are not all there yet."""
    if (folder / UNFINISHED).exists():
        raise DataError(
            f"{folder} is not finished, as {UNFINISHED} in it says; run the command that was writing it again, or name "
            "single files"
        )
