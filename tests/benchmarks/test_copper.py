"""A PET trained on copper: its bands split, and with its symmetry restored they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("metatrain")
pytest.importorskip("phonopy")

from jetsym.benchmarks.__main__ import main
from jetsym.benchmarks.copper import copper_frames


def test_frames_differ_and_are_the_same_again():
    first, again, other = copper_frames(4), copper_frames(4), copper_frames(4, seed=1)
    assert [len(frame) for frame in first] == [4, 8, 4, 8]
    np.testing.assert_array_equal(first[3].positions, again[3].positions)
    assert np.abs(first[3].positions - other[3].positions).max() > 0.01
    assert first[0].get_forces().shape == (4, 3)
    assert first[0].get_stress().shape == (6,)


@pytest.mark.slow
def test_symmetrisation_restores_degeneracies_of_a_trained_pet(tmp_path, capsys):
    words = ["--structures", "20", "--epochs", "2", "--md_steps", "2", "--l_max", "1", "--fmax", "0.05"]
    words += ["--copies", "1"]  # the degeneracies are those of the crystal, in a supercell of any size
    assert main(["copper", "--out", str(tmp_path), *words, "--progress", "false"]) == 0
    assert "bands that symmetry makes degenerate" in capsys.readouterr().out
    runs = json.loads((tmp_path / "phonons-space.json").read_text())["runs"]
    worst = {name: max(item["splitting_THz"] for item in run["splittings"]) for name, run in runs.items()}
    assert worst["plain"] > 1e-4
    assert worst["symmetrized"] < 1e-9
    relaxed = json.loads((tmp_path / "relax.json").read_text())["runs"]
    assert relaxed["symmetrized"]["groups"]["1e-05"] == "Fm-3m (225)"
    assert relaxed["plain"]["groups"]["1e-05"] != "Fm-3m (225)"
    assert relaxed["symmetrized"]["spurious"]["torque"] < 1e-9
