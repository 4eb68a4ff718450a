"""Quadrature rules: exact up to their degree, and not beyond."""

import numpy as np
import pytest
from scipy.integrate import lebedev_rule

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO3, QuadratureEstimator
from jetsym.spectrum.quadrature import LEBEDEV_ORDERS, icosahedral_rule, lebedev_order, product_rule
from jetsym.spectrum.wigner import real_wigner_d


def integral_error(rule, lam):
    """Largest |Σ w D^λ_mn|, which is zero for every λ ≥ 1 if the rule is exact."""
    return np.abs(np.einsum("g,gmn->mn", rule.weights, real_wigner_d(lam, rule.rotations))).max()


@pytest.mark.parametrize("l_max", range(5))
def test_exact_to_the_stated_degree_and_not_at_the_next(l_max):
    rule = product_rule(l_max)
    assert rule.degree == 2 * l_max
    for lam in range(1, rule.degree + 1):
        assert integral_error(rule, lam) < 1e-13
    assert integral_error(rule, rule.degree + 1) > 1e-3


def test_weights_are_positive_and_sum_to_one():
    for l_max in (0, 3, 6, 12, 13, 14):  # 2·6, 2·13 would be the orders with negative weights
        rule = product_rule(l_max)
        assert rule.ring_weights.min() > 0
        assert rule.weights.sum() == pytest.approx(1, abs=1e-14)
        assert len(rule.rotations) == len(rule.weights) == len(rule)


def test_rotations_are_proper():
    rotations = product_rule(3).rotations
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-14)
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-14
    )


@pytest.mark.parametrize("size", [1, 9, 10, 100, 10_000])
def test_chunks_cover_whole_rings_once(size):
    rule = product_rule(4)
    chunks = list(rule.chunks(size))
    assert [index for chunk in chunks for index in range(chunk.start, chunk.stop)] == list(range(len(rule)))
    assert rule.unit == 2 * rule.ring_size  # antipodes stay together
    assert all((chunk.stop - chunk.start) % rule.unit == 0 for chunk in chunks)
    assert max(chunk.stop - chunk.start for chunk in chunks) <= max(size, rule.unit)


def test_rings_of_a_product_rule_come_in_antipodal_pairs():
    rule = product_rule(5)
    axes = rule.rotations[:, :, 2].reshape(-1, 2, rule.ring_size, 3)
    np.testing.assert_allclose(axes[:, 0], -axes[:, 1], atol=1e-15)
    pairs = rule.weights.reshape(-1, 2, rule.ring_size)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])


def test_a_chunk_through_a_ring_is_refused():
    with pytest.raises(SpectrumError, match="cuts through nodes that belong together, 18"):
        product_rule(4).units(slice(0, 10))


def test_lebedev_orders_skip_negative_weights():
    assert [lebedev_order(degree) for degree in (0, 4, 12, 13, 24, 27)] == [3, 5, 15, 15, 29, 29]
    assert not {13, 25, 27} & set(LEBEDEV_ORDERS)
    for order in LEBEDEV_ORDERS:
        nodes, weights = lebedev_rule(order)
        assert weights.min() > 0
        assert weights @ nodes[2] ** 2 == pytest.approx(4 * np.pi / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l_max": -1}, "l_max is -1"),
        ({"l_max": 3, "degree": 5}, "at least 2·l_max = 6"),
        ({"l_max": 80}, "lower l_max"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(SpectrumError, match=message):
        product_rule(**options)


def test_icosahedral_rule_is_a_group_of_sixty():
    rotations = SO3().quadrature(2, rule="icosahedral").rotations
    assert len(rotations) == 60
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-14)
    distance = np.abs(rotations[:, None] - rotations).max(axis=(2, 3))
    assert (distance + 2 * np.eye(60)).min() > 0.3  # no element twice
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 9)
    nearest = [np.abs(rotations.reshape(-1, 9) - product).max(axis=1).min() for product in products]
    assert max(nearest) < 1e-14


def test_icosahedral_rule_is_exact_to_degree_five_and_not_six():
    rule = icosahedral_rule(2)
    for lam in range(1, 6):
        assert integral_error(rule, lam) < 1e-14
    assert integral_error(rule, 6) > 0.1


def test_icosahedral_rule_gives_the_spectrum_of_the_lebedev_rule():
    rng = np.random.default_rng(0)
    quadratic = rng.normal(size=(4, 3, 3))
    x = rng.normal(size=(2, 3))

    def function(rotations):
        moved = np.einsum("nij,sj->nsi", rotations, x)
        return moved[..., :1] + np.einsum("nsi,fij,nsj->nsf", moved, quadratic, moved) - 0.2

    spectra = []
    for name, size in (("lebedev", 100), ("icosahedral", 100), ("icosahedral", 5)):
        rule = O3().quadrature(2, rule=name)
        estimator = QuadratureEstimator(rule, O3())
        for chunk in rule.chunks(size):
            estimator.add(chunk, function(rule.rotations[chunk]), function(-rule.rotations[chunk]))
        spectra.append(estimator.result())
    assert spectra[0].fractions[[0, 2, 4]].min() > 0.02  # (0,+), (1,+), (2,+)
    for other in spectra[1:]:
        np.testing.assert_allclose(other.power, spectra[0].power, atol=1e-13 * spectra[0].norm.max())


@pytest.mark.parametrize("options", [{"l_max": 3}, {"l_max": 1, "degree": 6}])
def test_icosahedral_rule_refuses_more_than_it_can(options):
    with pytest.raises(SpectrumError, match="exact to degree 5.*take the rule 'lebedev'"):
        SO3().quadrature(rule="icosahedral", **options)
    with pytest.raises(SpectrumError, match="rule is 'cubic'; expected one of 'lebedev', 'icosahedral'"):
        SO3().quadrature(1, rule="cubic")


@pytest.mark.parametrize("group", [SO3(), O3()])
def test_haar_sampling(group):
    elements = group.sample(20_000, np.random.default_rng(3))
    np.testing.assert_allclose(np.abs(np.linalg.det(elements)), 1, atol=1e-12)
    # Under the Haar measure every matrix element has mean 0 and variance 1/3; 5 standard errors.
    assert np.abs(elements.mean(axis=0)).max() < 5 / np.sqrt(3 * 20_000)
    assert np.abs((elements**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / 20_000)
    proper = np.linalg.det(elements) > 0
    assert proper.all() if not group.has_inversion else abs(proper.mean() - 0.5) < 0.02


def test_irreps_of_the_groups():
    assert [str(irrep) for irrep in SO3().irreps(2)] == ["(0)", "(1)", "(2)"]
    assert [str(irrep) for irrep in O3().irreps(1)] == ["(0,+)", "(0,−)", "(1,+)", "(1,−)"]
    with pytest.raises(SpectrumError, match="l_max is -2"):
        O3().irreps(-2)
