"""Training jets that are read at copies of their files: the same run, whatever the copies are."""

from __future__ import annotations

import pytest
import torch

from jetsym.errors import ConfigError
from jetsym.jets import checkpoint
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train

OPTIONS = {
    "stream": True,
    "batch_size": 10,
    "max_particles": 8,
    "buffer": 40,
    "model": "deepsets",
    "epochs": 2,
    "options": {"features": "kin"},
    "device": "cpu",
    "progress": False,
    "checkpoint_every": 1,
}


class StoppedError(Exception):
    """Stands for a job that is killed."""


def test_a_run_is_the_same_with_copies_and_without(jetclass_file, tmp_path):
    data, val = str(jetclass_file(n=64)), str(jetclass_file("val.root", n=20, seed=5))
    there = []

    def stop(moment):
        there.append(len([*(tmp_path / "local").glob("jetsym-scratch-*/*.root")]))
        if moment.step == 4:
            raise StoppedError

    train(data, tmp_path / "plain", val=val, **OPTIONS)
    with pytest.raises(StoppedError):
        train(data, tmp_path / "run", val=val, **OPTIONS, scratch=str(tmp_path / "local"), callbacks=[stop])
    assert there == [1] * 4
    assert not (tmp_path / "local").exists()
    train(data, tmp_path / "run", val=val, **OPTIONS, resume=True, scratch=str(tmp_path / "other"), scratch_size="1MB")
    (one, own), (other, theirs) = (checkpoint.read(tmp_path / name / checkpoint.LAST) for name in ("plain", "run"))
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    assert one.progress["data"] == other.progress["data"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["plain", "run"]


def test_options_that_go_together():
    paths = {"data": "a.root", "val": "b.root"}
    for name in ("scratch", "scratch_size"):
        with pytest.raises(ConfigError, match=f"--{name} is '1MB'; it is only used with --stream"):
            TrainConfig(**paths, **{name: "1MB"})
    with pytest.raises(ConfigError, match="--scratch_size is '1MB'; expected --scratch, the folder, as well"):
        TrainConfig(**paths, stream=True, scratch_size="1MB")
    with pytest.raises(ConfigError, match="--scratch_size is 'much'; expected a number of bytes"):
        TrainConfig(**paths, stream=True, scratch="/tmp", scratch_size="much")
