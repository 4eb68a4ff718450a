"""Rotations about one axis: modes, rules, and both estimators."""

import json

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO2, SO3, Irrep, QuadratureEstimator, RandomEstimator
from jetsym.testing.spectra import known_modes

POWERS = {0: 2.0, 1: 0.5, 2: 1.0, 4: 0.25}
AXES = ["x", "y", "z", (1.0, -2.0, 0.5)]


def expected(powers, l_max):
    return np.array([powers.get(m, 0.0) for m in range(l_max + 1)])


def by_quadrature(function, x, *, group=None, l_max=4, degree=None, chunk=4):
    group = group or SO2("z")
    rule = group.quadrature(l_max, degree=degree)
    estimator = QuadratureEstimator(rule, group)
    for part in rule.chunks(chunk):
        estimator.add(part, function(np.einsum("nij,sj->nsi", rule.rotations[part], x)))
    return estimator.result()


def by_random(function, x, *, seed, group=None, l_max=4, n=16):
    group = group or SO2("z")
    rotations = group.rotations((len(x), n), np.random.default_rng(seed))
    estimator = RandomEstimator(group, l_max, rotations)
    estimator.add(slice(0, n), function(np.einsum("snij,sj->nsi", rotations, x)))
    return estimator.result()


@pytest.mark.parametrize("axis", AXES)
def test_elements_are_rotations_about_the_axis(axis):
    group = SO2(axis)
    assert np.linalg.norm(group.axis) == pytest.approx(1)
    for elements in (group.quadrature(3).rotations, group.sample(6, np.random.default_rng(0))):
        np.testing.assert_allclose(elements @ group.axis, np.tile(group.axis, (len(elements), 1)), atol=1e-15)
        np.testing.assert_allclose(np.linalg.det(elements), 1, atol=1e-14)
    quarter = SO2("z").quadrature(0, degree=3).rotations[1]
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-15)  # counterclockwise


@pytest.mark.parametrize("l_max", [0, 1, 4])
def test_rule_is_exact_to_its_degree_and_not_at_the_next(l_max):
    rule = SO2("z").quadrature(l_max)
    assert len(rule) == 4 * l_max + 1 == rule.degree + 1
    assert rule.weights.sum() == pytest.approx(1)
    angle = np.arctan2(rule.rotations[:, 1, 0], rule.rotations[:, 0, 0])
    integrals = np.abs(np.exp(1j * np.arange(1, rule.degree + 2)[:, None] * angle) @ rule.weights)
    assert integrals[:-1].max(initial=0) < 5e-15
    assert integrals[-1] == pytest.approx(1)


def test_quadrature_recovers_known_modes_and_parseval():
    rng = np.random.default_rng(1)
    spectrum = by_quadrature(known_modes(POWERS, features=3, rng=rng), rng.normal(size=(5, 3)))
    np.testing.assert_allclose(spectrum.power, np.tile(expected(POWERS, 4), (5, 1)), atol=1e-14)
    np.testing.assert_allclose(spectrum.norm, sum(POWERS.values()), rtol=1e-14)
    assert abs(spectrum.tail) < 1e-14
    assert spectrum.n_rotations == 17


@pytest.mark.parametrize("axis", AXES)
def test_another_axis_is_the_same_in_another_frame(axis):
    group = SO2(axis)
    tilt = SO3().rotations(1, np.random.default_rng(2))[0]
    frame = np.linalg.qr(np.column_stack([group.axis, tilt[:, 0], tilt[:, 1]]))[0][:, [1, 2, 0]]
    frame[:, 2] = group.axis
    frame[:, 0] *= np.linalg.det(frame)
    rng = np.random.default_rng(3)
    function, x = known_modes(POWERS, features=2, rng=rng), rng.normal(size=(2, 3))
    spectrum = by_quadrature(lambda v: function(v @ frame), x, group=group)
    np.testing.assert_allclose(spectrum.power, np.tile(expected(POWERS, 4), (2, 1)), atol=1e-13)


def test_a_vector_has_one_invariant_and_one_mode_of_its_components():
    x = np.array([[3.0, 4.0, 2.0]])
    spectrum = by_quadrature(lambda v: v, x, l_max=2)
    np.testing.assert_allclose(spectrum.power, [[4.0, 25.0, 0.0]], atol=1e-13)


def test_aliasing_is_there_and_a_higher_degree_shows_it():
    rng = np.random.default_rng(4)
    function, x = known_modes({8: 1.0}, rng=rng), rng.normal(size=(1, 3))
    assert by_quadrature(function, x, l_max=2).fractions[1] == pytest.approx(1)  # 8 = 9 − 1
    assert by_quadrature(function, x, l_max=2, degree=10).tail == pytest.approx(1)


def test_random_estimator_agrees_within_its_errors():
    rng = np.random.default_rng(5)
    powers = POWERS | {11: 1.0}
    spectrum = by_random(known_modes(powers, features=2, rng=rng), rng.normal(size=(400, 3)), seed=7)
    z = (spectrum.fractions - expected(powers, 4) / sum(powers.values())) / spectrum.stderr
    assert np.abs(z).max() < 3
    assert spectrum.stderr.max() < 0.02
    assert spectrum.tail == pytest.approx(1.0 / sum(powers.values()), abs=3 * spectrum.tail_stderr)


def test_modes_print_and_travel_as_json():
    irreps = SO2("z").irreps(2)
    assert [str(irrep) for irrep in irreps] == ["m=0", "m=1", "m=2"]
    assert [irrep.dimension for irrep in irreps] == [1, 2, 2]
    assert [irrep.parity for irrep in irreps] == [None, None, None]
    stored = json.loads(json.dumps([[irrep.lam, irrep.sigma] for irrep in irreps]))
    assert tuple(Irrep(*pair) for pair in stored) == irreps
    assert Irrep(1, 0) != Irrep(1)
    assert repr(SO2((0, 0, 2))) == "SO2(0, 0, 1)"


def test_misuse_is_refused():
    for axis in ("beam", (0, 0, 0), (1, 2), (np.nan, 0, 1)):
        with pytest.raises(SpectrumError, match="expected 'x', 'y', 'z' or three"):
            SO2(axis)
    with pytest.raises(SpectrumError, match=r"the rule is one of SO\(2\) about .*expected one of O3\(\)"):
        QuadratureEstimator(SO2("z").quadrature(2), O3())
    with pytest.raises(SpectrumError, match=r"expected one of SO2\(1, 0, 0\)"):
        QuadratureEstimator(SO2("z").quadrature(2), SO2("x"))
    with pytest.raises(SpectrumError, match=r"the rule is one of SO\(3\)"):
        QuadratureEstimator(SO3().quadrature(2), SO2("x"))
    with pytest.raises(SpectrumError, match=r"move the axis of SO2\(0, 0, 1\)"):
        RandomEstimator(SO2("z"), 2, SO3().rotations((3, 4), np.random.default_rng(0)))
    with pytest.raises(SpectrumError, match="at least 2·l_max = 6"):
        SO2("z").quadrature(3, degree=5)
    with pytest.raises(SpectrumError, match="l_max is -1"):
        SO2("z").irreps(-1)
