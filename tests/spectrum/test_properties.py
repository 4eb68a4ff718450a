"""Properties that hold for every rule, irrep, element and response: searched by hypothesis, each time alike."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jetsym.spectrum import O3, SO2, SO3, QuadratureEstimator, RandomEstimator
from jetsym.spectrum.wigner import characters, mode_characters, real_wigner_d

search = partial(settings, derandomize=True, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
axes = st.sampled_from(["x", "y", "z", (1.0, 2.0, -0.5)])
#: Rules of every kind, with the group that they integrate over.
rules = st.one_of(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(
        lambda d: (SO3(), SO3().quadrature(d[0], degree=sum(d) + d[0]))
    ),
    st.integers(0, 2).map(lambda l_max: (SO3(), SO3().quadrature(l_max, rule="icosahedral"))),
    st.tuples(axes, st.integers(0, 6), st.integers(0, 3)).map(
        lambda d: (SO2(d[0]), SO2(d[0]).quadrature(d[1], degree=2 * d[1] + d[2]))
    ),
)
groups = st.one_of(st.just(SO3()), st.just(O3()), axes.map(SO2))


def matrix_elements(group, lam, rotations):
    """All matrix elements (n, …) of an irrep; for SO(2) cos mφ and sin mφ, from the rotation of a plane."""
    if group.axis is None:
        return real_wigner_d(lam, rotations)
    across = np.linalg.svd(group.axis[None])[2][1:]  # two unit vectors perpendicular to the axis
    cosine = np.einsum("i,nij,j->n", across[0], rotations, across[0])
    sine = np.einsum("i,nij,j->n", across[1], rotations, across[0])
    wave = (cosine + 1j * sine) ** lam
    return np.stack([wave.real, wave.imag], axis=-1)


def polynomial(degree, rng, features=3):
    """A function of vectors with components in every irrep up to a degree, and none beyond."""
    directions, shift = rng.normal(size=(features, 3)), rng.normal(size=features)
    return lambda x: (x @ directions.T / 2 + shift) ** degree


def along(group, rule, function, x):
    """The spectrum of function(g·x) by a rule, in one chunk."""
    estimator = QuadratureEstimator(rule, group)
    moved = np.einsum("nij,sj->nsi", rule.rotations, x)
    estimator.add(slice(0, len(rule)), function(moved), function(-moved) if group.has_inversion else None)
    return estimator.result()


@search(max_examples=30)
@given(rules)
def test_rules_are_exact_to_their_degree_and_not_beyond(group_and_rule):
    group, rule = group_and_rule
    assert rule.weights.min() > 0
    assert rule.weights.sum() == pytest.approx(1, abs=1e-14)
    errors = [
        np.abs(np.tensordot(rule.weights, matrix_elements(group, lam, rule.rotations), 1)).max()
        for lam in range(1, rule.degree + 2)
    ]
    assert max(errors[:-1], default=0.0) < 1e-13
    assert errors[-1] > 1e-4


@search(max_examples=40)
@given(rules)
def test_characters_are_orthonormal(group_and_rule):
    """∫ χ_λ χ_λ′ = δ; over SO(2) the real irreps m > 0 fall apart into two, so that ∫ χ_m² = 2."""
    group, rule = group_and_rule
    l_max = rule.degree // 2
    chi = (characters if group.axis is None else mode_characters)(l_max, rule.rotations)
    norms = np.ones(l_max + 1) if group.axis is None else np.where(np.arange(l_max + 1) > 0, 2.0, 1.0)
    np.testing.assert_allclose(chi.T @ (rule.weights[:, None] * chi), np.diag(norms), atol=1e-12)


@search(max_examples=30)
@given(st.integers(0, 8), seeds)
def test_matrices_are_a_representation(lam, seed):
    g, h = SO3().rotations(2, np.random.default_rng(seed))
    d_g, d_h, d_gh = real_wigner_d(lam, np.stack([g, h, g @ h]))
    np.testing.assert_allclose(d_gh, d_g @ d_h, atol=1e-13)
    np.testing.assert_allclose(d_g @ d_g.T, np.eye(2 * lam + 1), atol=1e-13)
    np.testing.assert_allclose(np.trace(d_g), characters(lam, g)[lam], atol=1e-12)


@search(max_examples=30)
@given(rules, st.integers(0, 2), seeds)
def test_projectors_are_idempotent_orthogonal_and_complete(group_and_rule, band, seed):
    """(P_λ u)(g) = Σ_h w_h κ_λ(g⁻¹h) u(h) on the rule's own nodes, for a u of bandwidth L with degree ≥ 2L."""
    group, rule = group_and_rule
    band = min(band, rule.degree // 2)
    relative = np.einsum("iab,jac->ijbc", rule.rotations, rule.rotations)
    projectors = np.moveaxis(group.kernels(band, relative), -1, 0) * rule.weights  # (λ, n, n)
    x = np.random.default_rng(seed).normal(size=3)
    u = polynomial(band, np.random.default_rng(seed))(rule.rotations @ x)
    parts = projectors @ u
    scale = 1e-12 * (1 + np.abs(u).max())
    np.testing.assert_allclose(parts.sum(axis=0), u, atol=scale)  # complete
    for lam, again in enumerate(projectors @ part for part in parts):
        expected = np.zeros_like(parts)
        expected[lam] = parts[lam]
        np.testing.assert_allclose(again, expected, atol=scale)


@search(max_examples=40)
@given(groups, st.integers(1, 3), seeds)
def test_power_does_not_depend_on_where_on_its_orbit_the_input_is(group, degree, seed):
    rng = np.random.default_rng(seed)
    function, x, g = polynomial(degree, rng), rng.normal(size=(2, 3)), group.sample(1, rng)[0]
    rule = group.quadrature(degree)
    here, there = along(group, rule, function, x), along(group, rule, function, x @ g.T)
    tolerance = 1e-12 * here.norm.max()
    np.testing.assert_allclose(here.power, there.power, atol=tolerance)
    np.testing.assert_allclose(here.norm, there.norm, atol=tolerance)
    np.testing.assert_allclose(here.power.sum(axis=1), here.norm, atol=tolerance)  # Parseval
    assert here.power.min() > -tolerance


@search(max_examples=40)
@given(groups, st.integers(0, 3), seeds)
def test_quadrature_is_the_double_sum_over_kernels(group, degree, seed):
    """B_λ = Σ_gh w_g w_h κ_λ(g⁻¹h) u_g·u_h for each parity half: the definition, without transforms."""
    rng = np.random.default_rng(seed)
    function, x = polynomial(degree, rng), rng.normal(size=(1, 3))
    rule = group.quadrature(degree)
    spectrum = along(group, rule, function, x)
    moved = rule.rotations @ x[0]
    halves = [function(moved)]
    if group.has_inversion:
        halves = [(function(moved) + function(-moved)) / 2, (function(moved) - function(-moved)) / 2]
    relative = np.einsum("iab,jac->ijbc", rule.rotations, rule.rotations)
    kernels = group.kernels(degree, relative) * (rule.weights[:, None] * rule.weights)[..., None]
    for irrep, power in zip(spectrum.irreps, spectrum.power[0], strict=True):
        u = halves[irrep.parity == -1]
        direct = np.sum(kernels[..., irrep.lam] * (u @ u.T))
        assert power == pytest.approx(direct, abs=1e-12 * (1 + spectrum.norm[0]))


@search(max_examples=15)
@given(groups, st.booleans(), st.booleans(), seeds)
def test_estimators_are_equal_for_all_array_types(group, random, is_complex, seed):
    import array_api_strict
    import torch

    rng = np.random.default_rng(seed)
    rotations = group.rotations((2, 7), rng) if random else group.quadrature(2).rotations[None]
    n = rotations.shape[1]
    u = rng.normal(size=(2, n, 2, 3)) * (1 + 1j if is_complex else 1)
    spectra = []
    for convert in (np.asarray, torch.tensor, array_api_strict.asarray):
        estimator = RandomEstimator(group, 2, rotations) if random else QuadratureEstimator(group.quadrature(2), group)
        estimator.add(slice(0, n), convert(u[0]), convert(u[1]) if group.has_inversion else None)
        spectra.append(estimator.result())
    for other in spectra[1:]:
        np.testing.assert_allclose(other.power, spectra[0].power, atol=1e-12 * spectra[0].norm.max())
        np.testing.assert_allclose(other.norm, spectra[0].norm, rtol=1e-13)
