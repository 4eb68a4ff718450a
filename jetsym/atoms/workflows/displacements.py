"""Finite displacements of a crystal's atoms, the forces they bring, and force constants made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.workflows.forbidden import symmetry_dataset
from jetsym.errors import ConfigError, DataError, require
from jetsym.files import write_json
from jetsym.progress import progress_bar
from jetsym.reading import parse_json, read_text

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from phonopy import Phonopy

__all__ = ["ForceConstants", "as_ase", "collect_forces", "lattice_of"]

#: Forces kept of one potential and computed by another differ by more than this, relative to the largest.
OTHER = 1e-3


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Force constants from displacements d, and from d and 2d where their error is to be known and taken away.

    The error of differences grows as d², so that Φ = (4 Φ(d) − Φ(2d)) / 3 has none of that order, and Φ(2d) − Φ(d) is
    three times that of Φ(d).

    Parameters
    ----------
    values
        Φ, in eV/Å², shape (atoms, atoms, 3, 3) of the supercell.
    error
        Φ(2d) − Φ(d); None from one length.
    """

    values: NDArray[np.float64]
    error: NDArray[np.float64] | None


def lattice_of(atoms: Atoms, supercell: NDArray[np.int64], symprec: float) -> Phonopy:
    """Return phonopy with a crystal, its masses, and the primitive cell in which isotopes are atoms of their own."""
    phonopy_atoms = require("phonopy.structure.atoms", extra="atoms", purpose="phonons").PhonopyAtoms
    cells = require("phonopy.structure.cells", extra="atoms", purpose="phonons")
    unit = phonopy_atoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    _, isotopes = np.unique(np.column_stack([atoms.numbers, atoms.get_masses().round(6)]), axis=0, return_inverse=True)
    apart = phonopy_atoms(
        numbers=isotopes.reshape(-1) + 1, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions()
    )
    lattice: Phonopy = require("phonopy", extra="atoms", purpose="phonons").Phonopy(
        unit, supercell, cells.guess_primitive_matrix(apart, symprec=symprec), symprec=symprec, is_symmetry=False
    )
    return lattice


def as_ase(cell: Any) -> Atoms:
    """Return a structure of phonopy's as ASE's, with its masses."""
    from ase import Atoms

    return Atoms(
        numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, masses=cell.masses, pbc=True
    )


def collect_forces(
    lattice: Phonopy,
    atoms: Atoms,
    calculator: Calculator,
    *,
    displacement: float,
    extrapolate: bool,
    folder: Path | None,
    title: str,
    progress: bool,
) -> ForceConstants:
    """Displace every atom of the primitive cell both ways along the crystal's axes, and make force constants of it.

    Phonopy's own displacements are along the lattice vectors. Along the axes of the standardised crystal the error of
    the differences has the symmetry of cubic crystals, however they lie in space: it splits none of their bands.

    Parameters
    ----------
    lattice
        Of :func:`lattice_of`; its dataset becomes that of the displacements d.
    atoms
        The crystal that it was made of.
    calculator
        Any with forces.
    displacement
        d, in Å.
    extrapolate
        Whether to displace by 2d as well.
    folder
        Where forces are kept as they come, and taken from; None keeps none.
    title, progress
        Of the progress bar.

    Raises
    ------
    ConfigError
        The folder keeps forces of another crystal, other displacements, or another potential.
    DataError
        Forces that are not finite.
    """
    frame = np.asarray(symmetry_dataset(atoms, lattice.symmetry.tolerance).std_rotation_matrix)
    moved = [int(atom) for atom in lattice.primitive.p2s_map]
    sets: list[list[Any]] = []
    for length in (displacement, 2 * displacement)[: 2 if extrapolate else 1]:
        steps = length * np.concatenate([frame, -frame])
        sets.append([{"number": atom, "displacement": step.tolist()} for atom in moved for step in steps])
    everything = [move for moves in sets for move in moves]
    kept = None if folder is None else _Kept(folder, lattice, everything)
    still = as_ase(lattice.supercell)

    def evaluate(move: dict[str, Any]) -> NDArray[np.float64]:
        structure = still.copy()
        structure.positions[move["number"]] += move["displacement"]
        structure.calc = calculator
        found = np.array(structure.get_forces(), dtype=float)
        if not np.isfinite(found).all():
            raise DataError("forces are not finite: the structure may be outside what the potential was trained on")
        return found

    forces = []
    with progress_bar(title, len(everything), shown=progress) as advance:
        for place, move in enumerate(everything):
            forces.append(evaluate(move) if kept is None else kept.forces(place, partial(evaluate, move)))
            advance(1)
    found = []
    for place in reversed(range(len(sets))):  # the shorter ones last, which the dataset then holds
        start = sum(map(len, sets[:place]))
        lattice.dataset = {"natom": len(lattice.supercell), "first_atoms": sets[place]}
        lattice.forces = np.array(forces[start : start + len(sets[place])])
        lattice.produce_force_constants()
        found.append(np.array(lattice.force_constants))
    if not extrapolate:
        return ForceConstants(found[0], None)
    longer, shorter = found
    return ForceConstants((4 * shorter - longer) / 3, longer - shorter)


class _Kept:
    """Forces of displacements in a folder, one file each, so that a run that was stopped goes on.

    The first that are found there are computed once more, as names and settings do not tell potentials apart.
    """

    def __init__(self, folder: Path, lattice: Phonopy, moves: list[dict[str, Any]]) -> None:
        self._folder, self._is_checked = folder, False
        content = [lattice.supercell.numbers, lattice.supercell.cell, lattice.supercell.scaled_positions]
        content += [np.array([[move["number"], *move["displacement"]] for move in moves])]
        key = hashlib.sha256()
        for array in content:
            key.update(np.asarray(array, dtype=float).round(6).__add__(0.0).tobytes())
        self._key = key.hexdigest()

    def forces(self, place: int, evaluate: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        file = self._folder / f"forces-{place + 1:04d}.json"
        if not file.is_file():
            found = evaluate()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"key": self._key, "forces": found.tolist()})
            return found
        try:
            stored = parse_json(read_text(file))
            key, values = stored["key"], np.array(stored["forces"], dtype=float)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} holds no forces of a displacement; remove it, so that they are computed"
            ) from error
        if key != self._key:
            raise ConfigError(
                f"{self._folder} keeps forces of another crystal, supercell or displacement; expected a folder of this "
                "calculation's own, or an empty one"
            )
        if not self._is_checked:
            self._is_checked = True
            again = evaluate()
            if again.shape != values.shape or np.abs(again - values).max() > OTHER * max(np.abs(again).max(), 1e-6):
                raise ConfigError(
                    f"{self._folder} keeps forces of another potential: those of displacement {place + 1} differ by "
                    f"{np.abs(again - values).max():.3g} eV/Å; expected a folder of this calculation's own"
                )
        return values
