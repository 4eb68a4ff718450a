"""What a model predicts against what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.plotting.style import PALETTE, axes_of, few_ticks, figure_of, finished, panels

__all__ = ["plot_parity", "plot_parity_of"]

#: Values of so many times their range have a number in common that is named once.
MUCH = 20.0


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
    zero = _common(np.concatenate([expected, found]))
    expected, found = expected - zero, found - zero
    ax.plot(expected, found, ".", markersize=3, alpha=0.5, color=PALETTE[0], rasterized=len(expected) > 1000)
    ends = [min(expected.min(), found.min()), max(expected.max(), found.max())]
    ax.plot(ends, ends, color="black", linewidth=0.6)
    in_unit = f" [{unit}]" if unit else ""
    name += f" {'−' if zero > 0 else '+'} {abs(zero):,.0f}" if zero else ""
    for which in ("x", "y"):
        few_ticks(ax, which)
    ax.set_xlabel(f"reference {name}{in_unit}")
    ax.set_ylabel(f"predicted {name}{in_unit}")
    ax.set_aspect("equal", adjustable="datalim")
    return finished(ax)


def _common(values: np.ndarray) -> float:
    """Return a round number that values have in common, beside which they hardly differ; 0 where there is none.

    Examples
    --------
    >>> _common(np.array([-1756713.0, -1756746.0])), _common(np.array([-20.0, 30.0]))
    (-1756700.0, 0.0)
    """
    range_, middle = float(np.ptp(values)), float(np.median(values))
    if not MUCH * range_ < abs(middle):
        return 0.0
    step = 10.0 ** max(0, np.ceil(np.log10(range_ or 1.0)))
    return float(round(middle / step) * step)
