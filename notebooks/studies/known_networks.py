"""Networks whose symmetry is known by construction, and what a diagnosis says of each.

    python notebooks/studies/known_networks.py --inputs 2 16 --precisions float32 --only mirror hidden

Eleven networks are as symmetric as their outputs ask; thirteen have one failure each. What is true of a network follows
from its closed form, which stands beside it, whatever its weights: they are random, and nothing is trained. The table
shows, for every number of inputs and every precision, what is wrongly said (+mode, +mode! where it is called a problem)
and what is missed (−mode); its last rows count.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import rich.table
import torch
from torch import Tensor, nn

import jetsym
from jetsym.errors import JetsymError
from jetsym.files import write_json
from jetsym.text import as_text

POINTS = 6
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Modes that speak of the measurement and not of the network: it is enough that they are named.
OF_THE_PROBE = {"under-resolved", "hidden-by-rounding"}
#: Modes that any network locked to axes of the laboratory may be said to have, besides those that it must.
LOCKED = {"frame-locking"}


def clouds(n: int, generator: torch.Generator) -> Tensor:
    """Draw clouds of points (n, POINTS, 3), of unequal axes, each in an orientation of its own."""
    points = torch.randn(n, POINTS, 3, generator=generator) * torch.tensor([0.6, 1.0, 1.6])
    axes, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator))
    return points @ axes


@dataclass(frozen=True)
class Network:
    """A network, and what is true of it.

    Attributes
    ----------
    build
        Makes the module; its weights are drawn from torch's own generator.
    outputs
        The law that each output is said to have.
    truth
        What is true of it, in one sentence.
    must
        Modes to be found as a problem (those of ``OF_THE_PROBE``: to be named).
    right
        Modes that may be found besides, at any severity, and be right.
    options
        Of the probe.
    """

    build: Callable[[], nn.Module]
    outputs: Mapping[str, str]
    truth: str
    must: frozenset[str] = frozenset()
    right: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether no mode is to be found."""
        return not self.must


NETWORKS: dict[str, Network] = {}


