"""Reports on generators: how fast layers start to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from rich.table import Table

from jetsym.probing.reports.equivariance import Array
from jetsym.storage import Stored
from jetsym.text import _printed, root

__all__ = ["LocalReport", "local_cells", "local_sentence", "local_table"]


@dataclass(frozen=True, eq=False)
class LocalReport(Stored):
    """How fast every layer and output starts to change under the six generators of the Lorentz group.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    generators
        Names of the generators, J_x … K_z.
    squared, squared_stderr
        (layers, generators) Σ_x ‖L_X f‖² / Σ_x ‖f‖², per squared radian or unit of rapidity, with jackknife errors.
    meta
        Axes, method, numbers of inputs, dtype, cost, notes.
    """

    layers: tuple[str, ...]
    generators: tuple[str, ...]
    squared: Array
    squared_stderr: Array
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "local"
    FORMAT: ClassVar[int] = 1
    ARRAYS: ClassVar[tuple[str, ...]] = ("squared", "squared_stderr")

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "layers": list(self.layers),
            "generators": list(self.generators),
            **{name: getattr(self, name).tolist() for name in self.ARRAYS},
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            layers=tuple(data["layers"]),
            generators=tuple(data["generators"]),
            **{name: np.array(data[name], dtype=float) for name in cls.ARRAYS},
            meta=dict(data["meta"]),
        )

    def __str__(self) -> str:

        return local_table(self)


def local_cells(report: LocalReport, row: int) -> list[str]:
    """‖L_X f‖/‖f‖ of a layer for every generator."""
    return [root(*pair) for pair in zip(report.squared[row], report.squared_stderr[row], strict=True)]


def local_table(report: LocalReport) -> str:
    """‖L_X f‖/‖f‖ of every layer and output for every generator."""
    title = f"Slope ‖L_X f‖/‖f‖ per radian or unit of rapidity, axes of the {report.meta['axes']}"
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for name in report.generators:
        table.add_column(name, justify="right")
    for row, layer in enumerate(report.layers):
        table.add_row(layer, *local_cells(report, row))
    return _printed(table, columns=len(report.generators))


def local_sentence(report: LocalReport) -> str:
    """Which generator the last output feels most, and which least."""
    slopes = np.sqrt(np.maximum(report.squared[-1], 0.0))
    most, least = int(slopes.argmax()), int(slopes.argmin())
    return (
        f"Locally, {report.layers[-1]} changes fastest under {report.generators[most]} "
        f"({slopes[most]:.3g} of its size per radian or unit of rapidity, axes of the {report.meta['axes']}) and "
        f"slowest under {report.generators[least]} ({slopes[least]:.3g}); by {report.meta['method']}."
    )
