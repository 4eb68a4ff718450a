"""Ratios of sums, their errors, and joining."""

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import SO3, Spectrum
from jetsym.spectrum.result import jackknife_ratio


def spectrum(samples, rng, **changes):
    power = rng.exponential(size=(samples, 3)) * [1.0, 2.0, 0.5]
    settings = {"irreps": SO3().irreps(2), "n_rotations": 9, "noise_floor": 1e-30, "method": "quadrature"}
    return Spectrum(power=power, norm=power.sum(axis=1) * 1.25, **{**settings, **changes})


def test_fractions_and_tail_sum_to_one():
    result = spectrum(50, np.random.default_rng(0))
    assert result.fractions.sum() + result.tail == pytest.approx(1)
    assert result.tail == pytest.approx(0.2)


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
