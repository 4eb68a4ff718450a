"""Runs that are killed, and runs that are asked to end, go on as if nothing had happened."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from jetsym.errors import CheckpointError, ConfigError, TerminatedError
from jetsym.jets import checkpoint
from jetsym.training import loop
from jetsym.training.loop import train

OPTIONS = {
    "epochs": 3,
    "batch_size": 4,
    "max_particles": 10,
    "options": {"width": 8, "blocks": 1, "heads": 2, "dropout": 0.2},
    "augmentation": {"group": "O3"},
    "checkpoint_every": 3,
    "ema": 0.9,
    "device": "cpu",
}


def same_results(first: Path, second: Path) -> bool:
    """The same weights, optimizer and metrics, but for the time it took."""
    for name in (checkpoint.LAST, checkpoint.BEST):
        (head, tensors), (other, others) = checkpoint.read(first / name), checkpoint.read(second / name)
        if tensors.keys() != others.keys() or head.progress != other.progress:
            return False
        if not all(torch.equal(tensors[key], others[key]) for key in tensors):
            return False
    lines = [
        [
            json.loads(line) | {"seconds": 0, "jets_per_s": 0}
            for line in (path / "metrics.jsonl").read_text().split("\n")[:-1]
        ]
        for path in (first, second)
    ]
    return lines[0] == lines[1]


@pytest.fixture(params=["in memory", "streamed"])
def options(request, jetclass_file):
    chosen = OPTIONS | {"data": str(jetclass_file(n=107)), "val": str(jetclass_file("val.root", n=20, seed=5))}
    return chosen | {"stream": request.param == "streamed"}


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_bit_for_bit_where_an_uninterrupted_one_does(options, tmp_path):
    whole = train(out=tmp_path / "whole", progress=False, **options)
    (tmp_path / "train.json").write_text(json.dumps(options))
    program = Path(__file__).with_name("killed_again_and_again.py")
    done = subprocess.run([sys.executable, program, tmp_path, "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed_at = json.loads(done.stdout)
    assert len(killed_at) == 20
    assert same_results(whole.path, tmp_path / "run")
    assert {path.name for path in whole.path.iterdir()} == {path.name for path in (tmp_path / "run").iterdir()}


def asking_to_end(step: int):
    """A callback that sends SIGTERM to its own process after a step."""
    return [lambda moment: signal.raise_signal(signal.SIGTERM) if moment.step == step else None]


#: The first step, and the last ones of an epoch, which are 27 in memory and 26 in a stream.
@pytest.mark.parametrize(
    ("options", "step"), [("in memory", 1), ("in memory", 27), ("streamed", 26)], indirect=["options"]
)
def test_a_run_that_is_asked_to_end_does_so_after_the_step(options, tmp_path, step):
    before = signal.getsignal(signal.SIGTERM)
    options |= {"epochs": 2}
    whole = train(out=tmp_path / "whole", progress=False, **options)
    steps = len(torch.arange(107).split(4)) if not options["stream"] else 107 // 4
    epoch, within = divmod(step - 1, steps)
    with pytest.raises(TerminatedError, match=rf"SIGTERM.* after step {within + 1} of epoch {epoch + 1};.*--resume"):
        train(out=tmp_path / "run", progress=False, callbacks=asking_to_end(step), **options)
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST)[0].progress["position"]["step"] == within + 1
    train(out=tmp_path / "run", progress=False, resume=True, **options)
    assert same_results(whole.path, tmp_path / "run")


@pytest.mark.slow
def test_the_command_line_ends_with_status_143(jetclass_file, tmp_path):
    """A job that is preempted ends by itself, in one line, and goes on later."""
    words = [
        "--data",
        str(jetclass_file(n=200)),
        "--out",
        str(tmp_path / "run"),
        "--options.width",
        "8",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "jetsym.cli", "train", *words, "--batch_size", "4", "--checkpoint_every", "1"]
    process = subprocess.Popen([*command, "--epochs", "1000"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "run" / checkpoint.LAST).is_file():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert "asked to end (SIGTERM)" in said.splitlines()[-1]


def test_other_jets_are_not_continued_with(options, jetclass_file, tmp_path):
    with pytest.raises(TerminatedError):
        train(out=tmp_path / "run", progress=False, callbacks=asking_to_end(2), **options)
    jetclass_file(n=110, seed=3)
    with pytest.raises(ConfigError, match="was trained on other jets: jets was"):
        train(out=tmp_path / "run", progress=False, resume=True, **options)


@pytest.mark.parametrize("which", ["jets", "val"])
def test_other_jets_under_the_same_names_are_noticed(options, jetclass_file, tmp_path, which):
    """As many as before, of the same classes; those to validate on, by which the best epoch is chosen, as well."""
    with pytest.raises(TerminatedError):
        train(out=tmp_path / "run", progress=False, callbacks=asking_to_end(2), **options)
    jetclass_file(f"{which}.root", n=107 if which == "jets" else 20, seed=9)
    what = "jets" if which == "jets" else "validation"
    with pytest.raises(ConfigError, match=f"was trained on other jets: {what} was"):
        train(out=tmp_path / "run", progress=False, resume=True, **options)


def test_the_jets_held_out_are_noticed_as_well(jetclass_file, tmp_path, monkeypatch):
    """Also where no name, size or place of a file tells them."""
    options = OPTIONS | {"data": str(jetclass_file(n=60)), "progress": False, "out": tmp_path / "run"}
    with pytest.raises(TerminatedError):
        train(callbacks=asking_to_end(2), **options)
    jetclass_file(n=60, seed=4)
    monkeypatch.setattr("jetsym.training.fingerprints.fingerprint_of", lambda path: "the same")
    last = checkpoint.read(tmp_path / "run" / checkpoint.LAST)[0].progress["data"]
    monkeypatch.setattr("jetsym.training.loop.RunFolder.earlier", {**last, "files": [["jets.root", "the same"]]})
    with pytest.raises(ConfigError, match="was trained on other jets"):
        train(resume=True, **options)


def test_labels_changed_in_the_midst_of_a_file_are_noticed(jetclass_file, tmp_path, monkeypatch):
    """Of streamed files, of which a few places tell the contents."""
    options = OPTIONS | {"stream": True, "val": str(jetclass_file("val.root", n=20, seed=5)), "progress": False}
    options |= {"data": str(jetclass_file(n=107)), "out": tmp_path / "run"}
    monkeypatch.setattr("jetsym.training.fingerprints.fingerprint_of", lambda path: "the same")
    with pytest.raises(TerminatedError):
        train(callbacks=asking_to_end(2), **options)
    jetclass_file(n=107, seed=3)
    with pytest.raises(ConfigError, match="was trained on other jets: labels was"):
        train(resume=True, **options)


@pytest.fixture
def interrupted(jetclass_file, tmp_path):
    """Options and folder of a run that was asked to end after two steps."""
    options = OPTIONS | {"data": str(jetclass_file(n=60)), "progress": False, "out": tmp_path / "run"}
    with pytest.raises(TerminatedError):
        train(callbacks=asking_to_end(2), **options)
    return options, tmp_path / "run" / checkpoint.LAST


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda content: content[: len(content) // 2], "is not a whole safetensors file"),
        (
            lambda content: content[:-1] + bytes([content[-1] ^ 1]),
            "is damaged: its header and tensors do not have the digest",
        ),
        (lambda content: pickle.dumps({"model": 1}), "is a pickle or a torch.save archive"),
        (lambda content: b"", "is not a whole safetensors file"),
    ],
)
def test_a_damaged_checkpoint_is_not_gone_on_from(interrupted, harm, message):
    options, last = interrupted
    last.write_bytes(harm(last.read_bytes()))
    before = last.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        train(resume=True, **options)
    assert last.read_bytes() == before


def test_other_classes_are_not_gone_on_with(interrupted, monkeypatch):
    options, _ = interrupted
    load_jets = loop.load_jets

    def renamed(config, **place):
        return [jets.replace(classes=("top", *jets.classes[1:])) for jets in load_jets(config, **place)]

    monkeypatch.setattr(loop, "load_jets", renamed)
    with pytest.raises(CheckpointError, match="of other classes than those of the run in .*number 0 is 'top' where"):
        train(resume=True, **options)


def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(interrupted):
    options, last = interrupted
    header, tensors = checkpoint.read(last)
    model = checkpoint.restore(header, tensors, source=last)
    checkpoint.save(last, model, epoch=0, config=header.config)
    with pytest.raises(CheckpointError, match="does not say how to go on .*; begin again"):
        train(resume=True, **options)


def test_a_run_of_format_1_is_gone_on_with(jetclass_file, tmp_path):
    """It ends with a whole epoch, and does not say how many jets it was trained on."""
    options = OPTIONS | {"data": str(jetclass_file(n=60)), "progress": False, "out": tmp_path / "run"}
    options |= {"checkpoint_every": 1000}

    def die(moment):
        if (tmp_path / "run" / checkpoint.LAST).is_file():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[die], **options)
    last = tmp_path / "run" / checkpoint.LAST
    with safe_open(last, "pt") as file:
        header = json.loads(file.metadata()["jetsym"])
    del header["progress"]
    tensors = load_file(last)
    older = {"version": 1, "digest": checkpoint._digest_of_tensors(tensors)}  # which is of these alone
    save_file(tensors, last, metadata={"jetsym": json.dumps(header | older)})
    run = train(resume=True, **options)
    assert [line["epoch"] for line in run.metrics] == [1, 2, 3]
    assert checkpoint.read(last)[0].version == checkpoint.FORMAT_VERSION
