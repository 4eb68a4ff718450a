"""Any ASE calculator under the probe: what is asked of it, what it is given, and in what numbers it is measured."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jetsym
from jetsym.atoms.calculated import Calculated
from jetsym.errors import ConfigError, DataError, ProbeError
from jetsym.probing.reports.spectrum import SymmetryReport

pytest.importorskip("ase")

from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_properties
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.stress import full_3x3_to_voigt_6_stress

QUIET = {"l_max": 2, "progress": False}
MIRROR = np.diag([1.0, 1.0, -1.0])


class Planted(Calculator):
    """A closed form in which every output has its law, and a fault where one is planted.

    E = Σ_i (r_i² + q) / 2 about the mean position, F its slopes, and others made of them.
    """

    implemented_properties = ("energy", "forces", "stress", "dipole", "charges", "magmoms", "energies")

    def __init__(self, **how):
        super().__init__()
        self.how, self.seen = how, []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.seen.append(atoms.info.get("charge", 0))
        r = atoms.positions - atoms.positions.mean(axis=0)
        scale = 1 + atoms.info.get("charge", 0)
        energies = scale * (r**2).sum(axis=1) / 2 + 7.0
        axial = np.cross(r, np.roll(r, 1, axis=0))
        tensor = r.T @ r + 0.1 * np.eye(3)
        found = {
            "energy": energies.sum() + self.how.get("height", 0.0) * (r[:, 2] ** 3).sum(),
            "energies": energies,
            "forces": -scale * r,
            "stress": full_3x3_to_voigt_6_stress(tensor),
            "dipole": r[0],
            "charges": (r**2).sum(axis=1),
            "magmoms": axial if self.how.get("spins") else np.linalg.norm(axial, axis=1),
        }
        if self.how.get("full"):
            found["stress"] = tensor
        for name in self.how.get("raises", ()):
            if name in properties:
                raise RuntimeError(f"no {name}\nhere")
        self.results = {name: found[name] for name in found if name in properties}
        if self.how.get("mutates"):
            atoms.wrap()
            atoms.positions += 1.0
            atoms.numbers[:] = 1


def shaken(frame, seed=0):
    frame.positions += np.random.default_rng(seed).normal(scale=0.1, size=frame.positions.shape)
    return frame


@pytest.fixture
def crystal():
    return shaken(bulk("Cu", orthorhombic=True), 1)


@pytest.fixture
def water():
    return shaken(molecule("H2O"), 2)


@pytest.mark.parametrize("how", [{}, {"spins": True}, {"full": True}, {"mutates": True}])
def test_every_output_has_its_law(crystal, how):
    report = jetsym.probe(Planted(**how), [crystal], **QUIET)
    assert {name: item.kind for name, item in report.equivariance.items()} == {
        "energy": "scalar",
        "energies": "scalar",
        "forces": "vector",
        "stress": "rank2",
        "dipole": "vector",
        "charges": "scalar",
        "magmoms": "pseudovector" if how.get("spins") else "scalar",
    }
    assert all(item.is_within_rounding for item in report.equivariance.values()), report
    assert report.meta["units"]["energy"] == "meV/atom"


def test_energies_err_in_milli_electronvolts_an_atom_about_their_composition(crystal, water):
    """E + h Σ z³: A² = h² ⟨(Σ z³)²⟩ over the rotations, and the spread is that of two frames about their mean."""
    frames = [water, shaken(water.copy(), 5), crystal]
    item = jetsym.probe(Planted(height=0.3), frames, limit=3, n_rotations=60, progress=False).equivariance["energy"]
    turns = np.random.default_rng(0).normal(size=(4000, 3))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    squares, means = [], []
    for one in frames:
        r = one.positions - one.positions.mean(axis=0)
        odd = 0.3e3 * ((r @ turns.T) ** 3).sum(axis=0) / len(one)
        squares.append((odd**2).mean())
        means.append(1e3 * ((r**2).sum() / 2 / len(one) + 7))
    assert item.absolute == pytest.approx(np.sqrt(np.mean(squares)), rel=0.25)
    spread = np.std(means[:2], ddof=1)
    assert item.over_spread == pytest.approx(np.sqrt(np.mean(squares[:2])) / spread, rel=0.25)
    assert item.relative == pytest.approx(item.over_spread / np.hypot(1, item.over_spread))
    assert sum(item.error_spectrum.values()) + item.error_tail == pytest.approx(item.relative**2, rel=0.4)


def test_there_is_no_relative_error_of_energies_that_have_no_zero(crystal, water):
    report = jetsym.probe(Planted(height=0.3), [crystal, water], n_rotations=8, progress=False)
    item = report.equivariance["energy"]
    assert np.isnan([item.relative, item.over_spread]).all()
    assert item.absolute > 1
    assert not item.is_within_rounding
    assert "there is no relative A, as its zero is arbitrary for every composition" in str(report)
    assert np.isnan(jetsym.probe(Planted(), [crystal], **QUIET).equivariance["energy"].relative)
    assert type(report).from_dict(report.to_dict()).to_dict().keys() == report.to_dict().keys()
    assert "meV/atom" in report._repr_html_()


def test_a_stress_is_that_of_structures_with_a_volume_alone(crystal, water):
    """A molecule's stress has another unit, and must neither dilute that of crystals nor rule it."""
    alone, together = (jetsym.probe(EMT(), some, **QUIET) for some in ([crystal], [crystal, copper_pair()]))
    a, b = (report.equivariance["stress"] for report in (alone, together))
    assert b.absolute == pytest.approx(a.absolute, rel=1e-9, abs=1e-9)
    first = Planted()
    jetsym.probe(first, [water, crystal], n_rotations=4, progress=False)
    assert "stress" not in jetsym.probe(Planted(), [water], **QUIET).equivariance


