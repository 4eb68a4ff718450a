"""What a model predicts against what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.plotting.style import PALETTE, axes_of, figure_of, finished, panels

__all__ = ["plot_parity", "plot_parity_of"]


def plot_parity(outputs: Mapping[str, Mapping[str, Any]], axes: Sequence[Axes] | None = None) -> Figure:
    """Draw predictions against references, a panel for each output.

    Parameters
    ----------
    outputs
        Name -> "reference" and "predicted", of the same length, and their "unit".
    axes
        As many axes to draw into; a new figure where None.

    Raises
    ------
    ConfigError
        It is another number of axes.
    """
    drawn = panels(axes, len(outputs), figsize=(3.4 * len(outputs), 3.4))
    for ax, (name, values) in zip(drawn, outputs.items(), strict=True):
        plot_parity_of(values["reference"], values["predicted"], name=name, unit=values.get("unit", ""), ax=ax)
    return figure_of(drawn[0])


def plot_parity_of(
    reference: Sequence[float], predicted: Sequence[float], *, name: str, unit: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the predictions of one output against its references.

    Parameters
    ----------
    reference, predicted
        Of the same length.
    name, unit
        What they are, and in which unit.
    ax
        Axes to draw into; new ones by default.
    """
    ax = axes_of(ax, 6.4, 4.8)
    expected, found = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    ax.plot(expected, found, ".", markersize=3, alpha=0.5, color=PALETTE[0], rasterized=len(expected) > 1000)
    ends = [min(expected.min(), found.min()), max(expected.max(), found.max())]
    ax.plot(ends, ends, color="black", linewidth=0.6)
    in_unit = f" [{unit}]" if unit else ""
    ax.set_xlabel(f"reference {name}{in_unit}")
    ax.set_ylabel(f"predicted {name}{in_unit}")
    ax.set_aspect("equal", adjustable="datalim")
    return finished(ax)
