"""Results as HTML, from the templates beside this module: sections for notebooks, and self-contained pages."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

__all__ = ["TEMPLATES", "image", "page", "render", "sections_of"]

#: At least so many pixels of a page to an inch of a figure: its smallest letters, of 8.3 points, are then 8 pixels.
PIXELS_PER_INCH = 72

#: Every value is escaped that is not itself a rendered template, and one that a template names and is not given fails.
TEMPLATES = Environment(
    loader=PackageLoader("jetsym"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> Markup:
    """Fill in a template of the folder ``templates``."""
    return Markup(TEMPLATES.get_template(template).render(values))


def page(
    title: str,
    section: Markup,
    *,
    figure: Axes | Figure | None = None,
    description: str = "",
    figures: Mapping[str, Axes | Figure] | None = None,
    findings: Any = None,
) -> str:
    """Return a self-contained page of one result: its figures, its section, and the section of its diagnosis.

    Parameters
    ----------
    title, section
        What stands above it, and the result itself.
    figure, description
        A figure and what it shows, for those who do not see it.
    figures
        More of them, by their descriptions, which are written below them as well.
    findings
        The section of a diagnosis.
    """
    shown = None if figure is None else (*image(figure), description)
    more = [(*image(one), words) for words, one in (figures or {}).items()]
    return render("page.html", title=title, section=section, first=shown, figures=more, findings=findings)


def sections_of(tables: Iterable[Table], notes: Iterable[str] = ()) -> Markup:
    """Return the section of what is otherwise printed as tables of rich, with notes below."""
    found = []
    for table in tables:
        columns = [[str(cell) for cell in column.cells] for column in table.columns]
        heads = [str(column.header) for column in table.columns]
        found.append((str(table.title or ""), heads, list(zip(*columns, strict=True))))
    return render("tables.html", tables=found, notes=list(notes))


def image(figure: Axes | Figure) -> tuple[str, int]:
    """Return a figure, or that of axes, as PNG in a data URL, and its least width in pixels that keeps it legible."""
    from jetsym.plotting import figure_of  # here, as it imports matplotlib

    stream, whole = io.BytesIO(), figure_of(figure)
    whole.savefig(stream, format="png", dpi=150)
    width = math.ceil(PIXELS_PER_INCH * whole.get_size_inches()[0])
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}", width
