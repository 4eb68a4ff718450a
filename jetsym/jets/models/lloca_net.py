"""LLoCa: a plain transformer made Lorentz-equivariant by a local frame for every particle.

Read it bottom-up from :class:`LLoCa`: frames predicted from the momenta, what each particle sees in its own frame,
attention blocks in which messages change from frame to frame, pooling, head. Each named block is called once per
forward pass and returns one tensor: (B, N, 4, 4) for ``frames``, (B, N, C) with zeros in the padded slots for
``embedding`` and ``blocks.*``, (B, C) for ``pool``, (B, classes) for ``head``.

After J. Spinner, L. Favaro, P. Lippmann, S. Pitz, G. Gerhartz, T. Plehn, F. Hamprecht, "Lorentz Local Canonicalization:
How to Make Any Network Lorentz-Equivariant", arXiv:2505.20280, on its authors' package lloca.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from jetsym.errors import require
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.equivariant import (
    BEAMS,
    SCALAR_SETS,
    count_scalars,
    reference_vectors,
    renewable,
    scalars,
    without_references,
)
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.packing import MeanPool, unpack
from jetsym.jets.models.registry import register
from jetsym.jets.schema import CLASSES

__all__ = ["FRAMES", "LLoCa", "LLoCaConfig"]

#: Local frames: a boost and a rotation, an orthonormal tetrad, a rotation, or the lab for all.
FRAMES = ("polar", "so13", "so3", "none")

#: A particle of less mass, in GeV, is given this one where frames are predicted: lightlike sums have no rest frame.
MASS_FLOOR = 1e-3

#: Mean and standard deviation of ln (m_ij² / GeV²) over the pairs of particles of the bundled sample.
PAIR_MEAN, PAIR_SPREAD = 0.6, 2.0

# Predicted vectors are normalised to squares that add up to one. Where the first is not timelike, or the others are too
# short at rest with it or enclose too small an angle to stand out from rounding, the lab's axes complete the frame.
_TIMELIKE, _LENGTH, _ANGLE = 1e-10, 1e-7, 1e-6


@dataclass(frozen=True)
class LLoCaConfig(Options):
    """Inputs, frames and size of an :class:`LLoCa`.

    Parameters
    ----------
    scalars
        "none", "pid" or "full": what the network sees of a particle beside its momentum; see
        :func:`jetsym.jets.models.equivariant.scalars`.
    beam
        "none", "spacelike", "lightlike", "timelike" or "xyplane": a reference that breaks the symmetry; see
        :mod:`jetsym.jets.models.equivariant`.
    time
        Whether the direction of time is a further reference.
    frames
        "polar" (a boost, then a rotation), "so13" (four vectors, orthonormalised: the same frames by another way),
        "so3" (a rotation: the network is equivariant under rotations only) or "none" (the lab for all particles: the
        same network without symmetry).
    hidden
        Channels of the perceptron that predicts frames.
    head_scalars, head_vectors
        Scalars and four-vectors that each attention head sends; the width C of a particle is
        ``heads · (head_scalars + 4 head_vectors)``.
    blocks
        Number of self-attention blocks.
    heads
        Attention heads per block.
    dropout
        Probability of dropping a channel of a block's updates, in training.
    """

    scalars: str = option("full", choices=SCALAR_SETS)
    beam: str = option("none", choices=BEAMS)
    time: bool = False
    frames: str = option("polar", choices=FRAMES)
    hidden: int = 64
    head_scalars: int = 8
    head_vectors: int = 2
    blocks: int = 6
    heads: int = 8
    dropout: float = option(0.0, below=1)

    @property
    def width(self) -> int:
        """Channels C of every particle."""
        return self.heads * (self.head_scalars + 4 * self.head_vectors)


class LocalFrames(nn.Module):
    """A Lorentz transformation into its own frame for every particle, that moves along with the jet.

    Predicted in float64, from three weighted sums over the particle's pairs with all others. Equivariant for massive
    particles whose pairs span a frame, which takes a jet of four; for others the lab's axes complete the frame.
    """

    def __init__(self, config: LLoCaConfig) -> None:
        super().__init__()
        self.kind, self.scalars = config.frames, config.scalars
        self.vectors = nn.Identity() if self.kind == "none" else renewable(partial(_predictor, config))

    def forward(self, jets: JetBatch) -> Tensor:
        """Map B jets → (B, N, 4, 4) in float64, zero where padded."""
        paired = jets.mask & (jets.n_particles > 1)[:, None]
        if self.kind == "none" or not paired.any():
            return jets.mask[..., None, None] * torch.eye(4, dtype=torch.float64, device=jets.device)
        from lloca.utils.orthogonalize_4d import orthogonalize_4d
        from lloca.utils.polar_decomposition import polar_decomposition

        counts = jets.n_particles[paired.any(dim=1)]
        pointers = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
        dtype = next(self.vectors.parameters()).dtype
        extra = scalars(jets, self.scalars)[paired].to(dtype)
        predicted = self.vectors(_massive(jets.p4[paired].double()), scalars=extra, ptr=pointers)
        vectors = unpack(predicted.flatten(1), paired)[jets.mask].unflatten(-1, (3, 4))
        if self.kind == "so3":
            at_rest = vectors.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(vectors), 1, 4)
            vectors = torch.cat([at_rest, vectors[:, 1:]], dim=1)
        vectors = spanning(vectors)
        if self.kind == "so13":
            frames = orthogonalize_4d(vectors)
        else:
            frames = polar_decomposition(vectors[:, 0], vectors[:, 1:])
        return torch.unflatten(unpack(frames.flatten(1), jets.mask), -1, (4, 4))


class LocalView(nn.Module):
    """A particle's own view, in its frame: itself, the jet, references and scalars, to C channels."""

    references: Tensor
    reference_weight: float = 1.0  # 0 leaves the references out of a trained network

    def __init__(self, config: LLoCaConfig) -> None:
        super().__init__()
        self.kind, self.plane = config.scalars, config.beam == "xyplane"
        self.references = reference_vectors(config.beam, config.time)  # constants, neither moved nor cast nor saved
        inputs = 4 * (2 + len(self.references)) + 6 * self.plane + count_scalars(config.scalars)
        self.linear = nn.Linear(inputs, config.width)

    def forward(self, jets: JetBatch, frames: Tensor) -> Tensor:
        """Map B jets and their frames (B, N, 4, 4) → (B, N, C)."""
        p4 = jets.p4.masked_fill(~jets.mask[..., None], 0.0).to(frames.dtype)
        references = self.reference_weight * self.references.to(frames).expand(*p4.shape[:2], -1, -1)
        jet = jets.jet_p4.to(frames.dtype)[:, None].expand_as(p4)
        seen = torch.cat([torch.stack([p4, jet], dim=2), references], dim=2) @ frames.mT
        parts = [seen.flatten(2)]
        if self.plane:  # e_x ∧ e_y, an antisymmetric tensor: its components above the diagonal
            outer = frames[..., :, None, 1] * frames[..., None, :, 2]
            above, below = torch.triu_indices(4, 4, 1, device=frames.device).unbind()
            parts.append(self.reference_weight * (outer - outer.mT)[..., above, below])
        dtype = self.linear.weight.dtype
        columns = [torch.asinh(torch.cat(parts, dim=-1)).to(dtype), scalars(jets, self.kind).to(dtype)]
        return torch.mul(self.linear(torch.cat(columns, dim=-1)), jets.mask[..., None])


