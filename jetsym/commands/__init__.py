"""Functions behind the commands: the library's, with files to write results to and text to print."""

from __future__ import annotations

from pathlib import Path

from jetsym.errors import ConfigError

__all__ = ["check_out"]


def check_out(out: str | None) -> None:
    """Refuse to write numbers to anything but a JSON file; all that goes beside it is named after it."""
    if out is not None and Path(out).suffix != ".json":
        beside = "figures and all else beside it take its stem"
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json ({beside})")
