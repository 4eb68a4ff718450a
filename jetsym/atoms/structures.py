"""Batches of structures with their neighbour lists, and how O(3) acts on them.

Neighbour lists are built once. Rotating a structure rotates positions, cell and the vectors of its pairs; the pairs and
their order stay, so that features of pairs can be followed along an orbit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from jetsym.annotations import Kind
from jetsym.arguments import among, checked, placed, shaped
from jetsym.atoms.frames import expect_usable
from jetsym.atoms.packages import quiet
from jetsym.errors import DataError, ProbeError, require

if TYPE_CHECKING:
    from ase import Atoms
    from metatomic.torch import NeighborListOptions, System

__all__ = ["Structures"]

#: What they are made of.
SYSTEMS = Kind(
    lambda value: isinstance(value, tuple | list) and all(hasattr(system, "positions") for system in value),
    "systems of metatomic",
)
#: Pairs this close to the cutoff, relative to it, are left out: rounding would let them come and go along an orbit.
MARGIN = 1e-6


@checked(DataError, systems=SYSTEMS, rank=among(0, 1))
@dataclass(frozen=True, eq=False)
class Structures:
    """A batch of structures.

    Parameters
    ----------
    systems
        What metatomic's models take, with all neighbour lists that the model asks for.
    rank
        1 where a structure must have a volume for its stress to count: one of those that it was built with has.
    """

    systems: tuple[System, ...]
    rank: int = 0

    @classmethod
    def build(cls, frames: Sequence[Atoms], neighbor_lists: Sequence[NeighborListOptions]) -> Structures:
        """Return structures of ASE frames in float64, with neighbour lists; lengths in the unit of the frames (Å)."""
        if not len(frames):
            raise DataError("frames are none; expected at least one structure")
        for index, frame in enumerate(frames):  # what lists of neighbours end the process over, or never end over
            expect_usable(frame, f"structure {index}")
        with quiet():
            to_systems = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms").systems_to_torch
            systems = to_systems(list(frames), torch.float64)
            built = cls(tuple(_with_pairs(system, neighbor_lists) for system in systems))
            return replace(built, rank=int(built._ranks().max()))

    def __len__(self) -> int:
        return len(self.systems)

    def __getitem__(self, selection: slice) -> Structures:
        return replace(self, systems=self.systems[selection])

    @property
    def sizes(self) -> list[int]:
        """Number of atoms of every structure."""
        return [len(system) for system in self.systems]

    @property
    def with_stress(self) -> Tensor:
        """(structures,) bool of those whose stress is of the same kind as that of most periodic ones."""
        return self._ranks() >= self.rank

    def _ranks(self) -> Tensor:
        """Return how far each has a stress; metatomic takes cells along periodic directions alone."""
        return torch.stack([(system.cell.detach().det() != 0).int() for system in self.systems])

    @property
    def pairs(self) -> list[int]:
        """Number of pairs of neighbours in every structure, in its largest neighbour list."""
        lists = [[system.get_neighbor_list(o) for o in system.known_neighbor_lists()] for system in self.systems]
        return [max([0, *(len(found.values) for found in each)]) for each in lists]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the positions."""
        return cast("torch.dtype", self.systems[0].positions.dtype)

    @property
    def device(self) -> torch.device:
        """Where the positions are."""
        return cast("torch.device", self.systems[0].positions.device)

    @checked(DataError, device=placed)
    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> Structures:
        """Return the same on a device and in a floating-point type (None: as they are)."""
        place, kind = device or self.device, dtype or self.dtype
        return replace(self, systems=tuple(system.to(dtype=kind, device=place) for system in self.systems))

    @checked(DataError, matrices=shaped("...", 3, 3))
    def moved(self, matrices: Any) -> Structures:
        """Move every structure by n elements of O(3), (n, 3, 3), or (n, samples, 3, 3) of its own.

        Returns
        -------
        Structures
            n · samples of them, element by element.
        """
        elements = torch.as_tensor(matrices).to(self.systems[0].positions)
        if elements.ndim == 3:
            elements = elements[:, None].expand(-1, len(self), -1, -1)
        columns = [_copies(system, elements[:, place]) for place, system in enumerate(self.systems)]
        return replace(self, systems=tuple(system for row in zip(*columns, strict=True) for system in row))

    def rearranged(self, places: Any) -> Structures:
        """Return structures with their atoms in another order, places (samples, atoms) being those they come from."""
        order = torch.as_tensor(np.array(places), device=self.device)
        systems = tuple(_in_order(system, own) for system, own in zip(self.systems, order, strict=True))
        return replace(self, systems=systems)


def _in_order(system: System, places: Tensor) -> System:
    """Return a structure with other numbers of its atoms, in its lists of neighbours as well."""
    package = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms")
    torch_blocks = require("metatensor.torch", extra="atoms", purpose="jetsym.atoms")
    if known := system.known_data():
        raise ProbeError(f"whether {', '.join(known)} of a structure belongs to its atoms is not known; leave it out")
    copy = package.System(system.types[places], system.positions[places], system.cell, system.pbc)
    new = torch.argsort(places).to(torch.int32)
    for options in system.known_neighbor_lists():
        pairs = system.get_neighbor_list(options)
        values = pairs.samples.values.clone()
        for end in ("first_atom", "second_atom"):
            column = pairs.samples.names.index(end)
            values[:, column] = new[values[:, column].long()].to(values.dtype)
        labels = torch_blocks.Labels(pairs.samples.names, values)
        copy.add_neighbor_list(
            options, torch_blocks.TensorBlock(pairs.values, labels, pairs.components, pairs.properties)
        )
    return copy


def _copies(system: System, elements: Tensor) -> list[System]:
    """Return a structure under elements (n, 3, 3)."""
    from jetsym.atoms.copies import copies  # which needs the extra

    options = system.known_neighbor_lists()
    pairs = [system.get_neighbor_list(one) for one in options]
    moved: list[System] = copies(
        system.types,
        system.positions @ elements.mT,
        system.cell @ elements.mT,
        system.pbc,
        options,
        [(one.values[..., 0] @ elements.mT)[..., None] for one in pairs],
        pairs,
    )
    for name in system.known_data():  # such as the total charge, which is invariant
        for copy in moved:
            copy.add_data(name, system.get_data(name))
    return moved


def _with_pairs(system: System, neighbor_lists: Sequence[NeighborListOptions]) -> System:
    """Return a structure with its neighbour lists, without pairs at the very cutoff."""
    lists = require("metatrain.utils.neighbor_lists", extra="atoms", purpose="jetsym.atoms")
    torch_blocks = require("metatensor.torch", extra="atoms", purpose="jetsym.atoms")
    full = lists.get_system_with_neighbor_lists(system, list(neighbor_lists))
    result = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms").System(
        full.types, full.positions, full.cell, full.pbc
    )
    for options in neighbor_lists:
        pairs = full.get_neighbor_list(options)
        vectors = pairs.values.detach()
        kept = vectors[..., 0].norm(dim=1) < options.cutoff * (1 - MARGIN)
        labels = torch_blocks.Labels(pairs.samples.names, pairs.samples.values[kept])
        block = torch_blocks.TensorBlock(vectors[kept], labels, pairs.components, pairs.properties)
        result.add_neighbor_list(options, block)
    return result
