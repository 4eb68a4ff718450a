"""What moves that are no group change, against their size."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jetsym.arguments import checked
from jetsym.plotting.style import LEGEND, axes_of, finished, kept, log_scale, logarithmic

__all__ = ["plot_safety"]


@checked(safety=kept("safety"))
def plot_safety(safety: Any, ax: Axes | None = None) -> Axes:
    """Draw the change of every output over its spread against the size of a splitting or an emission, with errors.

    Parameters
    ----------
    safety
        A :class:`~jetsym.probing.reports.safety.Safety`. The limit itself, size 0, is a dotted line.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, 5.2, 3.4)
    sizes = np.array(safety.sizes)
    shown = sizes > 0
    for name, curve in safety.curves.items():
        unit = curve.spread if curve.spread > 0 else 1.0
        values, errors = np.array(curve.change) / unit, np.array(curve.change_stderr) / unit
        drawn = ax.errorbar(sizes[shown], values[shown], errors[shown], marker="o", markersize=3.5, label=name)
        if not shown.all():
            ax.axhline(max(values[0], curve.rounding / unit), color=drawn[0].get_color(), linestyle=":", linewidth=1.0)
    logarithmic(ax, "x")
    log_scale(ax, low=1e-6)
    ax.set_xlabel(f"size of a {safety.move}")
    ax.set_ylabel("change over the spread of the output")
    ax.legend(**LEGEND)
    return finished(ax)
