"""The page of a report, with its diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.pages import page
from jetsym.probing.diagnosis.diagnose import diagnose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jetsym.probing.reports.read import Report

__all__ = ["report_page"]


def report_page(report: Report, figure: Axes | Figure) -> str:
    """Return a page of one report of any kind: what was found, the figure that ``plot()`` drew, and a diagnosis."""
    return page(
        f"Symmetry of {report.meta['model']}",
        report.section(),
        figure=figure,
        description=f"What was measured under {report.meta['group']}, layer by layer",
        findings=diagnose(report).section(),
    )
