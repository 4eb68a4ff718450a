"""Runs at constant energy in several frames: what is conserved, and how fast random frames heat, in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ase", reason="the extra 'atoms' is not installed")

import ase.io
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from jetsym import cli
from jetsym.atoms import DynamicsReport, dynamics
from jetsym.atoms.workflows.dynamics import heating
from jetsym.errors import ConfigError

PUSH = np.array([0.05, 0.1, -0.1])  # eV/Å, of length 0.15


class Pushed(Calculator):
    """Atoms in a well around the origin, Σ 2 r²/2 eV/Å², and a push along a direction that is fixed in space."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        positions = atoms.positions
        self.results = {"energy": (positions**2).sum() - (positions @ PUSH).sum(), "forces": PUSH - 2 * positions}


@pytest.fixture(scope="module")
def report():
    atoms = Atoms("Cu3", [[0.1, 0, 0], [-0.1, 0.1, 0], [0, -0.1, 0.1]])
    options = {"timestep": 2.0, "temperature": 100.0, "l_max": 2, "progress": False}
    few = dynamics(atoms, Pushed(), frames=["plain", "average"], runs=2, steps=50, **options)
    many = dynamics(atoms, Pushed(), frames="random", runs=16, steps=200, **options)
    return replace(many, runs={**few.runs, **many.runs})


def test_an_average_conserves_both_a_fixed_frame_the_energy_and_random_ones_neither(report):
    assert {name: len(runs) for name, runs in report.runs.items()} == {"plain": 2, "average": 2, "random": 16}
    assert abs(report.mean("plain", "energy_drift")[0]) < 0.5
    assert abs(report.mean("average", "energy_drift")[0]) < 0.5
    # Around the centre of mass, which the well holds and the push moves: momentum of three atoms that turn.
    assert report.mean("average", "angular_momentum")[0] < 1e-9
    assert report.mean("average", "angular_momentum_drift")[0] < 1e-9
    drift, error = report.mean("random", "energy_drift")
    assert drift > 5 * error > 0


def test_random_frames_heat_as_kicks_do(report):
    """A push of length c in a random direction has the variance c²/3 along each axis: c² δt / 2 m for every atom."""
    mass = Atoms("Cu").get_masses()[0]
    rate = 1e3 * (PUSH @ PUSH) * 2.0 * units.fs / (2 * mass) * 1e3 * units.fs
    assert report.expected_heating == pytest.approx(rate, rel=1e-9)
    assert report.heating_at_end == pytest.approx(rate, rel=1e-9)  # the push is the same everywhere
    drift, error = report.mean("random", "energy_drift")
    assert error < 0.25 * rate
    assert abs(drift - rate) < 3.5 * error


def test_heating_goes_with_the_variance_and_against_the_mass():
    atoms = Atoms("HCu", np.zeros((2, 3)))
    std = np.array([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]])
    masses = atoms.get_masses()
    # In SI: (eV/Å)² fs / amu.
    si = ((std**2).sum(axis=1) / (2 * masses)).sum() * units._e**2 / 1e-20 * 1e-15 / units._amu  # W
    assert heating(atoms, std, timestep=1.0) == pytest.approx(1e3 * si / units._e * 1e-12 / 2, rel=1e-6)
    assert heating(atoms, 2 * std, timestep=3.0) == pytest.approx(12 * heating(atoms, std, timestep=1.0))


def test_runs_differ_by_their_momenta_and_frames_and_a_seed_makes_them_again():
    atoms = Atoms("Cu2", [[0.1, 0, 0], [-0.1, 0.1, 0]])
    options = {"runs": 2, "steps": 5, "progress": False, "frames": "random"}
    first, again, other = (dynamics(atoms, Pushed(), seed=seed, **options) for seed in (3, 3, 4))

    def drifts(found):
        return [run.energy_drift for run in found.runs["random"]]

    assert drifts(first) == drifts(again)
    assert drifts(first)[1] == drifts(other)[0]
    assert drifts(first)[0] != drifts(first)[1]


def test_a_report_is_kept_and_read(report, tmp_path):
    read = DynamicsReport.load(report.save(tmp_path / "dynamics.json"))
    assert read.to_dict() == report.to_dict()
    words = str(read)
    for line in ("Cu3: 2 runs of 0.1 ps", "drift of the energy [meV/atom/ps]", "drift of angular momentum [ħ/ps]"):
        assert line in words
    assert "standard errors of the mean over 16 runs" in words
    with pytest.raises(ConfigError, match="quantity is 'energy'"):
        read.mean("plain", "energy")


def test_one_run_tells_no_errors_and_a_crystal_no_angular_momentum():
    found = dynamics(bulk("Cu", cubic=True), EMT(), frames=["plain"], runs=1, steps=3, progress=False)
    assert math.isnan(found.mean("plain", "energy_drift")[1])
    assert found.expected_heating is found.heating_at_end is None
    assert "angular" not in str(found)
    assert "One run tells no errors" in str(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": ["plane"]}, r"frames is \['plane'\]; expected"),
        ({"frames": []}, r"frames is \[\]; expected some of plain, average, random"),
        ({"runs": 0}, "runs is 0"),
        ({"timestep": 0.0}, "timestep is 0.0; expected a number > 0"),
        ({"group": "space"}, "expected reference=CRYSTAL with group='space' only"),
    ],
)
def test_what_cannot_be_run_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        dynamics(bulk("Cu"), EMT(), progress=False, **{"steps": 2, **options})


def test_on_the_command_line(tmp_path, capsys):
    ase.io.write(tmp_path / "copper.xyz", bulk("Cu", cubic=True))
    words = ["atoms", "dynamics", str(tmp_path / "copper.xyz"), "--model", "emt", "--steps", "3", "--runs", "2"]
    words += ["--frames", "plain, random", "--out", str(tmp_path / "found.json")]
    assert cli.main([*words, "--symmetrize", "space"]) == 0
    assert "heating expected at the start" in capsys.readouterr().out
    assert list(DynamicsReport.load(tmp_path / "found.json").runs) == ["plain", "random"]
    for wrong, message in (
        (["--frames", "randomly"], "frames is ['randomly']"),
        (["--symmetrize", "none"], "no random"),
    ):
        assert cli.main([*words, *wrong]) == 1
        assert message in capsys.readouterr().err
