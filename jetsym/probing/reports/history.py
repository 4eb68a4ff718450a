"""Histories: reports over training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError, ProbeError, closest
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.results import Result
from jetsym.spectrum import Irrep
from jetsym.text import as_text, concise, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FOLDER", "History", "Series"]


#: Folder of the probes inside that of a run, and the names of the files there.
FOLDER = "spectra"


NAME, PATTERN = "step-{:08d}.json", "step-[0-9]*.json"


class Series(Result, ABC):
    """Reports of the same layers, irreps and outputs, one for each of some numbers: what they are drawn and read by."""

    reports: tuple[SymmetryReport, ...]
    #: What a table of them begins with.
    TITLE: ClassVar[str] = "Over training"

    @property
    @abstractmethod
    def steps(self) -> NDArray[Any]:
        """(reports,) the numbers that they belong to."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """What these numbers are."""

    def _check_alike(self) -> None:
        """Refuse reports that do not go together."""
        first = self.reports[0]
        for place, report in enumerate(self.reports):
            for name in ("layers", "irreps"):
                here, there = getattr(first, name), getattr(report, name)
                if here != there:
                    raise DataError(
                        f"the probes of {self.unit} {self.steps[0]} and {self.steps[place]} are of other {name}: "
                        f"{[*map(str, here)]} and {[*map(str, there)]}; keep those of one model in a folder"
                    )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers and outputs, from input to output."""
        return self.reports[0].layers

    @property
    def irreps(self) -> tuple[Irrep, ...]:
        """Irreps up to the largest λ, 2 for those of a monitor."""
        return self.reports[0].irreps

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self.reports[0].outputs)

    @property
    def meta(self) -> Mapping[str, Any]:
        """Facts of the first probe."""
        return self.reports[0].meta

    def over_steps(self, name: str) -> NDArray[np.float64]:
        """Return one of the arrays of the reports over the probes, such as ``fractions`` (probes, layers, irreps)."""
        return np.stack([getattr(report, name) for report in self.reports])

    def error(self, name: str, output: str | None = None) -> NDArray[np.float64]:
        """Take a number of an output's :class:`~jetsym.probing.reports.equivariance.Equivariance`, (probes,).

        None takes the first output.

        Raises
        ------
        ProbeError
            There is no such output.
        """
        output = output or self.outputs[0]
        if output not in self.outputs:
            raise ProbeError(f"there is no output {output!r}; {closest(output, self.outputs)}")
        return np.array([getattr(report.equivariance[output], name) for report in self.reports])

    def row(self, layer: str) -> int:
        """Return the place of a layer.

        Raises
        ------
        ProbeError
            There is no such layer.
        """
        if layer not in self.layers:
            raise ProbeError(f"there is no layer {layer!r}; {closest(layer, self.layers)}")
        return self.layers.index(layer)

    def label(self, step: Any) -> str:
        """Name one of :attr:`steps` in a table."""
        return str(step)

    def plot(self, ax: Axes | None = None, *, layer: str | None = None, legend: bool = True) -> Axes | Figure:
        """Draw the spectra and A against steps.

        Without anything the figure has a panel for every layer and one for A; with ``layer`` the axes hold that
        layer's spectrum, with ``ax`` alone A. See :func:`jetsym.plotting.plot_over_training`.
        """
        from jetsym.plotting import plot_error_over_training, plot_layer_over_training, plot_over_training
        from jetsym.plotting.style import with_legend

        if layer is not None:
            self.row(layer)
            return plot_layer_over_training(self, layer, ax, legend=legend)
        if ax is None:
            return with_legend(plot_over_training(self), legend)
        return plot_error_over_training(self, ax, legend=legend)

    def _heading(self) -> str:
        return f"{self.TITLE}: symmetry of {self.meta['model']}"

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all reports, each with the number that it belongs to."""
        name = self.unit.removesuffix("s") or self.unit
        for step, report in zip(self.steps, self.reports, strict=True):
            yield from ({name: step} | dict(row) for row in report._records())

    def table(self, layer: str | None = None) -> str:
        """Return a row per probe: relative A and A over spread of the first output, and invariant shares of all layers.

        With ``layer`` the shares are those of all irreps in that layer. Standard errors in the last digits.
        """
        group = self.meta["group"]
        row = None if layer is None else self.row(layer)
        what = f"invariant share in % under {group}, by layer" if row is None else f"shares in % in {layer}"
        columns = self.layers if row is None else tuple(map(str, self.irreps))
        heads = (self.unit.removesuffix("s") or self.unit, "relative A", "A/spread", *columns)
        table = table_of(f"{self.TITLE}: A of {', '.join(self.outputs[:1])}; {what}", heads, words=0)
        for step, report in zip(self.steps, self.reports, strict=True):
            error = next(iter(report.outputs.values()), None)
            cells = ["—", "—"]
            if error is not None:
                relative = concise(error.relative, error.relative_stderr, floor=error.noise_floor)
                cells = [relative, concise(error.over_spread, error.over_spread_stderr)]
            place: Any = (slice(None), 0) if row is None else row
            shares = zip(report.fractions[place], report.stderr[place], strict=True)
            table.add_row(self.label(step), *cells, *(percent(b, e) for b, e in shares))
        return as_text(table)

    def __str__(self) -> str:
        return self.table()


@dataclass(frozen=True, eq=False)
class History(Series):
    """The symmetry of a model over its training.

    Parameters
    ----------
    reports
        One :class:`~jetsym.SymmetryReport` for every probe, with the number of finished steps as ``meta["step"]``, in
        the order of the steps; all of the same layers, irreps and outputs.

    Raises
    ------
    DataError
        There are none, or they do not go together.
    """

    reports: tuple[SymmetryReport, ...]

    KIND: ClassVar[str] = "history"
    FORMAT: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.reports:
            raise DataError("a history of no probes; expected at least one")
        if any("step" not in report.meta for report in self.reports):
            raise DataError("a report that does not say its step; expected those that a monitor has written")
        self._check_alike()

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read all probes of a run folder (or of its folder ``spectra``), or a file that :meth:`save` has written.

        Raises
        ------
        DataError
            There are none, or one is not what it should be.
        """
        path = Path(path).expanduser()
        if path.is_file():
            return super().load(path)
        for folder in (path / FOLDER, path):
            found = [SymmetryReport.load(file) for file in folder.glob(PATTERN)]
            if found:
                return cls(tuple(sorted(found, key=lambda report: int(report.meta.get("step", -1)))))
        raise DataError(
            f"{path} holds no probes of its training; train with monitor_every (--monitor_every), a number of steps"
        )

    @property
    def steps(self) -> NDArray[np.int64]:
        """(probes,) finished steps at every probe."""
        return np.array([report.meta["step"] for report in self.reports], dtype=np.int64)

    @property
    def unit(self) -> str:
        """The unit of the steps: "steps", or "epochs"."""
        return str(self.meta.get("unit", "steps"))

    def __repr__(self) -> str:
        steps = self.steps
        return f"History({len(steps)} probes of {len(self.layers)} layers, steps {steps[0]} to {steps[-1]})"

    def _content(self) -> dict[str, Any]:
        return {"steps": self.steps.tolist(), **super()._content()}
