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
from typing import Any, ClassVar

from torch import Tensor, nn

from jetsym.errors import ConfigError, closest
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models.base import Tagger
from jetsym.jets.schema import CLASSES

__all__ = ["DeepSets", "DeepSetsConfig"]


@dataclass(frozen=True)
class DeepSetsConfig:
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

    features: str = "full"
    particles: Sequence[int] = (100, 100, 256)
    jets: Sequence[int] = (100, 100, 100)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.features not in FEATURE_SETS:
            near = closest(str(self.features), FEATURE_SETS)
            raise ConfigError(f"DeepSets option features is {self.features!r}; {near}")
        for name in ("particles", "jets"):
            sizes = tuple(getattr(self, name))
            object.__setattr__(self, name, sizes)  # JSON and YAML hand over lists
            if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
                raise ConfigError(f"DeepSets option {name} is {sizes}; expected one or more whole numbers from 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"DeepSets option dropout is {self.dropout}; expected 0 or more and less than 1")


class ParticleLayer(nn.Module):
    """A linear map and ReLU, of every particle alike."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(width_in, width_out), nn.ReLU())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, C) and (B, N) mask → (B, N, C′)."""
        return self.map(x) * mask[..., None]


class SumPool(nn.Module):
    """Sum over the particles of a jet."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C), zero where padded, → (B, C)."""
        return x.sum(dim=1)


class DeepSets(Tagger):
    """Tag jets by a function of the sum of functions of single particles: no two particles meet before the sum.

    Invariant by construction under permutations of the particles and under padding, and under rotations about the
    beam that leave impact parameters as they are: none of its features changes.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    features, particles, jets, dropout
        See :class:`DeepSetsConfig`.

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

    def __init__(
        self,
        classes: Sequence[str] = CLASSES,
        *,
        features: str = "full",
        particles: Sequence[int] = (100, 100, 256),
        jets: Sequence[int] = (100, 100, 100),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.config = DeepSetsConfig(features=features, particles=particles, jets=jets, dropout=dropout)
        self.compute_features, names = FEATURE_SETS[features]
        widths = [len(names), *self.config.particles]
        self.particles = nn.ModuleList(ParticleLayer(*pair) for pair in pairwise(widths))
        self.pool = SumPool()
        layers: list[nn.Module] = []
        for width_in, width_out in zip([widths[-1], *self.config.jets], self.config.jets, strict=False):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(self.config.jets[-1], len(self.classes)))

    def forward(self, jets: JetBatch) -> Tensor:
        """B jets → logits (B, classes)."""
        x = self.compute_features(jets).to(next(self.head.parameters()).dtype)
        for layer in self.particles:
            x = layer(x, jets.mask)
        logits: Tensor = self.head(self.pool(x))
        return logits
