"""Reports as HTML: a fragment for notebooks, and self-contained pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from jetsym.plotting import figure_of
from jetsym.probing.findings import EVIDENCE_COLUMNS
from jetsym.probing.lorentz_words import local_cells, width_cells
from jetsym.probing.words import concise, sentences, share, tail_floor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jetsym.probing.comparison import Comparison
    from jetsym.probing.equivariance import Equivariance
    from jetsym.probing.findings import Diagnosis
    from jetsym.probing.lorentz_report import BoostReport, LorentzReport
    from jetsym.probing.report import SymmetryReport

__all__ = [
    "boost_fragment",
    "comparison_fragment",
    "diagnosis_fragment",
    "figure_element",
    "lorentz_fragment",
    "page",
    "paragraphs",
    "report_fragment",
    "report_page",
    "spectrum_table",
    "table_element",
]

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

READING = (
    "Each cell is the share of a layer's power that turns with the inputs as that irrep does, in per cent, the "
    "standard error over inputs in brackets for the last digits. (0,+) does not turn at all; λ = 1 turns as a vector, "
    "λ = 2 as a quadrupole; + and − are true tensors and pseudotensors. The shares say how the content is distributed "
    "over orientation patterns, not that the layer is equivariant."
)

READING_ERRORS = (
    "A is how far an output is from turning as its kind says, averaged over the group. Its square, as a share of the "
    "output's power (relative A squared), is the sum of the power in irreps that the output should not have and of "
    "the power in the right irrep that is turned the wrong way; the error spectrum sorts the same sum by irreps. A "
    "over spread is over the standard deviation of the symmetrised output across inputs. Below the noise floor "
    "relative A is rounding. Brackets hold standard errors over inputs, for the last digits."
)

READING_SIDES = (
    "Both columns are ∫Σ‖J_a u‖² over ∫‖u‖² of the same first inputs: measured by slopes, and summed from the spectrum "
    "up to l_max. They hold no sampling error against each other; the gap is what lies beyond l_max, or in jumps."
)

READING_SLOPES = (
    "Each cell is ‖L f‖/‖f‖, how fast a layer starts to change under a generator, per radian for the rotations J and "
    "per unit of rapidity for the boosts K. Jumps, such as exchanged neighbours, are not seen."
)

READING_BOOSTS = (
    "Each cell is relative A, how far a layer departs from its mean over boosts, for a declared measure on rapidity of "
    "that width. Boosts have no invariant measure: other widths are other questions."
)

READING_COMPARISON = (
    "Depth runs from 0, the input, to 1, the output. Shares of power are in per cent, the standard error over inputs "
    "in brackets for the last digits; those of sums over irreps are upper bounds. The bandwidth is Σ λ(λ+1) b: how "
    "finely a layer resolves the orientation. Relative A is over the size of the output; A over spread, over the "
    "standard deviation of the symmetrised output across inputs, is the one to compare across domains."
)

READING_FINDINGS = (
    "A number counts as a failure only where it is beyond its bound by three standard errors (in brackets, for the "
    "last digits) and by what rounding can do. For sums of shares the error is an upper bound."
)

ERROR_COLUMNS = (
    "output",
    "kind",
    "A (output units)",
    "relative A",
    "A / spread",
    "wrong irrep (%)",
    "misaligned (%)",
    "largest in the error spectrum (%)",
    "noise floor",
)


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


def spectrum_table(report: SymmetryReport) -> str:
    """The fractions of every layer, with errors."""
    rows = []
    for row, layer in enumerate(report.layers):
        floor = float(report.noise_floor[row])
        cells = [share(b, e, floor) for b, e in zip(report.fractions[row], report.stderr[row], strict=True)]
        rows.append(
            [layer, *cells, share(report.tail[row], report.tail_stderr[row], tail_floor(floor)), f"{floor:.0e}"]
        )
    return table_element(["layer", *map(str, report.irreps), "tail", "noise floor (fraction)"], rows)


def report_page(report: SymmetryReport | BoostReport | LorentzReport, picture: Axes | Figure) -> str:
    """A page of one report of any kind: what was found, the picture that ``report.plot()`` drew, and a diagnosis."""
    from jetsym.probing.diagnose import diagnose

    described = figure_element(picture, f"What was measured under {report.meta['group']}, layer by layer")
    found = ["<h2>Findings</h2>", diagnosis_fragment(diagnose(report))]
    return page(f"Symmetry of {report.meta['model']}", [described, report._repr_html_(), *found])


def lorentz_fragment(report: LorentzReport) -> str:
    """The three parts, one after the other."""
    parts = [paragraphs(report.sentences())]
    for place, (title, compact) in enumerate(report.compact.items()):
        parts += [f"<h2>Compact: {escape(title)}</h2>", report_fragment(compact, explained=not place)]
    for axes, local in report.local.items():
        rows = [[layer, *local_cells(local, row)] for row, layer in enumerate(local.layers)]
        parts += [f"<h2>Local: generators along the axes of the {escape(axes)}</h2>"]
        parts += [table_element(["layer", *local.generators], rows), paragraphs([READING_SLOPES], note=True)]
    for axis, window in report.windows.items():
        parts += [f"<h2>Boosts along {escape(axis)}</h2>", boost_fragment(window)]
    rows = [
        [layer, f"{sides['local']:.4g}", f"{sides['spectrum']:.4g}", f"{100 * sides['tail']:.2g}"]
        for layer, sides in report.casimir.items()
    ]
    reading = paragraphs([READING_SIDES], note=True)
    header = ["layer", "∫ Σ‖J_a u‖² (slopes)", "Σ λ(λ+1) b (spectrum)", "beyond l_max (%)"]
    return "\n".join([*parts, "<h2>Slopes against spectrum</h2>", table_element(header, rows), reading])


def boost_fragment(report: BoostReport) -> str:
    """Relative A of every layer and output in every window."""
    rows = [[layer, *width_cells(report, row)] for row, layer in enumerate(report.layers)]
    symbol = "η₀" if report.meta["distribution"] == "uniform" else "σ"
    table = table_element(["layer", *(f"{symbol} = {width:g}" for width in report.widths)], rows)
    return "\n".join([paragraphs(report.sentences()), table, paragraphs([READING_BOOSTS], note=True)])


def report_fragment(report: SymmetryReport, *, explained: bool = True) -> str:
    """A report for a notebook's cell or a section of a page, with or without a word on how to read its tables."""
    errors = table_element(
        ERROR_COLUMNS,
        [
            [
                name,
                item.kind,
                concise(item.absolute, item.absolute_stderr),
                concise(item.relative, item.relative_stderr),
                concise(item.over_spread, item.over_spread_stderr),
                share(item.leakage, item.leakage_stderr, item.noise_floor**2),
                share(item.misalignment, item.misalignment_stderr, item.noise_floor**2),
                _largest(item),
                f"{item.noise_floor:.0e}",
            ]
            for name, item in report.equivariance.items()
        ],
    )
    parts = [paragraphs(sentences(report)), spectrum_table(report), paragraphs([READING] * explained, note=True)]
    if report.equivariance:
        parts += [errors, paragraphs([READING_ERRORS] * explained, note=True)]
    return "\n".join([*parts, paragraphs([settings(report.meta)], note=True)])


