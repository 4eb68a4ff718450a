"""Background rejections against hand-made samples."""

import math

import numpy as np
import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.evaluation.auc import auc_with_influence
from jetsym.jets.evaluation.calibration import measure_calibration
from jetsym.jets.evaluation.rejection import measure_rejection, passing_share_interval
from jetsym.jets.evaluation.roc import roc_points
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


NAN = np.array([0.3, math.nan, 0.1, 0.7])
KIND = np.array([True, True, False, False])


@pytest.mark.parametrize("is_signal", [KIND, ~KIND])
@pytest.mark.parametrize(
    "measure",
    [
        lambda score, kind: background_rejection(score, kind, signal_efficiency=0.5),
        lambda score, kind: measure_rejection(score, kind, signal_efficiency=0.5),
        auc_with_influence,
        lambda score, kind: roc_points(score, kind, np.ones(4), confidence=0.95),
        lambda score, kind: passing_share_interval(score[kind], score[~kind], signal_efficiency=0.5, confidence=0.95),
        lambda score, kind: measure_calibration(torch.from_numpy(score), torch.from_numpy(kind).long()),
    ],
)
def test_scores_that_are_no_numbers_are_refused(measure, is_signal):
    """NaN is sorted above all: as signal it would be found at every efficiency."""
    with pytest.raises(DataError, match=r"scores of 1 of [24] jets are NaN, the first of number 1; expected numbers"):
        measure(NAN, is_signal)
    measure(np.nan_to_num(NAN, nan=2.5), is_signal)
