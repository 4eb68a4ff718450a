"""Files that commands write: how they may be named, and which there are in the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size

from jetsym.errors import ConfigError, FaultError
from jetsym.files import recorded

__all__ = ["naming_written", "numbers_file", "terminal_width"]

#: Files of a folder that are named one by one; of more their number is said.
MANY = 8


def numbers_file(out: str) -> str:
    """Return the file of numbers that is meant by a name without an ending.

    Raises
    ------
    ConfigError
        It is the name of a folder.

    Examples
    --------
    >>> numbers_file("relaxed"), numbers_file("report.json"), numbers_file("figure.png")
    ('relaxed.json', 'report.json', 'figure.png')
    """
    path = Path(out).expanduser()
    if out.endswith(("/", os.sep)) or (path.is_dir() and path.suffix == ""):
        inside = Path(out) / "report.json"
        raise ConfigError(f"--out is {out!r}, a folder; expected the name of a file, such as {inside}")
    return out if path.suffix else f"{out}.json"


def terminal_width() -> int | None:
    """Return the columns of the terminal that is written to, or as COLUMNS says; None where it is a file or a pipe."""
    known = os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty()
    return get_terminal_size().columns if known else None


@contextmanager
def naming_written() -> Iterator[None]:
    """Say on the standard error stream which files were written within the block, if it comes to its end."""
    with recorded() as written:
        try:
            yield
        except FaultError:  # which was found and written down
            _name(written)
            raise
    _name(written)


def _name(written: Sequence[Path]) -> None:
    folders: dict[Path, list[str]] = {}
    for path in dict.fromkeys(written):
        if path.is_file():
            folders.setdefault(path.parent, []).append(path.name)
    for folder, names in folders.items():
        where = "" if folder == Path() else f" in {folder}"
        last = f" and {names[-1]}" if names[1:] else names[-1]
        said = f"{len(names)} files" if len(names) > MANY else ", ".join(names[:-1]) + last
        print(f"wrote {said}{where}", file=sys.stderr)
