"""l_max="auto": content that a grid does not resolve, what it aliases to, and how held-out elements tell."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym
from jetsym.probing.measure.resolution import ladder
from jetsym.spectrum import O3, Irrep, QuadratureEstimator
from jetsym.testing.spectra import known_modes, known_spectrum

QUIET = {"progress": False}


@pytest.fixture
def frames():
    """Frames as three vectors each, the columns of an orthogonal matrix."""
    return O3().sample(5, np.random.default_rng(0)).swapaxes(1, 2)


def of_frames(powers):
    f = known_spectrum(powers, features=3, rng=np.random.default_rng(1))
    return lambda vectors: f(vectors.swapaxes(1, 2))


def test_what_is_resolved_at_once_stays_at_the_smallest(frames):
    report = jetsym.probe(of_frames({Irrep(0, 1): 1.0, Irrep(2, -1): 1.0}), frames, l_max="auto", **QUIET)
    found = report.meta["resolution"]
    assert (report.meta["l_max"], found["agreed"], found["inputs"], len(found["steps"])) == (2, True, 4, 1)
    assert max(found["steps"][0]["tail"], found["steps"][0]["unexplained"]) < 1e-13
    assert "l_max = 2 resolves 4 of the inputs" in str(report)


def test_l_max_grows_to_the_bandwidth(frames):
    powers = {Irrep(0, 1): 1.0, Irrep(5, 1): 1.0}
    report = jetsym.probe(of_frames(powers), frames, l_max="auto", **QUIET)
    assert report.meta["l_max"] == 6
    assert [step["l_max"] for step in report.meta["resolution"]["steps"]] == [2, 4, 6]
    assert report.fractions[0, report.irreps.index(Irrep(5, 1))] == pytest.approx(0.5, abs=1e-12)


def test_a_bandwidth_of_three_l_max_aliases_and_is_seen(frames):
    """One irrep at λ = 6: the grid of l_max = 2 puts power below λ = 2, which is neither there nor in the tail."""
    model = of_frames({Irrep(6, 1): 1.0})
    blind = jetsym.probe(model, frames, l_max=2, **QUIET)
    rule = QuadratureEstimator(O3().quadrature(2), O3())
    moved = np.einsum("nij,svj->nsvi", rule.rule.rotations, frames).reshape(-1, 3, 3)
    rule.add(slice(0, len(rule.rule)), *(model(sign * moved).reshape(-1, len(frames), 3) for sign in (1, -1)))
    assert rule.result().fractions.sum() > 0.05
    assert blind.unexplained[0] > 1 + rule.result().fractions.sum() - 4 * blind.unexplained_stderr[0]
    assert np.all(np.abs(blind.fractions) < 4 * blind.stderr + 1e-12)
    assert "strayed into the irreps shown. The numbers of all layers are unbiased estimates" in str(blind)
    unbiased = jetsym.probe(model, frames, l_max=2, n_rotations=256, seed=3, **QUIET)
    assert np.all(np.abs(unbiased.fractions) < 4 * unbiased.stderr + 1e-12)
    assert "strayed" not in str(unbiased)
    found = jetsym.probe(model, frames, l_max="auto", **QUIET)
    first, last = found.meta["resolution"]["steps"][0], found.meta["resolution"]["steps"][-1]
    assert first["l_max"] == 2
    assert first["unexplained"] > 1
    assert (last["l_max"], found.meta["resolution"]["agreed"]) == (6, True)
    assert found.fractions[0, found.irreps.index(Irrep(6, 1))] == pytest.approx(1, abs=1e-12)


def test_what_never_agrees_is_said_so():
    """A step function about the beam has modes without end."""
    points = np.random.default_rng(0).normal(size=(4, 3))
    report = jetsym.probe(lambda x: np.sign(x[:, 0] + 1e-9), points, group="SO2", l_max="auto", tolerance=1e-4, **QUIET)
    assert not report.meta["resolution"]["agreed"]
    assert report.meta["l_max"] == 128
    assert "Not resolved: l_max = 128" in str(report)
    smooth = known_modes({1: 1.0, 30: 1.0}, rng=np.random.default_rng(0))
    found = jetsym.probe(smooth, points, group="SO2", l_max="auto", **QUIET)
    assert (found.meta["l_max"], found.meta["resolution"]["agreed"]) == (32, True)


def test_outputs_that_turn_start_where_their_irreps_are():
    assert ladder(about_an_axis=False, at_least=3)[0] == 4
    assert ladder(about_an_axis=False, at_least=20) == (20, 22)
    points = np.random.default_rng(0).normal(size=(4, 3))
    report = jetsym.probe(lambda x: x, points, outputs={"v": "vector"}, l_max="auto", **QUIET)
    assert report.meta["l_max"] == 2
    assert report.equivariance["v"].relative < 1e-13


def test_the_icosahedral_rule_reads_the_same_up_to_two(frames):
    model = of_frames({Irrep(0, 1): 1.0, Irrep(1, -1): 2.0, Irrep(2, 1): 1.0})
    exact = jetsym.probe(model, frames, l_max=2, **QUIET)
    found = jetsym.probe(model, frames, l_max=2, method="icosahedral", **QUIET)
    assert (found.meta["n_rotations"], found.meta["degree"]) == (60, 5)
    np.testing.assert_allclose(found.fractions, exact.fractions, atol=1e-13)
