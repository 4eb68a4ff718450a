"""NequIP and Allegro: their graphs, their outputs, and their layers, which are modules of a sequence by their names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import Graphs
from jetsym.atoms.packages.base import GraphModel, per_structure, per_volume
from jetsym.errors import ProbeError

__all__ = ["NequIP"]

#: The sequence of its layers, within what differentiates the energy.
SEQUENCE = "model.func"


class NequIP(GraphModel):
    """A network of the packages nequip and nequip-allegro, not compiled, whose types are elements.

    Energies are without the shifts of the types, which are constants of a structure.
    """

    outputs = {"energy": "scalar", "energies": "scalar", "forces": "vector", "stress": "rank2"}  # noqa: RUF012
    hands_on = True
    layers = (f"{SEQUENCE}.*",)
    without = (f"{SEQUENCE}.per_type_energy_scale_shift", f"{SEQUENCE}.total_energy_sum")

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        types, elements = getattr(module, "type_names", ()), import_module("ase.data").atomic_numbers
        if not types or any(name not in elements for name in types):
            raise ProbeError(
                f"the {self.name} of nequip has types {', '.join(types) or 'of no name'}; networks whose types are "
                "elements are read, as a model is built: measure its NequIPCalculator instead"
            )
        self.numbers = [elements[name] for name in types]
        self.notes = ("Energies are without the shifts of the types.",)

    @property
    @override
    def cutoff(self) -> float:
        return float(self.module.metadata["r_max"])

    @property
    @override
    def atomic_types(self) -> Sequence[int]:
        return self.numbers

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        """Return what the network does: positions are of float64 to it, whatever its weights are."""
        wide = graphs.to(dtype=torch.float64)
        known = torch.as_tensor(self.numbers, device=graphs.device)
        types = (graphs.numbers[:, None] == known).long().argmax(dim=1)
        data = {
            "pos": wide.positions.detach().clone(),
            "cell": wide.cells,
            "edge_index": graphs.edge_index.contiguous(),
            "edge_cell_shift": wide.shifts,
            "atom_types": types,
            "batch": graphs.batch,
            "num_atoms": torch.as_tensor(graphs.sizes, device=graphs.device),
        }
        strain = torch.zeros_like(wide.cells)  # what it differentiates by, before the first layer
        self._given = {**data, "_displacement": strain if len(graphs) > 1 else strain[0]}
        found = self.module(data)
        shifts = torch.zeros_like(found["atomic_energy"])
        for name, each in self.module.named_modules():
            if name in self.without and getattr(each, "has_shifts", False):
                shifts = shifts + (each.shifts[types] if each.shifts.numel() > 1 else each.shifts)
        energies, total = found["atomic_energy"] - shifts, found["total_energy"].reshape(-1)
        virial = found["virial"] / per_volume(wide)[:, None, None]
        return {
            "energy": total - per_structure(graphs, shifts.reshape(-1).to(total.dtype)),
            "energies": energies.reshape(-1),
            "forces": found["forces"],
            "stress": -virial,
        }
