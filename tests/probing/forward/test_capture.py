"""Hooks see every layer, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.forward.capture import capture
from jetsym.probing.forward.layers import is_compiled, select_layers, unwrapped
from jetsym.probing.forward.untouched import untouched
from jetsym.probing.forward.untrained import untrained_copy


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


def read(model, layers="auto", inputs=None):
    """Names of what is read of a model after its first pass, and what it is."""
    with capture(model, layers) as record:
        x = torch.ones(2, 3) if inputs is None else inputs
        record.end_first({"output": model(x)})
        model(x)
        return dict(record)


def test_names():
    model = Outer()
    assert list(select_layers(model, ["inner*"])) == ["inner"]
    assert list(select_layers(model, ["inner.*"])) == ["inner.shared", "inner.pair"]
    assert list(select_layers(model, ["**"])) == ["inner", "inner.shared", "inner.pair"]
    assert list(select_layers(model, "inner.pair")) == ["inner.pair"]
    assert select_layers(model, []) == {}
    with pytest.raises(ProbeError, match="the nearest are 'inner.shared'"):
        select_layers(model, "inner.share")


def test_patterns_of_blocks_and_of_all_within():
    stack = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    model = nn.ModuleDict({"blocks": stack, "head": nn.Linear(3, 2)})
    inside = ["blocks.0", "blocks.0.0", "blocks.0.1", "blocks.1", "blocks.1.0", "blocks.1.1"]
    assert list(select_layers(model, ["blocks.*"])) == ["blocks.0", "blocks.1"]
    assert list(select_layers(model, ["blocks.**"])) == inside
    assert list(select_layers(model, ["blocks.**.1"])) == ["blocks.0.1", "blocks.1", "blocks.1.1"]
    assert list(select_layers(model, ["*.?.1", "head"])) == ["blocks.0.1", "blocks.1.1", "head"]
    assert list(select_layers(model, "blocks.[!0]")) == ["blocks.1"]
    assert list(select_layers(model, "**")) == ["blocks", *inside, "head"]


def test_patterns_that_crossed_dots_still_do_where_nothing_else_is_meant():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Linear(3, 3))
    assert list(select_layers(model, ["*.0"])) == ["0.0"]
    assert list(select_layers(nn.ModuleDict({"a": nn.ModuleDict({"b": model})}), ["a*1"])) == ["a.b.0.1", "a.b.1"]


def test_a_wrapper_names_the_child_that_is_read():
    class Wrapper(Outer):
        probe_within = "inner"

        def __init__(self):
            super().__init__()
            self.beside = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(x) + self.beside(x)

    names = ["inner.shared", "inner.shared@2", "inner.pair.0", "inner.pair.1.twice"]
    # What the child returns by itself is no output of the wrapper.
    assert list(read(Wrapper())) == [*names, "inner"]
    assert list(read(Wrapper(), ["beside"])) == ["beside"]
    outer = Outer()
    outer.inner = Wrapper()
    assert list(read(outer)) == [f"inner.{name}" for name in [*names, "inner"]]


def test_tuples_dictionaries_and_shared_modules_are_named():
    model = Outer()
    assert list(read(model)) == ["inner.shared", "inner.shared@2", "inner.pair.0", "inner.pair.1.twice"]
    assert hooks(model) == 0


def test_names_that_never_ran_are_refused():
    class Losses(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.loss = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.CrossEntropyLoss()
            self.blocks = nn.ModuleList([nn.Tanh(), nn.Tanh(), nn.Tanh()])

        def forward(self, x):
            return self.blocks[1](self.blocks[0](self.net(x))).sum(-1)

    ran = "'net', 'net.0', 'net.1', 'blocks.0', 'blocks.1', which did"
    with pytest.raises(ProbeError, match=f"layer 'loss' never ran when the model was called; there is {ran}"):
        probe(Losses(), layers=["net", "loss"])
    with pytest.raises(ProbeError, match="layer 'blocks' never ran .* 'blocks.1', 'blocks.0', which did"):
        probe(Losses(), layers="blocks")
    with pytest.raises(ProbeError, match="layer 'blocks.2' never ran"):
        probe(Losses(), layers=["blocks.2"])
    assert probe(Losses(), layers=["blocks.*"]).layers == ("blocks.0", "blocks.1", "output")
    assert probe(Losses(), layers=["**"]).layers == ("net.0", "net.1", "net", "blocks.0", "blocks.1", "output")


def test_layers_that_return_no_numbers_are_refused_by_name():
    class Count(nn.Module):
        def forward(self, x):
            return (x > 0).sum(-1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.count = nn.Linear(3, 4), Count()

        def forward(self, x):
            y = self.linear(x)
            return y.sum(-1) + self.count(y)

    with pytest.raises(ProbeError, match="layer 'count' returned no array of floating-point numbers"):
        probe(Net(), layers=["count"])
    assert probe(Net(), layers=["*"]).layers == ("linear", "output")


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

    out_of_memory = failure is torch.OutOfMemoryError
    with pytest.raises(ProbeError if out_of_memory else failure):
        jetsym.probe(model, torch.ones(4, 3), call=call, l_max=1, batch_size=40, progress=False)
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

    with pytest.raises(ProbeError, match="nothing redraws '0.scale': the modules that hold them"):
        untrained_copy(nn.Sequential(Own()), seed=0)


class Sum(nn.Module):
    """Two blocks, one of them shared, and a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.second = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return 3 * self.head(self.second(self.second(self.first(x))))


