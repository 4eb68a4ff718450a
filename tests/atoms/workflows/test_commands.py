"""The workflows as the command line runs them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("phonopy")
pytest.importorskip("spglib")

import ase.io
from ase.build import bulk, molecule

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
    assert cli.main(["phonons", copper, *words, "--out", str(out), "--symmetrize", "none"]) == 0
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


def test_a_molecule_has_no_space_group(tmp_path, capsys):
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    assert cli.main(["relax", str(tmp_path / "water.xyz"), "--model", "emt"]) == 1
    assert "use --symmetrize O3 or none" in capsys.readouterr().err
    words = ["--model", "emt", "--symmetrize", "O3", "--l_max", "1", "--steps", "2"]
    assert cli.main(["relax", str(tmp_path / "water.xyz"), *words]) == 0
    assert "symmetrized" in capsys.readouterr().out
