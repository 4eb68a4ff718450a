"""Injected features change nothing at first, bring the λ that a linear embedding lacks, and are learned."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError, ProbeError
from jetsym.jets.features import cartesian_features
from jetsym.jets.models import PointNet
from jetsym.remedies.injected import HarmonicFeatures, Injected, InvariantFeatures


def relative(jets):
    return cartesian_features(jets)[..., 6:9]


def small_pointnet() -> PointNet:
    torch.manual_seed(0)
    return PointNet(width=16, blocks=1, heads=2).double().eval()


def options_of(kind: str):
    if kind == "harmonics":
        return HarmonicFeatures(2, relative)
    return InvariantFeatures(lambda jets: jets.p4, mask=lambda jets: jets.mask, pairs="minkowski", width=8)


@pytest.mark.parametrize("kind", ["harmonics", "invariants"])
def test_a_tagger_starts_as_it_was_and_uses_what_it_is_given(make_jets, kind):
    jets = make_jets(3, seed=1, dtype=torch.float64, max_particles=7)
    model = small_pointnet()
    injected = Injected(model, "embedding.linear", options_of(kind)).double()
    before = model(jets)
    assert torch.equal(injected(jets), before)
    nn.init.normal_(injected.mix.weight)
    after = injected(jets)
    assert (after - before).abs().max() > 1e-3
    assert torch.equal(model(jets), before)  # nothing stays behind
    assert not model.embedding.linear._forward_hooks
    padded = make_jets(3, seed=1, dtype=torch.float64, max_particles=7)
    torch.testing.assert_close(injected(padded[:2]), after[:2])
    twin = copy.deepcopy(injected)
    nn.init.zeros_(twin.mix.weight)
    assert torch.equal(twin(jets), before)
    after.sum().backward()
    assert all(p.grad is not None for p in injected.features.parameters())


def test_harmonics_fill_the_irrep_that_a_linear_embedding_lacks(make_jets):
    jets = make_jets(3, seed=2, dtype=torch.float64, max_particles=5, min_particles=2)
    injected = Injected(small_pointnet(), "embedding.linear", HarmonicFeatures(2, relative)).double()

    def content():
        report = jetsym.probe(injected, jets, l_max=3, layers="model.embedding.linear", progress=False)
        row = report.fractions[report.layers.index("model.embedding.linear")]
        return row[[str(irrep) for irrep in report.irreps].index("(2,+)")]

    assert content() < 1e-14
    nn.init.normal_(injected.mix.weight)
    assert content() > 0.01


def test_a_probe_reads_the_layers_of_the_model_and_not_what_is_added(make_jets):
    """A diagnosis takes the last layer for what the outputs are read from: what is added may hold nothing they need."""
    jets = make_jets(4, seed=2, dtype=torch.float64, max_particles=5, min_particles=2)
    injected = Injected(small_pointnet(), "embedding", HarmonicFeatures(2, relative), channels=16).double()
    nn.init.normal_(injected.mix.weight)
    report = jetsym.probe(injected, jets, l_max=2, progress=False)
    layers = ["model.embedding", "model.blocks.0", "model.pool"]
    assert report.layers == (*layers, "logits")
    named = jetsym.probe(injected, jets, l_max=2, layers=layers, progress=False)
    np.testing.assert_array_equal(report.fractions, named.fractions)
    assert "starvation" not in jetsym.diagnose(report)


def test_invariant_channels_stay_invariant(make_jets):
    """A network that sees particles through Minkowski products alone does not change under turns in the lab."""
    jets = make_jets(3, seed=2, dtype=torch.float64, max_particles=5, min_particles=2)

    class Blind(nn.Module):
        probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

        def __init__(self):
            super().__init__()
            self.embed, self.read = nn.Linear(1, 8), nn.Linear(8, 2)

        def forward(self, batch):
            return (torch.tanh(self.embed(batch.p4[..., :1] * 0)) * batch.mask[..., None]).sum(1) @ self.read.weight.T

    injected = Injected(Blind(), "embed", options_of("invariants")).double()
    nn.init.normal_(injected.mix.weight)
    report = jetsym.probe(injected, jets, l_max=1, layers=[], progress=False)
    assert report.equivariance["logits"].relative < 1e-9


def test_a_quadrupole_is_learned_with_injection_and_not_without():
    """A network that is linear in what its embedding gives it, and a target of λ = 2."""
    torch.manual_seed(0)
    x = torch.randn(64, 5, 3)
    target = (x[..., 0] * x[..., 1] / (1 + x.square().sum(-1))).sum(1)

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.read = nn.Linear(3, 8), nn.Linear(8, 1)

        def forward(self, positions):
            return self.read(self.embed(positions)).sum((1, 2))

    def loss_of(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), target)
            loss.backward()
            optimizer.step()
        return loss.item() / target.var().item()

    assert loss_of(Linear()) > 0.7
    assert loss_of(Injected(Linear(), "embed", HarmonicFeatures(2, lambda positions: positions))) < 0.05


def test_what_cannot_be_injected_is_refused():
    model, features = small_pointnet(), HarmonicFeatures(1, relative)
    with pytest.raises(ProbeError, match=r"'embeding' matches no module"):
        Injected(model, "embeding", features)
    with pytest.raises(ConfigError, match="expected the name of one"):
        Injected(model, "embedding.*", features)
    with pytest.raises(ConfigError, match="is a Embedding, which does not say how many channels"):
        Injected(model, "embedding", features)
    with pytest.raises(ConfigError, match="lam is 0"):
        HarmonicFeatures(0, relative)
