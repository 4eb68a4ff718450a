"""A probe leaves a model as it was, bit for bit."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict, deque

import pytest
import torch
from torch import nn

import jetsym
from jetsym.probing.forward.untouched import untouched


def state(model):
    """Everything a model holds, as it can be compared."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            gradient = None if not value.is_leaf or value.grad is None else value.grad.tolist()
            return value.dtype, tuple(value.shape), value.tolist(), value.requires_grad, gradient
        if isinstance(value, nn.Module):
            return type(value), plain(vars(value))
        if isinstance(value, dict):
            return [(key, plain(item)) for key, item in value.items()]
        if isinstance(value, (list, tuple, set, deque)):
            return [plain(item) for item in value]
        return repr(value)

    return plain(model)


class Busy(nn.Module):
    """Changes all that a forward pass can change."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.fixed = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("passes", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(4), persistent=False)
        self.register_buffer("lazy", None)
        self.count, self.scale, self.words = 0, 1.0, ["a"]
        self.moments = torch.zeros(4)
        self.cache, self.nested, self.shapes = {}, {"keys": [torch.zeros(2)]}, deque(maxlen=3)
        self.seen, self.counter, self.table = {1}, Counter("ab"), defaultdict(list)
        self.plain = [nn.BatchNorm1d(4)]

    def forward(self, x):
        h = self.layer(x)
        self.plain[0].train()(h)
        self.norm.train()
        h = self.norm(h)
        self.fixed.data.lerp_(h.detach().mean(0), 0.5)
        self.layer.weight.data.mul_(1.0 + 1e-7)
        self.passes += 1
        self.mean = h.detach().mean(0)
        self.lazy = h.detach()
        self.count += 1
        self.scale = self.scale * 0.5
        self.words.append("b")
        self.moments.add_(1)
        self.cache[len(self.cache)] = h
        self.nested["keys"].append(h)
        self.nested["keys"][0].add_(1)
        self.shapes.append(x.shape)
        self.seen.add(self.count)
        self.counter["a"] += 1
        self.table["x"].append(1)
        self.added = h
        self.head.weight.requires_grad_(False)
        self.head.register_forward_hook(lambda *_: None)
        if hasattr(self, "away"):
            del self.away
        return self.head(h)


def test_what_a_forward_pass_changes_is_put_back():
    torch.manual_seed(0)
    model = Busy()
    model.away = 3
    model.head.eval()
    model.head.bias.grad = torch.ones(2)
    before, objects = state(model), {name: id(value) for name, value in vars(model).items()}
    buffers = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    with untouched(model, None):
        for _ in range(3):
            model(torch.randn(5, 3))
        assert state(model) != before
    assert state(model) == before
    assert objects == {name: id(value) for name, value in vars(model).items()}
    assert buffers == {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    assert model.shapes.maxlen == 3


def running(model, x):
    return model.train()(x)


def moving(model, x):
    model.layer.weight.data.add_(0.1)
    model.calls = getattr(model, "calls", 0) + 1
    return model(x)


@pytest.mark.parametrize("call", [running, moving])
def test_a_probe_that_is_refused_leaves_the_model_as_it_was(call):
    torch.manual_seed(0)
    names = ["layer", "norm", "drop", "head"]
    layers = [nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=1.0), nn.Dropout(0.0), nn.Linear(4, 2)]
    model = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
    model.norm.eval()
    twin, before = copy.deepcopy(model), state(model)
    x = torch.randn(6, 3)
    with pytest.raises(jetsym.JetsymError):  # neither is a function of its inputs
        jetsym.probe(model, x, call=call, l_max=1, progress=False)
    assert state(model) == before
    assert torch.equal(model(x), twin(x))


def test_statistics_that_are_kept_in_evaluation_mode_are_put_back():
    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)
            self.register_buffer("largest", torch.tensor(0.0))

        def forward(self, x):
            torch.maximum(self.largest, x.abs().max(), out=self.largest)
            return self.head(x)

    model = Watching()
    before = state(model)
    jetsym.probe(model, torch.randn(4, 3), l_max=1, progress=False)
    assert state(model) == before
    model(torch.randn(4, 3))
    assert state(model) != before


def test_nothing_that_was_not_changed_is_written_to():
    """A probe between the two halves of a step leaves torch's own count of changes, and the gradients, alone."""
    model, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), torch.randn(5, 3)
    loss = model(x).square().sum()
    versions = [tensor._version for tensor in (*model.parameters(), *model.buffers())]
    jetsym.probe(model, x, l_max=1, progress=False)
    assert versions == [tensor._version for tensor in (*model.parameters(), *model.buffers())]
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_is_put_back_when_the_model_fails():
    model = Busy()
    before = state(model)

    def call(network, x):
        network(x)
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        jetsym.probe(model, torch.randn(4, 3), call=call, l_max=1, progress=False)
    assert state(model) == before


class FirstShift(nn.Module):
    """Takes a shift from the first batch that it sees, as lazily fitted normalisers do, in one of their ways."""

    def __init__(self, way):
        super().__init__()
        self.way, self.shift, self.cache = way, None, {}
        self.loc = nn.Parameter(torch.zeros(3))
        self.register_buffer("done", torch.tensor(False))

    def forward(self, x):
        mean = -x.detach().mean((0, 1))
        if self.way == "attribute":
            self.shift = mean if self.shift is None else self.shift
            shift = self.shift
        elif self.way == "cache":
            shift = self.cache.setdefault("shift", mean)
        else:
            if not self.done:
                self.loc.data.copy_(mean)
                self.done.fill_(True)
            shift = self.loc
        return ((x + shift).sum(1) ** 2).sum(-1)


@pytest.mark.parametrize("way", ["attribute", "cache", "parameter"])
@pytest.mark.parametrize("size", [1, 6])
def test_a_state_that_the_first_inputs_set_is_refused(way, size):
    torch.manual_seed(0)
    model, x = FirstShift(way), torch.randn(size, 4, 3) + 2
    before = state(model)
    with pytest.raises(jetsym.JetsymError, match="keeps a state that its first inputs set"):
        jetsym.probe(model, x, l_max=1, progress=False)
    assert state(model) == before
    model(x)  # a model from here on
    report = jetsym.probe(model, x, l_max=2, progress=False)
    assert report.equivariance["output"].relative > 0.01


def test_states_that_do_not_change_outputs_are_not_refused():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.count, self.last, self.eye = nn.Linear(3, 2), 0, None, {}

        def forward(self, x):
            self.count += 1
            self.last = x
            return self.head(x @ self.eye.setdefault(x.dtype, torch.eye(3, dtype=x.dtype)))

    model = Caching()
    plain = jetsym.probe(model.head, torch.ones(4, 3), l_max=1, progress=False, layers=[])
    report = jetsym.probe(model, torch.ones(4, 3), l_max=1, progress=False, layers=[])
    assert report.equivariance["output"].relative == pytest.approx(plain.equivariance["output"].relative)
    assert (model.count, model.last, model.eye) == (0, None, {})


@pytest.mark.parametrize(
    "odd",
    [
        lambda: nn.LazyLinear(2),
        lambda: nn.Linear(3, 2, dtype=torch.bfloat16),
        lambda: nn.GRU(3, 2, batch_first=True),
        lambda: torch.jit.script(nn.Linear(3, 2)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    ],
)
def test_modules_of_other_kinds(odd):
    model = odd().eval()
    before = {name: module.training for name, module in model.named_modules()}
    with untouched(model, "cpu"):
        model(torch.randn(4, 5, 3, dtype=next(iter(model.parameters())).dtype))
        model.train()
    assert before == {name: module.training for name, module in model.named_modules()}
