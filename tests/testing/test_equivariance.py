"""``assert_equivariant``: exact models pass in every precision, planted faults fail, and nothing else passes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import legval

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import build
from jetsym.probing.measure import rounding
from jetsym.testing import UnresolvedError, assert_equivariant
from jetsym.testing.findings import collecting
from jetsym.testing.judgement import judge

POINTS = np.random.default_rng(0).normal(size=(8, 5, 3))


class Net(torch.nn.Module):
    """An invariant network of distances, with a part of a lab component added behind its second layer."""

    def __init__(self, dtype: torch.dtype = torch.float64, fault: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second, self.third = (
                torch.nn.Linear(n, m, dtype=dtype) for n, m in ((1, 16), (16, 16), (16, 16))
            )
            self.head = torch.nn.Linear(16, 1, dtype=dtype)
        self.dtype, self.fault = dtype, fault

    def forward(self, x):
        h = torch.tanh(self.first((x**2).sum(-1, keepdim=True).to(self.dtype)))
        h = torch.tanh(self.second(h))
        h = self.third(h + self.fault * x[..., 2:].to(self.dtype))
        return self.head(torch.tanh(h).mean(1))[:, 0]


def points(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.as_tensor(POINTS, dtype=dtype)


# --- exact models ---


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_invariant_network_passes_in_its_precision(dtype):
    inputs = points(torch.float64 if dtype == torch.float64 else torch.float32)
    report = assert_equivariant(Net(dtype), inputs, {"energy": "scalar"}, permutation=True)
    assert isinstance(report, jetsym.SymmetryReport)
    assert report.equivariance["energy"].noise_floor < 0.01


def test_tensors_of_e3nn_pass_and_without_parity_fail():
    e3nn = pytest.importorskip("e3nn.o3")
    torch.manual_seed(0)
    to_xyz = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    good, mixed = (
        e3nn.FullyConnectedTensorProduct("4x0e+2x1o", "1x0e+1x1o", out, shared_weights=True).double()
        for out in ("1x0e+1x1o", "1x0e+1x1e")
    )

    def of(product):
        def model(x):
            length = (x**2).sum(-1)
            yzx = x @ to_xyz
            features = torch.cat([length[:, :4], yzx[:, :2].flatten(1)], -1)
            out = product(features, torch.cat([length[:, :1], yzx[:, 2]], -1))
            return {"energy": out[:, 0], "dipole": out[:, 1:] @ to_xyz.T}

        return model

    kinds = {"energy": "scalar", "dipole": "vector"}
    assert_equivariant(of(good), points(), kinds)
    with pytest.raises(AssertionError, match=r"dipole is not equivariant as vector under O3: .*; 100 % of A² is in"):
        assert_equivariant(of(mixed), points(), kinds)
    assert_equivariant(of(mixed), points(), kinds, group="SO3")


def test_functions_of_arrays_pass():
    kinds = {"sum": "vector", "each": "vector", "size": "scalar", "tensor": "rank2", "spin": "pseudovector"}

    def model(x):
        return {
            "sum": x.sum(1),
            "each": x * (x**2).sum(-1, keepdims=True),
            "size": (x**2).sum((1, 2)),
            "tensor": np.einsum("npi,npj->nij", x, x),
            "spin": np.cross(x[:, 0], x[:, 1]),
        }

    assert_equivariant(model, POINTS, kinds)


# --- faults ---

FAULTS = {
    "a component of the lab": (lambda x: x.sum(1) + np.array([0, 0, 0.1]), "vector", {}, r"in \(1,\+\)"),
    "a component that is not invariant": (lambda x: x[:, 0, 2], "scalar", {}, r"in \(1,\+\)"),
    "a cubic function of the lab": (lambda x: x[:, 0, 2] ** 3, "scalar", {}, r"in \(1,\+\)"),
    "parity": (lambda x: np.cross(x[:, 0], x[:, 1]), "vector", {}, r"in \(0,−\)"),
    "a sign": (lambda x: np.linalg.det(x[:, :3]), "scalar", {}, r"in \(0,−\)"),
    "a transposed component": (lambda x: x.sum(1)[:, [1, 0, 2]], "vector", {}, "not equivariant"),
    "the first point": (lambda x: x[:, 0], "vector", {"permutation": True}, "when points change places"),
    "weights by place": (lambda x: x * np.arange(5.0)[:, None], "vector", {"group": "permutations"}, "change places"),
    "about the beam": (lambda x: x[:, 0, 0], "scalar", {"group": "SO2"}, "in m=1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told(name):
    model, kind, options, words = FAULTS[name]
    with pytest.raises(AssertionError, match=words):
        assert_equivariant(model, POINTS, {"out": kind}, **options)


@pytest.mark.parametrize(("dtype", "fault"), [(torch.float64, 1e-13), (torch.float32, 2e-4), (torch.bfloat16, 0.3)])
def test_a_fault_above_rounding_is_told_with_the_layer_that_shows_it_first(dtype, fault):
    inputs = points(torch.float64 if dtype == torch.float64 else torch.float32)
    with pytest.raises(AssertionError, match="energy is not invariant under O3.*first shows in layer 'third'"):
        assert_equivariant(Net(dtype, fault * 10), inputs, {"energy": "scalar"})
    if dtype != torch.bfloat16:  # which hides what is an ulp of it
        assert_equivariant(Net(dtype, fault), inputs, {"energy": "scalar"}, at_most=0.01)


def test_a_broken_floor_is_seen(monkeypatch):
    """A floor that is too low fails exact models, and one that is too high passes faults."""
    exact, faulty, kinds = Net(), Net(fault=1e-12), {"energy": "scalar"}
    monkeypatch.setattr(rounding, "MARGIN", 1e-4)
    with pytest.raises(AssertionError):
        assert_equivariant(exact, points(), kinds)
    monkeypatch.setattr(rounding, "MARGIN", 1e8)
    assert_equivariant(faulty, points(), kinds)
    monkeypatch.undo()
    assert_equivariant(exact, points(), kinds)
    with pytest.raises(AssertionError):
        assert_equivariant(faulty, points(), kinds)


def test_a_layer_that_depends_on_the_order_is_named():
    class Ordered(Net):
        def forward(self, x):
            h = torch.tanh(self.second(torch.tanh(self.first((x**2).sum(-1, keepdim=True)))))
            h = self.third(h * torch.arange(1.0, 6, dtype=h.dtype)[:, None])
            return self.head(h.mean(1))[:, 0]

    with pytest.raises(AssertionError, match="first shows in layer 'third'"):
        assert_equivariant(Ordered(), points(), {"energy": "scalar"}, permutation=True)


# --- what cannot be told ---


def test_what_rounding_hides_never_passes():
    def rough(x):
        return (x.to(torch.bfloat16) ** 2).sum((1, 2)).float() - 12

    with pytest.raises(UnresolvedError, match="cannot be told from rounding.*higher precision"):
        assert_equivariant(rough, points(torch.float32), {"energy": "scalar"})
    with pytest.raises(UnresolvedError, match="allow more"):
        assert_equivariant(rough, points(torch.float32), {"energy": "scalar"}, at_most=1e-3)
    with pytest.raises(UnresolvedError, match="allow more"):
        assert_equivariant(Net(torch.float32), points(torch.float32), {"energy": "scalar"}, at_most=1e-10)


def test_zero_and_nothing_never_pass():
    with pytest.raises(UnresolvedError, match="zero for all inputs"):
        assert_equivariant(lambda x: 0 * x.sum(1), POINTS, {"out": "vector"})
    with pytest.raises(UnresolvedError, match="no output has a law"):
        assert_equivariant(lambda x: x.sum(1), POINTS, {"out": None})


def test_an_output_of_a_single_number_is_refused_in_words():
    with pytest.raises(ProbeError, match="expected the inputs along its first axis"):
        assert_equivariant(lambda x: np.float64((x**2).sum()), POINTS, {"size": "scalar"})


def test_an_output_that_is_not_measured_never_passes():
    def model(x):
        return {"size": (x**2).sum((1, 2)), "table": (x**2).sum((0, 2))}

    for outputs in (None, {"size": "scalar"}, {"size": "scalar", "table": "scalar"}):
        with pytest.raises(UnresolvedError, match="'table' was not measured: .*the inputs are along none of its axes"):
            assert_equivariant(model, POINTS, outputs)
    assert_equivariant(model, POINTS, {"size": "scalar", "table": None})


def test_an_error_as_large_as_what_is_allowed_is_open():
    def model(x):  # one input in eight errs
        size = (x**2).sum((1, 2))
        return size + np.where(size > second, x[:, 0, 2], 0)

    second = np.sort((POINTS**2).sum((1, 2)))[-2] + 1e-6

    measured = jetsym.probe(model, POINTS, progress=False).equivariance["output"]
    assert measured.relative_stderr > 0.1 * measured.relative
    with pytest.raises(UnresolvedError, match="give more inputs"):
        assert_equivariant(model, POINTS, {"out": "scalar"}, at_most=measured.relative * 1.01)
    with pytest.raises(UnresolvedError, match="give more inputs"):
        assert_equivariant(model, POINTS, {"out": "scalar"}, at_most=measured.relative * 0.99)
    assert_equivariant(model, POINTS, {"out": "scalar"}, at_most=10 * measured.relative)
    with pytest.raises(AssertionError, match="not invariant under O3 to 1e-06"):
        assert_equivariant(model, POINTS, {"out": "scalar"}, at_most={"out": 1e-6})


def smooth(points):
    """Invariant but for a bounded function of the lab that has a tail beyond every l_max: A is 0.0041."""
    return (points**2).sum((1, 2)) + 0.05 * np.tanh(points[..., 2]).sum(1)


def test_what_the_rule_does_not_see_is_compared_with_what_is_allowed():
    kinds = {"size": "scalar"}
    for l_max in (3, 4, 6):
        report = assert_equivariant(smooth, POINTS, kinds, at_most=0.3, l_max=l_max)
        assert not report.is_seen("size")  # which was refused, far as the bound is from what A can be
        assert not report.meta["unbiased"]
    with pytest.raises(AssertionError, match=r"not invariant under O3 to 0.001: .*does not see of it between 0\.00"):
        assert_equivariant(smooth, POINTS, kinds, at_most=1e-3)
    near = report.equivariance["size"].relative * 1.0001
    with pytest.raises(UnresolvedError, match=r"cannot be told: .* between 0\.00.* raise l_max, or give n_rotations="):
        assert_equivariant(smooth, POINTS, kinds, at_most=near)
    assert_equivariant(smooth, POINTS, kinds, at_most=0.3, n_rotations=8)


def angle(points):
    return np.arctan2(points[:, 0, 1], points[:, 0, 0])


def height(points):
    return points[:, 0, 2] / np.linalg.norm(points[:, 0], axis=-1)


#: Function of (ε, points), group, A² over ε²: harmonics beyond l_max = 4, and modes beyond those that 17 angles tell.
BEYOND = {
    **{f"mode {m}": (lambda x, eps, m=m: 1 + eps * np.cos(m * angle(x)), "SO2", 1 / 2) for m in (5, 9, 13, 17, 34)},
    **{
        f"harmonic {n}": (lambda x, eps, n=n: 1 + eps * legval(height(x), [0] * n + [1]), "O3", 1 / (2 * n + 1))
        for n in (5, 8, 12)
    },
}


@pytest.mark.parametrize("name", BEYOND)
def test_bounds_about_a_known_error_are_never_wrongly_passed(name):
    """Of a constant and what lies beyond the rule A is known; mode 17 is the constant to it, and so is A of zero."""
    function, group, power = BEYOND[name]
    decided = set()
    for number, (eps, n) in enumerate([(1e-4, 2), (1e-4, 8), (3e-3, 1), (3e-3, 24), (0.1, 3), (0.1, 24)]):
        points = np.random.default_rng(number).normal(size=(n, 1, 3))
        options = {"group": group, "outputs": {"y": "scalar"}, "layers": [], "progress": False, "seed": number}
        report = jetsym.probe(lambda x, eps=eps: function(x, eps), points, **options)
        item, truth = report.equivariance["y"], np.sqrt(power * eps**2 / (1 + power * eps**2))
        assert not report.is_seen("y")
        for factor in (0.1, 0.5, 0.95, 0.999, 1.001, 1.05, 2, 10):
            ended = judge("y", item, report, truth * factor, group).ended
            assert ended != ("held" if factor < 1 else "broken"), (eps, n, factor, item)
            decided.add((ended, factor))
    assert {("held", 10), ("broken", 0.1)} <= decided


def test_random_rotations_of_one_input_have_no_error_and_never_pass():
    with pytest.raises(UnresolvedError, match="give more inputs"):
        assert_equivariant(smooth, POINTS[:1], {"size": "scalar"}, at_most=0.3, n_rotations=4)
    assert_equivariant(lambda x: (x**2).sum((1, 2)), POINTS[:1], {"size": "scalar"}, at_most=1e-3, n_rotations=4)


def test_boosts_that_their_nodes_do_not_resolve_are_refused():
    """Nodes for l_max = 1 take a polynomial that is zero at all of them for none."""
    jets = np.array([[[50.0, 3.0, 4.0, 10.0], [40.0, -3.0, 2.0, 12.0]]] * 4) * np.arange(1.0, 5)[:, None, None]

    def model(x):
        total = x.sum(1)
        return 1 + 1e-6 * np.sin(40 * np.arctanh(total[:, 3] / total[:, 0]))

    report = jetsym.probe(model, jets, group="boost", outputs={"y": "scalar"}, progress=False, l_max=1, layers=[])
    hidden = replace(report, meta={**report.meta, "unbiased": [[] for _ in report.widths]})
    quiet = replace(report.equivariance["y"], relative=0.0, relative_stderr=0.0)
    assert judge("y", quiet, hidden, None, "boosts").ended == "unresolved"
    assert judge("y", quiet, hidden, 1e-9, "boosts").ended != "held"
    assert judge("y", quiet, hidden, 0.1, "boosts").ended == "held"
    assert "n_rotations" not in judge("y", quiet, hidden, None, "boosts").words


def test_what_was_assumed_of_an_output_is_said():
    words = r'relative A is 1, .*; it was taken for a scalar, .* outputs=\{"dipole": "vector"\}$'
    with pytest.raises(AssertionError, match=words):
        assert_equivariant(lambda x: {"dipole": x.sum(1)}, POINTS)
    with pytest.raises(AssertionError) as said:
        assert_equivariant(lambda x: {"dipole": x.sum(1)}, POINTS, {"dipole": "scalar"})
    assert "taken" not in str(said.value)
    report = jetsym.probe(lambda x: {"a": x.sum(1), "b": x.sum(1)}, POINTS, outputs={"a": "vector"}, progress=False)
    assert report.meta["unsaid"] == ["b"]


def test_of_how_many_inputs_a_layer_shows_a_fault_is_said():
    twice = torch.cat([points(), points() + 1])
    net = Net(fault=1e-3)
    with pytest.raises(
        AssertionError, match=r"first shows in layer 'third', .* of which \(of the first 8 inputs\) is not"
    ):
        assert_equivariant(net, twice, {"energy": "scalar"})
    with pytest.raises(AssertionError) as of_all:
        assert_equivariant(net, points(), {"energy": "scalar"})
    assert "of the first" not in str(of_all.value)


@pytest.mark.parametrize("at_most", [float("nan"), float("inf"), -1, "0.1", {"out": float("nan")}, {"oat": 1.0}])
def test_what_is_no_bound_is_refused(at_most):
    with pytest.raises(ProbeError, match=r"at_most is .*; (expected a relative A, a number ≥ 0|the nearest are 'out')"):
        assert_equivariant(lambda x: x.sum(1) + 0.1, POINTS, {"out": "vector"}, at_most=at_most)


def test_what_is_not_resolved_can_skip(monkeypatch):
    with pytest.raises(pytest.skip.Exception, match="zero"):
        assert_equivariant(lambda x: 0 * x.sum(1), POINTS, {"out": "vector"}, unresolved="skip")
    with pytest.raises(ProbeError, match="unresolved is 'pass'"):
        assert_equivariant(lambda x: x.sum(1), POINTS, {"out": "vector"}, unresolved="pass")


def test_calculators_of_several_crystals_pass_and_permute():
    """With random rotations, which have no rule, and a stress (1, 3, 3), which has no atoms."""
    emt = pytest.importorskip("ase.calculators.emt").EMT
    bulk = pytest.importorskip("ase.build").bulk
    crystals = [bulk("Cu", cubic=True), bulk("Cu", orthorhombic=True)]
    for seed, crystal in enumerate(crystals):
        crystal.rattle(0.1, seed=seed)
    assert_equivariant(emt(), crystals, n_rotations=3, permutation=True)

    class Tilted(emt):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] = self.results["forces"] + [0, 0, 0.1]

    with pytest.raises(AssertionError, match="forces is not equivariant as vector under O3"):
        assert_equivariant(Tilted(), crystals, n_rotations=3)


def test_permutations_need_points():
    with pytest.raises(ProbeError, match="cannot be counted"):
        assert_equivariant(lambda x: x, POINTS[:, 0], {"out": "vector"}, group="permutations")
    with pytest.raises(ProbeError, match="has 1 points"):
        assert_equivariant(lambda x: x[:, 0], POINTS[:, :1], {"out": "vector"}, group="permutations")


def test_points_whose_order_tells_nothing_are_refused_or_said():
    """A model that hands on what stands first would hold for them, whatever it does."""
    same = POINTS.copy()
    same[2] = same[2, :1]
    with pytest.raises(ProbeError, match="the points of sample 2 are all the same, so that their order tells nothing"):
        assert_equivariant(lambda x: x[:, 0], same, {"out": "vector"}, group="permutations")

    def both(x):
        first = np.broadcast_to((x**2).sum((1, 2))[:, None], x.shape[:2])
        return {"alike": first, "own": (x**2).sum(2)}

    kinds = {"alike": "scalar", "own": "scalar"}
    report = assert_equivariant(both, POINTS, kinds, group="permutations")
    (note,) = [note for note in report.meta["notes"] if "not tested" in note]
    assert note.startswith("alike hold the same for every point of an input")


def test_two_points_are_in_another_order_at_least_once():
    for seed in range(300):  # in one of 256 all of eight orders are the first one
        with pytest.raises(AssertionError, match="when points change places"):
            assert_equivariant(lambda x: x[:, 0, 0], POINTS[:1, :2], {"out": "scalar"}, group="permutations", seed=seed)


# --- jets ---


def test_jets(make_jets):
    jets = make_jets(8, dtype=torch.float64, min_particles=2)
    torch.manual_seed(0)
    tagger = PointNet().double().eval()
    assert_equivariant(tagger, jets, group="permutations")
    with pytest.raises(AssertionError, match="logits is not invariant under SO3"):
        assert_equivariant(tagger, jets, group="SO3", l_max=2)

    def mass(batch):
        total = batch.p4.sum(1)
        return total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)

    assert_equivariant(mass, jets, {"m2": "scalar"}, frame="rest", l_max=2, permutation=True)
    assert_equivariant(mass, jets, {"m2": "scalar"}, group="lorentz", l_max=2, limit=4)
    with pytest.raises(AssertionError, match="energy is not invariant under boosts along jet"):
        assert_equivariant(lambda batch: batch.p4[:, :, 0].sum(1), jets, {"energy": "scalar"}, group="lorentz", limit=4)
    with pytest.raises(AssertionError, match="change places"):
        assert_equivariant(lambda batch: batch.p4[:, 0, 0], jets, {"lead": "scalar"}, group="permutations")


@pytest.mark.parametrize(("name", "options"), [("lgatr", {"multivectors": 2, "channels": 4}), ("lloca", {"hidden": 8})])
def test_networks_that_are_equivariant_by_construction(name, options, make_jets):
    pytest.importorskip(name)
    jets = make_jets(4, seed=3, dtype=torch.float64, max_particles=8, min_particles=4)
    energy = (jets.p4[..., 1:].square().sum(dim=-1) + 1.0).sqrt() * jets.mask  # massive particles
    jets = jets.replace(p4=torch.cat([energy[..., None], jets.p4[..., 1:]], dim=-1))

    def made(**more):
        torch.manual_seed(0)
        return build(name, scalars="none", blocks=1, heads=2, **options, **more).double()

    assert_equivariant(made(), jets, group="SO3", l_max=1, permutation=True)
    assert_equivariant(made(), jets, group="boost", axis="random", widths=[1.0])
    with pytest.raises(AssertionError, match="logits is not invariant under SO3"):
        assert_equivariant(made(beam="xyplane"), jets, group="SO3", l_max=1)


# --- what is collected ---


def test_findings_are_collected_and_kept():
    found = []
    with collecting(found.append):
        assert_equivariant(lambda x: x.sum(1), POINTS, {"out": "vector"})
        with pytest.raises(AssertionError):
            assert_equivariant(lambda x: x.sum(1)[:, [1, 0, 2]], POINTS, {"out": "vector"}, permutation=True)
        with pytest.raises(UnresolvedError):
            assert_equivariant(lambda x: 0 * x.sum(1), POINTS, {"out": "vector"})
    assert [one.ended for one in found] == ["held", "broken", "unresolved"]
    assert found[0].report("O3").equivariance["out"].kind == "vector"
    assert set(found[1].measured) == {"O3", "permutations"}
    assert found[1].report("permutations").equivariance["out"].is_within_rounding
    assert "jetsym.testing.findings" in sys.modules


@pytest.mark.parametrize("points", [np.zeros((4, 3)), np.arange(1.0, 5)[:, None] * [0, 0, 1]])
def test_nothing_passes_on_inputs_that_do_not_move(points):
    with pytest.raises(ProbeError, match="every model gives the same then"):
        assert_equivariant(lambda x: 1 + x[:, 0], points, {"o": "scalar"}, group="SO2")


@pytest.mark.parametrize(("size", "dtype"), [(1e-200, "float64"), (1e-24, "float32")])
def test_small_outputs_are_not_said_to_be_zero(size, dtype):
    with pytest.raises(ProbeError, match="none of its numbers exceeds"):
        assert_equivariant(lambda x: (size * x[:, 0, 2]).astype(dtype), POINTS.astype(dtype), {"o": "scalar"})


@pytest.mark.parametrize("option", [{"l_max": 6}, {"frame": "rest"}, {"n_rotations": 8}, {"over": {"t": [1.0]}}])
def test_permutations_take_no_options_of_groups(option):
    with pytest.raises(ProbeError, match=r"which permutations do not take|over=… goes with groups"):
        assert_equivariant(lambda x: (x**2).sum((1, 2)), POINTS, {"o": "scalar"}, group="permutations", **option)


@pytest.mark.parametrize("least", [0.98, 0.99, 0.995])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_part_of_an_error_is_more_than_all_of_it(least, seed):
    """Of jumps that fill little of the orbit a rule and held-out elements see different ones."""
    points = np.random.default_rng(seed).normal(size=(16, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    with pytest.raises((AssertionError, UnresolvedError)) as error:
        assert_equivariant(lambda x: 1.0 + (x[:, 2] > least), points, {"o": "scalar"}, l_max=4, seed=seed)
    parts = [float(word) for word in re.findall(r"(\S+) % of A²", str(error.value))]
    assert all(part <= 105 for part in parts)
