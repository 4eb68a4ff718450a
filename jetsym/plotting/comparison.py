"""Reports side by side, by depth: shares, effective bandwidth, parity content, and the errors of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jetsym.arguments import checked
from jetsym.errors import ConfigError
from jetsym.plotting.layers import apart, grouped
from jetsym.plotting.style import (
    LEGEND,
    REPORTS,
    axes_of,
    figure_of,
    finished,
    irrep_style,
    kept,
    log_scale,
    tilt_labels,
)

__all__ = ["plot_bandwidths", "plot_comparison", "plot_depths", "plot_output_errors", "plot_pseudotensors"]

#: Shares below this are not drawn.
SMALLEST = 1e-5
#: Of new figures, in inches.
SIZE = 5.2, 3.4
#: In depth from output to output, which all have depth 1; and how many letters of their names a label has room for.
STEP, NAMED = 0.06, 24
#: Letters of all names that have room side by side below the axis.
ROOM = 40


@checked(comparison=kept("comparison"))
def plot_depths(comparison: Any, ax: Axes | None = None) -> Axes:
    """Draw the share of power at every λ, m or named irrep against depth, each with a colour; reports differ in line.

    Parameters
    ----------
    comparison
        A :class:`~jetsym.probing.reports.comparison.Comparison`.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, *SIZE)
    colours = {order: irrep_style(irrep)["color"] for order, irrep in comparison.orders.items()}
    for place, (report, name) in enumerate(zip(comparison.reports, comparison.names, strict=True)):
        for order in {irrep.order: irrep for irrep in report.irreps}:
            shares = comparison.shares(place, order)
            _line(ax, comparison, place, shares, color=colours[order], label=f"{order}, {name}")
    log_scale(ax, low=SMALLEST)
    ax.set_ylim(SMALLEST, 1.6)
    ax.set_ylabel("fraction of power")
    orders = [Line2D([], [], color=colour, linewidth=1.6, label=order) for order, colour in colours.items()]
    lines = [
        Line2D([], [], color="0.4", linestyle=linestyle, marker=marker, markersize=4.5, linewidth=1.4, label=name)
        for name, (linestyle, marker) in zip(comparison.names, cycle(REPORTS), strict=False)
    ]
    ax.legend(handles=[*orders, *lines], **LEGEND)
    return _by_depth(ax, comparison)


@checked(comparison=kept("comparison"))
def plot_bandwidths(comparison: Any, ax: Axes | None = None) -> Axes:
    """Draw the effective bandwidth Σ λ(λ+1) b against depth, with errors, where irreps have a λ.

    A caret upwards marks a lower bound, where what lies beyond l_max is not small.
    """
    ax = axes_of(ax, *SIZE)
    for place, (report, name) in enumerate(zip(comparison.reports, comparison.names, strict=True)):
        if not report.irreps[0].is_named:
            width = comparison.bandwidth(place)
            _line(ax, comparison, place, width, color="black", label=name, hide=False)
            least = comparison.is_lower_bound(place)
            ax.scatter(_places(comparison, place)[least], width.value[least], marker="^", color="0.4")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("effective bandwidth Σ λ(λ+1) b")
    _legend(ax)
    return _by_depth(ax, comparison)


@checked(comparison=kept("comparison"))
def plot_pseudotensors(comparison: Any, ax: Axes | None = None) -> Axes:
    """Draw the share of power in pseudotensors against depth, with errors, where the group has an inversion."""
    ax = axes_of(ax, *SIZE)
    for place, (report, name) in enumerate(zip(comparison.reports, comparison.names, strict=True)):
        if report.irreps[0].sigma == 1:
            pseudo = comparison.pseudo(place)
            seen = (pseudo.value > np.maximum(pseudo.floor, SMALLEST)).any()
            label = name if seen else f"{name} (below {SMALLEST:.0e})"
            _line(ax, comparison, place, pseudo, color="black", label=label)
    log_scale(ax, low=SMALLEST)
    _legend(ax)
    ax.set_ylim(SMALLEST, 1.6)
    ax.set_ylabel("fraction of power at σ = −")
    return _by_depth(ax, comparison)


