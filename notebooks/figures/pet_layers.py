"""Figure 2: the layers of an atomistic transformer before and after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from common import TWO_COLUMNS, copper_frames, energies_of, keep, potential, run_as_script

import jetsym
from jetsym.plotting import plot_spectrum

#: The layers of a PET in the figure, from input to output.
LAYERS = [
    "gnn_layers.0.edge_embedder",
    "gnn_layers.0.compress",
    "gnn_layers.0_node",
    "gnn_layers.0_edge",
    "node_heads.energy.0",
    "edge_heads.energy.0",
]
NAMES = ["edge embedder", "compress", "GNN node", "GNN edge", "node head", "edge head", "energy"]


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw the layer spectra of a small PET on copper, untrained, and trained on rotated structures."""
    reports = measure(out, quick=quick)
    figure, panels = plt.subplots(1, len(reports), figsize=(TWO_COLUMNS, 2.9), sharey=True, layout="constrained")
    for ax, (name, report) in zip(panels, reports.items(), strict=True):
        plot_spectrum(replace(report, baseline=None), ax, legend=ax is panels[-1])
        ax.set_xticks(range(len(NAMES)), NAMES, rotation=40, ha="right")
        ax.set_title(name)
        ax.set_ylabel("fraction of power b" if ax is panels[0] else "")
    panels[0].set_ylim(1e-7, 1.6)
    keep(figure, "pet_layers", out, {name: report.to_dict() for name, report in reports.items()})


def measure(out: Path, *, quick: bool) -> dict[str, Any]:
    """Probe the untrained and the trained network."""
    folder = potential("rotated", out, quick=quick)
    model, frames = energies_of(folder), copper_frames(folder, quick=quick)
    l_max = 2 if quick else 4
    trained: Any = jetsym.probe(model, frames, layers=LAYERS, l_max=l_max, baseline="untrained", progress=False)
    return {"untrained": trained.baseline, "trained on rotated structures": trained}


if __name__ == "__main__":
    run_as_script(draw)
