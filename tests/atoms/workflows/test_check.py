"""The check of potentials: a clean one is clean, and every planted fault is named."""

from __future__ import annotations

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ase")

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

import jetsym.atoms
from jetsym.atoms.calculated import Calculated
from jetsym.atoms.workflows.check import _rotated
from jetsym.atoms.workflows.check_hints import hints_of
from jetsym.atoms.workflows.check_report import Check
from jetsym.atoms.workflows.check_tests import Trial
from jetsym.atoms.workflows.slopes import slope
from jetsym.errors import ConfigError, DataError

IMAGES = np.array(list(product(range(-4, 5), repeat=3)), dtype=float)


class Pairs(Calculator):
    """E = ½ Σ exp(−r²/2) over all pairs, with forces and stress, and whatever fault is planted."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        x, fault = atoms.positions, self.fault
        if atoms.pbc.any() and fault != "images":
            x = atoms.get_positions(wrap=True)
        n = len(x)
        if fault == "half":
            x = x.astype(np.float16).astype(float)
        images = IMAGES[np.abs(IMAGES).max(axis=1) < 3] if fault == "images" else IMAGES
        shifts = images @ atoms.cell.array if atoms.pbc.any() else np.zeros((1, 3))
        d = x[:, None, None] - x[None, :, None] + shifts  # (n, n, images, 3)
        weight = np.exp(-(d**2).sum(-1) / 2) * ((d**2).sum(-1) > 1e-12)
        energy, slopes = weight.sum() / 2, -(weight[..., None] * d)  # slopes of every term
        if fault == "axes":
            energy += 0.05 * (weight * (d**4).sum(-1)).sum()
            slopes = slopes + 0.1 * weight[..., None] * (4 * d**3 - (d**4).sum(-1)[..., None] * d)
        forces = -slopes.sum(axis=(1, 2))
        results = {"energy": energy, "forces": forces}
        if fault == "buffer":  # a matrix that should be the identity, in half precision
            forces = forces @ (np.eye(3) + 3e-4 * np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]))
            results["forces"] = forces
        if n > 2:
            a, b, c = x[1] - x[0], x[2] - x[0], x[-1] - x[0]
            if fault == "parity":
                results["energy"] += 0.1 * np.linalg.det([a, b, c])
            elif fault == "net":
                forces[0] += 0.01 * a
            elif fault == "torque":
                forces += np.cross(0.01 * np.cross(a, b), x - x.mean(axis=0))
        if fault == "not conservative":
            near = weight.sum(axis=(1, 2))
            pairs = 0.05 * weight[..., None] * d * (near[:, None, None, None] + near[None, :, None, None])
            results["forces"] = forces + pairs.sum(axis=(1, 2)) * np.exp(-near.sum())
        elif fault == "scaled":
            results["forces"] = 1.5 * forces
        elif fault == "translation":
            results["energy"] += 0.01 * np.sin(x[:, 0]).sum()
        elif fault == "permutation":
            results["energy"] += 0.01 * ((x[0] - x.mean(axis=0)) ** 2).sum() * (not atoms.pbc.any())
        if fault == "aligned" and not (atoms.cell.array - np.diag(np.diag(atoms.cell.array))).any():
            results = {name: 1.01 * value for name, value in results.items()}
        if atoms.cell.rank == 3:
            virial = np.einsum("ijka,ijkb->ab", slopes, d) / 2 / atoms.get_volume()
            sign = -1.0 if fault == "sign" else np.sign(np.linalg.det(atoms.cell.array)) if fault == "handed" else 1.0
            results["stress"] = sign * full_3x3_to_voigt_6_stress(virial)
        if fault == "asymmetric" and atoms.cell.rank == 3:  # an axial vector of the structure, which turns with it
            axial = np.cross(forces[0], x[1] - x[0] - atoms.cell.array.sum(axis=0))
            odd = 0.01 * np.cross(np.eye(3), axial)
            results["stress"] = voigt_6_to_full_3x3_stress(results["stress"]) + odd
        self.results = results


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    crystal = Atoms("CuAu", rng.normal(size=(2, 3)) * 0.3 + [[0, 0, 0], [1.2, 1.3, 1.4]], cell=[3, 3.2, 2.9], pbc=True)
    molecule = Atoms("CHFCl", rng.normal(size=(4, 3)))
    return [crystal, molecule]


def checked(model, frames, **options):
    return jetsym.atoms.check(model, frames, **{"n_rotations": 12, "progress": False} | options)


def test_a_clean_potential_is_clean(frames, tmp_path):
    found = checked(Pairs(), frames)
    assert found.is_clean, str(found)
    assert "no fault in 39 tests on 2 structures" in str(found)
    assert 2 * 24 + 2 * 50 < found.meta["calls"] < 2 * 24 + 2 * 69 + 202
    loaded = Check.load(found.save(tmp_path / "check.json"))
    assert str(loaded) == str(found)
    assert json.dumps(loaded.to_dict()) == json.dumps(found.to_dict())
    assert "✓" in found._repr_html_()
    assert found.page().startswith("<!")


@pytest.mark.parametrize(
    ("fault", "tests", "words"),
    [
        ("axes", {"A under SO(3)", "torque −∂E/∂θ"}, ["rotations change energy", "a torque on the structure"]),
        ("parity", {"A of parity", "inversion"}, ["parity of energy is broken"]),
        ("sign", {"against dE/dε"}, ["stress is of the wrong sign against dE/dε"]),
        ("net", {"net force", "against −dE/dx"}, ["a net force"]),
        ("not conservative", {"Jacobian of forces", "against −dE/dx"}, ["forces are not conservative"]),
        ("scaled", {"against −dE/dx"}, ["forces are 1.5 times −dE/dx"]),
        ("half", {"rounding"}, ["forces are rounded as by 16-bit numbers"]),
        ("torque", {"torque Σ r × F"}, ["forces on a molecule have a torque"]),
        ("handed", {"left-handed cell"}, ["stress changes sign in a left-handed cell"]),
        ("translation", {"translation"}, ["energy changes with translation"]),
        ("permutation", {"permutation"}, ["energy changes with the order of the atoms"]),
        ("asymmetric", {"asymmetry of stress"}, ["stress is not symmetric"]),
        ("aligned", {"rotation"}, ["energy changes with a rotation of the structure as it is given"]),
    ],
)
def test_every_planted_fault_is_named(frames, fault, tests, words):
    found = checked(Pairs(fault), frames)
    assert tests <= {row.test for row in found.faults}, str(found)
    assert all(word in found.verdict() for word in words), str(found)
    if fault in ("sign", "handed", "scaled"):
        assert {row.test for row in found.faults} <= tests | {"against −dE/dx", "Jacobian of forces"}, str(found)


FAULTS = (
    "",
    "axes",
    "parity",
    "sign",
    "net",
    "torque",
    "not conservative",
    "scaled",
    "translation",
    "handed",
    "buffer",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_beyond_what_is_explained_passes(frames, fault):
    """With too few rotations to part parity from them, and for forces that are off by little more than the steps."""
    found = checked(Pairs(fault), frames[:1], n_rotations=3)
    passed = [row for row in found.rows if not (row.fault or row.doubt)]
    assert passed
    assert all(row.value <= row.explained for row in passed), str(found)


def test_few_rotations_leave_parity_open_and_not_a(frames):
    found = checked(Pairs("parity"), frames, n_rotations=3)
    whole, parity = found.row("A under O(3)", "energy"), found.row("A of parity", "energy")
    assert whole.fault == "rotations or inversion change energy"
    assert not parity.fault
    assert "3 random rotations do not tell, n_rotations=6 (--n_rotations 6) may" in parity.doubt
    assert "Left open: whether parity of energy is broken" in found.verdict()
    assert "? whether parity" in str(found).replace("\n", " ")
    assert str(Check.from_dict(found.to_dict())) == str(found)


def test_what_is_zero_everywhere_is_left_open():
    found = checked(LennardJones(sigma=3.4), bulk("Ar") * (2, 1, 1), n_rotations=3)
    assert found.is_clean
    assert found.verdict().endswith("Left open: the law of forces, which is zero in all structures: shake them.")
    nothing = checked(LennardJones(), bulk("Ar"), n_rotations=3)  # whose neighbours are beyond its cutoff
    assert [row.output for row in nothing.rows if row.doubt] == ["energy", "forces", "stress"]


@pytest.mark.parametrize(("size", "ended"), [(0.9, ("", "")), (1.5, ("", "whether off")), (2.5, ("off", ""))])
def test_what_is_hardly_more_than_steps_is_left_open(size, ended):
    trial, values, known = SimpleNamespace(frames=["Cu"]), {0: [np.full(3, size)]}, {0: 1.0}
    row = Trial.row(trial, "against −dE/dx", "forces", values, explained=known, fault="off", by_steps=True)
    assert (row.fault, row.doubt.partition(":")[0], row.structure) == (*ended, None)
    row = Trial.row(trial, "net force", "forces", values, explained=known, fault="off")
    assert row.fault == "off" * (size > 1)


def test_the_dominant_irrep_is_a_hint(frames):
    found = checked(Pairs("axes"), frames[1], n_rotations=None)
    assert "100 % of A² of energy is in (4,+): the lab's three axes" in " ".join(found.hints)
    found = checked(Pairs("parity"), frames)
    assert any("A² of energy is in (0,−): the error is odd under inversion" in hint for hint in found.hints)
    assert not found.row("A under SO(3)", "energy").fault


def test_few_rotations_say_no_irrep_and_how_many_would(frames):
    """A² of energy is all in (4,+), of which 12 rotations see any part between none and twice the whole."""
    few = checked(Pairs("axes"), frames)
    (hint,) = [hint for hint in few.hints if "A² of energy" in hint]
    assert hint.startswith("In which irrep A² of energy sits cannot be told from 12 random rotations")
    assert "three axes" not in " ".join(few.hints)
    enough = int(hint.partition("--n_rotations ")[2].partition(")")[0])
    assert 12 < enough < 600
    found = checked(Pairs("axes"), frames, n_rotations=enough)
    assert "of A² of energy is in (4,+): the lab's three axes" in " ".join(found.hints)


def test_no_irrep_is_said_that_is_not_the_dominant_one(frames):
    """Of a hundred sets of rotations none names another irrep than the one that holds all of A²."""
    trial = SimpleNamespace(pooled=lambda name: 1e-9)
    wrong, named = 0, 0
    for seed in range(100):
        tested = Calculated(Pairs("axes"), frames[1:], per_component=True)
        report = jetsym.probe(
            tested, tested.structures(frames[1:]), layers=[], n_rotations=20, seed=seed, progress=False
        )
        hints = " ".join(
            hint for hint in hints_of(report, list(_rotated(report, trial))) if "A² of energy is in" in hint
        )
        named += bool(hints)
        wrong += bool(hints) and "(4,+)" not in hints
    assert not wrong
    assert named < 100


def test_a_half_of_a_is_not_the_dominant_part(frames):
    """Forces with a constant matrix are off by two irreps alike; their size, that of 16-bit numbers, says nothing."""
    found = checked(Pairs("buffer"), frames[1], n_rotations=None)
    assert "rotations change forces" in found.verdict()
    assert "A² of forces is spread over irreps, of which none holds two thirds: 50 % is in" in " ".join(found.hints)
    for fault in ("buffer", "axes", "half"):
        assert not any("16-bit" in hint for hint in checked(Pairs(fault), frames).hints)


@pytest.mark.parametrize(("size", "said"), [(1e-7, True), (1e-4, False), (1e-12, False)])
def test_32_bit_numbers_are_told_where_all_else_is_exact(size, said):
    """Forces times a matrix that is off by ``size``."""

    def change(atoms, found):
        return found | {"forces": found["forces"] @ (np.eye(3) + size * np.diag([1, -1, 0.5]))}

    hints = checked(Wrapped(EMT(), change), shaken(), n_rotations=4).hints
    assert any("is of the size that 32-bit numbers make" in hint for hint in hints) == said


def test_parts_of_a_that_chance_makes_are_left_open(frames):
    """A² of parity from 3 rotations is negative for every second seed, and then not ticked; its error says so."""
    molecule, ticked, negative = frames[1], 0, 0
    for seed in range(12):
        tested = Calculated(Odd(), [molecule], per_component=True)
        report = jetsym.probe(
            tested, tested.structures([molecule]), layers=[], n_rotations=4, seed=seed, progress=False
        )
        rows = {row.test: row for row in _rotated(report, SimpleNamespace(pooled=lambda name: 1e-9))}
        row = rows["A of parity"]
        ticked += not (row.fault or row.doubt)
        negative += row.value < 0
        assert abs(row.value) < 3 * row.error * (2 if row.value > 0 else 1)  # of its square
    assert ticked == 0
    assert negative


class Odd(Calculator):
    """An energy along one direction in space: odd under inversion, and no part of it for all orientations alike."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        dipole = atoms.get_chemical_symbols().index("C") - np.arange(len(atoms)) @ atoms.positions
        self.results = {"energy": float(dipole[2])}


