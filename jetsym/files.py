"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["finished_file", "remove_leftovers", "sha256_of", "write_atomically", "write_json"]


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, which takes its name only if the block ends without an error.

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
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a file cannot be written where a folder is", str(final))
    final.parent.mkdir(parents=True, exist_ok=True)
    # The process number keeps two writers of the same file apart: the last one to finish wins, neither is torn.
    unfinished = final.with_name(_unfinished_name(final, os.getpid()))
    try:
        yield unfinished
        unfinished.replace(final)
    finally:
        unfinished.unlink(missing_ok=True)


def write_atomically(path: str | Path, text: str) -> Path:
    """Write a text file (UTF-8), whole or not at all; return its path."""
    with finished_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return Path(path).expanduser()


def write_json(path: str | Path, values: Any) -> Path:
    """Write plain values as JSON to be read by people as well, whole or not at all; return its path."""
    return write_atomically(path, json.dumps(values, indent=1) + "\n")


def sha256_of(path: str | Path) -> str:
    """Return the checksum of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed processes left behind while they wrote a file."""
    for leftover in Path(path).parent.glob(_unfinished_name(Path(path), "*")):
        leftover.unlink(missing_ok=True)


def _unfinished_name(path: Path, process: int | str) -> str:
    # The suffix stays last, as some writers choose the format by it.
    return f".{path.stem}.{process}.part{path.suffix}"
