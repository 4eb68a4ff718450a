"""Phonons of a crystal by finite displacements, with and without symmetrisation of the potential.

Force constants are taken as the potential gives them: every atom of the primitive cell is displaced both ways along
three axes and no symmetry but the lattice's translations is used, as filling in force constants by symmetry would hide
what is to be seen. The measure is the splitting of bands that symmetry makes degenerate. Which ones these are is read
off the same force constants after projecting them onto the space group; how large a splitting the displacements
themselves make, off those of two lengths.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import above, anything, at_least, checked
from jetsym.atoms.frames import bare, expect_usable, right_handed
from jetsym.atoms.workflows.band_path import BandPath, band_path
from jetsym.atoms.workflows.displacements import ForceConstants, as_ase, collect_forces, lattice_of
from jetsym.atoms.workflows.forbidden import (
    SYMPREC,
    SymmetryOperations,
    operations,
    space_group,
    spurious,
    standardized,
)
from jetsym.atoms.workflows.groups import notes_on_group, refined
from jetsym.atoms.workflows.phonon_report import PhononReport, Phonons, Splitting
from jetsym.atoms.workflows.residual import expect_mesh, stress_said
from jetsym.atoms.workflows.supercells import (
    choose_supercell,
    expect_supercell,
    image_distance,
    interaction_range,
    kept,
    point_group,
    well_shaped,
)
from jetsym.errors import ConfigError, DataError, require

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from phonopy import Phonopy

__all__ = ["PhononReport", "Phonons", "Splitting", "phonons"]

#: Frequencies of the projected force constants this near, in THz, belong to one irreducible representation.
DEGENERATE = 1e-4
#: No splitting is told below this, in THz, whatever the displacements say: eigenvalues are rounded.
LEAST = 1e-6
#: Frequencies below −this, in THz, are imaginary modes; the acoustic ones at Γ are rounding.
IMAGINARY = 0.01
#: Residual forces above this, in eV/Å, are said: the crystal is not relaxed.
UNRELAXED = 0.01
#: Part of the largest force constant between two atoms that may be left at the edge of the supercell, unsaid.
EDGE = 0.05


@checked(displacement=above(0), points=at_least(2), mesh=anything, symprec=above(0), supercell=anything)
def phonons(
    atoms: Atoms,
    calculator: Calculator,
    *,
    symmetrized: Calculator | None = None,
    project: bool = False,
    supercell: int | Sequence[int] | Sequence[Sequence[int]] | None = None,
    displacement: float = 0.01,
    extrapolate: bool = True,
    nac: str | Path | Mapping[str, Any] | None = None,
    path: str | None = None,
    points: int = 41,
    mesh: float | Sequence[int] = 30.0,
    symprec: float = SYMPREC,
    refine: bool = False,
    folder: str | Path | None = None,
    progress: bool = True,
) -> PhononReport:
    """Compute phonons of a crystal, and again with a symmetrised calculator where one is given.

    Parameters
    ----------
    atoms
        The crystal, relaxed, in its primitive or in a conventional cell, right-handed or not; it is not changed. Its
        masses are kept, and isotopes are atoms of their own in the primitive cell.
    calculator
        Any ASE calculator with forces.
    symmetrized
        The same potential averaged over a group, as by :class:`jetsym.atoms.SymmetrizedCalculator`.
    project
        Add a run "projected", of the plain potential's force constants after averaging them over the space group: as
        free of splittings as an averaged potential, without further evaluations.
    supercell
        Copies of the cell along its three vectors, one number for all, or phonopy's 3 x 3 matrix; by default such that
        images are at least 10 Å apart, and as far as the potential reaches while there are at most 500 atoms.
    displacement
        Of the finite differences, in Å.
    extrapolate
        Displace twice as far as well: it takes the error of second order away, and says how large it was, which is the
        floor of splittings. Without, there are half as many evaluations and no floors.
    nac
        Born charges and dielectric tensor for polar crystals: a file of phonopy's format (BORN), or phonopy's
        dictionary with "born" and "dielectric".
    path
        Special points as ASE writes them, such as "GXWKGLUWLK,UX"; by default the standard path of the lattice.
    points
        Points on the longest segment of the path.
    mesh
        One number for the mesh of the density of states, a length: points along a reciprocal vector are about this
        length times the length of that vector (Å, without 2π). Or three whole numbers, [10, 10, 10], of points along
        the primitive cell's reciprocal vectors.
    symprec
        Tolerance, in Å, of the space group and of the primitive cell.
    refine
        Take the structure whose cell and positions are those that its space group asks for.
    folder
        Folder that keeps the forces of every displacement as they come: the same call goes on where one was stopped.
    progress
        Show a progress bar.

    Raises
    ------
    ConfigError
        An option that cannot be used, or a folder with forces of something else.
    DataError
        The structure is no crystal, or the file of Born charges cannot be read.

    Examples
    --------
    >>> import pytest
    >>> phonopy = pytest.importorskip("phonopy")
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> report = phonons(bulk("Cu", a=3.59), EMT(), supercell=(3, 3, 3), path="GX", mesh=10)
    >>> worst = report.runs["plain"].worst
    >>> worst.point, worst.splitting < worst.floor
    ('X', True)
    """
    if not atoms.pbc.all():
        raise DataError(f"phonons need a crystal, periodic in all directions; pbc of the structure is {atoms.pbc}")
    expect_usable(atoms)
    if not displacement > 0:
        raise ConfigError(f"displacement is {displacement}; expected a positive length in Å")
    mesh = expect_mesh(mesh)
    atoms = refined(atoms, symprec) if refine else atoms
    given = None if supercell is None else expect_supercell(supercell)
    crystal = bare(right_handed(atoms))
    residual = spurious(atoms, calculator, symprec=symprec)  # first, as some calculators know their range only then
    reach = interaction_range(calculator)
    matrix = choose_supercell(crystal, reach=reach, symprec=symprec) if given is None else given
    calculators = {"plain": calculator} | ({} if symmetrized is None else {"symmetrized": symmetrized})
    runs, notes = {}, notes_on_group(atoms, symprec, calculators.get("symmetrized"))
    first = lattice_of(crystal, well_shaped(matrix, crystal.cell.array), symprec)
    way = band_path(first.primitive.cell, path=path, points=points, eps=max(symprec, 2e-4))
    charges, group = _born(nac, first, symprec), _group_of(first)
    for name, potential in calculators.items():
        lattice = first.replicate()
        constants = collect_forces(
            lattice,
            crystal,
            potential,
            displacement=displacement,
            extrapolate=extrapolate,
            folder=None if folder is None else Path(folder).expanduser() / name,
            title=f"phonons ({name})",
            progress=progress,
        )
        lattice.nac_params = charges
        found = residual if name == "plain" else spurious(atoms, potential, symprec=symprec)
        runs[name] = _phonons(lattice, constants, group, way, mesh, found)
        if name == "plain":
            notes += _notes(lattice, crystal, constants.values, reach, runs[name], nac)
            if project:
                other = first.replicate()
                other.dataset = lattice.dataset
                other.nac_params = charges
                projected = ForceConstants(_over_group(constants.values, group), constants.error)
                runs["projected"] = _phonons(other, projected, group, way, mesh, found)
    is_diagonal = not (matrix - np.diag(np.diag(matrix))).any()
    meta = {
        "supercell": np.diag(matrix).tolist() if is_diagonal else matrix.tolist(),
        "image_distance": image_distance(matrix.T @ crystal.cell.array),
        "interaction_range": reach if reach is None or np.isfinite(reach) else None,
        "displacement": displacement,
        "extrapolate": extrapolate,
        "nac": None if nac is None else os.fspath(nac) if isinstance(nac, str | Path) else "given",
        "mesh": mesh,
        "symprec": symprec,
        "notes": notes,
    }
    return PhononReport(atoms.copy(), space_group(atoms, symprec=symprec), way, runs, meta)


def _born(nac: str | Path | Mapping[str, Any] | None, lattice: Phonopy, symprec: float) -> Any:
    """Return phonopy's parameters of the non-analytical term, of a file or as they are."""
    if nac is None:
        return None
    n = len(lattice.primitive)
    if isinstance(nac, Mapping):
        found: Any = dict(nac)
    else:
        file = Path(nac).expanduser()
        if not file.is_file():
            raise DataError(f"nac is {os.fspath(nac)!r}, but there is no such file of Born charges")
        parse = require("phonopy.file_IO", extra="atoms", purpose="Born charges").parse_BORN
        try:
            found = dict(parse(lattice.primitive, symprec=symprec, is_symmetry=True, filename=file))
        except Exception as error:  # whatever phonopy raises of what is no such file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{file} cannot be read as phonopy's BORN of {n} atoms: {reason}") from error
    shapes = {name: np.shape(found.get(name)) for name in ("born", "dielectric")}
    if shapes != {"born": (n, 3, 3), "dielectric": (3, 3)}:
        raise ConfigError(
            f"nac has born of shape {shapes['born']} and dielectric of shape {shapes['dielectric']}; expected "
            f"{(n, 3, 3)} of the primitive cell's atoms, and (3, 3)"
        )
    if not all(np.isfinite(found[name]).all() for name in shapes):
        raise DataError("Born charges or the dielectric tensor are not finite")
    return found


