"""Averages over a group on a CUDA device, with their gradients."""

from __future__ import annotations

import pytest
import torch

from jetsym.jets.models import build
from jetsym.remedies import Symmetrized

pytestmark = pytest.mark.cuda


def test_averages_are_those_of_the_cpu(cuda, make_jets):
    torch.manual_seed(0)
    jets, model = make_jets(4, dtype=torch.float64), build("pointnet", width=16, blocks=1, heads=2).double()
    here = Symmetrized(model, "O3", 2)(jets).detach()
    there = Symmetrized(model.to(cuda), "O3", 2, batch_size=16)(jets.to(cuda))
    torch.testing.assert_close(there.detach().cpu(), here, atol=1e-10, rtol=0)
    there.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_vectors_turn_back_without_tf32(cuda):
    average = Symmetrized(lambda x: x, "SO3", 2, outputs={"force": "vector"})
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("high")
    try:
        mean, std = average.with_std(points.to(cuda))
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(mean.cpu(), points, atol=1e-5, rtol=0)
    assert float(std.max()) < 1e-5
