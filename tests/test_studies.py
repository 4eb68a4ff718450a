"""The study of molecules at reduced size; those of jets and copper are run by the figure that shows them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("metatrain")

SCRIPT = Path(__file__).parents[1] / "notebooks" / "studies" / "molecules.py"


def study(*words, **environment):
    """Run the study with these words and variables."""
    command = [sys.executable, "-W", "default", SCRIPT, "--quick", "--seeds", "1", *words]
    surroundings = {name: value for name, value in os.environ.items() if name != "JETSYM_REAL_DATA"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=surroundings)


@pytest.mark.slow
def test_molecules(tmp_path):
    from ase.build import molecule
    from ase.calculators.emt import EMT
    from ase.io import write

    frames = [molecule("CH3CH2OH") for _ in range(20)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.calc = EMT()
        frame.get_forces()
    write(tmp_path / "ethanol.xyz", frames, format="extxyz")
    done = study("--data", tmp_path / "ethanol.xyz", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "out" / "molecules.json").read_text())
    error = {row["variant"]: row for row in found["results"]}
    exact = error["SOAP-BPNN"]
    assert exact["A forces, relative"] < exact["A forces, relative, noise floor"]
    assert error["as they come"]["A forces, relative"] > 0.01
    assert [len(many) for many in found["histories"].values()] == [1, 1, 1]
    assert np.std(matplotlib.image.imread(tmp_path / "out" / "molecules.png")[..., :3]) > 0.02


def test_no_molecules():
    done = study()
    assert done.returncode != 0
    assert done.stderr.strip().startswith("no structures to train on; give --data")
    assert "Traceback" not in done.stderr
