"""Networks that pack their real particles, computed over padded slots instead, with the same weights and results.

Packing makes shapes depend on the data: it is what makes the networks fast, and what a graph that is saved for other
programs cannot hold. Here every shape follows from the numbers of jets and of slots. For evaluation only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.jets.batch import JetBatch
from jetsym.jets.features import angular_points
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.interactions import Interactions, interaction_features
from jetsym.jets.models.particle_transformer import (
    AttentionBlock,
    ClassAttentionBlock,
    ParticleTransformer,
    attend,
)
from jetsym.jets.models.particlenet import EdgeConv, LinearNorm, ParticleNet, edges_of, per_particle

__all__ = ["padded"]


def padded(model: Tagger) -> nn.Module:
    """Copy a tagger, in evaluation mode, so that no shape depends on how many particles are real.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]]])
    >>> jets = JetBatch(p4, p4[..., 0] > 0, torch.zeros(1, 2, 10), p4.sum(1))
    >>> model = ParticleNet(("QCD", "Tbqq"), k=2, channels=((8,),)).eval()
    >>> bool((padded(model)(jets) - model(jets)).abs().max() < 1e-6)
    True
    """
    model = copy.deepcopy(model).eval()
    if isinstance(model, ParticleTransformer):
        return _PaddedTransformer(model)
    return _PaddedParticleNet(model) if isinstance(model, ParticleNet) else model


class _PaddedTransformer(nn.Module):
    """:class:`~jetsym.jets.models.particle_transformer.ParticleTransformer` over all slots."""

    def __init__(self, model: ParticleTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        model, mask = self.model, jets.mask
        features = model.compute_features(jets).to(model.head.weight.dtype)
        normed = model.embedding.norm.over(features.flatten(0, 1), 0).view(features.shape)
        x = model.embedding.mlp(normed) * mask[..., None]
        # a jet without particles attends to its padding, as a softmax over nothing is not a number
        attended = mask | ~mask.any(dim=1, keepdim=True)
        biases = _biases(model.interactions, jets.p4.masked_fill(~mask[..., None], 0.0))
        biases = biases.masked_fill(~attended[:, None, None], -torch.inf)
        for block in model.blocks:
            x = _attend_particles(cast(AttentionBlock, block), x, biases) * mask[..., None]
        token = model.class_token.token.expand(mask.shape[0], -1)
        for block in model.class_blocks:
            token = _attend_class(cast(ClassAttentionBlock, block), token, x, mask)
        logits: Tensor = model.head(model.pool(token))
        return logits


def _biases(interactions: Interactions, p4: Tensor) -> Tensor:
    """Map (B, N, 4) → (B, heads, N, N), of every pair as if its later particle came first, as when packed."""
    jets, slots = p4.shape[:2]
    slot = torch.arange(slots, device=p4.device)
    start = torch.arange(jets, device=p4.device)[:, None, None] * slots
    first = (start + torch.maximum(slot[:, None], slot)).flatten()
    second = (start + torch.minimum(slot[:, None], slot)).flatten()
    features = interaction_features(p4.flatten(0, 1), first, second).to(interactions.norm.weight.dtype)
    return torch.unflatten(interactions.evaluate(features), 0, (jets, slots, slots)).permute(0, 3, 1, 2)


def _attend_particles(block: AttentionBlock, x: Tensor, biases: Tensor) -> Tensor:
    """Map (B, N, C) and (B, heads, N, N) → (B, N, C)."""
    projected = block.query_key_value(block.attention_norm(x)).unflatten(2, (3, block.heads, -1))
    query, key, value = projected.permute(2, 0, 3, 1, 4)
    mixed = attend(query, key, value, biases, dropout=0.0).transpose(1, 2)
    # A copy, as one attention kernel gives another order of memory than the next, and a graph may change the kernel.
    mixed = mixed.clone(memory_format=torch.contiguous_format).flatten(2)
    return block.update(x.flatten(0, 1), mixed.flatten(0, 1)).view(x.shape)


def _attend_class(block: ClassAttentionBlock, token: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Map (B, C), (B, N, C) and (B, N) mask → (B, C)."""
    own = block.query_key_value(token[:, None]).unflatten(2, (3, block.heads, -1))  # the query is not normalised
    normed = block.attention_norm(torch.cat([token[:, None], x], dim=1))
    _, key, value = block.query_key_value(normed).unflatten(2, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    bias = F.pad(torch.zeros_like(mask, dtype=key.dtype).masked_fill(~mask, -torch.inf), (1, 0))[:, None, None]
    query = own.permute(2, 0, 3, 1, 4)[0]
    return block.update(token, attend(query, key, value, bias, dropout=0.0).flatten(1))


class _PaddedParticleNet(nn.Module):
    """:class:`~jetsym.jets.models.particlenet.ParticleNet` over all slots."""

    def __init__(self, model: ParticleNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        model, mask = self.model, jets.mask
        features = model.compute_features(jets, angles=model.angles).to(model.norm.rows.weight.dtype)
        x = model.norm.rows(features.flatten(0, 1)).view(features.shape) * mask[..., None]
        points = angular_points(jets, angles=model.angles)
        for block in model.blocks:
            x = points = _convolve(cast(EdgeConv, block), x, points, mask)
        logits: Tensor = model.head(model.pool(x, mask))
        return logits


def _convolve(block: EdgeConv, x: Tensor, points: Tensor, mask: Tensor) -> Tensor:
    """Map (B, N, C), (B, N, D) and (B, N) mask → (B, N, C′)."""
    rows = x.flatten(0, 1)
    first, *others = [layer.folded() for layer in cast("Sequence[LinearNorm]", list(block.layers))]
    edges = F.relu(edges_of(*per_particle(rows, *first), _nearest(points, mask, block.k)))
    for weight, bias in others:
        edges = F.relu(F.linear(edges, weight, bias))
    mean = edges.unflatten(0, (-1, block.k)).mean(dim=1)
    own = block.shortcut.rows(rows) if isinstance(block.shortcut, LinearNorm) else rows
    return torch.unflatten(F.relu(own + mean), 0, mask.shape) * mask[..., None]


def _nearest(points: Tensor, mask: Tensor, k: int) -> Tensor:
    """Find the nearest real others of every slot, (B · N, k) numbers of slots; B · N where there is none."""
    jets, slots = mask.shape
    points = points.detach().double()
    product = points @ points.mT
    square = product.diagonal(dim1=1, dim2=2)
    distances = square[:, :, None] + square[:, None] - 2 * product
    itself = torch.eye(slots, dtype=torch.bool, device=mask.device)
    # k slots more, infinitely far, so that there are always k to choose from
    distances = F.pad(distances.masked_fill(~mask[:, None] | itself, torch.inf), (0, k), value=torch.inf)
    found = distances.topk(k, dim=2, largest=False)
    start = torch.arange(jets, device=mask.device)[:, None, None] * slots
    return (found.indices + start).masked_fill(found.values.isinf(), jets * slots).flatten(0, 1)
