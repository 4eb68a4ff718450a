"""What ``--inject`` says, and runs that are trained with it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym import atoms, cli
from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.architectures.bias import expect_start
from jetsym.atoms.architectures.inject import Injection, parse_injection
from jetsym.errors import ConfigError

EMBEDDER = "gnn_layers.0.edge_embedder"
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
def run(data, tmp_path_factory):
    """A PET with harmonics to λ = 2 after one epoch, by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "pet"
    words = ["--forces", "forces", "--inject", "harmonics:2", "--epochs", "1", "--batch_size", "4"]
    words += ["--validation", "0.25", "--model", yaml.safe_dump(TINY, default_flow_style=True).strip()]
    words += ["--options", "{final_eval: false}", "--progress", "false"]
    assert cli.main(["atoms", "train", str(data), "--out", str(folder), *words]) == 0
    return folder


@pytest.mark.slow
def test_a_run_learns_to_use_what_is_injected(run, data):
    options = yaml.safe_load((run / "options.yaml").read_text())["architecture"]
    assert (options["name"], options["model"]) == (INJECTED, {**TINY, "inject": "harmonics:2"})
    model = atoms.load(run)
    assert (model.name, model.kinds) == ("InjectedPET", {"energy": "scalar", "forces": "vector"})
    for layer in model.module.backend.gnn_layers:
        assert layer.edge_embedder.mix.weight.shape == (8, 8)
        assert torch.all(layer.edge_embedder.mix.weight != 0)
    report = jetsym.probe(run, str(data), limit=2, layers=[EMBEDDER], outputs={}, l_max=3, progress=False)
    share = dict(zip(map(str, report.irreps), report.fractions[report.layers.index(EMBEDDER)], strict=True))
    floor = report.noise_floor[report.layers.index(EMBEDDER)]
    assert share["(2,+)"] > 1e3 * floor
    assert abs(share["(3,+)"]) < 10 * floor


