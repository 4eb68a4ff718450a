"""What the command line adds to the library: where results are written, and what is printed."""

from __future__ import annotations

from pathlib import Path

from jetsym.errors import ConfigError

__all__ = ["check_out"]


def check_out(out: str | None) -> None:
    """Raise a ConfigError unless numbers go to a JSON file, or nowhere; all that goes beside it is named after it."""
    if out is not None and Path(out).suffix != ".json":
        beside = "pictures and all else beside it take its stem"
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json ({beside})")
