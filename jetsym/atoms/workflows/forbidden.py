"""Forbidden quantities, by which a broken symmetry shows: net forces, torques, forces and stress a crystal forbids.

An unconstrained potential E(x) is not exactly invariant: E(R·x) ≠ E(x). Three things follow, measured here for any ASE
calculator. A structure as a whole feels a torque τ = −∂E/∂θ; atoms on symmetric sites feel forces that their site
symmetry forbids, F ≠ P F with P the mean of the site's rotations; and a crystal feels stress that its point group
forbids. What it does to dynamics is measured in :mod:`jetsym.atoms.workflows.dynamics`.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jetsym.atoms.frames import moved_frame
from jetsym.atoms.workflows.slopes import rms
from jetsym.errors import DataError, require

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = [
    "Spurious",
    "SymmetryOperations",
    "distinct_rotations",
    "group_at",
    "operations",
    "space_group",
    "space_groups",
    "spurious",
    "standardized",
    "torque",
]

#: Tolerance of space groups where none is given, in Å: structures of files have some four digits.
SYMPREC = 1e-3
#: Tolerances in Å at which the space group of a structure is told; a lost symmetry shows as a group that changes.
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class SymmetryOperations:
    """The space group of a crystal, acting on its atoms.

    Parameters
    ----------
    rotations
        Orthogonal matrices in Cartesian coordinates, shape (operations, 3, 3).
    images
        Atom that each atom is carried to, shape (operations, atoms).
    """

    rotations: np.ndarray
    images: np.ndarray

    def site_projectors(self) -> np.ndarray:
        """Average the rotations that leave each site where it is, shape (atoms, 3, 3).

        P_i F_i is the force that symmetry allows: P projects a vector onto what the site symmetry leaves unchanged, 0
        for a site with inversion.
        """
        stays = self.images == np.arange(self.images.shape[1])  # (operations, atoms)
        return cast("np.ndarray", np.einsum("ga,gij->aij", stays / stays.sum(axis=0), self.rotations))

    def point_group(self) -> np.ndarray:
        """Return the distinct rotations, shape (order of the point group, 3, 3)."""
        _, first = np.unique(np.round(self.rotations, 6), axis=0, return_index=True)
        return self.rotations[np.sort(first)]


@dataclass(frozen=True)
class Spurious:
    """Forces, torque and stress that symmetry forbids.

    Parameters
    ----------
    net_force
        |Σ F|, in eV/Å; zero where the energy does not change under translation.
    torque
        |∂E/∂θ| under a rotation of the whole structure, cell included, in eV; zero where the energy is invariant.
    force_scale
        Root mean square of the components of all forces, in eV/Å, to compare with.
    forbidden_force
        Largest |F − P F| of an atom, in eV/Å, with P the projector of its site symmetry; None without a space group.
    forbidden_stress
        Largest component of the stress that the point group forbids, in eV/Å³; None without a space group or a stress.
    symmetric_sites
        Number of atoms whose site symmetry forbids some force.
    largest_force
        Largest |F| of an atom, in eV/Å, allowed or not; None in a report of an older version.
    stress
        The stress in eV/Å³, (3, 3), positive under tension; None without a stress, for what is no crystal, and in a
        report of an older version.
    """

    net_force: float
    torque: float
    force_scale: float
    forbidden_force: float | None
    forbidden_stress: float | None
    symmetric_sites: int | None
    largest_force: float | None = None
    stress: list[list[float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        return asdict(self)


def operations(
    atoms: Atoms, *, symprec: float = SYMPREC, modulo_translations: bool = False
) -> SymmetryOperations | None:
    """Find the space group of a crystal by spglib; None where not all directions are periodic.

    Parameters
    ----------
    atoms
        The structure.
    symprec
        Largest distance of an atom from its image, in Å.
    modulo_translations
        True for one operation for every rotation, of those that differ by translations that carry the crystal onto
        itself: all that is needed of a supercell, where there are many.

    Raises
    ------
    DataError
        spglib finds no space group, as where two atoms coincide.
    """
    if not atoms.pbc.all():
        return None
    found = symmetry_dataset(atoms, symprec)
    fractional, translations = np.asarray(found.rotations), np.asarray(found.translations)
    if modulo_translations:
        _, first = np.unique(fractional, axis=0, return_index=True)
        fractional, translations = fractional[first], translations[first]
    cell, scaled = atoms.cell.array, atoms.get_scaled_positions()
    # Rows of the cell are lattice vectors: with A = cellᵀ a fractional W is A W A⁻¹ in Cartesian coordinates.
    rotations = np.einsum("ij,gjk,kl->gil", cell.T, fractional, np.linalg.inv(cell.T))
    images = np.empty((len(rotations), len(atoms)), dtype=int)
    for place, (rotation, translation) in enumerate(zip(fractional, translations, strict=True)):
        moved = scaled @ rotation.T + translation
        apart = moved[:, None] - scaled[None]
        distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=-1)
        distance[atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
        images[place] = distance.argmin(axis=1)
    return SymmetryOperations(nearest_orthogonal(rotations), images)


def nearest_orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Return the nearest orthogonal matrices: rotations of a cell that is symmetric to symprec are so only to that."""
    left, _, right = np.linalg.svd(matrices)
    return cast("np.ndarray", left @ right)


