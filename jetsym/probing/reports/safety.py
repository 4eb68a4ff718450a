"""Reports of what moves that are no group change: curves against the size of a splitting or an emission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jetsym.results import Result
from jetsym.text import as_text, at_most, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["OPEN", "SAFE", "UNSAFE", "Curve", "Safety"]

#: What is found of an output in the limit.
SAFE, UNSAFE, OPEN = "safe", "not safe", "not told"
#: Power of the size with which a change that has no limit but zero falls, at least.
FALLS = 0.25


@dataclass(frozen=True)
class Curve:
    """The change of one output by a move, against the size of the move.

    Parameters
    ----------
    kind
        Of the output.
    change, change_stderr
        √⟨‖f(moved) − f‖²⟩ at every size, in the unit of the output, with jackknife errors over inputs.
    spread
        Standard deviation of the output across inputs, summed over components; NaN for a single input.
    rounding
        The change that rounding alone can make, at most.
    slope, slope_stderr
        k of change ∝ size^k between the two smallest sizes above 0; NaN where rounding makes either, or there are none.
    """

    kind: str
    change: tuple[float, ...]
    change_stderr: tuple[float, ...]
    spread: float
    rounding: float
    slope: float
    slope_stderr: float


@dataclass(frozen=True, eq=False)
class Safety(Result):
    """What a move that is no group changes, down to its limit.

    Parameters
    ----------
    move
        "collinear splitting", of angles in radians, or "soft emission", of shares of pT.
    sizes
        In rising order; 0 is the limit itself.
    curves
        Output name -> its changes at these sizes.
    meta
        Number of inputs and draws, options of the move, dtype, cost, notes.
    """

    move: str
    sizes: tuple[float, ...]
    curves: Mapping[str, Curve]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "safety"
    FORMAT: ClassVar[int] = 1

    def verdict(self, name: str) -> str:
        """Return what is found of an output in the limit of the move: "safe", "not safe" or "not told".

        Safe is a change that rounding explains at the smallest size, or that falls there faster than the fourth root of
        the size (the mass of a massless jet goes as the root); not safe one that stays at the limit itself, or falls
        less. It is said of these inputs, for which the changes are exact.
        """
        curve = self.curves[name]
        if curve.change[0] <= curve.rounding:
            return SAFE
        if self.sizes[0] == 0:
            return UNSAFE
        if curve.slope != curve.slope:
            return OPEN
        return SAFE if curve.slope > FALLS else UNSAFE

    def __str__(self) -> str:
        title = f"Change by a {self.move}, {self.meta['n_inputs']} inputs, {self.meta['draws']} of each"
        table = table_of(title, ("size", *self.curves))
        for place, size in enumerate(self.sizes):
            cells = (concise(c.change[place], c.change_stderr[place], floor=c.rounding) for c in self.curves.values())
            table.add_row(f"{size:.3g}", *cells, end_section=place == len(self.sizes) - 1)
        table.add_row("spread of the output", *(concise(curve.spread) for curve in self.curves.values()))
        return as_text(table, width=140) + "\n".join(self.sentences()) + "\n"

    def sentences(self) -> list[str]:
        """Say in plain words what was found for every output."""
        return [self._sentence(name, curve) for name, curve in self.curves.items()]

    def _sentence(self, name: str, curve: Curve) -> str:
        verdict, smallest = self.verdict(name), self.sizes[0]
        change = concise(curve.change[0], curve.change_stderr[0], floor=curve.rounding)
        part = f", {curve.change[0] / curve.spread:.2g} of its spread" if curve.spread > 0 else ""
        where = "in the limit" if smallest == 0 else f"at {smallest:.3g}"
        slope = "" if curve.slope != curve.slope else f" as its size^{concise(curve.slope, curve.slope_stderr)}"
        if verdict == SAFE and curve.change[0] <= curve.rounding:
            bound = at_most(curve.rounding)
            return f"{name} is safe: {where} a {self.move} changes it by no more than rounding (<{bound})."
        if verdict == SAFE:
            return f"{name} is safe: what a {self.move} changes falls{slope}, to {change}{part} {where}."
        if verdict == UNSAFE:
            return f"{name} is not safe: {where} a {self.move} still changes it by {change}{part}."
        return f"Whether {name} is safe cannot be told: {where} it changes by {change}{part}; give two sizes above 0."

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the changes, over the spread of the outputs, against size; see :func:`jetsym.plotting.plot_safety`."""
        from jetsym.plotting import plot_safety
        from jetsym.plotting.style import with_legend

        return with_legend(plot_safety(self, ax=ax), legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per output and size: its change, and what it is compared with."""
        for name, curve in self.curves.items():
            for size, change, stderr in zip(self.sizes, curve.change, curve.change_stderr, strict=True):
                row = {"output": name, "size": size, "change": change, "change_stderr": stderr}
                yield row | {"spread": curve.spread, "rounding": curve.rounding}
