"""Results as HTML, from the templates beside this module: sections for notebooks, and self-contained pages."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TEMPLATES", "image", "page", "render"]

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
    title: str, section: Markup, *, figure: Axes | Figure | None = None, description: str = "", findings: Any = None
) -> str:
    """Return a self-contained page of one report: its figure, its section, and the section of its diagnosis."""
    source = None if figure is None else image(figure)
    return render("page.html", title=title, section=section, source=source, description=description, findings=findings)


def image(figure: Axes | Figure) -> str:
    """Return a figure, or that of axes, as PNG in a data URL."""
    from jetsym.plotting import figure_of  # here, as it imports matplotlib

    stream = io.BytesIO()
    figure_of(figure).savefig(stream, format="png", dpi=150)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
