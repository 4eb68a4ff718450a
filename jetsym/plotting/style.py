"""One look for every figure: an irrep has the same colour and line everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

from jetsym.annotations import Kind
from jetsym.arguments import checked
from jetsym.errors import ConfigError, closest, refuse_unknown
from jetsym.files import check_out, finished_file
from jetsym.spectrum import Irrep

__all__ = [
    "DIRECTIONS",
    "FEW",
    "LEGEND",
    "LINES",
    "PALETTE",
    "REPORTS",
    "TAIL",
    "TAIL_COLOUR",
    "axes_of",
    "beyond",
    "colour_of",
    "draw_above",
    "few_ticks",
    "figure_of",
    "finished",
    "in_lines",
    "irrep_style",
    "irrep_title",
    "kept",
    "label_layers",
    "log_scale",
    "logarithmic",
    "panels",
    "parts_of",
    "save_figure",
    "signals_of",
    "tilt_labels",
    "with_legend",
]

#: Okabe and Ito's palette, legible with every kind of colour blindness; one colour per λ.
PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
TAIL_COLOUR = "#999999"
#: How what lies beyond l_max is drawn.
TAIL: dict[str, Any] = {"color": TAIL_COLOUR, "linestyle": ":", "marker": "x", "markersize": 5, "capsize": 2}
#: Of what held-out elements find beyond a rule.
UNEXPLAINED: dict[str, Any] = {**TAIL, "linestyle": "-.", "marker": "+", "label": "unexplained"}
#: Line and marker of the first report, the second, …, where several are drawn together and colours say the irrep.
REPORTS: tuple[tuple[Any, str], ...] = (
    ("-", "o"),
    ("--", "s"),
    (":", "^"),
    ("-.", "D"),
    ((0, (5, 1, 1, 1, 1, 1)), "v"),
    ((0, (1, 3)), "P"),
)

#: Colours of classes and runs: those of the palette, and three more of Tol's that go with them.
MANY = (*PALETTE, "#332288", "#882255", "#44AA99")
#: With fewer passing background jets than this a rejection is uncertain by a third and more, and no point is drawn.
FEW = 10
#: Lines and rows of layers that a figure can tell apart; tables and files hold all.
LINES = 12

#: Tol's three colours of high contrast, for x, y and z: none of them is that of an irrep.
DIRECTIONS = ("#004488", "#BB5566", "#DDAA33")
#: Decades of a logarithmic axis below which it has some numbers between the powers of ten, and all of them.
BETWEEN = (1.5, 0.5)
#: Letters of a name in a line.
WIDTH = 24
#: Where every legend stands.
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": "small", "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


@checked()
def irrep_style(irrep: Irrep) -> dict[str, Any]:
    """Return keyword arguments of ``ax.errorbar`` for an irrep: colour by λ; pseudotensors dashed, with open markers.

    Examples
    --------
    >>> irrep_style(Irrep(1, -1))["linestyle"]
    '--'
    """
    colour = PALETTE[irrep.lam] if irrep.lam < len(PALETTE) else colormaps["cividis"]((irrep.lam % 16) / 15)
    pseudo = irrep.sigma == -1
    return {
        "color": colour,
        "linestyle": "--" if pseudo else "-",
        "marker": "s" if pseudo else "o",
        "markerfacecolor": "white" if pseudo else colour,
        "markersize": 4.5,
        "linewidth": 1.4,
        "label": str(irrep),
    }


def beyond(irreps: Sequence[Irrep]) -> str:
    """Return what lies in none of a report's irreps, for a legend: "λ > 4"."""
    return "others" if irreps[-1].is_named else irreps[-1].order.replace("=", ">")


def irrep_title(irreps: Sequence[Irrep]) -> str:
    """Return the head of a legend of irreps: what their names tell."""
    last = irreps[-1]
    of_rotations = "irrep (λ,σ)" if last.sigma else "irrep (λ)"
    return "irrep" if last.is_named else "mode m" if last.is_mode else of_rotations


def colour_of(number: int, total: int) -> Any:
    """Take the colour of one of several lines, from the palette while it lasts, then from a map."""
    return MANY[number] if total <= len(MANY) else colormaps["tab20"](number % 20)


def signals_of(evaluation: Any, named: Sequence[str] | None) -> list[str]:
    """Return the signals of an evaluation that are named, else all that a figure can tell apart.

    Raises
    ------
    ConfigError
        There is no such signal, or none at all.
    """
    known = list(evaluation.rejections)
    if not known:
        raise ConfigError("the evaluation tells no class from a background; expected jets of both")
    for name in named or ():
        refuse_unknown("signal", name, known)
    return list(named) if named else known[:LINES]


def log_scale(ax: Axes, *, low: float, high: float = 1.6) -> None:
    """Make the y axis logarithmic; where nothing is drawn that could set its limits, these do."""
    if not np.isfinite(ax.dataLim.minposy) or ax.dataLim.minposy <= 0:
        ax.set_ylim(low, high)
    logarithmic(ax)


