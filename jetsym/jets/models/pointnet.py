"""An unconstrained transformer on particles: it sees Cartesian components and knows no symmetry but permutations.

Read it bottom-up from :class:`PointNet`: embedding of every particle, self-attention blocks, pooling, head. Each
named block is called once per forward pass and returns one tensor, so that hooks and probes can read it: (B, N, C)
with zeros in the padded slots for ``embedding`` and ``blocks.*``, (B, 2C) for ``pool``, (B, classes) for ``head``.

After C. Qi et al., "PointNet", arXiv:1612.00593 (shared embedding, symmetric pooling), and R. Xiong et al., "On layer
normalization in the transformer architecture", arXiv:2002.04745 (pre-norm blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import (
    CARTESIAN_FEATURES,
    CARTESIAN_VECTORS,
    cartesian_features,
    harmonic_features,
    invariant_features,
    pair_invariants,
)
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.registry import register
from jetsym.jets.schema import CLASSES

__all__ = ["PointNet", "PointNetConfig"]


@dataclass(frozen=True)
class PointNetConfig(Options):
    """Size of a :class:`PointNet`.

    Parameters
    ----------
    width
        Channels C of every particle, a multiple of ``heads``.
    blocks
        Number of self-attention blocks.
    heads
        Attention heads per block.
    expansion
        Hidden width of the blocks' perceptrons, in multiples of ``width``.
    dropout
        Probability of dropping a channel of a block's updates, and of the pooled jet, in training.
    harmonics
        Largest λ of spherical harmonics of each particle's vectors that the embedding sees beside them; 1 for the
        vectors alone, of which its linear layer makes nothing of λ ≥ 2.
    pairs
        Hidden channels of a perceptron that makes attention biases of the rotation-invariant m² and angle of every
        pair of particles; 0 for no biases.
    invariants
        Number of Gaussians by which the embedding sees each particle's Minkowski products with all others, and the one
        with the jet, beside its vectors: what Lorentz transformations do not change; 0 for none of it.
    """

    width: int = 64
    blocks: int = option(3, least=0)
    heads: int = 4
    expansion: int = 2
    dropout: float = option(0.0, below=1)
    harmonics: int = 1
    pairs: int = option(0, least=0)
    invariants: int = option(0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(f"PointNet option width is {self.width}; expected a multiple of heads = {self.heads}")


class Embedding(nn.Module):
    """One particle's features to C channels, alike for all particles: a linear layer, then a perceptron."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(width, width))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, F) features and (B, N) mask → (B, N, C)."""
        return _hide(self.mlp(self.linear(features)), mask)


class Attention(nn.Module):
    """Self-attention among the real particles of a jet."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, attended: Tensor) -> Tensor:
        """Map (B, N, C), and what is attended to or added to the scores, (B, 1 or heads, 1 or N, N), → (B, N, C)."""
        jets, particles, width = x.shape
        projected = self.query_key_value(x).view(jets, particles, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        return cast("Tensor", self.output(mixed.transpose(1, 2).reshape(jets, particles, width)))


class AttentionBlock(nn.Module):
    """A pre-norm transformer block: attention, then a perceptron, both added to what came in."""

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.expansion * config.width
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, attended: Tensor) -> Tensor:
        """Map (B, N, C), (B, N) mask of real particles, and what is attended to → (B, N, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), attended))
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return _hide(x, mask)


class PairBias(nn.Module):
    """Attention biases from what every pair of particles has that rotations leave alone."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, heads))

    def forward(self, invariants: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, N, 2) and (B, N) mask → (B, heads, N, N), zero where one of the two is padding."""
        bias: Tensor = self.mlp(invariants)
        return bias.permute(0, 3, 1, 2) * (mask[:, :, None] & mask[:, None])[:, None]


class MaskedPool(nn.Module):
    """Mean and maximum over the real particles of a jet, side by side; zero for a jet without any."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, C) and (B, N) mask → (B, 2C)."""
        count = mask.sum(dim=1, keepdim=True).clamp_min(1)
        mean = _hide(x, mask).sum(dim=1) / count
        maximum = x.masked_fill(~mask[..., None], -torch.inf).max(dim=1).values
        return torch.cat([mean, maximum.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)], dim=-1)


@register("pointnet")
class PointNet(Tagger):
    """Tag jets with a plain transformer on the particles' :func:`~jetsym.jets.features.cartesian_features`.

    Invariant under permutations of the particles and under padding by construction, and under nothing else.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`PointNetConfig`.

    Raises
    ------
    ConfigError
        A size does not make a network.

    Examples
    --------
    >>> model = PointNet(("QCD", "Tbqq"), width=16, blocks=1)
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = PointNetConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        more = len(CARTESIAN_VECTORS) * ((config.harmonics + 1) ** 2 - 4)  # components from λ = 2 on
        more += config.invariants + 1 if config.invariants else 0
        self.embedding = Embedding(len(CARTESIAN_FEATURES) + more, config.width)
        if config.pairs:
            self.pairs = PairBias(config.pairs, config.heads)
        self.blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.blocks))
        self.pool = MaskedPool()
        self.head = nn.Sequential(
            nn.LayerNorm(2 * config.width),
            nn.Linear(2 * config.width, config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, len(self.classes)),
        )

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        dtype = self.embedding.linear.weight.dtype
        features = [cartesian_features(jets)]
        if self.config.harmonics > 1:
            features.append(harmonic_features(jets, self.config.harmonics))
        if self.config.invariants:
            features.append(invariant_features(jets, self.config.invariants))
        x = self.embedding(torch.cat(features, dim=-1).to(dtype), jets.mask)
        # A jet without particles attends to its padding: not every attention kernel bears a softmax over nothing.
        attended = (jets.mask | ~jets.mask.any(dim=1, keepdim=True))[:, None, None, :]
        if self.config.pairs:
            bias = self.pairs(pair_invariants(jets).to(dtype), jets.mask)
            attended = bias.masked_fill(~attended, torch.finfo(bias.dtype).min)
        for block in self.blocks:
            x = block(x, jets.mask, attended)
        logits: Tensor = self.head(self.pool(x, jets.mask))
        return logits


def _hide(x: Tensor, mask: Tensor) -> Tensor:
    """Set the padded slots of (B, N, C) to zero."""
    return x * mask[..., None]
