"""Scaling laws of jetsym's own cost: seconds and memory of what it does, against the size of what it is given."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import curve_fit

from jetsym._version import __version__
from jetsym.benchmarks.measure import costs
from jetsym.benchmarks.scaling_tasks import LAWS, prepared
from jetsym.errors import ConfigError, closest, expect_at_least
from jetsym.files import check_out
from jetsym.plotting.style import PALETTE, figure_of, finished, logarithmic, panels, parts_of
from jetsym.results import Result
from jetsym.text import as_text, concise, table_of

__all__ = ["Exponent", "Law", "Scaling", "fitted", "scaling"]

#: What grows, in the order of the figure's panels.
AXES = ("jets", "particles", "layers", "l_max")
#: Task -> its colour and marker.
LOOKS = {"reading": (PALETTE[2], "o"), "training": (PALETTE[1], "s")}
LOOKS |= {"probing": (PALETTE[3], "^"), "evaluation": (PALETTE[4], "D")}
#: What grows by less from the smallest to the largest size has no exponent that could be told.
LITTLE = 1.3
#: The logarithm of how much less than the smallest value the part is that counts as none.
NOTHING = 6.0
#: An exponent above that of the work itself by more than this, and by two errors, is more than it has to be.
MUCH = 0.2


@dataclass(frozen=True)
class Exponent:
    """The exponent p of a law ``a + b n^p``, with its standard error; not finite where it cannot be told."""

    value: float
    error: float

    def exceeds(self, due: float) -> bool:
        """Tell whether it is more than that of the work itself."""
        return bool(self.value - due > max(MUCH, 2 * self.error))

    def __str__(self) -> str:
        return concise(self.value, self.error) if np.isfinite(self.value) else "–"


@dataclass(frozen=True)
class Law:
    """What a task costs by size.

    Parameters
    ----------
    task, axis
        What is done, and what grows.
    sizes
        n, from small to large.
    seconds
        Of the processor, by size and call.
    mebibytes
        By which memory grows at most, by size; NaN where the system does not tell.
    time_due, memory_due
        Exponents that the work has by itself.
    """

    task: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    mebibytes: tuple[float, ...]
    time_due: float
    memory_due: float

    @property
    def medians(self) -> NDArray[np.float64]:
        """Seconds by size."""
        return np.array([np.median(calls) for calls in self.seconds])

    @property
    def time(self) -> Exponent:
        """The exponent of time."""
        sizes = np.repeat(self.sizes, [len(calls) for calls in self.seconds])
        return fitted(sizes, np.concatenate(self.seconds))

    @property
    def memory(self) -> Exponent:
        """The exponent of memory."""
        return fitted(np.array(self.sizes), np.array(self.mebibytes))

    @property
    def rate(self) -> float:
        """Seconds for one more of what grows, between the two largest sizes."""
        return float(np.diff(self.medians[-2:])[0] / np.diff(self.sizes[-2:])[0])

    def cells(self) -> list[str]:
        """Return its row of the table."""
        exponents = ((self.time, self.time_due), (self.memory, self.memory_due))
        told = [f"{found}{' !' if found.exceeds(due) else ''} ({due:g})" for found, due in exponents]
        largest = [f"{self.medians[-1]:.3g} s", f"{self.mebibytes[-1]:,.0f} MiB"]
        return [self.task, self.axis, f"{self.sizes[0]:,} … {self.sizes[-1]:,}", *told, *largest]


#: Heads of the table of laws.
HEADS = ("task", "n", "from … to", "time, exponent", "memory, exponent", "time of the largest", "its memory")


def fitted(sizes: NDArray[Any], values: NDArray[np.float64]) -> Exponent:
    """Fit the exponent of ``a + b n^p``, a ≥ 0, of which the first part is what does not grow.

    Logarithms are fitted, so that every size counts alike; the error is that of least squares, from the scatter.

    Examples
    --------
    >>> n = np.array([1, 4, 16, 64, 256])
    >>> round(fitted(n, 5 + 0.1 * n**1.5).value, 3)
    1.5
    >>> fitted(n, 5 + 0.001 * n)
    Exponent(value=nan, error=nan)
    """
    n, logs = np.asarray(sizes, dtype=float) / np.max(sizes), np.log(np.maximum(values, 1e-9))
    first, last = logs[n == n.min()].mean(), logs[n == 1].mean()
    if not np.isfinite(logs).all() or last - first < np.log(LITTLE) or len(logs) < 4:
        return Exponent(np.nan, np.nan)

    def law(n: NDArray[np.float64], constant: float, growing: float, power: float) -> NDArray[np.float64]:
        return np.logaddexp(constant, growing + power * np.log(n))

    lowest, highest = (first - NOTHING, last - NOTHING, 0.0), (first + 1, last + 1, 10.0)
    found, covariance = curve_fit(law, n, logs, p0=(first - 1, last, 1.0), bounds=(lowest, highest))
    return Exponent(float(found[2]), float(np.sqrt(covariance[2, 2])))


@dataclass(frozen=True)
class Scaling(Result):
    """Laws of cost, and what they were measured with."""

    laws: tuple[Law, ...]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "scaling"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {"laws": [asdict(law) for law in self.laws], "meta": dict(self.meta)}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Scaling:
        laws = []
        for law in data["laws"]:
            seconds = tuple(tuple(map(float, calls)) for calls in law["seconds"])
            sizes, mebibytes = tuple(map(int, law["sizes"])), tuple(map(float, law["mebibytes"]))
            if law["axis"] not in AXES or law["task"] not in LOOKS or not len(sizes) == len(seconds) == len(mebibytes):
                raise ValueError(f"a law of {law['task']} by {law['axis']}, {len(sizes)} sizes")
            due = float(law["time_due"]), float(law["memory_due"])
            laws.append(Law(law["task"], law["axis"], sizes, seconds, mebibytes, *due))
        return cls(tuple(laws), dict(data["meta"]))

    def __str__(self) -> str:
        return as_text(self.table())

    def table(self) -> Table:
        """Return the exponents, to be printed by rich."""
        return table_of("scaling; in brackets the exponent of the work itself, ! above it", HEADS, self.rows(), words=2)

    def rows(self) -> list[list[str]]:
        """Return the lines of the table."""
        return [law.cells() for law in self.laws]

    def hours(self, jets: int = 100_000_000) -> dict[str, float]:
        """Return the hours of one processor for so many jets, by task: those of one more jet, as often.

        A probe is not among them: some hundred jets are enough for it.
        """
        laws = (law for law in self.laws if law.axis == "jets" and law.task != "probing")
        return {law.task: law.rate * jets / 3600 for law in laws}

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per size of a law."""
        for law in self.laws:
            for size, seconds, mebibytes in zip(law.sizes, law.medians, law.mebibytes, strict=True):
                yield {"task": law.task, "axis": law.axis, "n": size, "seconds": seconds, "MiB": mebibytes}

    def plot(self, ax: Any = None, *, legend: bool = True) -> Axes | Figure:
        """Draw time above memory, each against what grows, on logarithmic axes.

        Parameters
        ----------
        ax
            Eight axes, or one whose parts they are; a new figure by default.
        legend
            Whether to name the tasks.
        """
        if ax is None:
            axes: Sequence[Axes] = pyplot.subplots(2, 4, figsize=(11, 7), layout="constrained")[1].ravel()
        else:
            axes = panels(parts_of(ax, 8), 8)
        for place, axis in enumerate(AXES):
            laws = [law for law in self.laws if law.axis == axis]
            for law in laws:
                _draw(axes[place], law, law.medians, law.time)
                _draw(axes[4 + place], law, np.array(law.mebibytes), law.memory)
            for one, unit in ((axes[place], "time [s]"), (axes[4 + place], "memory [MiB]")):
                logarithmic(one)
                logarithmic(one, "x")
                one.set_xlabel(f"{axis}, n")
                one.set_ylabel(unit)
                if legend and laws:
                    one.legend(frameon=False, fontsize="x-small", loc="lower left", bbox_to_anchor=(0.0, 1.0))
                finished(one, "both")
        return ax if isinstance(ax, Axes) else figure_of(axes[0])