def network(
    outputs: Mapping[str, str], truth: str, must: Iterable[str] = (), right: Iterable[str] = (), **options: Any
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Enter a network under the name of the class or function that builds it."""

    def enter(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        name = build.__name__
        short = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
        NETWORKS[short] = Network(build, outputs, truth, frozenset(must), frozenset(right), options)
        return build

    return enter


# ---------------------------------------------------------------------------------------------------------------- parts


def mlp(*widths: int, last: bool = False) -> nn.Sequential:
    """Chain linear maps and SiLU; without one after the last map if that is the last of the network."""
    steps: list[nn.Module] = []
    for before, after in pairwise(widths):
        steps += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*(steps[:-1] if last else steps))


def bumps(radius: Tensor, n: int) -> Tensor:
    """Compute n Gaussians of the radius (..., 1), side by side from 0.3 to 3: (..., n)."""
    centres = torch.linspace(0.3, 3.0, n, dtype=radius.dtype)
    return torch.exp(-(((radius - centres) * n / 4.0) ** 2))


def length(vectors: Tensor) -> Tensor:
    """Compute lengths (..., 1)."""
    return vectors.square().sum(-1, keepdim=True).sqrt()


class Scalars(nn.Module):
    """Sums over the points of functions of their radius alone, (n, width): invariant under O(3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = mlp(8, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(bumps(length(x), 8)).mean(1)


class Vectors(nn.Module):
    """v_a = Σ_i φ_a(|x_i|) x_i, (n, width, 3): rotates as vectors do, exactly."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return bumps(length(x), self.width).mT @ x


class Mix(nn.Module):
    """Mix vectors and scale each by a function of its length: stays a set of vectors."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / math.sqrt(before))

    def forward(self, vectors: Tensor) -> Tensor:
        mixed = self.weight @ vectors
        return mixed * torch.sigmoid(length(mixed))


class Norms(nn.Module):
    """Lengths of vectors, (n, width): invariant, and all directions are gone."""

    def forward(self, vectors: Tensor) -> Tensor:
        return length(vectors).squeeze(-1)


class Distances(nn.Module):
    """Means over pairs of Gaussians of the distance, (n, width): invariant under O(3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        apart = (x[:, :, None] - x[:, None]).square().sum(-1, keepdim=True)
        return bumps(apart.add(1e-4).sqrt(), self.width).mean((1, 2))


def triple(vectors: Tensor) -> Tensor:
    """Compute the triple product of the first three of (n, width, 3) vectors, (n, 1): odd under inversion."""
    a, b, c = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return (a * torch.linalg.cross(b, c)).sum(-1, keepdim=True)


# -------------------------------------------------------------------------------------------------------------- healthy


@network({"energy": "scalar"}, "It sees distances alone: every layer and the output are invariant under O(3).")
class PairDistances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = Distances(16), mlp(16, 32, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.embedding(x)))


@network({"energy": "scalar"}, "Vectors until just before the readout, then their lengths: exactly invariant, if late.")
class LateNorms(nn.Module):
    # Every layer before `norms` maps vectors to vectors (matrices act on channels, factors depend on lengths).
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.first, self.second = Vectors(16), Mix(16, 16), Mix(16, 16)
        self.norms, self.head = Norms(), mlp(16, 16, 1, last=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norms(self.second(self.first(self.embedding(x)))))


@network({"dipole": "vector"}, "A network of tensor products of O(3): its vector turns exactly as it should.")
class TensorProduct(nn.Module):
    # Irreps of natural parity up to λ = 2, coupled by Clebsch-Gordan coefficients; in e3nn a 1o is (x, y, z).
    def __init__(self) -> None:
        from e3nn import o3

        super().__init__()
        features = "8x0e + 8x1o + 4x2e"
        self.harmonics = o3.SphericalHarmonics("0e + 1o + 2e", normalize=False)
        self.embedding = o3.Linear("8x0e + 8x1o + 8x2e", features)
        self.product = o3.FullyConnectedTensorProduct(features, features, features)
        self.head = o3.Linear(features, "1o")
        self.n = 8

    def forward(self, x: Tensor) -> Tensor:
        weights, harmonics = bumps(length(x), self.n), self.harmonics(x)
        # (n, channels, components) of each λ, channels first as e3nn lays them out
        parts = [weights.mT @ part for part in harmonics.split([1, 3, 5], dim=-1)]
        features = self.embedding(torch.cat([part.flatten(1) for part in parts], dim=-1))
        return self.head(features + self.product(features, features))


@network(
    {"dipole": "vector", "quadrupole": "rank2", "chirality": "pseudoscalar", "moment": "pseudovector"},
    "Moments of vectors that turn exactly: v₁, Σ v vᵀ, v₁·(v₂ × v₃) and v₁ × v₂ have the laws that they are given.",
)
class Moments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.vectors = Vectors(8), Mix(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        v = self.vectors(self.embedding(x))
        return {
            "dipole": v[:, 0],
            "quadrupole": v.mT @ v,
            "chirality": triple(v),
            "moment": torch.linalg.cross(v[:, 0], v[:, 1]),
        }


@network({"logits": "logits"}, "Coordinates in axes made from the points themselves: all that follows is invariant.")
class Canonical(nn.Module):
    # e = Gram-Schmidt of three vectors; under x → x gᵀ also e → e gᵀ, for reflections too, so that x eᵀ stays.
    def __init__(self) -> None:
        super().__init__()
        self.vectors, self.axes = Vectors(3), Axes()
        self.points, self.head = mlp(3, 32, 32), mlp(32, 16, 3, last=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.points(x @ self.axes(self.vectors(x)).mT).mean(1))


class Axes(nn.Module):
    """Three orthonormal axes from three vectors by Gram and Schmidt, (n, 3, 3), an axis a row."""

    def forward(self, vectors: Tensor) -> Tensor:
        axes: list[Tensor] = []
        for vector in vectors.unbind(1):
            rest = vector
            for axis in axes:
                rest = rest - (vector * axis).sum(-1, keepdim=True) * axis
            axes.append(rest / length(rest))
        return torch.stack(axes, 1)


@network(
    {"energy": "scalar"},
    "A transformer without any symmetry, averaged over the eight signs of the principal axes: exactly invariant.",
    # Inside, the eight copies change places wherever an eigenvector changes its sign: these layers do jump.
    right={"under-resolved", "saturation"},
)
class FrameAveraged(nn.Module):
    # The principal axes turn with the points; their signs are arbitrary, and the mean over all signs does not see them.
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(3, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 1)
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        self.register_buffer("signs", signs)

    def forward(self, x: Tensor) -> Tensor:
        _, axes = torch.linalg.eigh((x.mT @ x).float())
        own = (x @ axes.to(x.dtype))[:, None] * self.signs[:, None]
        features = self.block(self.embedding(own.flatten(0, 1))).mean(1)
        return self.head(features).unflatten(0, (-1, 8)).mean(1)


@network(
    {"energy": "scalar"},
    "It knows the beam and is probed about the beam: invariant under SO(2), and nothing else was asked.",
    group="SO2",
)
class AboutTheBeam(nn.Module):
    # Σ_i φ_a(pT_i) (x_i, y_i) is m = 1, its lengths and functions of pT and z are m = 0.
    def __init__(self) -> None:
        super().__init__()
        self.transverse, self.norms = Transverse(8), Norms()
        self.along, self.head = mlp(2, 16, 8), mlp(16, 16, 1, last=True)

    def forward(self, x: Tensor) -> Tensor:
        across = self.norms(self.transverse(x))
        along = self.along(torch.cat([length(x[..., :2]), x[..., 2:]], -1)).mean(1)
        return self.head(torch.cat([across, along], -1))


class Transverse(nn.Module):
    """Sums of transverse vectors, weighted by functions of their length, (n, width, 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return bumps(length(x[..., :2]), self.width).mT @ x[..., :2]


@network({"energy": "scalar"}, "Invariant; a monitor of the laboratory's axes runs last, and nothing depends on it.")
class SideBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = Distances(16), mlp(16, 16, 1, last=True)
        self.monitor = nn.Linear(3, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        energy = self.head(self.embedding(x))
        self.monitor(x.sum(1))
        return energy


@network({"logits": "logits"}, "Eight blocks with dropout and norms, at rest, over distances: invariant all the way.")
class DeepAtRest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = Distances(24)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24), nn.SiLU(), nn.Dropout(0.3), nn.Linear(24, 24))
            for _ in range(8)
        )
        self.norm, self.head = nn.BatchNorm1d(24), nn.Linear(24, 4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        features = self.embedding(x)
        for block in self.blocks:
            features = features + block(features)
        return self.head(self.norm(features))


@network({"dipole": "vector"}, "64 scalars beside one short vector: little of it turns, that exactly, and it suffices.")
class ScalarRich(nn.Module):
    # dipole = (a number made of scalars) × (the vector): exact, whatever part of the power the vector is.
    def __init__(self) -> None:
        super().__init__()
        self.scalars, self.norm, self.vector = Scalars(64), nn.LayerNorm(64), Vectors(1)
        self.features, self.gate = nn.Identity(), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        vector = 0.1 * self.vector(x).squeeze(1)
        features = self.features(torch.cat([self.norm(self.scalars(x)), vector], -1))
        return (1 + self.gate(features[:, :64])) * features[:, 64:]


@network({"energy": "scalar"}, "Invariant; it carries heads of an earlier life that are never called.")
class UnusedModules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.old_forces = nn.Linear(3, 3)
        self.embedding, self.hidden, self.head = Scalars(16), mlp(16, 16), nn.Linear(16, 1)
        self.old_heads = nn.ModuleList(nn.Linear(3, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.embedding(x)))


# ----------------------------------------------------------------------------------------------------------------- sick


@network(
    {"energy": "scalar"},
    "To an invariant it adds Σ φ(|x|) z: a vector's component along an axis of the laboratory.",
    must={"leakage"},
    right={"parity-contamination"} | LOCKED,  # that component changes sign under inversion
)
class LabAxis(nn.Module):
    # energy = s + z-component of a vector: (0,+) and (1,+) are all there is.
    def __init__(self) -> None:
        super().__init__()
        self.scalars, self.vectors = Scalars(16), Vectors(8)
        self.features, self.head = nn.Identity(), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(torch.cat([self.scalars(x), self.vectors(x)[..., 2]], -1)))


@network(
    {"energy": "scalar"},
    "An invariant plus a triple product: invariant under rotations, not under inversion.",
    must={"parity-contamination"},
    right={"leakage"},  # (0,−) is no (0,+)
)
class Mirror(nn.Module):
    # energy = s + tanh(v₁·(v₂ × v₃)): (0,+) and (0,−), where tanh is odd.
    def __init__(self) -> None:
        super().__init__()
        self.scalars, self.vectors, self.head = Scalars(16), Vectors(3), nn.Linear(16, 1)
        nn.init.uniform_(self.head.weight, 1.0, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.scalars(x)) + torch.tanh(triple(self.vectors(x)))


@network(
    {"dipole": "vector"},
    "A vector read from distances: every layer is invariant, and so is the output, which does not turn at all.",
    must={"starvation"},
    right={"leakage", "parity-contamination", "parity-blindness"} | LOCKED,  # it does not change sign under inversion
)
class Starved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = Distances(16), mlp(16, 32, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.embedding(x)))


@network(
    {"dipole": "vector"},
    "Vectors at first; one layer in the middle keeps lengths only, and a vector is decoded from those.",
    must={"bottleneck"},
    right={"starvation", "leakage", "parity-contamination", "parity-blindness"} | LOCKED,
)
class Bottleneck(nn.Module):
    # From `norms` on everything is (0,+), the output too.
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.vectors, self.norms = Vectors(16), Mix(16, 16), Norms()
        self.decoder, self.features, self.head = mlp(16, 32), mlp(32, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(self.decoder(self.norms(self.vectors(self.embedding(x))))))


@network(
    {"energy": "scalar"},
    "Nothing is invariant until the last hidden layer, which sums squares along 48 axes of the laboratory.",
    must={"late-collapse"},
    right={"leakage", "under-resolved"} | LOCKED,
)
class LateCollapse(nn.Module):
    # Without biases and with tanh all up to `pool` changes sign under inversion: no (0,+) at all. Positive weights of
    # squares along 48 random axes make an invariant up to λ = 2, 4, … of order 1/√48.
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(3, 48, bias=False), nn.Tanh())
        self.first = nn.Sequential(nn.Linear(48, 48, bias=False), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(48, 48, bias=False), nn.Tanh())
        self.pool, self.collapse, self.head = Sum(), Squares(48, 8), nn.Linear(8, 1)
        nn.init.uniform_(self.head.weight, 0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.collapse(self.pool(self.second(self.first(self.embedding(x))))))


