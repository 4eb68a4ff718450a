"""Figure 3: the layers of a jet tagger before and after training, on unrotated and on rotated jets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from common import LABELS, TAGGERS, TWO_COLUMNS, keep, run_as_script, tagger

import jetsym
from jetsym.jets import sample
from jetsym.plotting import plot_spectrum


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw the layer spectra of a tagger untrained, trained on unrotated jets, and trained on rotated jets."""
    reports = measure(out, quick=quick)
    figure, panels = plt.subplots(1, len(reports), figsize=(TWO_COLUMNS, 2.7), sharey=True, layout="constrained")
    for ax, (name, report) in zip(panels, reports.items(), strict=True):
        plot_spectrum(replace(report, baseline=None), ax, legend=ax is panels[-1])
        ax.set_title(f"{LABELS.get(name, name)}\nrelative A = {report.equivariance['logits'].relative:.2f}")
        ax.set_ylabel("fraction of power b" if ax is panels[0] else "")
    panels[0].set_ylim(min(ax.get_ylim()[0] for ax in panels), 1.6)
    keep(figure, "jet_layers", out, {name: report.to_dict() for name, report in reports.items()})


def measure(out: Path, *, quick: bool) -> dict[str, Any]:
    """Probe the network, untrained and trained in both ways."""
    jets = sample("test", limit=10 if quick else 40, max_particles=24 if quick else 64)
    reports: dict[str, Any] = {}
    for name in TAGGERS:
        folder = tagger(name, out, quick=quick)
        wanted = None if reports else "untrained"
        report: Any = jetsym.probe(folder, jets, l_max=2 if quick else 4, baseline=wanted, progress=False)
        if wanted:
            reports["untrained"] = report.baseline
        reports[name] = report
    return reports


if __name__ == "__main__":
    run_as_script(draw)
