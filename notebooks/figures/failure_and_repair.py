"""Figure 7: a failure in each domain, and what repairs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from common import TWO_COLUMNS, keep, run_as_script
from matplotlib.axes import Axes

from jetsym.plotting.style import PALETTE

STUDIES = Path(__file__).parents[1] / "studies"

#: Quantity -> label of its axis, of each study.
JETS = {"accuracy": "accuracy", "accuracy rotated": "accuracy, rotated jets", "A": "relative A"}
ATOMS = {"forces": "forces RMSE [meV/Å]", "torque": "torque [meV/atom]", "splitting": "phonon splitting [THz]"}


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw the results of both studies, seed by seed and their means; a study that is not done is done first."""
    jets, atoms = (results(name, out, quick=quick) for name in ("jets", "atoms"))
    figure, axes = plt.subplots(2, 3, figsize=(TWO_COLUMNS, 4.6), layout="constrained")
    for row, (found, quantities) in enumerate(((jets, JETS), (atoms, ATOMS))):
        for ax, (key, label) in zip(axes[row], quantities.items(), strict=True):
            variants(ax, found["results"], key, label)
    keep(figure, "failure_and_repair", out, {"jets": jets, "atoms": atoms})


def results(name: str, out: Path, *, quick: bool) -> dict[str, Any]:
    """Read the numbers of a study, done here where it is not done yet."""
    folder = out / "studies" / (f"{name}-quick" if quick else name)
    path = folder / f"{name}.json"
    if not path.is_file():
        words = ["--quick", "--seeds", "1"] if quick else []
        subprocess.run([sys.executable, STUDIES / f"{name}.py", "--out", folder, *words], check=True)
    found: dict[str, Any] = json.loads(path.read_text().replace(" turned", " rotated"))  # as 0.1.0 called it
    return found


def variants(ax: Axes, rows: list[dict[str, Any]], key: str, label: str) -> None:
    """Draw one quantity of all variants: every seed, and the mean."""
    names = list(dict.fromkeys(row["variant"] for row in rows))
    for place, name in enumerate(names):
        values = np.array([row[key] for row in rows if row["variant"] == name])
        ax.plot(np.full(len(values), place), values, "o", color=PALETTE[place], markersize=3, alpha=0.5)
        ax.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=PALETTE[place], linewidth=1.8)
    spread = [row[key] for row in rows]
    if min(spread) > 0 and max(spread) / min(spread) > 30:
        ax.set_yscale("log")
    ax.set_xticks(
        range(len(names)), [name.replace("averaged, ", "averaged,\n") for name in names], rotation=35, ha="right"
    )
    ax.set_title(label)
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    run_as_script(draw)
