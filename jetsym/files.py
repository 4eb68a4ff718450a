"""Writing files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["finished_file", "write_atomically"]


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the final name only if the block ends without an error.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with finished_file(folder / "numbers.txt") as unfinished:
    ...     _ = unfinished.write_text("1 2 3")
    >>> [file.name for file in folder.iterdir()]
    ['numbers.txt']
    """
    final = Path(path).expanduser()
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{final.stem}.{os.getpid()}.unfinished{final.suffix}")
    try:
        yield unfinished
        unfinished.replace(final)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()


def write_atomically(path: str | Path, text: str) -> Path:
    """Write a text file (UTF-8), whole or not at all; returns its path."""
    with finished_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return Path(path).expanduser()
