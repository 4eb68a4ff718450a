"""Jets with logits, of three classes."""

import pytest
import torch


@pytest.fixture
def scored() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (200,), generator=generator)
    return torch.randn(200, 3, generator=generator) + torch.eye(3)[label], label
