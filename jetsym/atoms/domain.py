"""Structures of atoms as a domain of the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import override

from jetsym.atoms.model import Model
from jetsym.atoms.model import load as load_potential
from jetsym.atoms.read import frames_of
from jetsym.atoms.structures import Structures
from jetsym.domains.base import Domain, Measurand, Source
from jetsym.errors import ProbeError

__all__ = ["ATOMS", "Atoms"]

#: Pairs of neighbours that main memory should hold at once: a PET of the usual size needs some 12 kB for each.
PAIRS_AT_ONCE = 2**17


class Atoms(Domain):
    """Molecules and crystals, which models of metatrain take with neighbour lists."""

    notes = ("Positions, cell and the vectors of the neighbour lists move together; the lists are built once.",)
    lab_note = "The group acts on whole structures."
    reach = "structures of atoms move under group='O3', 'SO3' or 'SO2' (about x, y or z)"

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Structures:
        if isinstance(source, Structures):
            return source[:limit]
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
        known = model if isinstance(model, Model) else Model(model).train(model.training)
        return Measurand(known, {**known.kinds, **(outputs or {})}, known.notes)

    @override
    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Structures, Sequence[Source]]:
        """Refuse: no source of broken symmetry is known of structures."""
        self.refuse("attribution")

    @override
    def batches(self, inputs: Structures) -> list[slice]:
        """Return every structure by itself, as each has its own number of atoms."""
        return [slice(index, index + 1) for index in range(len(inputs))]

    @override
    def max_evaluations(self, inputs: Structures) -> int:
        """Return how many evaluations main memory holds, by the pairs; accelerators say when their memory is full."""
        if inputs.device.type != "cpu":
            return super().max_evaluations(inputs)
        return max(1, PAIRS_AT_ONCE // max(1, *inputs.pairs))

    @override
    def move(self, inputs: Structures, matrices: Any) -> Structures:
        return inputs.moved(matrices)

    @override
    def to(self, inputs: Structures, *, device: Any, dtype: Any) -> Structures:
        return inputs.to(device=device, dtype=dtype)

    @override
    def mask(self, inputs: Structures) -> Any:
        """Return True for all atoms: inputs are batches of equally many."""
        atoms = inputs.sizes[0]
        return inputs.systems[0].types.new_ones((len(inputs), atoms)).bool()

    @override
    def rearrange(self, inputs: Structures, places: Any) -> Structures:
        return inputs.rearranged(places)


ATOMS = Atoms()
