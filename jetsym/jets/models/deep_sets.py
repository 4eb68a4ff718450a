"""DeepSets: every particle is mapped by one perceptron, the results are added up, another perceptron reads the sum.

Each named block is called once per forward pass and returns one tensor: (B, N, C) with zeros in the padded slots for
``particles.*``, (B, C) for ``pool``, (B, classes) for ``head``.

After P. Komiske, E. Metodiev, J. Thaler, "Energy Flow Networks: Deep Sets for Particle Jets", arXiv:1810.05165, where
this is the Particle Flow Network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.registry import register
from jetsym.jets.schema import CLASSES

__all__ = ["DeepSets", "DeepSetsConfig"]


@dataclass(frozen=True)
class DeepSetsConfig(Options):
    """Inputs and size of a :class:`DeepSets`; the defaults are the paper's sizes.

    Parameters
    ----------
    features
        "kin", "kinpid" or "full": the field's 7, 13 or 17 features of a particle.
    particles
        Channels after each layer of the map of a particle, Φ.
    jets
        Channels after each hidden layer of the map of the sum, F.
    dropout
        Probability of dropping a channel of F's hidden layers, in training.
    """

    features: str = option("full", choices=FEATURE_SETS)
    particles: Sequence[int] = (100, 100, 256)
    jets: Sequence[int] = (100, 100, 100)
    dropout: float = option(0.0, below=1)


class ParticleLayer(nn.Module):
    """A linear map and ReLU, of every particle alike."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(width_in, width_out), nn.ReLU())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, C) and (B, N) mask → (B, N, C′)."""
        return cast("Tensor", self.map(x) * mask[..., None])


class SumPool(nn.Module):
    """Sum over the particles of a jet."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C), zero where padded, → (B, C)."""
        return x.sum(dim=1)


@register("deepsets")
class DeepSets(Tagger):
    """Tag jets by a function of the sum of functions of single particles: no two particles meet before the sum.

    Invariant by construction under permutations of the particles and under padding, and under rotations about the
    beam that leave impact parameters as they are: none of its features changes.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`DeepSetsConfig`.

    Raises
    ------
    ConfigError
        An option does not make a network.

    Examples
    --------
    >>> import torch
    >>> model = DeepSets(("QCD", "Tbqq"), features="kin", particles=(8, 16), jets=(8,))
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = DeepSetsConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        self.compute_features, names = FEATURE_SETS[config.features]
        widths = [len(names), *config.particles]
        self.particles = nn.ModuleList(ParticleLayer(*pair) for pair in pairwise(widths))
        self.pool = SumPool()
        layers: list[nn.Module] = []
        for width_in, width_out in zip([widths[-1], *config.jets], config.jets, strict=False):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(config.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(config.jets[-1], len(self.classes)))

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        x = self.compute_features(jets).to(next(self.head.parameters()).dtype)
        for layer in self.particles:
            x = layer(x, jets.mask)
        logits: Tensor = self.head(self.pool(x))
        return logits
