"""Supercells by the distance of images: of the crystal's symmetry where one is, and as far as a potential reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.workflows.calculators import exported_model
from jetsym.atoms.workflows.forbidden import distinct_rotations, standardized
from jetsym.errors import ConfigError, require

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "choose_supercell",
    "expect_supercell",
    "image_distance",
    "interaction_range",
    "kept",
    "point_group",
    "well_shaped",
]

#: Distance of an atom from its images, in Å, where none is asked for.
LEAST = 10.0
#: A potential that reaches further is followed up to so many atoms.
ATOMS = 500
#: Where calculators of other packages keep how far they reach, in Å.
RANGES = ("rc_list", "rc", "r_cut", "cutoff")
#: Rounding of integers of matrices between lattices.
WHOLE = 1e-3


def image_distance(cell: NDArray[np.float64]) -> float:
    """Return the length of the shortest vector of a lattice, the distance of an atom from its nearest image.

    Parameters
    ----------
    cell
        Lattice vectors as rows, (3, 3), in Å, however skewed.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> round(image_distance(np.array([[3.0, 0, 0], [30, 4, 0], [0, 0, 5]])), 6)
    3.0
    """
    return float(np.linalg.norm(reduced(cell), axis=1).min())


def reduced(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Minkowski's reduced vectors of a lattice, right-handed; those that are reduced already stay."""
    geometry = require("ase.geometry", extra="atoms", purpose="supercells")
    vectors = np.asarray(cell if geometry.is_minkowski_reduced(cell) else geometry.minkowski_reduce(cell)[0])
    return np.asarray(vectors * np.sign(np.linalg.det(vectors)))


def expect_supercell(given: Any) -> NDArray[np.int64]:
    """Return the matrix of a supercell: of one number, of three, or of a matrix (3, 3).

    Raises
    ------
    ConfigError
        It is none of these, of numbers that are not whole, or spans nothing.

    Examples
    --------
    >>> expect_supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]).tolist()
    [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    """
    what = given.tolist() if isinstance(given, np.ndarray) else list(given) if isinstance(given, Sequence) else given
    refusal = ConfigError(f"supercell is {what}; expected three positive numbers of copies, or a 3 x 3 matrix of them")
    if isinstance(given, bool):
        raise refusal
    try:
        array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise refusal from None
    if array.shape in ((), (1,), (3,)):
        array = np.diag(np.broadcast_to(array, (3,))) if (array >= 1).all() else np.zeros((3, 3))
    if array.size == 9:
        array = array.reshape(3, 3)
    if array.shape != (3, 3) or not np.isfinite(array).all() or (array != array.round()).any():
        raise refusal
    if abs(np.linalg.det(array)) < 0.5:
        raise refusal
    return array.astype(int)


