"""CHGNet: its graphs of atoms, bonds and angles, its outputs, and its layers by their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import ATOMS, EDGES, Graphs, Rows, with_edges
from jetsym.atoms.packages.base import GraphModel
from jetsym.errors import DataError

__all__ = ["CHGNet"]

#: What its graphs have beside atoms and edges: bonds, which are two edges each, and angles, two bonds of an atom.
BONDS, ANGLES = "bonds", "angles"
#: A name of a graph's own arrays -> the array of its CrystalGraph, which columns, and what these point into.
ARRAYS: Mapping[str, tuple[str, Any, str, str]] = {
    "directed2undirected": ("directed2undirected", ..., EDGES, BONDS),
    "undirected2directed": ("undirected2directed", ..., BONDS, EDGES),
    "angle_atoms": ("bond_graph", (slice(None), 0), ANGLES, ATOMS),
    "angle_bonds": ("bond_graph", (slice(None), [1, 3]), ANGLES, BONDS),
    "angle_edges": ("bond_graph", (slice(None), [2, 4]), ANGLES, EDGES),
}
#: GPa in an eV/Å³, as the package has it.
GPA = 160.21766208


class CHGNet(GraphModel):
    """A network of the package chgnet (``CHGNet.load()``).

    Its own converter makes the graphs. The energy is that of a structure, without the composition model. The stress is
    in eV/Å³, over the volume as the network takes it, with its sign: a · (b × c).
    """

    outputs = {  # noqa: RUF012
        "energy": "scalar",
        "energies": "scalar",
        "forces": "vector",
        "stress": "rank2",
        "magmoms": "scalar",
    }
    layers = (
        "atom_embedding",
        "bond_basis_expansion",
        "angle_basis_expansion",
        "bond_embedding",
        "angle_embedding",
        "bond_weights_*",
        "atom_conv_layers.*",
        "bond_conv_layers.*",
        "angle_layers.*",
        "readout_norm",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._has_sites = bool(module.mlp_first)
        if not self._has_sites:
            del self.kinds["energies"]
        self.notes = ("Energies are without the composition model.",)

    @property
    @override
    def cutoff(self) -> float:
        return float(self.module.graph_converter.atom_graph_cutoff)

    @override
    def graphs(self, frames: Sequence[Any]) -> Graphs:
        """Return the graphs that its converter makes of frames, which are to be periodic along all cell vectors."""
        for index, frame in enumerate(frames):
            if not frame.pbc.all() or frame.cell.rank < 3:
                raise DataError(
                    f"structure {index} ({frame.get_chemical_formula()}) is not periodic in three directions; CHGNet "
                    "takes crystals only: put it into a large periodic cell"
                )
        adaptor = import_module("pymatgen.io.ase").AseAtomsAdaptor
        crystals = [self.module.graph_converter(adaptor.get_structure(frame)) for frame in frames]
        pairs = [crystal.atom_graph.reshape(-1, 2).long() for crystal in crystals]
        shifts = [crystal.neighbor_image.reshape(-1, 3).double() for crystal in crystals]
        plain = with_edges(frames, pairs, shifts)
        counts = {
            BONDS: [len(crystal.undirected2directed) for crystal in crystals],
            ANGLES: [len(crystal.bond_graph) for crystal in crystals],
        }
        more = {}
        for name, (array, columns, of, into) in ARRAYS.items():
            each = [getattr(crystal, array).long() for crystal in crystals]
            each = [values.reshape(-1, 5) if array == "bond_graph" else values for values in each]
            counted = plain.counts[into] if into in plain.counts else counts[into]
            first = np.cumsum([0, *counted[:-1]]).tolist()
            found = torch.cat([values[columns] + start for values, start in zip(each, first, strict=True)])
            more[name] = Rows(found, of, into)
        return plain.with_rows(counts, more)

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        package, module = import_module("chgnet.model.model"), self.module
        strain = torch.zeros_like(graphs.cells).requires_grad_()
        stretched = torch.eye(3, dtype=graphs.dtype, device=graphs.device) + strain
        positions = (graphs.positions[:, None] @ stretched[graphs.batch])[:, 0]
        centre, neighbour = graphs.edge_index
        more = {name: rows.values for name, rows in graphs.more.items()}
        radial, radial_of_angles, vectors = module.bond_basis_expansion(
            center=positions[centre],
            neighbor=positions[neighbour],
            undirected2directed=more["undirected2directed"],
            image=(graphs.offsets[:, None] @ stretched[graphs.batch[centre]])[:, 0],
            lattice=torch.eye(3, dtype=graphs.dtype, device=graphs.device),
        )
        first, second = more["angle_edges"].T
        angles = module.angle_basis_expansion(vectors[first], vectors[second]) if len(first) else torch.tensor([])
        found = module._compute(
            package.BatchedGraph(
                atomic_numbers=graphs.numbers,
                bond_bases_ag=radial,
                bond_bases_bg=radial_of_angles,
                angle_bases=angles,
                batched_atom_graph=graphs.edge_index.T,
                batched_bond_graph=torch.cat([more["angle_atoms"][:, None], more["angle_bonds"]], dim=1),
                atom_owners=graphs.batch,
                directed2undirected=more["directed2undirected"],
                atom_positions=[positions],
                strains=[strain],
                volumes=graphs.cells.det().reshape(1, -1, 1, 1),
            ),
            compute_force=True,
            compute_stress=True,
            compute_magmom=True,
            return_site_energies=self._has_sites,
        )
        per_structure = torch.as_tensor(graphs.sizes, device=graphs.device) if module.is_intensive else 1
        outputs = {
            "energy": found["e"] * per_structure,
            "forces": found["f"][0],
            "stress": found["s"][0] / GPA,
            "magmoms": torch.cat(found["m"]),
        }
        return outputs | ({"energies": torch.cat(found["site_energies"])} if self._has_sites else {})