def _largest(item: Equivariance) -> str:
    """The irrep that holds most of an output's error, with its share of the output's power."""
    name = max(item.error_spectrum, key=lambda irrep: item.error_spectrum[irrep], default=None)
    if name is None or abs(item.relative) <= item.noise_floor:
        return "—"
    return f"{name} {share(item.error_spectrum[name], item.error_spectrum_stderr[name], item.noise_floor**2)}"


def settings(meta: Any) -> str:
    """How it was measured, in one line."""
    return (
        f"{meta['model']}; group {meta['group']}, frame {meta['frame']}, l_max {meta['l_max']}, "
        f"method {meta['method']}, {meta['n_inputs']} inputs × {meta['n_rotations']} rotations "
        f"({meta['evaluations']:,} evaluations in {meta['seconds']:.1f} s on {meta['device']}, {meta['dtype']}), "
        f"seed {meta['seed']}. " + " ".join(meta["notes"])
    )


def diagnosis_fragment(found: Diagnosis, *, explained: bool = True) -> str:
    """Findings with their evidence, why they matter and what to try; and what could not be judged.

    With or without a word on when a number counts.
    """
    parts = []
    for finding in found:
        parts += [
            f"<h3>{escape(finding.name)}: {escape(finding.subject)} ({escape(finding.severity)})</h3>",
            paragraphs([finding.text]),
            table_element(EVIDENCE_COLUMNS, [item.cells() for item in finding.evidence]),
            f"<p><b>Why it matters.</b> {escape(finding.why)}</p>",
            f"<p><b>What to try.</b> {escape(finding.remedy)}</p>",
        ]
    if not found.findings:
        parts.append(paragraphs(found.sentences()))
    unknown = [f"Not judged, {name}: {reason}." for name, reason in found.not_judged.items()]
    return "\n".join([*parts, paragraphs([READING_FINDINGS] * explained + unknown, note=True)])


def comparison_fragment(compared: Comparison) -> str:
    """The table of a comparison, with the warnings first."""
    table = table_element(["report", *compared.header], ([name, *cells] for name, cells in compared.rows()))
    return "\n".join([paragraphs(compared.sentences()), table, paragraphs([READING_COMPARISON], note=True)])