def symmetry_dataset(atoms: Atoms, symprec: float) -> Any:
    """Return what spglib finds of a structure's symmetry; refuse a structure of which it finds nothing."""
    found = _asked_of_spglib("get_symmetry_dataset", atoms, symprec)
    if found is None:
        raise DataError(
            f"spglib finds no space group of {atoms.get_chemical_formula()} within symprec = {symprec} Å; "
            "atoms that coincide are the usual reason"
        )
    return found


def _asked_of_spglib(function: str, atoms: Atoms, symprec: float, **options: Any) -> Any:
    """Return what a function of spglib's finds of a structure; None where it finds nothing."""
    spglib = require("spglib", extra="atoms", purpose="the space group of a structure")
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        # By a setting of the whole process, which is not ours to change, spglib raises or returns None and warns of it.
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING to false", DeprecationWarning)
        try:
            return getattr(spglib, function)(cell, symprec=symprec, **options)
        except spglib.SpglibError:
            return None


def standardized(atoms: Atoms, symprec: float, *, primitive: bool = True) -> Atoms | None:
    """Return a crystal in its primitive or conventional cell, as it lies in space; None where spglib finds none.

    Elements and positions are all that it keeps: masses do not tell atoms apart.

    Examples
    --------
    >>> import pytest
    >>> spglib = pytest.importorskip("spglib")
    >>> from ase.build import bulk
    >>> [len(standardized(bulk("Cu") * 2, 1e-3, primitive=primitive)) for primitive in (True, False)]
    [1, 4]
    """
    from ase import Atoms

    found = _asked_of_spglib("standardize_cell", atoms, symprec, to_primitive=primitive, no_idealize=True)
    if found is None:
        return None
    cell, positions, numbers = found
    return Atoms(numbers, scaled_positions=positions, cell=cell, pbc=True)


def distinct_rotations(atoms: Atoms, symprec: float) -> np.ndarray:
    """Return the rotations in a crystal's space group, each once: orthogonal matrices (n, 3, 3)."""
    axes = atoms.cell.array.T
    fractional = np.unique(symmetry_dataset(atoms, symprec).rotations, axis=0)
    return nearest_orthogonal(axes @ fractional @ np.linalg.inv(axes))


