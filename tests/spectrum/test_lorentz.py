"""Products of four-momenta keep their digits where both are energetic and collinear, in any array library."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.remedies.invariants import log_products
from jetsym.spectrum.lorentz import minkowski_products, openings


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
