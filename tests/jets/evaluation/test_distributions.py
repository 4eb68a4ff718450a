"""Distributions of scores and masses against closed forms and independent oracles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest

from jetsym.jets.evaluation.distributions import jensen_shannon, mass_before, mass_sculpted, score_histogram
from jetsym.jets.evaluation.roc import EFFICIENCIES, roc_points


def test_the_divergence_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(5):
        first, second = rng.poisson(5, size=(2, 20)).astype(float)
        assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2) ** 2)
    assert jensen_shannon(np.zeros(3), np.ones(3)) is None


def test_chance_is_what_cuts_that_do_not_look_at_the_mass_have():
    rng = np.random.default_rng(1)
    mass = rng.exponential(60, size=3000)
    before = mass_before(mass, np.ones(3000), named="jet mass")
    found = [mass_sculpted(before, mass, np.ones(3000), rng.random(3000) < 0.05) for _ in range(200)]
    assert np.mean([one.divergence for one in found]) == pytest.approx(
        np.mean([one.by_chance for one in found]), rel=0.05
    )
    assert np.mean([one.is_seen for one in found]) == pytest.approx(0.05, abs=0.04)
    assert mass_sculpted(before, mass, np.ones(3000), mass > 100).is_seen


def test_equal_weights_say_what_none_say():
    rng = np.random.default_rng(2)
    mass, passes = rng.exponential(60, size=1000), rng.random(1000) < 0.2
    plain, doubled = (
        mass_sculpted(mass_before(mass, weights, named="m"), mass, weights, passes)
        for weights in (np.ones(1000), 2 * np.ones(1000))
    )
    assert plain.divergence == pytest.approx(doubled.divergence)
    assert plain.by_chance == pytest.approx(doubled.by_chance)
    assert np.array(doubled.passed_stderr) == pytest.approx(2 * np.array(plain.passed_stderr))


def test_nothing_passes_and_all_pass():
    mass, ones = np.linspace(1, 100, 500), np.ones(500)
    before = mass_before(mass, ones, named="m")
    for passes in (np.zeros(500, bool), np.ones(500, bool)):
        found = mass_sculpted(before, mass, ones, passes)
        assert (found.divergence, found.by_chance, found.is_seen) == (None, None, False)
    assert mass_before(np.full(4, np.nan), np.ones(4), named="m") is None
    assert mass_before(np.zeros(4), np.ones(4), named="m") is None


def test_histograms_hold_all_jets():
    rng = np.random.default_rng(3)
    odds, is_signal, weights = rng.normal(scale=30, size=800), rng.random(800) < 0.3, rng.random(800)
    found = score_histogram(odds, is_signal, weights, cut=0.0)
    assert sum(found.signal) == pytest.approx(weights[is_signal].sum())
    assert sum(found.background) == pytest.approx(weights[~is_signal].sum())
    assert np.square(found.signal_stderr).sum() == pytest.approx(np.square(weights[is_signal]).sum())


def test_bands_are_those_of_clopper_and_pearson():
    rng = np.random.default_rng(4)
    score, is_signal = np.concatenate([rng.normal(1, 1, 300), rng.normal(0, 1, 700)]), np.arange(1000) < 300
    (efficiency, share), (low, high) = roc_points(score, is_signal, np.ones(1000), confidence=0.9)
    assert efficiency == EFFICIENCIES
    for place in (0, 4, 49, 98, 101):
        expected = binomtest(round(700 * share[place]), 700).proportion_ci(0.9, method="exact")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high))
