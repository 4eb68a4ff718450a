"""Figure 1: what B and A are, on functions whose spectrum is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from common import TWO_COLUMNS, keep, run_as_script
from matplotlib.axes import Axes
from matplotlib.patches import Circle

import jetsym
from jetsym.plotting import irrep_style
from jetsym.spectrum import O3, Irrep
from jetsym.spectrum.testing import known_spectrum

POWERS = {Irrep(0, 1): 0.5, Irrep(1, 1): 0.3, Irrep(1, -1): 0.03, Irrep(2, 1): 0.15, Irrep(3, 1): 0.02}


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw how responses rotate, the spectrum B of a known one, and the error A of a vector output."""
    figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 2.5), layout="constrained")
    numbers = {
        "rotation": responses_along_a_rotation(axes[0]),
        "spectrum": known_and_measured(axes[1], inputs=3 if quick else 20),
        "error": cloud_of_outputs(axes[2]),
    }
    for letter, ax in zip("abc", axes, strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.spines[["top", "right"]].set_visible(False)
    keep(figure, "what_a_and_b_are", out, numbers)


def responses_along_a_rotation(ax: Axes) -> dict[str, Any]:
    """Draw the responses of three functions of one unit vector while it is rotated about an axis across it."""
    angle = np.linspace(0, 2 * np.pi, 121)
    height = np.cos(angle)
    curves = {Irrep(0, 1): np.ones_like(angle), Irrep(1, 1): height, Irrep(2, 1): (3 * height**2 - 1) / 2}
    for irrep, values in curves.items():
        style = irrep_style(irrep) | {"marker": "", "label": f"λ = {irrep.lam}"}
        ax.plot(angle, values, **style)
    ax.set_xticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
    ax.set_xlabel("angle of the rotation g")
    ax.set_ylabel("response u(g) = f(g·x)")
    ax.legend(frameon=False, loc="lower right", handlelength=1.2)
    return {"angle": angle.tolist()} | {str(irrep): values.tolist() for irrep, values in curves.items()}


def known_and_measured(ax: Axes, *, inputs: int) -> dict[str, Any]:
    """Draw the spectrum prescribed for a function, and what a probe finds of it."""
    rng = np.random.default_rng(1)
    function = known_spectrum(POWERS, features=8, rng=rng)
    frames = O3().sample(inputs, rng)
    report: Any = jetsym.probe(function, frames, action=_rotated, l_max=3, layers=[], progress=False)
    places = np.arange(len(report.irreps))
    known = [POWERS.get(irrep, 0.0) for irrep in report.irreps]
    ax.bar(places, known, color="0.85", label="prescribed")
    for place, irrep in enumerate(report.irreps):
        style = irrep_style(irrep) | {"linestyle": "none", "label": "measured" if place == 0 else None}
        ax.errorbar(place, report.fractions[0, place], yerr=report.stderr[0, place], **style)
    ax.set_xticks(places, [str(irrep) for irrep in report.irreps], rotation=60)
    ax.set_xlabel("irrep (λ,σ)")
    ax.set_ylabel("fraction of power b")
    ax.legend(frameon=False)
    return {"irreps": [str(i) for i in report.irreps], "prescribed": known, "measured": report.fractions[0].tolist()}


def _rotated(frames: Any, matrices: Any) -> Any:
    """Move every frame (three vectors as columns) by every group element."""
    return (np.asarray(matrices)[:, None] @ frames[None]).reshape(-1, 3, 3)


def cloud_of_outputs(ax: Axes) -> dict[str, Any]:
    """Draw outputs of a vector-valued function, rotated back: their mean f̄, and A, their rms distance to it."""
    rng = np.random.default_rng(2)
    x = np.array([0.8, 0.45, 0.0])
    rotations = O3().sample(1500, rng)
    moved = np.einsum("gij,j->gi", rotations, x)
    outputs = moved + 0.35 * moved[:, 2:] * np.array([0.0, 1.0, 0.4]) + 0.25 * moved[:, :1] ** 2 * np.array([0, 0, 1.0])
    back = np.einsum("gji,gj->gi", rotations, outputs)
    mean = back.mean(axis=0)
    error = float(np.sqrt(((back - mean) ** 2).sum(-1).mean()))
    ax.scatter(back[:, 0], back[:, 1], s=2, color="#56B4E9", alpha=0.5, linewidths=0)
    ax.add_patch(Circle((mean[0], mean[1]), error, fill=False, color="#D55E00", linewidth=1.2))
    ax.plot(mean[0], mean[1], marker="+", markersize=9, color="black", linestyle="none")
    ax.annotate("f̄", mean[:2], xytext=(-9, 4), textcoords="offset points")
    ax.annotate(
        "", (mean[0] + error * 0.6, mean[1] - error * 0.8), mean[:2], arrowprops={"arrowstyle": "->", "shrinkA": 0}
    )
    ax.annotate("A", (mean[0] + error * 0.42, mean[1] - error * 0.42))
    ax.set_aspect("equal")
    ax.margins(0.15)
    ax.set_xlabel("z₁ of z(g) = ρ(g)⁻¹ f(g·x)")
    ax.set_ylabel("z₂")
    return {"mean": mean.tolist(), "A": error, "outputs rotated back": back[:200].tolist()}


if __name__ == "__main__":
    run_as_script(draw)
