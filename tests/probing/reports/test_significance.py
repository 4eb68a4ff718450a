"""Shares and what is surely said of them, by draws of known truth."""

import numpy as np
import pytest
from scipy import stats

from jetsym.probing.reports.significance import FEWEST_INPUTS, Share, quantile
from jetsym.spectrum.result import jackknife_ratio

DRAWS = 100_000


def wrong_sides(n, norms, shares, rng):
    """How often a share is said to lie surely above, and surely below, its own true value."""
    truth = shares(rng, 5_000_000).mean()
    norm = norms(rng, (DRAWS, n))
    power = norm * shares(rng, (DRAWS, n))
    value = power.sum(axis=1) / norm.sum(axis=1)
    left_out = (power.sum(axis=1, keepdims=True) - power) / (norm.sum(axis=1, keepdims=True) - norm)
    stderr = np.sqrt((n - 1) * left_out.var(axis=1))
    assert stderr[0] == pytest.approx(float(jackknife_ratio(power[0], norm[0])[1]))
    bound = stats.logistic.ppf(truth)  # whole arrays at once, by the formula of the docstring
    odds, error = np.log(value / (1 - value)), quantile(3.0, n) * stderr / (value * (1 - value))
    above, below = odds - error > bound, odds + error < bound
    for row in range(2000):  # and the code itself
        share = Share(value[row], stderr[row], 0.0, n)
        assert share.surely_above(truth) == above[row]
        assert share.surely_below(truth) == (below[row] and n >= FEWEST_INPUTS)
    return above.mean(), below.mean()


@pytest.mark.parametrize("n", [4, 8, 16])
def test_each_side_is_wrong_as_seldom_as_it_says(n):
    rng = np.random.default_rng(n)
    above, below = wrong_sides(
        n, lambda rng, size: rng.gamma(20, size=size), lambda rng, size: rng.beta(2, 8, size=size), rng
    )
    assert above < 0.003
    assert below < 0.003


@pytest.mark.parametrize("n", [4, 8, 16])
def test_heavy_tails_are_printed(n, record_property, capsys):
    """Norms that differ by factors and shares that are mostly nothing: few inputs do not show the rest."""
    rng = np.random.default_rng(n)
    above, below = wrong_sides(
        n, lambda rng, size: rng.lognormal(size=size), lambda rng, size: rng.beta(0.5, 5, size=size), rng
    )
    with capsys.disabled():
        print(f" {n} inputs: above {100 * above:.2f} %, below {100 * below:.2f} %", end="")
    assert above < 0.004
    assert below < 0.02


def test_rounding_and_noise_about_zero():
    assert not Share(1e-9, 0.0, 1e-9, 64).surely_above(1e-12)  # all of it may be rounding
    assert Share(1e-6, 0.0, 1e-12, 64).surely_above(9e-7)
    assert not Share(-0.01, 0.02, 0.0, 64).surely_above(0.0)  # an unbiased estimate of nothing
    assert Share(-0.01, 0.02, 0.0, 64).surely_below(0.07)
    assert not Share(0.0, float("nan"), 0.0, 64).surely_below(1.0)
    assert Share(1.0, 0.001, 0.0, 64).surely_above(0.99)
