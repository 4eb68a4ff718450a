"""Reports on generators: the slopes of layers and outputs along them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jetsym.probing.reports.base import LayerReport
from jetsym.probing.reports.equivariance import Array
from jetsym.spectrum.responses import EPS
from jetsym.text import as_text, concise_root, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["STEP", "LocalReport"]

#: Angle or rapidity of the central differences, of fourth order: large enough that what a network makes of rounding,
#: some 1e-9 of its response, is divided by no small number.
STEP = 2.0**-9
#: A slope is one where it is more than as many spacings of the numbers.
ROUNDING = 30.0


@dataclass(frozen=True, eq=False)
class LocalReport(LayerReport):
    """The slopes of every layer and output along the six generators of the Lorentz group.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    generators
        Names of the generators, J_x … K_z.
    squared, squared_stderr
        (layers, generators) Σ_x ‖L_X f‖² / Σ_x ‖f‖², per squared radian or unit of rapidity, with jackknife errors.
    meta
        Axes, method, numbers of inputs, dtype, cost, notes: among them where forward-mode derivatives are not those of
        what a model computes, as its graph is cut, so that the slopes are central differences.
    """

    layers: tuple[str, ...]
    generators: tuple[str, ...]
    squared: Array
    squared_stderr: Array
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "local"
    FORMAT: ClassVar[int] = 1
    ARRAYS: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("squared", "squared_stderr"), ("layers", "generators")
    )

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the slopes layer by layer; see :func:`jetsym.plotting.plot_generators`."""
        from jetsym.plotting import plot_generators
        from jetsym.plotting.style import with_legend

        return with_legend(plot_generators(self, ax), legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        for row, layer in enumerate(self.layers):
            for column, generator in enumerate(self.generators):
                squared = {name: getattr(self, name)[row, column] for name in ("squared", "squared_stderr")}
                yield {"layer": layer, "generator": generator} | squared

    def rows(self) -> list[list[str]]:
        """Write ‖L_X f‖/‖f‖ of every layer and output for every generator, after its name."""
        return [
            [layer, *(concise_root(*pair) for pair in zip(squared, stderr, strict=True))]
            for layer, squared, stderr in zip(self.layers, self.squared, self.squared_stderr, strict=True)
        ]

    def sentence(self) -> str:
        """Say which generator the last output feels most, and which least, if it surely feels any."""
        most, least = int(self.squared[-1].argmax()), int(self.squared[-1].argmin())
        cells = self.rows()[-1][1:]
        if not self._is_felt(most):
            return (
                f"Locally, no change of {self.layers[-1]} can be told from rounding: the largest, under "
                f"{self.generators[most]}, is {cells[most]} of its size per radian or unit of rapidity; by "
                f"{self.meta['method']}. Slopes do not see jumps."
            )
        return (
            f"Locally, {self.layers[-1]} changes fastest under {self.generators[most]} ({cells[most]} of its size per "
            f"radian or unit of rapidity, axes of the {self.meta['axes']}) and slowest under {self.generators[least]} "
            f"({cells[least]}); by {self.meta['method']}. Slopes do not see jumps."
        )

    def _is_felt(self, generator: int) -> bool:
        """Tell whether the slope of the last output is more than rounding makes."""
        method = str(self.meta["method"])  # differences say what they are made in
        dtype = next((name for name in EPS if f"in {name}" in method), str(self.meta.get("dtype")))
        magnified = 1 / STEP if "differences" in method else 1.0
        return bool(self.squared[-1, generator] > (ROUNDING * magnified * EPS.get(dtype, EPS["float32"])) ** 2)

    def __str__(self) -> str:
        title = f"Slope ‖L_X f‖/‖f‖ per radian or unit of rapidity, axes of the {self.meta['axes']}"
        cut = [note for note in self.meta["notes"] if "central differences" in note]
        return as_text(table_of(title, ("layer", *self.generators), self.rows()), *cut)
