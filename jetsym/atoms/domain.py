"""Structures of atoms as a domain of the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from jetsym.atoms.graphs import Graphs
from jetsym.atoms.model import Model
from jetsym.atoms.model import load as load_potential
from jetsym.atoms.packages.base import GraphModel
from jetsym.atoms.packages.table import is_of_package, wrapped
from jetsym.atoms.read import frames_of
from jetsym.atoms.structures import Structures
from jetsym.domains.base import Domain, Measurand, Source
from jetsym.errors import ProbeError

__all__ = ["ATOMS", "Atoms"]

#: Pairs of neighbours that main memory should hold at once: a PET of the usual size needs some 12 kB for each.
PAIRS_AT_ONCE = 2**17


class Atoms(Domain):
    """Molecules and crystals, which models of metatrain and networks on graphs take with lists of neighbours."""

    notes = ("Positions, cell and the vectors of the neighbour lists move together; the lists are built once.",)
    lab_note = "The group acts on whole structures."
    reach = "structures of atoms move under group='O3', 'SO3' or 'SO2' (about x, y or z)"

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Structures | Graphs:
        if isinstance(source, Structures | Graphs):
            return source[:limit]
        if isinstance(model, GraphModel):
            return model.structures(source, limit=limit)
        if not isinstance(model, Model):
            raise ProbeError(
                f"model is a {type(model).__name__}, which says nothing of the neighbour lists it needs; expected a "
                "model of metatrain, a .ckpt or a .pt file"
            )
        return model.structures(frames_of(source, limit=limit))

    @override
    def load_model(self, path: str | Path) -> Model:
        return load_potential(path)

    @override
    def prepare(self, model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
        """Return a model that takes structures, with the outputs that it declares."""
        if not isinstance(model, nn.Module):
            return super().prepare(model, outputs)
        known: Any = model
        if not isinstance(model, Model | GraphModel):
            is_metatrain = hasattr(model, "dataset_info") or callable(getattr(model, "capabilities", None))
            known = (Model if is_metatrain and not is_of_package(model) else wrapped)(model).train(model.training)
        return Measurand(known, {**known.kinds, **(outputs or {})}, known.notes)

    @override
    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Structures | Graphs, Sequence[Source]]:
        """Refuse: no source of broken symmetry is known of structures."""
        self.refuse("attribution")

    @override
    def batches(self, inputs: Structures | Graphs) -> list[slice]:
        """Return every structure by itself, as each has its own number of atoms."""
        return [slice(index, index + 1) for index in range(len(inputs))]

    @override
    def max_evaluations(self, inputs: Structures | Graphs) -> int:
        """Return how many evaluations main memory holds, by the pairs; accelerators say when their memory is full."""
        if inputs.device.type != "cpu":
            return super().max_evaluations(inputs)
        return max(1, PAIRS_AT_ONCE // max(1, *inputs.pairs))

    @override
    def move(self, inputs: Structures | Graphs, matrices: Any) -> Structures | Graphs:
        return inputs.moved(matrices)

    @override
    def to(self, inputs: Structures | Graphs, *, device: Any, dtype: Any) -> Structures | Graphs:
        return inputs.to(device=device, dtype=dtype)

    @override
    def mask(self, inputs: Structures | Graphs) -> Any:
        """Return True for all atoms: inputs are batches of equally many."""
        atoms = inputs.sizes[0]
        return torch.ones((len(inputs), atoms), dtype=torch.bool, device=inputs.device)

    @override
    def rearrange(self, inputs: Structures, places: Any) -> Structures:
        return inputs.rearranged(places)


ATOMS = Atoms()
