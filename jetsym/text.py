"""Tables and words of rich as plain text."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

__all__ = ["as_text"]


def as_text(*renderables: Any, width: int) -> str:
    """What rich prints of tables and the like, without colours; the same in a notebook, which rich would write to.

    Parameters
    ----------
    renderables
        One after the other.
    width
        Columns at most.

    Examples
    --------
    >>> as_text("one", "two", width=80)
    'one\\ntwo\\n'
    """
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, highlight=False, force_jupyter=False)
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()