def copper_pair():
    return Atoms("Cu2", [[0, 0, 0], [0.3, 0.2, 2.3]])


def test_what_is_claimed_and_not_given_is_left_out(crystal):
    report = jetsym.probe(Planted(raises=("dipole", "magmoms")), [crystal], **QUIET)
    assert not {"dipole", "magmoms"} & report.equivariance.keys()
    assert any("claims dipole, magmoms and does not give it" in note for note in report.meta["notes"])

    class All(EMT):
        implemented_properties = tuple(all_properties)

    assert "dipole" not in jetsym.probe(All(), [crystal], **QUIET).equivariance

    class Nothing(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] = None

    report = jetsym.probe(Nothing(), [crystal], **QUIET)
    assert any("claims forces" in note and "does not give it" in note for note in report.meta["notes"])


@pytest.mark.parametrize("getter", ["get_forces", "get_property"])
def test_what_structures_are_given_is_measured(crystal, getter):
    """Wrappers change what is asked for, and leave what was calculated as it was."""

    def shifted(own, values):
        return np.add(values, [0, 0, 0.5]) if np.shape(values) == (len(crystal), 3) else values

    class Wrapping(EMT):
        pass

    def get(self, *arguments, **options):
        return shifted(self, getattr(EMT, getter)(self, *arguments, **options))

    setattr(Wrapping, getter, get)
    item = jetsym.probe(Wrapping(), [crystal], **QUIET).equivariance["forces"]
    assert item.absolute == pytest.approx(500 * len(crystal) ** 0.5, rel=1e-6)
    assert jetsym.probe(EMT(), [crystal], **QUIET).equivariance["forces"].absolute < 1e-6


