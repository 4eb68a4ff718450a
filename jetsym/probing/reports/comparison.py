"""``jetsym.compare``: reports of different models, or of one model at different times, on one axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jetsym.arguments import checked
from jetsym.errors import ProbeError
from jetsym.pages import render
from jetsym.probing.reports.derived import casimir_of, weighted
from jetsym.probing.reports.differences import Difference, differences_of
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.sentences import NOT_SMALL
from jetsym.probing.reports.spectrum import SymmetryReport, tail_floor
from jetsym.results import Result
from jetsym.spectrum import Irrep
from jetsym.text import as_text, concise, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Column", "Comparison", "compare", "numbered"]

Array = NDArray[np.float64]


@checked(ProbeError)
def compare(*reports: SymmetryReport | ReportsOver, names: Sequence[str] | None = None) -> Comparison:
    """Put reports side by side: shares by depth, effective bandwidth, parity content, and the errors of outputs.

    Parameters
    ----------
    *reports
        What :func:`jetsym.probe` found under a compact group, for any kind of model: taggers, potentials, functions.
        Those over the values of an argument are put side by side value by value.
    names
        What to call them; by default the names of the models, numbered where they repeat.

    Raises
    ------
    ProbeError
        No reports, one that has no spectrum, or names that do not fit.

    Examples
    --------
    >>> import numpy as np, jetsym
    >>> points = np.random.default_rng(0).normal(size=(8, 3))
    >>> vector, square = (jetsym.probe(f, points, l_max=2, progress=False) for f in (lambda x: x, lambda x: x**2))
    >>> compared = compare(vector, square, names=["x", "x²"])
    >>> [float(compared.bandwidth(place).value[-1].round(1)) for place in range(2)]
    [2.0, 2.7]
    >>> compared.warnings
    []
    """
    if not reports:
        raise ProbeError("no reports to compare; expected at least one")
    for report in reports:
        if not isinstance(report, SymmetryReport | ReportsOver):
            raise ProbeError(
                f"a {type(report).__name__} has no spectrum; expected what a probe under SO2, SO3 or O3 gives, such as "
                "report.compact['O3 rest'] of a Lorentz report"
            )
    if names is None:
        names = numbered([str(report.meta["model"]) for report in reports])
    if len(names) != len(reports) or len(set(names)) != len(names):
        raise ProbeError(f"names are {list(names)}; expected {len(reports)} different ones")
    opened = [pair for name, report in zip(names, reports, strict=True) for pair in _opened(name, report)]
    return Comparison(*zip(*opened, strict=True))


def _opened(name: str, report: SymmetryReport | ReportsOver) -> list[tuple[str, SymmetryReport]]:
    """Return a report with its name; those over the values of an argument one by one."""
    if isinstance(report, SymmetryReport):
        return [(name, report)]
    values = zip(report.values, report.reports, strict=True)
    return [(f"{name}, {report.argument} = {value:.6g}", one) for value, one in values]


def numbered(names: Sequence[str]) -> list[str]:
    """Give names a number where they repeat.

    Examples
    --------
    >>> numbered(["PET", "PointNet", "PET"])
    ['PET 1', 'PointNet', 'PET 2']
    """
    return [
        name if names.count(name) == 1 else f"{name} {list(names[: place + 1]).count(name)}"
        for place, name in enumerate(names)
    ]


class Column(NamedTuple):
    """A quantity of every layer of one report, (layers,), with errors and what rounding can make of it."""

    value: Array
    stderr: Array
    floor: Array


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """Reports side by side.

    Parameters
    ----------
    names
        What each report is called.
    reports
        The reports.

    Notes
    -----
    Depth runs from 0, the input, to 1, the output, in equal steps from layer to layer: layer k of n has the depth
    k/(n + 1). Relative A compares an output with its size, which may hold arbitrary constants; A over the spread of
    the symmetrised output across inputs does not, and is the one to compare across domains.
    """

    names: tuple[str, ...]
    reports: tuple[SymmetryReport, ...]

    KIND: ClassVar[str] = "comparison"
    FORMAT: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.reports)

    @property
    def orders(self) -> dict[str, Irrep]:
        """All λ, modes m and irreps with a name that any of the reports holds, in words, with an irrep of each."""
        return {irrep.order: irrep for report in self.reports for irrep in report.irreps}

    def depths(self, place: int) -> Array:
        """Return (layers,) the depth of every layer and output of a report."""
        report = self.reports[place]
        hidden = report.hidden
        return np.array(
            [(hidden.index(layer) + 1) / (len(hidden) + 1) if layer in hidden else 1.0 for layer in report.layers]
        )

    def shares(self, place: int, order: str) -> Column:
        """Return the fraction of power at one of :attr:`orders`, of either parity, such as "λ = 2"."""
        return self._sum(place, lambda irrep: float(irrep.order == order))

    def bandwidth(self, place: int) -> Column:
        """Compute Σ λ(λ+1) b_λ; see :func:`jetsym.probing.reports.derived.bandwidth`."""
        return self._sum(place, casimir_of)

    def is_lower_bound(self, place: int) -> NDArray[np.bool_]:
        """Tell of which layers the bandwidth is a lower bound, as what lies beyond l_max is not small."""
        return self.reports[place].unseen()[0] > NOT_SMALL

    def pseudo(self, place: int) -> Column:
        """Return the fraction of power in pseudotensors."""
        return self._sum(place, lambda irrep: float(irrep.sigma == -1))

    def _sum(self, place: int, weight: Callable[[Irrep], float]) -> Column:
        """Return a sum over irreps, and what rounding makes of it: of each irrep as much as its floor."""
        report = self.reports[place]
        floor = report.noise_floor * sum(abs(weight(irrep)) for irrep in report.irreps)
        return Column(*weighted(report, weight), floor)

    @property
    def warnings(self) -> list[str]:
        """Settings in which the reports differ, and what that means for the numbers."""
        result = []
        for key, meaning in SETTINGS.items():
            found = [str(report.meta.get(key)) for report in self.reports]
            if len(set(found)) > 1:
                result.append(f"The reports differ in {key} ({_listed(self.names, found)}): {meaning}.")
        kinds = [", ".join(sorted({item.kind for item in report.outputs.values()})) for report in self.reports]
        if len({kind for kind in kinds if kind}) > 1:
            result.append(
                f"The reports differ in normalisation ({_listed(self.names, kinds)}): relative A is over the size of "
                "the output, logits without their mean over classes, anything else with all its constants. Compare A "
                "over the spread."
            )
        return result

    def sentences(self) -> list[str]:
        """Say the warnings, and how far each model's power moves from its first layer to its output."""
        texts = []
        for place, (name, report) in enumerate(zip(self.names, self.reports, strict=True)):
            if report.irreps[0].is_named:
                continue
            width = self.bandwidth(place)
            least = self.is_lower_bound(place)
            ends = [
                "at least " * bool(least[row]) + concise(width.value[row], width.stderr[row], floor=width.floor[row])
                for row in (0, -1)
            ]
            texts.append(
                f"{name}: the effective bandwidth goes from {ends[0]} in {report.layers[0]} to {ends[1]} in "
                f"{report.layers[-1]}."
            )
        return [*self.warnings, *texts, *self._differences()]

    def differences(self, place: int) -> list[Difference]:
        """Return by how much each number of a report exceeds that of the first; see :mod:`.differences`."""
        return differences_of(self.reports[place], self.reports[0])

    def differing(self) -> list[list[str]]:
        """Write what surely differs from the first report: which report, layer and quantity, by how much, by chance."""
        return [
            [self.names[place], item.layer, item.quantity, concise(item.value, item.stderr), f"{item.p_value:.0e}"]
            for place in range(1, len(self))
            for item in sorted(self.differences(place), key=lambda item: item.p_value)
            if item.is_real
        ]

    def _differences(self) -> list[str]:
        """Say how many of the numbers of each report surely differ from those of the first, and which errors do."""
        texts = []
        for place in range(1, len(self)):
            found, names = self.differences(place), f"{self.names[place]} and {self.names[0]}"
            if not found:
                texts.append(
                    f"{names} have no layer or output of one name under one group, whose numbers could differ."
                )
                continue
            real = sum(item.is_real for item in found)
            text = f"{names}: {real} of {len(found)} numbers surely differ"
            for item in found:
                if item.quantity == "absolute A":
                    by = concise(item.value, item.stderr)
                    verdict = f"differs by {by}" if item.is_real else f"does not surely differ ({by})"
                    text += f"; absolute A of {item.layer} {verdict}"
            texts.append(f"{text}. Errors are combined as of independent inputs: of the same ones they are smaller.")
        return texts

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the cells of the table: name of the report, and the cells of one of its layers."""
        for place, (name, report) in enumerate(zip(self.names, self.reports, strict=True)):
            depths, width, pseudo = self.depths(place), self.bandwidth(place), self.pseudo(place)
            least, (value, stderr) = self.is_lower_bound(place), report.unseen()
            own = {irrep.order for irrep in report.irreps}
            shares = [self.shares(place, order) if order in own else None for order in self.orders]
            for row, layer in enumerate(report.layers):
                floor, item = float(report.noise_floor[row]), report.equivariance.get(layer)
                yield (
                    name,
                    [
                        layer,
                        f"{depths[row]:.2f}",
                        *(_percent(column, row) if column is not None else "—" for column in shares),
                        percent(report.tail[row], report.tail_stderr[row], tail_floor(floor)),
                        percent(value[row], stderr[row], floor),
                        "≥" * bool(least[row]) + concise(width.value[row], width.stderr[row], floor=width.floor[row]),
                        _percent(pseudo, row) if report.irreps[0].sigma == 1 else "—",
                        concise(item.relative, item.relative_stderr, floor=item.noise_floor) if item else "—",
                        concise(item.over_spread, item.over_spread_stderr) if item else "—",
                    ],
                )

    @property
    def header(self) -> list[str]:
        """Heads of the columns of :meth:`rows`, after the report's name."""
        return [
            "layer",
            "depth",
            *(f"{order} (%)" for order in self.orders),
            "tail (%)",
            "unexplained (%)",
            "bandwidth",
            "σ = − (%)",
            "relative A",
            "A / spread",
        ]

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per report, layer and quantity, with value and standard error.

        Quantities are the irreps by name, "tail", "unexplained", "bandwidth" and "pseudo", for outputs "relative A" and
        "A / spread".
        """
        columns = ("report", "layer", "depth", "quantity", "value", "stderr")
        return (dict(zip(columns, row, strict=True)) for row in self._numbers())

    def _numbers(self) -> Iterator[tuple[str, str, float, str, float, float]]:
        for place, (name, report) in enumerate(zip(self.names, self.reports, strict=True)):
            quantities = {
                str(irrep): (report.fractions[:, column], report.stderr[:, column])
                for column, irrep in enumerate(report.irreps)
            }
            quantities |= {"tail": (report.tail, report.tail_stderr), "unexplained": report.unseen()}
            if not report.irreps[0].is_named:  # those have neither
                quantities |= {"bandwidth": self.bandwidth(place)[:2], "pseudo": self.pseudo(place)[:2]}
            for row, (layer, depth) in enumerate(zip(report.layers, self.depths(place), strict=True)):
                for quantity, (value, stderr) in quantities.items():
                    yield name, layer, float(depth), quantity, float(value[row]), float(stderr[row])
                item = report.equivariance.get(layer)
                if item is not None:
                    yield name, layer, 1.0, "relative A", item.relative, item.relative_stderr
                    yield name, layer, 1.0, "A / spread", item.over_spread, item.over_spread_stderr

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, legend: bool = True) -> Figure:
        """Draw all of it, into four axes; see :func:`jetsym.plotting.plot_comparison`."""
        from jetsym.plotting import plot_comparison
        from jetsym.plotting.style import parts_of, with_legend

        return with_legend(plot_comparison(self, parts_of(ax, 4)), legend, ax)

    def _heading(self) -> str:
        return f"Symmetry of {', '.join(self.names)}"

    def section(self) -> Markup:
        """Return the warnings and the table, for a notebook's cell or a page."""
        rows = [[name, *cells] for name, cells in self.rows()]
        return render(
            "comparison.html",
            sentences=self.sentences(),
            header=["report", *self.header],
            rows=rows,
            differing=self.differing(),
            differing_header=DIFFERING,
        )

    def _check(self) -> None:
        if len(self.names) != len(self.reports) or not self.names:
            raise ValueError(f"{len(self.names)} names for {len(self.reports)} reports")

    def __str__(self) -> str:
        title = "Power per λ, m or irrep, effective bandwidth, pseudotensors, errors"
        table = table_of(title, ("report", *self.header), words=2)
        last = self.names[0]
        for name, cells in self.rows():
            if name != last:
                table.add_section()
            table.add_row(name, *cells)
            last = name
        differing = self.differing()
        title = f"Surely not as in {self.names[0]}"
        shown = [table, *([table_of(title, DIFFERING, differing, words=3)] if differing else [])]
        return as_text(*shown) + "\n".join(self.sentences()) + "\n"

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


#: Heads of the columns of :meth:`Comparison.differing`.
DIFFERING = ("report", "layer", "quantity", "difference", "by chance")

#: What reports should have been measured alike in, and what follows where they were not.
SETTINGS = {
    "group": "their irreps are not the same ones",
    "frame": "the group acts in different frames",
    "axis": "their axes differ",
    "l_max": "the bandwidth counts what lies up to each report's own l_max",
    "method": "random rotations are unbiased and noisier, quadrature aliases what lies beyond l_max",
    "dtype": "their noise floors are not the same",
}


def _listed(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{name}: {value or 'none'}" for name, value in zip(names, values, strict=True))


def _percent(column: Column, row: int) -> str:
    return percent(column.value[row], column.stderr[row], column.floor[row])
