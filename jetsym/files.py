"""Files that are written whole or not at all, what killed writers left of them, and places that can be written to."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from jetsym.errors import ConfigError, DataError, lacks_explained
from jetsym.reading import as_json, expect_path, expect_regular

__all__ = [
    "UNFINISHED",
    "Inputs",
    "check_out",
    "checksum",
    "expect_data",
    "fingerprint_of",
    "finished_file",
    "is_hidden",
    "is_unfinished",
    "mark_finished",
    "mark_unfinished",
    "recorded",
    "remove_leftovers",
    "write_atomically",
    "write_json",
]

#: What is read: paths, patterns, several of them, or none.
Inputs = str | os.PathLike[str] | Iterable[Any] | None

#: A file that says of a folder that the files in it are not all there yet.
UNFINISHED = "unfinished.txt"

#: The name of an unfinished file: what it will be called, host and number of the process; older versions gave no
#: host. The suffix stays last, as some writers choose the format by it.
_NAME = re.compile(r"\.(?P<stem>.+)\.((?P<host>[\w-]+)-)?(?P<process>\d+)\.part(?P<suffix>\.[^.]*)?", re.DOTALL)
_HOST = re.sub(r"[^\w-]", "_", socket.gethostname().partition(".")[0])[:32] or "localhost"

#: Unfinished files that this process is writing.
_WRITING: set[Path] = set()

#: Lists of the files that have been written, of those who want to know.
_RECORDS: list[list[Path]] = []

#: Seconds after which nobody is taken to write a file any more whose process is on another machine.
_GIVEN_UP = 86_400.0
#: Bytes of each place of a file that its fingerprint is of.
_PIECE = 65_536
#: Bytes that a place must have room for.
_TRIAL = 2048


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, which takes its name only if the block ends without an error.

    It is on the disk before it takes the name, so that after a power cut there is the whole file, or what was there
    before. It may be read as the umask says, whatever the library does that writes it. What killed processes left of
    the same file is removed, see :func:`remove_leftovers`.

    Raises
    ------
    ResourceError
        The disk is full, or the machine lacks something else; what stood under the name still does.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with finished_file(folder / "numbers.txt") as unfinished:
    ...     _ = unfinished.write_text("1 2 3")
    >>> [file.name for file in folder.iterdir()]
    ['numbers.txt']
    """
    final = Path(path).expanduser()
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a file cannot be written where a folder is", str(final))
    if final.exists() and not final.is_file():
        raise FileExistsError(errno.EEXIST, "a device cannot be replaced by a file", str(final))
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final)
    # Host and process keep two writers of the same file apart: the last one to finish wins, neither is torn.
    unfinished = _unfinished(final)
    _WRITING.add(unfinished.absolute())
    kept = "what was there before is unchanged" if final.exists() else "nothing is there under that name"
    try:
        with lacks_explained(f"{final} could not be written ({kept})"):
            mode = _usual_mode(unfinished)
            yield unfinished
            _settle(unfinished, mode)
            unfinished.replace(final)
            _sync(final.parent)
            for record in _RECORDS:
                record.append(final)
    finally:
        unfinished.unlink(missing_ok=True)
        _WRITING.discard(unfinished.absolute())


@contextmanager
def recorded() -> Iterator[list[Path]]:
    """Give a list of the files that :func:`finished_file` writes within the block, in their order.

    Examples
    --------
    >>> import tempfile
    >>> with recorded() as written:
    ...     _ = write_atomically(Path(tempfile.mkdtemp(), "a.txt"), "a")
    >>> [path.name for path in written]
    ['a.txt']
    """
    record: list[Path] = []
    _RECORDS.append(record)
    try:
        yield record
    finally:
        _RECORDS[:] = [one for one in _RECORDS if one is not record]


def _usual_mode(trial: Path) -> int:
    """Return the rights of a file that is made here, which asking for the umask itself would change for a moment."""
    trial.touch()
    mode = stat.S_IMODE(trial.stat().st_mode)
    trial.unlink()
    return mode


