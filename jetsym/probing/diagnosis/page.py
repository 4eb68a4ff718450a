"""The page of a report, with its diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.probing.reports.diagnosis import diagnosis_fragment
from jetsym.probing.reports.html import figure_element, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jetsym.probing.reports.boosts import BoostReport
    from jetsym.probing.reports.lorentz import LorentzReport
    from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["report_page"]


def report_page(report: SymmetryReport | BoostReport | LorentzReport, picture: Axes | Figure) -> str:
    """A page of one report of any kind: what was found, the picture that ``report.plot()`` drew, and a diagnosis."""
    from jetsym.probing.diagnosis.diagnose import diagnose

    described = figure_element(picture, f"What was measured under {report.meta['group']}, layer by layer")
    found = ["<h2>Findings</h2>", diagnosis_fragment(diagnose(report))]
    return page(f"Symmetry of {report.meta['model']}", [described, report._repr_html_(), *found])
