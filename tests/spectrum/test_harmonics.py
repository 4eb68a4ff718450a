"""Spherical tensors of vectors: their lengths, their couplings, and how they turn, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from jetsym.errors import SpectrumError
from jetsym.spectrum import SO3
from jetsym.spectrum.coupling import rotation_generators, stretched_coupling
from jetsym.spectrum.harmonics import bounded, couple, rotate_infinitesimally, solid_harmonics
from jetsym.spectrum.wigner import real_spherical_harmonics, real_wigner_d


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(2, 5, 3))


@pytest.mark.parametrize("xp", [np, torch])
def test_bounded_vectors_are_shorter_than_one_along_the_same_line(vectors, xp):
    given = vectors * np.geomspace(1e-9, 1e9, 5)[:, None]
    found = np.asarray(bounded(xp.asarray(given)))
    lengths = np.linalg.norm(given, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), lengths / np.hypot(1, lengths), rtol=1e-13)
    np.testing.assert_allclose(np.cross(found, given / lengths[..., None]), 0, atol=1e-15)
    assert (np.sum(found * given, axis=-1) > 0).all()
    assert not np.asarray(bounded(xp.asarray(np.zeros(3)))).any()


@pytest.mark.parametrize("lam", range(7))
def test_solid_harmonics_are_harmonics_times_a_power(vectors, lam):
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    expected = lengths**lam * np.sqrt(4 * np.pi / (2 * lam + 1)) * real_spherical_harmonics(lam, vectors / lengths)
    found = solid_harmonics(lam, vectors)
    np.testing.assert_allclose(found, expected, atol=1e-12 * lengths.max() ** lam)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), lengths[..., 0] ** lam, rtol=1e-12)


def test_their_products_are_legendre_polynomials(vectors):
    units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    first, second = units
    for lam in range(7):
        products = np.sum(solid_harmonics(lam, first) * solid_harmonics(lam, second), axis=-1)
        np.testing.assert_allclose(products, eval_legendre(lam, np.sum(first * second, axis=-1)), atol=1e-13)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 1), (3, 2), (0, 2), (3, 0)])
def test_harmonics_of_one_vector_couple_to_harmonics_of_it(vectors, first, second):
    found = couple(solid_harmonics(first, vectors), solid_harmonics(second, vectors))
    np.testing.assert_allclose(found, solid_harmonics(first + second, vectors), atol=1e-12 * 4.0 ** (first + second))


def test_the_coupling_turns_as_its_factors_do():
    rng = np.random.default_rng(1)
    a, b, rotation = rng.normal(size=5), rng.normal(size=7), SO3().rotations((), rng)
    d2, d3, d5 = (real_wigner_d(lam, rotation) for lam in (2, 3, 5))
    np.testing.assert_allclose(couple(d2 @ a, d3 @ b), d5 @ couple(a, b), atol=1e-12)
    np.testing.assert_allclose(stretched_coupling(2, 3), np.swapaxes(stretched_coupling(3, 2), 0, 1), atol=1e-14)


@pytest.mark.parametrize("lam", range(5))
def test_generators_are_the_derivatives_of_wigner_matrices(lam):
    """D(exp(εn)) = 1 + ε n·J + ε²(n·J)²/2 + …, whose odd part over ε is n·J up to ε²."""
    generators, step = rotation_generators(lam), 1e-4
    for axis in range(3):
        turn = np.zeros((3, 3))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(step)
        turn[axis, axis], turn[j, i], turn[i, j] = 1, np.sin(step), -np.sin(step)
        slope = (real_wigner_d(lam, turn) - real_wigner_d(lam, turn.T)) / (2 * step)
        np.testing.assert_allclose(generators[axis], slope, atol=1e-6 * max(1, lam**3))
        np.testing.assert_allclose(generators[axis], -generators[axis].T, atol=1e-14)


def test_infinitesimal_turns_are_cross_products_of_vectors(vectors):
    v, u = vectors
    found = rotate_infinitesimally(v, solid_harmonics(1, u))
    np.testing.assert_allclose(found, np.roll(np.cross(v, u), -1, axis=-1), atol=1e-14)  # in the order y, z, x
    assert np.abs(rotate_infinitesimally(v, np.ones((5, 1)))).max() == 0
    tensors = np.random.default_rng(2).normal(size=(5, 5))
    expected = np.einsum("sx,xab,sb->sa", v, rotation_generators(2), tensors)
    np.testing.assert_allclose(rotate_infinitesimally(v, tensors), expected, atol=1e-13)


def test_negative_orders_are_refused():
    with pytest.raises(SpectrumError, match="lam is -1; expected an integer ≥ 0"):
        solid_harmonics(-1, np.ones(3))
    with pytest.raises(SpectrumError, match="tensors of λ = 2 and -1 are to be coupled; expected λ ≥ 0"):
        stretched_coupling(2, -1)
    with pytest.raises(SpectrumError, match="lam is -2; expected an integer ≥ 0"):
        rotation_generators(-2)
