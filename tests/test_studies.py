"""The studies of molecules and of the least bias at reduced size; those of jets and copper are run by a figure."""

import importlib
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


STUDIES = SCRIPT.parent


@pytest.fixture
def at_equal_time(monkeypatch):
    """The module of that name, which the study of the least bias rests on."""
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("at_equal_time")


def test_numbers_are_kept_at_once_and_not_measured_again(at_equal_time, tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"forces": 2.0 * len(calls)}

    def stopped():
        raise KeyboardInterrupt

    def study(**settings):
        return at_equal_time.Kept(tmp_path / "kept.json", {"minutes": 5.0, **settings})

    study().measured("ethanol", "plain", 0, measure)
    with pytest.raises(KeyboardInterrupt):
        study().measured("ethanol", "plain", 1, stopped)
    again = study()
    for seed in (0, 1):
        again.measured("ethanol", "plain", seed, measure)
    again.measured("copper", "plain", 0, measure)
    assert len(calls) == 3
    assert study().table("ethanol").mean("plain", "forces") == (3.0, 1.0)
    assert study().table("copper").rows == [{"variant": "plain", "seed": 0, "forces": 6.0}]
    one, other = study(), study()  # two processes, each at a part of its own
    one.measured("sizes", "plain", 0, measure)
    other.measured("tensors", "plain", 0, measure)
    assert set(study().parts) == {"ethanol", "copper", "sizes", "tensors"}
    with pytest.raises(SystemExit, match="holds results of other settings"):
        study(quick=True)


def test_a_training_takes_the_epochs_of_its_time(at_equal_time, tmp_path):
    """Epochs of 20 ms, of which one waited for a second: 2 s hold a hundred of them."""
    asked = []

    def fit(run, epochs, every):
        asked.append((run, epochs, every))
        run.mkdir(parents=True)
        for epoch in range(epochs):
            file = run / f"model_{epoch}.ckpt"
            file.write_text("")
            os.utime(file, ns=(0, 10**9 * (epoch > 2) + 20_000_000 * epoch))

    taken = at_equal_time.trained(tmp_path / "run-0", tmp_path / "pilot", fit, seconds=2.0)
    assert {name: round(value, 6) for name, value in taken.items()} == {"epochs": 100, "epoch_s": 0.02, "train_s": 2.0}
    assert asked == [(tmp_path / "pilot" / "run", 6, 1), (tmp_path / "run-0" / "run", 100, None)]
    at_equal_time.trained(tmp_path / "run-0", tmp_path / "pilot", fit, seconds=2.0)
    assert len(asked) == 2  # neither is made again
    (tmp_path / "pilot" / "pilot.json").unlink()  # as if it had been stopped
    at_equal_time.trained(tmp_path / "run-1", tmp_path / "pilot", fit, seconds=1.0)
    assert [epochs for _, epochs, _ in asked] == [6, 100, 6, 50]


@pytest.mark.slow
def test_least_bias(tmp_path):
    """All parts at the smallest size, and once more, when nothing is left to do."""
    from ase.build import molecule
    from ase.calculators.emt import EMT
    from ase.io import write

    frames = [molecule("CH3CH2OH") for _ in range(20)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.calc = EMT()
        frame.get_forces()
    write(tmp_path / "ethanol_reduced_100.xyz", frames, format="extxyz")
    for frame in frames:
        r = frame.positions - frame.positions.mean(0)
        frame.calc = None
        frame.info = {"mu": frame.numbers @ r / 9, "alpha": (r.T @ r).ravel()}
    write(tmp_path / "qm7x_reduced_100_CHNO.xyz", frames, format="extxyz")
    command = [sys.executable, STUDIES / "least_bias.py", "--quick", "--seeds", "1", "--data", tmp_path]
    command += ["--out", tmp_path / "out"]
    done, again = (subprocess.run(command, capture_output=True, text=True, timeout=900, check=False) for _ in range(2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert again.returncode == 0, again.stderr[-3000:]
    assert "rotated, meV/Å" in again.stdout
    assert "seed 0:" not in again.stdout
    found = json.loads((tmp_path / "out" / "least_bias.json").read_text())["parts"]
    variants = {part: [row["variant"] for row in rows] for part, rows in found.items()}
    assert variants == {
        "ethanol": ["augmented", "averaged", "harmonics"],
        "drift": ["augmented", "harmonics"],
        "copper": ["harmonics"],
        "tensors": ["tensor basis"],
        "sizes": ["augmented, 10"],
    }
    plain, averaged = found["ethanol"][:2]
    assert 0 < averaged["A forces"] < plain["A forces"]
    assert all(np.isfinite(value) for rows in found.values() for row in rows for value in list(row.values())[2:])
    assert np.std(matplotlib.image.imread(tmp_path / "out" / "least_bias.png")[..., :3]) > 0.02


@pytest.mark.slow
def test_sizes_of_jets(tmp_path):
    command = [sys.executable, STUDIES / "sizes_of_jets.py", "--quick", "--seeds", "1", "--out", tmp_path]
    done, again = (subprocess.run(command, capture_output=True, text=True, timeout=600, check=False) for _ in range(2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "as they come, 500" in again.stdout
    assert "seed 0:" in done.stdout
    assert "seed 0:" not in again.stdout
    rows = json.loads((tmp_path / "sizes_of_jets.json").read_text())["parts"]["jets"]
    assert [(row["variant"], row["jets"]) for row in rows] == [("as they come, 500", 500), ("augmented, 500", 500)]
    assert all(row["A"] > row["A noise floor"] for row in rows)
