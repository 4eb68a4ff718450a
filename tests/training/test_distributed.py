"""Two processes train as one does, and only the first of them writes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from jetsym.cli import main
from jetsym.errors import ConfigError, TrainingError
from jetsym.jets import checkpoint
from jetsym.training.batches import batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.engine import PATIENCE, _patience, _told_of_others, make_fabric
from jetsym.training.loop import train

OPTIONS = {
    "epochs": 2,
    "batch_size": 17,
    "max_particles": 20,
    "options": {"width": 16, "blocks": 2, "heads": 2},
    "ema": 0.9,
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "device": "cpu",
    "precision": "32-true",
    "clip": 100.0,  # the optimizer's moments then show the scale of the gradient
}
OTHER = 1 + np.arange(31) % 3


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(jetclass_file, tmp_path):
    """Twenty steps at the same global batch, of an odd number of jets, so that the two have different shares.

    The jets have weights, some of them negative.
    """
    jets = jetclass_file(n=170, weight=np.arange(170) % 7 - 1.0), jetclass_file("val.root", n=31, seed=1, weight=OTHER)
    options = OPTIONS | {"data": str(jets[0]), "val": str(jets[1])}
    expected = []
    one = train(**options, out=tmp_path / "one", progress=False, callbacks=[lambda at: expected.append(at.loss)])
    expected = [loss for loss in expected if loss == loss]
    (tmp_path / "options.json").write_text(json.dumps(options | {"out": str(tmp_path / "two")}))
    program = Path(__file__).with_name("distributed.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, program, tmp_path / "options.json", tmp_path / "losses.json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "losses.json").read_text())
    assert len(found) == len(expected) == 20
    assert found == pytest.approx(expected, abs=1e-5)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in one.path.iterdir()}
    last = [checkpoint.read(path / checkpoint.LAST)[1] for path in (one.path, tmp_path / "two")]
    for name, tensor in last[0].items():  # the weights, their average, and the optimizer's moments
        torch.testing.assert_close(last[1][name], tensor, atol=1e-4, rtol=1e-2)
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    for line, other in zip(lines, one.metrics, strict=True):
        assert line["val_loss"] == pytest.approx(other["val_loss"], abs=1e-5)
        assert line["accuracy"] == other["accuracy"]


@pytest.mark.slow
def test_the_command_line_starts_a_process_per_device_and_ends_them_together(jetclass_file, tmp_path, capsys):
    """A stream is divided; SIGTERM to the first process ends both, and one process goes on with what is left of it."""
    data = ["--data", str(jetclass_file(n=200)), "--val", str(jetclass_file("val.root", n=30, seed=1)), "--stream"]
    words = [*data, "--out", str(tmp_path / "run"), "--options.width", "8", "--device", "cpu", "--batch_size", "4"]
    command = [sys.executable, "-m", "jetsym.cli", "train", *words, "--checkpoint_every", "1", "--epochs", "20"]
    process = subprocess.Popen([*command, "--devices", "2"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "run" / checkpoint.LAST).is_file():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143, said
    assert "asked to end (SIGTERM)" in said
    assert main([*command[3:], "--resume"]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 21))


@pytest.mark.parametrize("stream", [False, True])
def test_processes_divide_every_batch(jetclass_file, stream):
    path = str(jetclass_file(n=60))
    shares = []
    for rank in range(2):
        config = TrainConfig(path, val=path, stream=stream, batch_size=10)
        jets, _ = load_jets(config, rank=rank, ranks=2)
        assert len(jets) == 60
        shares.append(list(batches(jets, batch_size=10, seed=0, epoch=1, rank=rank, ranks=2)))
    assert [[len(batch) for batch in share] for share in shares] == [[5] * 6] * 2
    axes = torch.cat([batch.jet_p4 for share in shares for batch in share])
    assert len(axes.unique(dim=0)) == 60


def test_what_cannot_be_divided_is_named(jetclass_file):
    path = str(jetclass_file(n=60))
    with pytest.raises(ConfigError, match="--batch_size is 10; expected a multiple of the 3 processes"):
        load_jets(TrainConfig(path, val=path, stream=True, batch_size=10), rank=0, ranks=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="--device is 'cuda', but torch finds no CUDA device"):
        make_fabric(TrainConfig("a.root", device="cuda"))


def test_a_prompt_has_one_process(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>>", raising=False)
    with pytest.raises(ConfigError, match="--devices is 2; a notebook or a prompt can train on one only"):
        make_fabric(TrainConfig("a.root", device="cpu", devices=2))


def begun(data: Path, folder: Path, *, patience: int = 600) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A training of two processes under torchrun that has saved a checkpoint: torchrun, and the two by their rank."""
    words = ["--data", str(data), "--val", str(data), "--out", str(folder / "run"), "--options.width", "8"]
    words += ["--device", "cpu", "--batch_size", "4", "--checkpoint_every", "1", "--epochs", "100000"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with (folder / "said.txt").open("w") as said:
        agent = subprocess.Popen(
            [*torchrun, "-m", "jetsym.cli", "train", *words],
            stdout=said,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1", PATIENCE: str(patience)},
        )
    while agent.poll() is None and not (folder / "run" / checkpoint.LAST).is_file():
        time.sleep(0.2)
    assert agent.poll() is None, (folder / "said.txt").read_text()
    found = [one for one in psutil.Process(agent.pid).children() if "RANK" in one.environ()]
    return agent, sorted(found, key=lambda one: one.environ()["RANK"])


def end(agent: subprocess.Popen, workers: list[psutil.Process]) -> None:
    """End what is left of it."""
    for one in workers:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    agent.kill()
    agent.wait()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_process_that_stands_still_is_noticed(jetclass_file, tmp_path):
    agent, workers = begun(jetclass_file(n=40), tmp_path, patience=5)
    try:
        workers[1].suspend()
        workers[0].wait(timeout=120)
    finally:
        end(agent, workers)
    said = (tmp_path / "said.txt").read_text()
    assert "process 0 of 2 does not hear from the others: one has ended, or stands still" in said
    assert "Traceback" not in said.partition("jetsym train: error")[0]


@pytest.mark.slow
def test_processes_end_with_the_agent_that_started_them(jetclass_file, tmp_path):
    agent, workers = begun(jetclass_file(n=40), tmp_path)
    try:
        agent.kill()
        _, alive = psutil.wait_procs(workers, timeout=120)
        assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    finally:
        end(agent, workers)
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST)[0].progress


def test_what_torch_says_of_others_is_one_line(monkeypatch):
    fabric = SimpleNamespace(world_size=2, global_rank=1)
    for words in ("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:1", "NCCL timed out"):
        with pytest.raises(TrainingError, match=r"process 1 of 2 does not hear.*--resume"), _told_of_others(fabric):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="shape"), _told_of_others(fabric):
        raise RuntimeError("shape '[2]' is invalid")
    fabric.world_size = 1
    with pytest.raises(RuntimeError, match="gloo"), _told_of_others(fabric):
        raise RuntimeError("gloo")
    monkeypatch.setenv(PATIENCE, "soon")
    with pytest.raises(ConfigError, match="JETSYM_PATIENCE is 'soon'"):
        _patience()
