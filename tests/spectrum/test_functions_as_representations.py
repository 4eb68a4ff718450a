"""Outputs that turn by a function R → matrix: what is none is refused, what is one reads as the same law by name."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym
from jetsym.errors import ProbeError
from jetsym.remedies import Symmetrized
from jetsym.spectrum import O3, SO2, SO3
from jetsym.spectrum.representations import representation
from jetsym.spectrum.wigner import real_wigner_d

QUIET = {"progress": False, "l_max": 3}


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(8, 3))


def squares(r):
    return np.kron(r, r)


def cubes(r):
    return np.kron(r, np.kron(r, r))


def axial(r):
    return np.linalg.det(r) * r


def turns_alone(r):
    if np.linalg.det(r) < 0:
        raise ValueError("no reflections, please")
    return real_wigner_d(2, r)


def spin(m):
    def matrix(r):
        angle = m * np.arctan2(r[1, 0], r[0, 0])
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    return matrix


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (squares, "(0,+) ⊕ (1,−) ⊕ (2,+)"),
        (cubes, "(0,−) ⊕ (1,+) ⊕ (1,+) ⊕ (1,+) ⊕ (2,−) ⊕ (2,−) ⊕ (3,+)"),
        (axial, "(1,−)"),
        (lambda r: np.array([[np.linalg.det(r)]]), "(0,−)"),
        (lambda r: np.eye(2), "(0,+) ⊕ (0,+)"),
        (lambda r: real_wigner_d(4, r * np.linalg.det(r)), "(4,+)"),
    ],
)
def test_irreps_are_found_by_their_characters(function, name):
    rho = representation(function)
    assert rho.name == name
    elements = O3().sample(5, np.random.default_rng(1))
    expected = np.stack([function(element) for element in elements])
    np.testing.assert_allclose(rho.matrices(elements), expected, atol=1e-10)
    np.testing.assert_allclose(rho.basis @ rho.basis.T, np.eye(len(rho.basis)), atol=1e-12)


def test_a_product_of_vectors_reads_as_rank_2(points):
    def model(x):
        return (x[:, :, None] * x[:, None, :]) + 0.3 * x[:, 2, None, None] ** 2

    whole = jetsym.probe(model, points, outputs={"s": "rank2"}, **QUIET).equivariance["s"]
    flat = jetsym.probe(lambda x: model(x).reshape(-1, 9), points, outputs={"s": squares}, **QUIET)
    item = flat.equivariance["s"]
    assert item.kind == "(0,+) ⊕ (1,−) ⊕ (2,+)"
    for name in ("absolute", "relative", "leakage", "misalignment", "error_exact_to"):
        assert getattr(item, name) == pytest.approx(getattr(whole, name), rel=1e-9), name
    for name, value in whole.error_spectrum.items():
        assert item.error_spectrum[name] == pytest.approx(value, abs=1e-12)
    assert "misses its law as (0,+) ⊕ (1,−) ⊕ (2,+)" in flat.sentences()[-1]
    jetsym.diagnose(flat)


def test_a_law_of_rotations_alone_goes_with_rotations(points):
    def model(x):
        x, y, z = x.T
        third = (2 * z * z - x * x - y * y) / (2 * np.sqrt(3))
        return np.stack([x * y, y * z, third, x * z, (x * x - y * y) / 2], -1)

    options = {"outputs": {"q": turns_alone}, **QUIET}
    for more in ({"group": "SO3"}, {"group": "SO2", "axis": "x"}):
        item = jetsym.probe(model, points, **options, **more).equivariance["q"]
        assert item.is_within_rounding
        assert item.noise_floor < 1e-13
    with pytest.raises(ProbeError, match="a representation of rotations, not of the reflections of O3"):
        jetsym.probe(model, points, **options)


def test_a_law_of_turns_about_an_axis_has_its_modes(points):
    def model(x, shift=0.0):
        return np.stack([x[:, 0] ** 2 - x[:, 1] ** 2 + shift, 2 * x[:, 0] * x[:, 1]], -1)

    options = {"outputs": {"h": spin(2)}, "group": "SO2", **QUIET}
    item = jetsym.probe(model, points, **options).equivariance["h"]
    assert abs(item.relative) <= item.noise_floor < 1e-13
    # z = f + R(−2φ) (s, 0): A² = s², with m = 2 alone.
    broken = jetsym.probe(lambda x: model(x, 0.5), points, **options)
    item = broken.equivariance["h"]
    assert item.absolute == pytest.approx(0.5, rel=1e-12)
    assert item.error_spectrum["m=2"] == pytest.approx(item.relative**2, rel=1e-10)
    jetsym.diagnose(broken)
    import torch

    mean = Symmetrized(lambda x: torch.as_tensor(model(x.numpy(), 0.5)), "SO2", 4, outputs={"h": spin(2)})
    np.testing.assert_allclose(mean(torch.as_tensor(points)), model(points), atol=1e-12)
    with pytest.raises(ProbeError, match="has modes up to 5, but l_max is 3"):
        jetsym.probe(model, points, **options | {"outputs": {"h": spin(5)}})
    with pytest.raises(ProbeError, match="gives no representation of SO3"):
        jetsym.probe(model, points, **options | {"group": "SO3"})


def stretched(r):
    change = np.diag([1.0, 2.0, 3.0])
    return change @ r @ np.linalg.inv(change)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda r: r.T, r"ρ\(g\) ρ\(h\) is not ρ\(gh\)"),
        (lambda r: np.round(r, 1), r"ρ\(g\) ρ\(h\) is not ρ\(gh\)"),
        (stretched, "not orthogonal.*in an orthonormal basis"),
        (lambda r: 2 * r, "for the identity; expected that of"),
        (lambda r: r[:2], "for the identity"),
        (np.linalg.det, r"det gives 1.0 of shape \(\) for the identity; expected that of \(d, d\), \[\[1\]\]"),
        (lambda r: None, r"gives nan of shape \(\) for the identity"),
        (lambda r: r if r[0, 0] == 1 else r[0, 0], r"cannot be called with all its elements \(gives"),
        (lambda r: r @ "x", r"cannot be called with a matrix \(3, 3\)"),
        (lambda r: np.full((2, 2), np.nan), "for the identity"),
        (squares, r"shape \(8, 3\) is said to be '\(0,\+\) ⊕ .*needs shape \(samples, …, 9\)"),
    ],
)
def test_what_is_no_law_is_refused(points, function, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lambda x: x, points, outputs={"v": function}, **QUIET)


def test_restrictions_are_those_of_the_named(points):
    for group in (SO3(), SO2("x"), SO2([1.0, 2.0, 2.0])):
        ours, named = representation(lambda r: r).under(group), representation("vector").under(group)
        assert [str(block) for block in ours.blocks] == [str(block) for block in named.blocks]
