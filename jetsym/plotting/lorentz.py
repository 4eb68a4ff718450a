"""Boosts and generators: error curves in rapidity, and slopes under the six generators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jetsym.arguments import checked
from jetsym.plotting.layers import LayerGroup, Rows, condensed, grouped
from jetsym.plotting.spectrum import plot_spectrum
from jetsym.plotting.style import (
    DIRECTIONS,
    LEGEND,
    REPORTS,
    axes_of,
    figure_of,
    finished,
    kept,
    label_layers,
    log_scale,
    logarithmic,
    panels,
)
from jetsym.text import at_most

__all__ = ["plot_boosts", "plot_generators", "plot_lorentz"]

#: How the noise floor is drawn where a curve is below it.
BELOW: dict[str, Any] = {"marker": "v", "markerfacecolor": "white", "linestyle": "none"}


@checked(report=kept("boosts"))
def plot_boosts(report: Any, ax: Axes | None = None) -> Axes:
    """Draw relative A of every layer and output against the width of the window of rapidity, with errors.

    Of more than twelve layers, groups are shown: their means, with bars from the smallest to the largest. Where
    rounding explains A, a hollow caret downwards marks the noise floor, which it is below; of a layer of which that is
    so in all windows the legend says it, and carets stand only where nothing else is drawn.

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
    curves = []
    for row, group in enumerate(groups):
        is_output = report.layers[group.places[0]] in report.outputs
        style = {"color": "black", "linewidth": 2.0} if is_output else {"color": shades[row], "linewidth": 1.2}
        curves.append(_curve(report, group, group.name, style))
    _draw_curves(ax, curves)
    axis = report.meta["axis"]
    along = axis if isinstance(axis, str) else np.round(axis, 3).tolist()
    ax.set_xlabel(f"rapidity {_symbol(report)} of boosts along {along}")
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
    return _draw_generators(report, ax, report.hidden)


def _draw_generators(report: Any, ax: Axes | None, hidden: Collection[str]) -> Axes:
    """Draw slopes; several outputs, which are not ``hidden``, are parallel and stand by themselves."""
    groups = grouped(report.layers, report.outputs)
    ax = axes_of(ax, max(5.0, 2.8 + 0.75 * len(groups)), 3.6)
    rows = Rows.of(report, groups, hidden)
    for column, name in enumerate(report.generators):
        squared = np.where(report.squared[:, column] > 0, report.squared[:, column], np.nan)
        slopes = np.sqrt(squared)
        values, errors = rows.of_layers(slopes, np.nan_to_num(report.squared_stderr[:, column] / (2 * slopes)))
        boost = name.startswith("K")
        ax.errorbar(
            rows.positions + 0.05 * (column - 2.5),  # side by side, as some agree to within their errors
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
    arrays), and the error curves of boosts: those of the outputs, or else of the last layer, along every axis that was
    measured. :func:`plot_boosts` draws all layers along one axis.

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
    slopes, hidden = next(iter(report.local.values())), report.compact[first].hidden
    _draw_generators(slopes, axes[1], hidden).set_title("local: six generators", fontsize="medium")
    _plot_windows(report.windows, axes[2]).set_title("windows of rapidity", fontsize="medium")
    return figure_of(axes[0])


class _Curve(NamedTuple):
    """A layer or group in every window of rapidity.

    Parameters
    ----------
    name, style
        What it is called, and keyword arguments of ``ax.errorbar``.
    widths
        (widths,) of the windows.
    values, bars
        (widths,) relative A, and (2, widths) its bars.
    floor
        (widths,) relative A that rounding alone can make.
    seen
        (widths,) whether it is more than that.
    """

    name: str
    style: Mapping[str, Any]
    widths: Any
    values: Any
    bars: Any
    floor: Any
    seen: Any

    @property
    def label(self) -> str:
        """Its name, and the largest of its noise floors where it lies below all of them."""
        return self.name if self.seen.any() else f"{self.name} (below {at_most(float(self.floor.max()))})"


def _curve(report: Any, group: LayerGroup, name: str, style: Mapping[str, Any]) -> _Curve:
    """Take a group's curve from a report; it is seen where any of its layers is."""
    above = report.squared > report.noise_floor
    spread = np.nan_to_num(report.squared_stderr / (2 * np.where(above, report.relative, np.nan)))
    one = [condensed(values, errors, [group]) for values, errors in zip(report.relative, spread, strict=True)]
    return _Curve(
        name,
        style,
        report.widths,
        np.array([mean[0] for mean, _ in one]),
        np.hstack([ends for _, ends in one]),
        np.sqrt(report.noise_floor[:, group.places].max(axis=1)),
        above[:, group.places].any(axis=1),
    )


def _draw_curves(ax: Axes, curves: Sequence[_Curve]) -> None:
    """Draw curves on logarithmic axes; and the noise floor where one lies below it, unless it does so all the way."""
    look: dict[str, Any] = {"marker": "o", "markersize": 3.5, "capsize": 2}
    nothing = not any(curve.seen.any() for curve in curves)
    for curve in curves:
        values = np.where(curve.seen, curve.values, np.nan)
        ax.errorbar(curve.widths, values, yerr=np.nan_to_num(curve.bars), label=curve.label, **{**look, **curve.style})
        if nothing or (curve.seen.any() and not curve.seen.all()):
            hidden = ~curve.seen
            ax.plot(curve.widths[hidden], curve.floor[hidden], color=curve.style["color"], markersize=5, **BELOW)
    if any("v" in str(line.get_marker()) for line in ax.lines):
        ax.plot([], [], color="0.4", label="below rounding", **BELOW)
    logarithmic(ax, "x")
    log_scale(ax, low=1e-6)
    widths = curves[0].widths
    ax.set_xticks(widths, [f"{width:g}" for width in widths])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("relative A")


def _plot_windows(windows: Mapping[str, Any], ax: Axes) -> Axes:
    """Draw the curves of the outputs, or else of the last layer, along every axis: a colour each; outputs by line."""
    first = next(iter(windows.values()))
    hidden = {*first.hidden}
    names = [layer for layer in first.layers if layer not in hidden] or [first.layers[-1]]
    curves = []
    for colour, (axis, report) in zip(cycle(DIRECTIONS), windows.items(), strict=False):
        for (line, marker), group in zip(REPORTS, grouped(names, most=len(REPORTS)), strict=False):
            places = [report.layers.index(names[place]) for place in group.places]
            style = {"color": colour, "linestyle": line, "marker": marker, "linewidth": 1.4}
            name = axis if len(names) == 1 else f"{axis}, {group.name}"
            curves.append(_curve(report, LayerGroup(group.name, places), name, style))
    _draw_curves(ax, curves)
    ax.set_xlabel(f"rapidity {_symbol(first)} of boosts")
    ax.legend(**LEGEND, title="along" if len(names) > 1 else f"{names[0]}, along")
    return finished(ax)


def _symbol(report: Any) -> str:
    """Return what the width of a window is called."""
    return "y₀" if report.meta["distribution"] == "uniform" else "σ"
