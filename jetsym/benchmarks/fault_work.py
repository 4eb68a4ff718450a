"""Commands that write: killed at any moment, on full disks, two at once; and what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from jetsym.benchmarks.fault_commands import Work, installed, modules
from jetsym.benchmarks.fault_inputs import INPUTS
from jetsym.benchmarks.fault_trials import SECONDS, TOUCHES, Ended, Kill, in_process
from jetsym.errors import JetsymError
from jetsym.files import is_unfinished

__all__ = ["full_disks", "kills", "pairs"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Slow commands may take so many times as long.
SLOW_TIMES = 5
#: How often a fault is brought forward where a command has ended before it.
ATTEMPTS = 6
#: What files take on the disk that is full.
PAGE = 4096


@dataclass(frozen=True)
class _Whole:
    """A command done without any fault: what it leaves, how often it touches files, and how long it takes."""

    work: Work
    result: str
    names: frozenset[str]
    touches: int
    seconds: float
    bytes: int

    @property
    def limit(self) -> int:
        """Seconds that it may take."""
        return SECONDS * (SLOW_TIMES if self.work.slow else 1)


def _whole(name: str, work: Work, source: Path, folder: Path) -> _Whole:
    out = folder / "whole" / name.replace(" ", "-")
    out.mkdir(parents=True)
    start = time.monotonic()
    ended = in_process(lambda: work.run(source, out), out, seconds=SLOW_TIMES * SECONDS)
    seconds = time.monotonic() - start
    found = in_process(lambda: work.result(out), out)
    if ended.said is None or found.said is None:
        raise JetsymError(f"{name} does not work without any fault: {ended.error or found.error}")
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(-(-path.stat().st_size // PAGE) * PAGE for path in files)
    return _Whole(work, found.said, _names(out), ended.touches, seconds, size)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))


@dataclass(frozen=True)
class _Trial:
    """A command in a folder of its own, what it does undisturbed, and how often it was tried before."""

    number: int
    turn: int
    name: str
    whole: _Whole
    source: Path
    out: Path

    def run(self) -> str:
        return self.whole.work.run(self.source, self.out)

    def result(self) -> str:
        return self.whole.work.result(self.out)

    def process(self, task: Callable[[], str], *, kill: Kill | None = None, room: int | None = None) -> Ended:
        return in_process(task, self.out, kill=kill, room=room, seconds=self.whole.limit)

    def hit(self, fault: Callable[[float], Ended]) -> Ended:
        """Return how the command ends by a fault, which comes earlier where the command has ended before it."""
        for attempt in range(ATTEMPTS):
            ended = fault(0.5**attempt)
            if ended.said is None:
                break
            for path in self.out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return ended

    def seen(self, first: Ended) -> tuple[str, str] | None:
        """Say what is wrong with how a command has ended by a fault, and with what it has left."""
        if first.killed_by == 0 and first.said is None and not first.is_ours:
            return "raw", first.error
        if first.traceback:
            return "raw", f"it prints a traceback: {first.traceback}"
        if first.survivors:
            return "left behind", f"processes that go on: {first.survivors}"
        found = self.process(self.result)
        if first.said is None and found.said is not None and found.said != self.whole.result:
            return "silent", "what is left is read as if it were all"
        return None

    def again(self, *, resumed: bool) -> tuple[str, str]:
        """Say what becomes of the command when it is given once more."""
        second = self.process(lambda: self.whole.work.run(self.source, self.out, again=resumed))
        if second.said is None:
            return "lost" if second.is_ours else "raw", f"given again: {second.error}"
        found = self.process(self.result)
        if found.said != self.whole.result:
            return "lost", f"given again, the result differs: {found.error}"
        names = _names(self.out)
        if missing := self.whole.names - names:
            return "lost", f"given again, there is no {', '.join(sorted(missing))}"
        left = {name for name in names - self.whole.names if is_unfinished(name) or not name.endswith(".lock")}
        return ("left behind", ", ".join(sorted(left))) if left else ("right", "")


def _turns(*, slow: bool) -> Iterator[tuple[int, str, Work]]:
    """Yield the commands in turn for ever, with how often each came before; slow ones or all others."""
    chosen = {name: work for name, work in installed().items() if work.slow == slow}
    for turn in count() if chosen else ():
        for name, work in chosen.items():
            yield turn, name, work


def _trials(folder: Path, numbers: range, kind: str, *, slow: bool) -> Iterator[_Trial]:
    """Yield the commands in turn, each in a folder that goes when the next is asked for."""
    source, made, known = folder / "in", set[str](), dict[str, _Whole]()
    source.mkdir()
    for number, (turn, name, work) in enumerate(_turns(slow=slow)):
        if number >= numbers.stop:
            return
        if number < numbers.start:
            continue
        for module in modules(name):
            with suppress(ImportError):  # of what it does without
                import_module(module)
        for need in work.needs:
            if need not in made:
                INPUTS[need](source)
                made.add(need)
        if name not in known:
            known[name] = _whole(name, work, source, folder)
        out = folder / f"{kind}-{number}"
        out.mkdir()
        yield _Trial(number, turn, name, known[name], source, out)
        shutil.rmtree(out)


def kills(folder: Path, numbers: range, seed: int, *, slow: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what becomes of commands that a signal ends, and that are given once more.

    It comes at a touch of a file; to every other trial of a slow command, which may have others work for it, at a time.
    """
    for trial in _trials(folder, numbers, "kill", slow=slow):
        rng, number = np.random.default_rng([seed, 1, trial.number]), SIGNALS[trial.turn % len(SIGNALS)]
        part, timed, struck = rng.uniform(), trial.whole.work.slow and trial.turn % 2 == 1, list[Kill]()

        def killed(scale: float) -> Ended:
            whole, place = trial.whole, scale * part  # noqa: B023 (called at once)
            if timed:  # noqa: B023
                struck.append(Kill(number, seconds=place * whole.seconds))  # noqa: B023
            else:
                struck.append(Kill(number, touch=int(place * whole.touches)))  # noqa: B023
            return trial.process(trial.run, kill=struck[-1])  # noqa: B023

        first = trial.hit(killed)
        outcome, words = trial.seen(first) or trial.again(resumed=first.said is None)
        yield outcome, f"{trial.name}, {struck[-1]} of {trial.whole.touches}, {trial.whole.seconds:.1f} s: {words}"


