"""Outputs as they are measured: one logit is the two logits that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.kinds import as_measured
from jetsym.probing.measure.average import orbit_average
from jetsym.remedies.penalty import GeneratorPenalty

POINTS = np.random.default_rng(0).normal(size=(5, 3))


class Heights(nn.Module):
    """One logit of a vector, 1 + its height; or the two logits that say the same."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = 1 + self.scale * x[:, 2]
        forms = {"one": z, "one column": z[:, None], "two": torch.stack([torch.zeros_like(z), z], dim=1)}
        return forms[self.shape]


@pytest.mark.parametrize("shape", ["one", "one column"])
@pytest.mark.parametrize("options", [{"group": "O3"}, {"group": "SO3", "method": "random"}, {"group": "SO2"}], ids=str)
def test_one_logit_reads_as_the_two_that_it_stands_for(shape, options):
    found, expected = (
        jetsym.probe(Heights(each), POINTS, outputs={"output": "logits"}, layers=[], l_max=2, progress=False, **options)
        .equivariance["output"]
        .__dict__
        for each in (shape, "two")
    )
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_its_error_is_not_centred_to_nothing():
    """1 + z over the sphere: A² = r²/3 of the logit, half of it of the two centred logits (−z/2, z/2)."""
    report = jetsym.probe(Heights("one"), POINTS, outputs={"output": "logits"}, layers=[], l_max=2, progress=False)
    squared = (POINTS**2).sum(1).mean() / 3
    assert report.equivariance["output"].absolute == pytest.approx((squared / 2) ** 0.5, rel=1e-6)
    assert report.equivariance["output"].relative == pytest.approx((squared / (1 + squared)) ** 0.5, rel=1e-6)


def test_an_average_of_one_logit():
    found = orbit_average(Heights("one column"), POINTS, outputs={"output": "logits"}, bandwidth=1)["output"]
    np.testing.assert_allclose(found.mean, [[-0.5, 0.5]] * 5, atol=1e-12)


def test_a_penalty_of_one_logit():
    """J_x and J_y move the height at the rate of y and x; the two centred logits have half of the square."""
    p4 = torch.tensor([[5.0, 3.0, 0.0, 4.0]])
    for shape in ("one", "one column", "two"):
        penalty = GeneratorPenalty(("J_y",), draws=None)(lambda p, s=shape: Heights(s)(p[:, 1:].double()), p4)
        assert penalty.item() == pytest.approx(4.5, rel=1e-3)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 6, 1)])
def test_of_any_array_library(shape):
    z = np.random.default_rng(1).normal(size=shape)
    found = as_measured(z, "logits")
    assert found.shape == ((4, 2) if shape == (4,) else (*shape[:-1], 2))
    np.testing.assert_array_equal(found[..., 1] - found[..., 0], z.reshape(found.shape[:-1]))
    np.testing.assert_array_equal(as_measured(torch.from_numpy(z), "logits").numpy(), found)


def test_no_classes_at_all():
    with pytest.raises(ProbeError, match=r"logits of shape \(4, 0\) have no classes"):
        as_measured(np.ones((4, 0)), "logits")
