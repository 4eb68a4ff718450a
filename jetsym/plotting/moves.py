"""Scores of jets that are moved further and further."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jetsym.arguments import checked
from jetsym.errors import ConfigError, refuse_unknown
from jetsym.plotting.style import LEGEND, LINES, axes_of, colour_of, finished, kept

__all__ = ["plot_score_curve"]


@checked(stability=kept("stability"))
def plot_score_curve(stability: Any, ax: Axes | None = None, *, curve: str = "rotation", changes: bool = False) -> Axes:
    """Draw scores against the angle of a rotation or the rapidity of a boost, a line per class, at most twelve.

    The mean can stay while each jet moves: the root mean square of the changes of single jets shows that.

    Parameters
    ----------
    stability
        A :class:`~jetsym.jets.evaluation.stability_report.Stability` with curves.
    ax
        Axes to draw into; a new figure where None.
    curve
        "rotation", "boost beam" or "boost jet".
    changes
        Draw the root mean square change of a jet's own score, in place of the mean score with its standard error.

    Raises
    ------
    ConfigError
        There are no curves, or none of that name.
    """
    if not stability.curves:
        raise ConfigError("the stability has no curves; measure it again with curves=True")
    refuse_unknown("curve", curve, stability.curves)
    ax, found = axes_of(ax, 6.4, 3.8), stability.curves[curve]
    drawn = list(found.scores)[:LINES]
    for number, name in enumerate(drawn):
        look = {"color": colour_of(number, len(drawn)), "marker": "o", "markersize": 3.5, "linewidth": 1.4}
        label = f"{name} ({found.jets[name]:,})"
        if changes:
            ax.plot(found.values, found.changes[name], label=label, **look)
        else:
            mean, errors = np.array(found.scores[name]), np.array(found.stderr[name])
            ax.plot(found.values, mean, label=label, **look)
            ax.fill_between(found.values, mean - errors, mean + errors, color=look["color"], alpha=0.15, linewidth=0)
    ax.set_ylim(0, None if changes else min(1.0, 1.2 * max(max(found.scores[name]) for name in drawn)))
    if found.values[-1] == 180:
        ax.set_xticks(range(0, 181, 45))
    ax.set_xlabel(found.unit)
    ax.set_ylabel("change of a jet's score, r.m.s." if changes else "mean score of the true class")
    ax.legend(**LEGEND, title="class (jets)" if changes else "class (jets), ± standard error")
    return finished(ax, "both")