def _settle(path: Path, mode: int) -> None:
    """Bring a file that has been written to the disk, with the usual rights."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system knows how to."""
    if path.is_dir() and (os.name == "nt" or not os.access(path, os.R_OK)):
        return
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # file systems that know nothing of it
            raise
    finally:
        os.close(place)


def write_atomically(path: str | Path, text: str) -> Path:
    """Write a text file (UTF-8), whole or not at all; return its path."""
    with finished_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return Path(path).expanduser()


def write_json(path: str | Path, values: Any) -> Path:
    """Write plain values as JSON to be read by people as well, whole or not at all; return its path.

    JSON has no numbers but finite ones: see :func:`as_json`.
    """
    return write_atomically(path, json.dumps(as_json(values), indent=1, allow_nan=False) + "\n")


def checksum(path: str | Path, algorithm: str = "sha256") -> str:
    """Compute the checksum of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def fingerprint_of(path: Path) -> str:
    """Digest a file's size and what stands at its beginning, in its middle and at its end: its contents, not its place.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_text("jets"), (folder / "b").write_text("jets"), (folder / "c").write_text("jest")
    >>> [fingerprint_of(folder / name) == fingerprint_of(folder / "a") for name in "bc"]
    [True, False]
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in (0, size // 2, max(0, size - _PIECE)):
            file.seek(place)
            digest.update(file.read(_PIECE))
    return digest.hexdigest()[:16]


def check_out(path: str | os.PathLike[str], *, inputs: Inputs = None, folder: bool = False) -> Path:
    """Refuse, before any work is done, a place that cannot be written to, or where what is read would be lost.

    Some bytes are written there and removed again. What killed processes left of the file is removed as well.

    Parameters
    ----------
    path
        The file to write, which may be there already; or with ``folder`` the folder.
    inputs
        What is read, as a user names it: paths, patterns, or lists of these; None, and what is not there, is left out.
    folder
        Expect a folder, which must neither be one of the inputs nor hold one.

    Returns
    -------
    Path
        The path, with ``~`` expanded.

    Raises
    ------
    ConfigError
        It is a folder where a file is expected, or the other way around; a device; write-protected; it lies in what is
        no folder; nothing can be written there; or it is one of the inputs, by whatever name or link.

    Examples
    --------
    >>> import tempfile
    >>> report = Path(tempfile.mkdtemp(), "report.json")
    >>> check_out(report) == report, report.exists()
    (True, False)
    >>> check_out(report.parent)
    Traceback (most recent call last):
    ...
    jetsym.errors.ConfigError: out is '/tmp/...', which is a folder; expected the name of a file
    """
    expect_path("out", path, ConfigError)
    final, said = Path(path).expanduser(), f"out is {os.fspath(path)!r}"
    try:
        mode = final.stat().st_mode if final.exists() else None
        if mode is not None:
            _check_kind(mode, said, folder=folder)
            _check_inputs(final, said, inputs, folder=folder)
        place = final if folder else final.parent
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise ConfigError(f"{said}, but {str(place)!r} is a file; expected a folder")
        trial = _unfinished(place / "trial" if folder else place / final.name)
        remove_leftovers(trial.parent if folder else place / final.name)
        before = trial.parent.stat()
        try:
            with trial.open("wb") as file:
                file.write(bytes(_TRIAL))
                file.flush()
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
        with suppress(OSError):  # as if nothing had been there: the folder may be another process's to write to
            os.utime(trial.parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{said}, where nothing can be written ({reason}); choose another place") from error
    return final


def _check_kind(mode: int, said: str, *, folder: bool) -> None:
    """Refuse what is there and cannot be replaced, or written into."""
    if folder and not stat.S_ISDIR(mode):
        raise ConfigError(f"{said}, which is a file; expected a folder to write to")
    if not folder and not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device"
        raise ConfigError(f"{said}, which is {what}; expected the name of a file")
    if not folder and not mode & 0o222:
        raise ConfigError(f"{said}, which is write-protected; choose another name, or allow it with chmod u+w")


def _check_inputs(out: Path, said: str, inputs: Inputs, *, folder: bool) -> None:
    """Refuse to write over an input, or into a folder that is one or holds one."""
    for given in _named(inputs):
        if not folder:
            if given.samefile(out):
                raise ConfigError(f"{said}, one of the files to read, which would be lost; choose another name")
            continue
        # Where a link is, and where it leads to.
        places = {given.parent.resolve() / given.name, given.resolve()}
        if any(one.samefile(out) for place in places for one in (place, *place.parents)):
            raise ConfigError(f"{said}, but {given} is there, which is to be read; choose another folder")


def _named(inputs: Inputs) -> Iterator[Path]:
    """Give what is there of the files and folders that a user names."""
    if inputs is None:
        return
    if not isinstance(inputs, str | os.PathLike):
        for one in inputs:
            yield from _named(one)
        return
    path = Path(inputs).expanduser()
    if path.exists():
        yield path
    elif any(character in str(path) for character in "*?["):
        yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))


