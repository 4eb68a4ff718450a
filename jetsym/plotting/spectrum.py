"""Layer spectra: the fraction of power in every irrep, layer by layer."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jetsym.arguments import checked
from jetsym.plotting.layers import Rows, grouped
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

__all__ = ["plot_invariant_share", "plot_spectrum"]

#: Fractions below this are not drawn, whatever the noise floor.
SMALLEST = 1e-7


@checked(report=kept("spectrum"))
def plot_spectrum(report: Any, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw the spectrum of every layer of a report, on a logarithmic scale.

    One line per irrep, from layer to layer; several outputs are parallel, and stand by themselves. The same measurement
    of the report's baseline as thin lines behind it; in grey the part beyond l_max, and what is unexplained, that part
    with what aliased from there; all with standard errors; the noise floor as a hatched band, where it is not too low
    to be seen. A new figure has the invariant share on a linear axis above the
    others, as it is often nearly all. Of more than twelve layers, groups are shown: their means, with bars from the
    smallest to the largest; tables and files have all.

    Parameters
    ----------
    report
        A :class:`jetsym.SymmetryReport`.
    ax
        Axes to draw into, the invariant share as well; a new figure of two where None.
    legend
        Whether to name the irreps beside the axes.

    Returns
    -------
    The axes; of a new figure the lower ones, of all irreps but the invariant one.
    """
    groups = grouped(report.layers, report.outputs)
    alone = ax is None and len(report.irreps) > 1
    if ax is None:
        ax, above = _new(len(groups), alone=alone)
        if above is not None:
            plot_invariant_share(report, above, legend=legend)
            above.tick_params(labelbottom=False)
    rows, first = Rows.of(report, groups), int(alone)
    lowest = max(SMALLEST, float(np.max(report.noise_floor)))
    if report.baseline is not None and report.baseline.layers == report.layers:
        _draw_baseline(ax, rows, report.baseline, lowest, first)
    for column, irrep in enumerate(report.irreps[first:], first):
        values, errors = rows.of_layers(report.fractions[:, column], report.stderr[:, column])
        draw_above(ax, rows.positions, values, errors, lowest, capsize=2, zorder=3, **irrep_style(irrep))
    values, errors = rows.of_layers(report.tail, report.tail_stderr)
    draw_above(ax, rows.positions, values, errors, lowest, label=beyond(report.irreps), **TAIL)
    if report.meta.get("held_out"):
        values, errors = rows.of_layers(report.unexplained, report.unexplained_stderr)
        draw_above(ax, rows.positions, values, errors, lowest, **UNEXPLAINED)
    _finish(ax, report, groups, lowest, first=first, legend=legend)
    return ax


@checked(report=kept("spectrum"))
def plot_invariant_share(report: Any, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw the invariant share of every layer's power, from 0 to 1, with errors; that of the baseline thin.

    Parameters are those of :func:`plot_spectrum`.
    """
    groups = grouped(report.layers, report.outputs)
    ax = axes_of(ax, _width(len(groups)), 2.2)
    rows, look = Rows.of(report, groups), irrep_style(report.irreps[0])
    if report.baseline is not None and report.baseline.layers == report.layers:
        values, errors = rows.of_layers(report.baseline.fractions[:, 0], report.baseline.stderr[:, 0])
        ax.errorbar(rows.positions, values, yerr=np.nan_to_num(errors), color=look["color"], **THIN)
    values, errors = rows.of_layers(report.fractions[:, 0], report.stderr[:, 0])
    ax.errorbar(rows.positions, values, yerr=np.nan_to_num(errors), capsize=2, zorder=3, **look)
    ax.set_ylim(min(0.0, float(np.nanmin(values))), max(1.02, float(np.nanmax(values))))
    label_layers(ax, [group.name for group in groups])
    ax.set_ylabel("invariant share")
    if legend:
        ax.legend(title=irrep_title(report.irreps), **LEGEND)
    return finished(ax)


#: How a baseline is drawn behind a report.
THIN: dict[str, Any] = {"linewidth": 0.8, "elinewidth": 0.8, "alpha": 0.35, "marker": "_", "zorder": 1}


def _width(rows: int) -> float:
    return max(5.0, 2.8 + 0.75 * rows)


def _new(rows: int, *, alone: bool) -> tuple[Axes, Axes | None]:
    """Make axes of a new figure, and with ``alone`` smaller ones above them."""
    if not alone:
        return axes_of(None, _width(rows), 3.6), None
    size = (_width(rows), 5.0)
    above, ax = plt.subplots(2, 1, figsize=size, layout="constrained", sharex=True, height_ratios=[1, 2.2])[1]
    return ax, above


def _draw_baseline(ax: Axes, rows: Rows, baseline: Any, lowest: float, first: int) -> None:
    for column, irrep in enumerate(baseline.irreps[first:], first):
        values, errors = rows.of_layers(baseline.fractions[:, column], baseline.stderr[:, column])
        look = {key: value for key, value in irrep_style(irrep).items() if key in ("color", "linestyle")}
        shown = np.where(values > lowest, values, np.nan)
        ax.errorbar(rows.positions, shown, yerr=np.nan_to_num(errors), **look, **THIN)


def _finish(ax: Axes, report: Any, groups: Any, lowest: float, *, first: int, legend: bool) -> None:
    log_scale(ax, low=lowest)
    small = report.fractions[:, first:]
    smallest = np.nanmin(np.where(small > lowest, small, np.nan), initial=1.0)
    ax.set_ylim(max(lowest, smallest / 3), 1.6)
    floor, low = float(np.max(report.noise_floor)), ax.get_ylim()[0] / 3
    if floor > low:
        ax.axhspan(low, floor, facecolor="none", edgecolor=TAIL_COLOUR, hatch="///", linewidth=0, label="noise floor")
    label_layers(ax, [group.name for group in groups])
    ax.set_ylabel("fraction of power b")
    finished(ax)
    if legend:
        handles, labels = ax.get_legend_handles_labels()
        last = (beyond(report.irreps), UNEXPLAINED["label"], "noise floor")
        order = sorted(range(len(labels)), key=lambda place: labels[place] in last)  # they come last
        named = [handles[place] for place in order], [labels[place] for place in order]
        if report.baseline is not None:
            named[0].append(Line2D([], [], color="black", linewidth=0.8, alpha=0.35))
            named[1].append("thin: baseline")
        if len(groups) < len(report.layers):
            named[0].append(Line2D([], [], color="black", marker="|", markersize=9, linestyle="none"))
            named[1].append("range in a group")
        ax.legend(*named, title=irrep_title(report.irreps), **LEGEND)
