"""Spectra and equivariance errors over training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jetsym.arguments import checked
from jetsym.errors import refuse_unknown
from jetsym.plotting.spectrum import SMALLEST
from jetsym.plotting.style import (
    LEGEND,
    PALETTE,
    TAIL,
    axes_of,
    beyond,
    draw_above,
    finished,
    in_lines,
    irrep_style,
    irrep_title,
    kept,
    log_scale,
)

__all__ = ["plot_error_over_training", "plot_layer_over_training", "plot_over_training", "plot_watch"]

#: Panels side by side.
COLUMNS = 4


@checked(history=kept("history", "over", "watch"))
def plot_layer_over_training(history: Any, layer: str, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw the spectrum of one layer against steps: a line per irrep with standard errors, and the tail in grey.

    Parameters
    ----------
    history
        A :class:`jetsym.probing.reports.history.History`.
    layer
        The name of the layer or output.
    ax
        Axes to draw into; a new figure where None.
    legend
        Whether to name the irreps beside the axes.
    """
    refuse_unknown("layer", layer, history.layers)
    ax = axes_of(ax, 5.6, 3.4)
    row = history.layers.index(layer)
    fractions, stderr = (history.over_steps(name)[:, row] for name in ("fractions", "stderr"))
    lowest = max(SMALLEST, float(history.over_steps("noise_floor")[:, row].max()))
    for column, irrep in enumerate(history.irreps):
        values, errors = fractions[:, column], stderr[:, column]
        draw_above(ax, history.steps, values, errors, lowest, capsize=2, **irrep_style(irrep))
    values, errors = (history.over_steps(name)[:, row] for name in ("tail", "tail_stderr"))
    draw_above(ax, history.steps, values, errors, lowest, label=beyond(history.irreps), **TAIL)
    ax.set_ylim(lowest, 1.6)
    ax.set_title(in_lines(layer), fontsize="medium")
    ax.set_ylabel("fraction of power b")
    return _finished(ax, history, irrep_title(history.irreps) if legend else None)


@checked(history=kept("history", "over", "watch"))
def plot_error_over_training(history: Any, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw relative A of every output against steps, with standard errors, and A over its spread dashed.

    Parameters are those of :func:`plot_layer_over_training`.
    """
    ax = axes_of(ax, 5.6, 3.4)
    for place, output in enumerate(history.outputs):
        colour = PALETTE[place % len(PALETTE)]
        relative, stderr, spread, spread_stderr = (
            history.error(name, output) for name in ("relative", "relative_stderr", "over_spread", "over_spread_stderr")
        )
        style: dict[str, Any] = {"color": colour, "markersize": 4.5, "linewidth": 1.4}
        shown = np.where(relative > 0, relative, np.nan)
        ax.errorbar(history.steps, shown, yerr=stderr, capsize=2, marker="o", label=f"{output}: relative A", **style)
        shown = np.where(spread > 0, spread, np.nan)
        style |= {"linestyle": "--", "marker": "s", "markerfacecolor": "white"}
        ax.errorbar(history.steps, shown, yerr=np.nan_to_num(spread_stderr), capsize=2, label="A/spread", **style)
    ax.set_title("equivariance error", fontsize="medium")
    ax.set_ylabel("A")
    return _finished(ax, history, "output" if legend else None)


@checked(history=kept("history", "over", "watch"))
def plot_over_training(history: Any) -> Figure:
    """Draw a panel for every layer's spectrum and one for A, against steps."""
    return _panels(history, plt.figure(layout="constrained"), plot_error_over_training)


@checked(watch=kept("watch"))
def plot_watch(watch: Any) -> Figure:
    """Draw a panel for every layer's spectrum and one for A in the outputs' units, against epochs.

    The pretrained model stands before the first epoch, and dotted lines where the training was to end. The figure is
    none of pyplot's, so that it can be drawn in any thread.

    Parameters
    ----------
    watch
        A :class:`jetsym.atoms.Watch`.
    """
    figure = _panels(watch, Figure(layout="constrained"), _draw_absolute)
    first, last = int(watch.steps[0]), int(watch.steps[-1])
    least = first + 0.3 * (last - first) if first < 0 else first  # beside a word
    between = [int(tick) for tick in MaxNLocator(4, integer=True).tick_values(max(first, 0), max(last, 0))]
    ticks = [*([first] if first < 0 else []), *(tick for tick in between if least <= tick <= last)]
    for ax in figure.axes:
        ax.set_xticks(ticks, [watch.label(tick) for tick in ticks], fontsize="small")
        ax.set_xlim(first - 0.5, last + 0.5)
    return figure


def _draw_absolute(watch: Any, ax: Axes, *, legend: bool) -> Axes:
    """Draw A of every output in its unit against epochs, and dotted the bounds of the training."""
    for place, output in enumerate(watch.outputs):
        colour = PALETTE[place % len(PALETTE)]
        values, errors = (watch.error(name, output) for name in ("absolute", "absolute_stderr"))
        label = f"A of {output}" + (f" ({watch.units[output]})" if watch.units.get(output) else "")
        shown = np.where(values > 0, values, np.nan)
        look: dict[str, Any] = {"color": colour, "markersize": 4.5, "linewidth": 1.4}
        ax.errorbar(watch.steps, shown, yerr=np.nan_to_num(errors), capsize=2, marker="o", label=label, **look)
        for bound in watch.bounds:
            if bound.output == output:
                ax.axhline(bound.value, color=colour, linestyle=":", linewidth=1.0)
    ax.set_title("equivariance error", fontsize="medium")
    ax.set_ylabel("A")
    return _finished(ax, watch, "output" if legend else None)


def _panels(history: Any, figure: Figure, draw_error: Callable[..., Axes]) -> Figure:
    """Draw a panel for every layer's spectrum and one for A into a figure."""
    panels = len(history.layers) + bool(history.outputs)
    columns = min(COLUMNS, panels)
    rows = math.ceil(panels / columns)
    figure.set_size_inches(3.1 * columns + 1.1, 2.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    axes = list(grid.flat)
    spectra = axes[: len(history.layers)]
    for layer, ax in zip(history.layers, spectra, strict=True):
        plot_layer_over_training(history, layer, ax, legend=False)
        if ax is not grid[0, 0]:
            ax.set_ylabel("")
    lowest = min(ax.get_ylim()[0] for ax in spectra)
    for ax in spectra:
        ax.set_ylim(bottom=lowest)
    if history.outputs:
        draw_error(history, axes[panels - 1], legend=False)
    for ax in axes[panels:]:
        ax.remove()
    for place, ax in enumerate(axes[:panels]):
        lowest_of_column = place + columns >= panels
        ax.tick_params(labelbottom=lowest_of_column)
        ax.set_xlabel(history.unit if lowest_of_column else "")
    handles: dict[str, Any] = {}
    for ax in axes[:panels]:
        lines, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    names = sorted(handles, key=beyond(history.irreps).__eq__)  # the tail comes last
    figure.legend([handles[name] for name in names], names, loc="outside right center", frameon=False, fontsize="small")
    return figure


def _finished(ax: Axes, history: Any, title: str | None) -> Axes:
    log_scale(ax, low=SMALLEST)
    ax.set_xlabel(history.unit)
    if title is not None:
        ax.legend(title=title, **LEGEND)
    return finished(ax)
