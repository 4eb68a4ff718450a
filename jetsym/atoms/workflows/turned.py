"""A and the torque of some of the structures of an evaluation, with errors over structures, and beside the spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.calculated import Calculated
from jetsym.atoms.frames import moved_frame
from jetsym.atoms.workflows.slopes import torque
from jetsym.spectrum import O3
from jetsym.spectrum.responses import EPS
from jetsym.spectrum.result import jackknife_ratio

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Turned", "scores_of", "spread_of_energies", "turned"]

Array = NDArray[np.float64]

#: Pairs ±R of random rotations of a structure, for A.
ROTATIONS = 3
#: Score -> of what it is the root.
TURNED = {"energy_a": "energy", "forces_a": "forces", "torque": "torque"}


class Turned(NamedTuple):
    """A² of energy per atom and of forces per component, and the mean square torque, by meV and Å."""

    energy: float
    forces: float
    torque: float


def turned(tested: Calculated, frame: Atoms, *, seed: int) -> Turned:
    """Measure A² at pairs ±R of random rotations, without bias, and −∂E/∂θ by differences."""
    rotations = O3().rotations((ROTATIONS,), np.random.default_rng(seed))
    found = []
    for g in np.concatenate([rotations, -rotations]):
        values = tested.evaluate(moved_frame(frame, g), ["energy", "forces"])
        found.append((float(values["energy"]), values["forces"] @ g))
    energies, forces = (np.array([pair[which] for pair in found]) for which in (0, 1))
    value, _ = torque(tested.total_energy, frame, EPS["float32"] * float(np.abs(energies).max()) * len(frame) / 1e3)
    return Turned(_unbiased(energies), _unbiased(forces), float((value**2).mean()))


def _unbiased(values: np.ndarray) -> float:
    """Return A², averaged over components, of values at R₁ … R_n, −R₁ … −R_n: the pairs are independent."""
    n = len(values) // 2
    means = (values[:n] + values[n:]) / 2
    inside = ((values[:n] - means) ** 2).mean()
    return float(inside + means.var(axis=0, ddof=1).mean())


def scores_of(found: Sequence[Turned], spreads: dict[str, float | None]) -> dict[str, float | int | None]:
    """Return A and torque of some structures, their errors by leaving one out at a time, and A over the spread.

    Parameters
    ----------
    found
        Of every structure that was turned.
    spreads
        "energy" and "forces" -> the mean square of their deviations, A² with them, over all structures; or None.
    """
    scores: dict[str, float | int | None] = {"turned": len(found)}
    for name, of in TURNED.items():
        squares = np.array([getattr(one, of) for one in found])
        if not len(squares):
            continue
        mean, stderr = map(float, jackknife_ratio(squares, np.ones_like(squares)))
        root = float(np.sign(mean) * np.sqrt(abs(mean)))
        # A negative estimate is one about zero: its root is as many errors from zero as itself.
        error = stderr / ((2 if root > 0 else 1) * abs(root)) if root else float(np.sqrt(stderr))
        scores |= {name: root, f"{name}_stderr": error if len(squares) > 1 else None}
        left = None if (all_of_it := spreads.get(of)) is None else all_of_it - max(mean, 0.0)
        if name != "torque" and left is not None and left > 0:
            over = float(np.sqrt(left))
            scores[f"{name}_over_spread"] = root / over
            scores[f"{name}_over_spread_stderr"] = error / over if len(squares) > 1 else None
    return scores


def spread_of_energies(formulas: Sequence[str], energies: Array) -> float | None:
    """Return the mean square of energies per atom about the mean of their composition; None where all come once.

    Examples
    --------
    >>> spread_of_energies(["Cu", "Cu", "Al"], np.array([1.0, 3.0, 50.0])), spread_of_energies(["Cu"], np.ones(1))
    (2.0, None)
    """
    squares, n = 0.0, 0
    names = np.asarray(formulas)
    for name in np.unique(names):
        own = energies[names == name]
        if len(own) > 1:
            squares, n = squares + float(own.var(ddof=1)) * len(own), n + len(own)
    return squares / n if n else None
