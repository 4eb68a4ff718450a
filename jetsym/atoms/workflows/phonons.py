"""Phonons of a crystal by finite displacements, with and without symmetrisation of the potential.

Force constants are taken as the potential gives them: every atom of the primitive cell is displaced along ±x, ±y and ±z
and no symmetry but the lattice's translations is used, as filling in force constants by symmetry would hide what is to
be seen. The measure is the splitting of bands that symmetry makes degenerate. Which ones these are is read off the same
force constants after projecting them onto the space group.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.atoms.packages import require
from jetsym.atoms.workflows.band_path import BandPath, band_path
from jetsym.atoms.workflows.forbidden import SymmetryOperations, operations, space_group, spurious
from jetsym.atoms.workflows.phonon_report import PhononReport, Phonons, Splitting
from jetsym.errors import ConfigError, DataError
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from phonopy import Phonopy

__all__ = ["PhononReport", "Phonons", "Splitting", "phonons"]

#: Frequencies of the projected force constants this near, in THz, belong to one irreducible representation.
DEGENERATE = 1e-4


def phonons(
    atoms: Atoms,
    calculator: Calculator,
    *,
    symmetrized: Calculator | None = None,
    supercell: Sequence[int] | None = None,
    displacement: float = 0.01,
    path: str | None = None,
    points: int = 41,
    mesh: float = 30.0,
    symprec: float = 1e-5,
    progress: bool = True,
) -> PhononReport:
    """Compute phonons of a crystal, and again with a symmetrised calculator where one is given.

    Parameters
    ----------
    atoms
        The crystal, relaxed, in its primitive or in a conventional cell; it is not changed.
    calculator
        Any ASE calculator with forces.
    symmetrized
        The same potential averaged over a group, as by :class:`jetsym.atoms.SymmetrizedCalculator`.
    supercell
        Copies of the cell along its three vectors; by default as many as make each at least 10 Å long.
    displacement
        Of the finite differences, in Å.
    path
        Special points as ASE writes them, such as "GXWKGLUWLK,UX"; by default the standard path of the lattice.
    points
        Points on the longest segment of the path.
    mesh
        Length that sets the density of the mesh for the density of states: points along a reciprocal vector are about
        this length times the length of that vector (Å, without 2π).
    symprec
        Tolerance, in Å, of the space group and of the primitive cell.
    progress
        Show a progress bar.

    Raises
    ------
    ConfigError
        An option that cannot be used.
    DataError
        The structure is no crystal.

    Examples
    --------
    >>> import pytest
    >>> phonopy = pytest.importorskip("phonopy")
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> report = phonons(bulk("Cu", a=3.59), EMT(), supercell=(3, 3, 3), path="GX", mesh=10)
    >>> report.runs["plain"].worst.splitting < 1e-6
    True
    """
    if not atoms.pbc.all():
        raise DataError(f"phonons need a crystal, periodic in all directions; pbc of the structure is {atoms.pbc}")
    if not displacement > 0:
        raise ConfigError(f"displacement is {displacement}; expected a positive length in Å")
    if supercell is None:
        supercell = tuple(int(np.ceil(10 / length)) for length in atoms.cell.lengths())
    if len(supercell) != 3 or min(supercell) < 1:
        raise ConfigError(f"supercell is {list(supercell)}; expected three positive numbers of copies")
    calculators = {"plain": calculator} | ({} if symmetrized is None else {"symmetrized": symmetrized})
    runs = {}
    way = None
    for name, potential in calculators.items():
        lattice = _displaced(atoms, supercell, displacement, symprec)
        _collect_forces(lattice, potential, title=f"phonons ({name})", progress=progress)
        way = way or band_path(lattice.primitive.cell, path=path, points=points, eps=max(symprec, 2e-4))
        runs[name] = _phonons(lattice, potential, way, mesh)
    assert way is not None
    meta = {
        "supercell": [int(copies) for copies in supercell],
        "displacement": displacement,
        "mesh": mesh,
        "symprec": symprec,
    }
    return PhononReport(atoms.copy(), space_group(atoms, symprec=symprec), way, runs, meta)


def _displaced(atoms: Atoms, supercell: Sequence[int], displacement: float, symprec: float) -> Phonopy:
    """Return phonopy with every atom of the primitive cell displaced both ways along x, y and z."""
    cells = require("phonopy.structure.cells", "phonons")
    unit = require("phonopy.structure.atoms", "phonons").PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    with warnings.catch_warnings():
        # That "auto" takes the primitive cell is what is wanted.
        warnings.simplefilter("ignore", cells.PrimitiveMatrixAutoDefaultWarning)
        lattice: Phonopy = require("phonopy", "phonons").Phonopy(
            unit, np.diag(supercell), "auto", symprec=symprec, is_symmetry=False
        )
    # Phonopy's own displacements are along the lattice vectors. Along x, y and z the error of the differences, which
    # is of second order, has the symmetry of cubic crystals, so that it splits none of their bands.
    steps = displacement * np.concatenate([np.eye(3), -np.eye(3)])
    moves: list[Any] = [
        {"number": int(atom), "displacement": step.tolist()} for atom in lattice.primitive.p2s_map for step in steps
    ]
    lattice.dataset = {"natom": len(lattice.supercell), "first_atoms": moves}
    return lattice


def _as_ase(cell: Any) -> Atoms:
    from ase import Atoms

    return Atoms(
        numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, masses=cell.masses, pbc=True
    )


def _collect_forces(lattice: Phonopy, calculator: Calculator, *, title: str, progress: bool) -> None:
    supercells = lattice.supercells_with_displacements
    assert supercells is not None
    forces = []
    with progress_bar(title, len(supercells), shown=progress) as advance:
        for cell in supercells:
            structure = _as_ase(cell)
            structure.calc = calculator
            forces.append(structure.get_forces())
            advance(1)
    if not np.isfinite(forces).all():
        raise DataError("forces are not finite: the structure may be outside what the potential was trained on")
    lattice.forces = np.array(forces)
    lattice.produce_force_constants()


def _phonons(lattice: Phonopy, calculator: Calculator, way: BandPath, mesh: float) -> Phonons:
    symprec = lattice.symmetry.tolerance
    constants = np.array(lattice.force_constants)
    found = operations(_as_ase(lattice.supercell), symprec=symprec, modulo_translations=True)
    assert found is not None
    projected = _over_group(constants, found)
    lattice.force_constants = projected
    symmetric = {name: _frequencies(lattice, point) for name, point in way.points.items()}
    lattice.force_constants = constants
    points = {name: _frequencies(lattice, point) for name, point in way.points.items()}
    splittings = []
    for name, point in way.points.items():
        for members in _degenerate(symmetric[name], skip=3 if np.allclose(point, 0) else 0):
            chosen = points[name][list(members)]
            splittings.append(Splitting(name, members, float(chosen.mean()), float(np.ptp(chosen))))
    bands = lattice.run_band_structure(list(way.segments)).frequencies
    grid = lattice.run_mesh(mesh, is_mesh_symmetry=False, is_gamma_center=True)
    states = lattice.run_total_dos()
    return Phonons(
        bands=[np.asarray(segment) for segment in bands],
        points=points,
        splittings=splittings,
        gamma_acoustic=float(np.abs(np.sort(np.abs(_frequencies(lattice, np.zeros(3))))[:3]).max()),
        lowest=float(min(np.asarray(grid.frequencies).min(), *(band.min() for band in bands))),
        asymmetry=float(np.linalg.norm(constants - projected) / np.linalg.norm(constants)),
        dos_frequencies=np.asarray(states.frequency_points),
        dos=np.asarray(states.dos),
        spurious=spurious(_as_ase(lattice.unitcell), calculator, symprec=symprec),
        force_constants=constants,
    )


def _frequencies(lattice: Phonopy, point: np.ndarray) -> np.ndarray:
    return np.asarray(lattice.run_qpoints(point[None]).frequencies[0])


def _degenerate(frequencies: np.ndarray, *, skip: int) -> list[tuple[int, ...]]:
    """Return groups of two or more equal frequencies, as places; ``skip`` leaves out the lowest in absolute value.

    Examples
    --------
    >>> _degenerate(np.array([1.0, 1.0, 2.0, 3.0, 3.0, 3.0]), skip=0)
    [(0, 1), (3, 4, 5)]
    """
    acoustic = set(np.argsort(np.abs(frequencies))[:skip].tolist())
    places = [place for place in range(len(frequencies)) if place not in acoustic]
    groups: list[list[int]] = []
    for place in places:
        if groups and abs(frequencies[place] - frequencies[groups[-1][-1]]) < DEGENERATE:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [tuple(group) for group in groups if len(group) > 1]


def _over_group(constants: np.ndarray, found: SymmetryOperations) -> np.ndarray:
    """Average force constants (atoms, atoms, 3, 3) over a space group, Φ(g i, g j) = Q Φ(i, j) Qᵀ."""
    mean = np.zeros_like(constants)
    for rotation, images in zip(found.rotations, found.images, strict=True):
        mean[np.ix_(images, images)] += np.einsum("ij,abjk,lk->abil", rotation, constants, rotation, optimize=True)
    return mean / len(found.rotations)
