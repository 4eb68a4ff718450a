"""The contract that every tagger keeps, held for those of the package."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from jetsym.errors import ConfigError
from jetsym.jets.models.registry import MODELS, build, name_of
from jetsym.testing import TaggerContract

#: Frames are made of differences between nearly parallel sums of momenta, which magnify rounding.
OF_FRAMES = {torch.float32: 2e-5, torch.float64: 1e-10}


class TestPointNet(TaggerContract):
    name = "pointnet"
    options: ClassVar = {"width": 16, "blocks": 2, "heads": 4}


class TestParticleTransformer(TaggerContract):
    name = "part"
    options: ClassVar = {
        "embedding": (16, 16),
        "pairs": (8, 8),
        "blocks": 2,
        "class_blocks": 2,
        "heads": 4,
        "dropout": 0.0,
    }


class TestParticleNet(TaggerContract):
    name = "particlenet"
    options: ClassVar = {"k": 8, "channels": ((16, 16), (32,)), "hidden": 16}


class TestDeepSets(TaggerContract):
    name = "deepsets"
    options: ClassVar = {"particles": (16, 16), "jets": (16,)}


class TestLGATr(TaggerContract):
    name = "lgatr"
    options: ClassVar = {"multivectors": 4, "channels": 8, "blocks": 2, "heads": 2, "beam": "lightlike"}


class TestLLoCa(TaggerContract):
    name = "lloca"
    options: ClassVar = {
        "hidden": 8,
        "head_scalars": 4,
        "head_vectors": 1,
        "blocks": 2,
        "heads": 2,
        "beam": "xyplane",
        "time": True,
    }
    tolerances = OF_FRAMES
    # Whether collinear particles span a frame is up to rounding, which differs between batches.
    batches_agree = (torch.float64,)


class TestCanonical(TaggerContract):
    name = "canonical"
    options: ClassVar = {"backbone": "pointnet", "options": {"width": 16, "blocks": 2, "heads": 4}}
    tolerances = OF_FRAMES
    invariant = True


def test_every_tagger_is_held_to_it():
    assert {contract.name for contract in TaggerContract.__subclasses__()} >= set(MODELS)


class Blind(nn.Module):
    """A tagger that counts padding as particles: the contract must speak."""

    classes = ("a", "b")

    def forward(self, jets):
        logits = jets.p4.mean(dim=1)[:, :2]
        return logits / logits.abs().amax(dim=1, keepdim=True).clamp_min(1e-9)


def test_the_contract_speaks(monkeypatch):
    class Faulty(TaggerContract):
        __test__ = False

        def make(self, dtype=torch.float32):
            return Blind().to(dtype)

    with pytest.raises(AssertionError):
        Faulty().test_rubbish_in_the_padding_is_not_seen()
    Faulty().test_invariant_under_permutations(torch.float64)


def test_unknown_models_are_named():
    with pytest.raises(ConfigError, match="no model 'pointent'; the nearest are 'pointnet'"):
        build("pointent")
    with pytest.raises(ConfigError, match="Linear is not a model of jetsym"):
        name_of(nn.Linear(1, 1))
