"""Exactly invariant networks of clouds of points, whose changes along an orbit are rounding and nothing else."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["CLOUDS", "NETS", "Attention", "Distances", "distances"]

CLOUDS = torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(1)).double()


def distances(x):
    return (x[:, :, None] - x[:, None]).pow(2).sum(-1)


class Norms(nn.Module):
    """Lengths and a perceptron."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(self.invariants(x))))

    def invariants(self, x):
        return x.norm(dim=-1)


class Distances(Norms):
    """Distances of all pairs and a perceptron."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 32)

    def invariants(self, x):
        return distances(x).flatten(1)


class Masses(Distances):
    """Invariant masses of pairs of massless particles."""

    def invariants(self, x):
        energy = x.norm(dim=-1)
        squared = (energy[:, :, None] + energy[:, None]) ** 2 - (x[:, :, None] + x[:, None]).pow(2).sum(-1)
        return torch.log(1 + squared.clamp(min=0)).flatten(1)


class Products(nn.Module):
    """Scalar products of mixed vectors, as of a network of vectors."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(8, 16, bias=False), nn.Linear(256, 2)

    def forward(self, x):
        vectors = self.mix(x.mT)
        return self.head((vectors.mT @ vectors).flatten(1))


class DeepSets(nn.Module):
    def __init__(self):
        super().__init__()
        self.each, self.all, self.head = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        features = torch.stack([(x - x.mean(1, keepdim=True)).norm(dim=-1), x.norm(dim=-1)], -1)
        return self.head(torch.relu(self.all(torch.relu(self.each(features)).sum(1))))


class Attention(nn.Module):
    """Attention by distances."""

    def __init__(self):
        super().__init__()
        self.value, self.head = nn.Linear(1, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head((torch.softmax(-distances(x), -1) @ self.value(x.norm(dim=-1, keepdim=True))).mean(1))


class Messages(nn.Module):
    """Messages of radial functions over three layers, as of a potential."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.head = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 1)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        r = (distances(x) + 1e-2).sqrt()
        h = self.embedding(torch.exp(-((r[..., None] - torch.linspace(0, 4, 8).to(r)) ** 2))).sum(2)
        for layer in self.layers:
            h = h + nn.functional.silu(layer(self.norm(torch.exp(-r) @ h)))
        return self.head(h).sum((1, 2))


NETS = [Norms, Distances, Masses, Products, DeepSets, Attention, Messages]