def test_only_a_pet_takes_it(data, tmp_path):
    for words, reason in [
        ({"architecture": "soap_bpnn", "inject": "invariants"}, "architecture is 'soap_bpnn'; only a 'pet' takes it"),
        ({"inject": "spherical:2"}, "inject is 'spherical:2'; expected harmonics:λ"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            atoms.train(str(data), out=str(tmp_path / "run"), **words)
    assert not (tmp_path / "run").exists()


# --- what becomes of a run ---

#: A process that has metatrain and metatomic, and not this package.
ALONE = """
import importlib.abc, sys

class NotThis(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "jetsym":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotThis())
"""


def alone(code, *words, folder):
    command = [sys.executable, "-W", "ignore", "-c", ALONE + code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.mark.slow
def test_an_export_runs_where_this_package_is_not(run, data, tmp_path):
    code = """
import ase.io
from metatomic_ase import MetatomicCalculator
frame = ase.io.read(sys.argv[2], index=0)
frame.calc = MetatomicCalculator(sys.argv[1])
print(repr(float(frame.get_potential_energy())), repr(float(abs(frame.get_forces()).max())))
assert "jetsym" not in sys.modules
"""
    done = alone(code, str(run / "model.pt"), str(data), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    energy, force = map(float, done.stdout.splitlines()[-1].split())
    frame = atoms.read_frames(data, limit=1)[0]
    frame.calc = atoms.calculator(run)
    assert energy == pytest.approx(frame.get_potential_energy(), abs=1e-4)  # in float32, with its baseline
    assert force == pytest.approx(np.abs(frame.get_forces()).max(), abs=1e-4)


@pytest.mark.slow
def test_metatrain_alone_names_whose_checkpoint_it_is(run, tmp_path):
    code = "from metatrain.__main__ import main\nsys.argv = ['mtt', *sys.argv[1:]]\nmain()"
    done = alone(
        code, "export", str(run / "model.ckpt"), "-o", str(tmp_path / "model.pt"), folder=tmp_path
    )  # it writes error.log
    assert done.returncode != 0
    assert f"Checkpoint architecture '{INJECTED}' not found" in done.stderr + done.stdout


@pytest.mark.slow
def test_a_run_goes_on(run, data, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "model.ckpt").unlink()
    options = {"forces": "forces", "epochs": 2, "batch_size": 4, "validation": 0.25, "model": TINY, "progress": False}
    options["options"] = {"final_eval": False}
    for other in ("harmonics:3", None):
        with pytest.raises(ConfigError, match=rf"inject is {other!r}, but .*model_0.ckpt has harmonics:2.* inject='ha"):
            atoms.train(str(data), out=str(folder), inject=other, resume=True, **options)
    atoms.train(str(data), out=str(folder), inject="harmonics:2", resume=True, **options)
    assert "Restarting training from" in (folder / "output.txt").read_text()
    first, last = (atoms.load(folder / f"model_{epoch}.ckpt", weights="last") for epoch in (0, 1))
    kept, moved = (made.module.backend.gnn_layers[0].edge_embedder.mix.weight for made in (first, last))
    assert not torch.equal(kept, moved)
    history = atoms.over_training(folder, str(data), limit=1, l_max=2, layers=[EMBEDDER], progress=False)
    assert history.steps.tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_is_fine_tuned(run, data, tmp_path, method):
    folder = atoms.finetune(
        str(run), str(data), out=str(tmp_path / "run"), method=method, epochs=1, batch_size=4, progress=False
    )
    before, after = atoms.load(run), atoms.load(folder)
    assert (after.name, after.module.hypers["inject"]) == ("InjectedPET", "harmonics:2")
    weights = [made.module.backend.gnn_layers[0].edge_embedder.mix.weight for made in (before, after)]
    assert torch.equal(*weights) == (method != "full")


@pytest.mark.slow
def test_a_run_is_given_an_uncertainty(run, data, tmp_path):
    folder = atoms.add_uncertainty(str(run), str(data), out=str(tmp_path / "run"), progress=False)
    made = atoms.load(folder)
    assert type(made.module.model).__name__ == "InjectedPET"
    found = atoms.uncertainty(atoms.calculator(folder), atoms.read_frames(data, limit=1)[0])
    assert found > 0


@pytest.mark.slow
def test_both_in_double_precision(data, tmp_path):
    options = {"epochs": 1, "batch_size": 4, "validation": 0.25, "model": TINY, "progress": False, "precision": 64}
    made = atoms.train(
        str(data), out=str(tmp_path / "run"), forces="forces", inject="invariants,harmonics:3", **options
    )
    module = atoms.load(made).module
    assert module.backend.gnn_layers[1].edge_embedder.mix.weight.dtype == torch.float64
    assert module.backend.gnn_layers[1].edge_embedder.mix.weight.shape == (8, 15 + 40)


@pytest.mark.slow
def test_a_model_goes_on_with_its_own_bias(run, data, tmp_path, pet):
    file = tmp_path / "plain.ckpt"
    torch.save(pet.get_checkpoint(), file)
    for start, inject, remedy in [
        (run / "model.ckpt", "invariants", "has harmonics:2, .* give inject='harmonics:2'"),
        (run / "model.ckpt", None, "has harmonics:2, .* give inject='harmonics:2'"),
    ]:
        training = {"finetune": {"method": "full", "read_from": str(start), "config": {}, "inherit_heads": {}}}
        with pytest.raises(ConfigError, match=rf"inject is {inject!r}, but {start} {remedy}"):
            atoms.train(str(data), out=str(tmp_path / "run"), inject=inject, training=training, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_trained_pet_starts_as_it_is(pet, make_injected, data):
    """Bit for bit, before anything is learned of what is injected."""
    frames = atoms.read_frames(data, limit=3)
    given = type(make_injected("harmonics:2")).of_plain(pet, "harmonics:2,invariants")
    assert given.hypers["inject"] == "harmonics:2,invariants"
    assert given.backend.gnn_layers[0].edge_embedder.mix.weight.shape[1] == 8 + 40
    plain, injected = (atoms.Model(module.eval()) for module in (pet, given))
    for one, other in zip(*(made(made.structures(frames)).values() for made in (plain, injected)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_trained_pet_is_given_bias(data, tmp_path, pet):
    file, folder = tmp_path / "plain.ckpt", tmp_path / "run"
    torch.save(pet.get_checkpoint(), file)
    options = {"epochs": 2, "batch_size": 4, "validation": 0.25, "progress": False, "out": str(folder)}
    bias = {"inject": "harmonics:2", "penalty": 3.0}
    atoms.finetune(str(file), str(data), **options, **bias)
    assert "penalty" in (folder / "train.log").read_text()
    found = atoms.load(folder)
    assert (found.name, found.module.hypers["inject"]) == ("InjectedPET", "harmonics:2")
    mixed = found.module.backend.gnn_layers[0].edge_embedder
    assert mixed.mix.weight.abs().max() > 0
    assert 0 < (mixed.weight - pet.backend.gnn_layers[0].edge_embedder.weight).abs().max() < 0.01  # from where it was
    (folder / "model.ckpt").unlink()
    atoms.finetune(str(file), str(data), **(options | {"epochs": 3}), **bias, resume=True)
    assert "Restarting training from" in (folder / "output.txt").read_text()
    again = tmp_path / "again"
    atoms.finetune(str(folder), str(data), **(options | {"epochs": 1, "out": str(again)}))  # and keeps it
    assert atoms.load(again).module.hypers["inject"] == "harmonics:2"


def test_who_cannot_be_given_bias(data, tmp_path, pet):
    file, out = tmp_path / "plain.ckpt", str(tmp_path / "run")
    torch.save(pet.get_checkpoint(), file)
    with pytest.raises(ConfigError, match="but method is 'heads', which trains no embedding; give method='full'"):
        atoms.finetune(str(file), str(data), out=out, method="heads", inject="harmonics:2")
    with pytest.raises(ConfigError, match="targets are scalars .* expected one of vectors or tensors"):
        atoms.finetune(str(file), str(data), out=out, inject="tensor-basis")
    with pytest.raises(ConfigError, match="expected harmonics:λ with λ from 1 to 8"):
        atoms.finetune(str(file), str(data), out=out, inject="harmonics:9")
    content = pet.get_checkpoint()
    content["best_model_state_dict"]["backend.attention.input_linear.lora_A.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match="plain.ckpt was fine-tuned by 'lora'; start from the model before that"):
        expect_start("harmonics:2", file, content, method="full")
    assert not (tmp_path / "run").exists()
