"""Graphs of structures as plain tensors, built once, and how O(3) acts on them.

Networks on atoms take positions, cells, and pairs of neighbours. The pairs are found once; moving a structure moves
positions and cell, and leaves the pairs and their order as they are, so that what belongs to a pair can be followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jetsym.arguments import anything, checked, placed, shaped
from jetsym.atoms.frames import stress_rank
from jetsym.atoms.read import frames_of
from jetsym.atoms.structures import MARGIN
from jetsym.errors import DataError, expect_a, is_positive, require

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["ATOMS", "EDGES", "STRUCTURES", "Graphs", "Rows", "graph", "with_edges"]

#: What rows of an array may belong to, in every graph; networks may need more, such as angles.
STRUCTURES, ATOMS, EDGES = "structures", "atoms", "edges"


class Rows(NamedTuple):
    """An array with a row for each atom, edge, … of all structures, those of a structure together.

    Parameters
    ----------
    values
        (rows, …).
    of
        What the rows belong to: a key of :attr:`Graphs.counts`, or "structures".
    into
        What they point into, where they are indices; None where they are not.
    """

    values: Tensor
    of: str
    into: str | None = None


@checked(DataError)
@dataclass(frozen=True, eq=False)
class Graphs:
    """A batch of structures with their pairs of neighbours, as tensors that move together.

    The vector of an edge from i to j is r_j − r_i + shift · cell.

    Parameters
    ----------
    positions
        (atoms, 3) of all structures, in the unit of the frames (Å).
    cells
        (structures, 3, 3), rows are the cell's vectors.
    periodic
        (structures, 3) bool.
    with_stress
        (structures,) bool of those whose stress counts: of the highest :func:`~jetsym.atoms.frames.stress_rank` there
        is among the structures that the batch was built with.
    numbers
        (atoms,) atomic numbers.
    edge_index
        (2, edges): i, the centre, and j, its neighbour.
    shifts
        (edges, 3) whole numbers of cell vectors, as floating-point numbers.
    batch
        (atoms,) the structure of each atom.
    counts
        "atoms", "edges", and whatever a network has beside, such as "angles" -> how many each structure has.
    more
        Name -> what a network takes beside.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase.build")
    >>> graphs = graph([ase.bulk("Cu", cubic=True), ase.molecule("H2O")], 3.0)
    >>> graphs.counts, graphs.vectors.norm(dim=1).max().item() < 3.0
    ({'atoms': (4, 3), 'edges': (48, 6)}, True)
    """

    positions: Tensor
    cells: Tensor
    periodic: Tensor
    with_stress: Tensor
    numbers: Tensor
    edge_index: Tensor
    shifts: Tensor
    batch: Tensor
    counts: Mapping[str, tuple[int, ...]]
    more: Mapping[str, Rows] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, selection: slice) -> Graphs:
        """Return some of the structures that follow each other."""
        expect_a("the selection of structures", selection, slice, DataError)
        start, stop, step = selection.indices(len(self))
        if step != 1:
            raise DataError(f"structures {selection} of graphs do not follow each other; expected a step of 1")
        stop = max(start, stop)

        def some(rows: Rows) -> Rows:
            values = rows.values[self._before(rows.of, start) : self._before(rows.of, stop)]
            return rows._replace(values=values if rows.into is None else values - self._before(rows.into, start))

        counts = {name: each[start:stop] for name, each in self.counts.items()}
        return self._of({name: some(rows) for name, rows in self._rows().items()}, counts)

    @property
    def sizes(self) -> list[int]:
        """Number of atoms of every structure."""
        return list(self.counts[ATOMS])

    @property
    def pairs(self) -> list[int]:
        """Number of edges of every structure."""
        return list(self.counts[EDGES])

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the positions."""
        return self.positions.dtype

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.positions.device

    @property
    def vectors(self) -> Tensor:
        """(edges, 3) r_j − r_i + shift · cell."""
        centre, neighbour = self.edge_index
        return self.positions[neighbour] - self.positions[centre] + self.offsets

    @property
    def offsets(self) -> Tensor:
        """(edges, 3) shift · cell."""
        return torch.einsum("ea,eab->eb", self.shifts, self.cells[self.batch[self.edge_index[0]]])

    @property
    def volumes(self) -> Tensor:
        """(structures,) volumes of the cells, 0 where there is none."""
        return self.cells.det().abs()

    def rows_of(self, name: str) -> int:
        """Return how many rows all structures together have of something."""
        return len(self) if name == STRUCTURES else sum(self.counts[name])

    def with_rows(self, counts: Mapping[str, Sequence[int]], more: Mapping[str, Rows]) -> Graphs:
        """Return the same with further rows, which are repeated, selected and counted as edges are."""
        return replace(
            self,
            counts={**self.counts, **{name: tuple(each) for name, each in counts.items()}},
            more={**self.more, **more},
        )

    @checked(DataError, device=placed)
    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> Graphs:
        """Return the same on a device and in a floating-point type (None: as they are)."""

        def placed(rows: Rows) -> Rows:
            kind = dtype if rows.values.is_floating_point() else None
            return rows._replace(values=rows.values.to(device=device, dtype=kind))

        return self._of({name: placed(rows) for name, rows in self._rows().items()}, self.counts)

    @checked(DataError, matrices=shaped("...", 3, 3))
    def moved(self, matrices: Any) -> Graphs:
        """Move every structure by n elements of O(3), (n, 3, 3), or (n, samples, 3, 3) of its own.

        A crystal that is inverted keeps the handedness of its cell: −a, −b, −c span the lattice of a, b, c, with the
        shifts of the pairs turned round.

        Returns
        -------
        Graphs
            n · samples structures, element by element.

        Examples
        --------
        >>> import pytest
        >>> ase = pytest.importorskip("ase.build")
        >>> water = graph(ase.molecule("H2O"), 3.0)
        >>> inverted = water.moved(-np.eye(3)[None])
        >>> bool((inverted.vectors == -water.vectors).all())
        True
        """
        elements = torch.as_tensor(matrices).to(self.positions)
        if elements.ndim == 3:
            elements = elements[:, None].expand(-1, len(self), -1, -1)
        signs = elements.det().sign()[..., None]
        owner = self.batch[self.edge_index[0]]
        own = {
            "positions": torch.einsum("nsab,sb->nsa", elements[:, self.batch], self.positions),
            "cells": signs[..., None] * (self.cells @ elements.mT),
            "shifts": signs[:, owner] * self.shifts,
        }
        n, found = len(elements), {}
        for name, rows in self._rows().items():
            values = own[name] if name in own else rows.values.expand(n, *rows.values.shape)
            if rows.into is not None:
                first = torch.arange(n, device=values.device) * self.rows_of(rows.into)
                values = values + first.reshape(n, *[1] * (values.ndim - 1))
            found[name] = rows._replace(values=values.flatten(0, 1))
        return self._of(found, {name: each * n for name, each in self.counts.items()})

    @property
    def has_one_each(self) -> bool:
        """Whether there is one atom, edge, … in every structure: its rows cannot be told from those of structures."""
        return any({*each} == {1} for each in self.counts.values())

    def folded(self, array: Tensor, *, inside: bool = False) -> Tensor | None:
        """Return rows of all structures, equally many of each, as (structures, rows, …), or None for other arrays.

        Those of structures themselves stay as they are, unless they are known to belong to something ``inside``
        structures, of which there is one in each.
        """
        if array.ndim and len(array) == len(self) and not (inside and self.has_one_each):
            return array
        lengths = {self.rows_of(name) for name, each in self.counts.items() if len(set(each)) == 1}
        return array.unflatten(0, (len(self), -1)) if array.ndim and len(array) in lengths - {0} else None

    def _before(self, name: str, structure: int) -> int:
        """Return how many rows there are before those of a structure."""
        return structure if name == STRUCTURES else sum(self.counts[name][:structure])

    def _rows(self) -> dict[str, Rows]:
        """Return all tensors as rows."""
        return {
            "positions": Rows(self.positions, ATOMS),
            "cells": Rows(self.cells, STRUCTURES),
            "periodic": Rows(self.periodic, STRUCTURES),
            "with_stress": Rows(self.with_stress, STRUCTURES),
            "numbers": Rows(self.numbers, ATOMS),
            "edge_index": Rows(self.edge_index.T, EDGES, ATOMS),
            "shifts": Rows(self.shifts, EDGES),
            "batch": Rows(self.batch, ATOMS, STRUCTURES),
            **self.more,
        }

    def _of(self, rows: Mapping[str, Rows], counts: Mapping[str, tuple[int, ...]]) -> Graphs:
        """Put rows together again."""
        own: dict[str, Any] = {name: each.values for name, each in rows.items() if name not in self.more}
        own["edge_index"] = own["edge_index"].T
        return replace(self, **own, counts=counts, more={name: rows[name] for name in self.more})


