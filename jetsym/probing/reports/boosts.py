"""Reports on boosts: window energies of every layer, and errors of outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from rich.table import Table

from jetsym.probing.reports.equivariance import Array, Equivariance
from jetsym.probing.reports.html import paragraphs, table_element
from jetsym.storage import Stored
from jetsym.text import _printed, concise, root

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BoostReport", "boost_fragment", "boost_sentences", "boost_table", "width_cells"]


@dataclass(frozen=True, eq=False)
class BoostReport(Stored):
    """Window energies of every layer, and the error of every output, under boosts.

    They belong to the declared measure on rapidity; boosts have no invariant one, and no spectrum over irreps.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    widths
        (widths,) η₀ of the uniform measures on [−η₀, η₀], or standard deviations of the normal ones, rising.
    energies, energies_stderr
        (widths, layers, orders) B_n/N of the orthonormal polynomials n = 0 … n_max, ratios of sums over inputs, with
        jackknife standard errors.
    squared, squared_stderr
        (widths, layers) A²/N = Σ_{n≥1} B_n/N over all n: relative A is the root.
    noise_floor
        (layers,) fraction that rounding can put into any energy.
    equivariance
        Output name -> its error in the widest window.
    meta
        Axis, distribution, numbers of evaluations and inputs, dtype, cost, notes.
    baseline
        The same measurement of an untrained copy, if it was asked for.
    """

    layers: tuple[str, ...]
    widths: Array
    energies: Array
    energies_stderr: Array
    squared: Array
    squared_stderr: Array
    noise_floor: Array
    equivariance: Mapping[str, Equivariance]
    meta: Mapping[str, Any]
    baseline: BoostReport | None = field(default=None)

    KIND: ClassVar[str] = "boosts"
    FORMAT: ClassVar[int] = 1
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "widths",
        "energies",
        "energies_stderr",
        "squared",
        "squared_stderr",
        "noise_floor",
    )

    @property
    def relative(self) -> Array:
        """(widths, layers) relative A of every layer and output: the curves in η₀."""
        return np.sqrt(np.maximum(self.squared, 0.0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw relative A of every layer against the width; see :func:`jetsym.plotting.plot_boosts`."""
        from jetsym.plotting import plot_boosts

        return plot_boosts(self, ax)

    def sentences(self) -> list[str]:
        """What was found, in plain words."""

        return boost_sentences(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "layers": list(self.layers),
            **{name: getattr(self, name).tolist() for name in self.ARRAYS},
            "equivariance": {name: asdict(item) for name, item in self.equivariance.items()},
            "meta": dict(self.meta),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            layers=tuple(data["layers"]),
            **{name: np.array(data[name], dtype=float) for name in cls.ARRAYS},
            equivariance={name: Equivariance(**item) for name, item in data["equivariance"].items()},
            meta=dict(data["meta"]),
            baseline=None if data["baseline"] is None else cls.from_dict(data["baseline"]),
        )

    def __str__(self) -> str:

        return boost_table(self) + "\n".join(self.sentences()) + "\n"

    def _repr_html_(self) -> str:

        return boost_fragment(self)

    def __repr__(self) -> str:
        return f"BoostReport({self.meta['axis']}, {len(self.layers)} layers, {len(self.widths)} widths)"


#: What each direction is called in a sentence.
DIRECTIONS = {"beam": "the beam", "jet": "the jet", "random": "random directions"}


def width_cells(report: BoostReport, row: int) -> list[str]:
    """Relative A of a layer in every window."""
    floor = math.sqrt(float(report.noise_floor[row]))
    return [root(report.squared[w, row], report.squared_stderr[w, row], floor=floor) for w in range(len(report.widths))]


def boost_sentences(report: BoostReport) -> list[str]:
    """What happens to every output under boosts."""
    axis = report.meta["axis"]
    along = DIRECTIONS.get(axis, axis) if isinstance(axis, str) else axis
    measure = f"{report.meta['distribution']} measure of width {report.widths[-1]:g}"
    result = []
    for name, item in report.equivariance.items():
        if abs(item.relative) <= item.noise_floor:
            text = f"{name} is invariant under boosts along {along} to within rounding ({measure})."
        else:
            text = (
                f"{name} changes by {concise(item.relative, item.relative_stderr)} of its size (relative A) under "
                f"boosts along {along} ({measure})."
            )
        result.append(text)
    return result


def boost_table(report: BoostReport) -> str:
    """Relative A of every layer and output in every window."""
    table = Table(title=f"Relative A under boosts along {report.meta['axis']}, by window width", title_justify="left")
    table.add_column("layer")
    for width in report.widths:
        table.add_column(f"{width:g}", justify="right")
    for row, layer in enumerate(report.layers):
        table.add_row(layer, *width_cells(report, row))
    return _printed(table, columns=len(report.widths))


READING_BOOSTS = (
    "Each cell is relative A, how far a layer departs from its mean over boosts, for a declared measure on rapidity of "
    "that width. Boosts have no invariant measure: other widths are other questions."
)


def boost_fragment(report: BoostReport) -> str:
    """Relative A of every layer and output in every window."""
    rows = [[layer, *width_cells(report, row)] for row, layer in enumerate(report.layers)]
    symbol = "η₀" if report.meta["distribution"] == "uniform" else "σ"
    table = table_element(["layer", *(f"{symbol} = {width:g}" for width in report.widths)], rows)
    return "\n".join([paragraphs(report.sentences()), table, paragraphs([READING_BOOSTS], note=True)])
