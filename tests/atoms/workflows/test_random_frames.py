"""Random frames: one for every step, of the group, the same for a seed, and in the mean that of the average."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase", reason="the extra 'atoms' is not installed")
pytest.importorskip("spglib", reason="the extra 'atoms' is not installed")

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB

from jetsym.atoms import RandomFrameCalculator, SymmetrizedCalculator
from jetsym.errors import ConfigError, DataError
from jetsym.spectrum import O3

AXIS = (1.0, 2.0, 3.0)


@pytest.fixture
def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


class OneByOne(Calculator):
    """Another calculator that gives one property at a time, and counts."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if len(properties) > 1:
            raise ValueError("one property at a time")
        self.results = {properties[0]: self.inner.get_property(properties[0], atoms)}


@pytest.mark.parametrize("order", [("energy", "forces", "stress"), ("stress", "forces", "energy")])
@pytest.mark.parametrize("alone", [False, True])
def test_properties_of_one_step_belong_to_one_frame_however_they_are_asked_for(crystal, anisotropic, order, alone):
    potential = anisotropic(0.5, AXIS)
    crystal.calc = RandomFrameCalculator(OneByOne(potential) if alone else potential, "O3", seed=3)
    found = {name: crystal.calc.get_property(name, crystal) for name in order}
    assert crystal.calc.drawn == 1
    element = crystal.calc.element
    # Where the frame inverts, −a spans the lattice that a does.
    still = crystal.copy()
    if np.linalg.det(element) < 0:
        still.set_cell(-still.cell.array, scale_atoms=False)
    moved = still.copy()
    moved.set_cell(still.cell.array @ element.T)
    moved.positions = still.positions @ element.T
    moved.calc = anisotropic(0.5, AXIS)
    assert found["energy"] == pytest.approx(moved.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(found["forces"], moved.get_forces() @ element, atol=1e-10)
    stress = element.T @ moved.get_stress(voigt=False) @ element
    np.testing.assert_allclose(found["stress"], stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atol=1e-12)
    assert not any(name.endswith("_std") for name in crystal.calc.results)  # one frame tells no spread


def test_the_same_structure_keeps_its_frame_and_another_has_another(crystal, anisotropic):
    crystal.calc = RandomFrameCalculator(base := OneByOne(anisotropic(0.5, AXIS)))
    first = crystal.get_potential_energy()
    calls = base.calls
    assert crystal.get_potential_energy() == first
    assert base.calls == calls
    energies = [first]
    for seed in range(5):
        crystal.rattle(1e-9, seed=seed)
        energies.append(crystal.get_potential_energy())
    assert crystal.calc.drawn == 6
    assert np.ptp(energies) > 1e-3  # by the frame: no atom has moved by more than 1e-8 Å
    # Nothing of the last frame is left where a calculation is asked for by hand.
    crystal.get_forces()
    crystal.calc.calculate(crystal, ["energy"])
    assert set(crystal.calc.results) == {"energy"}


@pytest.mark.parametrize("group", ["O3", "SO3", "space", "matrices"])
def test_the_mean_over_frames_is_the_average_over_the_group(crystal, anisotropic, group):
    perfect = bulk("Cu", cubic=True)
    options = {"reference": perfect} if group == "space" else {}
    elements = O3().sample(3, np.random.default_rng(0)) if group == "matrices" else group
    potential = anisotropic(0.5, AXIS)
    average = SymmetrizedCalculator(potential, elements, 4, **options)
    random = RandomFrameCalculator(potential, elements, seed=5, **options)
    draws = {"energy": [], "forces": [], "stress": []}
    for _ in range(100):
        random.calculate(crystal, ["energy", "forces", "stress"])
        for name, values in draws.items():
            values.append(random.results[name])
    for name, values in draws.items():
        expected, found = average.get_property(name, crystal), np.array(values)
        error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(found.mean(axis=0) - expected) < 4.5 * error + 1e-9).all()
        std = average.results[f"{name}_std"]
        largest = np.unravel_index(np.argmax(std), np.shape(std))
        assert found.std(axis=0)[largest] == pytest.approx(np.asarray(std)[largest], rel=0.35)


def test_frames_are_of_the_group_that_is_given(crystal):
    signs = [np.linalg.det(RandomFrameCalculator(EMT(), "SO3").frame(n)) for n in range(20)]
    np.testing.assert_allclose(signs, 1.0)
    both = [np.linalg.det(RandomFrameCalculator(EMT(), "O3").frame(n)) for n in range(40)]
    assert {-1, 1} == {round(sign) for sign in both}
    few = O3().sample(3, np.random.default_rng(0))
    drawn = [RandomFrameCalculator(EMT(), few).frame(n) for n in range(40)]
    assert {int(np.argmin(np.abs(few - one).sum(axis=(1, 2)))) for one in drawn} == {0, 1, 2}
    space = RandomFrameCalculator(EMT(), "space", reference=bulk("Cu"))
    assert len({tuple(space.frame(n).round(6).ravel()) for n in range(400)}) == 48


