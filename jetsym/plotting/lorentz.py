"""Boosts and generators: error curves in rapidity, and slopes under the six generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.arguments import checked
from jetsym.plotting.layers import condensed, grouped
from jetsym.plotting.spectrum import plot_spectrum
from jetsym.plotting.style import (
    DIRECTIONS,
    LEGEND,
    axes_of,
    figure_of,
    finished,
    kept,
    label_layers,
    log_scale,
    panels,
)

__all__ = ["plot_boosts", "plot_generators", "plot_lorentz"]


@checked(report=kept("boosts"))
def plot_boosts(report: Any, ax: Axes | None = None) -> Axes:
    """Draw relative A of every layer and output against the width of the window of rapidity, with errors.

    Of more than twelve layers, groups are shown: their means, with bars from the smallest to the largest.

    Parameters
    ----------
    report
        A :class:`~jetsym.probing.reports.boosts.BoostReport`.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, 5.2, 3.6)
    groups = grouped(report.layers, report.outputs)
    shades = colormaps["viridis_r"](np.linspace(0.15, 0.85, len(groups)))
    shown = np.where(report.squared > report.noise_floor, report.relative, np.nan)
    spread = np.nan_to_num(report.squared_stderr / (2 * shown))
    for row, group in enumerate(groups):
        one = [condensed(values, errors, [group]) for values, errors in zip(shown, spread, strict=True)]
        values, bars = np.array([mean[0] for mean, _ in one]), np.nan_to_num(np.hstack([ends for _, ends in one]))
        is_output = report.layers[group.places[0]] in report.outputs
        style = {"color": "black", "linewidth": 2.0} if is_output else {"color": shades[row], "linewidth": 1.2}
        ax.errorbar(report.widths, values, yerr=bars, marker="o", markersize=3.5, capsize=2, label=group.name, **style)
    ax.set_xscale("log")
    log_scale(ax, low=1e-6)
    ax.set_xticks(report.widths, [f"{width:g}" for width in report.widths])
    ax.minorticks_off()
    symbol = "y₀" if report.meta["distribution"] == "uniform" else "σ"
    axis = report.meta["axis"]
    ax.set_xlabel(f"rapidity {symbol} of boosts along {axis if isinstance(axis, str) else np.round(axis, 3).tolist()}")
    ax.set_ylabel("relative A")
    ax.legend(**LEGEND, title="layer")
    return finished(ax)


@checked(report=kept("local"))
def plot_generators(report: Any, ax: Axes | None = None) -> Axes:
    """Draw the slopes ‖L_X f‖/‖f‖ under the six generators, layer by layer, with errors; boosts dashed.

    Of more than twelve layers, groups are shown: their means, with bars from the smallest to the largest.

    Parameters
    ----------
    report
        A :class:`~jetsym.probing.reports.generators.LocalReport`.
    ax
        Axes to draw into; a new figure where None.
    """
    groups = grouped(report.layers, report.outputs)
    ax = axes_of(ax, max(5.0, 2.8 + 0.75 * len(groups)), 3.6)
    positions = np.arange(len(groups))
    for column, name in enumerate(report.generators):
        squared = np.where(report.squared[:, column] > 0, report.squared[:, column], np.nan)
        slopes = np.sqrt(squared)
        values, errors = condensed(slopes, np.nan_to_num(report.squared_stderr[:, column] / (2 * slopes)), groups)
        boost = name.startswith("K")
        ax.errorbar(
            positions + 0.05 * (column - 2.5),  # side by side, as some agree to within their errors
            values,
            yerr=np.nan_to_num(errors),
            color=DIRECTIONS[column % 3],
            linestyle="--" if boost else "-",
            marker="s" if boost else "o",
            markerfacecolor="white" if boost else DIRECTIONS[column % 3],
            markersize=4.5,
            linewidth=1.4,
            capsize=2,
            label=name.replace("_", ""),
        )
    log_scale(ax, low=1e-6)
    label_layers(ax, [group.name for group in groups])
    ax.set_ylabel("slope ‖L f‖ / ‖f‖")
    ax.legend(**LEGEND, title=f"axes of the {report.meta['axes']}")
    return finished(ax)


@checked(report=kept("lorentz"))
def plot_lorentz(report: Any, axes: Sequence[Axes] | None = None) -> Figure:
    """Draw the three parts of a :class:`~jetsym.probing.reports.lorentz.LorentzReport` side by side.

    The spectrum under O(3) at rest, the slopes under the generators along the jet's axes (those of the lab for
    arrays), and the error curves of boosts along the beam.

    Parameters
    ----------
    report
        The report.
    axes
        Three axes to draw into; a new figure where None.
    """
    width = max(5.0, 2.8 + 0.75 * len(grouped(report.layers)))
    widths = {"width_ratios": [width, width, 5.2]}
    axes = panels(axes, 3, figsize=(2 * width + 5.4, 3.9), gridspec_kw=widths)
    first = next(iter(report.compact))
    plot_spectrum(report.compact[first], axes[0]).set_title(f"compact: {first}", fontsize="medium")
    plot_generators(next(iter(report.local.values())), axes[1]).set_title("local: six generators", fontsize="medium")
    plot_boosts(report.windows["beam"], axes[2]).set_title("windows of rapidity", fontsize="medium")
    return figure_of(axes[0])