def test_parity_alone_is_what_a_mirror_image_changes(frames):
    """E + c·chirality: half of the difference of two mirror images, over the atoms."""
    molecule = frames[1]
    x = molecule.positions
    odd = 0.1e3 * np.linalg.det([x[1] - x[0], x[2] - x[0], x[3] - x[0]]) / 4
    found = checked(Pairs("parity"), [molecule])
    assert found.row("A of parity", "energy").value == pytest.approx(abs(odd), rel=1e-6)
    assert found.row("inversion", "energy").value == pytest.approx(2 * abs(odd), rel=1e-6)


def test_what_is_allowed_is_no_fault(frames):
    allowed = checked(Pairs("parity"), [frames[1]], at_most={"energy": 1e6})
    assert not any(row.output == "energy" for row in allowed.faults)
    assert any(row.allowed for row in allowed.rows)
    assert "Allowed: parity of energy is broken" in allowed.verdict()
    everything = checked(Pairs("net"), frames[1], at_most={"forces": 1e6, "energy": 1e6})
    assert "; a net force" in everything.verdict().partition("Allowed: ")[2]


def test_steps_fit_the_rounding():
    """Slopes of a sine in numbers of 32 bits, and of 64: the error covers the deviation and is not far from it."""
    for dtype, noise, most in ((np.float32, 1e-7, 1e-3), (np.float64, 1e-16, 1e-6)):
        value, error = slope(lambda x, kind=dtype: np.array([np.sin(kind(1.0 + x))], dtype=float), noise)
        assert abs(value[0] - np.cos(1.0)) < error < most