class Sum(nn.Module):
    """Sum over the points."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)


class Squares(nn.Module):
    """Means of squares with positive weights."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(before, after) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x.square() @ (self.weight / self.weight.sum(0))


@network(
    {"energy": "scalar"},
    "It depends on the azimuth as 1 + cos 9φ, which a probe up to m = 4 cannot resolve.",
    must={"leakage", "saturation"},
    right={"under-resolved"} | LOCKED,
    group="SO2",
)
class Tower(nn.Module):
    # Per point w(pT) (1 + cos 9φ): m = 0 and m = 9 are all there is, and for a scalar all but m = 0 is wrong.
    def __init__(self) -> None:
        super().__init__()
        self.azimuths, self.pool = Azimuths(), Sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.azimuths(x))


class Azimuths(nn.Module):
    """exp(−pT) (1 + cos 9φ), (n, points, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        azimuth = torch.atan2(x[..., 1:2], x[..., :1])
        return torch.exp(-length(x[..., :2])) * (1 + torch.cos(9 * azimuth))


@network(
    {"energy": "scalar"},
    "Two large energies that cancel, one of them in half precision: what is left is rounding, whatever is rotated.",
    must={"hidden-by-rounding"},
)
class Hidden(nn.Module):
    # On paper 100 Σ|x|² − 100 Σ|x|² + s = s, invariant. bfloat16 keeps 8 bits: Σ|x|² ≈ 25 is off by some 0.05, a
    # hundred times that is 5, and s is below 1.
    def __init__(self) -> None:
        super().__init__()
        self.scalars, self.head = Scalars(16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        coarse = x.bfloat16().square().sum((1, 2)).float()
        fine = x.float().square().sum((1, 2))
        return self.head(self.scalars(x)) + 100 * (coarse - fine)[:, None].to(x.dtype)


@network(
    {"energy": "scalar"},
    "It sees pT: invariant about the beam and under inversion, not under O(3).",
    must={"leakage"},
    right=LOCKED,
)
class BeamAxis(nn.Module):
    # Σ φ(|x|) pT², and pT² = |x|² − z²: (0,+) and (2,+) are all there is in the embedding.
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = TransverseSquares(8), nn.Linear(8, 1)
        nn.init.uniform_(self.head.weight, 0.1, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


class TransverseSquares(nn.Module):
    """Σ_i φ_a(|x_i|) pT_i², (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return (bumps(length(x), self.width) * x[..., :2].square().sum(-1, keepdim=True)).sum(1)


@network(
    {"energy": "scalar"},
    "A mask meant for padding asks for px > 0: half of the points are lost, others at every orientation.",
    must={"leakage"},
    # a step has content at every λ, odd and even
    right={"parity-contamination", "under-resolved", "saturation"} | LOCKED,
)
class Padding(nn.Module):
    # energy = Σ over px > 0 of s(|x|), s > 0. With x → −x the other half is kept: never both.
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.masked, self.head = mlp(8, 16), Masked(), nn.Linear(16, 1)
        nn.init.uniform_(self.head.weight, 0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.masked(self.embedding(bumps(length(x), 8)).abs(), x))


class Masked(nn.Module):
    """Sum over the points that are taken for real ones."""

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        return (features * (x[..., :1] > 0)).sum(1)


@network(
    {"energy": "scalar"},
    "Random weights, no biases and tanh: it changes sign under inversion, so that no part of it is invariant.",
    must={"leakage"},
    right={"parity-contamination", "starvation", "under-resolved"} | LOCKED,
)
class Untrained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(3, 32, bias=False), nn.Tanh())
        self.pool = Sum()
        self.hidden = nn.Sequential(nn.Linear(32, 32, bias=False), nn.Tanh())
        self.head = nn.Linear(32, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.pool(self.embedding(x))))


