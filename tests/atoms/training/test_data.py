"""Labels of every structure: missing, NaN, unreadable, virials, in other units; and folders of refused runs."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("ase")
pytest.importorskip("metatrain")

import ase.io
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from jetsym import atoms, cli
from jetsym.atoms.training.data import read_part, split
from jetsym.atoms.training.train import energy_section
from jetsym.errors import ConfigError, DataError, TrainingError

NAMES = {"energy": "energy", "forces": "forces", "stress": "stress"}


def crystals(n=6):
    """Strained and shaken crystals with energies, forces and stress, some of them larger."""
    made = []
    for seed in range(n):
        one = bulk("Cu", cubic=True) * (1, 1, 1 + seed % 2)
        one.rattle(0.1, seed=seed)
        one.set_cell(one.cell.array * (1 + 0.02 * (seed - 2)), scale_atoms=True)
        one.calc = EMT()
        results = {name: one.calc.get_property(name, one) for name in NAMES}
        one.calc = SinglePointCalculator(one, **results)
        made.append(one)
    return made


def molecule():
    made = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    made.calc = SinglePointCalculator(made, energy=1.0, forces=np.zeros((2, 3)))
    return made


def changed(frames, places, **results):
    """Frames whose results are others in some places; None takes one away."""
    for place in places:
        own = {**frames[place].calc.results, **results}
        own = {name: value for name, value in own.items() if value is not None}
        frames[place].calc = SinglePointCalculator(frames[place], **own)
    return frames


def renamed(frames, **functions):
    """Frames that say something under names of their own; forces go to the atoms."""
    for frame in frames:
        for name, of in functions.items():
            values = np.asarray(of(frame))
            (frame.arrays if values.ndim == 2 and len(values) == len(frame) != 3 else frame.info)[name] = values
    return frames


def virial(frame):
    return -frame.get_volume() * frame.get_stress(voigt=False)


@pytest.fixture
def read(tmp_path):
    """``read(frames, allow_missing=, suffix=, energy=, forces=, …)`` of a file of them."""

    def make(frames, *, allow_missing=False, suffix=".xyz", targets=None, unit="eV", **names):
        file = tmp_path / f"data{suffix}"
        ase.io.write(file, frames, **({"format": "extxyz"} if suffix == ".xyz" else {}))
        keys = {**NAMES, **names}
        section = energy_section(keys["energy"], unit, keys["forces"], keys["stress"], keys.get("virial"))
        return read_part(str(file), targets or {"energy": section}, "angstrom", allow_missing=allow_missing)

    return make


@pytest.mark.parametrize("suffix", [".xyz", ".traj", ".json", ".db"])
def test_all_there_is_said_in_numbers_and_units(read, suffix):
    frames = crystals()
    part = read(frames, suffix=suffix, unit="eV")
    assert not part.filled
    size = np.sqrt(np.mean(np.concatenate([frame.calc.results["forces"].ravel() ** 2 for frame in frames])))
    assert "6 structures; energy of 6, root mean square" in part.words
    assert f"forces of 6, root mean square {size:.4g} eV/Å; stress of 6, root mean square" in part.words
    assert part.words.endswith("eV/Å³")


@pytest.mark.parametrize("value", [None, np.nan])
@pytest.mark.parametrize(("name", "places"), [("forces", [3]), ("stress", [0, 5]), ("forces", [1, 2, 4])])
@pytest.mark.parametrize("suffix", [".xyz", ".traj"])
def test_what_some_lack_is_named_or_masked(read, value, name, places, suffix):
    frames = crystals()
    for place in places:
        shape = (len(frames[place]), 3) if name == "forces" else (6,)
        changed(frames, [place], **{name: None if value is None else np.full(shape, value)})
    listed = ", ".join(f"{place} ({frames[place].get_chemical_formula()})" for place in places)
    message = f"{name} is '{name}', which {len(places)} of 6 structures of .* lack, or have as NaN: {listed}"
    with pytest.raises(DataError, match=re.escape(message).replace(r"\.\*", ".*")):
        read(frames, suffix=suffix)
    part = read(frames, suffix=suffix, allow_missing=True)
    assert f"{name} of {6 - len(places)} ({len(places)} with gaps, masked)" in part.words


def test_the_copy_has_nan_where_something_is_missing_and_the_rest_as_it_was(read, tmp_path):
    frames = changed([*crystals(), molecule()], [1], forces=None)
    part = read(frames, allow_missing=True)
    part.write_copy(tmp_path / "copy.xyz")
    assert part.section["systems"]["read_from"] == str((tmp_path / "copy.xyz").resolve())
    from metatrain.utils.data.readers.ase import _read_energy_ase, _read_forces_ase, _read_stress_ase

    file = str(tmp_path / "copy.xyz")
    energies, forces, stresses = _read_energy_ase(file, "energy"), _read_forces_ase(file), _read_stress_ase(file)
    assert [bool(torch.isnan(block.values).all()) for block in forces] == [place == 1 for place in range(7)]
    assert [bool(torch.isnan(block.values).all()) for block in stresses] == [place == 6 for place in range(7)]
    for place in (0, 2, 5):
        results = frames[place].calc.results
        assert float(energies[place].values) == pytest.approx(results["energy"])
        np.testing.assert_allclose(-forces[place].values[..., 0], results["forces"], atol=1e-8)
        full = frames[place].get_stress(voigt=False) * frames[place].get_volume()
        np.testing.assert_allclose(stresses[place].values[0, ..., 0], full, atol=1e-6)


def test_what_is_missing_is_nan_in_the_shape_of_that_very_label(read, tmp_path):
    frames = renamed(crystals()[:4], mu=lambda frame: np.ones(3)) + changed(crystals()[4:], [0], forces=None)
    dipole = {"mtt::dipole": {"key": "mu", "quantity": "dipole", "type": {"cartesian": {"rank": 1}}}}
    targets = {"energy": energy_section("energy", "eV", "forces", "stress", None), **dipole}
    read([*frames, molecule()], targets=targets, allow_missing=True).write_copy(tmp_path / "copy.xyz")
    copies = ase.io.read(tmp_path / "copy.xyz", ":")
    assert [np.isnan(one.info["mu"]).tolist() for one in copies] == [[place > 3] * 3 for place in range(7)]
    assert [one.get_forces().shape for one in copies] == [(len(one), 3) for one in [*frames, molecule()]]
    assert [bool(np.isnan(one.get_forces()).all()) for one in copies] == [place == 4 for place in range(7)]
    assert [bool(np.isnan(one.get_stress()).all()) for one in copies] == [place == 6 for place in range(7)]


def test_molecules_among_crystals_have_no_stress_and_an_energy_is_never_masked(read):
    with pytest.raises(DataError, match=r"lack, or have as NaN: 6 \(Cu2\); add it"):
        read([*crystals(), molecule()])
    labelled = changed([*crystals(), molecule()], [6], stress=np.zeros(6))
    with pytest.raises(DataError, match=r"6 \(Cu2\) \(1 of them have no cell, and so no stress\)"):
        read(labelled)
    for value in (None, np.nan):
        with pytest.raises(DataError, match=r"energy is 'energy', which 1 of 6 .* 2 \(Cu4\); add it, or leave"):
            read(changed(crystals(), [2], energy=value), allow_missing=True)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (lambda frame: frame.get_stress(voigt=True), "six numbers, whose order is not said"),
        (lambda frame: np.zeros(4), r"shape \(4,\) in place of \(3, 3\)"),
        (lambda frame: np.full((3, 3), np.inf), "it is infinite"),
        (lambda frame: "converged", "'converged' is no number"),
    ],
)
def test_a_stress_that_cannot_be_read(read, values, reason):
    frames = renamed(crystals(), dft_stress=values)
    for allow_missing in (False, True):
        with pytest.raises(DataError, match=f"stress is 'dft_stress', which cannot be read in 6 of 6 .*: {reason}"):
            read(frames, stress="dft_stress", allow_missing=allow_missing)


def test_other_names_and_forms(read):
    frames = renamed(
        crystals(),
        REF_energy=lambda frame: frame.calc.results["energy"],
        ref_forces=lambda frame: frame.calc.results["forces"],
        dft_stress=lambda frame: frame.get_stress(voigt=False),
        flat_stress=lambda frame: frame.get_stress(voigt=False).ravel(),
        dft_virials=virial,
    )
    found = read(frames, energy="REF_energy", forces="ref_forces", stress="dft_stress")
    assert "energy 'REF_energy' of 6" in found.words
    assert not found.filled
    assert "stress 'flat_stress' of 6" in read(frames, stress="flat_stress").words
    assert "virial 'dft_virials' of 6" in read(frames, stress=None, virial="dft_virials").words
    with pytest.raises(DataError, match="does not have; its structures have .*'REF_energy' may be meant"):
        read(frames, energy="Energy")
    with pytest.raises(DataError, match="forces is 'force', which .* give forces=null to train without"):
        read(frames, forces="force")
    free = changed(crystals(), range(6), free_energy=-1.0)
    assert read(free, energy="free_energy", suffix=".traj").filled  # which metatrain does not look for


VIRIALS = {
    "a name": (lambda frame: frame.get_stress(voigt=False), "some_virial", True, "by its name a virial"),
    "the stress beside it": (virial, "tensor", True, "which equals the virial of all structures that have both"),
    "its size": (virial, "tensor", False, "which is too large for stresses in eV/Å³"),
    "GPa": (lambda frame: frame.get_stress(voigt=False) / units.GPa, "tensor", False, "if they are in GPa or kbar"),
    "the other sign": (lambda frame: -frame.get_stress(voigt=False), "tensor", True, "the other sign of the stress"),
}


@pytest.mark.parametrize("case", VIRIALS)
def test_a_virial_is_no_stress(read, case):
    values, name, beside, message = VIRIALS[case]
    frames = renamed(crystals(), **{name: values})
    with pytest.raises(DataError, match=message):
        read(frames if beside else changed(frames, range(6), stress=None), stress=name)


BESIDE = {
    "infinite": lambda frame: np.full((3, 3), np.inf),
    "six numbers": lambda frame: frame.get_stress(voigt=True),
    "a word": lambda frame: "converged",
}


@pytest.mark.parametrize("values", BESIDE.values(), ids=BESIDE)
def test_a_stress_beside_it_that_cannot_be_read_says_nothing(read, values):
    frames = renamed(crystals(), tensor=lambda frame: frame.get_stress(voigt=False), w=virial, stress=values)
    bystanders = changed(frames, range(6), stress=None)
    found = read(bystanders, suffix=".traj", stress="tensor")
    assert "stress 'tensor' of 6" in found.words
    assert np.shape(found.frames[0].info["stress"]) == np.shape(values(crystals()[0]))  # which the file does hold
    assert "virial 'w' of 6" in read(bystanders, suffix=".traj", stress=None, virial="w").words
    mixed = [*renamed(crystals(), w=virial)[:3], *bystanders[3:]]
    with pytest.raises(DataError, match="which equals the virial of all structures that have both"):
        read(mixed, suffix=".traj", stress="w")


def test_a_stress_with_a_gap_is_missing_and_not_too_large(read):
    frames = crystals()
    frames[2].calc.results["stress"][3] = np.nan
    with pytest.raises(DataError, match=r"stress .*1 of 6"):
        read(frames)
    assert "1 with gaps" in str(read(frames, allow_missing=True).words)


def test_a_stress_is_no_virial(read):
    frames = renamed(crystals(), tensor=lambda frame: frame.get_stress(voigt=False))
    with pytest.raises(DataError, match="virial is 'tensor', which equals the stress of all structures"):
        read(frames, stress=None, virial="tensor")
    with pytest.raises(ConfigError, match="stress is 'stress' and virial is 'tensor', which are the same"):
        energy_section("energy", "eV", None, "stress", "tensor")
    honest = renamed(changed(crystals(), range(6), stress=None), tensor=lambda frame: np.diag([0.2, 0.1, -0.3]))
    assert "stress 'tensor' of 6" in read(honest, stress="tensor").words


def test_units(read):
    k = units.kcal / units.mol
    frames = renamed(
        changed(crystals(), range(6), stress=None),
        e=lambda frame: frame.calc.results["energy"] / k,
        s=lambda frame: np.eye(3) * 0.3 / k,
    )
    assert "stress 's' of 6, root mean square" in read(frames, energy="e", stress="s", unit="kcal/mol").words
    assert "kcal/mol/Å³" in read(frames, energy="e", stress="s", unit="kcal/mol").words
    with pytest.raises(DataError, match="too large for stresses in eV/Å³"):
        read(frames, energy="e", stress="s")
    with pytest.raises(ConfigError, match=r"unit is 'kcal', 2.6e\+22 eV, in which .*; 'kcal/mol' may be meant"):
        read(frames, energy="e", stress="s", unit="kcal")
    with pytest.raises(ConfigError, match="unit is 'eVV'; expected one of energies, such as eV"):
        read(frames, energy="e", stress="s", unit="eVV")


def test_sections_of_metatrain_are_looked_at_as_well(read):
    frames = changed(crystals(), [4], stress=None)
    with pytest.raises(DataError, match=r"stress is 'stress', which 1 of 6 structures"):
        read(frames, targets={"energy": {"key": "energy", "unit": "eV"}})
    left_out = read(
        crystals(), targets={"energy": {"key": "energy", "unit": "eV", "forces": False, "stress": "off.xyz"}}
    )
    assert left_out.section["targets"]["energy"]["forces"] is False
    bare = changed(crystals(), range(6), stress=None, forces=None)
    assert read(bare, targets={"energy": {"key": "energy"}}).section["targets"]["energy"] == {
        "key": "energy",
        "forces": False,
        "stress": False,
    }
    dipole = {"mtt::dipole": {"key": "mu", "quantity": "dipole", "type": {"cartesian": {"rank": 1}}}}
    some = renamed(crystals()[:4], mu=lambda frame: np.ones(3)) + crystals()[4:]
    with pytest.raises(DataError, match="mtt::dipole is 'mu', which 2 of 6 structures"):
        read(some, targets=dipole)
    assert "mtt::dipole 'mu' of 4 (2 with gaps, masked)" in read(some, targets=dipole, allow_missing=True).words
    scalar = {"mtt::gap": {"key": "gap", "quantity": "gap", "type": "scalar"}}
    gaps = renamed(crystals()[:4], gap=lambda frame: 1.0) + crystals()[4:]
    with pytest.raises(DataError, match="add it, or leave these structures out"):  # it has a composition baseline
        read(gaps, targets=scalar, allow_missing=True)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Atoms(), "structure 6 of .* has no atoms"),
        (Atoms("Cu", [[np.nan, 0, 0]]), "structure 6 of .* not finite"),
        (Atoms("Cu", cell=[[2, 0, 0], [4, 0, 0], [0, 0, 2]], pbc=True), r"structure 6 of .* \(Cu\) is periodic along"),
    ],
)
def test_structures_that_cannot_be_used(read, frame, message):
    frame.calc = SinglePointCalculator(frame, energy=0.0, forces=np.zeros((len(frame), 3)))
    with pytest.raises(DataError, match=message):
        read([*crystals(), frame])


def test_few_structures():
    assert split(4, 0.1, 0.0)[1] == {"training": 3, "validation": 1, "test": 0}
    assert split(3, 0.1, 0.1)[1] == {"training": 1, "validation": 1, "test": 1}
    assert split(100, 0.1, 0.2)[1] == {"training": 70, "validation": 10, "test": 20}
    with pytest.raises(ConfigError, match="1 structure cannot be split by validation=0.1"):
        split(1, 0.1, 0.0)
    from metatrain.utils.data.dataset import _train_test_random_split

    for n in (2, 3, 5, 7, 9, 10, 40):  # as metatrain takes the fractions
        fractions, numbers = split(n, 0.1, 0.1 if n > 2 else 0.0)
        left = [0] * n
        share = 1 - fractions["validation"]
        left, held = _train_test_random_split(left, share, fractions["validation"])
        assert (len(left) - numbers["test"], len(held)) == (numbers["training"], numbers["validation"])
        if fractions["test"]:
            left, held = _train_test_random_split(left, share - fractions["test"], fractions["test"])
            assert (len(left), len(held)) == (numbers["training"], numbers["test"])


# --- folders and what is said ---

STUB = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "indices").mkdir()
for name in ("train.csv", "train.log", "options_restart.yaml", "scaler.ckpt", "new.txt"):
    (folder / name).write_text("of the new run")
print(*{lines}, sep=chr(10), flush=True)
if {status}:
    raise SystemExit({status})
(folder / "model.ckpt").write_text("")
"""
EPOCH = "[x][INFO] - Epoch: {} | learning rate: 1e-4 | training loss: 2.5 | validation loss: 3.5"
EPOCH += " | validation forces RMSE: 7 meV/A"


