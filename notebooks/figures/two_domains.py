"""Figure 5: a jet tagger and an atomistic transformer on one axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from common import TWO_COLUMNS, copper_frames, energies_of, keep, potential, run_as_script, tagger

import jetsym
from jetsym.jets import sample
from jetsym.plotting import plot_comparison

#: The layers of a PET along the way of the messages, from input to output.
LAYERS = [
    "gnn_layers.0.edge_embedder",
    "gnn_layers.0.compress",
    "gnn_layers.0_edge",
    "gnn_layers.0_node",
    "node_heads.*",
]


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw invariant fractions, bandwidths, parity and errors by depth, of both domains."""
    l_max = 2 if quick else 4
    jets = sample("test", limit=6 if quick else 40, max_particles=24 if quick else 64)
    tagged: Any = jetsym.probe(tagger("rotated", out, quick=quick), jets, l_max=l_max, progress=False)
    folder = potential("rotated", out, quick=quick)
    model, frames = energies_of(folder), copper_frames(folder, quick=quick)
    atoms: Any = jetsym.probe(model, frames, layers=LAYERS, l_max=l_max, progress=False)
    compared = jetsym.compare(tagged, atoms, names=["PointNet (jets)", "PET (atoms)"])
    for warning in compared.warnings:
        print(warning)
    axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 4.8), layout="constrained")[1].ravel()
    keep(plot_comparison(compared, axes), "two_domains", out, compared.to_dict())


if __name__ == "__main__":
    run_as_script(draw)
