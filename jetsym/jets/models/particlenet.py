"""ParticleNet: convolutions along the edges of a nearest-neighbour graph that is drawn anew before every block.

Read it bottom-up from :class:`ParticleNet`: normalised features, blocks, mean over the particles, head. Each named
block is called once per forward pass and returns one tensor, so that hooks and probes can read it: (B, N, C) with
zeros in the padded slots for ``norm`` and ``blocks.*``, (B, C) for ``pool``, (B, classes) for ``head``.

After H. Qu, L. Gouskos, "ParticleNet: Jet Tagging via Particle Clouds", arXiv:1902.08570, in the form whose weights
were published with "Particle Transformer for Jet Tagging", arXiv:2202.03772; :meth:`ParticleNet.from_weaver` reads
them. An edge from i to its neighbour j carries (x_i, x_j − x_i); its first linear map is taken apart into one of x_i
and one of x_j, so that it is computed per particle and not per edge, and only real particles are computed at all.

The network jumps where two particles change places in the order of neighbours: it has no derivative there. Which of
several neighbours at exactly the same distance is taken depends on the order of the particles.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS, Angles, angular_points
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.packing import MeanPool, RowNorm, unpack
from jetsym.jets.models.registry import register
from jetsym.jets.models.weaver import WeaverNames, WeaverTagger, feature_set, length
from jetsym.jets.schema import CLASSES

__all__ = ["ParticleNet", "ParticleNetConfig"]

#: Particles whose edges a processor works on at a time.
CHUNK = 64


@dataclass(frozen=True)
class ParticleNetConfig(Options):
    """Inputs and size of a :class:`ParticleNet`; the defaults are those of the published weights.

    Parameters
    ----------
    features
        "kin", "kinpid" or "full": the field's 7, 13 or 17 features of a particle.
    k
        Neighbours of every particle.
    channels
        For each block, the channels after each of its layers.
    hidden
        Channels of the head's hidden layer.
    dropout
        Probability of dropping a channel of the hidden layer, in training.
    """

    features: str = option("full", choices=FEATURE_SETS)
    k: int = 16
    channels: Sequence[Sequence[int]] = ((64, 64, 64), (128, 128, 128), (256, 256, 256))
    hidden: int = 256
    dropout: float = option(0.1, below=1)


class LinearNorm(nn.Module):
    """A linear map and its normalisation, of the rows of a tensor; in evaluation both are one linear map.

    Its rows are edges or particles of all jets one after the other. Called as :meth:`rows`, past the hooks: it has no
    tensor to show in which a jet has its own place.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out, bias=False)
        self.norm = RowNorm(width_out)

    def rows(self, x: Tensor) -> Tensor:
        """Map (n, C) → (n, C′)."""
        return self.norm(self.linear(x)) if self.training else F.linear(x, *self.folded())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight (C′, C) and bias (C′) of the linear map that does both in evaluation."""
        return self.norm.fold(self.linear.weight)


class EdgeConv(nn.Module):
    """Mean over the edges to the k nearest particles, added to a linear map of the particle itself.

    A jet with k particles or fewer lacks neighbours; as in the original, padded slots (x_j = 0) stand in for them.
    """

    def __init__(self, k: int, width_in: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.k = k
        widths = [2 * width_in, *channels]
        self.layers = nn.ModuleList(LinearNorm(*pair) for pair in pairwise(widths))
        self.shortcut = nn.Identity() if width_in == channels[-1] else LinearNorm(width_in, channels[-1])

    def forward(self, x: Tensor, points: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, C), positions (B, N, D) and (B, N) mask → (B, N, C′)."""
        rows, neighbours = x[mask], nearest(points, mask, self.k)
        mean = self._train(rows, neighbours) if self.training else self._evaluate(rows, neighbours)
        own = self.shortcut.rows(rows) if isinstance(self.shortcut, LinearNorm) else rows
        return unpack(F.relu(own + mean), mask)

    def _train(self, rows: Tensor, neighbours: Tensor) -> Tensor:
        """Map (n, C) particles and the numbers (n, k) of their neighbours → mean over the edges (n, C′)."""
        first, *others = self._maps()
        edges = F.relu(first.norm(edges_of(*per_particle(rows, first.linear.weight), neighbours)))
        for layer in others:
            edges = F.relu(layer.rows(edges))
        return edges.view(len(rows), self.k, edges.shape[1]).mean(dim=1)

    def _evaluate(self, rows: Tensor, neighbours: Tensor) -> Tensor:
        """Compute the same without statistics, some particles at a time, whose edges a processor's cache holds."""
        first, *others = [layer.folded() for layer in self._maps()]
        own, other = per_particle(rows, *first)
        size = CHUNK if rows.device.type == "cpu" else max(len(rows), 1)
        means = []
        for part, numbers in zip(own.split(size), neighbours.split(size), strict=True):
            edges = edges_of(part, other, numbers).relu_()
            for weight, bias in others:
                edges = F.linear(edges, weight, bias).relu_()
            means.append(edges.view(len(part), self.k, edges.shape[1]).mean(dim=1))
        return torch.cat(means)

    def _maps(self) -> list[LinearNorm]:
        return cast("list[LinearNorm]", list(self.layers))


