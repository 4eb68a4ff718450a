"""Interactions of two particles: four logarithms, and the perceptron that turns them into attention biases.

After H. Qu, C. Li, S. Qian, arXiv:2202.03772, eq. (3). All four are symmetric in the particles, so that every pair is
computed once, and only pairs of real particles are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.jets import kinematics
from jetsym.jets.models.packing import Packing, RowNorm

__all__ = ["INTERACTIONS", "Interactions", "interaction_features"]

#: Names of the four quantities, in the order of weaver-core's weights.
INTERACTIONS = ("ln_kt", "ln_z", "ln_delta", "ln_m2")

#: Below this a quantity is not told from zero.
FLOOR = 1e-8

#: Pairs that a processor works on at a time in evaluation.
CHUNK = 4096


def interaction_features(p4: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Compute ln kT, ln z, ln Δ and ln m² of pairs of particles, as :data:`INTERACTIONS` names them.

    With y the rapidity: Δ² = (y_i − y_j)² + (φ_i − φ_j)², kT = min(pT_i, pT_j) Δ, z = min(pT_i, pT_j)/(pT_i + pT_j),
    m² = (p_i + p_j)²; each at least 1e-8 (in GeV) before the logarithm. Derivatives are finite everywhere, and zero
    where Δ is.

    The operations are those of weaver-core, one by one: E² − |p|² cancels down to the rounding of float32 for most
    pairs, and networks trained on that rounding answer to it.

    Parameters
    ----------
    p4
        (n, 4) four-momenta.
    i, j
        (P,) numbers of the first and the second particle of each pair.

    Returns
    -------
    Tensor
        (P, 4).

    Examples
    --------
    >>> p4 = torch.tensor([[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]])
    >>> interaction_features(p4, torch.tensor([0]), torch.tensor([1])).exp()
    tensor([[ 4.7124,  0.5000,  1.5708, 18.0000]])
    """
    energy, px, py, pz = p4.unbind(dim=-1)
    pt, phi = kinematics.pt(p4), kinematics.phi(p4)
    ratio = 1 + (2 * pz) / (energy - pz).clamp(min=1e-20)
    rapidity = 0.5 * torch.log(ratio.clamp(min=1e-20))
    difference = (phi[i] - phi[j] + torch.pi) % (2 * torch.pi) - torch.pi
    squared = (rapidity[i] - rapidity[j]) ** 2 + difference**2
    apart = squared > 0
    delta = torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
    smaller = torch.minimum(pt[i], pt[j])
    total = [component[i] + component[j] for component in (px, py, pz, energy)]
    m2 = total[3].square() - (total[0].square() + total[1].square() + total[2].square())
    share = smaller / (pt[i] + pt[j]).clamp(min=FLOOR)
    return torch.stack([part.clamp(min=FLOOR).log() for part in (smaller * delta, share, delta, m2)], dim=-1)


class Interactions(nn.Module):
    """A bias per attention head from the interaction features of every pair.

    Called as :meth:`biases`, past the hooks: pairs are no tokens of the jet.
    """

    def __init__(self, channels: Sequence[int], heads: int, *, last_activation: bool) -> None:
        super().__init__()
        widths = [len(INTERACTIONS), *channels, heads]
        self.norm = RowNorm(widths[0])
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.norms = nn.ModuleList(RowNorm(width) for width in widths[1:])
        self.last_activation = last_activation

    def biases(self, p4: Tensor, packing: Packing) -> list[Tensor]:
        """Map (n, 4) momenta of real particles → for each group (b, heads, s, s), −∞ towards padded slots."""
        pairs = [group.pairs() for group in packing.groups]
        if not pairs:
            return []
        starts = [group.rows.start + group.counts.cumsum(0) - group.counts for group in packing.groups]
        first = torch.cat([start[jet] + i for start, (jet, i, _) in zip(starts, pairs, strict=True)])
        second = torch.cat([start[jet] + j for start, (jet, _, j) in zip(starts, pairs, strict=True)])
        features = interaction_features(p4, first, second).to(self.norm.weight.dtype)
        values = self._train(features) if self.training else self._evaluate(features)
        parts = values.split([len(jet) for jet, _, _ in pairs])
        result = []
        for group, (jet, i, j), part in zip(packing.groups, pairs, parts, strict=True):
            padded = torch.where(group.real, 0.0, -torch.inf)[:, None, :, None].to(part.dtype)
            bias = padded.expand(-1, group.slots, -1, part.shape[1]).flatten(0, 2)
            bias = bias.index_copy(0, (jet * group.slots + i) * group.slots + j, part)
            bias = bias.index_copy(0, (jet * group.slots + j) * group.slots + i, part)
            result.append(bias.view(len(group.counts), group.slots, group.slots, -1).permute(0, 3, 1, 2).contiguous())
        return result

    def _train(self, features: Tensor) -> Tensor:
        """Map (P, 4) → (P, heads)."""
        x: Tensor = self.norm(features)
        for layer, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True), start=1):
            x = norm(linear(x))
            if layer < len(self.linears) or self.last_activation:
                x = F.gelu(x)
        return x

    def _evaluate(self, features: Tensor) -> Tensor:
        """Compute the same with stored statistics, some pairs at a time, so that a processor's cache holds them."""
        folded = self._folded()
        size = CHUNK if features.device.type == "cpu" else max(len(features), 1)
        return torch.cat([self._evaluate_part(part, folded) for part in features.split(size)])

    def evaluate(self, features: Tensor) -> Tensor:
        """Compute the same for all pairs at once."""
        return self._evaluate_part(features, self._folded())

    def _folded(self) -> list[tuple[Tensor, Tensor]]:
        layers = cast("list[tuple[nn.Linear, RowNorm]]", list(zip(self.linears, self.norms, strict=True)))
        return [norm.fold(linear.weight, linear.bias) for linear, norm in layers]

    def _evaluate_part(self, features: Tensor, folded: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        x: Tensor = self.norm(features)
        for layer, (weight, bias) in enumerate(folded, start=1):
            x = F.linear(x, weight, bias)
            if layer < len(folded) or self.last_activation:
                x = F.gelu(x)
        return x
