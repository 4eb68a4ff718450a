"""Background rejection: intervals against closed forms and against toys whose truth is known."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, norm

from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation.discriminants import log_odds, pair_score
from jetsym.jets.evaluation.rejection import (
    Rejection,
    background_of,
    measure_rejection,
    passing_share_interval,
    working_points_of,
)


def clopper_pearson(passed: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    miss = (1 - confidence) / 2
    return float(beta.ppf(miss, passed, n - passed + 1)), float(beta.ppf(1 - miss, passed + 1, n - passed))


@pytest.mark.parametrize("passed", [1, 7, 40, 99])
def test_with_a_known_cut_it_is_the_interval_of_clopper_and_pearson(passed):
    """Half a million signal scores between two background scores: the cut is known."""
    signal = np.linspace(0.4, 0.6, 500_001)
    background = np.where(np.arange(100) < passed, 0.9, 0.1)
    found = passing_share_interval(signal, background, signal_efficiency=0.5, confidence=0.95)
    np.testing.assert_allclose(found, clopper_pearson(passed, 100), rtol=1e-9)


def test_nothing_or_everything_passes():
    signal = np.linspace(0.4, 0.6, 1000)
    low, high = passing_share_interval(signal, np.zeros(50), signal_efficiency=0.5, confidence=0.9)
    assert low == 0
    assert high == pytest.approx(1 - 0.05 ** (1 / 50))
    low, high = passing_share_interval(signal, np.ones(50), signal_efficiency=0.5, confidence=0.9)
    assert low == pytest.approx(0.05 ** (1 / 50))
    assert high == 1


def test_few_signal_jets_cannot_place_a_loose_cut():
    """None of 100 jets need lie below the true cut of 99.5 %: nothing bounds the share from above."""
    rng = np.random.default_rng(0)
    signal, background = rng.normal(2, 1, 100), rng.normal(0, 1, 1000)
    assert binom.cdf(0, 100, 0.005) > 0.025
    assert passing_share_interval(signal, background, signal_efficiency=0.995, confidence=0.95)[1] == 1
    assert passing_share_interval(signal, background, signal_efficiency=0.5, confidence=0.95)[1] < 0.1
    assert passing_share_interval(signal, background, signal_efficiency=1.0, confidence=0.95)[1] == 1


def test_one_signal_jet_says_nothing_about_the_cut():
    """It is above the true cut in one case of two: then all of the background may be as well, else none of it."""
    background = np.linspace(0, 1, 100)
    found = passing_share_interval(np.array([0.7]), background, signal_efficiency=0.5, confidence=0.95)
    assert found == (0.0, 1.0)


def test_equal_scores_are_counted_at_the_wider_edge():
    """Scores of two values: the cut is at either, so that the share is 20 % or all."""
    signal, background = np.array([1.0, 0.0] * 50), np.array([1.0, 0, 0, 0, 0] * 40)
    low, high = passing_share_interval(signal, background, signal_efficiency=0.5, confidence=0.95)
    assert 0 < low < 0.2
    assert high == 1


def coverage(n_signal: int, n_background: int, efficiency: float, toys: int) -> tuple[float, float, float]:
    """Of normal scores one unit apart: shares of toys with the truth inside, below and above, of two methods."""
    truth = norm.sf(norm.isf(efficiency, loc=1))
    rng = np.random.default_rng(1)
    inside, below, plain = 0, 0, 0
    for _ in range(toys):
        signal, background = rng.normal(1, 1, n_signal), rng.normal(0, 1, n_background)
        low, high = passing_share_interval(signal, background, signal_efficiency=efficiency, confidence=0.95)
        inside += low <= truth <= high
        below += truth < low
        score = np.concatenate([signal, background])
        found = measure_rejection(score, np.arange(len(score)) < n_signal, signal_efficiency=efficiency)
        fixed_low, fixed_high = clopper_pearson(found.passed, n_background)
        plain += fixed_low <= truth <= fixed_high
    return inside / toys, below / toys, plain / toys


@pytest.mark.parametrize(
    ("n_signal", "n_background", "efficiency"), [(200, 200, 0.5), (100, 1000, 0.3), (500, 300, 0.9)]
)
def test_the_truth_is_covered_as_often_as_said(n_signal, n_background, efficiency):
    inside, below, plain = coverage(n_signal, n_background, efficiency, toys=200)
    assert 0.93 <= inside <= 0.995  # 95 % within 1.6 standard deviations, or a little more often
    assert below <= 0.05
    assert plain < inside
    if n_background > n_signal:  # the interval for a fixed cut misses what the movement of the cut adds
        assert plain < 0.8


def test_rejection_by_hand():
    score = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], dtype=float)
    is_signal = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    found = measure_rejection(score, is_signal, signal_efficiency=0.75, signal="top", background=("QCD",))
    assert (found.value, found.passed, found.n_signal, found.n_background) == (6.0, 1, 4, 6)
    assert found.interval[0] <= 6 <= found.interval[1]
    assert found.few
    assert str(found).startswith("6* [")
    nothing = measure_rejection(score, is_signal, signal_efficiency=0.5)
    assert nothing.value == np.inf
    assert nothing.interval[1] == np.inf
    assert str(nothing).startswith("> 1")


def test_json_has_no_infinity():
    score = np.linspace(0, 1, 40)
    for efficiency in (0.5, 1.0):
        found = measure_rejection(score, score > 0.5, signal_efficiency=efficiency)
        text = json.dumps(found.to_dict(), allow_nan=False)
        assert json.loads(text)["value"] is None
        assert Rejection.from_dict(json.loads(text)) == found


def test_more_background_narrows_the_interval():
    rng = np.random.default_rng(3)
    widths = []
    for n in (300, 3000, 30000):
        low, high = passing_share_interval(
            rng.normal(1, 1, n), rng.normal(0, 1, n), signal_efficiency=0.5, confidence=0.95
        )
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_log_odds_against_one_class_or_several():
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(60, 4, generator=generator), torch.arange(60) % 4
    classes = ("QCD_bb", "QCD_light", "top", "W")
    odds, is_signal = log_odds(logits, label, "top", ("QCD_light",), classes=classes)
    expected, truth = pair_score(logits, label, "top", "QCD_light", classes=classes)
    np.testing.assert_allclose(odds, expected, rtol=1e-12)
    assert (is_signal == truth).all()
    odds, is_signal = log_odds(logits, label, "top", ("QCD_bb", "QCD_light"), classes=classes)
    p = logits.double().softmax(-1).numpy()
    chosen = label.numpy() < 3
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), (p[:, 2] / (p[:, 2] + p[:, 0] + p[:, 1]))[chosen], rtol=1e-12)
    assert is_signal.sum() == 15


def test_mistakes():
    with pytest.raises(ConfigError, match="background is 'QCDD', which is no class; the nearest are 'QCD'"):
        background_of(("QCD", "top"), "QCDD")
    with pytest.raises(ConfigError, match="expected some, and not all"):
        background_of(("QCD", "top"), ["top", "QCD"])
    with pytest.raises(ConfigError, match="expected some, and not all"):
        background_of(("QCD",))
    with pytest.raises(ConfigError, match="working_points names 'Tbq'; the nearest are 'Tbqq'"):
        working_points_of(("Tbqq", "Hbb"), {"Tbq": 0.5})
    with pytest.raises(ConfigError, match="working_points has 50 for 'Hbb'; expected a share"):
        working_points_of(("Hbb",), {"Hbb": 50})
    with pytest.raises(DataError, match="confidence is 95"):
        passing_share_interval(np.ones(2), np.ones(2), signal_efficiency=0.5, confidence=95)
    with pytest.raises(DataError, match="signal_efficiency is 0"):
        measure_rejection(np.arange(2.0), np.array([True, False]), signal_efficiency=0)
