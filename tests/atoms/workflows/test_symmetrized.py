"""Averaged calculators: an energy with a direction of its own becomes the isotropic one, with its forces and stress."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ase", reason="the extra 'atoms' is not installed")
pytest.importorskip("spglib", reason="the extra 'atoms' is not installed")

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress

from jetsym.atoms import calculator as potential_of
from jetsym.atoms.frames import bare, moved_frame, right_handed
from jetsym.atoms.workflows import rotated
from jetsym.atoms.workflows.symmetrized import SymmetrizedCalculator, space_group_rotations, symmetrized_calculator
from jetsym.errors import ConfigError
from jetsym.spectrum import O3

AXIS = np.array([0.6, 0.0, 0.8])


class Pairs(Calculator):
    """Σ over pairs of exp(−r²) (r·a)², or averaged over the directions of a: exp(−r²) r²/3."""

    implemented_properties = ("energy", "forces", "stress", "dipole")

    def __init__(self, *, isotropic: bool = False) -> None:
        super().__init__()
        self._isotropic = isotropic
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        i, vectors = neighbor_list("iD", self.atoms, 5.0)
        square = (vectors**2).sum(axis=1)
        envelope = np.exp(-square)
        if self._isotropic:
            value, slope = square / 3, 2 * vectors / 3
        else:
            value, slope = (vectors @ AXIS) ** 2, 2 * (vectors @ AXIS)[:, None] * AXIS
        gradient = envelope[:, None] * (slope - 2 * value[:, None] * vectors)
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, gradient)
        self.results = {"energy": (envelope * value).sum() / 2, "forces": forces}
        self.results["dipole"] = self.atoms.positions.sum(axis=0) + AXIS
        if self.atoms.pbc.all():
            stress = vectors.T @ gradient / 2 / self.atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


@pytest.fixture
def crystal():
    atoms = bulk("Cu", "fcc", a=3.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def force_by_differences(atoms, step=1e-4):
    """On the first atom."""
    forces = np.zeros((1, 3))
    for place in np.ndindex(forces.shape):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[place] += sign * step
            moved.calc = atoms.calc
            forces[place] -= sign * moved.get_potential_energy() / (2 * step)
    return forces


def test_the_average_is_the_isotropic_calculator(crystal):
    """The energy breaks the symmetry in λ = 2, so that forces need degree 3 and the stress degree 4."""
    molecule = Atoms("CuAg2", [[0, 0, 0], [1.1, 0.2, 0], [0.1, 0.9, 1.0]])
    for atoms in (crystal, molecule):
        atoms.calc = Pairs(isotropic=True)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        stress = atoms.get_stress() if atoms is crystal else None
        atoms.calc = Pairs()
        assert abs(atoms.get_potential_energy() / energy - 1) > 0.01 or atoms is crystal
        assert np.abs(atoms.get_forces() - forces).max() > 0.1
        atoms.calc = SymmetrizedCalculator(Pairs(), "O3", 4)
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)
        if stress is not None:
            np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-13)
        atoms.calc = SymmetrizedCalculator(Pairs(), "O3", 2, rule="lebedev")
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    # In its standard deviation, ⟨cos⁴⟩ − ⟨cos²⟩² = 1/5 − 1/9 for a single pair.
    pair = Atoms("Cu2", [[0, 0, 0], [1.0, 0, 0]], calculator=SymmetrizedCalculator(Pairs(), "O3", 4))
    pair.get_potential_energy()
    assert pair.calc.results["energy_std"] == pytest.approx(np.exp(-1) * np.sqrt(1 / 5 - 1 / 9), rel=1e-12)
    np.testing.assert_allclose(pair.get_dipole_moment(), [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("group", ["O3", "SO3", "matrices", "space"])
def test_forces_are_minus_the_gradient_of_the_averaged_energy(crystal, group):
    """Whatever the elements are, as long as they stay the same."""
    options = {"reference": bulk("Cu", "fcc", a=3.0, cubic=True)} if group == "space" else {}
    elements = O3().sample(3, np.random.default_rng(0)) if group == "matrices" else group
    crystal.calc = SymmetrizedCalculator(Pairs(), elements, 1, **options)
    np.testing.assert_allclose(crystal.get_forces()[:1], force_by_differences(crystal), atol=1e-6)


def test_the_space_group_restores_the_symmetry_of_a_crystal():
    perfect = bulk("Cu", "fcc", a=3.0, cubic=True)
    strained = {}
    for name, calculator in {"plain": Pairs(), "space": SymmetrizedCalculator(Pairs(), "space")}.items():
        perfect.calc = calculator
        stress = perfect.get_stress()
        strained[name] = max(np.ptp(stress[:3]), np.abs(stress[3:]).max())
    assert strained["plain"] > 1e-2
    assert strained["space"] < 1e-13

    # Three displacements that the crystal's rotations exchange: stiffness is the same for all with the reference.
    def stiffness(calculator):
        found = []
        for direction in np.eye(3):
            atoms = perfect.copy()
            atoms.positions[0] += 0.01 * direction
            atoms.calc = calculator
            found.append(-atoms.get_forces()[0] @ direction / 0.01)
        return np.ptp(found)

    assert stiffness(Pairs()) > 0.1
    assert stiffness(SymmetrizedCalculator(Pairs(), "space", reference=perfect)) < 1e-12
    assert stiffness(SymmetrizedCalculator(Pairs(), "O3", 3)) < 1e-12


class Lattice(Calculator):
    """Σ over the shortest vectors of an fcc lattice of (r·a)⁶, which breaks the symmetry up to λ = 6; of one atom."""

    implemented_properties = ("energy", "stress")
    hops = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [1, 0, -1], [0, 1, -1]])

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vectors = self.hops @ self.atoms.cell.array
        along = vectors @ AXIS
        gradient = 6 * (along**5)[:, None] * AXIS
        stress = vectors.T @ gradient / self.atoms.get_volume()
        self.results = {"energy": (along**6).sum(), "stress": full_3x3_to_voigt_6_stress((stress + stress.T) / 2)}


def test_the_space_group_of_an_average_over_all_rotations():
    """An average over O(3) to a low degree is inexact in a crystal, and that over its space group ignores rotations."""
    rotations = O3().sample(2, np.random.default_rng(0))

    def everywhere(crystal):
        return SymmetrizedCalculator(Lattice(), "O3", 2)

    def space(crystal):
        return SymmetrizedCalculator(Lattice(), "space", reference=crystal)

    def both(crystal):
        return SymmetrizedCalculator(everywhere(crystal), "space", reference=crystal)

    def other_order(crystal):
        return SymmetrizedCalculator(space(perfect), "O3", 2)

    perfect = bulk("Cu", "fcc", a=1.0)
    shear, spread = {}, {}
    for average in (everywhere, space, both, other_order):
        perfect.calc = average(perfect)
        stress, energies = perfect.get_stress(), [perfect.get_potential_energy()]
        for rotation in rotations:
            crystal = Atoms("Cu", cell=perfect.cell.array @ rotation.T, pbc=True)
            energies.append(average(crystal).get_potential_energy(crystal))
        shear[average] = max(np.ptp(stress[:3]), np.abs(stress[3:]).max())
        spread[average] = np.ptp(energies)
    assert min(shear[everywhere], shear[other_order]) > 1e-3
    assert max(shear[space], shear[both]) < 1e-13
    assert spread[both] < spread[space] / 2


def test_rotations_of_space_groups():
    for atoms, count in [(bulk("Cu"), 48), (bulk("NaCl", "rocksalt", a=5.6), 48), (bulk("ZnS", "zincblende", 5.4), 24)]:
        rotation = O3().sample(1, np.random.default_rng(0))[0]
        atoms.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
        rotations = space_group_rotations(atoms)
        assert len(rotations) == count
        np.testing.assert_allclose(
            rotations @ np.swapaxes(rotations, 1, 2), np.eye(3) + np.zeros((count, 3, 3)), atol=1e-12
        )
        # A group: closed under products.
        products = np.einsum("iab,jbc->ijac", rotations, rotations).reshape(-1, 1, 9)
        assert (np.abs(products - rotations.reshape(1, -1, 9)).max(axis=2).min(axis=1) < 1e-10).all()
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=1)
    np.testing.assert_allclose(space_group_rotations(rattled), np.eye(3)[None], atol=1e-12)


def test_a_symmetric_calculator_stays_as_it_is_and_one_orbit_serves_all(crystal):
    crystal.calc = EMT()
    energy, forces, stress = crystal.get_potential_energy(), crystal.get_forces(), crystal.get_stress()
    crystal.calc = SymmetrizedCalculator(EMT(), "O3", 1)
    assert crystal.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(crystal.get_forces(), forces, atol=1e-11)
    np.testing.assert_allclose(crystal.get_stress(), stress, atol=1e-12)
    assert crystal.calc.results["energy_std"] < 1e-6
    assert crystal.get_potential_energy(force_consistent=True) == pytest.approx(energy, rel=1e-12)
    crystal.calc = SymmetrizedCalculator(counted := Pairs(), "SO3", 2)
    crystal.get_stress(), crystal.get_forces(), crystal.get_potential_energy()
    assert counted.calls == len(crystal.calc.average(crystal).weights) == 18


def test_constraints_do_not_reach_the_orbit(crystal):
    from ase.constraints import FixAtoms

    crystal.calc = SymmetrizedCalculator(Pairs(), "O3", 3)
    free = crystal.get_forces()
    crystal.set_constraint(FixAtoms([0]))
    crystal.calc = SymmetrizedCalculator(Pairs(), "O3", 3)  # nothing kept from before
    assert not crystal.get_forces()[0].any()
    np.testing.assert_allclose(crystal.get_forces(apply_constraint=False), free, atol=1e-13)


def test_metatomics_own_average_serves_its_own_calculators():
    metatomic = pytest.importorskip("metatomic_ase", reason="the extra 'atoms' is not installed")
    theirs = object.__new__(metatomic.MetatomicCalculator)
    theirs.implemented_properties = ["energy", "forces"]
    average = symmetrized_calculator(theirs, "SO3", 3, batch_size=7)
    assert isinstance(average, metatomic.SymmetrizedCalculator)
    assert (average.l_max, average.include_inversion, average.batch_size) == (3, False, 7)
    assert isinstance(symmetrized_calculator(theirs, "space"), SymmetrizedCalculator)
    assert isinstance(symmetrized_calculator(Pairs(), "O3", 3), SymmetrizedCalculator)


@pytest.mark.parametrize("at_once", [1, 7, 512])
def test_many_at_once_are_one_after_another(make_model, tmp_path, monkeypatch, at_once):
    """A PET takes several structures of an orbit together; by hand it takes one."""
    torch.save(make_model(gradients=("positions", "strain")).get_checkpoint(), tmp_path / "model.ckpt")
    potential = potential_of(tmp_path / "model.ckpt")
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=0)
    monkeypatch.setattr(rotated, "ATOMS_AT_ONCE", at_once)
    average = SymmetrizedCalculator(potential, "O3", 1)
    for frame, names in ((crystal, ("energy", "forces", "stress")), (crystal[:3], ("energies",))):
        frame.pbc = "stress" in names
        average.calculate(frame, names)
        expected = dict.fromkeys(names, 0.0)
        for element, weight in zip(*average.average(frame)[:2], strict=True):
            moved = moved_frame(right_handed(bare(frame)), element)
            for name in names:
                expected[name] += weight * rotated._rotated_back(name, potential.get_property(name, moved), element)
        for name in names:
            np.testing.assert_allclose(average.results[name], rotated.as_ase_has_it(name, expected[name]), atol=1e-12)
            assert np.abs(average.results[f"{name}_std"]).max() > 1e-6  # an untrained PET is not invariant


def test_what_cannot_be_averaged_is_refused(crystal):
    for arguments, options, message in [
        (("O2",), {}, "group is 'O2'; expected one of 'O3', 'SO3', 'space'"),
        (("O3", -1), {}, "l_max is -1"),
        (("O3",), {"reference": crystal}, "goes with group='space'"),
        ((np.ones((2, 3, 3)),), {}, "not orthogonal"),
        ((np.eye(3),), {}, r"shape \(3, 3\)"),
    ]:
        with pytest.raises(ConfigError, match=message):
            SymmetrizedCalculator(Pairs(), *arguments, **options)
    molecule = Atoms("Cu2", [[0, 0, 0], [1, 0, 0]], calculator=SymmetrizedCalculator(Pairs(), "space"))
    with pytest.raises(ConfigError, match="Cu2 has boundaries .* needs a crystal"):
        molecule.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_magnetic_moment()