def is_hidden(name: str) -> bool:
    """Tell whether a name is that of a hidden file or of an editor's copy, which are never data.

    Examples
    --------
    >>> [is_hidden(name) for name in ("a.root", ".a.root", "._a.root", ".nfs000a1", "a.root~")]
    [False, True, True, True, True]
    """
    return name.startswith(".") or name.endswith("~")


def is_unfinished(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name is that of a file that :func:`finished_file` has not finished.

    Examples
    --------
    >>> is_unfinished(".TTBar_000.4711.part.root"), is_unfinished("TTBar_000.root")
    (True, False)
    """
    return _NAME.fullmatch(Path(path).name) is not None


def expect_data(file: Path) -> None:
    """Refuse a file that was never finished, and what macOS writes beside a file on other disks.

    Raises
    ------
    DataError
        By its name it is one of these, or it is a pipe, a device, or a link that leads nowhere.
    """
    if is_unfinished(file):
        raise DataError(f"{file} was being written and is not whole; expected a finished file: write it again")
    try:
        expect_regular(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    if file.name.startswith("._"):
        raise DataError(f"{file} holds what macOS notes on {file.name[2:]!r}, and no data; name that file instead")


def mark_unfinished(folder: Path, *, command: str) -> None:
    """Say in a folder that not all of its files are there yet, so that they are not read as if they were all."""
    write_atomically(
        folder / UNFINISHED,
        f"Not all files are here yet: {command} is writing them, or was stopped. Run the same command again: it goes "
        "on, and removes this file when they are all there. Or remove it, to read those that are.\n",
    )


def mark_finished(folder: Path) -> None:
    """Take back what :func:`mark_unfinished` has said."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def remove_leftovers(place: str | Path) -> None:
    """Remove what killed processes left behind while they wrote a file, or any file in a folder.

    What a process that runs is writing stays. Of processes on other machines that cannot be told: what they left goes
    when nothing has been written to it for a day.
    """
    place = Path(place)
    folder = place if place.is_dir() else place.parent
    for left in folder.iterdir() if folder.is_dir() else ():
        found = _NAME.fullmatch(left.name)
        if found is None or (folder != place and (found["stem"], found["suffix"] or "") != (place.stem, place.suffix)):
            continue
        try:
            written = left.lstat().st_mtime
        except FileNotFoundError:  # it has just been finished, or removed
            continue
        if not _is_being_written(left, found["host"] or _HOST, int(found["process"]), written):
            left.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{_HOST}-{os.getpid()}.part{path.suffix}")


def _is_being_written(path: Path, host: str, process: int, written: float) -> bool:
    """Tell whether a process may still be writing a file that was last written to at a time."""
    if host != _HOST:
        return time.time() - written < _GIVEN_UP
    if process == os.getpid():
        return path.absolute() in _WRITING
    try:
        writer = psutil.Process(process)
        # One that began later is another one, of the same number; a zombie has ended.
        return bool(writer.create_time() < written + 1.0 and writer.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, OverflowError):
        return False
    except psutil.Error:  # it may not be asked
        return True
