"""Averages of calculators as other packages write them: in properties, shapes, what they keep, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
pytest.importorskip("spglib")

from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress

from jetsym.atoms import SymmetrizedCalculator, evaluate, uncertainty
from jetsym.atoms.workflows.calculators import exported_model
from jetsym.errors import DataError, ProbeError
from jetsym.spectrum import O3

AXIS = np.array([0.6, 0.0, 0.8])


class Like(Calculator):
    """EMT as another package might wrap it: how its stress looks, what it takes at once, what it claims."""

    implemented_properties = ("energy", "free_energy", "energies", "forces", "stress", "magmoms")

    def __init__(self, *, shape=(6,), at_once=True, claims=None, gives=("energy", "forces", "stress")):
        super().__init__()
        self.shape, self.at_once, self.gives = shape, at_once, gives
        self.implemented_properties = list(claims or self.implemented_properties)
        self.model = torch.nn.Linear(3, 1)
        self.seen = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen.append((np.linalg.det(atoms.cell.array), dict(atoms.info)))
        if not self.at_once and len(properties) > 1:
            raise ValueError("one property at a time")
        plain = atoms.copy()
        plain.calc = EMT()
        self.results = {}
        for name in properties:
            if name not in self.gives:
                raise PropertyNotImplementedError(name)
            if name == "energy":
                charge = plain.info.get("charge", 0) * AXIS @ plain.cell.array[0]
                self.results["energy"] = np.array([plain.get_potential_energy() + charge])
            if name == "forces":
                self.results["forces"] = plain.get_forces()
            if name == "stress":
                stress = plain.get_stress()
                full = stress if self.shape[-1] == 6 else voigt_6_to_full_3x3_stress(stress)
                self.results["stress"] = full.reshape(self.shape)


@pytest.fixture
def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("shape", [(6,), (1, 6), (3, 3), (1, 3, 3), (9,)])
@pytest.mark.parametrize("at_once", [True, False])
def test_stress_of_any_shape_and_properties_asked_for_in_any_way(crystal, shape, at_once):
    crystal.calc = EMT()
    expected = crystal.get_potential_energy(), crystal.get_forces(), crystal.get_stress()
    for name in ("stress", "forces", "energy"):  # each first, with a calculator that has computed nothing
        crystal.calc = SymmetrizedCalculator(Like(shape=shape, at_once=at_once), "space")
        found = crystal.calc.get_property(name, crystal)
        assert np.shape(found) == {"stress": (6,), "forces": (4, 3), "energy": ()}[name]
    assert crystal.get_potential_energy() == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(crystal.get_forces(), expected[1], atol=1e-11)
    np.testing.assert_allclose(crystal.get_stress(), expected[2], atol=1e-12)


def test_a_stress_that_is_none_is_refused_by_its_shape(crystal):
    crystal.calc = SymmetrizedCalculator(Like(gives=("energy", "forces", "stress"), shape=(6,)), "space")
    crystal.calc.base_calculator.calculate = lambda atoms, properties, changes: setattr(
        crystal.calc.base_calculator, "results", {"energy": 0.0, "forces": np.zeros((4, 3)), "stress": np.zeros(5)}
    )
    with pytest.raises(ProbeError, match=r"stress has shape \(5,\); expected \(3, 3\), or \(6,\)"):
        crystal.get_stress()


def test_what_a_calculator_claims_and_does_not_give_is_not_asked_for_first(crystal):
    """Of metatomic's, all properties are claimed; optimizers then take the energy where there is no free energy."""
    crystal.calc = SymmetrizedCalculator(Like(), "space")
    assert np.isfinite(crystal.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        crystal.get_potential_energy(force_consistent=True)
    assert BFGS(crystal, logfile=None).run(fmax=0.05, steps=40)
    crystal.calc = SymmetrizedCalculator(Like(claims=("forces",), gives=("forces",)), "space")
    assert crystal.get_forces().shape == (4, 3)


def test_other_properties_turn_as_they_are(crystal):
    """Vectors and axial vectors, tensors and numbers that stand fixed in space average to what the group leaves."""

    class Fixed(Calculator):
        implemented_properties = ("dipole", "charges", "magmoms", "magmom", "born_effective_charges", "stresses")

        def calculate(self, atoms=None, properties=("dipole",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            n = len(atoms)
            turned = np.outer(AXIS, AXIS)
            self.results = {
                "dipole": AXIS,
                "charges": np.arange(n, dtype=float)[:, None],
                "magmom": 2.0,
                "magmoms": np.cross(atoms.positions, atoms.positions + AXIS),
                "born_effective_charges": np.stack([turned] * n),
                "stresses": np.stack([[1.0, 2, 3, 4, 5, 6]] * n),
            }

    water = molecule("H2O")
    water.calc = SymmetrizedCalculator(Fixed(), "O3", 4)
    np.testing.assert_allclose(water.get_dipole_moment(), 0, atol=1e-12)
    np.testing.assert_allclose(water.get_charges(), [0, 1, 2])
    assert water.get_magnetic_moment() == pytest.approx(2.0)
    np.testing.assert_allclose(water.get_magnetic_moments(), 0, atol=1e-12)
    tensor = np.stack([np.eye(3) / 3] * 3)
    np.testing.assert_allclose(water.calc.get_property("born_effective_charges", water), tensor, atol=1e-12)
    np.testing.assert_allclose(water.calc.get_property("stresses", water)[0], [2, 2, 2, 0, 0, 0], atol=1e-12)
    # An axial vector of the structure's own, r × s, is kept by every group.
    spin = np.cross(water.positions, water.positions[::-1])

    class Spins(Fixed):
        def calculate(self, atoms=None, properties=("magmoms",), system_changes=all_changes):
            Calculator.calculate(self, atoms, properties, system_changes)
            self.results = {"magmoms": np.cross(atoms.positions, atoms.positions[::-1])}

    water.calc = SymmetrizedCalculator(Spins(), "O3", 3)
    np.testing.assert_allclose(water.get_magnetic_moments(), spin, atol=1e-12)


@pytest.mark.parametrize("group", ["O3", "space", "matrices"])
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_calculators_see_right_handed_cells_only(group, order):
    """Improper elements move a cell a by −g, and a left-handed one is given as −a, which spans the same lattice."""
    crystal = bulk("Cu", "hcp", a=2.55, c=4.17)
    crystal.set_cell(crystal.cell.array[order])
    crystal.positions[1] += 0.03
    crystal.calc = EMT()
    energy, forces, stress = crystal.get_potential_energy(), crystal.get_forces(), crystal.get_stress()
    base = Like()
    elements = np.concatenate([one := O3().sample(3, np.random.default_rng(0)), -one])
    crystal.calc = SymmetrizedCalculator(base, elements if group == "matrices" else group, 1)
    np.testing.assert_allclose(crystal.get_forces(), forces, atol=1e-10)
    np.testing.assert_allclose(crystal.get_stress(), stress, atol=1e-10)
    assert crystal.get_potential_energy() == pytest.approx(energy)
    assert min(determinant for determinant, _ in base.seen) > 0


def test_charge_and_spin_are_passed_on_and_tell_structures_apart(crystal):
    base = Like()
    crystal.calc = SymmetrizedCalculator(base, np.eye(3)[None])
    plain = crystal.get_potential_energy()
    crystal.info |= {"charge": 1, "spin": 3, "name": np.arange(3)}
    shifted = crystal.get_potential_energy()
    assert base.seen[-1][1]["spin"] == 3
    assert shifted - plain == pytest.approx(AXIS @ crystal.cell.array[0])
    calls = len(base.seen)
    assert crystal.get_potential_energy() == shifted
    assert len(base.seen) == calls  # nothing has changed
    crystal.info["charge"] = 2
    assert crystal.get_potential_energy() - plain == pytest.approx(2 * AXIS @ crystal.cell.array[0])


def test_a_module_as_model_is_no_method_of_metatomics(crystal):
    from ase.calculators.singlepoint import SinglePointCalculator

    for potential in (Like(), SymmetrizedCalculator(Like(), "space")):
        assert exported_model(potential) is None
        assert uncertainty(potential, crystal) is None
    reference = crystal.copy()
    reference.calc = SinglePointCalculator(reference, energy=0.0, forces=np.zeros((4, 3)))
    assert evaluate(Like(), [reference], turned=0, progress=False).scores["all"].structures == 1


@pytest.mark.slow  # two exports are compiled
def test_metatomics_and_upets_own_calculators(make_model, tmp_path):
    """They claim every property of ASE's, and refuse the free energy; UPET's holds metatomic's inside."""
    upet = pytest.importorskip("upet.ase")
    from jetsym.atoms import calculator as named
    from jetsym.atoms.packages import quiet

    torch.save(make_model(gradients=("positions", "strain")).get_checkpoint(), tmp_path / "model.ckpt")
    crystal = bulk("Cu")
    crystal.rattle(0.02)
    with quiet():
        ours = named(tmp_path / "model.ckpt")
        theirs = upet.UPETCalculator(checkpoint_path=str(tmp_path / "model.ckpt"), device="cpu", dtype=torch.float64)
        found = {}
        for name, potential in {"ours": ours, "theirs": theirs}.items():
            assert exported_model(potential).capabilities().interaction_range > 0
            crystal.calc = SymmetrizedCalculator(potential, np.stack([np.eye(3), -np.eye(3)]))
            found[name] = crystal.get_stress(), crystal.get_potential_energy(), crystal.get_forces()
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(cell=np.eye(3), pbc=True), "the structure has no atoms"),
        (Atoms("Cu", cell=[[2.5, 0, 0], [5, 0, 0], [0, 0, 2.5]], pbc=True), "lie in a plane, on a line or are zero"),
        (Atoms("Cu", pbc=True), "lie in a plane, on a line or are zero"),
        (Atoms("Cu", cell=[3, 3, 0], pbc=True), "lie in a plane, on a line or are zero"),
        (Atoms("Cu", [[np.nan, 0, 0]]), "positions or a cell that are not finite"),
    ],
)
def test_structures_of_which_nothing_can_be_computed(atoms, message):
    with pytest.raises(DataError, match=message):
        SymmetrizedCalculator(EMT(), "O3", 1).get_potential_energy(atoms)


def test_a_slab_without_a_third_vector_has_a_volume_of_none_and_is_averaged():
    slab = Atoms("Cu2", [[0, 0, 0], [1.3, 1.3, 1.8]], cell=[2.6, 2.6, 0], pbc=[True, True, False])
    slab.calc = EMT()
    expected = slab.get_forces()
    slab.calc = SymmetrizedCalculator(EMT(), "O3", 1)
    np.testing.assert_allclose(slab.get_forces(), expected, atol=1e-11)
