"""Figures of the pages that are drawn as these are built, from the reports in ``notebooks/results``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import matplotlib.pyplot

from builder.evidence import results
from jetsym import plotting
from jetsym.benchmarks.scaling import Scaling
from jetsym.jets.evaluation.report import Evaluation
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.reading import from_json

__all__ = ["FIGURES", "figures"]


def _public(part: Callable[[LorentzReport], Any]) -> Callable[[], Any]:
    """Return what reads a part of the public ParticleNet's report."""
    return lambda: part(LorentzReport.from_dict(results("particlenet")["report"]))


def _evaluation() -> Evaluation:
    return Evaluation.from_dict(from_json(results("evaluation")["report"]))


#: Place of a figure in the documentation -> what it shows, and how.
FIGURES: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "figures/particlenet_spectrum.svg": (_public(lambda report: report.compact["O3 rest"]), plotting.plot_spectrum),
    "figures/particlenet_generators.svg": (_public(lambda report: report.local["jet"]), plotting.plot_generators),
    "figures/particlenet_boosts.svg": (_public(lambda report: report.windows["jet"]), plotting.plot_boosts),
    "figures/evaluation_roc.svg": (_evaluation, plotting.plot_roc),
    "figures/evaluation_rejection_by_pt.svg": (
        _evaluation,
        lambda found: plotting.plot_rejection_by_pt(found, signals=["Hbb", "Hgg", "Wqq", "Tbqq"]),
    ),
    "figures/evaluation_scores.svg": (_evaluation, plotting.plot_all_scores),
    "figures/evaluation_sculpting.svg": (_evaluation, plotting.plot_sculpting),
    "figures/evaluation_rotation.svg": (
        lambda: _evaluation().stability,
        lambda found: plotting.plot_score_curve(found, changes=True),
    ),
    "figures/evaluation_boost.svg": (
        lambda: _evaluation().stability,
        lambda found: plotting.plot_score_curve(found, curve="boost jet"),
    ),
    "figures/scaling.svg": (lambda: Scaling.from_dict(results("scaling")["report"]), lambda found: found.plot()),
}


def figures() -> dict[str, bytes]:
    """Return the contents of the figures, by their place in the documentation."""
    found = {}
    with matplotlib.rc_context({"svg.hashsalt": "jetsym", "font.size": 11, "legend.fontsize": 9}):
        for place, (part, plot) in FIGURES.items():
            figure = plotting.figure_of(plot(part()))
            content = io.BytesIO()
            figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
            matplotlib.pyplot.close(figure)
            found[place] = content.getvalue()
    return found
