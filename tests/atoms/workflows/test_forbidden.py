"""Spurious forces, torques and stresses against closed forms; drift where it must and must not be."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("spglib")

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from jetsym.atoms.workflows.dynamics import drift
from jetsym.atoms.workflows.forbidden import operations, space_group, space_groups, spurious, torque
from jetsym.errors import ConfigError, DataError


def dimer(angle: float, length: float = 2.4) -> Atoms:
    """Two atoms at an angle to z, in the xz plane."""
    return Atoms("Cu2", positions=[[0, 0, 0], [length * np.sin(angle), 0, length * np.cos(angle)]])


@pytest.mark.parametrize("angle", [0.3, 1.1])
def test_torque_of_a_dimer(anisotropic, angle):
    """E = k exp(−d²/w²) d² cos²θ, so that the torque around y is k exp(−d²/w²) d² sin 2θ."""
    found = torque(dimer(angle), anisotropic(0.5, (0, 0, 1)), step=1e-3)
    expected = 0.5 * np.exp(-((2.4 / 1.3) ** 2)) * 2.4**2 * np.sin(2 * angle)
    np.testing.assert_allclose(found, [0, expected, 0], rtol=1e-5, atol=1e-10)


def test_torque_is_that_of_the_forces(anisotropic):
    atoms = Atoms("Cu4", positions=[[0, 0, 0], [2.4, 0, 0.2], [0, 2.5, 0], [1, 1, 2.1]])
    calculator = anisotropic(0.3, (1, 2, 3))
    atoms.calc = calculator
    by_forces = np.cross(atoms.positions, atoms.get_forces()).sum(axis=0)
    np.testing.assert_allclose(torque(atoms, calculator, step=1e-3), by_forces, atol=1e-6)
    assert np.linalg.norm(by_forces) > 1e-3


def test_an_invariant_potential_has_none_of_it():
    found = spurious(bulk("Cu", "hcp", a=2.55, c=4.2), EMT())
    assert max(found.net_force, found.torque, found.forbidden_force, found.forbidden_stress) < 1e-10
    assert found.symmetric_sites == 2


def test_forces_that_sites_forbid(anisotropic):
    """The sites of hcp have symmetry −6m2, which leaves no vector where it is: all of the force is forbidden."""
    atoms, calculator = bulk("Cu", "hcp", a=2.55, c=4.2), anisotropic(0.5, (1, 2, 3))
    found = spurious(atoms, calculator)
    atoms.calc = calculator
    assert found.forbidden_force == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max())
    assert found.forbidden_force > 1e-3
    assert found.net_force < 1e-12


def test_allowed_forces_are_not_counted():
    """Wurtzite's sites lie on a threefold axis: a force along it is allowed, across it forbidden."""
    atoms = Atoms(
        "Cu2Au2",
        scaled_positions=[[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.39], [2 / 3, 1 / 3, 0.89]],
        cell=[4.4, 4.4, 7.2, 90, 90, 120],
        pbc=True,
    )
    projectors = operations(atoms).site_projectors()
    np.testing.assert_allclose(projectors, np.tile(np.diag([0.0, 0.0, 1.0]), (4, 1, 1)), atol=1e-12)
    atoms.calc = EMT()
    assert np.abs(atoms.get_forces()).max() > 1e-3
    assert spurious(atoms, EMT()).forbidden_force < 1e-10


def test_stress_that_the_group_forbids(anisotropic):
    """A cubic crystal allows only a pressure."""
    atoms, calculator = bulk("Cu", cubic=True), anisotropic(0.5, (0, 0, 1))
    found = spurious(atoms, calculator)
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False)
    assert found.forbidden_stress == pytest.approx(np.abs(stress - np.eye(3) * np.trace(stress) / 3).max())
    assert spurious(atoms, anisotropic(0.5)).forbidden_stress < 1e-12


def test_operations_form_a_group():
    found = operations(bulk("NaCl", "rocksalt", a=5.6))
    group = found.point_group()
    assert len(group) == 48
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 3, 3)
    assert {tuple(matrix.ravel()) for matrix in np.round(products, 6) + 0.0} == {
        tuple(matrix.ravel()) for matrix in np.round(group, 6) + 0.0
    }
    np.testing.assert_allclose(np.abs(np.linalg.det(group)), 1)


def test_operations_carry_atoms_onto_atoms():
    atoms = bulk("Si", "diamond", a=5.4, cubic=True)
    found = operations(atoms)
    assert found.rotations.shape == (192, 3, 3)
    assert all(sorted(images) == list(range(8)) for images in found.images)


def test_space_groups_tell_a_lost_symmetry():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array * [1, 1, 1.003], scale_atoms=True)
    groups = space_groups(atoms)
    assert groups["0.1"] == "Fm-3m (225)"
    assert groups["1e-05"] == "I4/mmm (139)"
    assert space_group(dimer(0.1)) == "not periodic"


def test_coinciding_atoms():
    with pytest.raises(DataError, match="spglib finds no space group of Cu2"):
        space_group(Atoms("Cu2", positions=np.zeros((2, 3)), cell=[3, 3, 3], pbc=True))


def test_energy_is_conserved_and_angular_momentum_only_by_an_invariant_potential(anisotropic):
    atoms = Atoms("Cu4", positions=[[0, 0, 0], [2.4, 0, 0.2], [0, 2.5, 0], [1, 1, 2.1]])
    kept = drift(atoms, anisotropic(0.5), steps=100, timestep=1.0)
    lost = drift(atoms, anisotropic(0.5, (1, 2, 3)), steps=100, timestep=1.0)
    assert kept.angular_momentum < 1e-10
    assert lost.angular_momentum > 1
    assert abs(lost.energy_drift) < 1  # meV/atom/ps: it is still the gradient of an energy
    assert lost.time == pytest.approx(0.1)


class NotAGradient(Calculator):
    """An isotropic oscillator and a force that pushes around z: no energy belongs to it."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        around = np.cross([0, 0, 0.2], atoms.positions)
        self.results = {"energy": 0.5 * (atoms.positions**2).sum(), "forces": -atoms.positions + around}


def test_forces_that_are_no_gradient_drift():
    atoms = Atoms("Cu", positions=[[1.0, 0, 0]])
    found = drift(atoms, NotAGradient(), steps=200, timestep=2.0, temperature=0.0)
    assert abs(found.energy_drift) > 100


def test_drift_of_a_harmonic_oscillator():
    """Velocity Verlet keeps E within (ω δt)²/8 of it, without drift over whole periods."""
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.2, 0, 0]])
    found = drift(atoms, EMT(), steps=400, timestep=1.0, temperature=100)
    assert abs(found.energy_drift) < 0.05
    assert 0 < found.temperature < 300


def test_too_short_a_run():
    with pytest.raises(ConfigError, match="a run of 1 steps has no drift; expected 2 or more"):
        drift(bulk("Cu"), EMT(), steps=1)


def test_angular_momentum_is_in_units_of_hbar():
    assert units._hbar * units.J * units.s == pytest.approx(6.582119569e-16 * units.s)
