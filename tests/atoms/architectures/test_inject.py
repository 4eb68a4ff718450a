"""What ``--inject`` says, and runs that are trained with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

from jetsym import atoms, cli
from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.architectures.inject import Injection, parse_injection
from jetsym.errors import ConfigError

TINY = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1, "num_attention_layers": 1}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (None, Injection()),
        ("harmonics:1", Injection(harmonics=1)),
        ("invariants", Injection(invariants=True)),
        ("invariants, harmonics:8", Injection(harmonics=8, invariants=True)),
    ],
)
def test_what_is_injected(text, meant):
    assert parse_injection(text) == meant
    assert meant.features == (text is not None)


@pytest.mark.parametrize(
    "text",
    ["", "harmonics", "harmonics:0", "harmonics:9", "harmonics:2.5", "Invariants", "invariants:3", "harmonics:2,"],
)
def test_what_cannot_be_injected(text):
    with pytest.raises(ConfigError, match=f"inject is {text!r}; expected harmonics:λ with λ from 1 to 8"):
        parse_injection(text)


def test_nothing_is_injected_twice():
    with pytest.raises(ConfigError, match="which says 'harmonics' twice; say it once"):
        parse_injection("harmonics:2,harmonics:3")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shaken methanol with energies and forces of an effective-medium potential."""
    ase_io = pytest.importorskip("ase.io")
    from ase.build import molecule
    from ase.calculators.emt import EMT

    rng, frames = np.random.default_rng(0), []
    for _ in range(12):
        frame = molecule("CH3OH")
        frame.positions += rng.normal(scale=0.05, size=frame.positions.shape)
        frame.calc = EMT()
        frame.get_forces()
        frames.append(frame)
    file = tmp_path_factory.mktemp("data") / "methanol.xyz"
    ase_io.write(file, frames)
    return file


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A PET with harmonics to λ = 2 after one epoch, by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "pet"
    words = ["--forces", "forces", "--inject", "harmonics:2", "--epochs", "1", "--batch_size", "4"]
    words += ["--validation", "0.25", "--model", yaml.safe_dump(TINY, default_flow_style=True).strip()]
    words += ["--options", "{final_eval: false}", "--progress", "false"]
    assert cli.main(["atoms", "train", str(data), "--out", str(folder), *words]) == 0
    return folder


@pytest.mark.slow
def test_a_run_learns_to_use_what_is_injected(run):
    options = yaml.safe_load((run / "options.yaml").read_text())["architecture"]
    assert (options["name"], options["model"]) == (INJECTED, {**TINY, "inject": "harmonics:2"})
    model = atoms.load(run)
    assert (model.name, model.kinds) == ("InjectedPET", {"energy": "scalar", "forces": "vector"})
    for layer in model.module.backend.gnn_layers:
        assert layer.edge_embedder.mix.weight.shape == (8, 8)
        assert torch.all(layer.edge_embedder.mix.weight != 0)


def test_only_a_pet_takes_it(data, tmp_path):
    for words, reason in [
        ({"architecture": "soap_bpnn", "inject": "invariants"}, "architecture is 'soap_bpnn'; only a 'pet' takes it"),
        ({"inject": "spherical:2"}, "inject is 'spherical:2'; expected harmonics:λ"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            atoms.train(str(data), out=str(tmp_path / "run"), **words)
    assert not (tmp_path / "run").exists()
