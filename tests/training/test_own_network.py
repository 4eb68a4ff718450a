"""Training a network of one's own, in Python and from the command line, and opening its run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from own_network import MyNet

import jetsym
from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.models import PointNet, registry
from jetsym.training import TrainConfig, dry_run

NAME = "own_network:MyNet"
SMALL = {"epochs": 1, "batch_size": 16, "device": "cpu", "max_particles": 12, "progress": False}
TESTS = Path(__file__).parents[1]


@pytest.fixture
def data(jetclass_file):
    return str(jetclass_file(n=40))


def state(tagger):
    return {name: tensor.clone() for name, tensor in tagger.state_dict().items()}


def test_a_class_is_trained_as_a_tagger_is(data, tmp_path):
    run = jetsym.train(data, tmp_path / "run", model=MyNet, **SMALL, lr=0.01)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"] == NAME
    tagger, initial = run.model(), jetsym.load(tmp_path / "run" / "initial.safetensors")
    assert isinstance(tagger.network, MyNet)
    assert any(not torch.equal(one, state(tagger)[name]) for name, one in state(initial).items())
    again = jetsym.train(data, tmp_path / "again", model=MyNet, **SMALL, lr=0.01).model()
    assert all(torch.equal(one, state(again)[name]) for name, one in state(tagger).items())
    report = jetsym.probe(run.path, limit=4, l_max=1, progress=False)
    assert {"network.first", "network.second", "logits"} <= {*report.layers}


def test_weights_that_a_network_has_are_what_is_trained_on(data, tmp_path):
    network = MyNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    jetsym.train(data, tmp_path / "run", model=network, **SMALL)
    initial = jetsym.load(tmp_path / "run" / "initial.safetensors").network
    assert all(torch.equal(one, before[name]) for name, one in initial.state_dict().items())
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())  # it is not changed
    tagger = PointNet(width=8, blocks=1, heads=2)
    run = jetsym.train(data, tmp_path / "tagger", model=tagger, **SMALL)
    initial = jetsym.load(tmp_path / "tagger" / "initial.safetensors")
    assert initial.config == tagger.config
    assert all(torch.equal(one, state(tagger)[name]) for name, one in state(initial).items())
    for more, words in (
        ({"init": str(run.path)}, "model is a network with weights, and --init is"),
        ({"options": {"width": 8}}, "model has been made already; make it with these"),
    ):
        with pytest.raises(ConfigError, match=words):
            jetsym.train(data, tmp_path / "other", model=tagger, **SMALL, **more)


def test_a_run_goes_on(data, tmp_path):
    options = {**SMALL, "epochs": 2}
    whole = jetsym.train(data, tmp_path / "whole", model=MyNet, **options)

    def ends(moment):
        if moment.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jetsym.train(data, tmp_path / "run", model=MyNet, callbacks=[ends], **options, checkpoint_every=2)
    run = jetsym.train(data, tmp_path / "run", model=MyNet, resume=True, **options)
    assert all(torch.equal(one, state(whole.model())[name]) for name, one in state(run.model()).items())


def test_what_gives_no_logits_is_refused_before_anything_is_written(data, tmp_path):
    class Few(MyNet):
        def forward(self, jets):
            return super().forward(jets)[:, :3]

    with pytest.raises(ConfigError, match=r"gives torch.float32 \(2, 3\) for 2 jets; expected logits \(2, 10\)"):
        jetsym.train(data, tmp_path / "run", model=Few, **SMALL)
    assert not any(tmp_path.glob("run/*"))
    name = f"{Few.__module__}:{Few.__qualname__}"
    with pytest.raises(ConfigError, match=r"expected logits \(2, 10\)"):
        dry_run(TrainConfig(data, model=name, batch_size=16, device="cpu"))
    with pytest.raises(ConfigError, match="expected a name, a torch module, or a class of them"):
        jetsym.train(data, tmp_path / "run", model=print, **SMALL)
    with pytest.raises(ConfigError, match="has no option 'width'"):
        jetsym.train(data, tmp_path / "run", model=MyNet, options={"width": 8}, **SMALL)


def command(*words, folder):
    """Run jetsym in a process of its own, which knows no network yet."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "jetsym.cli", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_command_line(data, tmp_path):
    words = ["--data", data, "--epochs", "1", "--batch_size", "16", "--device", "cpu", "--progress", "false"]
    status, said = command("train", *words, "--out", "run", "--model", NAME, folder=tmp_path)
    assert status == 0, said
    for more in (["evaluate", "run", data], ["predict", "run", data, "--out", "scores.parquet"]):
        status, said = command(*more, folder=tmp_path)
        assert status == 1, said
        assert f"--network {NAME}" in said
        status, said = command(*more, "--network", NAME, folder=tmp_path)
        assert status == 0, said
    probe = ["probe", "run", "--l_max", "1", "--limit", "3", "--progress", "false", "--network", NAME]
    status, said = command(*probe, "--baseline", "initial", folder=tmp_path)
    assert status == 0, said
    assert "network.first" in said

    again = ["train", "--config", "run/config.yaml", "--out", "run", "--resume", "--progress", "false"]
    status, said = command(*again, folder=tmp_path)
    assert status == 1, said
    assert f"model is '{NAME}' in a file of options; expected it on the command line alone" in said
    status, said = command(*again, "--model", NAME, folder=tmp_path)
    assert status == 0, said


def test_a_run_of_another_process_is_not_opened_by_its_name(data, tmp_path, monkeypatch):
    jetsym.train(data, tmp_path / "run", model=MyNet, **SMALL)
    monkeypatch.delitem(registry.MODELS, NAME)
    with pytest.raises(CheckpointError, match="whose code no file brings along"):
        jetsym.load(tmp_path / "run")
    with pytest.raises(ConfigError, match="whose code no file brings along"):
        jetsym.train(data, tmp_path / "run", model=NAME, resume=True, **SMALL)
    assert isinstance(jetsym.load(tmp_path / "run", model=MyNet).network, MyNet)
