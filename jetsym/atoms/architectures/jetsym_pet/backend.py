"""The layers of PET with injected bias: PET's own, with further features at the embedding, and heads of tensors."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from metatrain.pet.modules.backend import PETBackend, process_non_conservative_stress
from torch import Tensor, nn

from jetsym.atoms.architectures.inject import Injection

from .features import Harmonics, Invariants
from .tensor_basis import TensorHead

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


class Mix(nn.Linear):
    """A linear map without a constant, zero at first, and in an untrained copy."""

    def reset_parameters(self) -> None:
        """Set the weights to zero."""
        nn.init.zeros_(self.weight)


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
        self.mix = Mix(width, channels, bias=False)

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
        What is injected.
    """

    plain_features = renamed(PETBackend.calculate_features, "plain_features")
    plain_predict = renamed(PETBackend.predict, "plain_predict")

    def __init__(self, hypers: dict[str, Any], atomic_types: list[int], injection: Injection) -> None:
        super().__init__(hypers, atomic_types)
        features: list[Harmonics | Invariants] = [Harmonics(injection.harmonics)] if injection.harmonics else []
        features += [Invariants(self.cutoff, len(atomic_types))] if injection.invariants else []
        self.features = nn.ModuleList(features)
        self.tensor_heads = nn.ModuleDict()
        self._n_elements = len(atomic_types)
        width = sum(module.width for module in features)
        for layer in self.gnn_layers if features else ():
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
        # As in PET: of isolated atoms alone, compiled code may make integers.
        seen["edge_vectors"] = torch.cat(edges, dim=-1).to(batch_data["edge_vectors"].dtype)
        found: tuple[list[Tensor], list[Tensor]] = self.plain_features(seen, capture_diagnostics)
        return found

    def add_tensor_output(self, target_name: str, shapes: dict[str, list[int]], head: TensorHead) -> None:
        """Register a target that a head makes: PET's last layers then give the scalars that the head takes.

        Parameters
        ----------
        target_name
            Name of the target.
        shapes
            Of every block of the target, components and properties.
        head
            Of a target of these blocks.
        """
        scalars = {key: [count, shape[-1]] for (key, shape), count in zip(shapes.items(), head.scalars, strict=True)}
        self.add_output(target_name, scalars)
        self.tensor_heads[target_name] = head

    def remove_output(self, target_name: str) -> None:
        """Remove a target with all that makes it."""
        super().remove_output(target_name)
        if target_name in self.tensor_heads:
            del self.tensor_heads[target_name]

    def predict(
        self,
        node_features_list: list[Tensor],
        edge_features_list: list[Tensor],
        batch_data: dict[str, Tensor],
        cells: Tensor,
        system_indices: Tensor,
        requested_output_names: list[str],
    ) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """Do as PET does, but for targets of tensor heads, which turn PET's scalars into tensors."""
        tensors: list[str] = []
        for name, _ in self.tensor_heads.items():
            if name in requested_output_names:
                tensors.append(name)
        plain: list[str] = []
        for name in requested_output_names:
            if name not in tensors:
                plain.append(name)
        predictions, of_nodes, of_edges = self.plain_predict(
            node_features_list, edge_features_list, batch_data, cells, system_indices, plain
        )
        nodes, edges = self._calculate_atomic_predictions(
            of_nodes, of_edges, batch_data["padding_mask"], batch_data["cutoff_factors"], tensors
        )
        for name, head in self.tensor_heads.items():
            if name in tensors:
                scalars: list[Tensor] = []
                for block in range(len(nodes[name][0])):
                    total = nodes[name][0][block] + edges[name][0][block]
                    for layer in range(1, len(nodes[name])):
                        total = total + nodes[name][layer][block] + edges[name][layer][block]
                    scalars.append(total)
                found = head(scalars, batch_data)
                if name == "non_conservative_stress":
                    found[0] = process_non_conservative_stress(found[0], cells, system_indices, found[0].shape[1] // 9)
                predictions[name] = found
        return predictions, of_nodes, of_edges
