"""Probes under rotations about one axis: modes m instead of λ."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym
from jetsym.probing.measure.average import orbit_average
from jetsym.spectrum import SO2, Irrep
from jetsym.spectrum.matrices import irrep_matrices
from jetsym.spectrum.representations import representation
from jetsym.testing.spectra import known_modes

QUIET = {"progress": False, "group": "SO2"}


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(12, 3))


def rotated(function, axis):
    """The same function about another axis: f′(x) = Tᵀ f(T x) with a rotation T of the axis to z."""
    z = np.array([0, 0, 1.0])
    v = np.cross(axis, z)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    t = np.eye(3) + cross + cross @ cross / (1 + axis @ z)
    np.testing.assert_allclose(t @ axis, z, atol=1e-15)
    return lambda x: function(x @ t.T) @ t


AXES = [np.array([0, 0, 1.0]), np.array([0.6, 0, 0.8]), np.array([2.0, -1.0, -2.0]) / 3]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_a_fixed_direction_leaks(points, axis):
    """f(x) = x + c|x_⊥| e_x: a constant in the plane belongs to m = 0, and the plane turns as m = 1."""
    c = 0.3

    def model(x):
        return x + c * np.hypot(x[:, 0], x[:, 1])[:, None] * np.array([1.0, 0, 0])

    item = jetsym.probe(rotated(model, axis), points, axis=axis, outputs={"v": "vector"}, l_max=2, **QUIET).equivariance
    perpendicular = (points**2).sum(axis=1) - (points @ axis) ** 2
    assert item["v"].absolute == pytest.approx(c * np.sqrt(perpendicular.mean()), rel=1e-12)
    assert item["v"].leakage == pytest.approx(item["v"].relative ** 2, rel=1e-10)
    assert abs(item["v"].misalignment) < 1e-14
    assert item["v"].error_spectrum["m=1"] == pytest.approx(item["v"].relative ** 2, rel=1e-10)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_a_stretched_plane_is_misaligned(points, axis):
    """diag(1, 2, 6) x: along the axis nothing is wrong; in the plane diag(1, 2) = 3/2 + diag(−1, 1)/2 has m = 1."""

    def model(x):
        return x * np.array([1.0, 2.0, 6.0])

    item = jetsym.probe(rotated(model, axis), points, axis=axis, outputs={"v": "vector"}, l_max=3, **QUIET).equivariance
    perpendicular = (points**2).sum(axis=1) - (points @ axis) ** 2
    assert item["v"].absolute == pytest.approx(0.5 * np.sqrt(perpendicular.mean()), rel=1e-12)
    assert abs(item["v"].leakage) < 1e-14
    assert item["v"].misalignment == pytest.approx(item["v"].relative ** 2, rel=1e-10)
    assert item["v"].error_spectrum["m=2"] == pytest.approx(item["v"].relative ** 2, rel=1e-10)


def test_known_modes_are_read(points):
    f = known_modes({0: 1.0, 2: 2.0, 5: 1.0}, features=4, rng=np.random.default_rng(1))
    report = jetsym.probe(f, points, l_max=5, **QUIET)
    assert [str(irrep) for irrep in report.irreps] == [f"m={m}" for m in range(6)]
    np.testing.assert_allclose(report.fractions[0], [0.25, 0, 0.5, 0, 0, 0.25], atol=1e-14)
    assert report.meta["axis"] == "beam"
    random = jetsym.probe(f, points, l_max=5, n_rotations=8, **QUIET)
    assert np.all(np.abs(random.fractions - report.fractions) < 5 * random.stderr + 1e-12)
    again = type(report).from_dict(report.to_dict())
    assert again.irreps == report.irreps
    assert "m=5" in str(report)


def test_the_beam_is_along_z(make_jets):
    """pt and η stay, φ shifts: a model on (pt, η) is invariant about the beam, and about no other axis."""
    jets = make_jets(6, seed=3, min_particles=2, max_particles=5)

    def model(batch):
        return batch.p4[:, :2, 1:3].norm(dim=-1) / 100

    beam = jetsym.probe(model, jets, outputs={"pt": "scalar"}, l_max=2, **QUIET).equivariance["pt"]
    other = jetsym.probe(model, jets, outputs={"pt": "scalar"}, l_max=2, axis="x", **QUIET).equivariance["pt"]
    assert beam.relative <= beam.noise_floor < 1e-4
    assert other.relative > 0.1


@pytest.mark.parametrize("axis", [*AXES, np.array([0, 0, -1.0]), np.array([1e-9, 0, -1.0]), [1.0, 0, 0]], ids=str)
@pytest.mark.parametrize("kind", ["scalar", "pseudovector", "rank2", "four-vector", (3, -1)])
def test_representations_split_into_modes(kind, axis):
    """In the basis of the modes every turn is block-diagonal, with rotations by mφ, and the basis is orthogonal."""
    group = SO2(axis)
    rho = representation(kind).under(group)
    np.testing.assert_allclose(rho.basis @ rho.basis.T, np.eye(len(rho.basis)), atol=1e-13)
    elements = group.rotations(5, np.random.default_rng(2))
    np.testing.assert_allclose(rho.matrices(elements), representation(kind).matrices(elements), atol=1e-13)
    angle = np.arccos((np.trace(elements, axis1=1, axis2=2) - 1) / 2)
    for block, matrices in zip(rho.blocks, rho.block_matrices(elements), strict=True):
        trace = np.trace(matrices, axis1=1, axis2=2)
        np.testing.assert_allclose(trace, block.dimension * np.cos(block.lam * angle), atol=1e-6)
    modes = sorted(block.lam for block in rho.blocks)
    assert modes == sorted(m for irrep in representation(kind).blocks for m in range(irrep.lam + 1))


def test_the_average_about_an_axis(points):
    shift = np.array([1.0, 0, 2.0])
    options = {"group": "SO2", "axis": "z", "outputs": {"v": "vector"}, "bandwidth": 1}
    average = orbit_average(lambda x: x + shift, points, **options)["v"]
    np.testing.assert_allclose(average.mean, points + np.diag([0, 0, 1]) @ shift, atol=1e-14)  # along the axis it stays
    np.testing.assert_allclose(average.squared_error, 1, rtol=1e-12)


def test_blocks_of_all_rotations_are_no_modes():
    assert [str(block) for block in representation("vector").under(SO2("z")).blocks] == ["m=0", "m=1"]
    assert irrep_matrices(Irrep(1, 1), np.eye(3)).shape == (3, 3)
