"""Figure 6: rotations, generators and boosts for four taggers, one of them exactly equivariant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from common import TWO_COLUMNS, keep, run_as_script, tagger
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

import jetsym
from jetsym.jets import sample

COLOURS = {"PointNet": "#0072B2", "ParticleNet (public)": "#D55E00", "ParT": "#CC79A7", "L-GATr": "#009E73"}
MARKS = {"PointNet": "o", "ParticleNet (public)": "s", "ParT": "^", "L-GATr": "D"}


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw the three parts of a Lorentz report for every tagger: compact groups, generators, windows of rapidity."""
    reports = {name: measure(model, quick=quick) for name, model in taggers(out, quick=quick).items()}
    figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 3.0), layout="constrained")
    compact_groups(axes[0], reports)
    generators(axes[1], reports)
    boosts(axes[2], reports)
    for letter, ax in zip("abc", axes, strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.set_yscale("log")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(reports), frameon=False)
    keep(figure, "lorentz", out, {name: report.to_dict() for name, report in reports.items()})


def taggers(out: Path, *, quick: bool) -> dict[str, Any]:
    """Return the networks: two trained here, one with public weights where they are, one exactly equivariant."""
    small = {"epochs": 6, "limit": 3000, "max_particles": 64}
    found: dict[str, Any] = {"PointNet": tagger("rotated", out, quick=quick)}
    weights = Path(os.environ.get("JETSYM_REAL_DATA", "."), "particlenet", "ParticleNet_kin.pt")
    if weights.is_file():
        found["ParticleNet (public)"] = weights
    else:
        print(f"no {weights}: drawn without the public ParticleNet (get it with: jetsym download weights)")
    sizes = {"features": "kin", "embedding": [64, 64], "pairs": [32, 32], "blocks": 3, "class_blocks": 1, "heads": 4}
    found["ParT"] = tagger("part", out, quick=quick, preset="part", **small, options=sizes)
    sizes = {
        "scalars": "none",
        "beam": "none",
        "time": False,
        "multivectors": 4,
        "channels": 8,
        "blocks": 2,
        "heads": 2,
    }
    found["L-GATr"] = tagger("lgatr", out, quick=quick, preset="lgatr", **small | {"max_particles": 32}, options=sizes)
    return found


def measure(model: Any, *, quick: bool) -> Any:
    """Probe a tagger's logits on bundled jets: the Lorentz report."""
    network = jetsym.load(model)
    jets = sample("test", limit=2 if quick else 20, max_particles=min(network.max_particles, 8 if quick else 64))
    return jetsym.probe(network, jets, group="lorentz", l_max=1 if quick else 2, layers=[], progress=False)


def compact_groups(ax: Axes, reports: Mapping[str, Any]) -> None:
    """Draw relative A of the logits under the compact subgroups, with errors; open marks below the noise floor."""
    names = list(next(iter(reports.values())).compact)
    for number, (tagger_name, report) in enumerate(reports.items()):
        errors = [next(iter(part.equivariance.values())) for part in report.compact.values()]
        _dots(ax, number, len(reports), tagger_name, [(e.relative, e.relative_stderr, e.noise_floor) for e in errors])
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    ax.set_ylabel("relative A of the logits")


def generators(ax: Axes, reports: Mapping[str, Any]) -> None:
    """Draw the slopes of the logits under the generators along the axes of each jet."""
    for number, (tagger_name, report) in enumerate(reports.items()):
        part = report.local["jet"]
        values = np.sqrt(np.maximum(part.squared[-1], 0))
        errors = part.squared_stderr[-1] / (2 * np.maximum(values, 1e-30))
        _dots(ax, number, len(reports), tagger_name, [(v, e, 0.0) for v, e in zip(values, errors, strict=True)])
    names = next(iter(reports.values())).local["jet"].generators
    ax.set_xticks(range(len(names)), [f"${name[0]}_{name[-1]}$" for name in names])
    ax.set_ylabel("slope ‖L f‖ / ‖f‖ of the logits")


def boosts(ax: Axes, reports: Mapping[str, Any]) -> None:
    """Draw relative A of the logits against the half-width of the window of rapidity, boosts along the jet."""
    for tagger_name, report in reports.items():
        part = report.windows["jet"]
        values = part.relative[:, -1]
        errors = part.squared_stderr[:, -1] / (2 * np.maximum(values, 1e-30))
        style = {"color": COLOURS[tagger_name], "marker": MARKS[tagger_name], "markersize": 4, "capsize": 2}
        ax.errorbar(part.widths, values, yerr=errors, linewidth=1.2, **style)
    ax.set_xscale("log")
    ax.set_xticks(part.widths, [f"{width:g}" for width in part.widths])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("half-width y₀ in rapidity, along the jet")
    ax.set_ylabel("relative A of the logits")


def _dots(ax: Axes, number: int, count: int, name: str, values: list[tuple[float, float, float]]) -> None:
    """Draw a tagger's values with errors, beside the others'; open where they do not rise above their floor."""
    shift = (number - (count - 1) / 2) * 0.14
    for place, (value, error, floor) in enumerate(values):
        ax.errorbar(
            place + shift,
            max(value, 1e-16),
            yerr=np.nan_to_num(error),
            color=COLOURS[name],
            marker=MARKS[name],
            markersize=4,
            markerfacecolor="white" if value <= floor else COLOURS[name],
            capsize=2,
            linestyle="none",
            label=name if place == 0 else None,
        )


if __name__ == "__main__":
    run_as_script(draw)