class AttentionBlock(nn.Module):
    """A transformer block of lloca; messages change from the sender's frame to the receiver's."""

    def __init__(self, config: LLoCaConfig, attention: nn.Module) -> None:
        super().__init__()
        from lloca.backbone.transformer import BaselineTransformerBlock

        self.inner = renewable(
            partial(
                BaselineTransformerBlock,
                config.width,
                attention,
                num_heads=config.heads,
                multi_query=False,
                dropout_prob=config.dropout or None,
            )
        )

    def forward(self, x: Tensor, mask: Tensor, attended: Tensor) -> Tensor:
        """Map (B, N, C), (B, N) mask of real particles and of those attended to → (B, N, C)."""
        return torch.mul(self.inner(x, attn_mask=attended[:, None, None, :]), mask[..., None])


@register("lloca")
class LLoCa(Tagger):
    """Tag jets with a transformer in local frames.

    Invariant by construction under permutations, under padding, and, with frames and without references, under proper
    Lorentz transformations of particles and jet axis, while scalars are held fixed; see :class:`LocalFrames` for the
    jets for which it cannot be.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`LLoCaConfig`.

    Raises
    ------
    ConfigError
        An option does not make a network.
    MissingDependencyError
        The package lloca is not installed.

    Examples
    --------
    >>> model = LLoCa(("QCD", "Tbqq"), hidden=8, head_scalars=2, head_vectors=1, blocks=1, heads=2, beam="spacelike")
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = LLoCaConfig
    no_graph = "the shapes in which lloca computes its frames depend on the data"

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        attention = _attention(config)
        self.frames = LocalFrames(config)
        self.embedding = LocalView(config)
        self.blocks = nn.ModuleList(AttentionBlock(config, attention) for _ in range(config.blocks))
        self.pool = MeanPool()
        self.head = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, len(self.classes)),
        )

    def ablations(self) -> dict[str, Tagger]:
        """Return a copy without the references, if there are any."""
        return without_references(self)

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        from lloca.framesnet.frames import Frames

        # A jet without particles attends to its padding: not every attention kernel bears a softmax over nothing.
        attended = jets.mask | ~jets.mask.any(dim=1, keepdim=True)
        frames = self.frames(jets)
        x = self.embedding(jets, frames)
        first: Any = self.blocks[0]
        attention = first.inner.attention.attention  # that of all blocks
        # Padded slots have none; any will do there, as long as it can be inverted.
        identity = torch.eye(4, dtype=frames.dtype, device=frames.device)
        frames = torch.where(jets.mask[..., None, None], frames, identity)
        # In float64: large boosts cancel when they are compared with the jet. The attention casts them to its messages.
        local = Frames(frames, is_global=self.config.frames == "none")
        attention.prepare_frames(local, p_ref=jets.jet_p4.to(frames.dtype))
        for block in self.blocks:
            x = block(x, jets.mask, attended)
        attention.frames = attention.frames_qkv = attention.frames_out = None  # they would keep the graph alive
        logits: Tensor = self.head(self.pool(x, jets.mask))
        return logits


def spanning(vectors: Tensor) -> Tensor:
    """Make (n, 3, 4) predicted vectors span a space: one timelike, two that are orthonormal at rest with it.

    A first one that is not timelike becomes that of the lab; if the others are collinear in its rest frame, they become
    the x and y axes there. Without this, lloca adds random numbers to them, and to those that nearly are.
    """
    from lloca.utils.polar_decomposition import restframe_boost

    axes = torch.eye(4, dtype=vectors.dtype, device=vectors.device)
    first, others = vectors[:, 0], vectors[:, 1:]
    square = first[:, 0].square() - first[:, 1:].square().sum(dim=-1)
    first = torch.where(((square > _TIMELIKE) & (first[:, 0] > 0))[:, None], first, axes[0])
    at_rest = (others @ restframe_boost(first).mT)[..., 1:]
    length = at_rest.square().sum(dim=-1, keepdim=True)
    long_enough = length > _LENGTH**2
    directions = at_rest / torch.where(long_enough, length, 1.0).sqrt()
    normal = torch.linalg.cross(directions[:, 0], directions[:, 1])
    area2 = normal.square().sum(dim=-1, keepdim=True)
    spanned = long_enough.all(dim=1) & (area2 > _ANGLE**2)
    normal = normal / torch.where(spanned, area2, 1.0).sqrt()
    orthogonal = torch.stack([directions[:, 0], torch.linalg.cross(normal, directions[:, 0])], dim=1)
    directions = torch.where(spanned[..., None], orthogonal, axes[1:3, 1:])
    back = restframe_boost(first * (2 * axes[0] - 1))  # reversed in space, and so the inverse
    others = nn.functional.pad(directions, (1, 0)) @ back.mT
    return torch.cat([first[:, None], others], dim=1)


def _massive(p4: Tensor) -> Tensor:
    """Raise the energies of (n, 4) momenta where the mass would be below the floor."""
    momentum2 = p4[:, 1:].square().sum(dim=-1)
    light = p4[:, 0].square() - momentum2 < MASS_FLOOR**2
    energy = torch.where(light, (momentum2 + MASS_FLOOR**2).sqrt(), p4[:, 0])
    return torch.cat([energy[:, None], p4[:, 1:]], dim=-1)


@contextmanager
def _torch_as_it_is() -> Iterator[None]:
    """Undo that torch_geometric, which lloca imports, puts functions of its own in the place of two of torch.

    TorchScript compiles no calls of these, as in metatensor's operations.
    """
    own = torch.index_select, torch.select
    try:
        yield
    finally:
        torch.index_select, torch.select = own


def _predictor(config: LLoCaConfig) -> nn.Module:
    """Make lloca's predictor of three vectors per particle, with the standardisation of pair masses filled in."""
    with _torch_as_it_is():
        from lloca.equivectors import MLPVectors

    predictor: nn.Module = MLPVectors(
        n_vectors=3, num_scalars=count_scalars(config.scalars), hidden_channels=config.hidden, num_layers_mlp=2
    )
    block: Any = predictor.block
    block.edge_mean.fill_(PAIR_MEAN)
    block.edge_std.fill_(PAIR_SPREAD)
    block.edge_inited.fill_(True)
    return predictor


def _attention(config: LLoCaConfig) -> nn.Module:
    """Make the attention that all blocks share; it has no parameters."""
    with _torch_as_it_is():
        require("lloca.backbone", extra="equivariant", purpose="the tagger LLoCa")
        from lloca.backbone import LLoCaAttention
        from lloca.reps.tensorreps import TensorReps

    reps = TensorReps(f"{config.head_scalars}x0n+{config.head_vectors}x1n")
    attention: nn.Module = LLoCaAttention(reps, config.heads)
    for part in attention.modules():  # constants; checkpoints do not bear that several blocks hold them
        for name, constant in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, constant, persistent=False)
    return attention
