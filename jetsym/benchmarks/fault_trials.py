"""One trial of a fault: a task in a forked process, with limits, and what became of it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import Any

import psutil
import torch

from jetsym.errors import JetsymError

__all__ = ["FAULTS", "OUTCOMES", "Ended", "Kill", "in_process", "judged"]

#: What becomes of a trial: what is allowed, and what is not.
OUTCOMES = ("refused", "right", "unchecked", "silent", "lost", "executed", "left behind", "raw")
FAULTS = OUTCOMES[3:]

#: Seconds and bytes of address space that a trial may take.
SECONDS, BYTES = 60, 16 << 30
#: What a process does about signals at first.
OWN_HANDLERS: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGALRM: signal.SIG_DFL,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}
#: Seconds by which processes may outlive the one that began them.
PATIENCE = 30.0
#: What audit events count as touching a file.
TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"})


@dataclass(frozen=True)
class Kill:
    """A signal, and when a process gets it.

    SIGINT reaches the processes that it has begun as well, as Ctrl-C does; the others reach it alone.

    Parameters
    ----------
    number
        Of the signal.
    touch
        How often files have been touched before.
    seconds
        The time that has passed, in place of the touches.
    """

    number: int
    touch: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        when = f"at touch {self.touch}" if self.seconds is None else f"after {self.seconds:.1f} s"
        return f"{signal.Signals(self.number).name} {when}"

    def strike(self) -> None:
        """Send it to this process."""
        if self.number == signal.SIGINT:
            os.killpg(0, self.number)
        else:
            os.kill(os.getpid(), self.number)


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Parameters
    ----------
    said
        What it returned; None where it raised or was killed.
    error
        The error's words, empty where there was none.
    is_ours
        Whether that is an error of jetsym, or a status of its command line with one line.
    killed_by
        The signal that ended the process, 0 if none.
    touches
        How often files in the folder were touched.
    is_struck
        Whether it was sent the signal that it was to get.
    survivors
        Processes that it had begun and that outlived it by more than they may.
    traceback
        The last line of a traceback that it, or one of these, has printed.
    """

    said: str | None
    error: str
    is_ours: bool
    killed_by: int
    touches: int
    is_struck: bool = False
    survivors: tuple[str, ...] = ()
    traceback: str = ""


def in_process(
    task: Callable[[], str],
    folder: Path,
    *,
    kill: Kill | None = None,
    room: int | None = None,
    seconds: int | None = None,
) -> Ended:
    """Do a task in a forked process, which leads a session of its own.

    Parameters
    ----------
    task
        Returns what it has found, in words.
    folder
        Where touches are counted.
    kill
        A signal, and when the process gets it.
    room
        Bytes that a file may have, as if the disk were full beyond.
    seconds
        What it may take; by default :data:`SECONDS`.
    """
    told, tell = os.pipe()
    shown = TemporaryFile()  # noqa: SIM115 (closed below, in the process that is not forked)
    process = os.fork()
    if not process:
        os.close(told)
        try:
            os.setsid()
            # What is shown would count as a file that has no room.
            _child(task, str(folder), tell, kill, room, seconds or SECONDS, shown.fileno() if room is None else None)
        finally:  # it goes on with nothing of what the process that is forked was doing
            os._exit(1)
    os.close(tell)
    _, status = os.waitpid(process, 0)
    survivors = _survivors(process)
    with shown:
        shown.seek(0)
        printed = shown.read().decode(errors="replace")
    os.set_blocking(told, False)  # others may have the end to write to
    with os.fdopen(told, "rb") as pipe:
        found = pipe.read() or b""
    touches, _, text = found.partition(b"\n")
    kind, _, words = text.decode(errors="replace").partition(" ")
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Ended(
        words if kind == "said" else None,
        words if kind in ("ours", "raw") else "" if kind == "said" else f"ended by signal {killed}",
        kind == "ours",
        killed,
        touches.count(b"."),
        b"!" in touches,
        survivors,
        printed.strip().splitlines()[-1][:200] if "Traceback (most" in printed else "",
    )


def _survivors(session: int) -> tuple[str, ...]:
    """Wait until the processes of a session have ended; end those that do not, and return what they are."""
    end = time.monotonic() + PATIENCE
    while (left := list(_members(session))) and time.monotonic() < end:
        time.sleep(0.05)
    found = tuple(" ".join(_command(process))[:100] for process in left)  # which nobody knows once they have ended
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return found


def _members(session: int) -> Iterator[psutil.Process]:
    for number in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(number) == session and (found := psutil.Process(number)).status() != psutil.STATUS_ZOMBIE:
                yield found


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _child(
    task: Callable[[], str],
    folder: str,
    tell: int,
    kill: Kill | None,
    room: int | None,
    seconds: int,
    shown: int | None,
) -> None:
    """Do the task and end the process, whatever happens."""
    owner = os.getpid()
    state = {"left": -1 if kill is None or kill.touch is None else kill.touch, "on": True}

    def strike() -> None:
        if kill is not None and state["on"]:
            os.write(tell, b"!")
            kill.strike()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if not state["on"] or event not in TOUCHES or not str(arguments[0]).startswith(folder):
            return
        if os.getpid() != owner:  # a process that this one has forked
            return
        os.write(tell, b".")
        state["left"] -= 1
        if state["left"] == -1:
            strike()

    kind, words = b"raw", ""
    try:
        _limit(room, seconds, shown)
        sys.addaudithook(watch)
        if kill is not None and kill.seconds is not None:
            timer = threading.Timer(kill.seconds, strike)
            timer.daemon = True
            timer.start()
        kind, words = b"said", task()
    except JetsymError as error:
        kind, words = b"ours", f"{type(error).__name__}: {error}"
    except BaseException as error:
        words = f"{type(error).__name__}: {error}"
    state["on"] = False
    os.write(tell, b"\n" + kind + b" " + words.encode(errors="replace")[:4000])
    os._exit(0)


def _limit(room: int | None, seconds: int, shown: int | None) -> None:
    torch.set_num_threads(1)
    where = os.open(os.devnull, os.O_WRONLY) if shown is None else shown
    os.dup2(where, 1)
    os.dup2(where, 2)
    # Those of the process that is forked would answer in its place.
    for number, handler in OWN_HANDLERS.items():
        signal.signal(number, handler)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, resource.RLIM_INFINITY))
    if room is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def judged(ended: Ended, truth: str, *, known: bool) -> str:
    """Say what became of a task that read a damaged file.

    Parameters
    ----------
    ended
        How it ended.
    truth
        What it says of the file as it was.
    known
        Whether a checksum that is looked at on reading tells that it is another one.
    """
    if ended.said is None:
        return "refused" if ended.is_ours else "raw"
    if ended.said == truth:
        return "right"
    return "silent" if known else "unchecked"