def _group_of(lattice: Phonopy) -> SymmetryOperations:
    """Return the operations of the supercell, one for every rotation; isotopes are one element to the potential."""
    found = operations(as_ase(lattice.supercell), symprec=lattice.symmetry.tolerance, modulo_translations=True)
    assert found is not None
    return found


def _notes(
    lattice: Phonopy,
    crystal: Atoms,
    constants: NDArray[np.float64],
    reach: float | None,
    run: Phonons,
    nac: Any,
) -> list[str]:
    """Say what a reader must know of the supercell, the forces before any displacement, imaginary modes and charges."""
    notes = []
    cell = np.asarray(lattice.supercell.cell)
    apart = image_distance(cell)
    if reach is not None and apart < reach * (1 - 1e-6):
        notes.append(
            f"Images are {apart:.2f} Å apart, less than the {reach:.2f} Å that the potential reaches: force constants "
            "of several images are added up; take a larger supercell."
        )
    edge = _at_edge(lattice, constants, apart)
    if edge is None:
        notes.append("The supercell holds one atom, which meets its own images only: all of its bands are zero.")
    elif edge > EDGE:
        notes.append(
            f"At the edge of the supercell force constants are still {100 * edge:.0f} % of the largest between two "
            "atoms: take a larger one."
        )
    rotations = point_group(crystal, lattice.symmetry.tolerance)
    left = kept(cell, rotations)
    if left < len(rotations):
        notes.append(
            f"The supercell keeps {left} of the crystal's {len(rotations)} rotations: degeneracies of the others are "
            "not measured."
        )
    by_element = standardized(crystal, lattice.symmetry.tolerance)
    if by_element is not None and len(lattice.primitive) > len(by_element):
        notes.append("Masses tell atoms of one element apart: bands are those of the isotopes as they are arranged.")
    if run.residual_force is not None and run.residual_force > UNRELAXED:
        notes.append(
            f"Before any displacement forces are up to {run.residual_force:.3g} eV/Å: relax the structure first."
        )
    if (said := stress_said(run.spurious)) is not None:
        notes.append(said)
    if run.imaginary:
        notes.append(
            f"{run.imaginary} of {run.modes} modes on the mesh are imaginary: the crystal is unstable, not relaxed, or "
            "the supercell is too small."
        )
    if nac is None and _is_polar(lattice):
        notes.append(
            "Symmetry allows Born charges here, and none are given: if the crystal is an insulator, its LO and TO "
            "branches part towards Γ only with them (nac=…, --nac BORN)."
        )
    return notes


