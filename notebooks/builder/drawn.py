"""Figures of the pages that are drawn as these are built, from the reports in ``notebooks/results``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from builder.evidence import results
from jetsym.plotting import plot_boosts, plot_generators, plot_spectrum
from jetsym.probing.reports.lorentz import LorentzReport

__all__ = ["FIGURES", "figures"]

#: Place of a figure in the documentation -> the part of the public ParticleNet's report that it shows, and how.
FIGURES: Mapping[str, tuple[Callable[[LorentzReport], Any], Callable[[Any], Axes]]] = {
    "figures/particlenet_spectrum.svg": (lambda report: report.compact["O3 rest"], plot_spectrum),
    "figures/particlenet_generators.svg": (lambda report: report.local["jet"], plot_generators),
    "figures/particlenet_boosts.svg": (lambda report: report.windows["jet"], plot_boosts),
}


def figures() -> dict[str, bytes]:
    """Return the contents of the figures, by their place in the documentation."""
    report = LorentzReport.from_dict(results("particlenet")["report"])
    found = {}
    with matplotlib.rc_context({"svg.hashsalt": "jetsym", "font.size": 11, "legend.fontsize": 9}):
        for place, (part, plot) in FIGURES.items():
            figure: Any = plot(part(report)).get_figure(root=True)
            content = io.BytesIO()
            figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
            matplotlib.pyplot.close(figure)
            found[place] = content.getvalue()
    return found
