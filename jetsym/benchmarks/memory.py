"""Benchmark of the memory of evaluations, predictions and probes against the number of jets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
import uproot
from rich.console import Console
from rich.table import Table

from jetsym._version import __version__
from jetsym.benchmarks.measure import memory_of
from jetsym.benchmarks.resumed import resumed
from jetsym.cli import main
from jetsym.errors import ConfigError, JetsymError, closest, expect_at_least
from jetsym.jets import checkpoint, read
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.writer import open_jetclass
from jetsym.jets.models import build
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES, TREE
from jetsym.probing.probe import probe
from jetsym.results import Result
from jetsym.text import as_text, table_of

__all__ = ["Memory", "Run", "memory"]

#: Jets of a file, as JetClass's files have; those of fewer jets are of as many as there are.
FILE = 100_000
TASKS = ("evaluate", "predict", "probe")
#: Rotations of each jet in a probe: two random pairs.
ROTATIONS = 4


@dataclass(frozen=True)
class Run:
    """The memory of one task in a process of its own.

    Parameters
    ----------
    task
        evaluate, predict or probe.
    jets
        How many it was given.
    before, peak
        MiB that were resident when it began, and at most.
    """

    task: str
    jets: int
    before: float
    peak: float


@dataclass(frozen=True)
class Memory(Result):
    """The memory of tasks by their number of jets, and of which versions and network."""

    runs: tuple[Run, ...]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "memory"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {"runs": [asdict(run) for run in self.runs], "meta": dict(self.meta)}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Memory:
        return cls(tuple(Run(**run) for run in data["runs"]), dict(data["meta"]))

    def __str__(self) -> str:
        return as_text(self.table())

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per run."""
        yield from (asdict(run) for run in self.runs)

    def table(self) -> Table:
        """Return the runs, to be printed by rich."""
        return table_of("memory", ("task", "jets", "MiB at most", "MiB grown", "bytes a jet"), self.rows())

    def rows(self) -> list[list[str]]:
        """Return the lines of the table; the last column is the growth from the run before, with fewer jets."""
        lines, former = list[list[str]](), dict[str, Run]()
        for run in self.runs:
            less = former.get(run.task)
            each = "–" if less is None else f"{_per_jet(less, run):,.0f}"
            lines.append([run.task, f"{run.jets:,}", f"{run.peak:,.0f}", f"{run.peak - run.before:,.0f}", each])
            former[run.task] = run
        return lines


def _per_jet(less: Run, more: Run) -> float:
    """Return the bytes by which what a task takes grows with each jet."""
    grown = (more.peak - more.before) - (less.peak - less.before)
    return grown * 2**20 / (more.jets - less.jets)


