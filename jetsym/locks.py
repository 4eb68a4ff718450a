"""One writer at a time for a folder, among the processes of this machine and of others that share its file system.

Whoever writes into a folder over some time holds a hidden file in it, ``.jetsym.lock``, which names the machine, the
process, since when and for what. Nobody waits for it: who comes second ends at once, with an error that says all this.
Readers do not look at it.

A lock whose holder has ended is taken over. On the holder's own machine its process number and its start time tell, at
once. From another machine one can only see its beat: the holder touches the file every :data:`BEAT` seconds, and a lock
that is the same in :data:`LOOKS` looks, a second apart, has lost its holder. No clocks are compared, as those of two
machines differ; and a look that hangs, as on a file server that does not answer, counts as one. So a job that a batch
system has killed and starts again on another machine goes on after a minute. Containers with process numbers of their
own count as machines.

Of several that take over the same lock one goes on: the lock is replaced, in one step, by the one that holds a lock on
this very step, whose name contains what is unique to the lock that is replaced.

Limits: a holder that stands still for a minute (suspended, or cut off from the file system) loses its folder to a
process on another machine; it notices at its next beat, and ends with an error. The file system must create files
exclusively, as all do but version 2 of NFS.
"""

from __future__ import annotations

import _thread
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil

from jetsym.errors import ConfigError, LockedError, TerminatedError
from jetsym.files import write_atomically
from jetsym.reading import parse_json

__all__ = ["Holder", "locked"]

#: What the lock of a whole folder is called, with a dot before and ``.lock`` after it.
NAME = "jetsym"
#: Seconds from one beat of a holder to the next.
BEAT = 5.0
#: How often another machine's lock is looked at, and the seconds from one look to the next.
LOOKS, LOOK = 60, 1.0
#: Start times of one process differ by no more than this, in seconds; numbers of processes come back much later.
_SAME_START = 10.0


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Parameters
    ----------
    host
        Name of its machine.
    machine
        What tells machines apart, and the starts of a machine, and containers with process numbers of their own.
    pid
        Its number.
    started
        When it was started, in seconds since the machine was.
    since
        When it got the lock, in UTC.
    purpose
        What it does, such as "jetsym train".
    token
        Unique to this lock.
    """

    host: str
    machine: str
    pid: int
    started: float
    since: str
    purpose: str
    token: str

    def runs(self) -> bool:
        """Tell whether a process of this machine still runs."""
        try:
            process = psutil.Process(self.pid)
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
            return abs(_age(process) - self.started) < _SAME_START
        except psutil.Error:  # it has ended, or is another user's and hidden
            return bool(psutil.pid_exists(self.pid))

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.pid} on {self.host}) since {self.since}"


@contextmanager
def locked(folder: str | Path, purpose: str, *, name: str = NAME) -> Iterator[None]:
    """Keep other processes from writing into a folder while the block runs.

    The folder is made if it is not there, and removed if it is empty in the end. Where nothing else handles SIGTERM,
    it ends the block, so that what the block has to clean up is.

    Parameters
    ----------
    folder
        The folder.
    purpose
        What is being done there, for the message to others.
    name
        The lock is ``.NAME.lock``; for a file, or some of the files in a folder, their name.

    Raises
    ------
    ConfigError
        There is a file in place of the folder.
    LockedError
        Another process holds the lock; nothing has been changed. Or this one has lost it, see above.
    TerminatedError
        The process was sent SIGTERM.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with locked(folder, "first"):
    ...     with locked(folder, "second"):
    ...         pass                                      # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jetsym.errors.LockedError: ... is being written by first (process ... on ...) since ...; wait until it has ended, \
