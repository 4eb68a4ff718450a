"""Layer spectra: the fraction of power in every irrep, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jetsym.arguments import checked
from jetsym.plotting.style import (
    LEGEND,
    TAIL,
    TAIL_COLOUR,
    UNEXPLAINED,
    axes_of,
    beyond,
    draw_above,
    finished,
    irrep_style,
    irrep_title,
    kept,
    label_layers,
    log_scale,
)

__all__ = ["plot_spectrum"]

#: Fractions below this are not drawn, whatever the noise floor.
SMALLEST = 1e-7


@checked(report=kept("spectrum"))
def plot_spectrum(report: Any, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw the spectrum of every layer of a report, on a logarithmic scale.

    One line per irrep; the same measurement of the report's baseline as thin lines behind it; in grey the part beyond
    l_max, and what is unexplained, that part with what aliased from there; all with standard errors; the noise floor as
    a hatched band, where it is not too low to be seen.

    Parameters
    ----------
    report
        A :class:`jetsym.SymmetryReport`.
    ax
        Axes to draw into; a new figure where None.
    legend
        Whether to name the irreps beside the axes.

    Returns
    -------
    The axes.
    """
    width = max(5.0, 2.8 + 0.75 * len(report.layers))
    ax = axes_of(ax, width, 3.6)
    positions = np.arange(len(report.layers))
    lowest = max(SMALLEST, float(np.max(report.noise_floor)))
    if report.baseline is not None and report.baseline.layers == report.layers:
        _draw_baseline(ax, positions, report.baseline, lowest)
    for column, irrep in enumerate(report.irreps):
        values, errors = report.fractions[:, column], report.stderr[:, column]
        draw_above(ax, positions, values, errors, lowest, capsize=2, zorder=3, **irrep_style(irrep))
    draw_above(ax, positions, report.tail, report.tail_stderr, lowest, label=beyond(report.irreps), **TAIL)
    if report.meta.get("held_out"):
        draw_above(ax, positions, report.unexplained, report.unexplained_stderr, lowest, **UNEXPLAINED)
    _finish(ax, report, lowest, legend)
    return ax


def _draw_baseline(ax: Axes, positions: Any, baseline: Any, lowest: float) -> None:
    for column, irrep in enumerate(baseline.irreps):
        values = np.where(baseline.fractions[:, column] > lowest, baseline.fractions[:, column], np.nan)
        look = {key: value for key, value in irrep_style(irrep).items() if key in ("color", "linestyle")}
        errors = np.nan_to_num(baseline.stderr[:, column])
        ax.errorbar(positions, values, yerr=errors, linewidth=0.8, elinewidth=0.8, alpha=0.35, zorder=1, **look)


def _finish(ax: Axes, report: Any, lowest: float, legend: bool) -> None:
    log_scale(ax, low=lowest)
    smallest = np.nanmin(np.where(report.fractions > lowest, report.fractions, np.nan), initial=1.0)
    ax.set_ylim(max(lowest, smallest / 3), 1.6)
    floor = float(np.max(report.noise_floor))
    if floor > ax.get_ylim()[0] / 3:
        ax.axhspan(ax.get_ylim()[0] / 3, floor, facecolor="none", edgecolor=TAIL_COLOUR, hatch="///", linewidth=0)
    label_layers(ax, report.layers)
    ax.set_ylabel("fraction of power b")
    finished(ax)
    if legend:
        handles, labels = ax.get_legend_handles_labels()
        last = (beyond(report.irreps), UNEXPLAINED["label"])
        order = sorted(range(len(labels)), key=lambda place: labels[place] in last)  # they come last
        title = irrep_title(report.irreps)
        ax.legend([handles[place] for place in order], [labels[place] for place in order], title=title, **LEGEND)
