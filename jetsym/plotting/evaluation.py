"""Figures of evaluations: confusion of classes, reliability of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jetsym.arguments import checked
from jetsym.plotting.style import PALETTE, TAIL_COLOUR, axes_of, finished, kept

__all__ = ["plot_confusion", "plot_reliability"]

#: Classes whose names and shares a matrix can show.
MOST = 20


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
