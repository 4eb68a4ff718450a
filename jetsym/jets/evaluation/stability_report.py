"""Reports on the stability of a tagger's decisions, as numbers, as a table of text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from rich.table import Table

from jetsym.results import Result
from jetsym.text import as_text, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FLIPS", "REJECTION", "Change", "ScoreCurve", "Stability"]

FLIPS, REJECTION = "flips", "rejection_"


@dataclass(frozen=True)
class Change:
    """The change of one quantity under one action.

    Parameters
    ----------
    unmoved, unmoved_stderr
        Of the jets as they are; the error is that of a finite sample of jets.
    mean, std, worst
        Over the draws; the worst is the largest share of flips, and the smallest of everything else. Rejections are
        averaged as shares of background that passes, of which they are the inverse: some draws may have none.
    difference, difference_stderr
        Mean minus unmoved. The error adds in squares the jackknife over jets, the same ones in both, and std/√draws.
        NaN for a rejection that is infinite, as no background passes: the sample is too small to tell.
    """

    unmoved: float
    unmoved_stderr: float
    mean: float
    std: float
    worst: float
    difference: float
    difference_stderr: float


@dataclass(frozen=True)
class ScoreCurve:
    """The score of jets that are moved further and further.

    Parameters
    ----------
    unit
        What the jets are moved by, for the axis of a figure.
    values
        How far: angles in degrees, or rapidities.
    scores, stderr
        Class -> mean probability that the jets of this class have for it, at every value, with its standard error.
    changes
        Class -> root mean square of how far that probability is from the one of the same jet unmoved.
    jets
        Class -> its jets.
    """

    unit: str
    values: tuple[float, ...]
    scores: Mapping[str, tuple[float, ...]]
    stderr: Mapping[str, tuple[float, ...]]
    changes: Mapping[str, tuple[float, ...]]
    jets: Mapping[str, int]


@dataclass(frozen=True)
class Stability(Result):
    """The stability of a tagger's decisions.

    Parameters
    ----------
    changes
        Action -> quantity -> :class:`Change`. "flips" is the share of jets whose most probable class is another one
        than that of the jet unmoved; with labels "accuracy", "macro_auc_ovo" (or "macro_auc_ovr"), and of signal
        against background "auc", "rejection_30" and "rejection_50", the inverse share of background that passes with
        30 % and 50 % of the signal.
    signal, background
        The two classes of "auc" and of the rejections, or None.
    jets, draws, seed
        Number of jets, elements per action, and their seed.
    notes
        What a reader must know.
    curves
        "rotation", "boost beam", "boost jet" -> scores against the size of the move, if that was asked for; see
        :func:`jetsym.jets.evaluation.curves.score_curves`.
    """

    changes: Mapping[str, Mapping[str, Change]]
    signal: str | None
    background: str | None
    jets: int
    draws: int
    seed: int
    notes: tuple[str, ...] = ()
    curves: Mapping[str, ScoreCurve] = field(default_factory=dict)

    KIND: ClassVar[str] = "stability"
    FORMAT: ClassVar[int] = 3

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw what every action changes of shares and areas; rejections, which have no such scale, are left out."""
        from jetsym.plotting.measured import Measured, plot_measured

        rows = [
            Measured(action, name, item.difference, item.difference_stderr)
            for action, found in self.changes.items()
            for name, item in found.items()
            if not name.startswith(REJECTION)
        ]
        return plot_measured(rows, "moved minus unmoved", ax, title="quantity", legend=legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per action and quantity."""
        for action, found in self.changes.items():
            yield from ({"action": action, "quantity": name} | asdict(item) for name, item in found.items())

    def _check(self) -> None:
        for curve in self.curves.values():
            for of in (curve.scores, curve.stderr, curve.changes):
                if any(len(row) != len(curve.values) for row in of.values()):
                    raise ValueError("a curve has not as many scores as values")

    def table(self) -> Table:
        """Return all changes, to be printed by rich."""
        heads = ("action", "quantity", "unmoved", "mean", "std", "worst", "change")
        title = f"{self.jets:,} jets, {self.draws} elements of each action"
        lines = table_of(title, heads, words=2, no_wrap=True)
        for action, changes in self.changes.items():
            for place, (name, change) in enumerate(changes.items()):
                cells = _cells(name, change)
                lines.add_row("" if place else action, name, *cells, end_section=place == len(changes) - 1)
        return lines

    def all_notes(self) -> list[str]:
        """Say what a reader must know, and what finite samples cannot tell."""
        return [*self.notes, *self._limits()]

    def __str__(self) -> str:
        return as_text(self.table(), width=120) + "".join(f"{note}\n" for note in self.all_notes())

    def _limits(self) -> list[str]:
        """Say what finite samples cannot tell."""
        notes = []
        still = [action for action, changes in self.changes.items() if not changes[FLIPS].mean]
        if still:
            limit = 100 * (1 - 0.05 ** (1 / self.jets))  # at which none is seen in one sample of twenty
            notes.append(f"No flips under {', '.join(still)}: a share above {limit:.2g} % is excluded at 95 %.")
        if any(np.isinf(change.mean) for changes in self.changes.values() for change in changes.values()):
            notes.append("An infinite rejection says that no background jet passes: the sample is too small for it.")
        return notes


def _cells(name: str, change: Change) -> list[str]:
    scale, unit = (100, " %") if name in (FLIPS, "accuracy") else (1, "")

    def number(value: float) -> str:
        return "—" if np.isnan(value) else f"{scale * value:.4g}{unit}"

    def measured(value: float, error: float) -> str:
        return concise(scale * value, scale * error) + ("" if np.isnan(value) else unit)

    return [
        "" if name == FLIPS else measured(change.unmoved, change.unmoved_stderr),
        number(change.mean),
        number(change.std),
        number(change.worst),
        "+" * (change.difference > 0) + measured(change.difference, change.difference_stderr),
    ]