def _draw(ax: Axes, law: Law, values: NDArray[np.float64], exponent: Exponent) -> None:
    colour, marker = LOOKS[law.task]
    label = f"{law.task}, $n^{{{exponent}}}$" if np.isfinite(exponent.value) else law.task
    ax.plot(law.sizes, values, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)


def scaling(*, out: str | None = None, quick: bool = False, tasks: list[str] | None = None, repeats: int = 3) -> None:
    """Measure how time and memory of what jetsym does grow, and print the exponents.

    Reading is of ROOT files by a stream, training a step of a PointNet of its usual size, probing that of all layers of
    a narrow one, evaluation unrotated and rotated. Jets are random, reading's are the bundled ones. Every size has a
    process of its own with one thread; times are of the processor.

    Parameters
    ----------
    out
        A JSON file, a page (.html) or a figure (.png, .pdf, .svg) for the laws; JSON is kept up to date.
    quick
        The three smallest sizes of each, once.
    tasks
        Which ones: reading, training, probing, evaluation; all by default.
    repeats
        Calls of each that are timed, after one that warms up; fewer of those that take long.

    Raises
    ------
    ConfigError
        There is no such task, or nothing can be written to ``out``.
    """
    for name in tasks or ():
        if name not in LOOKS:
            raise ConfigError(f"tasks names {name!r}; {closest(name, LOOKS)}")
    expect_at_least("repeats", repeats, 1)
    if out is not None:
        check_out(out)
    start = time.monotonic()
    found = Scaling((), {"jetsym": __version__, "torch": torch.__version__, "threads": 1, "quick": quick})
    for task, axis in LAWS:
        if tasks is None or task in tasks:
            law = _measured(task, axis, 3 if quick else None, 1 if quick else repeats)
            found = replace(found, laws=(*found.laws, law))
            if out is not None and Path(out).suffix == ".json":
                found.save(out)
            print(f"[{time.monotonic() - start:4.0f} s] {task}, {axis}: time n^{law.time}", flush=True)
    if out is not None:
        found.save(out)
    Console(width=150).print(found.table())
    for task, hours in found.hours().items():
        print(f"{task} of 100 million jets: {hours:,.1f} hours of one processor")


def _measured(task: str, axis: str, few: int | None, repeats: int) -> Law:
    """Measure a law at all its sizes, or at the first few."""
    growth = LAWS[task, axis]
    sizes, seconds, mebibytes = growth.sizes[:few], [], []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="jetsym-scaling-") as folder:
            times, grown = costs(prepared, task, axis, size, Path(folder), repeats=repeats)
        seconds.append(tuple(times))
        mebibytes.append(grown)
    return Law(task, axis, sizes, tuple(seconds), tuple(mebibytes), growth.time, growth.memory)
