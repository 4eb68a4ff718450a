"""Errors against closed forms, subsets, unknown elements, baselines, and the benchmark file itself."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
pytest.importorskip("metatrain")

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from jetsym import atoms, cli
from jetsym.atoms.workflows.evaluation import evaluate
from jetsym.errors import ConfigError, DataError
from jetsym.text import concise


class Zero(Calculator):
    """No energy and no forces."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def frame(formula="Cu2", *, subset=None, **results):
    made = Atoms(formula, positions=3.0 * np.arange(len(Atoms(formula)))[:, None] * np.ones(3))
    made.calc = SinglePointCalculator(made, **results)
    if subset is not None:
        made.info["subset"] = subset
    return made


def test_errors_by_subset():
    forces = [[0.0, 0.0, 0.3], [0.0, 0.0, 0.0]]
    frames = [
        frame(subset="a", energy=0.2, forces=forces),
        frame(subset="a", energy=-0.6, forces=forces),
        frame(subset="b", energy=0.04),
    ]
    found = evaluate(Zero(), frames)
    assert found.meta["by"] == "subset"
    assert list(found.scores) == ["a", "b", "all"]
    a, b, whole = found.scores.values()
    assert (a.structures, a.atoms, whole.structures) == (2, 4, 3)
    assert a.energy_mae == pytest.approx(200)  # |0.1| and |0.3| eV/atom
    assert a.energy_rmse == pytest.approx(1e3 * np.sqrt((0.1**2 + 0.3**2) / 2))
    assert a.forces_mae == pytest.approx(50)  # one component of six
    assert a.forces_rmse == pytest.approx(300 / np.sqrt(6))
    assert (b.forces_mae, b.sigma, b.pull) == (None, None, None)
    assert atoms.Evaluation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert b.energy_mae == pytest.approx(20)
    assert whole.energy_mae == pytest.approx((100 + 300 + 20) / 3)


def test_a_key_of_ones_own():
    frames = [frame(energy=0.0), frame(energy=0.0)]
    frames[0].info["origin"] = "here"
    assert list(evaluate(Zero(), frames, by="origin").scores) == ["here", "–", "all"]
    assert list(evaluate(Zero(), frames).scores) == ["all"]
    with pytest.raises(ConfigError, match="by is 'elsewhere', which no structure has; they have origin"):
        evaluate(Zero(), frames, by="elsewhere")


def test_another_zero_of_energy_is_no_error_after_a_fit():
    frames = [frame("Cu2", energy=2 * 1.5), frame("CuAu", energy=1.5 - 2.0), frame("CuAu3", energy=1.5 - 6.0)]
    assert evaluate(Zero(), frames).scores["all"].energy_mae > 100
    fitted = evaluate(Zero(), frames, fit_baseline=True)
    assert fitted.scores["all"].energy_mae < 1e-9
    assert "relative to a least-squares energy of every element" in str(fitted)
    assert "2 elements were fitted to 3 structures, so that errors of energies are too small" in str(fitted)


def test_a_potential_against_itself():
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=0)
    copper.calc = EMT()
    copper.calc = SinglePointCalculator(copper, energy=copper.get_potential_energy(), forces=copper.get_forces())
    scores = evaluate(EMT(), [copper]).scores["all"]
    assert max(scores.energy_mae, scores.forces_rmse) < 1e-9


def test_uncertainties_are_compared_with_errors(monkeypatch):
    monkeypatch.setattr("jetsym.atoms.workflows.evaluation.uncertainty", lambda calculator, structure: 0.1)
    scores = evaluate(Zero(), [frame(energy=0.2), frame(energy=-0.2)]).scores["all"]
    assert scores.sigma == pytest.approx(50)
    assert scores.pull == pytest.approx(2)


@pytest.fixture
def saved(make_model, tmp_path):
    file = tmp_path / "model.ckpt"
    torch.save(make_model().get_checkpoint(), file)
    return file


def test_unknown_elements(saved):
    potential = atoms.calculator(saved)  # of H, C, N, O and Cu
    frames = [frame("Cu2", energy=0.0), frame("CuAu", energy=0.0), frame("Au2Pt", energy=0.0)]
    with pytest.raises(DataError, match="2 of 3 structures hold elements that the model does not know: Au .in 2., Pt"):
        evaluate(potential, frames)
    found = evaluate(potential, frames, skip_unknown=True)
    assert found.scores["all"].structures == 1
    assert "2 structures with elements that the model does not know are left out" in str(found)
    with pytest.raises(DataError, match="no structure is left"):
        evaluate(potential, frames[1:], skip_unknown=True)
    with pytest.raises(DataError, match=r"structure 0 \(Fe2\): No EMT-potential for Fe"):
        evaluate(EMT(), [frame("Fe2", energy=0.0)])


