"""Who repairs a run: told by what lies in its folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from jetsym.domains.table import TABLE
from jetsym.errors import CheckpointError

__all__ = ["repair_of"]

#: Domain -> the module whose ``repair`` writes how to train its models better.
REPAIRS = {"jets": "jetsym.repair.tagger", "atoms": "jetsym.repair.potential"}


def repair_of(run: str | Path) -> Callable[..., Any]:
    """Return who repairs the run in a folder.

    Raises
    ------
    CheckpointError
        The folder holds no run.
    """
    folder = Path(run).expanduser()
    rows = [row for row in TABLE if row.name in REPAIRS]
    for row in rows:
        if (folder / row.run).is_file():
            repair: Callable[..., Any] = import_module(REPAIRS[row.name]).repair
            return repair
    expected = " or ".join(f"{row.run} ({row.name})" for row in rows)
    raise CheckpointError(f"{run} holds no run; expected a folder with {expected}")
