"""Figures of evaluations: ROC curves as the field draws them, confusion of classes, reliability of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from jetsym.arguments import checked
from jetsym.plotting.style import LEGEND, PALETTE, TAIL_COLOUR, axes_of, finished, kept

__all__ = ["plot_confusion", "plot_reliability", "plot_roc"]

#: Classes that a figure can tell apart.
MOST = 20


@checked(evaluation=kept("evaluation"))
def plot_roc(evaluation: Any, ax: Axes | None = None) -> Axes:
    """Draw background rejection against signal efficiency, one curve per class.

    Curves are faint where fewer than ten background jets pass, and end where none does. Points with error bars are the
    working points with their confidence intervals; an arrow says that the sample bounds the rejection from below only.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, 6.4, 4.2)
    drawn = [item for item in evaluation.qualities if item.rejection is not None]
    highest = 10.0
    for number, item in enumerate(drawn[:MOST]):
        style = {"color": _colour(number, min(len(drawn), MOST)), "linewidth": 1.4}
        efficiency, share = map(np.asarray, item.roc)
        passed = share * item.rejection.n_background
        # the kept points end just below 1, where no background jet passes: draw nothing there
        rejection = 1 / np.where(passed > 0.5, share, np.nan)
        enough = passed > 9.5
        start = int(np.argmax(enough)) if enough.any() else len(share)
        ax.plot(efficiency[: start + 1], rejection[: start + 1], alpha=0.35, **style)
        ax.plot(efficiency[start:], rejection[start:], label=item.name, **style)
        same = [other.name for other in drawn if other.rejection.signal_efficiency == item.rejection.signal_efficiency]
        aside = 0.006 * (same.index(item.name) - (len(same) - 1) / 2)  # so that error bars do not hide each other
        highest = max(highest, _working_point(ax, item.rejection, aside, style["color"]))
        highest = max(highest, float(np.nanmax(rejection, initial=1.0)))
    ax.set_yscale("log")
    ax.set_xlim(0, 1.01)
    ax.set_ylim(0.9, 2 * highest)
    ax.set_xlabel("signal efficiency")
    against = ", ".join(evaluation.background) if len(evaluation.background) <= 2 else "background"
    ax.set_ylabel(f"rejection of {against}, 1/ε")
    if drawn:
        ax.legend(**LEGEND, title="class")
    return finished(ax, "both")


@checked(evaluation=kept("evaluation"))
def plot_confusion(evaluation: Any, ax: Axes | None = None) -> Axes:
    """Draw the share of every class's jets that is taken for each class; rows add up to 100 %.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`.
    ax
        Axes to draw into; a new figure where None.
    """
    counts = np.array(evaluation.confusion, dtype=float)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    few = len(counts) <= MOST
    size = 2.2 + (0.42 * len(counts) if few else 6)
    ax = axes_of(ax, size + 0.9, size, layout="compressed")
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    if few:
        ax.set_xticks(range(len(counts)), evaluation.classes, rotation=45, ha="right")
        ax.set_yticks(range(len(counts)), evaluation.classes)
        for row, column in zip(*np.nonzero(np.isfinite(shares)), strict=True):
            share = shares[row, column]
            shade = "black" if share > 55 else "white"
            ax.text(column, row, f"{share:.0f}", ha="center", va="center", color=shade, fontsize="small")
    ax.set_xlabel("most probable class")
    ax.set_ylabel("true class")
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class [%]")
    return ax


@checked(evaluation=kept("evaluation"))
def plot_reliability(evaluation: Any, ax: Axes | None = None) -> Axes:
    """Draw accuracy against confidence in bins of the latter, with 95 % intervals, and how many jets each bin has.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, 4.6, 4.2)
    found = evaluation.calibration
    filled = [place for place, value in enumerate(found.accuracy) if value is not None]
    x, y, low, high = (
        np.array([values[place] for place in filled], dtype=float)
        for values in (found.confidence, found.accuracy, found.low, found.high)
    )
    counts = np.array(found.jets)
    ax.stairs(0.25 * counts / counts.max(), found.edges, fill=True, color=TAIL_COLOUR, alpha=0.35, label="jets")
    ax.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1.0, label="perfect")
    bars = np.maximum([y - low, high - y], 0)  # with negative weights an accuracy may leave [0, 1]
    ax.errorbar(
        x, y, yerr=bars, color=PALETTE[2], marker="o", markersize=4, linewidth=1.2, capsize=2,
        label=f"ECE {found.ece:.3f} (perfect: {found.ece_floor:.3f})",
    )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("confidence: probability of the most probable class")
    ax.set_ylabel("accuracy")
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    return finished(ax, "both")


def _working_point(ax: Axes, rejection: Any, aside: float, colour: Any) -> float:
    """Draw one, a little aside of its efficiency; gives the highest rejection drawn."""
    lower, upper = rejection.interval
    efficiency = rejection.signal_efficiency + aside
    if not rejection.passed:
        ax.plot([efficiency], [lower], marker="^", markersize=5, color=colour)
        return float(lower)
    top = min(upper, 10 * rejection.value)
    error = [[rejection.value - lower], [top - rejection.value]]
    look = {"color": colour, "marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.0}
    ax.errorbar([efficiency], [rejection.value], yerr=error, **look)
    return float(top)


def _colour(number: int, total: int) -> Any:
    """Take a colour from the palette while it lasts, then evenly from a map."""
    return PALETTE[number] if total <= len(PALETTE) else colormaps["tab20"](number % 20)
