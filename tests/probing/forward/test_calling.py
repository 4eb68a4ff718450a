"""Models that differentiate as they run, and numbers that models take."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.domains.arrays import ARRAYS
from jetsym.probing.forward.calling import DIFFERENTIATES_NOTE, Caller, numbers_of
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.measure.generators import measure_generators
from jetsym.remedies.symmetrized import Symmetrized

QUIET = {"l_max": 2, "progress": False}
WAYS = ["grad", "graph", "detach", "outside", "backward", "asks", "func", "jacobian", "scripted"]


class Energy(nn.Module):
    """A function of the length: its force is exactly a vector, or not where the last component counts more."""

    def __init__(self, uneven=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.out = nn.Linear(1, 8), nn.Linear(8, 1)
        self.uneven = uneven

    def forward(self, x):
        scaled = torch.cat([x[..., :-1], self.uneven * x[..., -1:]], -1)
        return self.out(self.hidden((scaled**2).sum(-1, keepdim=True)).tanh())[..., 0]


class ScriptedForce(nn.Module):
    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, x):
        x = x.requires_grad_(True)
        energy = self.energy(x)
        (gradient,) = torch.autograd.grad([energy.sum()], [x])
        assert gradient is not None
        return {"energy": energy, "force": -gradient}


class Force(nn.Module):
    """An energy and its force, by one of the ways in which networks take it."""

    def __init__(self, way, uneven=1.0):
        super().__init__()
        self.way, self.energy = way, Energy(uneven)

    def forward(self, x):
        if self.way == "func":
            force = -torch.func.vmap(torch.func.grad(self.energy))(x)
            return {"energy": self.energy(x), "force": force}
        if self.way == "jacobian":
            force = -torch.autograd.functional.jacobian(lambda x: self.energy(x).sum(), x)
            return {"energy": self.energy(x), "force": force}
        if self.way == "asks" and not torch.is_grad_enabled():
            raise ValueError("forces need gradients: leave torch.no_grad() out")
        if self.way == "detach":
            x = x.detach().clone()
        if self.way != "outside":
            x.requires_grad_()
        energy = self.energy(x)
        if self.way == "backward":
            energy.sum().backward(retain_graph=True)
            return {"energy": energy, "force": -x.grad}
        return {"energy": energy, "force": -torch.autograd.grad(energy.sum(), x, create_graph=self.way == "graph")[0]}


def force(way, uneven=1.0):
    if way == "scripted":
        return torch.jit.script(ScriptedForce(Energy(uneven)).double())
    return Force(way, uneven).double()


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(5, 3))


OUTPUTS = {"energy": "scalar", "force": "vector"}


@pytest.mark.parametrize("way", WAYS)
def test_a_force_is_read_however_it_is_taken(points, way):
    model = force(way)
    before = [torch.ones_like(parameter) for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        parameter.grad = gradient
    report = jetsym.probe(model, points, outputs=OUTPUTS, **QUIET)
    for item in report.equivariance.values():
        assert abs(item.relative) <= item.noise_floor < 1e-13
    broken = jetsym.probe(force(way, 1.5), points, outputs=OUTPUTS, **QUIET).equivariance
    assert broken["force"].relative > 0.01
    assert (DIFFERENTIATES_NOTE in report.meta["notes"]) == (way not in ("func", "jacobian"))
    for parameter, gradient in zip(model.parameters(), before, strict=True):  # nothing was added to them
        assert parameter.grad is gradient
        assert gradient.eq(1).all()
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def test_its_layers_are_read_and_hold_no_graph(points):
    session = Session(force("graph"), ARRAYS, layers=["energy.*"])
    with session.open(points) as (running, placed):
        before = count_graphs()
        for _ in range(2):
            responses = running.along(placed, np.eye(3)[None])
            assert list(responses) == ["energy.hidden", "energy.out", "energy", "force"]
            assert not any(array.requires_grad or array.grad_fn for array in responses.values())
        del responses
        assert count_graphs() <= before


def count_graphs():
    gc.collect()
    return sum(type(item) is torch.Tensor and item.grad_fn is not None for item in gc.get_objects())


def test_what_runs_inside_a_transformation_is_not_read(points):
    report = jetsym.probe(force("func"), points, layers=["energy.*"], outputs=OUTPUTS, **QUIET)
    assert report.layers == ("energy.hidden@2", "energy.out@2", "energy", "force")
    assert any("transformation of torch.func: 'energy.hidden'" in note for note in report.meta["notes"])


@pytest.mark.parametrize("way", ["grad", "graph", "detach", "outside", "backward"])
def test_slopes_of_a_force_are_its_derivatives(way):
    """‖L_X f‖² by differences of the function outside of torch."""
    momenta = np.random.default_rng(1).normal(size=(4, 4))
    model = force(way, 1.3)
    plain = Force("graph", 1.3).double()

    def function(p):
        return {name: array.detach().numpy() for name, array in plain(torch.tensor(p)).items()}

    found, expected = (
        measure_generators(Session(one, ARRAYS, layers=[]), momenta, axes="beam") for one in (model, function)
    )
    assert found.layers == expected.layers
    assert expected.squared.max() > 1e-3
    np.testing.assert_allclose(found.squared, expected.squared, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("way", ["grad", "outside", "backward"])
def test_every_measurement_runs_it(points, way):
    momenta = np.concatenate([np.linalg.norm(points, axis=1, keepdims=True) + 1, points], axis=1)
    boosted = jetsym.probe(force(way), momenta, group="boost", widths=[0.3], outputs={}, **QUIET)
    assert boosted.equivariance["energy"].relative > 0.01
    random = jetsym.probe(force(way), points, n_rotations=4, outputs=OUTPUTS, layers=[], progress=False, l_max=1)
    assert abs(random.equivariance["force"].relative) <= random.equivariance["force"].noise_floor
    average = orbit_average(force(way, 1.5), points, outputs=OUTPUTS)
    assert average["force"].squared_error.min() > 1e-6
    effects = attribute(force(way), points, outputs=OUTPUTS, progress=False).effects
    assert list(effects["force"]) == ["rounding", "mixed precision"]
    baseline = jetsym.probe(force(way), points, outputs=OUTPUTS, baseline="untrained", n_draws=2, **QUIET).baseline
    assert baseline.equivariance["force"].relative < 1e-12


@pytest.mark.parametrize("way", ["grad", "graph", "outside", "detach"])
def test_an_average_of_forces(points, way):
    symmetrized = Symmetrized(force(way, 1.5), "O3", 12, outputs=OUTPUTS)
    x = torch.tensor(points)
    with torch.no_grad():
        quiet = symmetrized(x)["force"]
    found = symmetrized(x)["force"]
    torch.testing.assert_close(quiet, found)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    torch.testing.assert_close(symmetrized(x @ turn.T)["force"], found @ turn.T, rtol=1e-3, atol=1e-4)
    if way == "graph":
        (gradient,) = torch.autograd.grad(symmetrized(x.requires_grad_())["force"].square().sum(), x)
        assert gradient.abs().max() > 1e-3


def test_it_runs_where_the_caller_is_in_inference_mode(points):
    model, x = force("grad"), torch.tensor(points)
    expected = jetsym.probe(model, x, outputs=OUTPUTS, **QUIET)
    with torch.inference_mode():
        report = jetsym.probe(model, torch.tensor(points), outputs=OUTPUTS, **QUIET)
    np.testing.assert_array_equal(report.fractions, expected.fractions)
    assert not x.requires_grad


def test_an_error_that_has_nothing_to_do_with_gradients_is_raised_as_it_is(points):
    calls = []

    def model(x):
        calls.append(torch.is_grad_enabled())
        raise RuntimeError("broken")

    with torch.no_grad(), pytest.raises(RuntimeError, match="broken"):
        Caller()(model, torch.ones(2))
    assert calls == [False]

    def asks(x):
        calls.append(torch.is_grad_enabled())
        raise RuntimeError("gradients, please")

    with torch.no_grad(), pytest.raises(RuntimeError, match="please"):
        Caller()(asks, torch.ones(2))
    assert calls == [False, False, True, True]


class Steps(nn.Module):
    """Linear layers in numbers of their own, each of which is given what it takes but the first."""

    def __init__(self, *types):
        super().__init__()
        self.last = nn.Linear(4, 2, dtype=types[-1])
        self.first = nn.Linear(3, 4, dtype=types[0])
        self.types = types

    def forward(self, x):
        return self.last(self.first(x).tanh().to(self.types[-1]))


class Whole(nn.Module):
    """Weights that were quantised to whole numbers, with a scale."""

    def __init__(self, scale):
        super().__init__()
        weights = torch.randint(-9, 9, (3, 4), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
        self.weights = nn.Parameter(weights, requires_grad=False)
        self.register_buffer("scale", torch.tensor(0.1, dtype=scale))

    def forward(self, x):
        return x @ (self.weights.to(self.scale) * self.scale)


class Buffers(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.register_buffer("weights", torch.eye(3, dtype=dtype))

    def forward(self, x):
        return x @ self.weights


class Waves(nn.Module):
    """Complex parameters, layers and outputs."""

    def __init__(self, dtype):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4, dtype=dtype), nn.Linear(4, 2, dtype=dtype)

    def forward(self, x):
        return self.last(self.first(x.to(self.first.weight.dtype)))


def quantised():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        *(
            (lambda a=a, b=b: Steps(a, b), {})
            for a, b in [(SINGLE, DOUBLE), (DOUBLE, SINGLE), (HALF, SINGLE), (SINGLE, HALF), (HALF, DOUBLE)]
        ),
        (lambda: Whole(SINGLE), {}),
        (lambda: Whole(DOUBLE), {}),
        (lambda: Buffers(SINGLE), {}),
        (lambda: Buffers(DOUBLE), {}),
        (nn.Tanh, {}),
        pytest.param(quantised, {"batch_size": 1}, marks=pytest.mark.filterwarnings("ignore")),
        (lambda: Waves(torch.complex64), {}),
        (lambda: Waves(torch.complex128), {}),
        (lambda: nn.Linear(3, 2, dtype=HALF), {}),
    ],
)
def test_a_model_is_given_numbers_that_it_takes(points, given, make, options):
    report = jetsym.probe(make(), points.astype(given), l_max=1, progress=False, **options)
    assert report.layers[-1] == "output"
    assert report.equivariance["output"].relative > 0.01


def test_which_numbers_may_be_taken():
    assert numbers_of(Steps(SINGLE, DOUBLE), "float64")[0] == DOUBLE
    assert numbers_of(Steps(SINGLE, DOUBLE), "float32")[0] == SINGLE
    assert numbers_of(Steps(HALF, HALF), "float32") == [HALF]
    assert numbers_of(nn.Tanh(), "float64") == [None, SINGLE]
    assert numbers_of(Whole(DOUBLE), "float32") == [None, DOUBLE]
    assert numbers_of(Waves(torch.complex128), "float32") == [DOUBLE]


class Beside(nn.Module):
    """One component on a large offset, which 16 bits do not hold, beside a layer of 16 bits, if any."""

    def __init__(self, *types):
        super().__init__()
        self.sides = nn.ModuleList(nn.Linear(3, 4, dtype=dtype) for dtype in types)

    def forward(self, x):
        for side in self.sides:
            side(x.to(side.weight.dtype))
        return 1e4 + x[:, 2]


@pytest.mark.parametrize("types", [(HALF,), (torch.float16,), (HALF, SINGLE), (SINGLE, HALF)])
@pytest.mark.parametrize("given", [SINGLE, DOUBLE])
def test_coarse_parameters_do_not_round_what_the_caller_gave(points, types, given):
    x = torch.tensor(points, dtype=given)
    expected = (x.norm(dim=1).square().mean() / 3).sqrt().item()  # the root mean square of x_z over rotations
    item = jetsym.probe(Beside(*types), x, layers=[], **QUIET).equivariance["output"]
    assert item.absolute == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("model", "given", "note"),
    [
        (nn.Linear(3, 2, dtype=HALF), SINGLE, "converted from float32 to bfloat16"),
        (nn.Linear(3, 2), DOUBLE, "converted from float64 to float32"),
        (nn.Linear(3, 2, dtype=DOUBLE), SINGLE, "converted from float32 to float64"),
        (nn.Linear(3, 2), SINGLE, None),
        (Beside(HALF), SINGLE, None),
    ],
)
def test_numbers_that_are_converted_are_said(points, model, given, note):
    report = jetsym.probe(model, torch.tensor(points, dtype=given), l_max=1, progress=False)
    said = [text for text in report.meta["notes"] if "converted" in text]
    assert len(said) == (note is not None)
    assert note is None or note in said[0]


def test_complex_features_are_two_real_ones(points):
    """Layer by layer, what a network of pairs says: powers add."""

    class Pairs(Waves):
        def forward(self, x):
            hidden = self.first(x.to(self.first.weight.dtype))
            return torch.cat([hidden.real, hidden.imag], -1)

    torch.manual_seed(0)
    waves = Waves(torch.complex128)
    pairs = Pairs(torch.complex128)
    pairs.load_state_dict(waves.state_dict())
    for options in ({"group": "O3"}, {"group": "SO2"}, {"n_rotations": 5}):
        one, two = (
            jetsym.probe(net, points, l_max=2, progress=False, layers=names, **options)
            for net, names in ((waves, ["first"]), (pairs, []))
        )
        np.testing.assert_allclose(one.fractions[0], two.fractions[0], atol=1e-12)
        assert one.norm[0] == pytest.approx(two.norm[0], rel=1e-12)
    momenta = np.random.default_rng(1).normal(size=(4, 4))

    class Four(nn.Module):
        def forward(self, p):
            return torch.complex(p[:, 0] * p[:, 3], p[:, 1] ** 2)

    class Real(nn.Module):
        def forward(self, p):
            return torch.stack([p[:, 0] * p[:, 3], p[:, 1] ** 2], -1)

    one, two = (measure_generators(Session(net, ARRAYS), momenta, axes="beam") for net in (Four(), Real()))
    np.testing.assert_allclose(one.squared, two.squared, rtol=1e-10)
    one, two = (
        jetsym.probe(net, momenta, group="boost", widths=[0.3], l_max=2, progress=False) for net in (Four(), Real())
    )
    np.testing.assert_allclose(one.energies, two.energies, atol=1e-12)
    assert one.equivariance["output"].relative == pytest.approx(two.equivariance["output"].relative, rel=1e-12)


def test_a_complex_output_is_averaged_and_its_precision_switched(points):
    torch.manual_seed(0)
    waves = Waves(torch.complex64)
    effects = attribute(waves, points.astype("float32"), progress=False, sources=["rounding"]).effects["output"]
    assert effects["rounding"].change == "float64"
    average = Symmetrized(waves, "O3", 1)(torch.tensor(points))
    bias = waves.last(waves.first.bias)
    torch.testing.assert_close(average, bias.expand(5, 2).to(average.dtype), atol=1e-5, rtol=1e-5)
