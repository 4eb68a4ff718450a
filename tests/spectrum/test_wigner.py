"""Wigner matrices and characters against closed forms, e3nn and the group law."""

import numpy as np
import pytest
from array_api_compat import numpy as xp

from jetsym.errors import SpectrumError
from jetsym.spectrum import SO3
from jetsym.spectrum.quadrature import euler_matrices
from jetsym.spectrum.wigner import characters, real_spherical_harmonics, real_wigner_d, small_d

RNG = np.random.default_rng(20)
POLES = euler_matrices(
    np.array([0.3, 0.3, -1.2, 0.0]), np.array([0.0, np.pi, 1e-9, np.pi - 1e-9]), np.array([0.5, 0.5, 2.0, 0.0])
)


def test_small_d_closed_forms():
    beta = np.linspace(-4, 4, 41)
    c, s = np.cos(beta), np.sin(beta)
    one = small_d(1, beta)
    np.testing.assert_allclose(one[:, 2, 2], (1 + c) / 2, atol=1e-15)
    np.testing.assert_allclose(one[:, 2, 1], -s / np.sqrt(2), atol=1e-15)
    np.testing.assert_allclose(one[:, 2, 0], (1 - c) / 2, atol=1e-15)
    np.testing.assert_allclose(small_d(2, beta)[:, 2, 2], (3 * c**2 - 1) / 2, atol=1e-14)


@pytest.mark.parametrize("lam", [0, 1, 5, 20])
def test_small_d_is_orthogonal(lam):
    d = small_d(lam, RNG.uniform(-7, 7, 9))
    np.testing.assert_allclose(d @ np.swapaxes(d, -1, -2), np.broadcast_to(np.eye(2 * lam + 1), d.shape), atol=1e-13)


@pytest.mark.parametrize("lam", range(7))
def test_real_wigner_d_is_a_representation(lam):
    rotations = np.concatenate([SO3().rotations(30, RNG), POLES])
    d = real_wigner_d(lam, rotations)
    np.testing.assert_allclose(
        real_wigner_d(lam, rotations @ rotations[::-1]), d @ d[::-1], atol=1e-13, err_msg="D(gh) = D(g) D(h)"
    )
    np.testing.assert_allclose(np.trace(d, axis1=-2, axis2=-1), characters(6, rotations)[:, lam], atol=1e-12)


@pytest.mark.parametrize("lam", range(6))
def test_real_wigner_d_equals_e3nn(lam):
    import torch
    from e3nn import o3

    rotations = SO3().rotations(20, RNG)
    # e3nn orders vectors (y, z, x): its λ = 1 harmonics are (x, y, z) of its own axes.
    cycle = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    theirs = o3.Irrep(lam, 1).D_from_matrix(torch.tensor(cycle @ rotations @ cycle.T)).numpy()
    np.testing.assert_allclose(real_wigner_d(lam, rotations), theirs, atol=2e-5)  # e3nn computes its angles in float32


def test_real_spherical_harmonics_turn_with_their_matrix():
    points = RNG.normal(size=(5, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    rotation = SO3().rotations(1, RNG)[0]
    rotated = real_spherical_harmonics(3, points @ rotation.T)
    np.testing.assert_allclose(rotated, real_spherical_harmonics(3, points) @ real_wigner_d(3, rotation).T, atol=1e-14)


def test_characters_closed_form_at_all_angles():
    angle = np.array([0.0, 1e-9, 0.1, 1.0, 3.0, np.pi - 1e-9, np.pi])
    rotations = euler_matrices(angle, 0 * angle, 0 * angle)
    lam = np.arange(9)
    expected = 2 * np.cumsum(np.cos(lam * angle[:, None]), axis=1) - 1
    np.testing.assert_allclose(characters(8, rotations), expected, atol=1e-13)


def test_characters_are_orthonormal_and_a_wrong_one_is_not():
    rule = SO3().quadrature(4)
    chi = characters(4, rule.rotations)
    np.testing.assert_allclose(chi.T @ (rule.weights[:, None] * chi), np.eye(5), atol=1e-13)
    wrong = chi * (1 + 0.01 * np.arange(5))
    assert not np.allclose(wrong.T @ (rule.weights[:, None] * wrong), np.eye(5), atol=1e-3)


def test_characters_keep_the_array_type():
    import array_api_strict
    import torch

    rotations = SO3().rotations(3, RNG)
    assert characters(2, torch.tensor(rotations, dtype=torch.float32)).dtype == torch.float32
    strict = characters(2, array_api_strict.asarray(rotations))
    assert type(strict).__module__.startswith("array_api_strict")
    assert characters(0, xp.asarray(rotations)).shape == (3, 1)


@pytest.mark.parametrize("call", [lambda: characters(-1, np.eye(3)), lambda: small_d(-1, np.zeros(1))])
def test_negative_l_is_refused(call):
    with pytest.raises(SpectrumError, match="expected an integer ≥ 0"):
        call()
