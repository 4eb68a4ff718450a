"""The time of a probe over that of its bare passes: what is counted, and what of it is the probe's."""

from __future__ import annotations

import time
from unittest.mock import patch

import pytest
import torch
from torch import nn

from jetsym.benchmarks.measure import seconds
from jetsym.benchmarks.passes import as_it_takes, passes_of

OPTIONS = {"outputs": {"energy": "scalar"}, "l_max": 1, "progress": False}
#: The calls of a model, which a probe puts back where the model itself counts them.
CALLS = []


class Busy(nn.Module):
    """A scalar of points that takes a known time of the processor."""

    def __init__(self, spent: float) -> None:
        super().__init__()
        self.weight, self.spent = nn.Parameter(torch.ones(3)), spent

    def forward(self, x):
        CALLS.append(id(self))
        start = time.process_time()
        while time.process_time() - start < self.spent:
            pass
        return {"energy": (x @ self.weight).square().sum(1, keepdim=True)}


def test_every_pass_is_made_once_more_and_its_time_is_none_of_the_probe():
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    model = Busy(0.02)
    CALLS.clear()
    found = passes_of(model, x, **OPTIONS)
    own = CALLS.count(id(model))
    assert own == found.number == len(CALLS) - own
    assert found.before + found.orbit == pytest.approx(0.02 * found.number, rel=0.1)
    assert found.orbit > 0 < found.before
    assert 0.02 * found.number < found.probe < 0.02 * found.number + 3
    assert found.over_orbit > found.over_all > 1
    assert set(found.report.outputs) == {"energy"}


def test_what_the_probe_does_beside_its_passes_is_seen():
    """A probe that dawdles for as long as all its passes takes twice as long as they do."""
    from jetsym.probing.measure import orbit

    x, take = torch.randn(2, 4, 3), orbit.InputBatch._take

    def dawdling(self, *given):
        seconds(lambda: None, at_least=0.3, clock=time.process_time)
        return take(self, *given)

    plain = passes_of(Busy(0.01), x, **OPTIONS)
    with patch.object(orbit.InputBatch, "_take", dawdling):
        slow = passes_of(Busy(0.01), x, **OPTIONS)
    assert slow.number == plain.number
    assert slow.orbit == pytest.approx(plain.orbit, rel=0.3)
    assert slow.probe > plain.probe + 0.25


def test_calls_of_a_calculator_are_made_by_a_copy_of_its_own():
    build = pytest.importorskip("ase.build")
    from ase.calculators.lj import LennardJones

    frames = [build.bulk("Cu", cubic=True) for _ in range(2)]
    for place, frame in enumerate(frames):
        frame.rattle(0.05, seed=place)
    calculator = LennardJones()
    model, inputs = as_it_takes(calculator, frames)
    found = passes_of(model, inputs, l_max=1, n_rotations=4, progress=False)
    assert found.number == found.report.meta["calls"]
    assert found.report.equivariance["forces"].is_within_rounding
    assert "calculate" not in vars(calculator)
    assert found.probe > found.orbit > 0 < found.before


def test_the_command_prints_the_times_of_any_calculator(capsys):
    pytest.importorskip("metatomic")
    from jetsym.benchmarks.__main__ import main

    words = ["--network", "ase.calculators.lj:LennardJones", "--limit", "1", "--repeats", "1"]
    assert main(["potential", *words]) == 0
    said = capsys.readouterr().out
    assert "ase.calculators.lj:LennardJones, 1 structures, l_max 4, float64" in said
    assert "over all passes" in said
