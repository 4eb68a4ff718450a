"""Ratios of sums, their errors, what held-out elements add to them, and joining."""

import dataclasses

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import SO3, Spectrum, WindowEnergies, rapidity_window
from jetsym.spectrum.heldout import HeldOut, chance, is_beyond_chance
from jetsym.spectrum.result import jackknife_ratio


def spectrum(samples, rng, **changes):
    power = rng.exponential(size=(samples, 3)) * [1.0, 2.0, 0.5]
    settings = {"irreps": SO3().irreps(2), "n_rotations": 9, "noise_floor": 1e-30, "method": "quadrature"}
    return Spectrum(power=power, norm=power.sum(axis=1) * 1.25, **{**settings, **changes})


def test_fractions_and_tail_sum_to_one():
    result = spectrum(50, np.random.default_rng(0))
    assert result.fractions.sum() + result.tail == pytest.approx(1)
    assert result.tail == pytest.approx(0.2)
    uneven = dataclasses.replace(result, norm=result.power.sum(axis=1) + np.linspace(0, 1, 50))
    rest, error = jackknife_ratio(np.linspace(0, 1, 50), uneven.norm)
    assert (uneven.tail, uneven.tail_stderr) == (pytest.approx(rest), pytest.approx(error))


def test_jackknife_error_matches_the_spread_over_repeats():
    rng = np.random.default_rng(1)
    ratios, errors = zip(
        *(jackknife_ratio(rng.exponential(size=60), 1 + rng.exponential(size=60)) for _ in range(600)), strict=True
    )
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_one_input_has_no_error_and_zero_power_no_ratio():
    assert np.isnan(spectrum(1, np.random.default_rng(2)).stderr).all()
    ratio, stderr = jackknife_ratio(np.zeros((3, 2)), np.zeros(3))
    assert (ratio == 0).all()
    assert (stderr == 0).all()


def test_joining_batches():
    rng = np.random.default_rng(3)
    first, second = spectrum(3, rng), spectrum(4, rng, noise_floor=1e-12)
    joined = Spectrum.concatenate([first, second])
    assert joined.power.shape == (7, 3)
    assert joined.noise_floor == 1e-12
    for bad in ({"method": "random"}, {"n_rotations": 10}, {"irreps": SO3().irreps(2)[::-1]}):
        with pytest.raises(SpectrumError, match="cannot be joined"):
            Spectrum.concatenate([first, spectrum(2, rng, **bad)])
    with pytest.raises(SpectrumError, match="no spectra"):
        Spectrum.concatenate([])


def held_out(samples=4, k=5, components=3, *, rng, scale=1.0):
    """Findings at held-out elements that are random numbers."""
    power = rng.exponential(size=(samples, components))
    squares = scale * rng.exponential(size=(samples, k))
    cross, pairs = scale * rng.normal(size=(2, samples, k, components))
    return HeldOut(power, squares, cross, pairs)


def test_estimates_are_the_sums_that_are_written():
    """B = B̂ + (1/k) Σ_h cross + 1/(k(k−1)) Σ_h pairs, and N = Σ B̂ + (1/k) Σ_h (‖r‖² + Σ cross), element by element."""
    held = held_out(rng=np.random.default_rng(4))
    power, norm, unexplained = held.estimates()
    for x in range(4):
        assert unexplained[x] == pytest.approx(sum(held.squares[x]) / 5)
        assert norm[x] == pytest.approx(sum(held.power[x]) + sum(held.squares[x]) / 5 + held.cross[x].sum() / 5)
        for a in range(3):
            expected = held.power[x, a] + sum(held.cross[x, :, a]) / 5 + sum(held.pairs[x, :, a]) / 20
            assert power[x, a] == pytest.approx(expected)


