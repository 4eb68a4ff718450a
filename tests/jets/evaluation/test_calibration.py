"""Calibration errors of taggers whose miscalibration is known."""

import json
import math

import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.evaluation.calibration import Calibration, measure_calibration


def drawn(n: int, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from known probabilities, and logits that state these, or state them too sharply."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 3, generator=generator).double()
    label = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    return sharpness * logits, label


def test_true_probabilities_are_at_the_floor():
    found = measure_calibration(*drawn(20_000))
    assert found.ece == pytest.approx(found.ece_floor, rel=0.5)
    assert measure_calibration(*drawn(200_000)).ece_floor == pytest.approx(found.ece_floor / 10**0.5, rel=0.05)


def test_the_floor_is_the_mean_error_of_true_probabilities():
    logits = drawn(500)[0]
    generator = torch.Generator().manual_seed(1)
    errors = [
        measure_calibration(logits, torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)).ece
        for _ in range(200)
    ]
    assert sum(errors) / 200 == pytest.approx(measure_calibration(logits, drawn(500)[1]).ece_floor, rel=0.05)


def test_overconfidence_is_seen():
    """Probability 0.9 where the share of right decisions is 0.7."""
    logits = torch.tensor([[0.9, 0.1]]).log().expand(1000, 2)
    label = (torch.arange(1000) >= 700).long()
    found = measure_calibration(logits, label)
    assert found.ece == pytest.approx(0.2)
    assert sum(found.jets) == 1000
    place = found.jets.index(1000)
    assert found.accuracy[place] == pytest.approx(0.7)
    assert found.confidence[place] == pytest.approx(0.9)
    assert found.low[place] < 0.7 < found.high[place]
    assert found.high[place] - found.low[place] == pytest.approx(2 * 1.96 * math.sqrt(0.7 * 0.3 / 1000), rel=0.05)
    assert [found.accuracy[other] for other in range(15) if other != place] == [None] * 14
    assert measure_calibration(*drawn(5000, sharpness=3.0)).ece > 0.1


def test_certain_and_uncertain_jets_have_a_bin():
    found = measure_calibration(torch.tensor([[1e4, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]), bins=4)
    assert found.jets == (0, 1, 0, 1)
    assert found.ece == pytest.approx(0.25)
    assert (found.low[1], found.high[3]) == (0.0, 1.0)


def test_json_and_mistakes():
    found = measure_calibration(*drawn(50))
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    with pytest.raises(DataError, match="no jets to calibrate on"):
        measure_calibration(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
