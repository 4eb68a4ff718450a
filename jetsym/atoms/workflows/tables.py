"""How the workflows on atoms print and store what they find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["compared", "number", "structure_dict"]


def number(value: float | None) -> str:
    """Three digits; a dash for None.

    Examples
    --------
    >>> number(1.23456e-7), number(None)
    ('1.23e-07', '–')
    """
    return "–" if value is None else f"{value:.3g}"


def compared(title: str, columns: Iterable[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """A table of quantities, one column for each run."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("quantity")
    for name in columns:
        table.add_column(name, justify="right")
    for name, cells in rows.items():
        table.add_row(escape(name), *map(escape, cells))
    return table


def structure_dict(atoms: Atoms) -> dict[str, Any]:
    """A structure as values that JSON can hold; lengths in Å."""
    return {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
