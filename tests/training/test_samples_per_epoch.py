"""Epochs of a number of jets: each goes on in the pass over the files where the one before it has stopped."""

from __future__ import annotations

import pytest
import torch

from jetsym.errors import ConfigError
from jetsym.jets import checkpoint
from jetsym.training.batches import batches, count_batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.loop import train

OPTIONS = {"stream": True, "batch_size": 10, "max_particles": 8, "buffer": 40}


@pytest.fixture
def paths(jetclass_file) -> dict[str, str]:
    return {"data": str(jetclass_file(n=64)), "val": str(jetclass_file("val.root", n=20, seed=5))}


def jets_of(config: TrainConfig, epochs: int, **ranks: int) -> list[torch.Tensor]:
    jets, _ = load_jets(config, **ranks)
    given = [list(batches(jets, batch_size=10, seed=0, epoch=epoch, **ranks)) for epoch in range(1, epochs + 1)]
    assert {len(one) for one in given} == {count_batches(jets, batch_size=10)}
    return [batch.jet_p4 for one in given for batch in one]


def test_epochs_are_parts_of_passes(paths):
    """Of 64 jets a pass shows six batches; epochs of 45 jets have four."""
    passes = jets_of(TrainConfig(**paths, **OPTIONS), 4)
    parts = jets_of(TrainConfig(**paths, **OPTIONS, samples_per_epoch=45), 6)
    assert (len(passes), len(parts)) == (24, 24)
    assert all(torch.equal(one, other) for one, other in zip(passes, parts, strict=True))
    longer = jets_of(TrainConfig(**paths, **OPTIONS, samples_per_epoch=130), 2)
    assert len(longer) == 26
    assert all(torch.equal(one, other) for one, other in zip(passes, longer, strict=False))


def test_the_rest_of_a_pass_goes_to_other_processes(paths):
    """Two processes do an epoch of four batches, then one goes on: no jet of the pass comes twice."""
    config = TrainConfig(**paths, **OPTIONS, samples_per_epoch=40)
    seen = [axis for rank in range(2) for axis in jets_of(config, 1, rank=rank, ranks=2)]
    jets, _ = load_jets(config)
    later = [batch.jet_p4 for batch in batches(jets, batch_size=10, seed=0, epoch=2, passed=[[2, 20]])]
    assert [len(axes) for axes in later] == [10] * 4
    assert len(torch.cat([*seen, *later[:2]]).unique(dim=0)) == 60
    assert len(torch.cat(later[2:]).unique(dim=0)) == 20  # of the next pass


def test_a_run_goes_on_within_a_pass(paths, tmp_path):
    options = OPTIONS | {"val": paths["val"], "model": "deepsets", "options": {"features": "kin"}}
    options |= {"samples_per_epoch": 40, "epochs": 4, "device": "cpu", "progress": False, "checkpoint_every": 1}
    whole = train(paths["data"], tmp_path / "whole", **options)
    assert [line["epoch"] for line in whole.metrics] == [1, 2, 3, 4]

    class StoppedError(Exception):
        pass

    def stop(moment):
        if moment.step >= 7:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(paths["data"], tmp_path / "run", callbacks=[stop], **options)
    again = train(paths["data"], tmp_path / "run", resume=True, **options)
    tensors = [checkpoint.read(run.path / "last.safetensors")[1] for run in (whole, again)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_options_without_a_stream(paths):
    for name in ("buffer", "samples_per_epoch"):
        with pytest.raises(ConfigError, match=f"--{name} is 300; it is only used with --stream"):
            TrainConfig(paths["data"], **{name: 300})
        with pytest.raises(ConfigError, match=f"--{name} is 0; expected an integer ≥ 1 or None"):
            TrainConfig(paths["data"], **{name: 0})
    with pytest.raises(ConfigError, match="--samples_per_epoch is 9; expected at least --batch_size 10"):
        TrainConfig(**paths, stream=True, batch_size=10, samples_per_epoch=9)
