"""Modules that run as one: their outputs are read, and no layers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.domains.arrays import ARRAYS
from jetsym.errors import ProbeError
from jetsym.probing.forward.closed import closed
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.measure.generators import measure_generators
from jetsym.remedies.symmetrized import Symmetrized

QUIET = {"l_max": 2, "progress": False}
IGNORED = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytestmark = IGNORED


class Net(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.drop, self.last = nn.Linear(size, 8), nn.Dropout(0.5), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.drop(self.first(x).tanh()))


def saved(net, x):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net), file)
    file.seek(0)
    return torch.jit.load(file)


def program(net, x):
    return torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("inputs")},))


WAYS = {
    "scripted": lambda net, x: torch.jit.script(net),
    "traced": torch.jit.trace,
    "saved": saved,
    "frozen": lambda net, x: torch.jit.freeze(torch.jit.script(net)),
    "frozen trace": lambda net, x: torch.jit.freeze(torch.jit.trace(net, x)),
    "optimised": lambda net, x: torch.jit.optimize_for_inference(torch.jit.script(net)),
    "exported": lambda net, x: program(net, x).module(),
    "program": program,
}
WORDS = {"traced": "traced", "exported": "exported", "program": "exported"}


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


def made(way, net=None, size=3):
    return WAYS[way]((net or Net(size)).eval(), torch.randn(4, size))


@pytest.mark.parametrize("way", WAYS)
def test_its_outputs_are_those_of_the_module(way, points):
    model = made(way)
    for given in (points, points.astype("float64")):
        expected, report = (jetsym.probe(one, given, outputs={"y": "logits"}, **QUIET) for one in (Net(), model))
        assert report.layers == ("y",)
        assert f"The model is {WORDS.get(way, 'scripted')} and runs as one" in " ".join(report.meta["notes"])
        np.testing.assert_allclose(report.fractions[-1], expected.fractions[-1], atol=1e-5)
        assert report.equivariance["y"].relative == pytest.approx(expected.equivariance["y"].relative, rel=1e-5)


@pytest.mark.parametrize("layers", ["first", ["last"], ["*"], ["nothing"]])
@pytest.mark.parametrize("way", WAYS)
def test_its_layers_are_refused_with_a_word(way, layers, points):
    with pytest.raises(ProbeError, match="the model is (scripted|traced|exported) and runs as one"):
        jetsym.probe(made(way), points, layers=layers, **QUIET)


@pytest.mark.parametrize("way", WAYS)
def test_every_measurement_takes_it(way, points):
    model = made(way)
    average, expected = (orbit_average(one, points)["output"] for one in (model, Net().eval()))
    np.testing.assert_allclose(average.mean, expected.mean, atol=1e-6)
    assert attribute(model, points, progress=False).effects == {"output": {}}  # its precision is its own
    with pytest.raises(ProbeError, match=r"nothing redraws|has none"):
        jetsym.probe(model, points, baseline="untrained", **QUIET)
    momenta = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    model, net = made(way, size=4), Net(4).eval()
    model = model.module() if way == "program" else model
    local, plain = (measure_generators(Session(one, ARRAYS), momenta, axes="beam") for one in (model, net))
    assert "central differences" in local.meta["method"]  # scripted code loses tangents without a word
    np.testing.assert_allclose(local.squared[-1], plain.squared[-1], rtol=1e-2)
    boosted = jetsym.probe(model, momenta, group="boost", widths=[0.3], **QUIET)
    assert boosted.layers == ("output",)


@pytest.mark.parametrize("way", ["scripted", "traced", "frozen", "exported"])
def test_within_a_module_of_its_own_layers_around_it_are_read(way, points):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.before, self.model, self.after = nn.Linear(3, 3), made(way), nn.Linear(2, 2)

        def forward(self, x):
            return self.after(self.model(self.before(x)).tanh()) ** 2

    net = Around()
    report = jetsym.probe(net, points, **QUIET)
    assert net.after.training
    assert report.layers == ("before", *(["model"] if way == "exported" else []), "after", "output")
    if way != "exported":
        assert any(note.startswith("'model' is ") for note in report.meta["notes"])
        with pytest.raises(ProbeError, match="'model' cannot be read: 'model' is"):
            jetsym.probe(net, points, layers=["model"], **QUIET)
    if way != "frozen":  # which has no parts
        with pytest.raises(ProbeError, match="'model.first' cannot be read: 'model' is"):
            jetsym.probe(net, points, layers=["model.first"], **QUIET)
    assert jetsym.probe(net, points, layers=["before", "aft*"], **QUIET).layers == ("before", "after", "output")
    assert "central differences" in _slopes(nn.Sequential(nn.Linear(4, 3), net))


def _slopes(model):
    momenta = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    return measure_generators(Session(model, ARRAYS, layers=[]), momenta, axes="beam").meta["method"]


def test_what_was_made_for_one_number_of_inputs_is_refused(points):
    model = torch.export.export(Net().eval(), (torch.randn(4, 3),)).module()
    with pytest.raises(ProbeError, match=r"the exported model cannot be run \(.*4\): .* made for"):
        jetsym.probe(model, points, **QUIET)


def test_what_was_exported_while_training_is_random_still(points):
    model = torch.export.export(Net().train(), (torch.randn(4, 3),), dynamic_shapes=({0: torch.export.Dim("n")},))
    with pytest.raises(ProbeError, match="draws random numbers"):
        jetsym.probe(model, points, **QUIET)


def test_a_graph_of_modules_is_read_as_its_modules_are(points):
    traced = torch.fx.symbolic_trace(Net().eval())
    assert closed(traced) is None
    assert jetsym.probe(traced, points, **QUIET).layers == jetsym.probe(Net(), points, **QUIET).layers
    assert "forward-mode" in _slopes(torch.fx.symbolic_trace(Net(4).eval()))


def test_scripted_forces(points):
    class Force(nn.Module):
        def forward(self, x):
            x = x.requires_grad_(True)
            (gradient,) = torch.autograd.grad([(x**2).sum()], [x])
            return gradient

    report = jetsym.probe(torch.jit.script(Force()), points, outputs={"force": "vector"}, **QUIET)
    assert report.equivariance["force"].relative < 1e-6


@pytest.mark.parametrize("where", ["forward", "function", "decorated"])
def test_compiled_code_is_run_as_it_was_written(where, points):
    """Traced without hooks, it would run past them."""
    net = Net().eval()
    expected = jetsym.probe(net, points, layers=["first"], **QUIET)
    if where == "forward":
        net.forward = torch.compile(net.forward, backend="eager")
        model = net
    elif where == "function":
        inner = torch.compile(lambda x: net(x), backend="eager")

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):
                return inner(x)

        model = Model()
    else:

        class Decorated(Net):
            @torch.compile(backend="eager")
            def forward(self, x):
                return super().forward(x)

        model = Decorated().eval()
    model(torch.as_tensor(points))
    report = jetsym.probe(model, points, layers=["*first"], **QUIET)
    assert len(report.layers) == 2
    np.testing.assert_array_equal(report.fractions, expected.fractions)


@pytest.mark.parametrize("way", ["scripted", "exported", "frozen"])
def test_its_average_is_what_the_module_s_is(way, points):
    found, expected = (Symmetrized(one, "O3", 2)(torch.as_tensor(points)) for one in (made(way), Net().eval()))
    torch.testing.assert_close(found, expected)
