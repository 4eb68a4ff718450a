"""The fault table: damaged and hostile files, kills, full disks and pairs of processes, tried and counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from jetsym._version import __version__
from jetsym.benchmarks import fault_calls, fault_files, fault_hostile, fault_work
from jetsym.benchmarks.fault_trials import FAULTS, OUTCOMES
from jetsym.benchmarks.resumed import resumed
from jetsym.errors import ConfigError, FaultError, closest
from jetsym.results import Result
from jetsym.text import as_text, table_of

__all__ = ["PARTS", "Faults", "Part", "faults"]

#: Trials of a part: folder to work in, numbers of the trials, seed -> what became of each, and in which words.
Trials = Callable[[Path, range, int], Iterator[tuple[str, str]]]

#: Part -> its trials, how many of them, and how many of a quick look.
PARTS: dict[str, tuple[Trials, int, int]] = {
    "mutated ROOT": (partial(fault_files.trials, "mutated ROOT"), 500, 12),
    "mutated checkpoints": (partial(fault_files.trials, "mutated checkpoints"), 200, 12),
    "mutated caches": (partial(fault_files.trials, "mutated caches"), 200, 12),
    "mutated reports": (partial(fault_files.trials, "mutated reports"), 200, 12),
    "mutated Parquet": (partial(fault_files.trials, "mutated Parquet"), 200, 12),
    "mutated extxyz": (partial(fault_files.trials, "mutated extxyz"), 200, 12),
    "hostile files": (fault_hostile.trials, len(fault_hostile.KINDS) * len(fault_hostile.LOADERS), 24),
    "wrong calls": (fault_calls.trials, 1200, 12),
    "kills": (fault_work.kills, 476, 4),
    "full disks": (fault_work.full_disks, 52, 2),
    "pairs": (fault_work.pairs, 34, 1),
    "kills of slow commands": (partial(fault_work.kills, slow=True), 84, 0),
    "full disks of slow commands": (partial(fault_work.full_disks, slow=True), 14, 0),
    "pairs of slow commands": (partial(fault_work.pairs, slow=True), 14, 0),
}
#: Words of faults that are kept of a part.
_MOST_WORDS = 50


@dataclass(frozen=True)
class Part:
    """The trials of one kind of fault so far.

    Parameters
    ----------
    counts
        How many ended in which way, of :data:`~jetsym.benchmarks.fault_trials.OUTCOMES`.
    words
        Of trials that ended as none may.
    """

    counts: Mapping[str, int]
    words: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """Number of trials."""
        return sum(self.counts.values())

    @property
    def survived(self) -> int:
        """Number of trials that ended as they may: in an error of jetsym's own, or in the right answer."""
        return self.tried - sum(self.counts.get(name, 0) for name in FAULTS)

    def plus(self, outcome: str, words: str) -> Part:
        """Return the part with one more trial.

        Examples
        --------
        >>> part = Part({}).plus("refused", "DataError: …").plus("raw", "KeyError: 'fEND'")
        >>> part.tried, part.survived, part.words
        (2, 1, ("raw: KeyError: 'fEND'",))
        """
        told = (f"{outcome}: {words}"[:300],) if outcome in FAULTS and len(self.words) < _MOST_WORDS else ()
        return Part({**self.counts, outcome: self.counts.get(outcome, 0) + 1}, self.words + told)


@dataclass(frozen=True)
class Faults(Result):
    """The fault table: parts by name, and of which jetsym and which seed."""

    parts: Mapping[str, Part]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "faults"
    FORMAT: ClassVar[int] = 1

    def _check(self) -> None:
        unknown = {name for part in self.parts.values() for name in part.counts} - {*OUTCOMES}
        if unknown:
            raise ValueError(f"unknown outcomes {', '.join(sorted(unknown))}")

    def __str__(self) -> str:
        return as_text(self.table())

    def table(self) -> Table:
        """Return the counts, to be printed by rich."""
        return table_of("faults", ("fault", "tried", "survived", *OUTCOMES), self.rows())

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per part and outcome."""
        for name, part in self.parts.items():
            yield from ({"part": name, "outcome": outcome, "count": count} for outcome, count in part.counts.items())

    def rows(self) -> list[list[str]]:
        """Return the lines of the table: part, tried, survived, and the count of every outcome."""
        lines = [[name, part.tried, part.survived, *_counts(part.counts)] for name, part in self.parts.items()]
        total = sum((Counter(part.counts) for part in self.parts.values()), Counter[str]())
        whole = Part(total)
        lines.append(["all", whole.tried, whole.survived, *_counts(total)])
        return [[str(value) for value in line] for line in lines]


def _counts(counts: Mapping[str, int]) -> list[int]:
    return [counts.get(name, 0) for name in OUTCOMES]


def faults(
    *,
    out: str | None = None,
    quick: bool = False,
    parts: list[str] | None = None,
    trials: int | None = None,
    seed: int = 0,
) -> None:
    """Try what can go wrong, in processes of their own, and print how often it ended as it may.

    "refused" is an error of jetsym's own; "right" the right answer in spite of the fault; "unchecked" a damaged file
    read as another one where no checksum is looked at on reading. None of the rest may be: "silent" a wrong answer
    where a checksum knows, or part of a result that is read as the whole; "lost" work that cannot go on; "executed" a
    file that ran something; "left behind" files that nobody removes; "raw" any other error, a crash, or an end
    that does not come within a minute.

    Parameters
    ----------
    out
        A JSON file for the counts. One that is there already goes on with the trials that it lacks.
    quick
        A few trials of every part, in under two minutes.
    parts
        Which ones, see the first column of the table; all by default.
    trials
        Number of trials of every part, in place of its own.
    seed
        Of damages, moments and sizes.

    Raises
    ------
    FaultError
        A trial ended as none may.
    ConfigError
        There is no such part, or the counts in ``out`` are of another seed or version.
    """
    chosen = [*PARTS] if parts is None else parts
    for name in chosen:
        if name not in PARTS:
            raise ConfigError(f"parts names {name!r}; {closest(name, PARTS)}")
    if trials is not None and trials < 1:
        raise ConfigError(f"trials is {trials}; expected 1 or more")
    empty = Faults({}, {"seed": seed, "jetsym": __version__})
    table = resumed(empty, out, kind="fault table", numbers="counts")
    start = time.monotonic()
    for name in chosen:
        task, full, few = PARTS[name]
        wanted = trials or (few if quick else full)
        table = _with_trials(table, name, task, wanted, seed, out)
        print(f"[{time.monotonic() - start:4.0f} s] {name}: {table.parts[name].tried} tried", flush=True)
    shown = replace(table, parts={name: table.parts[name] for name in chosen})
    Console(width=150).print(shown.table())
    words = [f"{name}: {line}" for name, part in shown.parts.items() for line in part.words]
    if words:
        raise FaultError(f"{len(words)} trials ended as none may; the first: {words[0]}")


def _with_trials(table: Faults, name: str, task: Trials, wanted: int, seed: int, out: str | None) -> Faults:
    """Return the table with so many trials of a part, those that it has included; ``out`` is kept up to date."""
    part = table.parts.get(name, Part({}))
    with TemporaryDirectory(prefix="jetsym-faults-") as folder:
        more = task(Path(folder), range(part.tried, wanted), seed) if part.tried < wanted else ()
        for outcome, words in more:
            part = part.plus(outcome, words)
            table = replace(table, parts={**table.parts, name: part})
            if out is not None:
                table.save(out)
    return replace(table, parts={**table.parts, name: part})
