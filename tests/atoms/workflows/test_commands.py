"""The workflows as the command line runs them."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
pytest.importorskip("phonopy")
pytest.importorskip("spglib")

import ase.io
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from jetsym import cli


@pytest.fixture
def copper(tmp_path):
    ase.io.write(tmp_path / "copper.xyz", [bulk("Cu", a=3.59), bulk("Cu", a=3.65, cubic=True)])
    return str(tmp_path / "copper.xyz")


def test_relax(copper, tmp_path, capsys):
    out = tmp_path / "relaxed.json"
    words = ["--model", "emt", "--index", "1", "--cell", "--rattle", "0.02", "--out", str(out), "--optimizer", "BFGS"]
    words += ["--fmax", "0.02"]
    assert cli.main(["relax", copper, *words]) == 0
    said = capsys.readouterr().out
    assert "symmetrized" in said
    assert "was P1 (1)" in said
    stored = json.loads(out.read_text())
    assert stored["meta"]["cell"]
    for name in ("plain", "symmetrized"):
        final = ase.io.read(tmp_path / f"relaxed-{name}.xyz")
        np.testing.assert_allclose(final.cell.lengths(), 3.59, atol=0.02)
    assert (tmp_path / "relaxed.png").is_file()


def test_phonons(copper, tmp_path, capsys):
    out = tmp_path / "phonons.json"
    words = ["--model", "emt", "--supercell", "[3,3,3]", "--mesh", "8", "--path", "GX", "--points", "5"]
    assert cli.main(["phonons", copper, *words, "--out", str(out), "--symmetrize", "None"]) == 0
    assert "splitting at X, bands 1, 2 [THz]" in capsys.readouterr().out
    stored = json.loads(out.read_text())
    assert list(stored["runs"]) == ["plain"]
    assert (tmp_path / "phonons.png").is_file()


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("relax", ["--model", "emt", "--index", "2"], "--index is 2, but .* holds 2 structures"),
        ("relax", ["--model", "emt", "--out", "x.txt"], "--out is 'x.txt'; expected a name that ends in .json"),
        ("relax", ["--model", "nothing"], "model is 'nothing'; expected a .ckpt or .pt file"),
        ("phonons", ["--model", "emt", "--displacement", "-1"], "displacement is -1"),
    ],
)
def test_mistakes_end_in_one_line(copper, capsys, command, words, message):
    assert cli.main([command, copper, *words]) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert re.search(message, said)


def test_a_calculator_in_place_of_a_model(copper, tmp_path, capsys):
    """The same numbers as of the model of that name; its code runs where the command line alone names it."""
    emt = ["--calculator", "ase.calculators.emt:EMT"]
    words = ["--index", "1", "--cell", "--symmetrize", "none", "--rattle", "0.05", "--progress", "false", "--out"]
    for name, model in (("model", ["--model", "emt"]), ("calculator", emt)):
        assert cli.main(["relax", copper, *model, *words, str(tmp_path / f"{name}.json")]) == 0
    by_model, own = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("model", "calculator"))
    assert own["runs"]["plain"]["energies"] == by_model["runs"]["plain"]["energies"]
    assert (tmp_path / "calculator-plain.xyz").is_file()
    words = ["--supercell", "[2,2,2]", "--mesh", "[4, 4, 3]", "--path", "GX", "--points", "3", "--progress", "false"]
    assert cli.main(["phonons", copper, *emt, *words, "--out", str(tmp_path / "phonons.json")]) == 0
    stored = json.loads((tmp_path / "phonons.json").read_text())
    assert stored["meta"]["mesh"] == [4, 4, 3]
    assert stored["runs"]["plain"]["modes"] == 3 * 4 * 4 * 3
    (tmp_path / "options.yaml").write_text("calculator: ase.calculators.emt:EMT")
    capsys.readouterr()
    assert cli.main(["relax", copper, "--calculator", "emt", "--config", str(tmp_path / "options.yaml")]) == 1
    assert "calculator is 'ase.calculators.emt:EMT' in a file of options" in capsys.readouterr().err
    assert cli.main(["relax", copper, "--calculator", "emt"]) == 1
    assert "--calculator is 'emt'; expected module:factory" in capsys.readouterr().err


def test_dynamics_and_errors_by_a_calculator(copper, tmp_path, capsys):
    """The same numbers as of the model of that name."""
    emt, quiet = ["--calculator", "ase.calculators.emt:EMT"], ["--progress", "false", "--out"]
    words = ["--index", "1", "--frames", "plain,random", "--runs", "2", "--steps", "3", *quiet]
    kept = {}
    for name, model in (("model", ["--model", "emt"]), ("calculator", emt)):
        assert cli.main(["atoms", "dynamics", copper, *model, *words, str(tmp_path / f"{name}.json")]) == 0
        kept[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(kept["model"]["runs"]["random"]) == 2
    own, theirs = (
        {k: [run["energy_drift"] for run in runs] for k, runs in one["runs"].items()} for one in kept.values()
    )
    assert own == theirs
    frames = ase.io.read(copper, ":")
    for frame in frames:
        frame.calc = EMT()
        frame.calc = SinglePointCalculator(frame, energy=frame.get_potential_energy() - 0.1 * len(frame))
    ase.io.write(tmp_path / "known.xyz", frames)
    data = [str(tmp_path / "known.xyz"), "--turned", "1", *quiet]
    for name, model in (("model", ["emt"]), ("calculator", emt)):
        assert cli.main(["atoms", "evaluate", *model, *data, str(tmp_path / f"{name}.json")]) == 0
        kept[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert kept["calculator"]["scores"] == kept["model"]["scores"]
    assert kept["calculator"]["scores"]["all"]["energy_mae"] == pytest.approx(100)
    capsys.readouterr()
    assert cli.main(["atoms", "evaluate", str(tmp_path / "none.xyz"), *emt]) == 1
    assert "none.xyz" in capsys.readouterr().err
    (tmp_path / "options.yaml").write_text("calculator: ase.calculators.emt:EMT")
    for words in (["evaluate", data[0]], ["dynamics", copper]):
        words = ["atoms", *words, "--calculator", "emt", "--config", str(tmp_path / "options.yaml")]
        assert cli.main(words) == 1
        assert "calculator is 'ase.calculators.emt:EMT' in a file of options" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["relax", "phonons", "atoms dynamics", "atoms evaluate"])
def test_where_no_model_is_given_the_calculator_is_named(copper, capsys, command):
    assert cli.main([*command.split(), copper]) == 2
    said = capsys.readouterr().err
    assert re.search(
        f"(--model|DATA) is missing; expected jetsym {command} .*, or jetsym {command} --calculator …", said
    )
    assert cli.main([*command.split(), "--calculator", "ase.calculators.emt:EMT"]) == 2
    said = capsys.readouterr().err
    assert "is missing" in said
    assert ", or" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--mesh 10 10 10",
            r"'10' belongs to no option, as --mesh takes one value, a number .* several as '\[10, 10, 10\]'",
        ),
        ("--supercell 2 2 2", r"--supercell takes one value, .* several as '\[2, 2, 2\]'"),
        ("--points 5 6", "'6' belongs to no option, as --points takes one value, an integer;"),
        ("--refine 4", "'4' belongs to no option; expected"),
    ],
)
def test_several_values_of_an_option_are_written_as_a_list(copper, capsys, words, message):
    assert cli.main(["phonons", copper, "--model", "emt", *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.fixture
def wrong(make_model, tmp_path, monkeypatch):
    """A folder with a model of H, C, N, O and Cu, an export, and files of structures with something amiss; offline."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    torch.save(make_model(dtype=torch.float32).get_checkpoint(), "model.ckpt")
    (tmp_path / "model.pt").write_text("no export")
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "broken.xyz").write_text("3\n\nH 0 0\n")
    for symbol in ("Cu", "Au", "Fe"):
        crystal = bulk(symbol)
        results = {"energy": 0.0, "forces": np.zeros((1, 3))}
        crystal.calc = SinglePointCalculator(crystal, **results)
        ase.io.write(f"{symbol.lower()}.xyz", [crystal] * 3)

    def unreachable(*arguments, **options):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr("jetsym.hub.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("atoms train none.xyz --out new", "there is no file .*none.xyz"),
        ("atoms train empty.xyz --out new --forces forces", "empty.xyz holds no structures"),
        ("atoms train broken.xyz --out new --forces forces", "broken.xyz cannot be read as extxyz"),
        (
            "atoms train cu.xyz --out new --forces force",
            "forces is 'force', which .* have energy, forces .*forces=null",
        ),
        ("atoms train cu.xyz --out new --stress stress", "stress is 'stress', which .*cu.xyz does not have"),
        ("atoms train cu.xyz --out new --epochs 0", "epochs is 0"),
        ("atoms finetune model.pt cu.xyz --out new", "model.pt is an export, which cannot be trained any further"),
        ("atoms finetune model.ckpt cu.xyz --out new --forces F", "forces is 'F', which .*cu.xyz does not have"),
        ("atoms finetune model.ckpt none.xyz --out new", "there is no file .*none.xyz"),
        ("atoms finetune model.ckpt cu.xyz --out new --method loar", "method"),
        ("atoms finetune pet-mad-s-v1.5.0 cu.xyz --out new", "pet-mad-s-v1.5.0.ckpt is not in the cache .*gaierror"),
        ("atoms uncertainty model.pt cu.xyz --out new", "model.pt is an export"),
        ("atoms evaluate pet-mads cu.xyz", "model is 'pet-mads'; expected a .ckpt or .pt file of metatrain"),
        ("atoms evaluate model.ckpt au.xyz", "3 of 3 structures hold elements that the model does not know: Au"),
        ("atoms evaluate model.ckpt empty.xyz", "there are no structures"),
        ("atoms evaluate model.ckpt cu.xyz --device nonsense", "device is 'nonsense', where .* invalid device string"),
        ("atoms evaluate model.ckpt cu.xyz --variant pbe", "variant is 'pbe', but the energies of .* are 'energy'"),
        ("atoms spectra none --inputs cu.xyz", "none"),
        ("relax cu.xyz --model emt --symmetrize O3 --l_max -1", "l_max is -1"),
        (
            "relax cu.xyz --model emt --symmetrize C4",
            "--symmetrize is 'C4'; expected one of 'none', 'space', 'O3', 'SO3'",
        ),
        ("relax au.xyz --model model.ckpt", "au.xyz, Au: .*does not support the atomic type '79'"),
        ("relax fe.xyz --model emt", "fe.xyz, Fe: No EMT-potential for Fe"),
        ("relax empty.xyz --model emt", "empty.xyz holds 0 structures"),
        ("phonons cu.xyz --model emt --path QQ", "path has no special point at 'QQ'"),
        ("probe model.ckpt --inputs au.xyz", r"structure 0 \(Au\) holds atomic numbers \[79\]"),
        ("probe model.ckpt --inputs empty.xyz", "there are no structures"),
    ],
)
def test_wrong_command_lines_end_in_one_line(wrong, capsys, words, message):
    assert cli.main(words.split()) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert said.startswith("jetsym ")
    assert re.search(message, said)
    assert not Path("new").exists()


def test_a_molecule_has_no_space_group(tmp_path, capsys):
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    assert cli.main(["relax", str(tmp_path / "water.xyz"), "--model", "emt"]) == 1
    assert "use --symmetrize O3 or none" in capsys.readouterr().err
    words = ["--model", "emt", "--symmetrize", "o3", "--l_max", "1", "--steps", "2"]
    assert cli.main(["relax", str(tmp_path / "water.xyz"), *words]) == 0
    assert "symmetrized" in capsys.readouterr().out
