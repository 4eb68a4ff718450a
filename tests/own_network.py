"""A network of one's own, as a user writes it: it is made without arguments, and takes jets to one logit a class."""

from __future__ import annotations

import torch
from torch import nn

CLASSES = 10


class Layer(nn.Module):
    """A map of every particle alike; padded slots are zero."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width_in, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (B, N, C) to (B, N, C')."""
        return torch.relu(self.map(x)) * mask[..., None]


class MyNet(nn.Module):
    """A function of the sum over particles of functions of log E and direction."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Layer(4, 16), Layer(16, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, jets) -> torch.Tensor:
        """Return logits (B, classes) of B jets."""
        energy = jets.p4[..., :1].clamp(min=1e-3)
        x = torch.cat([energy.log(), jets.p4[..., 1:] / energy], dim=-1) * jets.mask[..., None]
        return self.head(self.second(self.first(x, jets.mask), jets.mask).sum(1) / 30)