def probe(model, **options):
    points = torch.linspace(-1, 1, 12).reshape(4, 3)
    return jetsym.probe(model, points, l_max=1, progress=False, **options)


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return Sum()


LAYERS = ("first", "second", "second@2", "head", "output")


# A freshly compiled function warns about its own imports in some versions of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("way", "backend", "warm"),
    [
        ("function", "eager", False),
        ("function", "eager", True),
        ("method", "eager", True),
        ("part", "eager", True),
        pytest.param("function", "inductor", True, marks=pytest.mark.slow),
    ],
)
def test_compiled_models_are_read_like_plain_ones(plain, backend, way, warm):
    expected = probe(plain)
    compiled = plain
    if way == "function":
        compiled = torch.compile(plain, backend=backend)
    elif way == "method":
        plain.compile(backend=backend)
    else:
        plain.first = torch.compile(plain.first, backend=backend)
    compiled.train()
    if warm:  # a graph traced before there were hooks knows none
        compiled(torch.ones(4, 3))
    assert is_compiled(compiled)
    report = probe(compiled, baseline="untrained")
    assert report.layers == expected.layers == LAYERS
    np.testing.assert_array_equal(report.fractions, expected.fractions)
    assert report.meta["model"] == "Sum"
    assert "without compilation" in report.meta["notes"][0]
    assert "without compilation" not in expected.meta["notes"][0]
    assert hooks(plain) == 0
    assert is_compiled(compiled)
    assert all(module.training for module in compiled.modules())
    assert probe(compiled, layers="first.*").layers == ("first.0", "first.1", "output")
    assert torch.compiler.is_compiling() is False
    compiled(torch.ones(4, 3))


def test_wrappers_do_not_change_the_names(plain):
    assert probe(nn.DataParallel(plain)).layers == LAYERS
    assert unwrapped(nn.DataParallel(nn.DataParallel(plain))) is plain
    assert unwrapped(plain) is plain


@pytest.mark.parametrize("inference", [False, True])
def test_activations_are_those_returned_however_they_are_changed_later(plain, inference):
    """An activation in place overwrites what the layer before it returned."""
    torch.manual_seed(1)
    layers = nn.Linear(3, 4), nn.Linear(4, 2)
    clean = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    model = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1])
    call = torch.inference_mode()(lambda network, x: network(x)) if inference else None
    expected, report = probe(clean), probe(model, call=call)
    np.testing.assert_allclose(report.fractions, expected.fractions, atol=1e-12)
    assert report.layers == ("0", "1", "output")
    assert np.abs(report.fractions[0] - report.fractions[1]).max() > 0.01


def test_a_layer_that_hands_its_input_on_is_measured_where_it_is_named(plain):
    model = nn.Sequential(nn.Linear(3, 4), nn.Identity(), nn.Dropout(0.5), nn.Linear(4, 2))
    assert probe(model).layers == ("0", "output")
    report = probe(model, layers=["?"])
    assert report.layers == ("0", "1", "2", "output")
    np.testing.assert_array_equal(report.fractions[[0, 0]], report.fractions[1:3])


