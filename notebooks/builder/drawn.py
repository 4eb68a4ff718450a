"""Figures of the pages that are drawn as these are built: what needs no training, and what was measured before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["figures"]

FIGURES = Path(__file__).parents[1] / "figures"


def figures() -> dict[str, bytes]:
    """Return the contents of the figures, by their place in the documentation."""
    with TemporaryDirectory() as folder, scripts():
        import common
        import what_a_and_b_are

        common.prepare()
        what_a_and_b_are.draw(Path(folder))
        return {"figures/what_a_and_b_are.png": (Path(folder) / "what_a_and_b_are.png").read_bytes()}


@contextmanager
def scripts() -> Iterator[None]:
    """Let the scripts of the figures be imported, as they import each other."""
    sys.path.insert(0, str(FIGURES))
    try:
        yield
    finally:
        sys.path.remove(str(FIGURES))