class Wrapped(Calculator):
    """Another calculator, whose results are changed."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner, change):
        super().__init__()
        self.inner, self.change = inner, change

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        found = {name: self.inner.get_property(name, atoms) for name in ("energy", "energies", "forces")}
        if atoms.cell.rank == 3:
            found["stress"] = self.inner.get_property("stress", atoms)
        self.results = self.change(atoms, found)


def shaken():
    copper = bulk("Cu", a=3.7, cubic=True)
    copper.rattle(0.1, seed=0)
    return copper


@pytest.mark.parametrize(("dtype", "constant"), [(np.float32, -1030.0), (np.float32, -2e4), (np.float64, -1e5)])
def test_energies_with_large_constants_are_rounded_as_such(dtype, constant):
    """Sums of E + E₀ over atoms, as many networks make them; forces and stress are exact."""

    def change(atoms, found):
        parts = found.pop("energies").astype(dtype) + dtype(constant)
        return found | {"energy": float(np.add.reduce(parts, dtype=dtype))}

    found = checked(Wrapped(EMT(), change), shaken(), n_rotations=4)
    assert found.is_clean, str(found)
    spacing = 1e3 * float(np.spacing(dtype(abs(constant) * 4))) / 4
    assert 0.1 * spacing < found.row("translation", "energy").explained / 10 < 10 * spacing


def test_a_stiff_structure_hides_no_fault_of_the_others():
    """Forces of clusters are wrong by 2 %; a dimer has forces that are 10⁵ times as large."""
    octahedron = 3.8 / 2**0.5 * np.concatenate([np.eye(3), -np.eye(3)])
    clusters = [Atoms("Ar6", octahedron) for _ in range(2)]
    for seed, cluster in enumerate(clusters):
        cluster.rattle(0.15, seed=seed)
    dimer = Atoms("Ar2", [[0, 0, 0], [0.3, 0.5, 1.4]])
    argon = LennardJones(sigma=3.4, epsilon=0.0104, rc=12)
    model = Wrapped(argon, lambda atoms, found: found | {"forces": found["forces"] * (1 + 0.02 * (len(atoms) > 2))})
    found = checked(model, [dimer, *clusters])
    assert "forces are 1.02 times −dE/dx" in found.verdict()
    assert found.row("against −dE/dx", "forces").structure in (1, 2)
    assert "(structure" in str(found)
    assert checked(argon, [dimer, *clusters]).is_clean


def test_a_state_that_is_kept_is_a_fault_by_name():
    class Drifting(EMT):
        """Its energy goes up by 0.1 meV every twenty calls."""

        calls = 105

        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.calls += 1
            self.results["energy"] += 1e-4 * (self.calls // 20)

    found = checked(Drifting(), shaken(), n_rotations=4)
    assert "what was evaluated before changes energy: the calculator keeps a state" in found.verdict()
    assert found.row("repetition", "forces").value == 0


def test_forces_belong_to_the_free_energy_where_there_is_one():
    def smeared(atoms, found):
        return found | {"free_energy": found["energy"], "energy": 0.9 * found["energy"]}

    assert checked(Wrapped(EMT(), smeared), shaken(), n_rotations=4).is_clean
    found = checked(Wrapped(EMT(), lambda _, found: found | {"energy": 0.9 * found["energy"]}), shaken(), n_rotations=4)
    assert "forces are 1.111 times −dE/dx" in found.verdict()


def test_structures_and_outputs_that_are_left_out_are_said():
    found = checked(EMT(), [shaken()] * 3, n_rotations=3, limit=1)
    assert "The first 1 structures alone were checked: limit." in found.meta["notes"]
    assert any(note.startswith("Given, and not checked: energies") for note in found.meta["notes"])


def test_the_order_of_atoms_is_another_one():
    """Of one atom there is no other, and of two every second draw would be the order that they have."""

    class First(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["energy"] += self.atoms.numbers[0]

    assert not [row for row in checked(EMT(), bulk("Cu"), n_rotations=3).rows if row.test == "permutation"]
    pair = bulk("CuAu", "rocksalt", a=5.6)
    for seed in range(4):
        found = checked(First(), pair, n_rotations=3, seed=seed)
        assert "energy changes with the order of the atoms" in found.verdict()
        (value,) = {abs(row.value) for row in found.rows if (row.test, row.output) == ("permutation", "energy")}
        assert value == pytest.approx(1e3 * (79 - 29) / 2)  # in every draw


def test_images_too_far_away_are_found():
    """Pairs over some images of positions as they are: an atom some cells away loses its neighbours."""
    crystal = Atoms("CuAu", [[0.1, 0, 0], [1.2, 1.3, 1.4]], cell=[3, 3.2, 2.9], pbc=True)
    found = checked(Pairs("images"), crystal)
    assert {row.test for row in found.faults} == {"periodic images"}
    assert "energy changes with the periodic image that an atom is given by" in found.verdict()


def test_potentials_of_the_field_are_clean():
    copper = bulk("Cu", orthorhombic=True)
    copper.rattle(0.05, seed=0)
    argon = Atoms("Ar3", [[0, 0, 0], [1.2, 0.1, 0.0], [0.2, 1.1, 0.3]])
    for model, frame in ((EMT(), copper), (LennardJones(rc=6.0), argon)):
        found = checked(model, frame)
        assert found.is_clean, str(found)


@pytest.mark.slow
def test_a_model_of_metatrain_is_checked(make_model, frames):
    model = jetsym.atoms.Model(make_model())
    found = checked(model, Atoms("OH2", [[0, 0, 0], [0.9, 0.2, 0], [-0.3, 0.9, 0.1]]), n_rotations=8)
    assert "rotations change energy" in found.verdict()
    assert not {"translation", "permutation", "net force", "against −dE/dx", "Jacobian of forces"} & {
        row.test for row in found.faults
    }


@pytest.mark.parametrize(
    ("model", "some", "options", "error", "message"),
    [
        (3, "Cu", {}, ConfigError, "model is a int; expected an ASE calculator"),
        (EMT(), [], {}, DataError, "there are no structures"),
        (EMT(), "Cu", {"limit": 0}, ConfigError, "limit is 0"),
        (EMT(), "Cu", {"at_most": {"energi": 1}}, ConfigError, "at_most is 'energi'; the nearest are 'energy'"),
        (EMT(), "Cu", {"at_most": {"energy": -1}}, ConfigError, r"at_most\['energy'\] is -1; expected a number ≥ 0"),
        (EMT(), ["Cu"] * 20, {"limit": 20}, ConfigError, "20 structures take more than 1,000 calls"),
        ("petmad", "Cu", {}, jetsym.JetsymError, "model is 'petmad'"),
    ],
)
def test_wrong_uses_end_in_a_sentence(model, some, options, error, message):
    structures = [bulk(name) for name in ([some] if isinstance(some, str) else some)]
    with pytest.raises(error, match=message):
        jetsym.atoms.check(model, structures, progress=False, **options)


def test_the_command_has_a_status_of_its_own(tmp_path, capsys, monkeypatch, frames):
    import ase.io

    from jetsym.cli import main

    monkeypatch.chdir(tmp_path)
    ase.io.write("frames.xyz", frames)
    (tmp_path / "faulty.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "class Wrong(LennardJones):\n"
        "    def calculate(self, *arguments, **options):\n"
        "        super().calculate(*arguments, **options)\n"
        "        self.results['forces'] = -self.results['forces']\n"
    )
    words = ["frames.xyz", "--n_rotations", "4", "--progress", "false", "--out", "found.json"]
    assert main(["atoms", "check", "--calculator", "faulty:Wrong", *words]) == 3
    assert "forces are of the wrong sign against −dE/dx" in capsys.readouterr().err
    assert Check.load("found.json").meta["model"] == "Wrong"
    assert (tmp_path / "found.html").is_file()
    ase.io.write("copper.xyz", bulk("Cu", orthorhombic=True))
    assert main(["atoms", "check", "emt", "copper.xyz", "--n_rotations", "4", "--progress", "false"]) == 0


@pytest.mark.parametrize("seed", range(6))
def test_rounding_is_found_whatever_the_displacement(seed):
    """Forces with errors of 10⁻¹⁰ of their size, which only the highest differences along it leave alone."""

    def change(atoms, found):
        return found | {"forces": found["forces"] * (1 + 1e-10 * np.sin(1e9 * atoms.positions))}

    found = checked(Wrapped(EMT(), change), shaken(), n_rotations=4, seed=seed)
    assert found.is_clean, str(found)