def test_inversion_keeps_the_hand_of_a_cell_and_its_lattice(crystal):
    """What flips the stress of left-handed cells is not the group's affair."""

    class Handed(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["stress"] = self.results["stress"] * np.sign(np.linalg.det(atoms.cell.array))

    assert jetsym.probe(Handed(), [crystal], **QUIET).equivariance["stress"].is_within_rounding
    swapped = crystal.copy()
    swapped.set_cell(crystal.cell.array[[1, 0, 2]])
    report = jetsym.probe(Handed(), [swapped], **QUIET)
    assert report.equivariance["stress"].is_within_rounding
    assert any("left-handed" in note for note in report.meta["notes"])
    from jetsym.atoms.frames import moved_frame

    for g in (-np.eye(3), MIRROR):
        moved = moved_frame(crystal, g)
        assert np.linalg.det(moved.cell.array) > 0
        whole = np.linalg.solve((crystal.cell.array @ g.T).T, moved.cell.array.T)
        np.testing.assert_allclose(whole, whole.round(), atol=1e-12)


def test_vectors_of_a_structure_move_with_it(crystal):
    from jetsym.atoms.frames import moved_frame

    crystal.set_initial_magnetic_moments(np.arange(6.0).reshape(2, 3))
    crystal.set_momenta(np.arange(6.0).reshape(2, 3))
    moved = moved_frame(crystal, -np.eye(3))
    np.testing.assert_allclose(moved.get_initial_magnetic_moments(), crystal.get_initial_magnetic_moments())
    np.testing.assert_allclose(moved.get_momenta(), -crystal.get_momenta())


def test_charge_and_spin_reach_the_model(crystal):
    crystal.info["charge"] = 2
    planted = Planted()
    report = jetsym.probe(planted, [crystal], **QUIET)
    assert set(planted.seen) == {2}
    assert report.meta["calls"] == len(planted.seen)


def test_calls_are_announced_counted_and_few(crystal, capsys):
    frames = [shaken(crystal.copy(), seed) for seed in range(3)]
    planted = Planted()
    report = jetsym.probe(planted, frames, l_max=4)
    assert report.meta["calls"] == len(planted.seen) <= 1000
    assert report.meta["method"] == "random"
    assert f"{report.meta['evaluations']:,} calls for 3 inputs" in capsys.readouterr().err
    assert jetsym.probe(planted, frames[:1], l_max=4, progress=False).meta["method"] == "quadrature"
    many = jetsym.probe(Planted(), frames[:1] * 64, l_max=4, progress=False)
    assert many.meta["calls"] <= 1000
    with pytest.raises(ProbeError, match="400 inputs under 3 rotations each are more than 1,000 calls"):
        jetsym.probe(Planted(), frames[:1] * 400, limit=400, progress=False)
    with pytest.raises(ProbeError, match="200 inputs under 4 rotations each .* limit=…, or n_rotations=… to say"):
        jetsym.cost(Planted(), frames[:1] * 200, limit=200, progress=False)


def test_a_caller_s_structures_stay_as_they_are(crystal):
    from ase.constraints import FixAtoms

    crystal.set_constraint(FixAtoms([0]))
    before = crystal.copy()
    jetsym.probe(Planted(mutates=True), [crystal], **QUIET)
    assert crystal == before
    assert crystal.calc is None
    assert jetsym.probe(EMT(), [crystal], **QUIET).equivariance["forces"].is_within_rounding


def test_the_guards_hold(crystal):
    class Noisy(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["energy"] *= 1 + 1e-6 * np.random.default_rng().normal()

    with pytest.raises(ProbeError, match="'energy' differs by .* between two evaluations"):
        jetsym.probe(Noisy(), [crystal], **QUIET)

    class Coarse(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"] = self.results["forces"].astype(np.float32)

    item = jetsym.probe(Coarse(), [crystal], **QUIET).equivariance["forces"]
    assert item.is_within_rounding
    assert 1e-9 < item.noise_floor < 1e-6

    class Sharp(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            angle = np.arctan2(*atoms.positions[1, :2])
            self.results["energy"] += 0.1 * np.cos(9 * angle)

    report = jetsym.probe(Sharp(), [crystal], **QUIET)
    assert report.equivariance["energy"].absolute == pytest.approx(1e3 * 0.1 / np.sqrt(2) / 2, rel=0.6)
    assert report.equivariance["energy"].unexplained != 0


def test_a_calculator_for_the_field(water):
    assert jetsym.probe(LennardJones(), [water], **QUIET).equivariance["forces"].is_within_rounding


@pytest.mark.parametrize(
    ("make", "frames", "error", "message"),
    [
        (lambda: EMT, "Cu", ProbeError, "model is the class EMT; expected a calculator made of it"),
        (lambda: EMT(), "FeO", DataError, r"EMT gives nothing for structure 0 \(FeO\): No EMT-potential for"),
        (lambda: EMT(), "nothing", DataError, "there are no structures"),
        (lambda: EMT(), "array", DataError, "structure 1 is a ndarray; expected ase.Atoms"),
        (lambda: EMT(), "NaN", DataError, "positions or a cell that are not finite"),
        (lambda: 3, "Cu", ProbeError, "model is a int; expected a torch module, a callable, .* a calculator of ASE"),
        (lambda: Planted(raises=all_properties), "Cu", DataError, "Planted gives nothing for structure 0 .*: here"),
        (lambda: silent(), "Cu", ProbeError, "Silent implements none of energy, energies, forces"),
        (lambda: lopsided(), "Cu", ProbeError, r"forces has shape \(2,\) for a structure of 1 atoms"),
        (lambda: mixed(), "both", ProbeError, r"Mixed gives magmoms of structure [01] \(Cu\) as .* and of others as"),
        (lambda: late(), "CuFe", ProbeError, r"Late fails for structure 1 \(Fe\): 'unknown Fe'; leave it out"),
    ],
)
def test_wrong_uses_end_in_a_sentence(make, frames, error, message):
    some = {
        "Cu": [bulk("Cu")],
        "FeO": [Atoms("FeO", [[0, 0, 0], [0, 0, 2]])],
        "nothing": [],
        "array": [Atoms("Cu"), np.zeros((3, 3))],
        "NaN": [Atoms("Cu", [[0, 0, np.nan]])],
        "CuFe": [bulk("Cu"), bulk("Fe")],
        "both": [bulk("Cu"), Atoms("Cu")],
    }[frames]
    with pytest.raises(error, match=message):
        jetsym.probe(make(), some, **QUIET)


def silent():
    class Silent(Planted):
        implemented_properties = ("free_energy",)

    return Silent()


def lopsided():
    class Lopsided(Planted):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] = np.zeros(2)

    return Lopsided()


def mixed():
    class Mixed(Planted):
        def calculate(self, atoms=None, *arguments, **options):
            super().calculate(atoms, *arguments, **options)
            self.results["magmoms"] = np.zeros((len(atoms), 3) if atoms.pbc.any() else len(atoms))

    return Mixed()


def late():
    class Late(Planted):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            if "Fe" in atoms.symbols:
                raise KeyError("unknown Fe")
            super().calculate(atoms, properties, system_changes)

    return Late()


def test_the_command_line(tmp_path, capsys, monkeypatch, crystal):
    import ase.io

    from jetsym.cli import main

    monkeypatch.chdir(tmp_path)
    ase.io.write("frames.xyz", crystal)
    (tmp_path / "mine.py").write_text("from ase.calculators.emt import EMT\ndef make():\n    return EMT()\n")
    words = ["--inputs", "frames.xyz", "--l_max", "2", "--progress", "false", "--out", "found.json"]
    assert main(["probe", "--calculator", "mine:make", *words]) == 0
    assert SymmetryReport.load("found.json").meta["model"] == "EMT"
    assert (tmp_path / "found.html").is_file()
    for entry, message in [
        ("mine", "expected module:factory"),
        ("mine:made", "has no attribute 'made'"),
        ("nowhere:make", "No module named 'nowhere'"),
        ("math:tau", "'float' object is not callable"),
        ("builtins:dict", "gives a dict; expected an ASE calculator"),
    ]:
        assert main(["probe", "--calculator", entry, *words]) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "options.yaml").write_text("calculator: mine:make\n")
    planted = ["probe", "--calculator", "ase.calculators.lj:LennardJones", "--config", "options.yaml", *words]
    assert main(planted) == 1
    assert "expected it on the command line alone" in capsys.readouterr().err
    assert main(["probe", "--calculator", "mine:make"]) == 1


def test_files_of_structures_and_the_factory_of_an_entry(tmp_path, crystal):
    import ase.io

    from jetsym.atoms.workflows.calculators import calculator_of

    ase.io.write(tmp_path / "frames.xyz", [crystal, copper_pair()])
    report = jetsym.probe(
        calculator_of("ase.calculators.emt:EMT"), tmp_path / "frames.xyz", n_rotations=4, progress=False
    )
    assert report.meta["n_inputs"] == 2
    with pytest.raises(ConfigError, match="expected module:factory"):
        calculator_of(":EMT")


def test_an_energy_of_32_bits_has_their_rounding_whatever_its_unit(water):
    class Single(Planted):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["energy"] = float((atoms.positions.astype(np.float32) ** 2).sum())

    single, double = (jetsym.probe(kind(), [water], **QUIET).equivariance["energy"] for kind in (Single, Planted))
    assert single.is_within_rounding
    assert double.rounding < 1e-6 < 1e-5 < single.rounding
    known = Calculated(Single(), [water])
    assert [known.spacing(name) for name in ("energy", "forces")] == [2.0**-23, 2.0**-52]


class Drifting(EMT):
    """Its energy goes up by 0.1 meV every twenty calls, and its forces stay as they are."""

    rate, made = 1e-4, 0

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.made += 1
        self.results["energy"] += self.rate * (self.made // 20)


def test_a_state_that_is_kept_is_said(crystal):
    report = jetsym.probe(Drifting(), [crystal], n_rotations=40, **QUIET)
    (note,) = [note for note in report.meta["notes"] if "keeps a state" in note]
    (changed,) = re.findall(r"energy of structure 0 has changed by (\S+) meV/atom since the first call: Drifting", note)
    assert float(changed) == pytest.approx(0.1 * (report.meta["calls"] - 1) / 20 / len(crystal), abs=0.11)
    assert note in str(report.settings())
    still = type("Still", (Drifting,), {"rate": 0.0})
    for model, frames in ((still(), [crystal]), (Planted(), [crystal, molecule("H2O")])):
        report = jetsym.probe(model, frames, n_rotations=4, **QUIET)
        assert not [note for note in report.meta["notes"] if "keeps a state" in note]
