"""Scratch: copies of files on a disk of this machine, made ahead of being read, of no more bytes than asked for.

All processes that name the same folder share its copies and its bytes. Nothing says who uses what but locks on the
copies themselves (``flock``), which go with their process, however it ends: a copy that nobody holds is a leftover,
and goes as soon as somebody begins, ends, or needs its room. What has no room is read where it lies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import BinaryIO, Literal, cast

from jetsym.errors import ConfigError, DataError
from jetsym.files import Inputs, check_out
from jetsym.jets.io.copies import COPIES
from jetsym.jets.io.oddities import plural
from jetsym.jets.io.paths import would_be_read
from jetsym.jets.io.remote import File, RemoteFile, open_remote

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

__all__ = ["Original", "Scratch", "number_of_bytes"]

#: Copies that one process holds at most, each an open file.
_MOST = 256
#: Seconds after which room that another process may have made is looked for again.
_AGAIN = 0.2
#: Seconds that a piece of a file may take at the end.
_PATIENCE = 10.0
#: Bytes that are copied at a time.
_PIECE = 1 << 22
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def number_of_bytes(text: str | int) -> int:
    """Read a number of bytes.

    Raises
    ------
    ConfigError
        It is none, or not more than 0.

    Examples
    --------
    >>> number_of_bytes("1.5 GB"), number_of_bytes("20000")
    (1500000000, 20000)
    """
    words = str(text).strip()
    unit = next((unit for unit in _UNITS if words.endswith(unit)), "")
    try:
        found = float(words.removesuffix(unit)) * _UNITS.get(unit, 1)
        if 1 <= found < float("inf"):
            return int(found)
    except ValueError:
        pass
    raise ConfigError(f"--scratch_size is {text!r}; expected a number of bytes, such as 20000000000 or 20GB")


@dataclass(frozen=True)
class Original:
    """A file to be copied: its size in bytes, and the number that changes when it does, as indexed."""

    file: File
    size: int
    stamp: int

    @property
    def name(self) -> str:
        """Name of its copy, the same in all processes."""
        place = str(self.file.resolve() if isinstance(self.file, Path) else self.file)
        digest = hashlib.sha256(f"{place} {self.size} {self.stamp}".encode()).hexdigest()[:16]
        return f"{self.file.stem[:64]}-{digest}{self.file.suffix}"

    def open(self) -> BinaryIO:
        """Open the file, which must be as it was indexed."""
        if isinstance(self.file, RemoteFile):
            opened, size, stamp = open_remote(self.file, ahead=True)
        else:
            opened = self.file.open("rb")
            status = os.fstat(opened.fileno())
            size, stamp = status.st_size, status.st_mtime_ns
        if (size, stamp) != (self.size, self.stamp):
            opened.close()
            raise DataError(f"{self.file}: has changed since it was first opened")
        return opened


@dataclass
class _Shared:
    """What the threads of a process know of its copies; guarded by ``change``."""

    folder: Path
    size: int
    made: bool
    change: Condition = field(default_factory=Condition)
    #: Files that are still to be read, and how often; those that are to be copied, in this order.
    left: Counter[File] = field(default_factory=Counter)
    queue: dict[File, Original] = field(default_factory=dict)
    #: Open copies, which nobody removes.
    held: dict[File, tuple[Path, BinaryIO]] = field(default_factory=dict)
    #: Files that found no room.
    elsewhere: set[File] = field(default_factory=set)
    full: bool = False
    given_up: bool = False
    plan: int = 0
    closed: bool = False
    said: bool = False
    threads: list[Thread] = field(default_factory=list)


class Scratch:
    """Copies of files in a folder of this machine.

    Parameters
    ----------
    folder
        Where a folder of this user's is made for the copies, such as a local ``/tmp``.
    size
        Bytes of all copies at most, of all processes together; by default half of what is free there.
    inputs
        What is read, as a user names it; the folder must not lie among it.

    Raises
    ------
    ConfigError
        Nothing can be written there, or what is there would be read as data.
    """

    def __init__(self, folder: str | Path, *, size: str | int | None = None, inputs: Inputs = None) -> None:
        if fcntl is None:
            raise ConfigError(f"--scratch is {str(folder)!r}, which needs the file locks of POSIX, not to be had here")
        place = Path(folder).expanduser().absolute()
        if place.exists() and not place.is_dir():
            raise ConfigError(f"--scratch is {str(folder)!r}, which is a file; expected a folder")
        own = check_out(place / f"jetsym-scratch-{os.getuid()}", folder=True)
        for one in () if inputs is None else inputs if isinstance(inputs, list | tuple) else (inputs,):
            if one is not None and would_be_read(own / "copy.root", one):
                raise ConfigError(
                    f"--scratch is {str(folder)!r}, where copies would be read as jets with {one}; choose a folder "
                    "outside of the data"
                )
        made = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(place).free // 2 if size is None else number_of_bytes(size)
        self._shared = _Shared(own, room, made)
        with _alone(own):
            _make_room(own, -1)  # of what killed processes have left
        self._end = weakref.finalize(self, _finish, self._shared)

    def expect(self, visits: Sequence[Original]) -> None:
        """Begin to copy what will be read, one file after the other in this order; a file may come several times.

        Files that were expected before, and are not among these, are given back.
        """
        shared = self._shared
        with shared.change:
            shared.plan += 1
            shared.left = Counter(one.file for one in visits)
            shared.queue = {one.file: one for one in visits}
            if visits:
                shared.elsewhere.clear()
            shared.full = False
            for file in [*shared.held]:
                if file in shared.left:
                    shared.queue.pop(file, None)
                else:
                    _release(shared, file)
            shared.change.notify_all()
            shared.threads = [one for one in shared.threads if one.is_alive()]
            if shared.queue and not shared.given_up:
                shared.threads.append(Thread(target=_copy_all, args=(shared, shared.plan), daemon=True))
                shared.threads[-1].start()

    @contextmanager
    def reading(self, file: File) -> Iterator[None]:
        """Let a file that is expected be read at its copy, once that is there, while the block runs."""
        shared = self._shared
        with shared.change:
            _await(shared, file)
            if file in shared.held:
                COPIES[file], _ = shared.held[file]
                if not COPIES[file].exists():  # someone has cleaned up
                    _release(shared, file)
        try:
            yield
        finally:
            with shared.change:
                shared.left[file] -= 1
                if shared.left[file] <= 0 and file in shared.held:
                    _release(shared, file)
                shared.change.notify_all()

    def keep(self, originals: Sequence[Original]) -> None:
        """Copy files, and keep the copies until the end, as far as there is room."""
        self.expect([one for one in originals if one.size])
        for one in originals:
            with self._shared.change:
                _await(self._shared, one.file)
        self.say(len(originals))

    def say(self, files: int) -> None:
        """Say once how many of the files have found no room, if any."""
        shared = self._shared
        if shared.elsewhere and not shared.given_up and not shared.said:
            shared.said = True
            found = f"{len(shared.elsewhere):,} of {plural(files, 'file')}"
            _note(f"{found} had no room in {shared.size:,} bytes, and were read where they lie")

    def close(self) -> None:
        """Remove the copies that no other process uses."""
        self._end()


def _note(text: str) -> None:
    print(f"note: --scratch: {text}", file=sys.stderr, flush=True)


def _await(shared: _Shared, file: File) -> None:
    """Wait until a file is copied, or is not going to be, with ``change`` held."""
    while file in shared.queue and not shared.full and not shared.given_up:
        shared.change.wait()
    if shared.queue.pop(file, None) is not None:
        shared.elsewhere.add(file)


def _copy_all(shared: _Shared, plan: int) -> None:
    """Copy the files of a plan, in a thread of its own, as long as it is the last one."""
    while True:
        with shared.change:
            if shared.plan != plan or shared.given_up or not shared.queue:
                shared.change.notify_all()
                return
            original = next(iter(shared.queue.values()))
        found: BinaryIO | str | None = None
        try:
            if original.size <= shared.size:
                found = _copied(shared, original)
        except DataError:  # reading it says why
            pass
        except Exception as error:  # of the disk, or of a protocol, each of which has its own
            found = "given up"
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
            _note(f"{original.file} was not copied ({reason}); files are read where they lie")
        with shared.change:
            if isinstance(found, str):
                shared.full, shared.given_up = found == "full", shared.given_up or found == "given up"
                shared.change.notify_all()
                shared.change.wait(0 if found == "given up" else _AGAIN)
                continue
            shared.full = False
            if shared.plan != plan or original.file not in shared.queue:
                if found is not None:
                    found.close()
                continue
            if found is None:
                shared.elsewhere.add(original.file)
            else:
                COPIES[original.file] = shared.folder / original.name
                shared.held[original.file] = COPIES[original.file], found
            del shared.queue[original.file]
            shared.change.notify_all()


def _copied(shared: _Shared, original: Original) -> BinaryIO | Literal["full", "busy"] | None:
    """Return the copy of a file, held so that nobody removes it; "full" without room, "busy" if another makes it.

    None where the copy cannot stand for the file.
    """
    final = shared.folder / original.name
    part = final.with_name(f".{final.name}.part")
    with _alone(shared.folder):
        if final.exists():
            return _expect_whole(_hold(final, fcntl.LOCK_SH), original)
        if part.exists() and not _remove(part):
            return "busy"
        if len(shared.held) >= _MOST or not _make_room(shared.folder, shared.size - original.size):
            return "full"
        file = part.open("w+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(original.size)  # is counted by others from now on
    try:
        if hasattr(os, "posix_fallocate") and original.size:
            os.posix_fallocate(file.fileno(), 0, original.size)
        with original.open() as source:
            while piece := source.read(_PIECE):
                file.write(piece)
                if shared.closed:
                    raise DataError("there is nobody left to read the copy")
        file.flush()
        if file.tell() != original.size:
            raise DataError(f"{original.file}: has changed while it was copied")
        os.utime(part, ns=(original.stamp, original.stamp))
        with _alone(shared.folder):
            fcntl.flock(file, fcntl.LOCK_SH)
            part.rename(final)
    except BaseException:
        part.unlink(missing_ok=True)
        file.close()
        raise
    return _expect_whole(cast("BinaryIO", file), original)


def _expect_whole(file: BinaryIO, original: Original) -> BinaryIO | None:
    """Close what has not the size and the time of the original, as readers compare these."""
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) == (original.size, original.stamp):
        return file
    file.close()
    return None


def _make_room(folder: Path, allowed: int) -> bool:
    """Remove copies that nobody holds, the oldest first, until those left have no more than some bytes."""
    found = [(one, one.stat()) for one in folder.iterdir()]
    used = sum(status.st_size for _, status in found)
    for one, status in sorted(found, key=lambda pair: pair[1].st_ctime_ns):
        if used <= allowed:
            break
        if _remove(one):
            used -= status.st_size
    return used <= allowed


def _remove(path: Path) -> bool:
    """Remove a copy, or a part of one, unless some process holds it."""
    with suppress(BlockingIOError), _hold(path, fcntl.LOCK_EX):
        path.unlink()
        return True
    return False


def _hold(path: Path, how: int) -> BinaryIO:
    file = path.open("rb")
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that makes or removes copies in a folder, which is made if it is not there."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            place = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another has removed it
            continue
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            there = folder.exists() and os.path.samestat(os.fstat(place), folder.stat())
            if there:
                yield
                return
        finally:
            os.close(place)


def _release(shared: _Shared, file: File) -> None:
    """Give a copy back; it stays until its room is needed."""
    COPIES.pop(file, None)
    shared.held.pop(file)[1].close()


def _finish(shared: _Shared) -> None:
    """Give all copies back, and remove what no other process holds."""
    with shared.change:
        shared.plan, shared.closed = shared.plan + 1, True
        shared.queue.clear()
        for file in [*shared.held]:
            _release(shared, file)
        shared.change.notify_all()
    for thread in shared.threads:
        thread.join(_PATIENCE)
    with suppress(OSError):
        with _alone(shared.folder):
            _make_room(shared.folder, -1)
            with suppress(OSError):  # others have copies there
                shared.folder.rmdir()
        if shared.made:
            shared.folder.parent.rmdir()
