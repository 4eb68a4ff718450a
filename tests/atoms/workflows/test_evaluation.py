"""Errors against closed forms, subsets, unknown elements, baselines, and the benchmark file itself."""

from __future__ import annotations

import json
import warnings

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
    with pytest.raises(DataError, match="no structure has anything to compare with by the names 'energy', 'forces'"):
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


def test_a_calculator_that_keeps_a_module_as_its_model():
    potential, atoms = EMT(), bulk("Cu")
    potential.model = torch.nn.Linear(3, 1)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((1, 3)))
    assert evaluate(potential, [atoms], progress=False).scores["all"].structures == 1
