"""What breaks a symmetry: the equivariance error as it is, and with one source after the other switched."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jetsym.arguments import checked
from jetsym.plotting.style import LEGEND, LINES, PALETTE, TAIL_COLOUR, axes_of, finished, kept

__all__ = ["plot_attribution"]


@checked(attribution=kept("attribution"))
def plot_attribution(attribution: Any, ax: Axes | None = None) -> Axes:
    """Draw how far each source moves the equivariance error: what lies left of zero was broken by that source.

    Differences of A over the size of the output as it is, with standard errors over inputs, the largest first, at most
    twelve. Filled where a difference is surely no chance, open where it may be; round for sources that were switched
    off, square for such as were switched on.

    Parameters
    ----------
    attribution
        A :class:`~jetsym.probing.reports.attribution.Attribution`.
    ax
        Axes to draw into; a new figure where None.
    """
    several = len(attribution.effects) > 1
    rows = [
        (f"{source} ({output})" if several else source, effect, attribution.equivariance[output])
        for output, effects in attribution.effects.items()
        for source, effect in effects.items()
    ]
    rows.sort(key=lambda row: -abs(row[1].difference))
    rows = rows[:LINES][::-1]
    ax = axes_of(ax, 7.0, 1.5 + 0.32 * max(len(rows), 1))
    for place, (_, effect, _) in enumerate(rows):
        colour = PALETTE[1] if effect.difference > 0 else PALETTE[2]
        face = colour if effect.is_real else "white"
        look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 5, "capsize": 2}
        errors = np.nan_to_num([[effect.difference_stderr]])
        marker = "s" if effect.adds else "o"
        ax.errorbar([effect.difference], [place], xerr=errors, marker=marker, linestyle="none", **look)
    ax.axvline(0, color="black", linewidth=0.8)
    for output, item in attribution.equivariance.items():
        if not several and np.isfinite(item.relative):
            ax.axvline(-item.relative, color=TAIL_COLOUR, linestyle="--", linewidth=1.0)
            ax.set_title(f"{output}: relative A is {item.relative:.3g} as it is", fontsize="medium")
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    ax.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    ax.set_xlabel("A with the source switched, minus A as it is, over the size of the output")
    ax.legend(handles=_marks(several), **LEGEND)
    return finished(ax, "both")


def _marks(several: bool) -> list[Line2D]:
    """Return what a legend says of every mark."""
    grey: dict[str, Any] = {"color": "0.4", "linestyle": "none", "markersize": 5}
    marks = [
        Line2D([], [], marker="o", label="switched off", **grey),
        Line2D([], [], marker="s", label="switched on", **grey),
        Line2D([], [], marker="o", markerfacecolor="white", label="may be chance", **grey),
        Line2D([], [], color=PALETTE[2], linewidth=3, label="lowers A"),
        Line2D([], [], color=PALETTE[1], linewidth=3, label="raises A"),
    ]
    if not several:
        marks.append(Line2D([], [], color=TAIL_COLOUR, linestyle="--", label="all of A"))
    return marks
