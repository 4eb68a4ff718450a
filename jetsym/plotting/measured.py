"""Measured numbers, one below the other, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jetsym.plotting.style import LEGEND, PALETTE, axes_of, few_ticks, finished

__all__ = ["Measured", "plot_measured"]


class Measured(NamedTuple):
    """One number: what it is of, the series that it belongs to, with its standard error, and whether it is told."""

    label: str
    series: str
    value: float
    stderr: float
    told: bool = True


def plot_measured(
    rows: Sequence[Measured],
    xlabel: str,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Draw numbers with errors, one line for each label, and a colour for each series.

    What cannot be told from chance or rounding is hollow.

    Parameters
    ----------
    rows
        The numbers.
    xlabel
        What they are, with their unit.
    ax
        Axes to draw into; a new figure where None.
    title
        What the series are, above the legend.
    legend
        Whether to draw the legend.
    """
    labels, series = list(dict.fromkeys(row.label for row in rows)), list(dict.fromkeys(row.series for row in rows))
    ax = axes_of(ax, 6.4, 1.2 + 0.34 * len(labels))
    for row in rows:
        number = series.index(row.series)
        colour = PALETTE[number % len(PALETTE)]
        aside = 0.5 * (number - (len(series) - 1) / 2) / len(series)  # so that no error bar hides another
        ax.errorbar(
            row.value,
            labels.index(row.label) + aside,
            xerr=np.nan_to_num(row.stderr),
            color=colour,
            markerfacecolor=colour if row.told else "white",
            marker="o",
            markersize=5,
            capsize=2,
        )
    ax.axvline(0, color="black", linewidth=0.5)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    few_ticks(ax)
    ax.set_xlabel(xlabel)
    if legend:
        _name(ax, rows, series, title)
    return finished(ax, "both")


def _name(ax: Axes, rows: Sequence[Measured], series: Sequence[str], title: str | None) -> None:
    """Say in a legend what colours and hollow points mean."""
    handles = [
        Line2D([], [], color=PALETTE[number % len(PALETTE)], linestyle="", marker="o", label=name)
        for number, name in enumerate(series)
    ]
    if not all(row.told for row in rows):
        look = {"color": "0.4", "markerfacecolor": "white", "linestyle": "", "marker": "o"}
        handles.append(Line2D([], [], **look, label="not told from chance"))  # type: ignore[arg-type]
    if handles:
        ax.legend(handles=handles, **LEGEND, title=title)