def well_shaped(matrix: NDArray[np.int64], cell: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the matrix of the same superlattice with reduced, right-handed vectors, which calculators take well.

    Matrices are phonopy's: the vectors of the supercell are the rows of ``matrix.T @ cell``.
    """
    return _whole(reduced(matrix.T @ cell) @ np.linalg.inv(cell)).T


def choose_supercell(atoms: Atoms, *, reach: float | None, symprec: float) -> NDArray[np.int64]:
    """Choose a supercell whose images are at least :data:`LEAST` away, and as far as a potential reaches.

    Copies of the given cell along its vectors are taken where they keep the crystal's rotations; of other lattices the
    one with the fewest atoms is, of those that keep most rotations.

    Parameters
    ----------
    atoms
        The crystal, in a right-handed cell.
    reach
        How far the potential reaches, in Å; it counts as long as there are at most :data:`ATOMS` atoms.
    symprec
        Tolerance of the space group, Å.

    Returns
    -------
    (3, 3) integers, phonopy's supercell matrix.
    """
    cell = np.asarray(atoms.cell.array)
    rotations = point_group(atoms, symprec)
    least = LEAST
    if reach is not None and np.isfinite(reach) and reach > least:
        found = _best(atoms, cell, rotations, reach, symprec)
        if len(atoms) * abs(round(np.linalg.det(found))) <= ATOMS:
            return found
    return _best(atoms, cell, rotations, least, symprec)


def _best(
    atoms: Atoms, cell: NDArray[np.float64], rotations: NDArray[np.float64], least: float, symprec: float
) -> NDArray[np.int64]:
    first = np.diag(_copies(cell, least))
    if image_distance(first @ cell) >= least * (1 - WHOLE) and kept(first @ cell, rotations) == len(rotations):
        return first
    found: list[tuple[int, int, int, NDArray[np.int64]]] = []
    for vectors in _lattices(atoms, cell, least, symprec):
        matrix = vectors @ np.linalg.inv(cell)
        if np.abs(matrix - matrix.round()).max() > WHOLE or image_distance(vectors) < least * (1 - WHOLE):
            continue
        whole = _whole(matrix).T
        found.append((-kept(vectors, rotations), abs(round(np.linalg.det(whole))), len(found), whole))
    return min(found)[3]  # the third is a number of its own for each


def _lattices(atoms: Atoms, cell: NDArray[np.float64], least: float, symprec: float) -> Iterator[NDArray[np.float64]]:
    """Yield superlattices as rows: copies of the cell itself, of reduced vectors, and of the conventional cell."""
    yield int(np.ceil(least / image_distance(cell) - WHOLE)) * cell
    others = [reduced(cell)]
    for primitive in (True, False):
        standard = standardized(atoms, symprec, primitive=primitive)
        others += [] if standard is None else [standard.cell.array]
    for other in others:
        short = reduced(other)
        yield int(np.ceil(least / image_distance(short) - WHOLE)) * short
        for vectors in (other, short):
            copies = _copies(vectors, least)
            for _ in range(8):
                if image_distance(copies[:, None] * vectors) >= least * (1 - WHOLE):
                    yield copies[:, None] * vectors
                    break
                copies = copies + 1


def _copies(vectors: NDArray[np.float64], least: float) -> NDArray[np.int64]:
    return np.asarray(np.ceil(least / np.linalg.norm(vectors, axis=1) - WHOLE).astype(int).clip(1))


def _whole(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(matrix.round().astype(int))


def point_group(atoms: Atoms, symprec: float) -> NDArray[np.float64]:
    """Return the rotations of a crystal's primitive cell, (n, 3, 3), which copies of a cell may lack."""
    primitive = standardized(atoms, symprec)
    return distinct_rotations(atoms if primitive is None else primitive, symprec)


def kept(vectors: NDArray[np.float64], rotations: NDArray[np.float64]) -> int:
    """Return how many rotations carry a lattice onto itself."""
    moved = vectors @ np.swapaxes(rotations, 1, 2) @ np.linalg.inv(vectors)
    return int((np.abs(moved - moved.round()).max(axis=(1, 2)) < 10 * WHOLE).sum())


def interaction_range(calculator: Any) -> float | None:
    """Return how far a calculator says that it reaches, in Å; None where it says nothing.

    Metatomic's models declare it, and MACE's as the cutoff of every one of its layers; of others an attribute or a
    parameter named as a cutoff is taken, where there is a number.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> from ase.calculators.lj import LennardJones
    >>> interaction_range(LennardJones(rc=7.5))
    7.5
    """
    exported = exported_model(calculator)
    if exported is not None:
        return float(exported.capabilities().engine_interaction_range("angstrom"))
    inner = getattr(calculator, "base_calculator", calculator)
    if isinstance(cutoff := _number(getattr(inner, "r_max", None)), float):
        layers = max([1, *(int(getattr(model, "num_interactions", 1)) for model in getattr(inner, "models", []))])
        return layers * cutoff
    told = [getattr(inner, name, None) for name in RANGES]
    told += [(getattr(inner, "parameters", None) or {}).get(name) for name in RANGES]
    return next((number for value in told if (number := _number(value)) is not None), None)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if number > 0 else None