def space_group(atoms: Atoms, *, symprec: float = SYMPREC) -> str:
    """Return symbol and number of a crystal's space group; "not periodic" for anything else.

    Examples
    --------
    >>> import pytest
    >>> spglib = pytest.importorskip("spglib")
    >>> from ase.build import bulk
    >>> space_group(bulk("Cu"))
    'Fm-3m (225)'
    """
    if not atoms.pbc.all():
        return "not periodic"
    found = symmetry_dataset(atoms, symprec)
    return f"{found.international} ({found.number})"


def group_at(atoms: Atoms, symprec: float) -> str | None:
    """Return the space group at a tolerance in Å; None where spglib finds none."""
    try:
        return space_group(atoms, symprec=symprec)
    except DataError:
        return None


def space_groups(atoms: Atoms) -> dict[str, str]:
    """Return the space groups at several tolerances, in Å, from coarse to fine; a dash where spglib finds none."""
    return {f"{symprec:g}": group_at(atoms, symprec) or "–" for symprec in TOLERANCES}


def torque(atoms: Atoms, calculator: Calculator, *, step: float = 1e-2) -> np.ndarray:
    """Compute the torque on a whole structure, −∂E/∂θ around x, y and z, by central differences of the energy.

    Atoms and cell are rotated together, so that it is defined for crystals as for molecules, where it equals Σ r × F.

    Parameters
    ----------
    atoms
        The structure; it is not changed.
    calculator
        Any ASE calculator with energies.
    step
        Angle of the differences, in radian. Their error grows with its square; rounding falls with it.

    Returns
    -------
    numpy.ndarray
        The torque in eV per radian, shape (3,).
    """
    from scipy.spatial.transform import Rotation

    def energy(vector: np.ndarray) -> float:
        moved = moved_frame(atoms, Rotation.from_rotvec(vector).as_matrix())
        moved.calc = calculator
        return float(moved.get_potential_energy())

    return np.array([-(energy(step * axis) - energy(-step * axis)) / (2 * step) for axis in np.eye(3)])


def spurious(atoms: Atoms, calculator: Calculator, *, symprec: float = SYMPREC) -> Spurious:
    """Measure forces, torque and stress that symmetry forbids, see :class:`Spurious`.

    Parameters
    ----------
    atoms
        The structure; it is not changed.
    calculator
        Any ASE calculator with energies and forces.
    symprec
        Tolerance of the space group, in Å.
    """
    still = atoms.copy()
    still.set_constraint()
    still.calc = calculator
    forces = still.get_forces()
    found = operations(atoms, symprec=symprec)
    forbidden = forbidden_stress = stress = sites = None
    if found is not None:
        projectors = found.site_projectors()
        forbidden = float(np.linalg.norm(forces - np.einsum("aij,aj->ai", projectors, forces), axis=1).max())
        sites = int((np.abs(projectors - np.eye(3)).max(axis=(1, 2)) > 1e-6).sum())
        stress = _stress(still)
        forbidden_stress = None if stress is None else _forbidden(stress, found.point_group())
    return Spurious(
        net_force=float(np.linalg.norm(forces.sum(axis=0))),
        torque=float(np.linalg.norm(torque(atoms, calculator))),
        force_scale=rms(forces),
        forbidden_force=forbidden,
        forbidden_stress=forbidden_stress,
        symmetric_sites=sites,
        largest_force=float(np.linalg.norm(forces, axis=1).max()),
        stress=None if stress is None else stress.tolist(),
    )


def _stress(atoms: Atoms) -> np.ndarray | None:
    """Return the stress (3, 3) of a crystal in eV/Å³; None where the calculator has none."""
    from ase.calculators.calculator import PropertyNotImplementedError

    try:
        stress: np.ndarray = atoms.get_stress(voigt=False)
    except PropertyNotImplementedError:
        return None
    return stress


def _forbidden(stress: np.ndarray, rotations: np.ndarray) -> float:
    """Return the largest component of a stress that a point group forbids."""
    allowed = np.einsum("gij,jk,glk->il", rotations, stress, rotations) / len(rotations)
    return float(np.abs(stress - allowed).max())
