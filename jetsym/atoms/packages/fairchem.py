"""fairchem: the eSCN-MD backbone of eSEN and UMA with its heads, its graphs, and its layers by their own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import STRUCTURES, Graphs, Rows, graph
from jetsym.atoms.packages.base import GraphModel, with_volume
from jetsym.errors import DataError, ProbeError
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.representations import Kind, write_irreps

__all__ = ["Fairchem"]

#: What the backbone alone returns: features of atoms (atoms, Σ d, channels).
FEATURES = "node_embedding"
#: Layers within the backbone, and those of them whose features are (atoms, Σ d, channels).
SPHERICAL = ("edge_degree_embedding", "blocks.*", "blocks.*.norm_*", "blocks.*.edge_wise", "blocks.*.atom_wise", "norm")
LAYERS = ("sphere_embedding", "charge_embedding", "spin_embedding", "distance_expansion", *SPHERICAL)


class Fairchem(GraphModel):
    """A network of the package fairchem-core: the backbone of eSEN and UMA, with heads or alone.

    Of a predict unit it is ``unit.model.module``, before anything is merged or compiled; normalisation and reference
    energies, constants of a composition, stay outside. Charge and spin are those of ``atoms.info``, else 0; the task of
    a network that has several is ``atoms.info["task_name"]``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.backbone: Any = getattr(module, "backbone", module)
        if not hasattr(self.backbone, "lmax"):
            raise ProbeError(
                f"the {type(self.backbone).__name__} of fairchem has no spherical channels; the backbone of eSEN and "
                "UMA is read: measure its FAIRChemCalculator instead"
            )
        channels = int(self.backbone.sphere_channels)
        inner = "backbone." if self.backbone is not module else ""
        self.layers = [f"{inner}{name}" for name in LAYERS]
        self.irreps = {f"{inner}{name}": self._law(channels) for name in SPHERICAL}
        self.tasks = sorted(getattr(self.backbone, "dataset_mapping", None) or {})
        config = self.backbone.regress_config
        has = {"energy": True, "forces": config.forces, "stress": config.stress}
        of_all: dict[str, Kind] = {"energy": "scalar", "forces": "vector", "stress": "rank2"}
        self.kinds = {name: kind for name, kind in of_all.items() if has[name]}
        if not inner:
            self.kinds = {FEATURES: self._law(1)}

    def _law(self, channels: int) -> str:
        """Return so many of each irrep, with the parity of spherical harmonics."""
        return write_irreps([(channels, Irrep(lam, 1)) for lam in range(int(self.backbone.lmax) + 1)])

    @property
    @override
    def cutoff(self) -> float:
        return float(self.backbone.cutoff)

    @override
    def graphs(self, frames: Sequence[Any]) -> Graphs:
        charges, spins, tasks = [], [], []
        for index, frame in enumerate(frames):
            task = frame.info.get("task_name", self.tasks[0] if len(self.tasks) == 1 else None)
            if self.tasks and task not in self.tasks:
                raise DataError(
                    f"structure {index} ({frame.get_chemical_formula()}) is of task {task!r}; set its "
                    f"info['task_name'] to one of {', '.join(self.tasks)}"
                )
            charges.append(int(frame.info.get("charge", 0)))
            spins.append(int(frame.info.get("spin", 0)))
            tasks.append(self.tasks.index(task) if self.tasks else 0)
        own = {"charge": charges, "spin": spins, "task": tasks}
        rows = {name: Rows(torch.as_tensor(values), STRUCTURES) for name, values in own.items()}
        return graph(frames, self.cutoff).with_rows({}, rows)

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        data = import_module("fairchem.core.datasets.atomic_data")
        zeros = torch.zeros_like(graphs.numbers)
        tasks = [self.tasks[task] for task in graphs.more["task"].values.tolist()] if self.tasks else None
        batch = data.AtomicData(
            pos=graphs.positions.detach().clone(),
            atomic_numbers=graphs.numbers.clone(),
            cell=with_volume(graphs),
            pbc=graphs.periodic,
            natoms=torch.as_tensor(graphs.sizes, device=graphs.device),
            edge_index=graphs.edge_index.flip(0).contiguous(),
            cell_offsets=graphs.shifts,
            nedges=torch.as_tensor(graphs.pairs, device=graphs.device),
            charge=graphs.more["charge"].values,
            spin=graphs.more["spin"].values,
            fixed=zeros,
            tags=zeros,
            batch=graphs.batch,
            sid=[""] * len(graphs),
            dataset=tasks,
        )
        with self._on_graphs():
            found = _by_last_name(self.module(batch))
        if FEATURES in self.kinds:
            return {FEATURES: found[FEATURES].mT}
        shapes = {"energy": (-1,), "forces": (-1, 3), "stress": (-1, 3, 3)}
        return {name: found[name].reshape(shapes[name]).to(graphs.dtype) for name in self.kinds}

    @contextmanager
    def _on_graphs(self) -> Iterator[None]:
        """Let the backbone take the pairs that it is given."""
        before, self.backbone.otf_graph = self.backbone.otf_graph, False
        try:
            yield
        finally:
            self.backbone.otf_graph = before


def _by_last_name(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of dictionaries within dictionaries by their last names."""
    flat: dict[str, Tensor] = {}
    for name, value in found.items():
        inner = _by_last_name(value) if isinstance(value, Mapping) else {name: value}
        if twice := [key for key in inner if key in flat]:
            raise ProbeError(f"several heads of the network give {twice[0]!r}; give its calculator of one task")
        flat |= inner
    return flat
