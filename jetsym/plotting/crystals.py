"""Relaxations and phonons: a potential as it was trained beside the same potential symmetrised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetsym.plotting.style import PALETTE, figure_of, finished, logarithmic, panels

__all__ = ["plot_phonons", "plot_relaxation"]

#: The symmetrised run is drawn last, and solid; the plain one stays visible beneath it.
STYLES: dict[str, dict[str, Any]] = {
    "plain": {"color": PALETTE[1], "linewidth": 1.8, "linestyle": "-"},
    "projected": {"color": PALETTE[2], "linewidth": 1.2, "linestyle": "--"},
    "symmetrized": {"color": PALETTE[0], "linewidth": 0.9, "linestyle": "-"},
}


def plot_phonons(
    distances: Sequence[np.ndarray],
    ticks: Sequence[tuple[float, str]],
    runs: Mapping[str, tuple[Sequence[np.ndarray], np.ndarray, np.ndarray]],
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw phonon bands along a path, and densities of states beside them.

    Parameters
    ----------
    distances
        Where the q-points of each segment stand along the path.
    ticks
        Where special points stand, and their names.
    runs
        By name: frequencies of each segment, of shape (points, bands), in THz; frequencies of the density of states;
        and the density, in states per THz and primitive cell.
    axes
        Two axes to draw into; a new figure where None.

    Raises
    ------
    ConfigError
        It is another number of axes.
    """
    wide = {"width_ratios": [4, 1]}
    left, right = panels(axes, 2, figsize=(7.6, 3.8), sharey=True, gridspec_kw=wide)
    for name, (bands, frequencies, density) in runs.items():
        for part, (segment, values) in enumerate(zip(distances, bands, strict=True)):
            lines = left.plot(segment, values, **STYLES[name])
            if part == 0:
                lines[0].set_label(name)
        right.plot(density, frequencies, **STYLES[name])
    left.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    for place, _ in ticks:
        left.axvline(place, color="black", linewidth=0.5, alpha=0.4)
    left.set_xlim(ticks[0][0], ticks[-1][0])
    left.set_ylabel("frequency [THz]")
    right.set_xlabel("states / THz")
    right.set_xlim(left=0)
    for ax in (left, right):
        ax.axhline(0, color="black", linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    if len(runs) > 1:
        left.legend(frameon=False, fontsize="small", loc="lower right")
    return figure_of(left)


def plot_relaxation(
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]], *, fmax: float, axes: Sequence[Axes] | None = None
) -> Figure:
    """Draw energy and largest force against the steps of a relaxation.

    Parameters
    ----------
    runs
        By name: energies in meV/atom, and largest forces in eV/Å, of every step.
    fmax
        The force at which it stops, in eV/Å.
    axes
        Two axes to draw into; a new figure where None.

    Raises
    ------
    ConfigError
        It is another number of axes.
    """
    left, right = panels(axes, 2, figsize=(7.6, 3.2))
    for name, (energies, largest) in runs.items():
        left.plot(energies - energies[-1], label=name, **STYLES[name])
        right.plot(np.where(largest > 0, largest, np.nan), **STYLES[name])
    right.axhline(fmax, color="black", linewidth=0.5, linestyle="--")
    logarithmic(right)
    _finished(left, "energy above the last [meV/atom]")
    _finished(right, "largest force [eV/Å]")
    if len(runs) > 1:
        left.legend(frameon=False, fontsize="small")
    return figure_of(left)


def _finished(ax: Axes, label: str) -> None:
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    finished(ax)
