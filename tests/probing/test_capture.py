"""Hooks see every layer, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.baseline import untrained_copy
from jetsym.probing.capture import capture, select_layers, untouched


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(3, 3)
        self.pair = Pair()

    def forward(self, x):
        first = self.shared(x)
        a, extra = self.pair(self.shared(first))
        return a + extra["twice"]


class Pair(nn.Module):
    def forward(self, x):
        return x, {"twice": 2 * x, "name": "text"}


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x):
        return self.inner(x)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_names():
    model = Outer()
    assert list(select_layers(model, "auto")) == ["inner.shared", "inner.pair"]
    assert list(select_layers(model, ["inner*"])) == ["inner", "inner.shared", "inner.pair"]
    assert list(select_layers(model, "inner.pair")) == ["inner.pair"]
    assert select_layers(model, []) == {}
    assert list(select_layers(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), "auto")) == ["0", "1"]
    blocks = nn.ModuleDict({"stack": nn.ModuleList([nn.Tanh(), nn.Tanh()]), "out": nn.Linear(1, 1)})
    assert list(select_layers(blocks, "auto")) == ["stack.0", "stack.1", "out"]
    with pytest.raises(ProbeError, match="the nearest are 'inner.shared'"):
        select_layers(model, "inner.share")


def test_tuples_dictionaries_and_shared_modules_are_named():
    model, x = Outer(), torch.ones(2, 3)
    with capture(select_layers(model, "auto")) as record:
        model(x)
        assert list(record) == ["inner.shared", "inner.shared@2", "inner.pair.0", "inner.pair.1.twice"]
        record.clear()
        model(x)
        assert list(record) == ["inner.shared", "inner.shared@2", "inner.pair.0", "inner.pair.1.twice"]
    assert hooks(model) == 0


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, torch.OutOfMemoryError])
def test_nothing_is_left_behind_when_it_fails(failure):
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    model[0].train()
    model[1].eval()
    model[2].train()
    modes = [module.training for module in model.modules()]
    calls = 0

    def call(network, x):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise failure("stop")
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
        return network(x)

    with pytest.raises(failure):
        jetsym.probe(model, torch.ones(4, 3), call=call, l_max=1, progress=False)
    assert calls == 3
    assert [module.training for module in model.modules()] == modes
    assert hooks(model) == 0
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_devices_are_restored():
    model = nn.Linear(3, 3)
    with untouched(model, "cpu"):
        assert not torch.is_grad_enabled()
    assert next(model.parameters()).device.type == "cpu"


def test_integer_outputs_of_layers_are_passed_over():
    class Argmax(nn.Module):
        def forward(self, x):
            return x.argmax(-1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.argmax = nn.Linear(3, 3), Argmax()

        def forward(self, x):
            y = self.linear(x)
            self.argmax(y)
            return y.sum(-1)

    assert jetsym.probe(Net(), torch.ones(2, 3), l_max=1, progress=False).layers == ("linear", "output")


def test_untrained_copies():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        model[0].weight.fill_(7)
        model[1].running_mean.fill_(5)
    fresh = untrained_copy(model, seed=0)
    assert model[0].weight.eq(7).all()
    assert fresh[0].weight.abs().max() < 1
    assert fresh[1].running_mean.eq(0).all()
    np.testing.assert_array_equal(fresh[0].weight.detach(), untrained_copy(model, seed=0)[0].weight.detach())
    assert not torch.equal(fresh[0].weight, untrained_copy(model, seed=1)[0].weight)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(ProbeError, match="'0' \\(Own\\) holds parameters and has no reset_parameters"):
        untrained_copy(nn.Sequential(Own()), seed=0)