def full_disks(folder: Path, numbers: range, seed: int, *, slow: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what becomes of commands that fill a small disk, and that are given once more where there is room.

    Where none may be mounted, files have no room beyond some bytes.
    """
    for trial in _trials(folder, numbers, "full", slow=slow):
        part = np.random.default_rng([seed, 2, trial.number]).uniform()
        if _may_mount():
            how, (outcome, words) = "a disk", _on_a_disk(trial, part)
        else:
            how = "files"
            first = trial.hit(lambda scale: trial.process(trial.run, room=int(scale * 2 ** (4 + 11 * part))))  # noqa: B023
            outcome, words = trial.seen(first) or trial.again(resumed=first.said is None)
        yield outcome, f"{trial.name}, {how} of {100 * part:.0f} %: {words}"


@cache
def _may_mount() -> bool:
    if sys.platform != "linux" or os.geteuid():
        return False
    with TemporaryDirectory() as folder:
        if not _mount("-t", "tmpfs", "-o", "size=4k", "none", folder):
            return False
        return subprocess.run(["umount", "-l", folder], check=False).returncode == 0


def _on_a_disk(trial: _Trial, part: float) -> tuple[str, str]:
    """Do a trial on a disk with room for a part of what the command leaves, and then on one with more."""
    with _disk(trial.out):

        def filled(scale: float) -> Ended:
            pages = max(1, int(scale * part * trial.whole.bytes / PAGE))
            _mount("-o", f"remount,size={pages * PAGE}", str(trial.out))
            return trial.process(trial.run)

        first = trial.hit(filled)
        faulty = trial.seen(first)
        _mount("-o", "remount,size=1g", str(trial.out))
        return faulty or trial.again(resumed=first.said is None)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    _mount("-t", "tmpfs", "-o", "size=1g", "none", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


def pairs(folder: Path, numbers: range, seed: int, *, slow: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what becomes of two processes that do the same work in one folder, one begun within the other."""
    for trial in _trials(folder, numbers, "pair", slow=slow):
        place = int(np.random.default_rng([seed, 3, trial.number]).integers(trial.whole.touches))
        first, second = _two(trial, place)
        raw = next((one for one in (first, second) if one.said is None and not one.is_ours), None)
        if raw is not None:
            yield "raw", f"{trial.name}: {raw.error}"
        elif first.said is None and second.said is None:
            yield "lost", f"{trial.name}: neither was done: {first.error}; {second.error}"
        else:
            outcome, words = trial.again(resumed=True)
            yield outcome, f"{trial.name}, at touch {place} of {trial.whole.touches}: {words}"


def _two(trial: _Trial, place: int) -> tuple[Ended, Ended]:
    """Do a task, and the same in a process that begins when the first has touched so many files."""
    other: list[Ended] = []

    def first() -> str:
        state = {"left": place}

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if event in TOUCHES and str(arguments[0]).startswith(str(trial.out)):
                state["left"] -= 1
                if state["left"] == -1:
                    other.append(trial.process(trial.run))

        sys.addaudithook(watch)
        try:
            done, error = trial.run(), ""
        except JetsymError as refused:
            done, error = None, str(refused)
        ended = other[0] if other else trial.process(trial.run)
        return json.dumps([done, error, ended.said, ended.error, ended.is_ours])

    ended = in_process(first, trial.out, seconds=2 * trial.whole.limit)
    if ended.said is None:
        return ended, ended
    done, wrong, said, error, ours = json.loads(ended.said)
    return Ended(done, wrong, done is None, 0, 0), Ended(said, error, ours, 0, 0)
