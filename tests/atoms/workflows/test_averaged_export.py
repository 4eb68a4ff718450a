"""Averages inside an export: what metatomic's calculator reads without jetsym is what SymmetrizedCalculator gives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ase", reason="the extra 'atoms' is not installed")
pytest.importorskip("metatomic_ase", reason="the extra 'atoms' is not installed")

import jetsym
from jetsym import cli
from jetsym.atoms import RandomFrameCalculator, SymmetrizedCalculator, calculator, export
from jetsym.atoms.frames import moved_frame
from jetsym.atoms.workflows.averaged_export import grid_degree
from jetsym.errors import CheckpointError, ConfigError
from jetsym.spectrum import O3
from jetsym.spectrum.averaging import GroupAverage

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered")  # metatomic's stress of a molecule

L_MAX = 2
ALONE = """
import sys, numpy as np
import metatomic_ase
from ase import Atoms
atoms = Atoms(sys.argv[2].split(","), np.array(eval(sys.argv[3])))
atoms.calc = metatomic_ase.MetatomicCalculator(sys.argv[1])
print(atoms.get_potential_energy(), *atoms.get_forces().ravel())
assert not any(name.partition(".")[0] == "jetsym" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def files(make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    torch.save(make_model().get_checkpoint(), folder / "model.ckpt")
    found = export(folder / "model.ckpt", folder / "averaged.pt", l_max=L_MAX, dtype="float64")
    return folder, found


@pytest.fixture(scope="module")
def averaged(files):
    return calculator(files[0] / "averaged.pt")


@pytest.fixture(scope="module")
def plain(files):
    return calculator(files[0] / "model.ckpt")


@pytest.fixture(scope="module")
def mean(plain, averaged):
    """The average by one evaluation after the other, over the points that the file holds."""
    model = averaged.model().module
    matrices = [tensor for name, tensor in model.named_buffers() if name.endswith("_matrices")]
    rotations = torch.cat(matrices).numpy()
    weights = next(tensor for name, tensor in model.named_buffers() if name.endswith("_rotation_weights")).numpy()
    made = SymmetrizedCalculator(plain, "O3", L_MAX)
    made._average = GroupAverage(np.concatenate([rotations, -rotations]), np.concatenate([weights, weights]) / 2, L_MAX)
    return made


def test_energies_and_forces_are_those_of_the_average_over_the_same_grid(files, plain, averaged, mean, molecule):
    assert files[1].evaluations == len(mean._average.weights)
    atoms = molecule("H2O", seed=1)
    energy = mean.get_potential_energy(atoms)
    assert abs(plain.get_potential_energy(atoms) - energy) > 1e-4
    assert averaged.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(averaged.get_forces(atoms), mean.get_forces(atoms), atol=1e-9)


def test_a_of_the_export_is_that_of_an_average_and_far_below_the_plain_one(plain, averaged, mean, molecule):
    atoms = molecule("H2O", seed=1)
    turned = [moved_frame(atoms, element) for element in O3().sample(6, np.random.default_rng(0))]
    spread = {
        name: np.std([potential.get_potential_energy(one) for one in turned])
        for name, potential in (("plain", plain), ("export", averaged), ("average", mean))
    }
    assert spread["export"] < 0.1 * spread["plain"]
    assert spread["export"] == pytest.approx(spread["average"], rel=1e-6)


@pytest.mark.slow  # exports are compiled
def test_the_file_says_its_variance(averaged, mean, molecule):
    name = "o3::variance::energy"
    assert name in averaged.model().capabilities().outputs
    atoms = molecule("H2O", seed=1)
    output = pytest.importorskip("metatomic.torch").ModelOutput(sample_kind="system")
    found = averaged.run_model(atoms, {name: output})
    mean.get_potential_energy(atoms)
    variance = found[name].block().values.item()
    assert variance == pytest.approx(mean.results["energy_std"] ** 2, rel=1e-6)


@pytest.mark.slow  # exports are compiled
def test_metatomics_calculator_reads_it_in_a_process_without_jetsym(files, averaged, molecule, tmp_path):
    atoms = molecule("H2O", seed=1)
    words = [str(files[0] / "averaged.pt"), ",".join(atoms.get_chemical_symbols()), str(atoms.positions.tolist())]
    run = subprocess.run(
        [sys.executable, "-c", ALONE, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    numbers = np.array(run.stdout.strip().splitlines()[-1].split(), dtype=float)
    assert numbers[0] == pytest.approx(averaged.get_potential_energy(atoms), abs=1e-9)
    np.testing.assert_allclose(numbers[1:].reshape(3, 3), averaged.get_forces(atoms), atol=1e-9)


@pytest.mark.slow  # exports are compiled
def test_a_report_tells_the_degree(files, molecule, tmp_path, monkeypatch):
    jetsym.probe(calculator(files[0] / "model.ckpt"), [molecule("H2O", seed=1)], l_max=1, progress=False).save(
        tmp_path / "report.json"
    )
    monkeypatch.setattr(
        "jetsym.atoms.workflows.averaged_export.averaging_degree", lambda item: {"scalar": 3, "vector": 5}[item.kind]
    )
    found = export(files[0] / "model.ckpt", tmp_path / "other.pt", report=tmp_path / "report.json")
    assert found.degree == 5
    assert found.dtype == "float64"


def test_on_the_command_line_and_as_it_is(files, molecule, tmp_path, capsys):
    model = str(files[0] / "model.ckpt")
    assert cli.main(["atoms", "export", model, str(tmp_path / "plain.pt"), "--symmetrize", "none"]) == 0
    assert "the model as it is, in float64" in capsys.readouterr().out
    atoms = molecule("H2O", seed=1)
    expected = calculator(model).get_potential_energy(atoms)
    assert calculator(tmp_path / "plain.pt").get_potential_energy(atoms) == pytest.approx(expected, abs=1e-9)
    assert cli.main(["atoms", "export", str(tmp_path / "plain.pt"), str(tmp_path / "mean.pt"), "--l_max", "0"]) == 0
    said = capsys.readouterr().out
    assert "exact to λ = 0" in said
    assert "12 times" in said  # six Lebedev nodes, one angle, and both parities


def test_what_cannot_be_averaged_is_refused(files, tmp_path, capsys):
    folder, _ = files
    for options, message in [
        ({"out": "model.ckpt"}, "out is 'model.ckpt'; expected a name that ends in .pt"),
        ({"symmetrize": "SO3"}, "symmetrize is 'SO3'; expected 'O3', the one group"),
        ({"symmetrize": "O2"}, "symmetrize is 'O2'"),
        ({"symmetrize": "none", "l_max": 3}, "l_max and report are of an average"),
        ({"l_max": 132}, "l_max is 132; expected at most 131"),
        ({"l_max": -1}, "l_max is -1"),
        ({"l_max": 3, "report": "x.json"}, "l_max is 3, and there is a report"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            export(folder / "model.ckpt", **{"out": tmp_path / "out.pt", **options})
    with pytest.raises(CheckpointError, match="averaged.pt cannot be averaged by metatomic: .*reserved"):
        export(folder / "averaged.pt", tmp_path / "out.pt")
    assert not list(tmp_path.iterdir())


def test_degrees_leave_out_rules_with_negative_weights():
    quadrature = pytest.importorskip("metatomic.torch.o3._quadrature")

    def lightest(degree):
        return quadrature.get_rotation_quadrature(*quadrature.choose_quadrature(degree))[1].min()

    assert all(lightest(grid_degree(l_max)) > 0 for l_max in range(32))
    assert max(lightest(degree) for degree in (13, 25, 27)) < 0


def test_an_export_goes_with_what_takes_calculators(averaged, molecule):
    atoms = molecule("H2O", seed=1)
    random = RandomFrameCalculator(averaged, seed=1)
    assert random.get_potential_energy(atoms) == pytest.approx(averaged.get_potential_energy(atoms), abs=0.1)
