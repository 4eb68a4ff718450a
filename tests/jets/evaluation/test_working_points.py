"""Background rejections against hand-made samples."""

import math

import numpy as np
import pytest

from jetsym.errors import DataError
from jetsym.jets.evaluation.working_points import background_rejection


def test_background_rejection_by_hand():
    score = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], dtype=float)
    is_signal = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0], dtype=bool)  # 4 signal, 6 background
    assert background_rejection(score, is_signal, signal_efficiency=0.75) == pytest.approx(6.0)
    assert background_rejection(score, is_signal, signal_efficiency=1.0) == pytest.approx(2.0)
    assert background_rejection(score, is_signal, signal_efficiency=0.6) == pytest.approx(6.0)  # 3 of 4 have to pass
    assert background_rejection(score, is_signal, signal_efficiency=0.5) == math.inf


def test_background_rejection_of_a_random_score_is_one_over_the_efficiency():
    rng = np.random.default_rng(0)
    found = background_rejection(rng.uniform(size=20000), rng.uniform(size=20000) < 0.5, signal_efficiency=0.25)
    assert found == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("efficiency", [0.0, -0.1, 1.5, math.nan])
def test_background_rejection_refuses_impossible_efficiencies(efficiency):
    with pytest.raises(DataError, match="signal_efficiency is"):
        background_rejection(np.array([0.0, 1.0]), np.array([False, True]), signal_efficiency=efficiency)


def test_background_rejection_needs_both_kinds():
    with pytest.raises(DataError, match="has 2 signal jets of 2; expected both kinds"):
        background_rejection(np.array([0.0, 1.0]), np.array([True, True]), signal_efficiency=0.5)