@checked(comparison=kept("comparison"))
def plot_output_errors(comparison: Any, ax: Axes | None = None) -> Axes:
    """Draw relative A (open) and A over the spread across inputs (filled) of every output, with errors.

    A bar marks the noise floor of relative A, where it is near enough to be seen.
    """
    ax = axes_of(ax, *SIZE)
    labels: list[str] = []
    lowest = 1.0
    for place, (report, name) in enumerate(zip(comparison.reports, comparison.names, strict=True)):
        for output, item in report.outputs.items():
            here, marker = len(labels), REPORTS[place % len(REPORTS)][1]
            labels.append(f"{name}\n{output}" if len(comparison.names) > 1 else output)
            style: dict[str, Any] = {"marker": marker, "color": "black", "markersize": 5, "capsize": 2}
            for value, error, face, shift in (
                (item.relative, item.relative_stderr, "white", -0.1),
                (item.over_spread, item.over_spread_stderr, "black", 0.1),
            ):
                if value > 0:
                    lowest = min(lowest, value)
                    # On a logarithmic axis an error as large as the value reaches down to nothing.
                    below = min(np.nan_to_num(error), 0.999 * value)
                    errors = [[below], [np.nan_to_num(error)]]
                    ax.errorbar([here + shift], [value], yerr=errors, markerfacecolor=face, linestyle="none", **style)
            ax.hlines(item.noise_floor, here - 0.3, here + 0.3, color="0.6", linewidth=1.0)
    log_scale(ax, low=SMALLEST)
    ax.set_ylim(bottom=lowest / 10)
    if sum(max(map(len, label.splitlines())) for label in labels) > ROOM:
        tilt_labels(ax, [" ".join(label.splitlines()) for label in labels], width=ROOM)
    else:
        ax.set_xticks(range(len(labels)), labels, fontsize="small")
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set_ylabel("equivariance error A")
    handles = [
        Line2D([], [], color="black", marker="o", markerfacecolor=face, linestyle="none", label=label)
        for face, label in (("white", "over size (relative A)"), ("black", "over spread"))
    ]
    handles.append(Line2D([], [], color="0.6", label="noise floor"))
    ax.legend(handles=handles, **LEGEND)
    return finished(ax)


@checked(comparison=kept("comparison"))
def plot_comparison(comparison: Any, axes: Sequence[Axes] | None = None) -> Figure:
    """Draw the four of them together.

    Parameters
    ----------
    comparison
        A :class:`~jetsym.probing.reports.comparison.Comparison`.
    axes
        Four axes to draw into, in the order shares, bandwidth, pseudotensors, errors; a new figure where None.
    """
    if axes is None:
        axes = plt.subplots(2, 2, figsize=(9.6, 6.4), layout="constrained")[1].ravel()
    draw = (plot_depths, plot_bandwidths, plot_pseudotensors, plot_output_errors)
    if len(axes) != len(draw):
        raise ConfigError(f"axes are {len(axes)}; expected {len(draw)} to draw into")
    for one, ax in zip(draw, axes, strict=True):
        one(comparison, ax)
    return figure_of(axes[0])


def _line(ax: Axes, comparison: Any, place: int, column: Any, *, color: Any, label: str, hide: bool = True) -> None:
    """Draw one quantity of one report against depth; what is not above rounding is left out with ``hide``."""
    linestyle, marker = REPORTS[place % len(REPORTS)]
    floor = np.maximum(column.floor, SMALLEST)
    values = np.where(column.value > floor, column.value, np.nan) if hide else column.value
    report = comparison.reports[place]
    gaps = apart(grouped(report.layers, most=len(report.layers)), report.layers, report.hidden)
    ax.errorbar(
        gaps(_places(comparison, place)),
        gaps(values),
        yerr=np.nan_to_num(gaps(column.stderr)),
        color=color,
        linestyle=linestyle,
        marker=marker,
        markersize=4.5,
        linewidth=1.4,
        capsize=2,
        label=label,
    )


def _legend(ax: Axes) -> None:
    """Name the reports, where any was drawn."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**LEGEND)


def _ends(report: Any) -> list[str]:
    """Return the layers of a report that are outputs."""
    hidden = {*report.hidden}
    return [layer for layer in report.layers if layer not in hidden]


def _places(comparison: Any, place: int) -> Any:
    """Return where the layers of a report stand: by depth, and several outputs, all at 1, side by side from there."""
    report = comparison.reports[place]
    outputs = _ends(report)
    aside = [STEP * outputs.index(layer) if layer in outputs else 0.0 for layer in report.layers]
    return comparison.depths(place) + np.array(aside)


def _by_depth(ax: Axes, comparison: Any) -> Axes:
    outputs = [_ends(report) for report in comparison.reports]
    most = max(map(len, outputs))
    ax.set_xlim(-0.02, 1.04 + STEP * max(0, most - 1))
    names = ", ".join(outputs[0])
    same = all(one == outputs[0] for one in outputs) and len(names) <= NAMED
    several = f"from 1 on outputs: {names if same else 'side by side'}"
    ax.set_xlabel(f"depth (0 input, {several if most > 1 else '1 output'})")
    ax.set_xticks(np.linspace(0, 1, 6))
    return finished(ax)