def _at_edge(lattice: Phonopy, constants: NDArray[np.float64], apart: float) -> float | None:
    """Return the largest force constant of atoms half a supercell apart, relative to that of any two atoms."""
    from ase.geometry import get_distances

    atoms = as_ase(lattice.supercell)
    first = [int(place) for place in lattice.primitive.p2s_map]
    if len(atoms) == 1:
        return None
    _, distances = get_distances(atoms.positions[first], atoms.positions, cell=atoms.cell, pbc=True)
    sizes = np.linalg.norm(constants[first], axis=(2, 3))
    others = distances > 1e-3
    far = others & (distances >= 0.45 * apart)
    if not sizes[others].any():
        return 0.0
    return float(sizes[far].max(initial=0.0) / sizes[others].max())


def _is_polar(lattice: Phonopy) -> bool:
    """Return whether symmetry allows Born charges: whether any tensors on atoms are left that add up to none."""
    found = operations(as_ase(lattice.unitcell), symprec=lattice.symmetry.tolerance)
    assert found is not None
    charges = np.random.default_rng(0).normal(size=(found.images.shape[1], 3, 3))
    mean = np.zeros_like(charges)
    for rotation, images in zip(found.rotations, found.images, strict=True):
        mean[images] += rotation @ charges @ rotation.T
    mean /= len(found.rotations)
    return bool(np.abs(mean - mean.mean(axis=0)).max() > 1e-6)