@network(
    {"moment": "pseudovector"},
    "An exact vector that is said to be a pseudovector: right under rotations, of the wrong sign under inversion.",
    must={"parity-contamination"},
    right={"leakage", "starvation", "parity-blindness"},  # (1,+) is no (1,−), of which there is none in any layer
)
class WrongLaw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.vectors = Vectors(8), Mix(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.vectors(self.embedding(x)).squeeze(1)


@network(
    {"polarizability": "rank2"},
    "A tensor read linearly from scalars and vectors: no λ = 2 anywhere, its place filled by the laboratory's axes.",
    must={"starvation"},
    right={"leakage", "parity-contamination"} | LOCKED,  # components of vectors are odd
)
class MissingTensor(nn.Module):
    # Features are (0,+) and (1,+), in all layers; a linear map adds no irrep.
    def __init__(self) -> None:
        super().__init__()
        self.scalars, self.vectors = Scalars(8), Vectors(8)
        self.features, self.head = nn.Identity(), nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(torch.cat([self.scalars(x), self.vectors(x).flatten(1)], -1))
        matrix = self.head(features).unflatten(-1, (3, 3))
        return (matrix + matrix.mT) / 2


@network(
    {"force": "vector"},
    "A vector whose z-component is three times too long: the right irrep, and not along what turns.",
    must={"misalignment"},
    right=LOCKED,
)
class Stretched(nn.Module):
    # force = M v, M = diag(1, 1, 3). All of M R v is (1,+); the mean of Rᵀ M R is tr M / 3, and A² / N =
    # (tr M² − (tr M)² / 3) / tr M² = 8 / 33.
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.vectors = Vectors(8), Mix(8, 1)
        self.register_buffer("stretch", torch.tensor([1.0, 1.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.vectors(self.embedding(x)).squeeze(1) * self.stretch


# ---------------------------------------------------------------------------------------------------------------- table


@dataclass
class Judgement:
    """What was said of one network, and how far it is right."""

    network: str
    inputs: int
    precision: str
    healthy: bool
    found: dict[str, str]
    problems: list[str]
    wrong: list[str]
    missed: list[str]
    refused: str
    seconds: float

    @property
    def cell(self) -> tuple[str, int]:
        """Where it stands in the table."""
        return self.precision, self.inputs

    @property
    def text(self) -> str:
        """What is wrong with it, in a few words."""
        if self.refused:
            return "refused"
        wrong = [f"+{mode}{'!' if self.found[mode] == 'problem' else ''}" for mode in self.wrong]
        return "\n".join(wrong + [f"−{mode}" for mode in self.missed]) or "·"


def judge(name: str, n: int, precision: str) -> Judgement:
    """Probe and diagnose one network."""
    known, dtype = NETWORKS[name], PRECISIONS[precision]
    torch.manual_seed(0)
    module = known.build().eval().to(dtype)
    inputs = clouds(n, torch.Generator().manual_seed(1)).to(dtype)
    start, severity, refused = time.perf_counter(), {}, ""
    try:
        report = jetsym.probe(module, inputs, outputs=known.outputs, progress=False, **known.options)
        for finding in jetsym.diagnose(report):
            if severity.get(finding.name) != "problem":
                severity[finding.name] = finding.severity
    except JetsymError as error:
        refused = str(error)
    allowed = known.must | known.right
    if precision == "bfloat16":  # what rounding hides may be said of any network
        allowed |= {"hidden-by-rounding"}
    problems = [mode for mode, grade in severity.items() if grade == "problem"]
    return Judgement(
        network=name,
        inputs=n,
        precision=precision,
        healthy=known.healthy,
        found=severity,
        problems=problems,
        wrong=[mode for mode in severity if mode not in allowed or (known.healthy and mode in problems)],
        missed=sorted(m for m in known.must if m not in problems and not (m in OF_THE_PROBE and m in severity)),
        refused=refused,
        seconds=time.perf_counter() - start,
    )


def totals(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Count networks and modes that are misjudged."""
    several = list(judgements)
    return {
        "healthy, called a problem": sum(one.healthy and bool(one.problems) for one in several),
        "modes wrongly named": sum(len(one.wrong) for one in several),
        "  of these, of the probe": sum(len(OF_THE_PROBE.intersection(one.wrong)) for one in several),
        "sick, missed": sum(bool(one.missed) for one in several),
        "refused": sum(bool(one.refused) for one in several),
    }


def table(judgements: list[Judgement]) -> str:
    """Format what was misjudged, by network and cell, with totals."""
    cells = list(dict.fromkeys(one.cell for one in judgements))
    entries = {(one.network, *one.cell): one for one in judgements}
    result = rich.table.Table(box=rich.box.SIMPLE)
    result.add_column("")
    for precision, n in cells:
        result.add_column(f"{precision}, {n}")
    rows = {"healthy": True, "sick": False}
    for title, healthy in rows.items():
        names = dict.fromkeys(one.network for one in judgements if one.healthy == healthy)
        if names:
            result.add_row(title, *[""] * len(cells), style="bold")
        for name in names:
            result.add_row(f"  {name}", *(entries[name, *cell].text for cell in cells))
        result.add_section()
    counts = [totals(one for one in judgements if one.cell == cell) for cell in cells]
    for title in counts[0]:
        result.add_row(title, *(str(count[title]) for count in counts))
    return as_text(result, width=40 + 26 * len(cells))


def main() -> None:
    """Judge every network, print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, nargs="+", default=[2, 4, 16, 64], help="numbers of inputs")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME", help="networks")
    parser.add_argument("--out", type=Path, help="file of numbers (JSON)")
    options = parser.parse_args()
    names = [name for name in options.only if name != "tensor_product" or find_spec("e3nn")]
    judgements = [judge(name, n, p) for p in options.precisions for n in options.inputs for name in names]
    print(table(judgements), end="")
    print(f"{len(judgements)} probes, {sum(one.seconds for one in judgements):.0f} s")
    if options.out:
        networks = {name: {"truth": NETWORKS[name].truth, "must": sorted(NETWORKS[name].must)} for name in names}
        write_json(options.out, {"networks": networks, "judgements": [vars(one) for one in judgements]})


if __name__ == "__main__":
    main()
