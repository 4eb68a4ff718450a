"""The equivariance error of parts of a sample: by class, by pT, or by whatever parts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from jetsym.arguments import checked, having
from jetsym.errors import ConfigError, refuse_unknown
from jetsym.plotting.style import LEGEND, PALETTE, TAIL_COLOUR, axes_of, finished

__all__ = ["plot_errors_by"]


@checked(reports=having("reports by the names of the parts that they are of, as {'QCD': report}", "items"))
def plot_errors_by(
    reports: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    by: str = "class",
    output: str | None = None,
    over: Literal["size", "spread"] = "size",
    legend: bool = True,
) -> Axes:
    """Draw A of an output for every part of a sample, with standard errors over inputs; that of baselines hollow.

    Parameters
    ----------
    reports
        Name of a part -> the :class:`jetsym.SymmetryReport` of its inputs, in the order of the axis: classes, or bins
        of pT. With ``layers=[]`` a probe measures the outputs alone.
    ax
        Axes to draw into; a new figure where None.
    by
        What the parts differ in, for the axis.
    output
        Which; by default the first of the first report.
    over
        A over the size of the output in that part, or over its spread across the inputs of that part. Both may differ
        between parts whose A is the same: one class alone has little spread.
    legend
        Whether to name the marks.

    Raises
    ------
    ConfigError
        There are no reports, or one has no such output.

    Examples
    --------
    >>> import jetsym
    >>> rng = np.random.default_rng(0)
    >>> near, far = rng.normal(size=(2, 8, 3)) * [[[1.0]], [[5.0]]]
    >>> def height(x):
    ...     return (x**2).sum(-1) + x[:, 2]
    >>> parts = {"near": near, "far": far}
    >>> found = {name: jetsym.probe(height, x, l_max=2, progress=False) for name, x in parts.items()}
    >>> ax = plot_errors_by(found, by="distance")
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['near', 'far']
    """
    found = dict(reports)
    if not found:
        raise ConfigError("reports are none; expected some, by the names of the parts that they are of")
    for name, one in found.items():
        if getattr(one, "KIND", None) not in ("spectrum", "boosts"):
            raise ConfigError(f"reports[{name!r}] is a {type(one).__name__}; expected the report of a probe")
    chosen = next(iter(next(iter(found.values())).equivariance), None) if output is None else output
    ax = axes_of(ax, max(4.4, 1.8 + 0.6 * len(found)), 3.4)
    for place, one in enumerate(found.values()):
        refuse_unknown("output", chosen, one.equivariance)
        _one(ax, place, one.equivariance[chosen], over, baseline=False)
        if getattr(one, "baseline", None) is not None and chosen in one.baseline.equivariance:
            _one(ax, place, one.baseline.equivariance[chosen], over, baseline=True)
        floor = one.equivariance[chosen].noise_floor
        if over == "size":
            ax.hlines(floor, place - 0.3, place + 0.3, color=TAIL_COLOUR, linewidth=1.2, label="noise floor")
    ax.set_xticks(range(len(found)), list(map(str, found)), rotation=30, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.6, len(found) - 0.4)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(by)
    ax.set_ylabel(f"A of {chosen} over its {over}")
    if legend:
        handles, labels = ax.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        ax.legend(list(once.values()), list(once), **LEGEND)
    return finished(ax)


def _one(ax: Axes, place: int, item: Any, over: str, *, baseline: bool) -> None:
    """Draw one number with its error, a little aside where it is a baseline's."""
    value, error = (
        (item.relative, item.relative_stderr) if over == "size" else (item.over_spread, item.over_spread_stderr)
    )
    colour, label = (PALETTE[8], "baseline") if baseline else (PALETTE[2], "model")
    look: dict[str, Any] = {"color": colour, "markerfacecolor": "white" if baseline else colour}
    ax.errorbar(
        [place + 0.15 * baseline],
        [value],
        yerr=np.nan_to_num([[error]]).repeat(2, axis=0),
        marker="o",
        markersize=5,
        capsize=2,
        linestyle="none",
        label=label,
        **look,
    )
