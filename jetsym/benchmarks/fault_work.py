"""Commands that write: killed at any touch of a file, on full disks, two at once; and what they leave."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from jetsym import cli
from jetsym.benchmarks.fault_trials import Ended, in_process
from jetsym.errors import JetsymError
from jetsym.files import is_unfinished
from jetsym.jets import checkpoint
from jetsym.jets.io.read import read
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models import PointNet
from jetsym.probing.probe import probe

__all__ = ["WORK", "full_disks", "kills", "pairs", "prepare"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Parts of results that tell of the run and not of what was found.
VOLATILE = {"seconds", "elapsed", "date", "created", "time", "host", "cost", "paths", "written", "version", "digest"}


@dataclass(frozen=True)
class Work:
    """A command that writes.

    Parameters
    ----------
    words
        Of the command line; IN is the folder of what is read, OUT that of what is written.
    result
        Return a digest of what it has written; raises where it cannot be read, as before the command is done.
    resume
        Words that let it go on where it was killed.
    """

    words: tuple[str, ...]
    result: Callable[[Path], str]
    resume: tuple[str, ...] = ()

    def run(self, read_from: Path, out: Path, *, again: bool = False) -> str:
        """Do it; raise JetsymError where the command line says in one line that it has failed."""
        words = [*self.words, *(self.resume if again else ())]
        status = cli.main([word.replace("IN", str(read_from)).replace("OUT", str(out)) for word in words])
        if status:
            raise JetsymError(f"status {status}")
        return "done"


def prepare(folder: Path) -> Path:
    """Write what the commands read: jets, a tagger, and two reports of a probe."""
    for module in ONCE:
        with suppress(ImportError):
            import_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((sample_dir() / "test").glob("*.root"))[:2]:
        shutil.copy(file, folder / file.name)
    jets = read(folder)
    checkpoint.save(folder / "tagger.safetensors", PointNet(jets.classes, width=8, blocks=1))
    points = np.random.default_rng(0).normal(size=(4, 3))
    for l_max, name in ((1, "a"), (2, "b")):
        probe(lambda x: x[:, 0] + 1, points, l_max=l_max, progress=False).save(folder / f"{name}.json")
    return folder


def _jets(path: Path) -> str:
    found = read(path)
    return hashlib.sha256(found.p4.numpy().tobytes() + found.mask.numpy().tobytes()).hexdigest()


def _scores(path: Path) -> str:
    from jetsym.jets.io.columns import open_columns

    with open_columns(path) as columns:
        names = sorted(columns.names)
        return hashlib.sha256(b"".join(np.asarray(columns.read(name)).tobytes() for name in names)).hexdigest()


def _json(path: Path) -> str:
    return hashlib.sha256(json.dumps(_stable(json.loads(path.read_text())), sort_keys=True).encode()).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if not VOLATILE & set(str(key).split("_"))}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def _tagger(path: Path) -> str:
    tensors = checkpoint.load(path).state_dict()
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


#: What takes long to import, so that processes that are forked have it.
ONCE = (
    *("jsonargparse", "matplotlib.pyplot", "pyarrow.parquet", "sklearn.metrics", "uproot"),
    *("jetsym.commands.data", "jetsym.commands.symmetry", "jetsym.commands.training", "jetsym.plotting"),
    *("jetsym.pages", "jetsym.probing.reports.comparison", "jetsym.training.loop"),
)
QUIET = ("--progress", "false")
TRAIN = ("train", "--data", "IN", "--val", "IN", "--out", "OUT/run", "--epochs", "1", "--limit", "128", *QUIET)
PROBE = ("probe", "IN/tagger.safetensors", "--inputs", "IN", "--l_max", "1", "--limit", "4", "--layers", "[]", *QUIET)
#: Command -> what it does, and what it leaves.
WORK: dict[str, Work] = {
    "convert": Work(("convert", "IN", "--out", "OUT/cache"), lambda out: _jets(out / "cache")),
    "convert --to parquet": Work(
        ("convert", "IN", "--out", "OUT/parquet", "--to", "parquet"), lambda out: _jets(out / "parquet")
    ),
    "predict to ROOT": Work(
        ("predict", "IN/tagger.safetensors", "IN", "--out", "OUT/p.root", *QUIET), lambda out: _scores(out / "p.root")
    ),
    "predict to Parquet": Work(
        ("predict", "IN/tagger.safetensors", "IN", "--out", "OUT/p.parquet", *QUIET),
        lambda out: _scores(out / "p.parquet"),
    ),
    "evaluate": Work(
        ("evaluate", "IN/tagger.safetensors", "IN", "--out", "OUT/e.json"), lambda out: _json(out / "e.json")
    ),
    "probe": Work((*PROBE, "--out", "OUT/r.json"), lambda out: _json(out / "r.json")),
    "compare": Work(("compare", "IN/a.json", "IN/b.json", "--out", "OUT/c.json"), lambda out: _json(out / "c.json")),
    "diagnose": Work(("diagnose", "IN/a.json", "--out", "OUT/d.json"), lambda out: _json(out / "d.json")),
    "train": Work(
        (*TRAIN, "--batch_size", "32", "--options", '{"width": 8, "blocks": 1}', "--device", "cpu"),
        lambda out: _tagger(out / "run"),
        ("--resume",),
    ),
}


@dataclass(frozen=True)
class _Whole:
    """A command done without any fault: what it leaves, and how often it touches files."""

    work: Work
    result: str
    names: frozenset[str]
    touches: int


def _whole(name: str, source: Path, folder: Path) -> _Whole:
    out = folder / "whole" / name.replace(" ", "-")
    out.mkdir(parents=True)
    work = WORK[name]
    ended = in_process(lambda: work.run(source, out), out)
    if ended.said is None:
        raise JetsymError(f"{name} does not work without any fault: {ended.error}")
    return _Whole(work, work.result(out), _names(out), ended.touches)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _after(whole: _Whole, source: Path, out: Path, first: Ended, *, shown: bool = True) -> tuple[str, str]:
    """Say what became of a command that a fault has ended, and that is given once more."""
    if first.killed_by == 0 and first.said is None and not first.is_ours and "Interrupt" not in first.error:
        return "raw", first.error
    if shown and first.said is None:
        seen = in_process(lambda: whole.work.result(out), out)
        if seen.said is not None and seen.said != whole.result:
            return "silent", "what is left is read as if it were all"
    again = in_process(lambda: whole.work.run(source, out, again=first.said is None or not shown), out)
    if again.said is None:
        return "lost" if again.is_ours else "raw", f"given again: {again.error}"
    found = in_process(lambda: whole.work.result(out), out)
    if found.said != whole.result:
        return "lost", f"given again, the result differs: {found.error}"
    left = {name for name in _names(out) - whole.names if is_unfinished(name) or not name.endswith(".lock")}
    return ("left behind", ", ".join(sorted(left))) if left else ("right", "")


@dataclass(frozen=True)
class _Trial:
    """A command in a folder of its own, and what it does undisturbed."""

    number: int
    name: str
    whole: _Whole
    source: Path
    out: Path

    def run(self) -> str:
        return self.whole.work.run(self.source, self.out)

    def after(self, first: Ended, *, shown: bool = True) -> tuple[str, str]:
        return _after(self.whole, self.source, self.out, first, shown=shown)


def _trials(folder: Path, numbers: range, kind: str) -> Iterator[_Trial]:
    """Yield the commands in turn, each in a folder that goes when the next is asked for."""
    source, known = prepare(folder / "in"), dict[str, _Whole]()
    for number in numbers:
        name = [*WORK][number % len(WORK)]
        if name not in known:
            known[name] = _whole(name, source, folder)
        out = folder / f"{kind}-{number}"
        out.mkdir()
        yield _Trial(number, name, known[name], source, out)
        shutil.rmtree(out)


def kills(folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of commands that a signal ends at a touch of a file, and that are given once more."""
    for trial in _trials(folder, numbers, "kill"):
        rng, touches = np.random.default_rng([seed, 1, trial.number]), trial.whole.touches
        kill = (SIGNALS[trial.number // len(WORK) % len(SIGNALS)], int(rng.integers(touches)))
        outcome, words = trial.after(in_process(trial.run, trial.out, kill=kill))
        yield outcome, f"{trial.name}, {signal.Signals(kill[0]).name} at touch {kill[1]} of {touches}: {words}"


def full_disks(folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of commands whose files have no room beyond some bytes, and that are given once more."""
    for trial in _trials(folder, numbers, "full"):
        room = int(2 ** np.random.default_rng([seed, 2, trial.number]).uniform(4, 15))
        outcome, words = trial.after(in_process(trial.run, trial.out, room=room))
        yield outcome, f"{trial.name}, files of {room} bytes at most: {words}"


def pairs(folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of two processes that do the same work in one folder, one begun within the other."""
    for trial in _trials(folder, numbers, "pair"):
        place = int(np.random.default_rng([seed, 3, trial.number]).integers(trial.whole.touches))
        first, second = _two(trial.run, trial.out, place)
        raw = next((one for one in (first, second) if one.said is None and not one.is_ours), None)
        if raw is not None:
            yield "raw", f"{trial.name}: {raw.error}"
        elif first.said is None and second.said is None:
            yield "lost", f"{trial.name}: neither was done: {first.error}; {second.error}"
        else:
            outcome, words = trial.after(first if second.said is None else second, shown=False)
            yield outcome, f"{trial.name}: {words}"


def _two(task: Callable[[], str], folder: Path, place: int) -> tuple[Ended, Ended]:
    """Do a task, and the same in a process that begins when the first has touched so many files."""
    other: list[Ended] = []

    def first() -> str:
        import sys

        state = {"left": place}

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and str(arguments[0]).startswith(str(folder)):
                state["left"] -= 1
                if state["left"] == -1:
                    other.append(in_process(task, folder))

        sys.addaudithook(watch)
        done = task()
        ended = other[0] if other else in_process(task, folder)
        return json.dumps([done, ended.said, ended.error, ended.is_ours])

    ended = in_process(first, folder)
    if ended.said is None:
        return ended, ended
    done, said, error, ours = json.loads(ended.said)
    return Ended(done, "", False, 0, 0), Ended(said, error, ours, 0, 0)
