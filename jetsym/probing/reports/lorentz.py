"""What a probe of the Lorentz group says, in three parts that are never mixed up: compact, local, and windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jetsym.probing.reports.boosts import DIRECTIONS, BoostReport, boost_fragment, boost_table
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.generators import LocalReport, local_cells, local_sentence
from jetsym.probing.reports.html import paragraphs, table_element
from jetsym.probing.reports.spectrum import SymmetryReport, report_fragment
from jetsym.storage import Stored
from jetsym.text import concise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LorentzReport", "lorentz_fragment", "lorentz_sentences", "lorentz_text"]


@dataclass(frozen=True, eq=False)
class LorentzReport(Stored):
    """Three honest measurements in place of a Lorentz spectrum, which does not exist.

    Parameters
    ----------
    compact
        "O3 rest", "O3 lab", "SO2 jet", "SO2 beam" -> spectra and errors under that subgroup, exactly.
    local
        "jet", "beam" -> the six generators along the axes of each jet, or of the lab.
    windows
        "beam", "jet", "random" -> boosts along that direction, in windows of rapidity.
    casimir
        Layer -> {"local": ∫ Σ_a‖J_a u‖² dμ, "spectrum": Σ λ(λ+1) b_λ, "tail": …}, both over N on the first inputs under
        SO(3) in the lab: the local and the compact measurement of the same thing, as far as l_max reaches.
    meta
        Numbers of inputs and evaluations, dtype, cost, notes.
    baseline
        The same measurement of an untrained copy, if it was asked for.
    """

    compact: Mapping[str, SymmetryReport]
    local: Mapping[str, LocalReport]
    windows: Mapping[str, BoostReport]
    casimir: Mapping[str, Mapping[str, float]]
    meta: Mapping[str, Any]
    baseline: LorentzReport | None = field(default=None)

    KIND: ClassVar[str] = "lorentz"
    FORMAT: ClassVar[int] = 1

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from input to output."""
        return next(iter(self.compact.values())).layers

    @property
    def equivariance(self) -> Mapping[str, Equivariance]:
        """Output name -> its error under the first compact group: O(3) about the jet's momentum at rest."""
        return next(iter(self.compact.values())).equivariance

    def plot(self, axes: Sequence[Axes] | None = None) -> Figure:
        """Draw the three parts side by side; see :func:`jetsym.plotting.plot_lorentz`."""
        from jetsym.plotting import plot_lorentz

        return plot_lorentz(self, axes)

    def sentences(self) -> list[str]:
        """One plain sentence for each part."""

        return lorentz_sentences(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            **{
                name: {key: report.to_dict() for key, report in getattr(self, name).items()}
                for name in ("compact", "local", "windows")
            },
            "casimir": {layer: dict(sides) for layer, sides in self.casimir.items()},
            "meta": dict(self.meta),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            compact={key: SymmetryReport.from_dict(item) for key, item in data["compact"].items()},
            local={key: LocalReport.from_dict(item) for key, item in data["local"].items()},
            windows={key: BoostReport.from_dict(item) for key, item in data["windows"].items()},
            casimir=dict(data["casimir"]),
            meta=dict(data["meta"]),
            baseline=None if data["baseline"] is None else cls.from_dict(data["baseline"]),
        )

    def __str__(self) -> str:

        return lorentz_text(self)

    def __repr__(self) -> str:
        return f"LorentzReport({len(self.layers)} layers, {self.meta['n_inputs']} inputs)"

    def _repr_html_(self) -> str:

        return lorentz_fragment(self)


def lorentz_sentences(report: LorentzReport) -> list[str]:
    """One plain sentence for each part."""
    result = []
    for name in report.equivariance:
        errors = [f"{_relative(part.equivariance[name])} under {title}" for title, part in report.compact.items()]
        result.append(f"Compact groups, exactly: relative A of {name} is {', '.join(errors)}.")
    result.append(local_sentence(report.local["jet"]))
    for name in report.equivariance:
        errors = [
            f"{_relative(part.equivariance[name])} along {DIRECTIONS.get(axis, axis)}"
            for axis, part in report.windows.items()
        ]
        first = next(iter(report.windows.values()))
        result.append(
            f"Boosts, of a declared {first.meta['distribution']} measure of width {first.widths[-1]:g}: relative A of "
            f"{name} is {', '.join(errors)}."
        )
    return [*result, _sides(report)]


def _relative(item: Equivariance) -> str:
    return concise(item.relative, item.relative_stderr, floor=item.noise_floor)


def _sides(report: LorentzReport) -> str:
    """How the local and the compact measurement of the same thing compare."""
    name = report.layers[-1]
    sides, l_max = report.casimir[name], report.compact["O3 lab"].meta["l_max"]
    return (
        f"The slopes under rotations and the spectrum of {name} are two measurements of one thing: ∫Σ‖J_a u‖² is "
        f"{sides['local']:.4g} of its power, Σ λ(λ+1) b up to λ = {l_max} is {sides['spectrum']:.4g}, and "
        f"{100 * sides['tail']:.2g} % of the power lies beyond, where it weighs most. (Slopes do not see jumps.)"
    )


def lorentz_text(report: LorentzReport) -> str:
    """All three parts, one below the other."""
    parts = [f"{title}\n{part}" for title, part in report.compact.items()]
    parts += [str(part) for part in report.local.values()]
    parts += [boost_table(part) for part in report.windows.values()]
    return "\n".join([*parts, *report.sentences()]) + "\n"


READING_SIDES = (
    "Both columns are ∫Σ‖J_a u‖² over ∫‖u‖² of the same first inputs: measured by slopes, and summed from the spectrum "
    "up to l_max. They hold no sampling error against each other; the gap is what lies beyond l_max, or in jumps."
)


READING_SLOPES = (
    "Each cell is ‖L f‖/‖f‖, how fast a layer starts to change under a generator, per radian for the rotations J and "
    "per unit of rapidity for the boosts K. Jumps, such as exchanged neighbours, are not seen."
)


def lorentz_fragment(report: LorentzReport) -> str:
    """The three parts, one after the other."""
    parts = [paragraphs(report.sentences())]
    for place, (title, compact) in enumerate(report.compact.items()):
        parts += [f"<h2>Compact: {escape(title)}</h2>", report_fragment(compact, explained=not place)]
    for axes, local in report.local.items():
        rows = [[layer, *local_cells(local, row)] for row, layer in enumerate(local.layers)]
        parts += [f"<h2>Local: generators along the axes of the {escape(axes)}</h2>"]
        parts += [table_element(["layer", *local.generators], rows), paragraphs([READING_SLOPES], note=True)]
    for axis, window in report.windows.items():
        parts += [f"<h2>Boosts along {escape(axis)}</h2>", boost_fragment(window)]
    rows = [
        [layer, f"{sides['local']:.4g}", f"{sides['spectrum']:.4g}", f"{100 * sides['tail']:.2g}"]
        for layer, sides in report.casimir.items()
    ]
    reading = paragraphs([READING_SIDES], note=True)
    header = ["layer", "∫ Σ‖J_a u‖² (slopes)", "Σ λ(λ+1) b (spectrum)", "beyond l_max (%)"]
    return "\n".join([*parts, "<h2>Slopes against spectrum</h2>", table_element(header, rows), reading])