def per_particle(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split a linear map of (x_i, x_j − x_i) into one of x_i (n, C′), with the bias, and one of x_j (n + 1, C′).

    The last row of the latter is zero: it belongs to a neighbour that is not there, x_j = 0.
    """
    of_own, of_difference = weight.chunk(2, dim=1)
    return F.linear(x, of_own - of_difference, bias), F.pad(F.linear(x, of_difference), (0, 0, 0, 1))


def edges_of(own: Tensor, other: Tensor, neighbours: Tensor) -> Tensor:
    """Add parts of m particles (m, C) to those of ``neighbours``, numbered (m, k) → edges (m·k, C)."""
    return other[neighbours].add_(own[:, None]).flatten(0, 1)


class FeatureNorm(nn.Module):
    """Batch normalisation of the real particles' features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rows = RowNorm(features)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, F) and (B, N) mask → (B, N, F)."""
        return unpack(self.rows(features[mask]), mask)


@register("particlenet")
class ParticleNet(WeaverTagger):
    """Tag jets by convolutions on the graph of nearest neighbours, first in (Δη, Δφ), then among the activations.

    Invariant by construction under permutations of the particles, under padding, and under rotations about the beam
    that leave impact parameters as they are: none of its features changes.

    In training, normalisations take their statistics from real particles and their edges alone (the original counts
    padded slots as well, which are most of all slots), so that training on from published weights shifts them; in
    evaluation both use the stored statistics, alike.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`ParticleNetConfig`.

    Raises
    ------
    ConfigError
        An option does not make a network.

    Examples
    --------
    >>> model = ParticleNet(("QCD", "Tbqq"), features="kin", k=4, channels=((8, 8), (16,))).eval()
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = ParticleNetConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        self.angles: Angles = "field"
        self.compute_features, names = FEATURE_SETS[config.features]
        widths = [len(names), *(block[-1] for block in config.channels)]
        self.norm = FeatureNorm(len(names))
        self.blocks = nn.ModuleList(EdgeConv(config.k, *pair) for pair in zip(widths, config.channels, strict=False))
        self.pool = MeanPool()
        self.head = nn.Sequential(
            nn.Linear(widths[-1], config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, len(self.classes)),
        )

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        x = self.norm(self.compute_features(jets, angles=self.angles).to(self.norm.rows.weight.dtype), jets.mask)
        points = angular_points(jets, angles=self.angles)
        for block in self.blocks:
            x = block(x, points, jets.mask)
            points = x
        logits: Tensor = self.head(self.pool(x, jets.mask))
        return logits

    def ablations(self) -> dict[str, Tagger]:
        """Return copies without the factor sign(η_jet) in Δη, and with rapidities in place of pseudorapidities."""
        copies: dict[str, Tagger] = {}
        for name, angles in (("sign(η_jet) in Δη", "unsigned"), ("pseudorapidity for rapidity", "rapidity")):
            copies[name] = other = copy.deepcopy(self)
            other.angles = angles  # type: ignore[assignment]
        return copies

    weaver_names: ClassVar[WeaverNames] = (
        (r"^norm\.rows\.", "bn_fts."),
        (r"^blocks\.(\d+)\.layers\.(\d+)\.linear\.", r"edge_convs.\1.convs.\2."),
        (r"^blocks\.(\d+)\.layers\.(\d+)\.norm\.", r"edge_convs.\1.bns.\2."),
        (r"^blocks\.(\d+)\.shortcut\.linear\.", r"edge_convs.\1.sc."),
        (r"^blocks\.(\d+)\.shortcut\.norm\.", r"edge_convs.\1.sc_bn."),
        (r"^head\.0\.", "fc.0.0."),
        (r"^head\.3\.", "fc.1."),
    )
    weaver_marks = ("edge_convs.",)
    weaver_output = "fc.1.weight"
    weaver_unsaid: ClassVar[Mapping[str, Any]] = {"features": None, "k": None, "use_counts": True}
    weaver_more: ClassVar[Mapping[str, str]] = {"fusion_block.": "a fusion block"}

    @classmethod
    def weaver_options(cls, theirs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Find feature set and channels; the number of neighbours has no tensor."""
        channels: list[list[int]] = []
        while f"edge_convs.{len(channels)}.convs.0.weight" in theirs:
            block, layers = len(channels), list[int]()
            while (weight := theirs.get(f"edge_convs.{block}.convs.{len(layers)}.weight")) is not None:
                layers.append(length(weight))
            channels.append(layers)
        features = feature_set(theirs.get("bn_fts.weight"), layers=len(channels), of="edge convolutions")
        return {"features": features, "channels": channels, "hidden": length(theirs.get("fc.0.0.weight"))}

    @staticmethod
    def weaver_shape(name: str, tensor: Tensor) -> Sequence[int]:
        """Add axes of length one: weaver-core convolves over particles, and over these and their neighbours."""
        return (*tensor.shape, *[1] * (1 if ".sc." in name else 2 if ".convs." in name else 0))


@torch.no_grad()
def nearest(points: Tensor, mask: Tensor, k: int) -> Tensor:
    """Find the k nearest other particles of every real particle in its jet.

    Parameters
    ----------
    points
        (B, N, D) positions.
    mask
        (B, N) bool.
    k
        Number of neighbours.

    Returns
    -------
    Tensor
        (n, k) numbers of the neighbours, counting the n real particles of all jets in the order of ``points[mask]``;
        n where a jet has no further particle.
    """
    jets, slots = mask.nonzero(as_tuple=True)
    total = len(jets)
    # In float64, as rounding that depends on padding and batch would exchange neighbours that are equally far.
    points = points.detach().double()
    distances = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist")
    distances = distances.masked_fill(~mask[:, None], torch.inf)[jets, slots]
    distances[torch.arange(total, device=mask.device), slots] = torch.inf
    found = distances.topk(min(k, mask.shape[1]), dim=1, largest=False)
    numbers = torch.zeros_like(mask, dtype=torch.long)
    numbers[jets, slots] = torch.arange(total, device=mask.device)
    neighbours = numbers[jets[:, None], found.indices].masked_fill(found.values.isinf(), total)
    return F.pad(neighbours, (0, k - neighbours.shape[1]), value=total)
