"""The Lorentz group: its algebra, its boosts against matrix exponentials, and products that keep their digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from jetsym.remedies.invariants import log_products
from jetsym.spectrum.lorentz import (
    GENERATORS,
    MAX_GAMMA,
    boost_to_rest,
    boosted,
    boosted_outputs,
    has_rest_frame,
    minkowski_products,
    modulus,
    openings,
)

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])


def collinear(xp=np, n: int = 50):
    """Return pairs (n, 2, 4) of massless particles of 1 TeV, some 1e-3 apart, in float32 of an array library."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(n, 1, 3))
    first *= 1000 / np.linalg.norm(first, axis=-1, keepdims=True)
    momenta = np.concatenate([first, first + rng.normal(size=first.shape)], axis=1).astype(np.float32)
    momenta = xp.asarray(momenta)
    return xp.concatenate([xp.sqrt((momenta * momenta).sum(-1)[..., None]), momenta], axis=-1)


def exact(p4: np.ndarray) -> np.ndarray:
    """Return |p||q|(1 − cos θ) of the pairs (n,) in extended precision."""
    p, q = np.moveaxis(p4[..., 1:].astype(np.longdouble), 1, 0)
    return np.sqrt((p**2).sum(-1) * (q**2).sum(-1)) - (p * q).sum(-1)


@pytest.mark.parametrize("xp", [np, torch])
def test_products_of_collinear_momenta_keep_their_digits_in_float32(xp):
    p4 = collinear(xp)
    np.testing.assert_allclose(minkowski_products(p4, p4)[:, 0, 1], exact(collinear()), rtol=2e-3)
    metric = xp.asarray(np.array([1, -1, -1, -1], dtype=np.float32))
    naive = np.asarray(((p4 * metric) @ p4.mT)[:, 0, 1])
    assert np.abs(naive / exact(collinear()) - 1).max() > 0.05
    angle = openings(p4[..., 1:], p4[..., 1:])[:, 0, 1]
    np.testing.assert_allclose(angle * p4[:, 0, 0] * p4[:, 1, 0], exact(collinear()), rtol=2e-3)


def test_products_are_those_of_the_metric():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 2, 4))
    expected = (p * [1, -1, -1, -1]) @ q.swapaxes(-1, -2)
    np.testing.assert_allclose(minkowski_products(p, q), expected, rtol=0, atol=1e-14)


def test_the_remedy_sees_the_exact_product():
    found = log_products(collinear(torch))[:, 0, 1]
    np.testing.assert_allclose(found, np.log1p(exact(collinear())), rtol=2e-3)


def test_padded_and_resting_particles_have_finite_gradients():
    p4 = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], requires_grad=True)
    products = minkowski_products(p4, p4)
    products.sum().backward()
    assert products[1, 1] == 1
    assert torch.isfinite(p4.grad).all()


def commutator(a, b):
    return a @ b - b @ a


def test_generators_have_the_commutators_of_the_lorentz_group():
    rotation = [GENERATORS[f"J_{axis}"] for axis in "xyz"]
    boost = [GENERATORS[f"K_{axis}"] for axis in "xyz"]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        np.testing.assert_array_equal(commutator(rotation[i], rotation[j]), rotation[k])
        np.testing.assert_array_equal(commutator(rotation[i], boost[j]), boost[k])
        np.testing.assert_array_equal(commutator(boost[i], rotation[j]), boost[k])
        np.testing.assert_array_equal(commutator(boost[i], boost[j]), -rotation[k])
        np.testing.assert_array_equal(commutator(rotation[i], boost[i]), np.zeros((4, 4)))
    for generator in GENERATORS.values():  # they preserve the metric
        np.testing.assert_array_equal(generator.T @ METRIC + METRIC @ generator, np.zeros((4, 4)))


