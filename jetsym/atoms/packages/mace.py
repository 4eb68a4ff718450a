"""MACE: its graphs, its outputs, and its layers by their own names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import Graphs
from jetsym.atoms.packages.base import GraphModel, per_structure, per_volume
from jetsym.errors import ProbeError

__all__ = ["MACE"]


class MACE(GraphModel):
    """A network of the package mace-torch that has an energy.

    Energies are without those of isolated atoms, which are constants of a structure. Of a network with several heads
    the first is read.
    """

    outputs = {"energy": "scalar", "energies": "scalar", "forces": "vector", "stress": "rank2"}  # noqa: RUF012
    layers = (
        "node_embedding",
        "spherical_harmonics",
        "radial_embedding",
        "interactions.*",
        "products.*",
        "readouts.*",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        if not hasattr(module, "atomic_energies_fn"):
            raise ProbeError(
                f"the {self.name} of mace has no energies of atoms; networks with an energy are read: measure its "
                "calculator instead"
            )
        self.notes = ("Energies are without those of isolated atoms.",)
        if len(heads := getattr(module, "heads", None) or [""]) > 1:
            self.notes += (f"Of its heads {', '.join(map(str, heads))} the first was read.",)

    @property
    @override
    def cutoff(self) -> float:
        return float(self.module.r_max)

    @property
    @override
    def atomic_types(self) -> Sequence[int]:
        return [int(number) for number in self.module.atomic_numbers]

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        numbers = self.module.atomic_numbers.to(graphs.device)
        sizes = torch.as_tensor([0, *graphs.sizes], device=graphs.device)
        attributes = (graphs.numbers[:, None] == numbers).to(graphs.dtype)
        found = self.module(
            {
                "positions": graphs.positions.detach().clone(),
                "cell": graphs.cells.reshape(-1, 3),
                "unit_shifts": graphs.shifts,
                "shifts": graphs.offsets,
                "edge_index": graphs.edge_index,
                "batch": graphs.batch,
                "ptr": sizes.cumsum(0),
                "node_attrs": attributes,
                "head": torch.zeros_like(sizes[1:]),
            },
            compute_virials=True,
            compute_stress=True,
        )
        isolated = self.module.atomic_energies_fn(attributes)
        isolated = (isolated[:, 0] if isolated.ndim > 1 else isolated).to(graphs.dtype)
        return {
            "energy": found["energy"] - per_structure(graphs, isolated),
            "energies": found["node_energy"] - isolated,
            "forces": found["forces"],
            "stress": -found["virials"] / per_volume(graphs)[:, None, None],
        }
