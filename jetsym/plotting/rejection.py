"""Rejection of background as the field draws it: ROC curves of one run and of several, and against pT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jetsym.arguments import checked, having
from jetsym.errors import ConfigError, refuse_unknown
from jetsym.plotting.style import (
    FEW,
    LEGEND,
    LINES,
    REPORTS,
    TAIL_COLOUR,
    axes_of,
    colour_of,
    finished,
    kept,
    logarithmic,
    signals_of,
)

__all__ = ["plot_rejection_by_pt", "plot_roc", "plot_rocs"]

#: How the part of a curve is drawn that so few jets support.
FAINT = 0.35


@checked(evaluation=kept("evaluation"))
def plot_roc(evaluation: Any, ax: Axes | None = None) -> Axes:
    """Draw background rejection against signal efficiency, one curve per class, at most twelve.

    Bands are binomial intervals of the background that passes. Curves are faint where fewer than ten background jets
    pass, and end where none does. Points are the working points with their intervals, which count that the cut is found
    on the same sample; a caret stands at the bound from below where fewer than ten background jets pass.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`.
    ax
        Axes to draw into; a new figure where None.
    """
    ax = axes_of(ax, 6.8, 4.4)
    found = [item for item in evaluation.qualities if item.rejection is not None]
    drawn, highest = found[:LINES], 10.0
    for number, item in enumerate(drawn):
        style = {"color": colour_of(number, len(drawn)), "linewidth": 1.4}
        highest = max(highest, _curve(ax, evaluation, item, label=item.name, **style))
        same = [other.name for other in drawn if other.rejection.signal_efficiency == item.rejection.signal_efficiency]
        wide = same.index(item.name)
        at = item.rejection.signal_efficiency
        highest = max(highest, _working_point(ax, item.rejection, at, style["color"], wide=wide))
    _finish(ax, evaluation, highest)
    if drawn:
        title = "class" if len(found) == len(drawn) else f"the first {len(drawn)} of {len(found)} classes"
        ax.legend(handles=[*_lines_of(ax), *_marks(evaluation)], title=title, **LEGEND)
    return ax


@checked(evaluations=having("evaluations by the names of their runs, as {'plain': evaluation}", "items"))
def plot_rocs(evaluations: Mapping[str, Any], ax: Axes | None = None, *, signal: str | None = None) -> Axes:
    """Draw the ROC curves of several runs for one signal, in one figure.

    Bands, faint parts, points and carets are those of :func:`plot_roc`. Runs on the same jets are told apart by less
    than their bands show, as their errors go together.

    Parameters
    ----------
    evaluations
        Name of a run -> its :class:`~jetsym.jets.evaluation.report.Evaluation`, all against the same background.
    ax
        Axes to draw into; a new figure where None.
    signal
        The class; by default the first that is told from the background.

    Raises
    ------
    ConfigError
        There are none, they are against other backgrounds, or one of them has no such signal.
    """
    if not evaluations:
        raise ConfigError("evaluations are none; expected some, by the names of their runs")
    found = dict(evaluations)
    for name, one in found.items():
        if getattr(one, "KIND", None) != "evaluation":
            raise ConfigError(f"evaluations[{name!r}] is a {type(one).__name__}; expected an Evaluation")
    first = next(iter(found.values()))
    chosen = signals_of(first, None if signal is None else [signal])[0]
    ax, highest = axes_of(ax, 6.8, 4.2), 10.0
    for place, (name, one) in enumerate(found.items()):
        if one.background != first.background:
            raise ConfigError(f"{name!r} is against {one.background}, others against {first.background}; expected one")
        refuse_unknown("signal", chosen, list(one.rejections))
        item = next(quality for quality in one.qualities if quality.name == chosen)
        style = {"color": colour_of(place, len(found)), "linewidth": 1.4, "linestyle": REPORTS[place % len(REPORTS)][0]}
        highest = max(highest, _curve(ax, one, item, label=str(name), **style))
        at = item.rejection.signal_efficiency
        highest = max(highest, _working_point(ax, item.rejection, at, style["color"], wide=place))
    _finish(ax, first, highest)
    ax.set_title(f"{chosen} against {_against(first)}", fontsize="medium")
    ax.legend(handles=[*_lines_of(ax), *_marks(first)], title="run", **LEGEND)
    return ax


@checked(evaluation=kept("evaluation"))
def plot_rejection_by_pt(evaluation: Any, ax: Axes | None = None, *, signals: Sequence[str] | None = None) -> Axes:
    """Draw background rejection in every bin of the jets' pT, with intervals, one colour per signal.

    Each bin has a cut of its own, at the signal efficiency of the working point. A caret stands at the bound from below
    where fewer than ten background jets pass.

    Parameters
    ----------
    evaluation
        A :class:`~jetsym.jets.evaluation.report.Evaluation`, with bins of pT.
    ax
        Axes to draw into; a new figure where None.
    signals
        Which; by default all, at most twelve.

    Raises
    ------
    ConfigError
        It has no bins, or there is no such signal.
    """
    if not evaluation.bins:
        raise ConfigError("the evaluation has no bins of pT; evaluate jets whose pT is known")
    chosen, highest = signals_of(evaluation, signals), 10.0
    ax = axes_of(ax, 6.8, 4.2)
    for number, name in enumerate(chosen):
        colour = colour_of(number, len(chosen))
        for place, one in enumerate(evaluation.bins):
            if (found := one.rejections.get(name)) is not None:
                at = place + (number + 1) / (len(chosen) + 1)
                highest = max(highest, _working_point(ax, found, at, colour))
    edges = [evaluation.bins[0].low, *(one.high for one in evaluation.bins)]
    for place in range(1, len(edges) - 1):
        ax.axvline(place, color=TAIL_COLOUR, linewidth=0.6, alpha=0.5)
    ax.set_xticks(range(len(edges)), [f"{edge:g}" for edge in edges])
    ax.set_xlim(0, len(edges) - 1)
    logarithmic(ax)
    ax.set_ylim(0.9, 2 * highest)
    ax.set_xlabel("edges of the bins of jet pT [GeV], drawn as wide as each other")
    ax.set_ylabel(f"rejection of {_against(evaluation)}, 1/ε")
    points = [
        Line2D([], [], color=colour_of(number, len(chosen)), marker="o", markersize=4, label=_at(evaluation, name))
        for number, name in enumerate(chosen)
    ]
    marks = [mark for mark in _marks(evaluation) if str(mark.get_label()).startswith(("working", "from"))]
    ax.legend(handles=[*points, *marks], title="class, at its signal efficiency", **LEGEND)
    return finished(ax)


def _at(evaluation: Any, name: str) -> str:
    return f"{name}, {100 * evaluation.rejections[name].signal_efficiency:.4g} %"


def _against(evaluation: Any) -> str:
    return ", ".join(evaluation.background) if len(evaluation.background) <= 2 else "background"


def _curve(ax: Axes, evaluation: Any, item: Any, *, label: str, **style: Any) -> float:
    """Draw one, with its band; gives the highest rejection drawn."""
    efficiency, share = map(np.asarray, item.roc)
    passed = share * _jets_of_background(evaluation, item.rejection)
    # The kept points end just below 1, where no background jet passes: draw nothing there.
    rejection = 1 / np.where(passed > 0.5, share, np.nan)
    enough = passed > FEW - 0.5
    start = int(np.argmax(enough)) if enough.any() else len(share)
    if len(item.roc_band[0]) == len(share):
        low, high = (np.asarray(edge)[start:] for edge in item.roc_band)
        with np.errstate(divide="ignore"):
            ax.fill_between(efficiency[start:], 1 / high, 1 / low, color=style["color"], alpha=0.15, linewidth=0)
    ax.plot(efficiency[: start + 1], rejection[: start + 1], alpha=FAINT, **style)
    ax.plot(efficiency[start:], rejection[start:], label=label, **style)
    return float(np.nanmax(rejection, initial=1.0))


def _jets_of_background(evaluation: Any, rejection: Any) -> float:
    """Return how many jets of the background there are; with weights, how many equal ones these are worth."""
    worth = [item.n_eff for item in evaluation.qualities if item.name in evaluation.background]
    return sum(worth) if worth and None not in worth else float(rejection.n_background)


def _working_point(ax: Axes, rejection: Any, at: float, colour: Any, *, wide: int = 0) -> float:
    """Draw one at a place of the x axis, or its bound where few jets pass; gives the highest rejection drawn.

    The ends of intervals at one place are the wider, the later they are drawn, so that each can be seen.
    """
    lower, upper = rejection.interval
    if not np.isfinite(rejection.value) or rejection.few:
        ax.plot([at], [lower], marker="^", markersize=5, color=colour)
        return float(lower)
    top = min(upper, 10 * rejection.value)
    error = [[rejection.value - lower], [top - rejection.value]]
    ax.errorbar(
        [at], [rejection.value], yerr=error, color=colour, marker="o", markersize=4, linewidth=1.0, capsize=2 + wide
    )
    return float(top)


def _finish(ax: Axes, evaluation: Any, highest: float) -> None:
    logarithmic(ax)
    ax.set_xlim(0, 1.01)
    ax.set_ylim(0.9, 2 * highest)
    ax.set_xlabel("signal efficiency")
    ax.set_ylabel(f"rejection of {_against(evaluation)}, 1/ε")
    finished(ax, "both")


def _lines_of(ax: Axes) -> list[Any]:
    """Return the lines that have a name, of which some may have no points."""
    return [line for line in ax.lines if not str(line.get_label()).startswith("_")]


def _marks(evaluation: Any) -> list[Any]:
    """Return what a legend says of the marks that are alike in all colours."""
    level = f"{100 * float(evaluation.meta.get('confidence', 0.95)):.4g} %"
    look: dict[str, Any] = {"color": "0.4", "linestyle": "none"}
    marks: list[Any] = [
        Line2D([], [], marker="o", markersize=4, label=f"working point, {level} interval", **look),
        Line2D([], [], marker="^", markersize=5, label=f"from below: fewer than {FEW} pass", **look),
        Line2D([], [], color="0.4", linewidth=1.4, alpha=FAINT, label=f"fewer than {FEW} pass"),
    ]
    if any(item.roc_band[0] for item in evaluation.qualities):
        marks.append(Patch(color="0.4", alpha=0.15, linewidth=0, label=f"binomial, {level}"))
    return marks
