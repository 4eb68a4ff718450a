"""Reports on boosts: window energies of every layer, and errors of outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from markupsafe import Markup

from jetsym.pages import render
from jetsym.probing.reports.base import LayerReport
from jetsym.probing.reports.equivariance import KNOWN_TO, Array, Equivariance
from jetsym.probing.reports.sentences import NOT_SMALL
from jetsym.text import as_text, concise, concise_root, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DIRECTIONS", "BoostReport"]


@dataclass(frozen=True, eq=False)
class BoostReport(LayerReport):
    """Window energies of every layer, and the error of every output, under boosts.

    They belong to the declared measure on rapidity; boosts have no invariant one, and no spectrum over irreps.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    widths
        (widths,) y₀ of the uniform measures on [−y₀, y₀], or standard deviations of the normal ones, rising.
    energies, energies_stderr
        (widths, layers, orders) B_n/N of the orthonormal polynomials n = 0 … n_max, ratios of sums over inputs, with
        jackknife standard errors.
    squared, squared_stderr
        (widths, layers) A²/N = Σ_{n≥1} B_n/N over all n: relative A is the root.
    unexplained, unexplained_stderr
        (widths, layers) what the nodes of the window do not see, over the power: that beyond the largest order they
        resolve and that of what strayed into lower ones, found at ``meta["held_out"]`` random boosts of each input's
        own. Where it is more than rounding, which ``meta["unbiased"]`` names for every width, energies and A are
        unbiased estimates with their help. NaN in older reports.
    noise_floor
        (widths, layers) fraction that rounding can put into any energy: wide boosts magnify it.
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
    unexplained: Array
    unexplained_stderr: Array
    noise_floor: Array
    equivariance: Mapping[str, Equivariance]
    meta: Mapping[str, Any]
    baseline: BoostReport | None = field(default=None)

    KIND: ClassVar[str] = "boosts"
    FORMAT: ClassVar[int] = 2  # 2: a noise floor for every width, and what the nodes do not see
    ARRAYS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "widths": ("widths",),
        "energies": ("widths", "layers", "orders"),
        "energies_stderr": ("widths", "layers", "orders"),
        **dict.fromkeys(("squared", "squared_stderr", "unexplained", "unexplained_stderr"), ("widths", "layers")),
        "noise_floor": ("widths", "layers"),
    }
    MORE_FACTS: ClassVar[tuple[str, ...]] = ("axis", "distribution", "evaluations", "frame", "seed")

    @property
    def relative(self) -> Array:
        """(widths, layers) relative A of every layer and output: the curves in y₀."""
        return np.sqrt(np.maximum(self.squared, 0.0))

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw relative A of every layer against the width; see :func:`jetsym.plotting.plot_boosts`."""
        from jetsym.plotting import plot_boosts
        from jetsym.plotting.style import with_legend

        return with_legend(plot_boosts(self, ax), legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per width, layer and polynomial; A²/N, the floor and what is unexplained stand in each."""
        for place, width in enumerate(self.widths):
            for row, layer in enumerate(self.layers):
                of_layer = {
                    name: getattr(self, name)[place, row]
                    for name in ("squared", "squared_stderr", "unexplained", "unexplained_stderr", "noise_floor")
                }
                energies = zip(self.energies[place, row], self.energies_stderr[place, row], strict=True)
                for order, (energy, stderr) in enumerate(energies):
                    row_of = {"width": width, "layer": layer, "order": order}
                    yield row_of | {"energy": energy, "stderr": stderr} | of_layer

    def sentences(self) -> list[str]:
        """Say what happens to every output under boosts."""
        axis = self.meta["axis"]
        along = DIRECTIONS.get(axis, axis) if isinstance(axis, str) else axis
        measure = f"{self.meta['distribution']} measure of width {self.widths[-1]:g}"
        result = []
        for name, item in self.equivariance.items():
            row = self.layers.index(name)
            if item.is_within_rounding and not self.unexplained[-1, row] > KNOWN_TO**2 * self.noise_floor[-1, row]:
                text = f"{item.verdict(name, item.law, f'boosts along {along}')} ({measure})."
            else:
                verb = "changes" if item.law == "invariant" else f"misses its law as {item.kind}"
                text = (
                    f"{name} {verb} by {concise(item.relative, item.relative_stderr)} of its size (relative A) under "
                    f"boosts along {along} ({measure})."
                )
            result.append(text)
        return [*result, *self._convergence()]

    def _convergence(self) -> list[str]:
        """Say where the nodes of a window do not resolve a layer."""
        values = np.nan_to_num(self.unexplained)
        place, row = np.unravel_index(int(values.argmax()), values.shape)
        if values[place, row] <= NOT_SMALL:
            return []
        left = percent(values[place, row], self.unexplained_stderr[place, row])
        return [
            f"The nodes of width {self.widths[place]:g} leave {left} % of {self.layers[row]} unexplained: it varies "
            "faster than they resolve. Its numbers are unbiased estimates, with the help of "
            f"{self.meta.get('held_out', 0)} random boosts of each input's own; a larger l_max takes more nodes."
        ]

    def rows(self) -> list[list[str]]:
        """Write relative A of every layer and output in every window, after its name."""
        floors = np.sqrt(self.noise_floor)
        return [
            [
                layer,
                *(
                    concise_root(squared[row], stderr[row], floor=floor[row])
                    for squared, stderr, floor in zip(self.squared, self.squared_stderr, floors, strict=True)
                ),
            ]
            for row, layer in enumerate(self.layers)
        ]

    def table(self) -> str:
        """Return relative A of every layer and output in every window, as text."""
        title = f"Relative A under boosts along {self.meta['axis']}, by window width"
        return as_text(table_of(title, ("layer", *(f"{width:g}" for width in self.widths)), self.rows()))

    def section(self) -> Markup:
        """Return it for a notebook's cell or a page."""
        symbol = "y₀" if self.meta["distribution"] == "uniform" else "σ"
        header = ["layer", *(f"{symbol} = {width:g}" for width in self.widths)]
        return render("boosts.html", sentences=self.sentences(), header=header, rows=self.rows())

    def __str__(self) -> str:
        return self.table() + "\n".join(self.sentences()) + "\n"

    def __repr__(self) -> str:
        return f"BoostReport({self.meta['axis']}, {len(self.layers)} layers, {len(self.widths)} widths)"


#: What each direction is called in a sentence.
DIRECTIONS = {"beam": "the beam", "jet": "the jet", "random": "random directions"}
