"""Memory: several passes give the same as one, too large a batch is repaired, and rotations cost nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

import jetsym
from jetsym.domains.arrays import ARRAYS
from jetsym.errors import ProbeError
from jetsym.jets.models.pointnet import PointNet
from jetsym.probing.forward import memory as budget
from jetsym.probing.forward.memory import Piece, Size, largest, passes
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.orbit import Orbit, measure, plan_passes
from jetsym.spectrum import O3, QuadratureEstimator
from jetsym.spectrum.accumulation import coefficients
from jetsym.spectrum.bands import bands_of
from jetsym.spectrum.quadrature import product_rule

QUIET = {"progress": False}


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return PointNet(("QCD", "Tbqq"), width=16, blocks=2, heads=2).double()


@pytest.mark.parametrize("l_max", [0, 1, 4, 5])
def test_what_the_estimator_holds_is_counted_right(l_max):
    rule = O3().quadrature(l_max)
    orbit = Orbit(O3(), l_max, rule, len(rule), 0)
    estimator = QuadratureEstimator(rule, O3())
    u, waiting = np.ones((len(rule), 1, 3), dtype="float32"), []
    for chunk in rule.chunks(1):
        estimator.add(chunk, u[chunk], u[chunk])
        waiting.append(sum(buffer.nbytes for buffer in estimator._sum._buffers))
    held = sum(coset.nbytes for coset in estimator._sum.halves().coefficients)
    assert held == Size.of(u, 2 * sum((2 * lam + 1) ** 2 for lam in range(l_max + 1)), has_tokens=False).bytes
    compared = Size.of(u, 2 * 3 * orbit.n_held_out, has_tokens=False).bytes  # of both cosets, three times
    assert held + max(waiting) + compared == Size.of(u, orbit.numbers, has_tokens=False).bytes
    assert max(waiting) <= held
    assert (max(waiting) > 0) == (l_max > 1)
    assert not estimator._sum._buffers  # given back


def test_passes_hold_everything_once_and_within_the_budget():
    sizes = {"a": Size((1, 1, 5, 7), 700, 3), "b": Size((1, 1), 10), "c": Size((1, 1, 30), 60), "d": Size((1, 1), 95)}
    for limit in (1, 50, 100, 110, 10_000):
        groups = passes(sizes, limit)
        for name, size in sizes.items():
            pieces = [piece for group in groups for piece in group if piece.name == name]
            if pieces != [Piece(name)]:
                assert size.bytes > limit
                covered = [index for piece in pieces for index in range(piece.start, piece.stop)]
                assert covered == list(range(size.shape[pieces[0].axis]))
        if limit >= 100:
            assert largest(groups, sizes) <= limit
    assert len(passes(sizes, 865)) == 1
    assert {piece.axis for group in passes(sizes, 100) for piece in group if piece.name == "a"} == {3}


@pytest.mark.parametrize("options", [{}, {"n_rotations": 5}, {"group": "SO3"}])
@pytest.mark.parametrize("limit", [30_000, 3_000])
def test_several_passes_give_the_same(tagger, make_jets, monkeypatch, options, limit):
    jets = make_jets(3, seed=3, dtype=torch.float64, max_particles=6)
    expected = jetsym.probe(tagger, jets, l_max=2, **options, **QUIET)
    monkeypatch.setattr(budget, "MEMORY_BUDGET", limit)
    report = jetsym.probe(tagger, jets, l_max=2, **options, **QUIET)
    assert expected.meta["passes"] == 1
    assert report.meta["passes"] > 1
    assert report.meta["evaluations"] == report.meta["passes"] * expected.meta["evaluations"]
    assert report.layers == expected.layers
    for name in ("fractions", "stderr", "norm", "tail", "noise_floor"):
        np.testing.assert_allclose(getattr(report, name), getattr(expected, name), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(
        report.equivariance["logits"].absolute, expected.equivariance["logits"].absolute, rtol=1e-10
    )


def test_complex_and_wide_responses_are_split_along_their_longest_axis(monkeypatch):
    points = np.random.default_rng(0).normal(size=(3, 3))

    def model(x):
        return {"wide": np.exp(1j * x[:, :1, None] * np.arange(1, 41)[:, None] * np.ones(2)), "flat": x[:, 2]}

    expected = jetsym.probe(model, points, l_max=1, **QUIET)
    monkeypatch.setattr(budget, "MEMORY_BUDGET", 2_000)
    report = jetsym.probe(model, points, l_max=1, **QUIET)
    assert report.meta["passes"] > 5
    np.testing.assert_allclose(report.fractions, expected.fractions, atol=1e-13)


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError("Unable to allocate 3 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"),
]


class Limited:
    """A model that can bear so many inputs at a time, after a few passes in which it can bear more."""

    def __init__(self, limit, failure, grace=30):
        self.limit, self.failure, self.grace, self.sizes = limit, failure, grace, []

    def __call__(self, x):
        self.grace -= 1
        if self.grace < 0 and len(x) > self.limit:
            raise self.failure
        self.sizes.append(len(x))
        return np.exp(x)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("options", [{"l_max": 3}, {"n_rotations": 40, "l_max": 1}])
def test_too_large_a_batch_is_halved_and_nothing_counts_twice(failure, options, monkeypatch):
    points = np.random.default_rng(1).normal(size=(30, 3))
    advanced = []
    monkeypatch.setattr("jetsym.probing.measure.rotations.progress_bar", lambda *_, **__: Bar(advanced))
    model = Limited(5, failure)
    report = jetsym.probe(model, points, **options, **QUIET)
    assert report.meta["batch_size"] == 4
    assert max(model.sizes[30:]) <= 4
    assert sum(advanced) == report.meta["evaluations"]
    assert min(advanced) < 0 or "n_rotations" in options  # of which a single batch holds all
    expected = jetsym.probe(np.exp, points, **options, **QUIET)
    np.testing.assert_allclose(report.fractions, expected.fractions, atol=1e-13)
    np.testing.assert_allclose(report.norm, expected.norm, rtol=1e-13)


class Bar:
    def __init__(self, steps):
        self.steps = steps

    def __enter__(self):
        return self.steps.append

    def __exit__(self, *_):
        return None


def test_memory_that_never_suffices_is_said(tagger):
    points = np.ones((2, 3))
    with pytest.raises(ProbeError, match="batches of 1 .*CUDA out of memory.*a smaller l_max"):
        jetsym.probe(Limited(0, FAILURES[0], grace=0), points, **QUIET)
    with pytest.raises(ProbeError, match="batches of 64 .*a smaller batch_size"):
        jetsym.probe(Limited(5, FAILURES[0], grace=0), points, batch_size=64, **QUIET)
    with pytest.raises(RuntimeError, match="something else"):
        jetsym.probe(Limited(5, RuntimeError("something else"), grace=0), points, **QUIET)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_no_forward_pass_is_larger_than_asked_for(batch_size):
    model = Limited(batch_size, AssertionError("too large"), grace=0)
    report = jetsym.probe(model, np.random.default_rng(2).normal(size=(20, 3)), l_max=2, batch_size=batch_size, **QUIET)
    assert report.meta["batch_size"] == batch_size


@pytest.mark.parametrize(("asked", "used"), [("auto", 10), (50, 50)])
def test_an_open_batch_size_is_bounded_by_what_passes_leave_behind(monkeypatch, asked, used):
    """A response of 24 bytes, and room for ten of them."""
    monkeypatch.setattr(budget, "FORWARD_BUDGET", 240)
    points = np.random.default_rng(3).normal(size=(3, 3))
    report = jetsym.probe(lambda x: x**3, points, l_max=3, batch_size=asked, **QUIET)
    assert report.meta["batch_size"] == used
    monkeypatch.undo()
    np.testing.assert_allclose(
        report.fractions, jetsym.probe(lambda x: x**3, points, l_max=3, **QUIET).fractions, atol=1e-14
    )


def peak_of_a_probe(degree):
    """Bytes that numpy allocates at most for one input with 2¹² features, along the orbit of a rule of a degree."""
    weight = np.random.default_rng(0).normal(size=(3, 2**12))
    session = Session(lambda x: {"layer": x @ weight}, ARRAYS, batch_size=40)
    rule = product_rule(4, degree=degree)
    bands_of(rule)
    orbit = Orbit(O3(), 4, rule, len(rule), 0)
    inputs = np.ones((1, 3))
    plans = plan_passes(session, inputs, orbit)
    tracemalloc.start()
    measure(session, inputs, orbit, plans, lambda count: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_rotations():
    """342 and 1870 rotations under R and −R: keeping all responses would take 21 and 117 MiB."""
    few, many = peak_of_a_probe(8), peak_of_a_probe(16)
    assert many < 1.15 * few
    assert few > 2 * coefficients(O3().quadrature(4)) * 8 * 2**12  # the coefficients are seen at all
