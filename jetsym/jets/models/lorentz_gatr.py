"""LGATr: a transformer whose activations are multivectors and scalars, equivariant under the Lorentz group.

Read it bottom-up from :class:`LGATr`. Each named block is called once per forward pass and returns one tensor: (B, N,
16 M + S), the components of M multivectors and S scalars, with zeros in the padded slots, for ``embedding`` and
``blocks.*``; (B, 16 M + S) for ``pool``, (B, classes) for ``head``.

After J. Brehmer, V. Bresó, P. de Haan, T. Plehn, H. Qu, J. Spinner, J. Thaler, "A Lorentz-equivariant transformer for
all of the LHC", arXiv:2411.00446, on its authors' package lgatr.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from jetsym.jets.models.packing import MeanPool
from jetsym.jets.models.registry import register
from jetsym.jets.schema import CLASSES

__all__ = ["LGATr", "LGATrConfig"]

#: Units of the momenta of particles and of the jet, in GeV.
PARTICLE_UNIT, JET_UNIT = 20.0, 500.0

#: Components of a multivector.
COMPONENTS = 16


@dataclass(frozen=True)
class LGATrConfig(Options):
    """Inputs, symmetry and size of an :class:`LGATr`.

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
    reflections
        Whether the symmetry includes parity and time reversal; otherwise it is that of SO⁺(1,3).
    multivectors, channels
        Number M of multivectors and S of scalars of every particle.
    blocks
        Number of self-attention blocks.
    heads
        Attention heads per block.
    dropout
        Probability of dropping parts of a block's updates, in training.
    """

    scalars: str = option("full", choices=SCALAR_SETS)
    beam: str = option("none", choices=BEAMS)
    time: bool = False
    reflections: bool = False
    multivectors: int = 16
    channels: int = 32
    blocks: int = option(6, least=0)
    heads: int = 8
    dropout: float = option(0.0, below=1)


class Embedding(nn.Module):
    """The momenta of a particle and of its jet, references and scalars to M multivectors and S scalars."""

    references: Tensor
    reference_weight: float = 1.0  # 0 leaves the references out of a trained network

    def __init__(self, config: LGATrConfig) -> None:
        super().__init__()
        from lgatr import embed_bivector, embed_vector
        from lgatr.layers import EquiLinear

        references = embed_vector(reference_vectors(config.beam, config.time))
        if config.beam == "xyplane":
            plane = torch.tensor([[0.0, 0, 0, 1, 0, 0]], dtype=torch.float64)  # tx, ty, tz, xy, xz, yz
            references = torch.cat([references, embed_bivector(plane)])
        self.kind = config.scalars
        self.references = references  # constants, and so neither moved nor cast with the module nor saved
        self.linear = renewable(
            partial(
                EquiLinear,
                2 + len(references),
                config.multivectors,
                _primitives(config),
                in_s_channels=count_scalars(config.scalars),
                out_s_channels=config.channels,
            )
        )
        idle: Any = self.linear  # vectors and planes have no scalar part for it to read
        idle.mvs2s.weight.requires_grad_(False)

    def forward(self, jets: JetBatch) -> Tensor:
        """Map B jets → (B, N, 16 M + S)."""
        from lgatr import embed_vector

        dtype = next(self.linear.parameters()).dtype
        p4 = jets.p4.masked_fill(~jets.mask[..., None], 0.0)
        momenta = torch.stack([p4 / PARTICLE_UNIT, (jets.jet_p4 / JET_UNIT)[:, None].expand_as(p4)], dim=2)
        references = self.reference_weight * self.references.to(momenta)[None, None].expand(*p4.shape[:2], -1, -1)
        multivectors = torch.cat([embed_vector(momenta), references], dim=2).to(dtype)
        extra = scalars(jets, self.kind).to(dtype)
        multivectors, channels = self.linear(multivectors, scalars=extra if extra.shape[-1] else None)
        return _join(multivectors, channels, jets.mask)


class AttentionBlock(nn.Module):
    """Equivariant self-attention among the real particles of a jet, then a geometric perceptron."""

    def __init__(self, config: LGATrConfig) -> None:
        super().__init__()
        from lgatr.layers import LGATrBlock

        self.split = (COMPONENTS * config.multivectors, config.channels)
        self.inner = renewable(
            partial(
                LGATrBlock,
                config.multivectors,
                config.channels,
                attention={"num_heads": config.heads},
                mlp={},
                primitives=_primitives(config),
                dropout_prob=config.dropout or None,
            )
        )

    def forward(self, x: Tensor, mask: Tensor, attended: Tensor) -> Tensor:
        """Map (B, N, 16 M + S), (B, N) mask of real particles and of those attended to → (B, N, 16 M + S)."""
        multivectors, channels = x.split(self.split, dim=-1)
        multivectors = multivectors.unflatten(-1, (-1, COMPONENTS))
        multivectors, channels = self.inner(multivectors, scalars=channels, attn_mask=attended[:, None, None, :])
        return _join(multivectors, channels, mask)


@register("lgatr")
class LGATr(Tagger):
    """Tag jets with the Lorentz-equivariant geometric algebra transformer.

    Invariant by construction under permutations, under padding, and, without references, under the Lorentz group
    acting on particles and jet axis, while scalars are held fixed.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`LGATrConfig`.

    Raises
    ------
    ConfigError
        An option does not make a network.
    MissingDependencyError
        The package lgatr is not installed.

    Examples
    --------
    >>> model = LGATr(("QCD", "Tbqq"), multivectors=2, channels=4, blocks=1, heads=2, beam="xyplane", time=True)
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = LGATrConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        require("lgatr", extra="equivariant", purpose="the tagger LGATr")
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.blocks))
        self.pool = MeanPool()
        invariants = config.channels + config.multivectors * (1 if config.reflections else 2)
        self.head = nn.Sequential(
            nn.LayerNorm(invariants),
            nn.Linear(invariants, 2 * invariants),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * invariants, len(self.classes)),
        )

    def ablations(self) -> dict[str, Tagger]:
        """Return a copy without the references, if there are any."""
        return without_references(self)

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        # A jet without particles attends to its padding: not every attention kernel bears a softmax over nothing.
        attended = jets.mask | ~jets.mask.any(dim=1, keepdim=True)
        x = self.embedding(jets)
        for block in self.blocks:
            x = block(x, jets.mask, attended)
        logits: Tensor = self.head(self._invariants(self.pool(x, jets.mask)))
        return logits

    def _invariants(self, pooled: Tensor) -> Tensor:
        """Select of the pooled jets (B, 16 M + S) the scalars, and pseudoscalars where reflections need not be kept."""
        split = COMPONENTS * self.config.multivectors
        multivectors, channels = pooled[:, :split].unflatten(-1, (-1, COMPONENTS)), pooled[:, split:]
        kept = [0] if self.config.reflections else [0, COMPONENTS - 1]
        return torch.cat([multivectors[..., kept].flatten(1), channels], dim=-1)


def _primitives(config: LGATrConfig) -> Any:
    from lgatr import PrimitivesConfig

    return PrimitivesConfig(subgroup=not config.reflections)


def _join(multivectors: Tensor, channels: Tensor, mask: Tensor) -> Tensor:
    """Join (B, N, M, 16) and (B, N, S) to (B, N, 16 M + S), zero where padded."""
    return torch.cat([multivectors.flatten(2), channels], dim=-1) * mask[..., None]