def memory(
    jets: list[int] | None = None,
    *,
    probed: list[int] | None = None,
    tasks: list[str] | None = None,
    width: int = 8,
    max_particles: int | None = None,
    seed: int = 0,
    out: str | None = None,
) -> None:
    """Print the memory that evaluating, predicting and probing take at most, by the number of jets.

    The jets are those of the bundled sample, repeated in ROOT files of 100,000. Evaluations, which measure unrotated
    and rotated jets and write figures and page, and predictions are whole commands, each in a fresh process: their
    memory is all that it has. Probes of two random pairs of rotations a jet are measured from where the jets, as they
    are given to the probe, are in memory.

    Parameters
    ----------
    jets
        Numbers of jets of evaluations and predictions, rising; multiples of 100,000 or of the first one, if it is less.
        By default 100,000, 300,000 and 1,000,000.
    probed
        Numbers of jets of probes; by default 1,000, 10,000 and 100,000.
    tasks
        Which of evaluate, predict and probe; all by default.
    width
        Of the PointNet of one block, untrained, that is evaluated, predicts and is probed.
    max_particles
        Particles of each jet; by default 128 for evaluations and predictions, 32 for probes.
    seed
        Of the weights.
    out
        A JSON file for the numbers. One that is there already goes on with the runs that it lacks.

    Raises
    ------
    ConfigError
        Numbers of jets or a task that cannot be; or the numbers in ``out`` are of other settings or another version.
    """
    chosen = [*TASKS] if tasks is None else tasks
    for name in chosen:
        if name not in TASKS:
            raise ConfigError(f"tasks names {name!r}; {closest(name, TASKS)}")
    sizes, few = jets or [FILE, 3 * FILE, 10 * FILE], probed or [1000, 10_000, 100_000]
    for name, numbers in (("jets", sizes), ("probed", few)):
        expect_at_least(name, numbers[0], 1)
        if any(more <= less for less, more in pairwise(numbers)):
            raise ConfigError(f"{name} is {numbers}; expected rising numbers of jets")
    in_file = min(FILE, sizes[0])
    if wrong := [number for number in sizes if number % in_file]:
        raise ConfigError(f"jets has {wrong[0]}; expected multiples of {in_file}, as the files have so many")
    meta = {"jetsym": __version__, "torch": torch.__version__, "width": width, "seed": seed}
    empty = Memory((), meta | {"max_particles": max_particles})
    found = resumed(empty, out, kind="memory of tasks", numbers="memory")
    with TemporaryDirectory(prefix="jetsym-memory-") as temporary:
        folder = Path(temporary)
        torch.manual_seed(seed)
        checkpoint.save(folder / "tagger.safetensors", build("pointnet", width=width, blocks=1))
        write_sample(folder / "jets.root", in_file)
        for task in chosen:
            for number in few if task == "probe" else sizes:
                if any((run.task, run.jets) == (task, number) for run in found.runs):
                    continue
                data = repeated(folder, -(-number // in_file))
                if task == "probe":
                    both = memory_of(probe_task, str(data), number, width, max_particles or 32, seed)
                else:
                    both = memory_of(command, _words(task, folder, data, max_particles))
                found = _with(found, Run(task, number, *both), out)
    Console(width=120).print(found.table())


def _words(task: str, folder: Path, data: Path, max_particles: int | None) -> list[str]:
    """Return a command line."""
    out = folder / f"{task}.{'json' if task == 'evaluate' else 'root'}"
    cut = [] if max_particles is None else ["--max_particles", str(max_particles)]
    return [task, str(folder / "tagger.safetensors"), str(data), "--out", str(out), *cut]


def _with(found: Memory, run: Run, out: str | None) -> Memory:
    """Return the numbers with those of one more run, and keep them."""
    found = Memory((*found.runs, run), found.meta)
    if out is not None:
        found.save(out)
    print(f"{run.task}, {run.jets:,} jets: {run.peak:,.0f} MiB at most", flush=True)
    return found


def write_sample(path: Path, jets: int) -> Path:
    """Write jets of the bundled sample to a ROOT file, from the beginning again where there are no more."""
    names = [*PARTICLE_BRANCHES, *JET_BRANCHES]
    files = sorted((sample_dir() / "test").glob("*.root"))
    columns = uproot.concatenate([{str(file): TREE} for file in files], names)
    mixed = columns[np.random.default_rng(0).permutation(len(columns))]  # a few have all classes as well
    with open_jetclass(path, compression="lz4", level=1) as writer:
        while len(writer) < jets:
            part = mixed[: jets - len(writer)]
            writer.extend({name: part[name] for name in names})
    return path


def repeated(folder: Path, files: int) -> Path:
    """Return a folder with a file of jets under so many names, each of which is read by itself."""
    place = folder / str(files)
    place.mkdir(exist_ok=True)
    for number in range(len([*place.iterdir()]), files):
        os.link(folder / "jets.root", place / f"{number:03d}.root")
    return place


def command(words: Sequence[str]) -> Callable[[], None]:
    """Prepare a command of jetsym, which imports what it needs itself."""

    def run() -> None:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            status = main(words)
        if status:
            raise JetsymError(f"jetsym {' '.join(words)} ended with status {status}; its error stands above")

    return run


def probe_task(path: str, jets: int, width: int, max_particles: int, seed: int) -> Callable[[], None]:
    """Prepare a probe of two random pairs of rotations, with the jets in memory."""
    torch.manual_seed(seed)
    model, inputs = build("pointnet", width=width, blocks=1), read(path, limit=jets, max_particles=max_particles)

    def run() -> None:
        probe(model, inputs, method="random", n_rotations=ROTATIONS, limit=jets, progress=False)

    return run
