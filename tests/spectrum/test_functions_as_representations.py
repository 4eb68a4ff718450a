"""Outputs that turn by a function R → matrix: what is none is refused, what is one reads as the same law by name."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym
from jetsym.errors import ProbeError, SpectrumError
from jetsym.remedies import Symmetrized
from jetsym.spectrum import O3, SO2, SO3, FiniteGroup, Irrep
from jetsym.spectrum.quadrature import axis_matrices
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


Z = np.array([0.0, 0.0, 1.0])


def turns(n):
    """C_n about z, with the irreps A and E1."""
    elements = axis_matrices(Z, 2 * np.pi * np.arange(n) / n)
    return FiniteGroup(f"C{n}", elements, {"A": np.ones(n), "E1": elements[:, :2, :2]})


def test_a_law_of_a_finite_group_alone_is_split_into_its_irreps():
    """Turns by a third of an angle of z are no law of all rotations about it, but are of C3."""

    def thirds(r):
        turn = round(3 * np.arctan2(r[1, 0], r[0, 0]) / (2 * np.pi)) % 3
        return axis_matrices(Z, np.array(2 * np.pi * turn / 3))

    law, group = representation(thirds), turns(3)
    assert (law.blocks, law.shape, law.lam) == ((), (3,), 1)
    split = law.under(group)
    assert [str(block) for block in split.blocks] == ["A", "E1"]
    np.testing.assert_allclose(split.basis @ split.basis.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(split.matrices(group.elements), group.elements, atol=1e-12)
    with pytest.raises(
        SpectrumError, match=r"the function thirds (gives no representation of|has modes above 32 under) SO2"
    ):
        law.under(SO2("z"))
    with pytest.raises(SpectrumError, match="the function thirds gives no representation of C5"):
        law.under(turns(5))


def test_a_law_about_an_axis_has_every_mode_up_to_32_and_none_beyond():
    assert representation(spin(32)).under(SO2("z")).blocks == (Irrep(32, 0),)
    with pytest.raises(SpectrumError, match="has modes above 32 under SO2.*; expected none"):
        representation(spin(33)).under(SO2("z"))
    with pytest.raises(SpectrumError, match="has modes above 32 under SO2.*; expected none"):
        representation(lambda r: np.kron(spin(1)(r), spin(32)(r))).under(SO2("z"))  # of 31 and 33 one is there
    both = representation(lambda r: np.kron(spin(1)(r), spin(2)(r))).under(SO2("z"))
    assert both.blocks == (Irrep(1, 0), Irrep(3, 0))  # e^{iφ} e^{±2iφ}
    turned = axis_matrices(Z, np.linspace(0, 6, 7))
    expected = [axis_matrices(Z, np.array(m * np.linspace(0, 6, 7)))[:, :2, :2] for m in (1, 3)]
    for matrices, exact in zip(both.block_matrices(turned), expected, strict=True):
        np.testing.assert_allclose(np.trace(matrices, axis1=1, axis2=2), np.trace(exact, axis1=1, axis2=2), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)


@pytest.mark.parametrize("axis", ["x", "y", "z", [0.0, 0.0, -1.0], [1e-9, 0.0, -1.0], [1.0, -2.0, 2.0]])
@pytest.mark.parametrize("kind", ["vector", "rank2", "four-vector", (3, 1), (2, -1)])
def test_modes_about_any_axis_turn_by_their_angles(kind, axis):
    """Each block of the restriction is the rotation by mφ, up to the sense that its two components are taken in."""
    group = SO2(axis)
    split, whole = representation(kind).under(group), representation(kind)
    angles = np.linspace(0.1, 6.0, 5)
    elements = axis_matrices(group.axis, angles)
    np.testing.assert_allclose(split.basis @ split.basis.T, np.eye(len(split.basis)), atol=1e-12)
    np.testing.assert_allclose(split.matrices(elements), whole.matrices(elements), atol=1e-12)
    assert sorted(block.lam for block in split.blocks) == sorted(
        m for block in whole.blocks for m in range(block.lam + 1)
    )
    for block, matrices in zip(split.blocks, split.block_matrices(elements), strict=True):
        assert matrices.shape == (5, block.dimension, block.dimension)
        trace = np.trace(matrices, axis1=1, axis2=2)
        np.testing.assert_allclose(trace, block.dimension * np.cos(block.lam * angles), atol=1e-12)


def test_reducible_laws_say_how_exact_they_are():
    law = representation(squares)
    assert law.accuracy < 1e-12
    assert not law.is_proper
    assert law.lam == 2
    assert representation(turns_alone).is_proper
    rough = representation(lambda r: r + 3e-6 * np.diag([1.0, -1.0, 0.0]) * (1 - (r[0, 0] == 1)))
    assert 1e-7 < rough.accuracy < 1e-5


def test_a_law_is_asked_for_orthogonal_matrices_only():
    def strict(r):
        if np.abs(r @ r.T - np.eye(3)).max() > 1e-12:
            raise ValueError("no matrix of O(3)")
        asked.append(np.linalg.det(r) > 0)
        return r

    asked: list[bool] = []
    law = representation(strict)
    assert law.blocks == (Irrep(1, 1),)
    assert {True, False} == set(asked)
