"""Crystals out of their symmetric places, and the errors of their forces by a package's own calculator."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import jetsym


def crystals() -> list[Atoms]:
    """Return four atoms of rock salt and four of copper, moved a little, so that no pair is at a cutoff."""
    rng = np.random.default_rng(1)
    frames = [bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1), bulk("Cu", cubic=True)]
    for frame in frames:
        frame.positions += rng.normal(size=frame.positions.shape) * 0.1
    return frames


def molecule() -> Atoms:
    """Return the atoms of rock salt by themselves, without a cell."""
    frame = crystals()[0]
    frame.pbc, frame.cell = False, None
    return frame


def expect_virial(network, **options) -> None:
    """Hold that the virial of a molecule, which is not zero, is equivariant; ``options`` as for jetsym.probe."""
    report = jetsym.probe(network, [molecule()], layers=[], l_max=2, progress=False, **options)
    assert report.equivariance["stress"].is_within_rounding
    assert report.norm[report.layers.index("stress")] > 0


def moved(frame: Atoms, matrix: NDArray[np.float64]) -> Atoms:
    """Return a crystal under an element of O(3); where that inverts, its cell keeps its handedness."""
    new = frame.copy()
    new.positions = frame.positions @ matrix.T
    new.cell = np.sign(np.linalg.det(matrix)) * frame.cell.array @ matrix.T
    return new


def results(calculator, frame: Atoms) -> dict[str, NDArray[np.float64]]:
    """Return energy, forces and stress (3, 3) of a package's own calculator."""
    calculator.calculate(frame, ["energy", "forces", "stress"], all_changes)
    found = calculator.results
    stress = found["stress"] if np.ndim(found["stress"]) == 2 else voigt_6_to_full_3x3_stress(found["stress"])
    return {"energy": found["energy"], "forces": found["forces"], "stress": stress}


def error_of_forces(calculator, frame: Atoms, signs: tuple[int, ...]) -> float:
    """Return relative A of the forces of one crystal, by random rotations alone (1,), or inverted as well (1, -1)."""
    rotations = Rotation.random(8, random_state=0).as_matrix()
    elements = [sign * rotation for rotation in rotations for sign in signs]
    z = np.stack([results(calculator, moved(frame, g))["forces"] @ g for g in elements]).astype(np.float64)
    return float(np.sqrt(((z - z.mean(axis=0)) ** 2).sum() / (len(z) - 1) * len(z) / (z**2).sum()))