def test_nothing_to_compare_with():
    with pytest.raises(DataError, match="no structure has 'energy' or 'forces' or 'stress' to compare .* nothing"):
        evaluate(Zero(), [Atoms("Cu")])


def test_molecules_have_no_volume_and_nobody_is_told(make_model, molecule, tmp_path):
    """metatomic divides by it all the same, and infinities of opposite signs make numpy warn."""
    file = tmp_path / "model.ckpt"
    torch.save(make_model().get_checkpoint(), file)
    potential, frames = atoms.calculator(file), [molecule("CH3CH2OH", seed) for seed in range(8)]
    for frame in frames:
        results = {"energy": -1.0, "forces": np.zeros((len(frame), 3))}
        frame.calc = SinglePointCalculator(frame, **results)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        scores = evaluate(potential, frames, progress=False).scores["all"]
    assert scores.forces_rmse > 0
    assert not [str(warning.message) for warning in heard if "invalid value" in str(warning.message)]


def test_the_benchmark_file_on_the_command_line(real_data, saved, tmp_path, capsys):
    """70 structures of 7 data sets; the molecules among them that an untrained PET of H, C, N and O knows."""
    file = real_data / "atoms" / "mad-bench-mad-reduced.xyz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    words = [str(saved), str(file), "--skip_unknown", "--out", str(tmp_path / "scores.json"), "--fit_baseline"]
    assert cli.main(["atoms", "evaluate", *words]) == 0
    said = capsys.readouterr().out
    assert "F RMSE [meV/Å]" in said
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["meta"]["by"] == "dataset"
    assert {"MD22", "SPICE"} <= stored["scores"].keys()
    assert stored["scores"]["all"]["structures"] + stored["meta"]["left_out"] == 70
    assert stored["scores"]["MD22"]["structures"] == 10


