"""Structures as ASE holds them, in a batch that a group moves: what calculators are called with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "Frames",
    "bare",
    "expect_usable",
    "is_crystal",
    "is_left_handed",
    "moved_frame",
    "refuse_partial_sites",
    "results_of",
    "right_handed",
    "stress_rank",
]

#: Per-atom vectors of a structure that move with it, and whether they are axial; all else that it holds stays.
MOVING = {"momenta": False, "initial_magmoms": True}
#: Vectors of a cell that span less than this part of the volume of a box with their lengths lie in a plane.
FLAT = 1e-6
#: Å after which no crystal repeats, as an atom would have no end of neighbours; and from the origin, where neighbour
#: lists overflow (some end the process) and lengths in single precision lose two decimals.
THINNEST, FARTHEST = 0.1, 1e5
#: A site is full where its occupancy differs from 1 by less than this: files give it with some digits.
FULL = 1e-3


@dataclass(frozen=True, eq=False)
class Frames:
    """A batch of structures, for models that build their own neighbour lists.

    Parameters
    ----------
    atoms
        The structures, without calculators and constraints.
    places
        Which structure of the caller's each of them is.
    """

    atoms: tuple[Atoms, ...]
    places: tuple[int, ...]

    dtype: ClassVar[str] = "float64"
    #: Evaluations at once: they are made one by one, so that this is how often a progress bar moves.
    at_once: ClassVar[int] = 32

    @classmethod
    def of(cls, frames: Sequence[Atoms]) -> Frames:
        """Make a batch of what a caller gave, which stays as it is."""
        return cls(tuple(map(bare, frames)), tuple(range(len(frames))))

    def __len__(self) -> int:
        return len(self.atoms)

    def __getitem__(self, selection: slice) -> Frames:
        return Frames(self.atoms[selection], self.places[selection])

    @property
    def sizes(self) -> list[int]:
        """Number of atoms of every structure."""
        return [len(one) for one in self.atoms]

    @property
    def real(self) -> NDArray[np.bool_]:
        """(structures, atoms) True: a batch that is evaluated at once is one of equally many."""
        return np.ones((len(self), len(self.atoms[0])), dtype=bool)

    @property
    def crystals(self) -> NDArray[np.bool_]:
        """(structures,) whether each has a volume, and so a stress."""
        return np.array([is_crystal(one) for one in self.atoms])

    @property
    def compositions(self) -> NDArray[np.int64]:
        """(structures,) a number for every composition, so many atoms of every element."""
        names = [tuple(np.bincount(one.numbers)) for one in self.atoms]
        known = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return np.array([known[name] for name in names])

    def to(self, *, device: Any = None, dtype: Any = None) -> Frames:
        """Return the same: calculators know where and in which numbers they compute."""
        return self

    def moved(self, matrices: Any) -> Frames:
        """Move every structure by n elements of O(3), (n, 3, 3), or (n, samples, 3, 3) of its own.

        Returns
        -------
        Frames
            n · samples of them, element by element.
        """
        elements = np.asarray(matrices, dtype=float)
        if elements.ndim == 3:
            elements = np.broadcast_to(elements[:, None], (len(elements), len(self), 3, 3))
        moved = (moved_frame(one, g) for row in elements for one, g in zip(self.atoms, row, strict=True))
        return Frames(tuple(moved), self.places * len(elements))

    def rearranged(self, places: Any) -> Frames:
        """Return structures with their atoms in another order, places (samples, atoms) being those they come from."""
        return Frames(tuple(one[own] for one, own in zip(self.atoms, places, strict=True)), self.places)

    def few(self, most: int) -> list[int]:
        """Return which structures stand for all: at most so many, crystals first and then molecules in turn."""
        kinds = [np.flatnonzero(self.crystals), np.flatnonzero(~self.crystals)]
        kinds = [kind for kind in kinds if len(kind)]
        share = -(-most // len(kinds))
        chosen = [kind[np.unique(np.linspace(0, len(kind) - 1, min(share, len(kind))).astype(int))] for kind in kinds]
        return [int(place) for place in _in_turn(chosen)][:most]


def _in_turn(several: Sequence[NDArray[np.int64]]) -> Iterator[int]:
    for row in range(max(map(len, several))):
        yield from (one[row] for one in several if row < len(one))


def bare(atoms: Atoms) -> Atoms:
    """Copy a structure without its calculator and its constraints."""
    copied: Atoms = atoms.copy()
    copied.set_constraint()
    return copied


def results_of(atoms: Atoms) -> dict[str, Any]:
    """Return what the calculator of a structure holds, by name; nothing where it has none.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> results_of(ase.Atoms("Cu"))
    {}
    """
    return {} if atoms.calc is None else atoms.calc.results


def is_crystal(atoms: Atoms) -> bool:
    """Return whether a structure repeats along all three directions, and so has a stress in GPa.

    That of a slab is over a volume with an arbitrary part of vacuum; a molecule has none.
    """
    return bool(atoms.pbc.all()) and atoms.cell.rank == 3


def stress_rank(atoms: Atoms) -> int:
    """Return how far a structure has a stress: 2 for crystals, 1 for others with a cell of some volume, 0 without.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase.build")
    >>> [stress_rank(atoms) for atoms in (ase.bulk("Cu"), ase.fcc111("Cu", (1, 1, 3), vacuum=5.0), ase.molecule("H2"))]
    [2, 1, 0]
    """
    return 2 if is_crystal(atoms) else int(atoms.cell.rank == 3)


def is_left_handed(atoms: Atoms) -> bool:
    """Return whether the vectors of a cell with a volume are left-handed."""
    return atoms.cell.rank == 3 and bool(np.linalg.det(atoms.cell.array) < 0)


def right_handed(atoms: Atoms) -> Atoms:
    """Return a structure as it is, or where its cell is left-handed the same in −a, −b, −c, which span its lattice.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> turned = right_handed(ase.Atoms("H", [[0, 0, 0.5]], cell=[[0, 2, 0], [3, 0, 0], [0, 0, 4]], pbc=True))
    >>> bool(np.linalg.det(turned.cell.array) > 0), turned.positions.tolist()
    (True, [[0.0, 0.0, 0.5]])
    """
    if not is_left_handed(atoms):
        return atoms
    turned: Atoms = atoms.copy()
    turned.set_cell(-atoms.cell.array, scale_atoms=False, apply_constraint=False)
    return turned


def expect_usable(atoms: Atoms, name: str = "the structure") -> None:
    """Refuse a structure that nothing can be computed of.

    Raises
    ------
    DataError
        It has no atoms, numbers that are not finite, atoms out of all reach, a cell that is too thin, a lattice of
        periodic directions whose vectors lie in a plane or on a line, or sites that are occupied in part, of which
        calculators know nothing.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> expect_usable(ase.Atoms("H", cell=[[2, 0, 0], [4, 0, 0], [0, 0, 2]], pbc=True))
    Traceback (most recent call last):
    ...
    jetsym.errors.DataError: the structure (H) is periodic along vectors that lie in a plane, on a line or are zero, ...
    """
    if not len(atoms):
        raise DataError(f"{name} has no atoms; leave it out of the inputs")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError(f"{name} has positions or a cell that are not finite; leave it out of the inputs")
    called = f"{name} ({atoms.get_chemical_formula()})"
    periodic = atoms.cell.array[atoms.pbc]
    lengths = np.linalg.norm(periodic, axis=1)
    spanned = np.sqrt(max(0.0, np.linalg.det(periodic @ periodic.T))) if len(periodic) else 1.0
    if not spanned > FLAT * np.prod(lengths):
        raise DataError(
            f"{called} is periodic along vectors that lie in a plane, on a line or are zero, cell = "
            f"{atoms.cell.array.round(6).tolist()}; expected independent ones, or pbc=False where it does not repeat"
        )
    heights = 1 / np.linalg.norm(np.linalg.pinv(periodic), axis=0) if len(periodic) else np.ones(1)
    if heights.min() < THINNEST:
        raise DataError(
            f"{called} repeats after {heights.min():.2g} Å along a direction; expected a cell of {THINNEST} Å or more, "
            "with lengths in Å: an atom has no end of neighbours there"
        )
    if (reach := float(np.abs(atoms.positions).max())) > FARTHEST:
        raise DataError(
            f"{called} has an atom {reach:.3g} Å away from the origin; expected {FARTHEST:g} Å at most, where lengths "
            "are whole to single precision: check the units, or wrap and centre the positions"
        )
    refuse_partial_sites(atoms, name)


def refuse_partial_sites(atoms: Atoms, name: str = "the structure") -> None:
    """Refuse sites with more than one element or less than one atom, as ASE keeps them by their kind.

    Raises
    ------
    DataError
        There are some: calculators know nothing of them, and would take the first element of each as whole.
    """
    known = atoms.info.get("occupancy")
    sites = known if isinstance(known, Mapping) else {}
    kinds = atoms.arrays.get("spacegroup_kinds")
    present = {str(kind) for kind in (sites if kinds is None else kinds.tolist())}
    found = []
    for kind, site in sites.items():
        shares = site if isinstance(site, Mapping) else {"": site}
        whole = len(shares) == 1 and all(abs(float(share) - 1) < FULL for share in shares.values())
        if not whole and str(kind) in present:
            found.append(" ".join(f"{element}{share}" for element, share in shares.items()))
    if found:
        raise DataError(
            f"{name} ({atoms.get_chemical_formula()}) has sites that are occupied in part, "
            f"{', '.join(dict.fromkeys(found))}; expected whole atoms: make an ordered structure of it, or delete "
            'atoms.info["occupancy"] where the atoms are meant as they are'
        )


def moved_frame(atoms: Atoms, element: NDArray[np.float64]) -> Atoms:
    """Move a structure by an orthogonal matrix: positions as vectors, and a cell of the same hand as before.

    What turns a right-handed cell into its mirror image is not the group's affair: −a spans the same lattice as a, so
    that under improper elements g the cell is moved by −g. Momenta move as well, and initial magnetic moments that are
    vectors, as axial ones; all else, such as ``atoms.info`` with its charge and spin, stays.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> moved = moved_frame(ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], cell=[2, 3, 4], pbc=True), -np.eye(3))
    >>> moved.positions[1].tolist(), moved.cell.lengths().tolist(), bool(np.linalg.det(moved.cell.array) > 0)
    ([0.0, 0.0, -0.7], [2.0, 3.0, 4.0], True)
    """
    sign = np.sign(np.linalg.det(element))
    moved: Atoms = atoms.copy()
    moved.set_cell(atoms.cell.array @ (sign * element).T, scale_atoms=False)
    moved.positions = atoms.positions @ element.T
    moved.set_celldisp(np.asarray(atoms.get_celldisp()).reshape(3) @ element.T)
    for name, is_axial in MOVING.items():
        values = moved.arrays.get(name)
        if values is not None and values.ndim == 2:
            moved.arrays[name] = values @ (sign * element if is_axial else element).T
    return moved
