"""One progress bar for everything that takes a while, in a terminal and in a notebook."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jetsym.ranks import here

__all__ = ["progress_bar"]

#: Seconds between two pictures of a bar in a notebook, and its columns.
_PAUSE, _WIDTH = 0.2, 80


@contextmanager
def progress_bar(
    title: str, total: int | None, *, shown: bool = True, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a bar on the standard error stream; yield a function to call with the number of steps just done.

    ``total`` is None where the number of steps is not known. Steps are bytes with ``in_bytes``, shown as MB or GB. In a
    notebook the bar is a line of text below the cell, which is gone in the end.
    """
    console = Console(stderr=True)
    shown = shown and here().is_first
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Into a file a bar would write empty lines; in a notebook rich needs ipywidgets, and warns without.
        disable=not shown or not console.is_terminal or console.is_jupyter,
    )
    task = bars.add_task(title, total=total)
    if shown and console.is_jupyter:
        with _below_the_cell(bars) as draw:

            def advance(steps: int) -> None:
                bars.advance(task, steps)
                draw()

            yield advance
        return
    with bars:
        yield lambda steps: bars.advance(task, steps)


@contextmanager
def _below_the_cell(bars: Progress) -> Iterator[Callable[[], None]]:
    """Show bars in a notebook, by a display that is written anew; yield a function to do so after a step."""
    from IPython.display import display

    show: Any = display
    handle = show({"text/plain": _text(bars)}, raw=True, display_id=True)
    drawn = time.monotonic()

    def draw() -> None:
        nonlocal drawn
        if time.monotonic() - drawn >= _PAUSE:
            handle.update({"text/plain": _text(bars)}, raw=True)
            drawn = time.monotonic()

    try:
        yield draw
    finally:
        handle.update({"text/plain": ""}, raw=True)


def _text(bars: Progress) -> str:
    """Return bars as text."""
    stream = io.StringIO()
    Console(file=stream, width=_WIDTH, color_system=None, force_jupyter=False, force_terminal=False).print(bars)
    return stream.getvalue().rstrip()