def stub(monkeypatch, *lines, status=0):
    monkeypatch.setattr(
        "jetsym.atoms.training.process.RUNNER", (sys.executable, "-c", STUB.format(lines=lines, status=status))
    )


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.xyz"
    ase.io.write(file, crystals(), format="extxyz")
    return str(file)


def content_of(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def test_a_refused_run_leaves_no_folder(data, tmp_path, monkeypatch):
    out = tmp_path / "several" / "folders" / "run"
    stub(monkeypatch, "training stopped: no such option", status=1)
    with pytest.raises(TrainingError, match="^metatrain stopped: no such option$"):
        atoms.train(data, out=str(out), progress=False)
    stub(monkeypatch, "[x][WARNING] - No stress found in section 'energy'.")
    with pytest.raises(TrainingError, match="metatrain finds no stress for 'energy', and would train without"):
        atoms.train(data, out=str(out), stress="stress", progress=False)
    for options in ({"forces": "force"}, {"unit": "eVV"}, {"validation": 1.5}, {"virial": "v", "stress": "stress"}):
        with pytest.raises((ConfigError, DataError)):
            atoms.train(data, out=str(out), progress=False, **options)
    assert not (tmp_path / "several").exists()


def test_one_that_had_begun_is_kept(data, tmp_path, monkeypatch):
    stub(monkeypatch, EPOCH.format(0), "training stopped: out of memory", status=1)
    with pytest.raises(TrainingError, match=r"out of memory \(all it said is in .*output.txt\)"):
        atoms.train(data, out=str(tmp_path / "run"), progress=False)
    assert (tmp_path / "run" / "train.csv").is_file()


@pytest.mark.parametrize("failure", ["metatrain", "checkpoint", "data"])
def test_a_refused_resume_leaves_the_folder_as_it_was(data, tmp_path, monkeypatch, pet, failure):
    folder = tmp_path / "run"
    (folder / "indices").mkdir(parents=True)
    (folder / "indices" / "training.txt").write_text("0\n1\n")
    for name in ("train.yaml", "options.yaml", "train.csv", "output.txt", "train.log", "mine.txt", ".hidden"):
        (folder / name).write_text(f"{name} of the old run")
    last = {"architecture_name": "pet", "model_data": print} if failure == "checkpoint" else pet.get_checkpoint()
    torch.save(last, folder / "model_3.ckpt")
    before = content_of(folder)
    stub(monkeypatch, "training stopped: mismatch in d_pet", status=1)
    options = {"forces": "nothing"} if failure == "data" else {"model": {"d_pet": 99}}
    with pytest.raises(Exception, match="mismatch|is not opened|does not have"):
        atoms.train(data, out=str(folder), resume=True, progress=False, **options)
    assert content_of(folder) == before
    if failure == "metatrain":
        stub(monkeypatch, EPOCH.format(4))
        atoms.train(data, out=str(folder), resume=True, progress=False)
        assert yaml.safe_load((folder / "train.yaml").read_text())["data"] == data


def test_losses_are_said_where_there_is_no_terminal_and_numbers_in_any_case(data, tmp_path, monkeypatch, capfd):
    stub(monkeypatch, *(EPOCH.format(epoch) for epoch in range(40)))
    words = ["atoms", "train", data, "--forces", "forces", "--epochs", "40"]
    assert cli.main([*words, "--out", str(tmp_path / "a")]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith("data.xyz: 6 structures; energy of 6, root mean square")
    assert out.splitlines()[1] == "5 for training, 1 for validation, in batches of 5"
    assert out.splitlines()[-1] == str(tmp_path / "a")
    said = [line for line in err.splitlines() if line.startswith("epoch")]
    assert said[0] == "epoch 0 (1 of 40): training loss 2.5, validation loss 3.5, validation forces RMSE 7 meV/A"
    assert (said[-1].split(":")[0], len(said)) == ("epoch 39 (40 of 40)", 21)
    assert cli.main([*words, "--out", str(tmp_path / "b"), "--progress", "false"]) == 0
    out, err = capfd.readouterr()
    assert "6 structures" in out
    assert "epoch" not in err


def test_missing_labels_on_the_command_line(tmp_path, monkeypatch, capsys):
    file = tmp_path / "gaps.xyz"
    ase.io.write(file, changed(crystals(), [2], forces=None), format="extxyz")
    stub(monkeypatch, EPOCH.format(0))
    words = ["atoms", "train", str(file), "--forces", "forces", "--out", str(tmp_path / "run"), "--progress", "false"]
    assert cli.main(words) == 1
    assert "2 (Cu4)" in capsys.readouterr().err
    assert cli.main([*words, "--allow_missing", "true"]) == 0
    assert "forces of 5 (1 with gaps, masked)" in capsys.readouterr().out
    made = yaml.safe_load((tmp_path / "run" / "options.yaml").read_text())
    assert made["training_set"]["systems"]["read_from"] == str((tmp_path / "run" / "training_set.xyz").resolve())
    assert yaml.safe_load((tmp_path / "run" / "train.yaml").read_text())["data"] == str(file)