def test_an_element_is_in_two_of_every_pair():
    """Leaving an element out changes an estimate by its influence over k − 1, up to the mean of all."""
    rng, k = np.random.default_rng(5), 6
    cross, matrix = rng.normal(size=(1, k, 1)), rng.normal(size=(k, k))
    matrix = (matrix + matrix.T) * (1 - np.eye(k))

    def estimate(kept):
        own = matrix[np.ix_(kept, kept)]
        n = len(kept)
        held = HeldOut(np.zeros((1, 1)), np.ones((1, n)), cross[:, kept], own.sum(axis=1).reshape(1, n, 1))
        return held.estimates().power[0, 0], held.influence()[0, :, 0]

    everything = list(range(k))
    whole, influence = estimate(everything)
    without = np.array([estimate([h for h in everything if h != left])[0] for left in everything])
    # The jackknife of a mean and of a mean over pairs: exact for the first, up to 1/(k−2) for the second.
    linear = (whole - without) * (k - 1)
    pairs = 2 * matrix.sum(axis=1) / (k - 1)
    np.testing.assert_allclose(influence, cross[0, :, 0] + pairs)
    expected = cross[0, :, 0] - cross.mean() + (pairs - pairs.mean()) * (k - 1) / (k - 2)
    np.testing.assert_allclose(linear, expected, atol=1e-12)


def test_the_error_by_chance_is_that_of_a_sum_of_means():
    influence = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])  # variances 1 and 12
    assert chance(influence) == pytest.approx(np.sqrt((1 + 12) / 3))
    rng = np.random.default_rng(6)
    sums = rng.normal(size=(4000, 3, 4)).mean(axis=2).sum(axis=1)
    assert np.std(sums) == pytest.approx(np.sqrt(3 / 4), rel=0.05)
    assert np.sqrt(np.mean([chance(one) ** 2 for one in rng.normal(size=(4000, 3, 4))])) == pytest.approx(
        np.sqrt(3 / 4), rel=0.05
    )


@pytest.mark.parametrize(("components", "quantile"), [(1, 6.6201), (2, 7.95918)])
def test_what_is_beyond_chance_is_beyond_three_standard_deviations_of_student(components, quantile):
    """Two inputs of three elements have four degrees of freedom: t = 6.62 at 0.00135, and 7.96 at half of that."""
    influence = np.tile(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[..., None], components)
    error = np.sqrt(2 / 3)
    change = np.zeros((2, components))
    for sign in (1, -1):
        change[:, 0] = sign * 0.4999 * quantile * error
        assert not is_beyond_chance(change, influence)
        change[:, 0] = sign * 0.5001 * quantile * error
        assert is_beyond_chance(change, influence)


def test_a_rule_stands_where_what_it_leaves_is_rounding_or_hardly_anything_and_no_chance():
    rng = np.random.default_rng(7)

    def resolved(scale, *, floor=0.0, shift=0.0):
        held = held_out(40, rng=rng, scale=scale)
        found = spectrum(40, rng)
        held = HeldOut(found.power, held.squares, held.cross + shift, held.pairs)
        settled = held.estimates().norm if shift == 0 else found.norm
        return dataclasses.replace(found, norm=settled, held_out=held).is_resolved(floor)

    assert resolved(1e-6)  # no more than chance, and less than is material
    assert not resolved(1e-6, shift=1e-3)  # a change beyond chance
    assert not resolved(1e-1)  # much that is unexplained
    assert resolved(1e-1, floor=1.0)  # which rounding alone can make
    assert spectrum(3, rng).is_resolved(0.0)  # nothing is known


def test_what_is_unexplained_is_a_ratio_of_sums_and_nothing_without_held_out_elements():
    rng = np.random.default_rng(8)
    assert np.isnan(spectrum(3, rng).unexplained).all()
    with pytest.raises(SpectrumError, match="no responses to held-out elements were added"):
        spectrum(3, rng).unbiased()
    held = held_out(rng=rng)
    result = dataclasses.replace(spectrum(4, rng), held_out=held)
    value, error = result.unexplained
    estimates = held.estimates()
    assert value == pytest.approx(estimates.unexplained.sum() / estimates.norm.sum())
    by_inputs = jackknife_ratio(estimates.unexplained, estimates.norm)[1]
    assert error >= by_inputs
    unbiased = result.unbiased()
    assert unbiased.is_unbiased
    np.testing.assert_array_equal(unbiased.power, estimates.power)
    np.testing.assert_array_equal(unbiased.norm, estimates.norm)


