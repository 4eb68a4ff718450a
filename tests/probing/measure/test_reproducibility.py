"""A model that is random, or mixes the inputs of a batch, is refused by name; what rounding makes of it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError

OPTIONS = {"progress": False, "l_max": 1, "outputs": {"y": "scalar"}}
CLOUDS = torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(0))


def lengths(x):
    return x.norm(dim=-1)


def dropout(dtype=torch.float32):
    net = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 3)).to(dtype).train()
    nn.init.zeros_(net[1].bias)  # beside which what is dropped may be less than 30 roundings of bfloat16
    return lambda x: net(lengths(x.to(dtype)))


class Sampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return torch.distributions.Normal(self.head(lengths(x)), 0.01).sample()


class Counter:
    """A state that goes on."""

    calls = 0

    def __call__(self, x):
        self.calls += 1
        return lengths(x) * (1 + 1e-3 * self.calls)


def own_generator():
    rng = np.random.default_rng(0)
    return lambda x: lengths(x) + 1e-4 * torch.as_tensor(rng.normal(size=(len(x), 8)), dtype=x.dtype)


RANDOM = {
    "dropout": (dropout(), torch.float32, "draws random numbers \\(dropout"),
    "dropout in bfloat16": (dropout(torch.bfloat16), torch.float32, "draws random numbers \\(dropout"),
    "noise": (
        lambda x: lengths(x) + 1e-12 * torch.randn(len(x), 8, dtype=x.dtype),
        torch.float64,
        "draws random numbers \\(",
    ),
    "numpy's noise": (own_generator(), torch.float32, "draws random numbers or keeps a state"),
    "a state": (Counter(), torch.float32, "draws random numbers or keeps a state"),
    "a sampler": (Sampler(), torch.float32, "draws random numbers \\("),
    "seldom": (lambda x: lengths(x) * (1 + float(torch.rand(()) > 0.4)), torch.float32, "draws random numbers \\("),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("group", ["O3", "SO2"])
def test_random_models_are_refused(name, group):
    model, dtype, words = RANDOM[name]
    torch.manual_seed(1)
    with pytest.raises(ProbeError, match=f"'y' differs by .* between two evaluations of the same inputs.*{words}"):
        jetsym.probe(model, CLOUDS.to(dtype), group=group, **OPTIONS)


def test_random_models_are_refused_under_boosts():
    momenta = torch.rand(6, 4)
    with pytest.raises(ProbeError, match="draws random numbers"):
        jetsym.probe(lambda p: p + torch.randn(len(p), 4), momenta, group="boost", **OPTIONS)


def test_a_module_in_training_mode_is_evaluated_and_not_refused():
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).train()
    assert jetsym.probe(net, CLOUDS[:, 0], **OPTIONS).meta["n_inputs"] == 12


def test_sums_in_any_order_are_rounding():
    def model(x):
        terms = lengths(x)
        return sum(terms[:, place] for place in torch.randperm(8))

    item = jetsym.probe(model, CLOUDS, **{**OPTIONS, "l_max": 2}).equivariance["y"]
    assert 0 < item.relative < item.noise_floor < 3 * item.relative


def normalised():
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)).train()
    return lambda x: net(lengths(x))


MIXING = {
    "batch normalisation": normalised(),
    "divided by the batch": lambda x: lengths(x) / lengths(x).mean(0),
    "without its mean": lambda x: x[..., 2] - x[..., 2].mean(0),
    "over its spread": lambda x: (lengths(x) - lengths(x).mean(0)) / lengths(x).std(0, correction=0),
    "sorted": lambda x: lengths(x)[x[:, 0, 2].argsort()],
    "softmax": lambda x: torch.softmax(lengths(x).sum(1), 0),
    "neighbours in the batch": lambda x: torch.cdist(x.flatten(1), x.flatten(1)).sum(1),
}


@pytest.mark.parametrize("name", MIXING)
def test_models_that_mix_a_batch_are_refused(name):
    with pytest.raises(ProbeError, match="the model mixes the inputs of a batch"):
        jetsym.probe(MIXING[name], CLOUDS, **OPTIONS)


@pytest.mark.parametrize("name", ["batch normalisation", "without its mean", "softmax"])
def test_one_input_is_in_a_batch_with_itself_under_other_elements(name):
    with pytest.raises(ProbeError, match="the model mixes the inputs of a batch"):
        jetsym.probe(MIXING[name], CLOUDS[:1], **OPTIONS)


def test_alone_they_are_measured():
    model = MIXING["divided by the batch"]
    item = jetsym.probe(model, CLOUDS[:2], batch_size=1, **OPTIONS).equivariance["y"]
    assert item.relative == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_kernels_that_differ_between_sizes_of_a_batch_are_rounding(dtype):
    net = nn.Sequential(nn.Linear(8, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 2)).to(dtype)
    item = jetsym.probe(lambda x: net(lengths(x)), CLOUDS.to(dtype), **{**OPTIONS, "l_max": 2}).equivariance["y"]
    assert item.is_within_rounding
