"""Reports on the Lorentz group, in three parts that are never mixed up: compact, local, and windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

from jetsym.pages import render
from jetsym.probing.reports.base import expect_meta
from jetsym.probing.reports.boosts import DIRECTIONS, BoostReport
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.generators import LocalReport
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.results import Result
from jetsym.text import concise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LorentzReport"]


@dataclass(frozen=True, eq=False)
class LorentzReport(Result):
    """Three honest measurements in place of a Lorentz spectrum, which does not exist.

    Parameters
    ----------
    compact
        "O3 rest", "O3 lab", "SO2 jet", "SO2 beam" -> spectra and errors under that subgroup; arrays have no "SO2 jet".
    local
        "jet", "beam" -> the six generators along the axes of each jet, or of the lab; arrays have those of the lab.
    windows
        "beam", "jet", "random" -> boosts along that direction, in windows of rapidity; for arrays "beam", "x", "y".
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
        return next(iter(self.compact.values())).outputs

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, legend: bool = True) -> Figure:
        """Draw the three parts side by side, into three axes; see :func:`jetsym.plotting.plot_lorentz`."""
        from jetsym.plotting import plot_lorentz
        from jetsym.plotting.style import parts_of, with_legend

        return with_legend(plot_lorentz(self, parts_of(ax, 3)), legend, ax)

    def _heading(self) -> str:
        return f"Symmetry of {self.meta['model']}"

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all parts: "compact", "local" or "windows", and of which group, axes or direction."""
        for part in ("compact", "local", "windows"):
            for of, report in getattr(self, part).items():
                yield from ({"part": part, "of": of} | dict(row) for row in report._records())

    def sentences(self) -> list[str]:
        """Say in one plain sentence each what the three parts have found, and how two of them compare."""
        result = []
        for name in self.equivariance:
            errors = [f"{_relative(part.equivariance[name])} under {title}" for title, part in self.compact.items()]
            how = ", exactly" if all(part.is_seen(name) for part in self.compact.values()) else ""
            result.append(f"Compact groups{how}: relative A of {name} is {', '.join(errors)}.")
        result.append(next(iter(self.local.values())).sentence())
        for name in self.equivariance:
            errors = [
                f"{_relative(part.equivariance[name])} along {DIRECTIONS.get(axis, axis)}"
                for axis, part in self.windows.items()
            ]
            first = next(iter(self.windows.values()))
            result.append(
                f"Boosts, of a declared {first.meta['distribution']} measure of width {first.widths[-1]:g}: relative A "
                f"of {name} is {', '.join(errors)}."
            )
        return [*result, *_hidden(self), _sides(self)]

    def section(self) -> Markup:
        """Return the three parts, one after the other, for a notebook's cell or a page."""
        return render(
            "lorentz.html",
            sentences=self.sentences(),
            compact=[
                (title, part.section(explained=not place)) for place, (title, part) in enumerate(self.compact.items())
            ],
            local=[(axes, ["layer", *part.generators], part.rows()) for axes, part in self.local.items()],
            windows=[(axis, part.section()) for axis, part in self.windows.items()],
            sides=[
                [layer, f"{sides['local']:.4g}", f"{sides['spectrum']:.4g}", f"{100 * sides['tail']:.2g}"]
                for layer, sides in self.casimir.items()
            ],
        )

    def _check(self) -> None:
        for part, name in (("compact", "O3 lab"), ("local", "beam"), ("windows", "beam")):
            if name not in getattr(self, part):
                raise KeyError(f"{part}, {name}")
        expect_meta(self.meta)
        if not set(self.layers) <= set(self.casimir):
            raise KeyError("casimir")
        if any({"local", "spectrum", "tail"} - {*sides} for sides in self.casimir.values()):
            raise KeyError("a side of casimir")
        if any({*self.equivariance} - {*part.equivariance} for part in self.windows.values()):
            raise KeyError("equivariance of windows")

    def __str__(self) -> str:
        parts = [f"{title}\n{part}" for title, part in self.compact.items()]
        parts += [str(part) for part in self.local.values()]
        parts += [part.table() for part in self.windows.values()]
        return "\n".join([*parts, *self.sentences()]) + "\n"

    def __repr__(self) -> str:
        return f"LorentzReport({len(self.layers)} layers, {self.meta['n_inputs']} inputs)"


def _relative(item: Equivariance) -> str:
    return concise(item.relative, item.relative_stderr, floor=item.noise_floor)


def _hidden(report: LorentzReport) -> list[str]:
    """Say of which outputs and groups rounding hides the error."""
    parts: dict[str, SymmetryReport | BoostReport] = {
        **report.compact,
        **{f"boosts along {axis}": part for axis, part in report.windows.items()},
    }
    hidden = [
        f"{name} under {title} (relative A of up to {item.noise_floor:.1g})"
        for title, part in parts.items()
        for name, item in part.outputs.items()
        if item.is_hidden
    ]
    return [f"Cannot be told from rounding: {', '.join(hidden)}."] if hidden else []


def _sides(report: LorentzReport) -> str:
    """Say how the local and the compact measurement of the same thing compare."""
    name = report.layers[-1]
    sides, l_max = report.casimir[name], report.compact["O3 lab"].meta["l_max"]
    return (
        f"The slopes under rotations and the spectrum of {name} are two measurements of one thing: ∫Σ‖J_a u‖² is "
        f"{sides['local']:.4g} of its power, Σ λ(λ+1) b up to λ = {l_max} is {sides['spectrum']:.4g}, and "
        f"{100 * sides['tail']:.2g} % of the power lies beyond, where it weighs most."
    )
