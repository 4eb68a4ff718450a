"""Models built within what their file could fill."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jetsym.allocation import TooLargeError, bounded_by
from jetsym.errors import CheckpointError
from jetsym.jets import checkpoint
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import MODELS, build


@pytest.mark.parametrize("options", [{"blocks": 10**6}, {"width": 10**6}, {"width": 2**62}, {"expansion": 10**9}])
def test_a_header_that_asks_for_more_than_its_tensors(tmp_path, options):
    """The digest holds, as it is of this header."""
    model = PointNet(width=8, blocks=1)
    model.config = replace(model.config, **options)
    checkpoint.save(tmp_path / "x.safetensors", model)
    with pytest.raises(CheckpointError, match="cannot be built"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_header_entries_of_another_kind(tmp_path):
    checkpoint.save(tmp_path / "x.safetensors", PointNet(width=8, blocks=1), config={"max_particles": "many"})
    with pytest.raises(CheckpointError, match="max_particles in .* is 'many'"):
        checkpoint.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["pointnet", "part", "particlenet", "deepsets"])
def test_taggers_fit_their_own_tensors(name):
    assert name in MODELS
    model = build(name, ("a", "b"))
    with bounded_by(model.state_dict().values()):
        build(name, ("a", "b"))


def test_many_small_pieces_are_counted():
    with pytest.raises(TooLargeError, match="far beyond"), bounded_by([torch.zeros(1)]):
        torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(10**6)))