@checked(DataError, cutoff=anything)
def graph(frames: Any, cutoff: float) -> Graphs:
    """Build the graphs of structures: all pairs of atoms, of periodic images as well, that are closer than a cutoff.

    Parameters
    ----------
    frames
        ``ase.Atoms``, a file of structures, or a list of either.
    cutoff
        In the unit of the frames (Å). Pairs at the very cutoff are left out.

    Returns
    -------
    Graphs
        In float64; each pair twice, once from either side.

    Raises
    ------
    DataError
        No structures, ones that cannot be used, or a cutoff that is no length.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase.build")
    >>> graph(ase.molecule("H2O"), 1.2).edge_index.tolist()  # the two bonds
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    """
    if not is_positive(cutoff):
        raise DataError(f"cutoff is {cutoff!r}; expected a length, such as 5.0 Å")
    known = frames_of(frames, limit=2**31)
    parts = [_pairs(frame, cutoff) for frame in known]
    return with_edges(known, *zip(*parts, strict=True))


def with_edges(frames: Sequence[Atoms], pairs: Sequence[Any], shifts: Sequence[Any]) -> Graphs:
    """Return the graphs of frames in float64, whose pairs (edges, 2) and shifts (edges, 3) are known."""
    sizes = [len(frame) for frame in frames]
    first = np.cumsum([0, *sizes[:-1]])
    ranks = torch.as_tensor([stress_rank(frame) for frame in frames])
    edges = np.concatenate([np.asarray(each) + start for each, start in zip(pairs, first, strict=True)])

    def real(arrays: Any) -> Tensor:
        return torch.as_tensor(np.asarray(arrays, dtype=np.float64))

    return Graphs(
        positions=real(np.concatenate([frame.positions for frame in frames])),
        cells=real([frame.cell.array for frame in frames]),
        periodic=torch.as_tensor(np.array([frame.pbc for frame in frames])),
        with_stress=ranks >= ranks.max(),
        numbers=torch.as_tensor(np.concatenate([frame.numbers for frame in frames]).astype(np.int64)),
        edge_index=torch.as_tensor(edges.T.astype(np.int64)).contiguous(),
        shifts=real(np.concatenate([np.asarray(each) for each in shifts])),
        batch=torch.arange(len(frames)).repeat_interleave(torch.as_tensor(sizes)),
        counts={ATOMS: tuple(sizes), EDGES: tuple(map(len, pairs))},
    )


def _pairs(frame: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (edges, 2) of a structure and their shifts (edges, 3), centre by centre."""
    vesin = require("vesin", extra="atoms", purpose="jetsym.atoms.graph")
    found = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
        points=frame.positions, box=frame.cell.complete().array, periodic=frame.pbc.tolist(), quantities="ijSd"
    )
    centre, neighbour, shifts, distances = (np.asarray(each) for each in found)
    kept = distances < cutoff * (1 - MARGIN)
    pairs, shifts = np.stack([centre, neighbour], axis=1)[kept], shifts[kept]
    order = np.lexsort([*shifts.T, pairs[:, 1], pairs[:, 0]])
    return pairs[order], shifts[order]
