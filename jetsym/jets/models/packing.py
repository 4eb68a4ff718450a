"""Real particles alone: rows (n, C) of all jets one after the other instead of padded slots (B, N, C)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MeanPool", "MultiplicityGroup", "Packing", "RowNorm", "pack", "unpack"]

#: Groups of similar multiplicity into which a batch is divided where particles meet in pairs.
CPU_GROUPS, GPU_GROUPS = 8, 2


@dataclass(frozen=True)
class MultiplicityGroup:
    """Jets of similar multiplicity, as a batch of their own with as few padded slots as it can have.

    Parameters
    ----------
    rows
        Which rows of the :class:`Packing` are theirs.
    counts
        (b,) number of real particles of each.
    slots
        The largest of these, s.
    places
        (m,) places of their m rows in (b · s).
    """

    rows: slice
    counts: Tensor
    slots: int
    places: Tensor

    def pad(self, rows: Tensor) -> Tensor:
        """Pad the group's (m, C) rows to (b, s, C), zero where padded."""
        shape = (len(self.counts), self.slots, rows.shape[1])
        return rows.new_zeros((shape[0] * shape[1], shape[2])).index_copy(0, self.places, rows).view(shape)

    @property
    def real(self) -> Tensor:
        """Map (b, s) bool, True for a real particle."""
        return torch.arange(self.slots, device=self.counts.device) < self.counts[:, None]

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return jet b and particles i ≥ j, counted within their jet, of every unordered pair, each (p,)."""
        slots = torch.arange(self.slots, device=self.counts.device)
        lower = (slots[:, None] >= slots) & (slots[:, None] < self.counts[:, None, None])
        jet, i, j = lower.nonzero(as_tuple=True)
        return jet, i, j


@dataclass(frozen=True)
class Packing:
    """The places of the real particles of a batch; jets of few particles come first.

    Parameters
    ----------
    shape
        (B, N) of the batch.
    places
        (n,) places of the real particles in (B · N), in the order of the rows.
    groups
        Divisions of the rows by the multiplicity of their jets.
    """

    shape: tuple[int, int]
    places: Tensor
    groups: tuple[MultiplicityGroup, ...]

    def rows(self, padded: Tensor) -> Tensor:
        """Map (B, N, C) → (n, C)."""
        return padded.flatten(0, 1).index_select(0, self.places)

    def unpack(self, rows: Tensor) -> Tensor:
        """Put rows (n, C), in the order of the real particles, into padded slots (B, N, C), zero where padded."""
        shape = (*self.shape, rows.shape[1])
        return rows.new_zeros((shape[0] * shape[1], shape[2])).index_copy(0, self.places, rows).view(shape)


def pack(mask: Tensor) -> Packing:
    """Find the real particles of a (B, N) mask, and divide the jets into groups of similar multiplicity.

    Examples
    --------
    >>> packing = pack(torch.tensor([[True, True], [False, True]]))
    >>> packing.places.tolist(), [group.slots for group in packing.groups]
    ([3, 0, 1], [1, 2])
    """
    counts, order = mask.sum(dim=1).sort(stable=True)
    sorted_mask = mask[order]
    jets, slots = sorted_mask.nonzero(as_tuple=True)
    ranks = (sorted_mask.cumsum(dim=1) - 1)[jets, slots]
    offsets = [0, *counts.cumsum(dim=0).tolist()]
    number = min(len(mask), CPU_GROUPS if mask.device.type == "cpu" else GPU_GROUPS)
    bounds = [len(mask) * part // number for part in range(number + 1)] if number else []
    groups = []
    for first, last in pairwise(bounds):
        rows = slice(offsets[first], offsets[last])
        longest = offsets[last] - offsets[last - 1]
        if longest:
            places = (jets[rows] - first) * longest + ranks[rows]
            groups.append(MultiplicityGroup(rows, counts[first:last], longest, places))
    return Packing((mask.shape[0], mask.shape[1]), order[jets] * mask.shape[1] + slots, tuple(groups))


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows (n, C), all of them real; a single row is normalised as in evaluation."""

    running_mean: Tensor
    running_var: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, C) → (n, C)."""
        if self.training and len(input) < 2:  # it has no variance
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def fold(self, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return weight (C, C′) and bias (C) of a linear map that does one and, in evaluation, this after it."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = -self.running_mean if bias is None else bias - self.running_mean
        return weight * scale[:, None], self.bias + shift * scale


class MeanPool(nn.Module):
    """Mean over the real particles of a jet; zero for a jet without any."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, C), zero where padded, and (B, N) mask → (B, C)."""
        return x.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp_min(1)


def unpack(rows: Tensor, mask: Tensor) -> Tensor:
    """Put rows (n, C), in the order of the real particles, into padded slots (B, N, C), zero where padded."""
    places = mask.flatten().nonzero().flatten()
    padded = rows.new_zeros((mask.numel(), rows.shape[1])).index_copy(0, places, rows)
    return padded.view(*mask.shape, rows.shape[1])
