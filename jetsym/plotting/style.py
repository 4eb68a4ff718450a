"""One look for every picture: an irrep has the same colour and line everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.files import finished_file
from jetsym.spectrum import Irrep

__all__ = ["TAIL_COLOUR", "figure_of", "irrep_style", "save_figure"]

#: Okabe and Ito's palette, legible with every kind of colour blindness; one colour per λ.
PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
TAIL_COLOUR = "#999999"
#: Line and marker of the first report, the second, …, where several are drawn together and colours say the irrep.
REPORTS: tuple[tuple[Any, str], ...] = (
    ("-", "o"),
    ("--", "s"),
    (":", "^"),
    ("-.", "D"),
    ((0, (5, 1, 1, 1, 1, 1)), "v"),
    ((0, (1, 3)), "P"),
)


def irrep_style(irrep: Irrep) -> dict[str, Any]:
    """Keyword arguments of ``ax.errorbar`` for an irrep: colour by λ; pseudotensors dashed, with open markers.

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


def figure_of(picture: Axes | Figure) -> Figure:
    """The whole figure that axes stand in; a figure itself."""
    return picture if isinstance(picture, Figure) else cast(Figure, picture.get_figure(root=True))


def save_figure(picture: Axes | Figure, path: str | Path) -> Path:
    """Save a figure, or that of axes, whole or not at all; the suffix says the format. Pixels at 150 per inch."""
    with finished_file(path) as unfinished:
        figure_of(picture).savefig(unfinished, dpi=150)
    return Path(path)
