"""Figure 8: cost and accuracy of the estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import TWO_COLUMNS, keep, run_as_script, tagger
from matplotlib.axes import Axes

import jetsym
from jetsym.benchmarks.estimator import pairwise, quadrature
from jetsym.benchmarks.measure import alternate
from jetsym.jets import sample
from jetsym.spectrum import SO3

QUADRATURE, RANDOM, PAIRS = "#0072B2", "#D55E00", "#009E73"


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw the error of relative A against the evaluations, and the time of the estimator against that of pairs."""
    figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.7), layout="constrained")
    numbers = {"accuracy": accuracy(axes[0], out, quick=quick), "cost": cost(axes[1], quick=quick)}
    for letter, ax in zip("ab", axes, strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    keep(figure, "cost_and_accuracy", out, numbers)


def accuracy(ax: Axes, out: Path, *, quick: bool) -> dict[str, Any]:
    """Draw how far the fraction of (0,+) in a trained tagger's logits is from that of a much finer grid."""
    folder = tagger("rotated", out, quick=quick)
    jets = sample("test", limit=10 if quick else 40, max_particles=24 if quick else 64)
    finest = 4 if quick else 10
    truth = _fraction(folder, jets, l_max=finest)[0]
    grids = [_fraction(folder, jets, l_max=l_max) for l_max in (range(1, 4) if quick else range(1, 8))]
    draws = {
        n: [_fraction(folder, jets, n_rotations=n, seed=s) for s in range(2 if quick else 6)] for n in (8, 32, 128)
    }
    ax.plot(
        [g[1] for g in grids],
        [abs(g[0] - truth) for g in grids],
        "o-",
        color=QUADRATURE,
        markersize=4,
        label="quadrature",
    )
    spread = {
        n: float(np.sqrt(np.mean([(fraction - truth) ** 2 for fraction, _ in found]))) for n, found in draws.items()
    }
    evaluations = [found[0][1] for found in draws.values()]
    ax.plot(evaluations, list(spread.values()), "s--", color=RANDOM, markersize=4, label="random rotations")
    ax.set(xscale="log", yscale="log", xlabel="evaluations per jet", ylabel="error of b(0,+) of the logits")
    ax.xaxis.set_minor_formatter("")
    ax.legend(frameon=False)
    return {
        "truth": {"l_max": finest, "fraction": truth},
        "quadrature": {"evaluations": [g[1] for g in grids], "fraction": [g[0] for g in grids]},
        "random": {"evaluations": evaluations, "rms error": list(spread.values())},
    }


def _fraction(folder: Path, jets: Any, **options: Any) -> tuple[float, int]:
    """Measure the fraction of (0,+) in the logits, and count the evaluations per jet."""
    report: Any = jetsym.probe(folder, jets, layers=[], progress=False, **options)
    return float(report.fractions[0, 0]), report.meta["evaluations"] // len(jets)


def cost(ax: Axes, *, quick: bool) -> dict[str, Any]:
    """Draw the seconds from the responses of one input to its spectrum, beside the sum over all pairs of rotations."""
    degrees, features = (range(2, 5), 16) if quick else (range(2, 9), 64)
    rows = [_seconds(l_max, features) for l_max in degrees]
    for column, (label, colour, mark) in enumerate((("ring by ring", QUADRATURE, "o-"), ("pairs", PAIRS, "^--"))):
        ax.plot(list(degrees), [row[column] for row in rows], mark, color=colour, markersize=4, label=label)
    ax.set_xticks(list(degrees))
    ax.set(yscale="log", xlabel="largest λ", ylabel=f"seconds for {features} features")
    ax.legend(frameon=False)
    return {
        "l_max": list(degrees),
        "features": features,
        "ring by ring": [r[0] for r in rows],
        "pairs": [r[1] for r in rows],
    }


def _seconds(l_max: int, features: int) -> tuple[float, float]:
    rule = SO3().quadrature(l_max)
    responses = torch.randn(len(rule), 1, features, generator=torch.Generator().manual_seed(0))
    tasks = {"rings": lambda: quadrature(rule, responses, len(rule)), "pairs": lambda: pairwise(rule, responses)}
    times = alternate(tasks, 3, at_least=0.02)
    return float(np.median(times["rings"])), float(np.median(times["pairs"]))


if __name__ == "__main__":
    run_as_script(draw)
