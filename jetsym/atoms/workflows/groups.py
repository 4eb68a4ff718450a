"""What is to be said of a crystal's space group: at other tolerances, as its file names it, and where it is P1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.atoms.workflows.forbidden import TOLERANCES, group_at, symmetry_dataset
from jetsym.errors import ConfigError, DataError, require

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["notes_on_group", "refined"]


def notes_on_group(atoms: Atoms, symprec: float, symmetrized: Any = None) -> list[str]:
    """Say where the file of a crystal names another group, where its own holds roughly, and that P1 has no rotations.

    Parameters
    ----------
    atoms
        The structure.
    symprec
        Tolerance of the space group, Å.
    symmetrized
        The averaged calculator, if there is one.
    """
    if not atoms.pbc.all():
        return []
    notes = []
    found = symmetry_dataset(atoms, symprec)
    here = f"{found.international} ({found.number})"
    named: Any = atoms.info.get("spacegroup")
    number = getattr(named, "no", 1)
    if number not in (1, found.number):
        notes.append(
            f"The file names {''.join(str(named.symbol).split())} ({number}), but within symprec = {symprec:g} Å the "
            f"structure is {here}: use a larger symprec (--symprec), or refine the structure with it (--refine)."
        )
    finest = min(TOLERANCES)
    exact = group_at(atoms, finest)
    if symprec > finest and exact not in (here, None):
        notes.append(
            f"The structure is {here} within symprec = {symprec:g} Å, and {exact} within {finest:g} Å, which splits "
            "bands in any potential: refining the structure (--refine) makes it exact."
        )
    average = getattr(symmetrized, "average", None)
    if getattr(symmetrized, "group", None) == "space" and callable(average) and len(average(atoms).weights) == 1:
        notes.append(
            f"{here} has no rotations to average over, so that the symmetrised potential is the plain one: average "
            "over O3 instead, or take a larger symprec."
        )
    return notes


def refined(atoms: Atoms, symprec: float) -> Atoms:
    """Return a crystal with the cell and positions that its space group asks for, by ASE, in the same setting.

    Raises
    ------
    ConfigError
        The structure is no crystal.
    DataError
        There is no such group within the tolerance.

    Examples
    --------
    >>> import pytest
    >>> spglib = pytest.importorskip("spglib")
    >>> from ase.build import bulk
    >>> from jetsym.atoms.workflows.forbidden import space_group
    >>> rough = bulk("Cu", "hcp", a=2.55, c=4.17)
    >>> rough.positions[1] += 1e-4
    >>> space_group(rough, symprec=1e-5), space_group(refined(rough, 1e-2), symprec=1e-5)
    ('P-1 (2)', 'P6_3/mmc (194)')
    """
    if not atoms.pbc.all():
        raise ConfigError(f"refine needs a crystal, periodic in all directions; pbc of the structure is {atoms.pbc}")
    symmetry_dataset(atoms, symprec)  # which says so where there is none
    symmetrize = require("ase.spacegroup.symmetrize", extra="atoms", purpose="refining a structure")
    exact: Atoms = atoms.copy()
    exact.set_constraint()
    try:
        symmetrize.refine_symmetry(exact, symprec)
    except Exception as error:  # what ASE and spglib raise where the group of the refined cell is another one
        raise DataError(f"{atoms.get_chemical_formula()} cannot be refined within {symprec} Å: {error}") from error
    moved = np.abs(exact.positions - atoms.positions).max()
    if moved > 100 * symprec:
        raise DataError(f"refining moves an atom by {moved:.3g} Å, more than symprec = {symprec} Å should")
    exact.set_constraint(atoms.constraints)
    return exact
