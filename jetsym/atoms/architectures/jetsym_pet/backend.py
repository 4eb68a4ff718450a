"""The layers of PET with injected bias: PET's own, with further features of edges at their embedding."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from metatrain.pet.modules.backend import PETBackend
from torch import Tensor, nn

from jetsym.atoms.architectures.inject import Injection

from .features import Harmonics, Invariants

__all__ = ["InjectedBackend", "InjectedEmbedder"]


def renamed(function: Callable[..., Any], name: str) -> FunctionType:
    """Return a method of a class under another name.

    A method that a subclass overrides can so be called from compiled code: TorchScript has no super(), and compiles a
    method under the name that it says it has.
    """
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, function.__globals__, name, function.__defaults__, function.__closure__)
    copy.__annotations__, copy.__module__ = function.__annotations__, function.__module__
    return copy


class InjectedEmbedder(nn.Linear):
    """PET's embedding of (vector, distance) of an edge, with W features added, W zero at first.

    Parameters
    ----------
    channels
        What the embedding returns of an edge.
    width
        Number of features.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(4, channels)
        self.mix = nn.Linear(width, channels, bias=False)
        nn.init.zeros_(self.mix.weight)

    def forward(self, edges: Tensor) -> Tensor:
        """Return (atoms, neighbours, channels) of (atoms, neighbours, 3 + width + 1): vector, features, distance."""
        plain = torch.cat([edges[..., :3], edges[..., -1:]], dim=-1)
        added: Tensor = self.mix(edges[..., 3:-1])
        return F.linear(plain, self.weight, self.bias) + added


class InjectedBackend(PETBackend):  # type: ignore[misc]  # metatrain has no types
    """PET's layers, under PET's names.

    Parameters
    ----------
    hypers
        PET's.
    atomic_types
        Atomic numbers.
    injection
        What is injected; ``injection.features`` is true.
    """

    plain_features = renamed(PETBackend.calculate_features, "plain_features")

    def __init__(self, hypers: dict[str, Any], atomic_types: list[int], injection: Injection) -> None:
        super().__init__(hypers, atomic_types)
        features: list[Harmonics | Invariants] = [Harmonics(injection.harmonics)] if injection.harmonics else []
        features += [Invariants(self.cutoff, len(atomic_types))] if injection.invariants else []
        self.features = nn.ModuleList(features)
        width = sum(module.width for module in features)
        for layer in self.gnn_layers:
            layer.edge_embedder = InjectedEmbedder(self.d_pet, width)

    def calculate_features(
        self, batch_data: dict[str, Tensor], capture_diagnostics: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Do as PET does, with the features of edges behind their vectors, which only the embedding looks into."""
        edges = [batch_data["edge_vectors"]]
        for module in self.features:
            edges.append(
                module(
                    batch_data["edge_vectors"],
                    batch_data["edge_distances"],
                    batch_data["cutoff_factors"],
                    batch_data["element_indices_neighbors"],
                )
            )
        seen: dict[str, Tensor] = {}
        for name, value in batch_data.items():
            seen[name] = value
        seen["edge_vectors"] = torch.cat(edges, dim=-1)
        found: tuple[list[Tensor], list[Tensor]] = self.plain_features(seen, capture_diagnostics)
        return found