class Sly(nn.Module):
    """Changes what it was given, or what it returned before, in a way that torch does not count."""

    def __init__(self, how):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.how = how

    def forward(self, x):
        h = self.first(x)
        y = self.second(h)
        self.how(h)
        return self.head(y + h)


def by_numpy(h):
    h.numpy()[...] = np.abs(h.numpy())


def by_data(h):
    h.data.abs_()


def by_another_tensor(h):
    torch.from_numpy(h.numpy()).abs_()


def by_set(h):
    h.untyped_storage().fill_(0)


@pytest.mark.parametrize("how", [by_numpy, by_data, by_another_tensor, by_set])
@pytest.mark.parametrize("layers", ["auto", ["first"]])
def test_changes_that_torch_does_not_count_are_seen(how, layers):
    torch.manual_seed(0)
    sly = Sly(how)
    expected = probe(nn.Sequential(sly.first, nn.Tanh()), layers=["0"])
    report = probe(sly, layers=layers)
    assert report.layers[0] == "first"
    np.testing.assert_allclose(report.fractions[0], expected.fractions[0], atol=1e-12)
    np.testing.assert_allclose(report.norm[0], expected.norm[0], rtol=1e-6)


class Reusing(nn.Module):
    """Writes what it returns to the same memory in every pass, as graphs of CUDA do."""

    def __init__(self, copied):
        super().__init__()
        self.layer, self.copied, self.memory = nn.Linear(3, 2), copied, {}

    def forward(self, x):
        y = self.layer(x)
        if self.copied:
            return y.clone()
        memory = self.memory.setdefault(tuple(y.shape), torch.zeros_like(y))
        memory.data.copy_(y)
        return memory


@pytest.mark.parametrize("wrapped", [False, True])
def test_memory_that_is_written_to_in_every_pass_is_copied(wrapped):
    """f(R) and f(−R) would else be the same array, and everything even."""

    def make(copied):
        torch.manual_seed(0)
        layer = Reusing(copied)
        return nn.Sequential(layer, nn.Tanh(), nn.Linear(2, 1)) if wrapped else layer

    expected, report = (probe(make(copied)) for copied in (True, False))
    assert expected.layers == report.layers
    np.testing.assert_allclose(report.fractions, expected.fractions, atol=1e-12)
    np.testing.assert_allclose(report.norm, expected.norm, rtol=1e-6)


def test_memory_of_numpy_that_is_written_to_in_every_call_is_copied():
    memory = {}

    def function(x):
        out = memory.setdefault(len(x), np.zeros((len(x), 1)))
        out[...] = x[:, :1]
        return out

    points = np.random.default_rng(0).normal(size=(4, 3))
    reports = [jetsym.probe(f, points, l_max=1, progress=False) for f in (lambda x: x[:, :1], function)]
    np.testing.assert_allclose(reports[1].fractions, reports[0].fractions, atol=1e-12)
    assert reports[1].equivariance["output"].relative == pytest.approx(1.0)


def test_layers_that_run_now_and_then_are_refused(plain):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.passes = nn.Linear(3, 1), 0

        def forward(self, x):
            self.passes += 1
            y = self.layer(x)
            return y + (0 * self.layer(x) if self.passes > 12 else 0)

    with pytest.raises(ProbeError, match="'layer@2' ran in some forward passes only"):
        probe(Moody())


def test_a_model_on_several_devices_stays_there(plain):
    plain.head.to("meta")
    before = [parameter.device for parameter in plain.parameters()]
    with pytest.raises(ProbeError, match="spread over cpu, meta; leave device out"):
        probe(plain, device="cpu")
    assert [parameter.device for parameter in plain.parameters()] == before


@pytest.mark.parametrize("layers", [["0", "2"], ["0"], "auto"])
def test_a_named_layer_that_is_an_output_is_said(layers):
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    report = jetsym.probe(net, torch.randn(6, 3), layers=layers, l_max=1, progress=False)
    said = [note for note in report.meta["notes"] if "not listed by itself" in note]
    assert said == (["'2' is not listed by itself: it is the output 'output'."] if "2" in layers else [])