def test_an_error_is_at_least_that_by_chance_of_the_elements():
    """One input alone has the error of its elements; many that agree exactly have it as well."""
    influence = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 1.0, 1.0]])
    ratio, error = jackknife_ratio(np.array([2.0]), np.array([-4.0]), influence=influence)
    assert ratio == -0.5
    assert error == pytest.approx(np.sqrt(1 / 3) / 4)
    alike = tuple(np.repeat(one, 5, axis=0) for one in influence)
    assert jackknife_ratio(np.full(5, 2.0), np.full(5, 4.0), influence=alike)[1] == pytest.approx(np.sqrt(5 / 3) / 20)


def test_jackknife_by_leaving_out_one_input_at_a_time():
    rng = np.random.default_rng(9)
    numerator, denominator = rng.normal(size=(5, 2)), rng.exponential(size=5)
    ratio, error = jackknife_ratio(numerator, denominator)
    for a in range(2):
        without = [np.delete(numerator[:, a], x).sum() / np.delete(denominator, x).sum() for x in range(5)]
        assert ratio[a] == pytest.approx(numerator[:, a].sum() / denominator.sum())
        assert error[a] == pytest.approx(np.sqrt(4 * np.var(without)))


def test_window_energies_share_out_and_give_a_slope():
    window = rapidity_window("uniform", 0.5, 2)
    power = np.array([[4.0, 0.5, 0.25], [1.0, 0.5, 0.0]])
    deviation, norm = np.array([1.0, 0.5]), np.array([5.0, 1.5])
    found = WindowEnergies(window, power, norm, deviation, 1e-30)
    assert found.deviation_share[0] == pytest.approx(1.5 / 6.5)
    assert found.deviation_share[1] == pytest.approx(jackknife_ratio(deviation, norm)[1])
    np.testing.assert_allclose(found.slope2, [0.5 * 12, 0.5 * 12])  # Var(y) = 0.5²/3
    straight = WindowEnergies(rapidity_window("normal", 0.5, 1), power[:, :2], norm, deviation, 1e-30)
    np.testing.assert_allclose(straight.slope2, [0.5 * 4, 0.5 * 4])  # Var(y) = 0.5²
    with pytest.raises(SpectrumError, match="the window has n_max = 0; take n_max ≥ 1 for a slope"):
        _ = WindowEnergies(rapidity_window("uniform", 0.5, 0), power[:, :1], norm, deviation, 1e-30).slope2
    others = [rapidity_window("normal", 0.5, 2), rapidity_window("uniform", 0.6, 2), rapidity_window("uniform", 0.5, 1)]
    others.append(rapidity_window("uniform", 0.5, 2, degree=20))
    for other in others:
        with pytest.raises(SpectrumError, match="windows cannot be joined"):
            WindowEnergies.concatenate([found, dataclasses.replace(found, window=other)])


def test_unbiased_window_energies_share_out_with_the_chance_of_their_elements():
    window, rng = rapidity_window("uniform", 0.5, 1), np.random.default_rng(10)
    held = held_out(3, components=4, rng=rng)
    plain = WindowEnergies(
        window, held.power[:, :2], held.power.sum(axis=1), held.power[:, 1:].sum(axis=1), 1e-30, held
    )
    found, estimates = plain.unbiased(), held.estimates()
    np.testing.assert_array_equal(found.power, estimates.power[:, :2])
    np.testing.assert_allclose(found.deviation, estimates.norm - estimates.power[:, 0])
    share, error = found.deviation_share
    assert share == pytest.approx((estimates.norm - estimates.power[:, 0]).sum() / estimates.norm.sum())
    influence = held.of_norm - held.influence()[..., 0] - share * held.of_norm
    assert error >= chance(influence) / abs(estimates.norm.sum())
    assert plain.deviation_share[1] == pytest.approx(jackknife_ratio(plain.deviation, plain.norm)[1])