def trajectory(calculator, steps, start=None):
    atoms = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [0.3, 2.3, 0.2]]) if start is None else start
    atoms.calc = calculator
    VelocityVerlet(atoms, timestep=2 * units.fs).run(steps)
    return atoms


def test_a_seed_makes_a_run_again_and_a_run_goes_on(anisotropic):
    def fresh(**options):
        return RandomFrameCalculator(anisotropic(0.5, AXIS), **options)

    whole = trajectory(fresh(seed=1), 6)
    np.testing.assert_array_equal(trajectory(fresh(seed=1), 6).positions, whole.positions)
    assert np.abs(trajectory(fresh(seed=2), 6).positions - whole.positions).max() > 1e-6
    half = trajectory(fresh(seed=1), 3)
    left = half.copy()
    # The last step's frame is that of the first forces of a run that goes on.
    gone_on = trajectory(fresh(seed=1, drawn=half.calc.drawn - 1), 3, left)
    np.testing.assert_allclose(gone_on.positions, whole.positions, atol=1e-13)


def test_charge_and_spin_reach_the_calculator_and_make_another_step(crystal):
    seen = []

    class Told(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            seen.append(dict(atoms.info))
            super().calculate(atoms, properties, system_changes)

    crystal.calc = RandomFrameCalculator(Told())
    crystal.info |= {"charge": 1, "spin": 2}
    crystal.get_potential_energy()
    crystal.info["charge"] = 0
    crystal.get_potential_energy()
    assert seen == [{"charge": 1, "spin": 2}, {"charge": 0, "spin": 2}]
    assert crystal.calc.drawn == 2


def test_images_of_a_band_share_one_and_have_frames_of_their_own(crystal, anisotropic):
    end = crystal.copy()
    end.positions[0] += 0.3
    images = [crystal, crystal.copy(), crystal.copy(), end]
    shared = RandomFrameCalculator(anisotropic(0.5, AXIS), seed=2)
    for image in images:
        image.calc = shared
    band = NEB(images, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate()
    band.get_forces()
    assert shared.drawn == 4  # both ends and what is between, each once
    assert np.ptp(band.energies) > 0


def test_improper_frames_give_right_handed_cells(crystal):
    hands = []

    class Hand(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            hands.append(np.linalg.det(atoms.cell.array))
            super().calculate(atoms, properties, system_changes)

    crystal.set_cell(crystal.cell.array[[1, 0, 2]], scale_atoms=False)
    random = RandomFrameCalculator(Hand())
    for _ in range(12):
        random.calculate(crystal, ["energy"])
    assert min(hands) > 0
    assert {round(np.linalg.det(random.frame(n))) for n in range(12)} == {-1, 1}


def test_what_cannot_be_drawn_is_refused(crystal):
    for arguments, options, message in [
        (("O2",), {}, "group is 'O2'; expected one of 'O3', 'SO3', 'space'"),
        (("space",), {}, "group is 'space' and the reference structure none; expected reference=CRYSTAL"),
        (("O3",), {"reference": crystal}, "group is 'O3' and the reference structure one; expected"),
        (("O3",), {"seed": -1}, "seed is -1; expected an integer ≥ 0"),
        (("O3",), {"drawn": 1.5}, "drawn is 1.5; expected an integer ≥ 0"),
        ((np.ones((2, 3, 3)),), {}, "not orthogonal"),
    ]:
        with pytest.raises(ConfigError, match=message):
            RandomFrameCalculator(EMT(), *arguments, **options)
    with pytest.raises(PropertyNotImplementedError, match="'dipole' is not turned back here, or EMT does not compute"):
        RandomFrameCalculator(EMT()).calculate(crystal, ["dipole"])


@pytest.mark.parametrize("kind", [RandomFrameCalculator, SymmetrizedCalculator])
def test_what_a_calculator_raises_becomes_one_line_that_names_it_and_the_structure(crystal, kind):
    class Broken(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            raise np.linalg.LinAlgError("Singular\nmatrix")

    with pytest.raises(DataError, match=r"^Broken fails for Cu4 \(pbc = .*\), LinAlgError: Singular matrix; expected"):
        kind(Broken()).get_potential_energy(crystal)
    with pytest.raises(PropertyNotImplementedError, match="EMT does not compute all that is asked of Cu2"):
        kind(EMT()).get_stress(Atoms("Cu2", [[0, 0, 0], [2.4, 0, 0]]))  # which EMT itself refuses without a word
    crystal.numbers[0] = 18
    with pytest.raises(NotImplementedError, match="No EMT-potential for Ar"):  # as ASE's own calculators say it
        kind(EMT()).get_potential_energy(crystal)


@pytest.mark.parametrize("kind", [RandomFrameCalculator, SymmetrizedCalculator])
def test_numbers_that_are_not_finite_are_refused(crystal, kind):
    class Overflowing(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"][0, 1] = np.inf

    with pytest.raises(DataError, match=r"Overflowing gives forces of Cu4 \(pbc = .*\) that are not finite; expected"):
        kind(Overflowing()).get_forces(crystal)
