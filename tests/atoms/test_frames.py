"""Structures that nothing can be computed of are refused before any list of neighbours is made."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.errors import DataError

pytest.importorskip("ase", reason="the extra 'atoms' is not installed")

from ase.build import bulk, molecule

from jetsym.atoms.frames import expect_usable


def far(distance: float):
    atoms = molecule("CH3OH")
    atoms.positions[0] += distance
    return atoms


def thin(factor: float):
    atoms = bulk("Cu")
    atoms.set_cell(atoms.cell * factor, scale_atoms=True)
    return atoms


def with_vector(vector):
    atoms = bulk("Cu")
    atoms.cell[2] = vector
    return atoms


CASES = {
    "1e6 Å away": (far(1e6), "has an atom 1.73e\\+06|has an atom 1e\\+06 Å away"),
    "1e300 Å away": (far(1e300), "Å away from the origin"),
    "a tiny cell": (thin(1e-3), "repeats after 0.002"),
    "a flat cell": (with_vector([0, 1.8, 1.8]), "lie in a plane"),
    "a cell of one vector twice": (with_vector(bulk("Cu").cell[1]), "lie in a plane"),
    "a vector of zero": (with_vector([0, 0, 0]), "lie in a plane, on a line or are zero"),
    "NaN": (far(np.nan), "not finite"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_nothing_can_be_computed_of(case):
    atoms, message = CASES[case]
    with pytest.raises(DataError, match=message):
        expect_usable(atoms)


@pytest.mark.parametrize("atoms", [far(1e4), thin(0.1), thin(100.0), molecule("H2O")])
def test_what_is_only_unusual_is_taken(atoms):
    expect_usable(atoms)


def test_lists_of_neighbours_are_made_of_usable_structures_alone():
    pytest.importorskip("metatomic.torch")
    from jetsym.atoms.structures import Structures

    for atoms, message in CASES.values():
        with pytest.raises(DataError, match=message):
            Structures.build([molecule("H2O"), atoms], [])
