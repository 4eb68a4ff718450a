"""Distributions of an evaluation: scores by class, and the background's mass before and after a cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.arguments import checked
from jetsym.errors import ConfigError
from jetsym.plotting.style import (
    FEW,
    LEGEND,
    LINES,
    PALETTE,
    TAIL_COLOUR,
    axes_of,
    finished,
    kept,
    logarithmic,
    signals_of,
)

__all__ = ["plot_all_scores", "plot_scores", "plot_sculpting"]

#: Signals whose masses a figure shows where none are named: those that are sculpted most.
MOST = 4
#: Panels side by side.
COLUMNS = 3
SIGNAL, BACKGROUND = PALETTE[1], PALETTE[2]


@checked(evaluation=kept("evaluation"))
def plot_scores(evaluation: Any, ax: Axes | None = None, *, signal: str | None = None, legend: bool = True) -> Axes:
    """Draw the densities of a signal and of the background in the score p_s/(p_s + p_b), with √Σw² as bands.

    A dotted line says where the cut of the working point lies: what is right of it passes.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`.
    ax
        Axes to draw into; a new figure where None.
    signal
        The class; by default the first that is told from the background.
    legend
        Whether to name the marks beside the axes.

    Raises
    ------
    ConfigError
        There is no such signal, or its scores were not kept, as by versions before 0.2.
    """
    name = signals_of(evaluation, None if signal is None else [signal])[0]
    item = next(quality for quality in evaluation.qualities if quality.name == name)
    found = item.scores
    if found is None:
        raise ConfigError(f"the evaluation has no histogram of the scores of {name!r}; evaluate the jets again")
    ax = axes_of(ax, 6.4, 3.6)
    edges = np.array(found.edges)
    against = ", ".join(evaluation.background) if len(evaluation.background) <= 2 else "background"
    lowest = math.inf
    for label, colour, counts, errors in (
        (name, SIGNAL, found.signal, found.signal_stderr),
        (against, BACKGROUND, found.background, found.background_stderr),
    ):
        scale = 1 / (np.sum(counts) * np.diff(edges))
        density, spread = np.array(counts) * scale, np.array(errors) * scale
        ax.stairs(density, edges, color=colour, linewidth=1.4, label=label)
        low, high = np.maximum(density - spread, 1e-12), density + spread
        ax.fill_between(
            edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.2, lw=0
        )
        lowest = min(lowest, float(density[density > 0].min(initial=1.0)))
    share = 100 * item.rejection.signal_efficiency
    ax.axvline(found.cut, color="black", linestyle=":", linewidth=1.2, label=f"cut that passes {share:.4g} % of {name}")
    logarithmic(ax)
    ax.set_ylim(bottom=lowest / 2)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"score of {name}, $p_s/(p_s + p_b)$")
    ax.set_ylabel("density")
    if legend:
        ax.legend(**LEGEND)
    return finished(ax)


@checked(evaluation=kept("evaluation"))
def plot_all_scores(evaluation: Any) -> Figure:
    """Draw a panel of :func:`plot_scores` for every signal, at most twelve."""
    names = signals_of(evaluation, None)[:LINES]
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.9 * columns + 0.4, 2.3 * rows + 0.5), layout="constrained", squeeze=False, sharex=True
    )
    for name, ax in zip(names, axes.flat, strict=False):
        plot_scores(evaluation, ax, signal=name, legend=False)
        ax.set_title(f"{name} · cut at {100 * evaluation.rejections[name].signal_efficiency:.4g} %", fontsize="medium")
        ax.set_xlabel("$p_s/(p_s + p_b)$")
        ax.set_ylabel("density" if ax is axes[list(axes.flat).index(ax) // columns, 0] else "")
    for ax in list(axes.flat)[len(names) :]:
        ax.remove()
    handles = axes[0, 0].get_legend_handles_labels()[0]
    against = ", ".join(evaluation.background) if len(evaluation.background) <= 2 else "background"
    words = ["signal", against, "cut of the working point"]
    figure.legend(handles, words, loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    return figure


@checked(evaluation=kept("evaluation"))
def plot_sculpting(evaluation: Any, ax: Axes | None = None, *, signals: Sequence[str] | None = None) -> Axes:
    """Draw the background's mass before and after the cut of every signal, each as shares of its own jets.

    The legend says the Jensen–Shannon divergence between what passes and what does not, in bits, and what jets taken at
    random would have: a cut that does not look at the mass leaves its spectrum as it was.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`, with the masses of its jets.
    ax
        Axes to draw into; a new figure where None.
    signals
        Which; by default the four whose cuts sculpt most beyond chance, of those that ten jets of it pass.

    Raises
    ------
    ConfigError
        The masses were not known, or there is no such signal.
    """
    found = evaluation.sculpting
    if found is None:
        raise ConfigError("the evaluation knows no masses; evaluate jets again whose masses are known")
    chosen = signals_of(evaluation, signals)
    if signals is None:
        enough = [name for name in chosen if found.signals[name].jets >= FEW]
        chosen = sorted(enough or chosen, key=lambda name: -found.signals[name].excess)[:MOST]
    ax = axes_of(ax, 7.2, 3.8)
    edges, before = np.array(found.edges), np.array(found.background)
    against = ", ".join(evaluation.background) if len(evaluation.background) <= 2 else "background"
    label = f"{against} before, {found.jets:,} jets"
    ax.stairs(before / before.sum(), edges, fill=True, color=TAIL_COLOUR, alpha=0.35, label=label)
    centres = (edges[1:] + edges[:-1]) / 2
    for number, name in enumerate(chosen):
        item, colour = found.signals[name], PALETTE[(number + 1) % len(PALETTE)]
        total = sum(item.passed)
        if total > 0:
            shares, errors = np.array(item.passed) / total, np.array(item.passed_stderr) / total
            ax.stairs(shares, edges, color=colour, linewidth=1.3, label=_sculpted(evaluation, name, item))
            there = errors > 0
            ax.errorbar(centres[there], shares[there], errors[there], color=colour, linestyle="none", elinewidth=0.8)
        else:
            ax.plot([], [], color=colour, label=f"after the cut for {name}: none passes")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"{'soft-drop mass' if found.mass == 'jet_sdmass' else found.mass} [GeV]")
    ax.set_ylabel("share of the jets in a bin")
    ax.legend(**LEGEND, title="mass of the background")
    return finished(ax)


def _sculpted(evaluation: Any, name: str, item: Any) -> str:
    """Say in two lines what a cut has done."""
    share = 100 * evaluation.rejections[name].signal_efficiency
    first = f"after a cut at {share:.4g} % of {name}, {item.jets:,} jets"
    if item.divergence is None or item.by_chance is None:
        return f"{first}\nno divergence: all pass"
    seen = "" if item.is_seen else ", not told from it"
    return f"{first}\npass and fail: JSD {item.divergence:.3f} bits ({item.by_chance:.3f} by chance{seen})"
