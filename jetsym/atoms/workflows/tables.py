"""Tables of the workflows on atoms, and structures as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from jetsym.atoms.frames import results_of
from jetsym.text import table_of

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["compared", "number", "structure_dict", "structure_of"]


def number(value: float | None) -> str:
    """Write three digits; a dash for None.

    Examples
    --------
    >>> number(1.23456e-7), number(None)
    ('1.23e-07', '–')
    """
    return "–" if value is None else f"{value:.3g}"


def compared(title: str, columns: Iterable[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """Return a table of quantities, one column for each run."""
    lines = [(name, *cells) for name, cells in rows.items()]
    return table_of(title, ("quantity", *columns), lines)


def structure_dict(atoms: Atoms) -> dict[str, Any]:
    """Return a structure as values that JSON can hold: lengths in Å, energy and forces, where it has them, in eV."""
    results = results_of(atoms)
    return {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
        **({"masses": atoms.get_masses().tolist()} if atoms.has("masses") else {}),  # of isotopes
        "results": {name: np.asarray(results[name]).tolist() for name in ("energy", "forces") if name in results},
    }


def structure_of(data: Mapping[str, Any]) -> Atoms:
    """Return the structure that :func:`structure_dict` gave ``data`` of."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(data["symbols"], data["positions"], masses=data.get("masses"), cell=data["cell"], pbc=data["pbc"])
    if data.get("results"):  # which version 0.1.0 did not write
        atoms.calc = SinglePointCalculator(atoms, **{name: np.array(value) for name, value in data["results"].items()})
    return atoms