def test_what_a_broken_symmetry_adds_stands_beside_the_errors():
    """E + h Σ z: A² = h² ⟨(Σ z)²⟩ / n², and the torque is that of a field along z."""

    class Field(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results = {
                "energy": 0.01 * atoms.positions[:, 2].sum(),
                "forces": np.tile([0, 0, -0.01], (len(atoms), 1)),
            }

    rng, frames = np.random.default_rng(0), []
    for _ in range(40):
        atoms = Atoms("H2", rng.normal(size=(2, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
        frames.append(atoms)
    scores = evaluate(Field(), frames, turned=40, progress=False).scores["all"]
    arms = np.array([atoms.positions.mean(axis=0) for atoms in frames])
    assert scores.energy_a == pytest.approx(10 * np.sqrt((arms**2).sum(axis=1).mean() / 3), rel=0.2)
    assert scores.forces_a == pytest.approx(10 / np.sqrt(3), rel=0.1)
    # −∂E/∂θ of h z is h (ẑ × r), of which two components are not zero.
    assert scores.torque == pytest.approx(10 * np.sqrt((arms[:, :2] ** 2).sum(axis=1).mean() / 3), rel=1e-6)
    assert "−∂E/∂θ [meV/atom]" in str(evaluate(Field(), frames, progress=False))
    assert evaluate(Field(), frames, turned=0, progress=False).scores["all"].torque is None


def test_a_and_torque_have_errors_and_stand_beside_the_spread(tmp_path):
    """E + E₀(structure), E = h z of a structure's middle: A² = h² r²/3, which spreads over structures of one size."""

    class Field(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            size = np.linalg.norm(atoms.positions[1] - atoms.positions[0])
            energy = 0.01 * atoms.positions[:, 2].sum() + 0.2 * size
            self.results = {"energy": energy, "forces": size * (atoms.positions - atoms.positions.mean(axis=0))}

    def structures(seed, n):
        rng = np.random.default_rng(seed)
        frames = [Atoms("H2", rng.normal(size=(2, 3))) for _ in range(n)]
        for one in frames:
            one.calc = SinglePointCalculator(one, energy=0.0, forces=np.zeros((2, 3)))
        return frames

    truth, pulls = 10 * np.sqrt(1 / 2), []  # ⟨r²⟩ = 3/2 of the mean of two normal points
    for seed in range(30):
        found = evaluate(Field(), structures(seed, 12), turned=12, progress=False)
        scores = found.scores["all"]
        pulls.append((scores.energy_a - truth) / scores.energy_a_stderr)
    assert scores.turned == 12
    assert abs(np.mean(pulls)) < 0.7
    assert 0.6 < np.std(pulls) < 1.7
    assert abs(scores.forces_a) < 1e-6
    frames = structures(0, 40)
    scores = evaluate(Field(), frames, turned=40, progress=False).scores["all"]
    energies = [Field().get_potential_energy(one) * 500 for one in frames]
    spread = np.sqrt(np.var(energies, ddof=1) - scores.energy_a**2)
    assert scores.energy_a_over_spread == pytest.approx(scores.energy_a / spread, rel=1e-9)
    assert scores.energy_a_over_spread_stderr == pytest.approx(scores.energy_a_stderr / spread, rel=1e-9)
    assert f"{concise(scores.energy_a, scores.energy_a_stderr)}" in str(found) + str(
        evaluate(Field(), frames, turned=40, progress=False)
    )
    few = evaluate(Field(), frames, turned=3, progress=False)
    assert "A and torque are those of 3 structures, of which errors are known to 50 %; more by turned" in str(few)
    assert "E A/spread" in str(few)
    assert concise(few.scores["all"].torque, few.scores["all"].torque_stderr) in few.page()
    one = evaluate(Field(), frames, turned=1, progress=False)
    assert one.scores["all"].energy_a_stderr is None
    assert "a single structure, and have no errors" in str(one)
    loaded = atoms.Evaluation.load(few.save(tmp_path / "few.json"))
    assert str(loaded) == str(few)
    older = few.to_dict() | {"format": 1}
    names = [name for name in older["scores"]["all"] if name.endswith(("stderr", "spread")) or name == "turned"]
    for name in names:
        del older["scores"]["all"][name]
    assert len(names) == 8
    assert atoms.Evaluation.from_dict(older).scores["all"].energy_a == few.scores["all"].energy_a
    assert "E A/spread" not in str(atoms.Evaluation.from_dict(older))


def test_a_calculator_that_keeps_a_module_as_its_model():
    potential, atoms = EMT(), bulk("Cu")
    potential.model = torch.nn.Linear(3, 1)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((1, 3)))
    assert evaluate(potential, [atoms], progress=False).scores["all"].structures == 1


# --- other names, units and outputs ---


class Answers(Calculator):
    """What it is told, whatever the structure."""

    implemented_properties = ("energy", "forces", "stress", "dipole")

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6), **self.answers}


def crystal(**results):
    made = bulk("Cu", cubic=True)
    made.calc = SinglePointCalculator(made, **results)
    return made


def test_names_of_ones_own_and_what_is_not_compared():
    frames = [frame() for _ in range(2)]
    for one in frames:
        one.info["REF_energy"], one.arrays["ref_forces"] = 0.4, np.full((2, 3), 0.1)
    with pytest.raises(
        DataError, match=r"give energy='REF_energy', forces='ref_forces' \(--energy REF_energy --forces ref_forces\)"
    ):
        evaluate(Zero(), frames)
    scores = evaluate(Zero(), frames, energy="REF_energy", forces="ref_forces").scores["all"]
    assert (scores.energy_mae, scores.forces_rmse) == pytest.approx((200, 100))
    found = evaluate(Zero(), frames, energy="REF_energy")
    assert found.scores["all"].forces_mae is None
    assert "forces not compared: no structure has 'forces', but 'ref_forces': give forces='ref_forces'" in str(found)
    assert not evaluate(Zero(), frames, energy="REF_energy", forces=None).meta["notes"]
    with pytest.raises(DataError, match="forces is 'REF_force', which no structure has; .* nearest are 'ref_forces'"):
        evaluate(Zero(), frames, energy="REF_energy", forces="REF_force")
    strained = crystal(stress=np.zeros(6))
    strained.info["dft_energy"] = 1.0
    with pytest.raises(
        DataError, match=r"no structure has 'energy' or .* give energy='dft_energy' \(--energy dft_energy\)"
    ):
        evaluate(Answers(), [strained])
    assert evaluate(Answers(), [strained], energy=None, forces=None, turned=0).scores["all"].stress_mae == 0
    frames[0].info["REF_energy"] = "none"
    with pytest.raises(DataError, match=r"energy is 'REF_energy', which cannot be read in 1 of 2 .*: 0 \(Cu2\)"):
        evaluate(Zero(), frames, energy="REF_energy")


@pytest.mark.parametrize("unit", ["kcal/mol", "Hartree", "meV"])
def test_references_in_another_unit(unit):
    from ase import units

    size = {"kcal/mol": units.kcal / units.mol, "Hartree": units.Hartree, "meV": 1e-3}[unit]
    one = crystal(
        energy=0.4 / size, forces=np.full((4, 3), 0.1) / size, stress=np.eye(3)[[0, 1, 2], [0, 1, 2]].repeat(2)
    )
    one.calc.results["stress"] = np.array([1.0, 0, 0, 0, 0, 0]) * units.GPa / size
    found = evaluate(Answers(), [one], unit=unit, turned=0, progress=False)
    scores = found.scores["all"]
    assert (scores.energy_mae, scores.forces_mae, scores.stress_mae) == pytest.approx((100, 100, 1 / 9), rel=1e-4)
    assert f"E MAE [{unit}/atom]" in str(found)
    assert f"{0.1 / size:.4g}" in str(found)  # as in the file
    with pytest.raises(ConfigError, match="unit is 'eW'; expected one of energies"):
        evaluate(Answers(), [one], unit="eW")


def test_another_unit_that_explains_the_forces_is_named():
    from ase import units

    forces = np.random.default_rng(0).normal(size=(4, 3))
    one = crystal(energy=0.0, forces=forces * units.mol / units.kcal)
    wrong = evaluate(Answers(forces=forces), [one], turned=0, progress=False)
    assert "agree to 0 % of their size if the file is in kcal/mol" in str(wrong)
    right = evaluate(Answers(forces=forces), [one], unit="kcal/mol", turned=0, progress=False)
    assert not right.meta["notes"]
    (note,) = evaluate(Answers(), [one], turned=0, progress=False).meta["notes"]
    assert note.startswith("the forces are off by 100 % of their size in eV, as the file was read, and by no less than")
    near = evaluate(Answers(forces=1.2 * forces), [crystal(energy=0.0, forces=forces)], turned=0, progress=False)
    assert not near.meta["notes"]


def test_a_unit_that_the_file_speaks_against_is_said():
    one = crystal(energy=-1.0, forces=np.zeros((4, 3)))
    one.info["energy_unit"] = "kcal/mol"
    assert "'energy_unit' of the structures is 'kcal/mol', in kcal/mol, and unit is 'eV'" in str(
        evaluate(Answers(), [one], turned=0, progress=False)
    )
    assert "look at the unit" not in str(evaluate(Answers(), [one], unit="kcal/mol", turned=0, progress=False))


def test_a_stress_is_that_of_crystals_alone():
    gpa = 1 / 160.21766208
    slab = crystal(energy=0.0, stress=np.full(6, 99.0) * gpa)
    slab.pbc = (True, True, False)
    molecule = frame(energy=0.0, stress=np.full(6, 99.0) * gpa)
    found = evaluate(Answers(), [crystal(energy=0.0, stress=np.full(6, 3.0) * gpa), slab, molecule], turned=0)
    assert found.scores["all"].stress_rmse == pytest.approx(3.0)
    assert "2 structures are not periodic in three directions" in str(found)
    one = crystal(energy=0.0)
    one.info["virial"] = -one.get_volume() * 3.0 * gpa * np.ones((3, 3))
    assert evaluate(Answers(), [one], virial="virial", turned=0).scores["all"].stress_rmse == pytest.approx(3.0)
    with pytest.raises(DataError, match="by its name a virial"):
        evaluate(Answers(), [one], stress="virial")
    assert "stress not compared: Zero gives none" in str(
        evaluate(Zero(), [crystal(energy=0.0, stress=np.ones(6) * gpa)])
    )


@pytest.mark.parametrize("beside", [np.full((3, 3), np.inf), np.ones(6), "converged"], ids=["inf", "six", "word"])
def test_a_stress_beside_the_one_asked_for_may_be_anything(beside):
    gpa = 1 / 160.21766208
    one = crystal(energy=0.0)
    one.info |= {"dft": 3.0 * gpa * np.ones((3, 3)), "stress": beside}
    assert evaluate(Answers(), [one], stress="dft", turned=0).scores["all"].stress_rmse == pytest.approx(3.0)


def test_nan_is_masked_and_counted():
    forces = np.full((2, 3), 0.1)
    some = forces.copy()
    some[0] = np.nan
    frames = [
        frame(energy=0.2, forces=forces),
        frame(energy=np.nan, forces=some),
        frame(energy=0.2, forces=np.nan * forces),
    ]
    found = evaluate(Zero(), frames, turned=0)
    assert (found.scores["all"].energy_mae, found.scores["all"].forces_mae) == pytest.approx((100, 100))
    assert "energy missing, or NaN, in 1 of 3 structures" in str(found)
    assert "forces missing, or NaN, in 2 of 3 structures" in str(found)
    assert len(found.parity["forces"]["reference"]) == 9


@pytest.mark.parametrize("name", ["all", "–", "[bold]x[/bold]", "7"])
def test_subsets_may_be_called_anything(name):
    frames = [frame(subset=name, energy=0.2), frame(subset="other", energy=0.0)]
    found = evaluate(Zero(), frames, turned=0)
    row = "subset=all" if name == "all" else name
    assert found.scores.keys() == {row, "other", "all"}
    assert (found.scores[row].energy_mae, found.scores["all"].energy_mae) == pytest.approx((100, 50))
    assert row in str(found)


def test_structures_that_cannot_be_used():
    for bad, message in (
        (Atoms(), "structure 1 has no atoms"),
        (Atoms("Cu", cell=[1, 1, 0], pbc=True), "structure 1 "),
    ):
        with pytest.raises(DataError, match=message):
            evaluate(Zero(), [frame(energy=0.0), bad])


def test_further_quantities_of_ase_calculators():
    one = crystal(energy=0.0)
    one.info["mu"] = np.array([0.0, 0.0, 2.0])
    found = evaluate(Answers(dipole=np.zeros(3)), [one], targets={"dipole": "mu"}, turned=0)
    assert found.scores["all"].others["dipole"] == pytest.approx({"mae": 2 / 3, "rmse": 2 / np.sqrt(3)})
    assert "dipole RMSE [e Å]" in str(found)
    assert atoms.Evaluation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ConfigError, match="targets names 'dipol', which the model does not predict"):
        evaluate(Answers(dipole=np.zeros(3)), [one], targets={"dipol": "mu"})


class Exported(Answers):
    """What metatomic's calculators have, whose model predicts forces of its own."""

    def model(self):
        outputs = {name: SimpleNamespace(unit="") for name in ("energy", "non_conservative_forces", "mtt::mu")}
        return SimpleNamespace(capabilities=lambda: SimpleNamespace(outputs=outputs, atomic_types=[29]))

    def run_model(self, structure, outputs):
        block = SimpleNamespace(values=torch.full((len(structure), 3, 1), 0.1))
        return {name: SimpleNamespace(blocks=lambda: [block]) for name in outputs}


class Holding(Answers):
    """One that holds another, without a way of its own to what the model predicts beside its energy."""

    def __init__(self, **answers):
        super().__init__(**answers)
        self.base_calculator = Exported(**answers)


def test_a_calculator_that_holds_another_has_no_further_outputs():
    one = crystal(energy=0.0, forces=np.zeros((4, 3)))
    one.info["mu"] = np.zeros(3)
    scores = evaluate(Exported(), [one], turned=0).scores["all"]
    assert scores.others["non_conservative_forces"] == pytest.approx({"mae": 100.0, "rmse": 100.0})
    found = evaluate(Holding(), [one], turned=0)
    assert (found.scores["all"].forces_mae, found.scores["all"].others) == (0.0, {})
    with pytest.raises(ConfigError, match="targets names 'mtt::mu', which the model does not predict"):
        evaluate(Holding(), [one], targets={"mtt::mu": "mu"}, turned=0)


@pytest.mark.slow
def test_further_outputs_of_models(make_model, molecule, tmp_path, capsys):
    """A model without an energy on the command line, and one with forces of its own beside the slopes."""
    made = make_model({"mtt::mu": {"cartesian": {"rank": 1}}})
    torch.save(made.get_checkpoint(), tmp_path / "mu.ckpt")
    frames = [molecule("H2O", seed) for seed in range(2)]
    model = atoms.Model(made)
    for one in frames:
        one.info["mu"] = model(model.structures([one]))["mtt::mu"].detach().numpy().ravel() + 0.5
    import ase.io

    ase.io.write(tmp_path / "mu.xyz", frames, format="extxyz")
    words = ["atoms", "evaluate", str(tmp_path / "mu.ckpt"), str(tmp_path / "mu.xyz"), "--targets", '{"mtt::mu": "mu"}']
    assert cli.main([*words, "--out", str(tmp_path / "mu.json"), "--progress", "false"]) == 0
    assert "mtt::mu MAE" in capsys.readouterr().out
    scores = atoms.Evaluation.load(tmp_path / "mu.json").scores["all"]
    assert scores.others["mtt::mu"] == pytest.approx({"mae": 0.5, "rmse": 0.5}, rel=1e-4)
    assert (tmp_path / "mu.png").stat().st_size > 5000
    assert cli.main(words[:-2]) == 1  # without them it has nothing to say
    assert "predicts no energy" in capsys.readouterr().err