def test_generators_turn_x_to_y_and_boost_along_z():
    turned = expm(np.pi / 2 * GENERATORS["J_z"]) @ [5.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(turned, [5.0, 0.0, 1.0, 0.0], atol=1e-15)
    moved = expm(1.5 * GENERATORS["K_z"]) @ [1.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(moved, [np.cosh(1.5), 0.0, 0.0, np.sinh(1.5)], rtol=1e-14)


@pytest.mark.parametrize("xp", [np, torch])
def test_boosts_are_the_exponentials_of_their_generators(xp):
    rng = np.random.default_rng(0)
    p4, n = rng.normal(size=(4, 5, 4)), rng.normal(size=3)
    n, rapidity = n / np.linalg.norm(n), np.array([-1.5, 0.0, 0.3, 2.0])
    boosts = [expm(y * sum(x * GENERATORS[f"K_{axis}"] for x, axis in zip(n, "xyz", strict=True))) for y in rapidity]
    moved = boosted(*(xp.asarray(one) for one in (p4, n, np.exp(rapidity)[:, None])), xp)
    np.testing.assert_allclose(moved, p4 @ np.swapaxes(boosts, 1, 2), atol=1e-13)


def test_a_boost_and_its_inverse_keep_massless_momenta_at_large_gamma():
    direction, factor = np.array([0.0, 0.6, 0.8]), np.array(1e3)
    p4 = np.array([7.0, 2.0, 3.0, 6.0])
    there = boosted(p4, direction, factor, np)
    assert there[0] > 1e3
    np.testing.assert_allclose(there[0], np.linalg.norm(there[1:]), rtol=1e-14)
    np.testing.assert_allclose(boosted(there, direction, 1 / factor, np), p4, rtol=1e-9)


@pytest.mark.parametrize("between", [(), (2,), (2, 3)])
@pytest.mark.parametrize("xp", [np, torch])
def test_outputs_are_boosted_each_by_its_own_direction_and_factor(xp, between):
    rng = np.random.default_rng(1)
    outputs = rng.normal(size=(6, 5, *between, 4)).astype(np.float32)
    directions = rng.normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    factor = np.exp(rng.normal(size=(6, 5)))
    found = boosted_outputs(*(xp.asarray(one) for one in (outputs, directions, factor)))
    assert type(found) is type(xp.asarray(outputs))
    assert found.dtype == xp.asarray(outputs).dtype
    for i, j in np.ndindex(6, 5):
        expected = boosted(outputs[i, j].astype(np.float64), directions[j], factor[i, j], np)
        np.testing.assert_allclose(found[i, j], expected, rtol=1e-6, atol=1e-6)
    shared = boosted_outputs(outputs, directions[:1], factor[:1, :1])
    np.testing.assert_allclose(
        shared, boosted(outputs.astype(np.float64), directions[0], factor[0, 0], np), rtol=1e-6, atol=1e-6
    )


def test_boosts_to_rest_leave_the_mass():
    rng = np.random.default_rng(2)
    vector, mass = rng.normal(size=(50, 3)) * np.geomspace(1e-3, 500, 50)[:, None], rng.uniform(1, 2, size=50)
    total = np.concatenate([np.sqrt((vector**2).sum(-1) + mass**2)[:, None], vector], axis=1)
    direction, factor = boost_to_rest(total)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.log(factor), np.arcsinh(np.linalg.norm(vector, axis=1) / mass), rtol=1e-7)
    rest = boosted(total, direction, 1 / factor, np)
    np.testing.assert_allclose(rest, np.concatenate([mass[:, None], np.zeros((50, 3))], axis=1), atol=1e-9)
    at_rest, one = boost_to_rest(np.array([2.0, 0.0, 0.0, 0.0]))
    assert not at_rest.any()
    assert one == pytest.approx(1, rel=1e-14)


def test_momenta_have_a_rest_frame_up_to_the_largest_gamma():
    """γ = E/M in units of MAX_GAMMA: just below, and just beyond; light-like, space-like, and with energies below 0."""
    momenta = [[np.cosh(y), 0.0, 0.0, np.sinh(y)] for y in np.arccosh(MAX_GAMMA * np.array([0.999, 1.001]))]
    assert has_rest_frame(np.array(momenta)).tolist() == [True, False]
    others = [[5.0, 3.0, 0.0, 4.0], [1.0, 2.0, 0.0, 0.0], [-5.0, 3.0, 0.0, 0.0], [0.0] * 4, [5.0, 0.0, 0.0, 0.0]]
    assert has_rest_frame(np.array(others)).tolist() == [False, False, False, False, True]


def test_a_modulus_is_never_zero_and_its_floor_changes_nothing_else():
    lengths = modulus(np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [1e-14, 0.0, 0.0]]))
    np.testing.assert_allclose(lengths, [[5.0], [1e-15], [1e-14]], rtol=1e-12)


def test_openings_are_those_of_the_cosine():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 5, 3))
    cosine = (a @ b.swapaxes(1, 2)) / (np.linalg.norm(a, axis=-1)[:, :, None] * np.linalg.norm(b, axis=-1)[:, None, :])
    np.testing.assert_allclose(openings(a, b), 1 - cosine, atol=1e-14)
