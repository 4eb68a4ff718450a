"""One trial of a fault: a task in a forked process, with limits, and what became of it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from jetsym.errors import JetsymError

__all__ = ["FAULTS", "OUTCOMES", "Ended", "in_process", "judged"]

#: What becomes of a trial: what is allowed, and what is not.
OUTCOMES = ("refused", "right", "unchecked", "silent", "lost", "executed", "left behind", "raw")
FAULTS = OUTCOMES[3:]

#: Seconds and bytes of address space that a trial may take.
SECONDS, BYTES = 60, 16 << 30
#: What audit events count as touching a file.
TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"})


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
    """

    said: str | None
    error: str
    is_ours: bool
    killed_by: int
    touches: int


def in_process(
    task: Callable[[], str], folder: Path, *, kill: tuple[int, int] | None = None, room: int | None = None
) -> Ended:
    """Do a task in a forked process.

    Parameters
    ----------
    task
        Returns what it has found, in words.
    folder
        Where touches are counted.
    kill
        A signal, and the touch of a file at which the process gets it.
    room
        Bytes that a file may have, as if the disk were full beyond.
    """
    told, tell = os.pipe()
    process = os.fork()
    if not process:
        os.close(told)
        _child(task, str(folder), tell, kill, room)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        found = pipe.read()
    _, status = os.waitpid(process, 0)
    touches, _, text = found.partition(b"\n")
    kind, _, words = text.decode(errors="replace").partition(" ")
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Ended(
        words if kind == "said" else None,
        words if kind in ("ours", "raw") else "" if kind == "said" else f"ended by signal {killed}",
        kind == "ours",
        killed,
        touches.count(b"."),
    )


def _child(task: Callable[[], str], folder: str, tell: int, kill: tuple[int, int] | None, room: int | None) -> None:
    """Do the task and end the process, whatever happens."""
    state = {"left": kill[1] if kill else -1, "on": True}

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if state["on"] and event in TOUCHES and str(arguments[0]).startswith(folder):
            os.write(tell, b".")
            state["left"] -= 1
            if state["left"] == -1 and kill is not None:
                os.kill(os.getpid(), kill[0])

    kind, words = b"raw", ""
    try:
        _limit(room)
        sys.addaudithook(watch)
        kind, words = b"said", task()
    except JetsymError as error:
        kind, words = b"ours", f"{type(error).__name__}: {error}"
    except BaseException as error:
        words = f"{type(error).__name__}: {error}"
    state["on"] = False
    os.write(tell, b"\n" + kind + b" " + words.encode(errors="replace")[:4000])
    os._exit(0)


def _limit(room: int | None) -> None:
    torch.set_num_threads(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
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
