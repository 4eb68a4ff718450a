"""Who repairs a run: told by what lies in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetsym.domains.table import TABLE, _named
from jetsym.errors import CheckpointError

__all__ = ["repair_of"]


def repair_of(run: str | Path) -> Callable[..., Any]:
    """Who repairs the run in a folder.

    Raises
    ------
    CheckpointError
        The folder holds no run.
    """
    folder = Path(run).expanduser()
    for row in TABLE:
        if (folder / row.run).is_file():
            return _named(row.repairs)
    expected = " or ".join(f"{row.run} ({row.name})" for row in TABLE)
    raise CheckpointError(f"{run} holds no run; expected a folder with {expected}")