or write elsewhere
    >>> list(folder.iterdir())
    []
    """
    path = Path(folder).expanduser() / f".{name}.lock"
    if path.parent.exists() and not path.parent.is_dir():
        raise ConfigError(f"out is {str(path.parent)!r}, which is a file; expected a folder to write to")
    made = [place for place in path.parents if not place.exists()]
    mine = _this_process(purpose)
    stop, lost = threading.Event(), threading.Event()
    try:
        with _ended_by_sigterm():
            try:
                other = _take(path, mine)
            except OSError as error:
                reason = f"where nothing can be written ({error.strerror}); choose another place"
                raise ConfigError(f"out is {str(path.parent)!r}, {reason}") from error
            if other is not None:
                what = path.parent if name == NAME else path.parent / name
                raise LockedError(f"{what} is being written by {other}; wait until it has ended, or write elsewhere")
            threading.Thread(target=_beat, args=(path, mine, stop, lost), daemon=True).start()
            yield
    except _Asked:
        raise TerminatedError(
            f"the process was asked to end (SIGTERM) while {purpose} wrote to {path.parent}; the same command goes on"
        ) from None
    except KeyboardInterrupt:
        if lost.is_set():
            raise LockedError(
                f"{path.parent} is no longer this process's to write to: its lock {path} was removed, or taken over by "
                "another machine after this process had stood still; look at what is there before you continue"
            ) from None
        raise
    finally:
        stop.set()
        _release(path, mine)
        for place in made:
            with suppress(OSError):  # it is not empty
                place.rmdir()


def _this_process(purpose: str) -> Holder:
    host = socket.gethostname()
    machine = [host]
    with suppress(OSError):  # there is no such file but on Linux
        machine.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        machine.append(str(Path("/proc/self/ns/pid").readlink()))
    return Holder(
        host=host,
        machine=" ".join(machine),
        pid=os.getpid(),
        started=_age(psutil.Process()),
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        purpose=purpose,
        token=uuid.uuid4().hex,
    )


def _age(process: psutil.Process) -> float:
    """Return the age of the machine when the process was started; setting the clock does not change it."""
    return float(process.create_time() - psutil.boot_time())


def _take(path: Path, mine: Holder) -> Holder | None:
    """Create a lock, or take over one that has lost its holder; return its holder, None where it is ours now."""
    seen, looks = 0, 0
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError, FileNotFoundError):  # the latter where another process has removed the folder
            file = path.open("x", encoding="utf-8")
            try:
                with file:
                    json.dump(asdict(mine), file)
            except BaseException:  # such as a full disk: no lock is better than one that cannot be read
                path.unlink()
                raise
            return None
        found = _look(path)
        if found is None:
            continue
        holder, touched = found
        if holder is not None and holder.machine == mine.machine:
            if holder.runs():
                return holder
        else:
            if holder is not None and looks and touched != seen:
                return holder
            seen, looks = touched, looks + 1 if touched == seen else 1
            if looks == 3 * BEAT // LOOK and holder is not None:
                words = f"{path.parent} was being written by {holder}; seeing for a minute whether it still is"
                print(words, file=sys.stderr, flush=True)
            if looks <= LOOKS:
                time.sleep(LOOK)
                continue
        if _replace(path, found, mine):
            return None
        time.sleep(LOOK / 20)


def _replace(path: Path, stale: tuple[Holder | None, int], mine: Holder) -> bool:
    """Put our lock in place of a stale one, unless another process has; tell whether it is there."""
    step = path.with_name(f"{path.name}.{stale[0].token if stale[0] else 'unreadable'}")
    if _take(step, mine) is not None:
        return False
    try:
        if _look(path) != stale:
            return False
        write_atomically(path, json.dumps(asdict(mine)))
    finally:
        step.unlink(missing_ok=True)
    return True


def _look(path: Path) -> tuple[Holder | None, int] | None:
    """Return the holder of a lock, None where it cannot be read, and when it was touched; None without a lock."""
    try:
        with path.open(encoding="utf-8") as file:  # opened, as it is then that NFS asks the server
            touched, text = os.fstat(file.fileno()).st_mtime_ns, file.read()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    try:
        holder = Holder(**parse_json(text))
        return (holder if holder.token.isalnum() else None), touched
    except (ValueError, TypeError, AttributeError):
        return None, touched


def _beat(path: Path, mine: Holder, stop: threading.Event, lost: threading.Event) -> None:
    """Touch a lock until it is released; where it is ours no more, end the main thread's work as Ctrl-C would."""
    while not stop.wait(BEAT):
        with suppress(OSError):  # the file system may come back
            found = _look(path)
            if found is None or found[0] != mine:
                if not stop.is_set():
                    lost.set()
                    if os.name == "nt":
                        _thread.interrupt_main()
                    else:  # wakes it as well
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
            os.utime(path)


def _release(path: Path, mine: Holder) -> None:
    """Remove a lock if it is ours, and what processes have left that were killed as they took it over."""
    with suppress(OSError):
        found = _look(path)
        if os.getpid() != mine.pid or found is None or found[0] != mine:  # a fork is not the holder
            return
        for step in path.parent.glob(f"{path.name}.*"):
            step.unlink(missing_ok=True)
        path.unlink()


class _Asked(BaseException):
    """The process was asked to end: no error, so that nothing takes it for a failure of its own."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise :class:`_Asked`, where it would end the process without cleaning up."""
    unhandled = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not unhandled or threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork
            os._exit(128 + number)
        raise _Asked

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
