"""Orb: its graphs of nearest neighbours, its outputs, and its layers by their own names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import STRUCTURES, Graphs, Rows, with_edges
from jetsym.atoms.packages.base import GraphModel, full_stress, with_volume
from jetsym.errors import DataError, ProbeError
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.representations import write_irreps

__all__ = ["Orb"]

#: The components of its stress.
ORDER = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
#: Its one-hot marks of elements.
ELEMENTS = 118


class Orb(GraphModel):
    """A network of the package orb-models: a regressor whose forces are a gradient, or direct ones.

    Its own search finds the nearest neighbours of every atom. Energies are without its references, constants of a
    structure. Charge and spin, where it asks for them, are those of ``atoms.info``, else 0.
    """

    layers = ("model._encoder", "model.gnn_stacks.*", "model.angular_transform", "model.rbf_transform", "heads.*")

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        if not (hasattr(module, "heads") and getattr(module, "system_config", None)):
            raise ProbeError(
                f"the {self.name} of orb_models has no heads or no system_config; build it as "
                "orb_models.forcefield.pretrained does, with system_config=…"
            )
        network: Any = module
        heads, is_gradient = network.heads, hasattr(module, "grad_forces_name")
        self.energy = getattr(module, "energy_name", None) or _named(heads, "energy")
        self.forces = network.grad_forces_name if is_gradient else _named(heads, "forces")
        self.stress = network.grad_stress_name if is_gradient else _named(heads, "stress")
        known = {self.energy: ("energy", "scalar"), self.forces: ("forces", "vector"), self.stress: ("stress", "rank2")}
        self.kinds = {name: kind for own, (name, kind) in known.items() if own is not None}
        self.notes = ("Energies are without the references of the elements.",)
        harmonics = network.model.angular_transform
        if isinstance(l_max := getattr(harmonics, "_lmax", None), int):
            self.irreps = {"model.angular_transform": write_irreps([(1, Irrep(lam, 1)) for lam in range(l_max + 1)])}

    @property
    @override
    def cutoff(self) -> float:
        return float(self.module.system_config.radius)

    @override
    def graphs(self, frames: Sequence[Any]) -> Graphs:
        """Return the graphs that its own search makes of frames: so many nearest neighbours within the cutoff."""
        search, config = import_module("orb_models.forcefield.atomic_system"), self.module.system_config
        pairs, shifts = [], []
        for index, frame in enumerate(frames):
            if frame.pbc.any() and not frame.pbc.all():
                raise DataError(
                    f"structure {index} ({frame.get_chemical_formula()}) is periodic in some directions only; Orb "
                    "takes crystals and molecules: put it into a periodic cell with a vacuum"
                )
            bare = type(frame)(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
            found = search.ase_atoms_to_atom_graphs(
                bare,
                config,
                wrap=False,
                device=torch.device("cpu"),
                output_dtype=torch.float64,
                graph_construction_dtype=torch.float64,
            )
            pairs.append(torch.stack([found.senders, found.receivers], dim=1))
            shifts.append(found.edge_features["unit_shifts"])
        of_frames = {
            name: Rows(torch.tensor([float(frame.info.get(key, 0)) for frame in frames]), STRUCTURES)
            for name, key in (("total_charge", "charge"), ("total_spin", "spin"))
        }
        return with_edges(frames, pairs, shifts).with_rows({}, of_frames)

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        base = import_module("orb_models.forcefield.base")
        senders, receivers = graphs.edge_index
        sizes = torch.as_tensor(graphs.sizes, device=graphs.device)
        batch = base.AtomGraphs(
            senders=senders,
            receivers=receivers,
            n_node=sizes,
            n_edge=torch.as_tensor(graphs.pairs, device=graphs.device),
            node_features={
                "positions": graphs.positions.detach().clone(),
                "atomic_numbers": graphs.numbers,
                "atomic_numbers_embedding": nn.functional.one_hot(graphs.numbers, ELEMENTS).to(graphs.dtype),
            },
            edge_features={"vectors": graphs.vectors.detach(), "unit_shifts": graphs.shifts},
            system_features={
                "cell": with_volume(graphs),
                "pbc": graphs.periodic,
                **{name: rows.values for name, rows in graphs.more.items()},
            },
            node_targets=None,
            edge_targets=None,
            system_targets=None,
            system_id=None,
            fix_atoms=None,
            tags=None,
            radius=self.cutoff,
            max_num_neighbors=torch.full_like(sizes, self.module.system_config.max_num_neighbors),
        )
        found = self.module.predict(batch)
        references = self.module.heads[self.energy].reference(graphs.numbers, sizes)
        arrays = {"energy": found[self.energy].reshape(-1) - references}
        if self.forces:
            arrays["forces"] = found[self.forces]
        if self.stress:
            arrays["stress"] = full_stress(found[self.stress], ORDER)
        return {name: array.to(graphs.dtype) for name, array in arrays.items()}


def _named(heads: nn.ModuleDict, name: str) -> str | None:
    """Return the name of the head of a property, with its level of theory where it has one."""
    return next((each for each in heads if each.partition("-")[0] == name), None)
