"""A potential with a broken symmetry that can be written down, and its average over all rotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

CUTOFF, WIDTH = 5.0, 1.3


def _make_class() -> type:
    from ase.calculators.calculator import Calculator, all_changes
    from ase.calculators.emt import EMT
    from ase.neighborlist import neighbor_list

    class Anisotropic(Calculator):
        """EMT and, for every pair at distance d, strength · exp(−d²/WIDTH²) · (u·d)².

        Without a direction u it is the mean over all rotations, and over a cubic point group as well: (u·d)² → d²/3.
        """

        implemented_properties = ("energy", "forces", "stress")

        def __init__(self, strength: float = 0.0, direction: tuple[float, float, float] | None = None) -> None:
            super().__init__()
            self.emt = EMT()
            self.strength = strength
            axis = np.array([0.0, 0.0, 0.0] if direction is None else direction)
            self.matrix = np.eye(3) / 3 if direction is None else np.outer(axis, axis) / (axis @ axis)

        def calculate(
            self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            plain = atoms.copy()
            plain.calc = self.emt
            first, vectors = neighbor_list("iD", atoms, CUTOFF)
            weight = self.strength * np.exp(-((vectors / WIDTH) ** 2).sum(axis=1))
            square = np.einsum("pi,ij,pj->p", vectors, self.matrix, vectors)
            # Derivative of a pair's energy by its vector; every pair is counted from both of its ends.
            slope = weight[:, None] * (2 * vectors @ self.matrix - 2 * square[:, None] * vectors / WIDTH**2)
            forces = plain.get_forces()
            np.add.at(forces, first, slope)
            self.results = {"energy": plain.get_potential_energy() + 0.5 * float(weight @ square), "forces": forces}
            if atoms.pbc.all():
                virial = 0.5 * vectors.T @ slope / atoms.get_volume()
                full = plain.get_stress(voigt=False) + 0.5 * (virial + virial.T)
                self.results["stress"] = full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    return Anisotropic


@pytest.fixture(scope="session")
def anisotropic() -> type:
    """``anisotropic(strength, direction)``: an ASE calculator that is not invariant under rotations."""
    return _make_class()
