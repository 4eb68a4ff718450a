"""Figure 4: equivariance errors and invariant fractions over training, of a jet tagger and an atomistic transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from common import TAGGERS, TWO_COLUMNS, copper_frames, keep, potential, run_as_script, tagger
from matplotlib.axes import Axes

import jetsym
from jetsym.probing.reports.history import History

COLOURS = {"unrotated": "#D55E00", "rotated": "#0072B2"}
MARKS = {"unrotated": "o-", "rotated": "s--"}


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw A over training, with and without augmentation, and the invariant fraction of a layer and of the output."""
    figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 4.4), layout="constrained", sharex="col")
    jets, atoms = taggers(out, quick=quick), potentials(out, quick=quick)
    for column, (histories, output, layer) in enumerate(
        ((jets, "logits", "pool"), (atoms, "forces", "gnn_layers.0_node"))
    ):
        errors(axes[0, column], histories, output)
        fractions(axes[1, column], histories, layer)
    axes[0, 0].set_title("jet tagger")
    axes[0, 1].set_title("PET on copper")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    numbers = {"jets": jets, "atoms": atoms}
    keep(figure, "over_training", out, {d: {n: h.to_dict() for n, h in many.items()} for d, many in numbers.items()})


def taggers(out: Path, *, quick: bool) -> dict[str, History]:
    """Train the two taggers, probed while they are trained."""
    every = 2 if quick else 100
    runs = {
        name: tagger(f"watched-{name}", out, quick=quick, preset=preset, monitor_every=every)
        for name, preset in TAGGERS.items()
    }
    return {name: History.load(run) for name, run in runs.items()}


def potentials(out: Path, *, quick: bool) -> dict[str, History]:
    """Probe two PETs, with and without augmentation, at their checkpoints."""
    found = {}
    for name in TAGGERS:
        folder = potential(name, out, quick=quick)
        frames = copper_frames(folder, quick=quick)
        options: dict[str, Any] = {"layers": ["gnn_layers.0_node"], "l_max": 2, "progress": False}
        found[name] = jetsym.atoms.over_training(folder / "run", frames, **options)
    return found


def errors(ax: Axes, histories: dict[str, History], output: str) -> None:
    """Draw A over the spread across inputs, which both domains have."""
    for name, history in histories.items():
        values, stderr = (history.error(key, output) for key in ("over_spread", "over_spread_stderr"))
        label = "as the inputs come" if name == "unrotated" else "rotated at random in training"
        ax.errorbar(
            history.steps, values, yerr=np.nan_to_num(stderr), fmt=MARKS[name], color=COLOURS[name], markersize=3.5,
            capsize=2, linewidth=1.2, label=label,
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylabel(f"A over spread, {output}")
    _finish(ax)


def fractions(ax: Axes, histories: dict[str, History], layer: str) -> None:
    """Draw the part of a layer that is not invariant."""
    for name, history in histories.items():
        row = history.row(layer)
        values, stderr = 1 - history.over_steps("fractions")[:, row, 0], history.over_steps("stderr")[:, row, 0]
        ax.errorbar(
            history.steps, values, yerr=stderr, fmt=MARKS[name], color=COLOURS[name], markersize=3.5, capsize=2,
            linewidth=1.2,
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylabel(f"1 − b(0,+), {layer}")
    ax.set_xlabel(next(iter(histories.values())).unit)
    _finish(ax)


def _finish(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25)


if __name__ == "__main__":
    run_as_script(draw)
