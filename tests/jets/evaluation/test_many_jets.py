"""Evaluations of many jets: what is computed of logits is, some jets at a time, and they take little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from jetsym.benchmarks.measure import peak_growth
from jetsym.jets.evaluation import assess as assessing, calibration, discriminants
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.schema import CLASSES


def scored(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 10, (n,), generator=generator)
    return torch.randn(n, 10, generator=generator) + 2 * torch.eye(10)[label], label


def test_some_jets_at_a_time_are_all_of_them(monkeypatch):
    logits, label = scored(300)
    odds, whole = discriminants.odds_against_rest(logits), assess(logits, label, classes=CLASSES).to_dict()
    for module in (assessing, calibration, discriminants):
        monkeypatch.setattr(module, "AT_ONCE", 7)
    np.testing.assert_array_equal(discriminants.odds_against_rest(logits), odds)
    assert assess(logits, label, classes=CLASSES).to_dict() == whole


def assessed(n: int) -> Callable[[], Any]:
    logits, label = scored(n)
    pt = 500 + torch.rand(n, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"classes": CLASSES, "scores": "logits"}
    assess(logits[:2000], label[:2000], jet_pt=pt[:2000], jet_mass=pt[:2000], **options)
    return lambda: assess(logits, label, jet_pt=pt, jet_mass=pt, **options)


@pytest.mark.slow
def test_a_jet_takes_little_memory_beside_its_logits():
    """300 bytes; they were 610, with all that is computed of the logits in memory at once."""
    n = 600_000
    assert peak_growth(assessed, n) * 2**20 / n < 420