def logarithmic(ax: Axes, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with numbers between the powers of ten where few of these or none are in sight."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=BETWEEN))
    ax.tick_params(axis=which, which="minor", labelsize="small")


def few_ticks(ax: Axes, which: Literal["x", "y"] = "x") -> None:
    """Give a linear axis so few numbers that they do not run into each other, with a power of ten taken out of them."""
    ax.ticklabel_format(axis=which, style="sci", scilimits=(-2, 4), useMathText=True)
    ax.locator_params(axis=which, nbins=6)
    if which == "x":
        ax.xaxis.get_offset_text().set_horizontalalignment("left")  # beside the label of the axis, not on it


def axes_of(ax: Axes | None, width: float, height: float, *, layout: str = "constrained") -> Axes:
    """Return axes to draw into: those given, or those of a new figure of this size, in inches."""
    return plt.subplots(figsize=(width, height), layout=layout)[1] if ax is None else ax


def draw_above(ax: Axes, x: Any, values: Any, errors: Any, lowest: float, **look: Any) -> None:
    """Draw values with errors where they exceed ``lowest``; where none does nothing, nor a name in the legend."""
    shown = np.where(values > lowest, values, np.nan)
    if np.isfinite(shown).any():
        ax.errorbar(x, shown, yerr=np.nan_to_num(errors), **look)


def label_layers(ax: Axes, layers: Sequence[str]) -> None:
    """Name the layers along the x axis, tilted and in lines so that long names do not run into each other."""
    tilt_labels(ax, layers)
    ax.set_xlim(-0.4, len(layers) - 0.6)


def tilt_labels(ax: Axes, names: Sequence[str], *, width: int = WIDTH) -> None:
    """Write a name under each of the places 0, 1, … of the x axis, tilted and in lines of some letters."""
    lines = [in_lines(name, width) for name in names]
    ax.set_xticks(range(len(names)), lines, rotation=35, ha="right", rotation_mode="anchor", fontsize="small")


def in_lines(name: str, width: int = WIDTH) -> str:
    r"""Break a long name of a layer behind its dots, underscores and spaces, and that of a group between its ends.

    Examples
    --------
    >>> in_lines("gnn_layers.0.trans.layers.0.attention_node")
    'gnn_layers.0.trans.\nlayers.0.attention_node'
    >>> in_lines("logits"), in_lines("gnn_layers.0.node ... gnn_layers.1.node")
    ('logits', 'gnn_layers.0.node ...\ngnn_layers.1.node')
    """
    if len(name) > width and " ... " in name:
        return " ...\n".join(in_lines(end, 2 * width) for end in name.split(" ... "))
    lines = [""]
    for part in re.findall(r"[^._ \n]*[._ \n]?", name):
        if lines[-1].strip() and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def finished(ax: Axes, grid: Literal["y", "both"] = "y") -> Axes:
    """Give axes a light grid, and no frame above and to the right."""
    ax.grid(axis=grid, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def panels(axes: Sequence[Axes] | None, number: int, **options: Any) -> Sequence[Axes]:
    """Return axes for panels side by side: those given, or those of a new figure with options of ``plt.subplots``.

    Raises
    ------
    ConfigError
        Others are given than there are panels.
    """
    if axes is None:
        return list(plt.subplots(1, number, squeeze=False, layout="constrained", **options)[1][0])
    if len(axes) != number:
        raise ConfigError(f"axes are {len(axes)}; expected {number} to draw into")
    return axes


def parts_of(ax: Axes | Sequence[Axes] | None, number: int) -> Sequence[Axes] | None:
    """Return axes for the panels of a figure: those given, or parts of the one that is given, side by side."""
    if not isinstance(ax, Axes):
        return ax
    ax.set_axis_off()
    width = 1.0 / number  # of which a good part is left for the labels and legends between two of them
    return [ax.inset_axes((place * width, 0.0, (0.58 if number > 1 else 1.0) * width, 1.0)) for place in range(number)]


T = TypeVar("T", bound=Axes | Figure)


def with_legend(drawn: T, legend: bool, ax: Axes | Sequence[Axes] | None = None) -> T:
    """Return what was drawn, without the legends of the axes that were drawn into where these are not wanted."""
    if legend:
        return drawn
    given: Any = drawn if ax is None else ax
    axes: list[Any] = given.axes if isinstance(given, Figure) else [given] if isinstance(given, Axes) else [*given]
    boxes: list[Any] = given.legends.copy() if isinstance(given, Figure) else []
    for one in axes:
        boxes += [one.get_legend(), *(inset.get_legend() for inset in one.child_axes)]
    for box in boxes:
        if box is not None:
            box.remove()
    return drawn


@checked()
def figure_of(figure: Axes | Figure) -> Figure:
    """Return the whole figure that axes stand in; a figure itself."""
    return figure if isinstance(figure, Figure) else cast(Figure, figure.get_figure(root=True))


@checked()
def save_figure(figure: Axes | Figure, path: str | Path) -> Path:
    """Save a figure, or that of axes, whole or not at all; the suffix says the format. Pixels at 150 per inch.

    Raises
    ------
    ConfigError
        The suffix is that of no format, or nothing can be written there.
    """
    formats = figure_of(figure).canvas.get_supported_filetypes()
    if (suffix := Path(path).suffix.removeprefix(".").lower()) not in formats:
        raise ConfigError(f"path is {str(path)!r}, which ends in no format of figures; {closest(suffix, formats)}")
    check_out(path)
    with finished_file(path) as unfinished:
        figure_of(figure).savefig(unfinished, dpi=150)
    return Path(path)


def kept(*kinds: str) -> Kind:
    """Return what results of some kinds are, which are made in rooms above: as what is kept they say their own."""
    return Kind(
        lambda value: getattr(value, "KIND", None) in kinds and not isinstance(value, type),
        f"a result of kind {' or '.join(map(repr, kinds))}",
    )