def _phonons(
    lattice: Phonopy,
    constants: ForceConstants,
    group: SymmetryOperations,
    way: BandPath,
    mesh: float | list[int],
    found: Any,
) -> Phonons:
    projected = _over_group(constants.values, group)
    lattice.force_constants = projected
    symmetric = {name: _frequencies(lattice, point) for name, point in way.points.items()}
    errors = {} if constants.error is None else _errors(lattice, constants, way)
    lattice.force_constants = constants.values
    points = {name: _frequencies(lattice, point) for name, point in way.points.items()}
    splittings = []
    for name, point in way.points.items():
        for members in _degenerate(symmetric[name], skip=3 if np.allclose(point, 0) else 0):
            chosen = points[name][list(members)]
            floor = _floor(lattice, point, members, errors[name]) if errors else None
            splittings.append(Splitting(name, members, float(chosen.mean()), float(np.ptp(chosen)), floor))
    bands = lattice.run_band_structure(list(way.segments)).frequencies
    grid = lattice.run_mesh(mesh, is_mesh_symmetry=False, is_gamma_center=True)
    states = lattice.run_total_dos()
    on_mesh = np.asarray(grid.frequencies)
    lowest = np.unravel_index(on_mesh.argmin(), on_mesh.shape)[0]
    return Phonons(
        bands=[np.asarray(segment) for segment in bands],
        points=points,
        splittings=splittings,
        gamma_acoustic=float(np.abs(np.sort(np.abs(_frequencies(lattice, np.zeros(3))))[:3]).max()),
        lowest=float(min(on_mesh.min(), *(band.min() for band in bands))),
        asymmetry=float(np.linalg.norm(constants.values - projected))
        / (float(np.linalg.norm(constants.values)) or 1.0),
        dos_frequencies=np.asarray(states.frequency_points),
        dos=np.asarray(states.dos),
        spurious=found,
        force_constants=constants.values,
        residual_force=found.largest_force,
        imaginary=_imaginary(on_mesh, np.asarray(grid.qpoints)),
        modes=int(on_mesh.size),
        lowest_at=tuple(float(x) for x in np.asarray(grid.qpoints)[lowest]),
        lattice=lattice,
    )


def _imaginary(frequencies: np.ndarray, points: np.ndarray) -> int:
    """Count imaginary modes of a mesh (points, bands) but for the three acoustic ones at Γ, which are rounding."""
    counted = frequencies < -IMAGINARY
    gamma = np.abs(points - points.round()).max(axis=1) < 1e-9
    for place in np.flatnonzero(gamma):
        counted[place, np.argsort(np.abs(frequencies[place]))[:3]] = False
    return int(counted.sum())


def _frequencies(lattice: Phonopy, point: np.ndarray) -> np.ndarray:
    return np.asarray(lattice.run_qpoints(point[None]).frequencies[0])


def _matrix(lattice: Phonopy, point: np.ndarray) -> np.ndarray:
    """Return the dynamical matrix at a q-point, in phonopy's units before they become THz."""
    matrix: Any = lattice.dynamical_matrix
    matrix.run(point)
    return np.array(matrix.dynamical_matrix)


def _errors(lattice: Phonopy, constants: ForceConstants, way: BandPath) -> dict[str, np.ndarray]:
    """Return what Φ(2d) − Φ(d) makes of the dynamical matrix, at every special point."""
    assert constants.error is not None
    matrices = []
    for values in (constants.values, constants.values + constants.error):
        lattice.force_constants = values
        matrices.append({name: _matrix(lattice, point) for name, point in way.points.items()})
    return {name: matrices[1][name] - matrices[0][name] for name in way.points}


def _floor(lattice: Phonopy, point: np.ndarray, members: tuple[int, ...], error: np.ndarray) -> float:
    """Return the splitting that the displacements may make of a set of bands, in THz: by perturbation in the set.

    Twice the norm of Φ(2d) − Φ(d) within the set without its trace, which shifts all bands alike: six times the part
    of it that is left in Φ(d), and as much as rounding makes of forces.
    """
    values, vectors = np.linalg.eigh(_matrix(lattice, point))
    chosen = vectors[:, list(members)]
    inside = chosen.conj().T @ error @ chosen
    inside = (inside + inside.conj().T) / 2
    width = float(
        np.abs(np.linalg.eigvalsh(inside - np.trace(inside).real / len(members) * np.eye(len(members)))).max()
    )
    middle = float(values[list(members)].mean())
    high, low = (np.sign(value) * np.sqrt(abs(value)) for value in (middle + width, middle - width))
    return max(LEAST, float(lattice.unit_conversion_factor * (high - low)))


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
