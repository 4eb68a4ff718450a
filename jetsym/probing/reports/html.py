"""Reports as HTML: a fragment for notebooks, and self-contained pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from jetsym.plotting import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["figure_element", "page", "paragraphs", "table_element"]

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color: #1b1b1b; }
h1, h2, h3, p { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.5rem 0 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; position: sticky; left: 0; background: #fff; }
th[aria-sort] { cursor: pointer; }
th[aria-sort="ascending"]::after { content: " ▲"; } th[aria-sort="descending"]::after { content: " ▼"; }
img { width: 100%; min-width: 40rem; height: auto; }
.note { color: #555; font-size: .9rem; }
"""

#: Sorts a table by the column whose head is clicked: numbers by value, without their errors; what is below a bound by
#: the bound; missing values last.
SORTING = """
function value(cell) {
  const text = cell.textContent.trim();
  const found = text.match(/^<?(-?[0-9.]+)(?:\\([0-9]+\\))?(e[-+]?[0-9]+)?$/);
  return found ? Number(found[1] + (found[2] || "")) : text === "—" ? NaN : text;
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
document.querySelectorAll("table").forEach(table => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const missing = row => Number.isNaN(value(row.cells[column]));
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        missing(a) - missing(b) || (down ? -1 : 1) * compare(value(a.cells[column]), value(b.cells[column])));
      table.tBodies[0].append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
});
"""


def page(title: str, body: Iterable[str]) -> str:
    """A self-contained HTML page: no link to anything outside, and one small script, which sorts tables."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + f"\n<script>{SORTING}</script>\n</body></html>\n"
    )


def paragraphs(texts: Iterable[str], *, note: bool = False) -> str:
    """Plain texts as paragraphs."""
    attribute = ' class="note"' if note else ""
    return "\n".join(f"<p{attribute}>{escape(text)}</p>" for text in texts)


def table_element(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def figure_element(picture: Axes | Figure, description: str) -> str:
    """A figure, or that of axes, inline, as PNG."""
    stream = io.BytesIO()
    figure_of(picture).savefig(stream, format="png", dpi=150)
    encoded = base64.b64encode(stream.getvalue()).decode()
    image = f'<img alt="{escape(description, quote=True)}" src="data:image/png;base64,{encoded}">'
    return f'<div class="scroll">{image}</div>'
