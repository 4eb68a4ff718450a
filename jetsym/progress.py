"""One progress bar for everything that takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def progress_bar(
    title: str, total: int | None, *, shown: bool = True, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a bar on the standard error stream; yield a function to call with the number of steps just done.

    ``total`` is None where the number of steps is not known. Steps are bytes with ``in_bytes``, shown as MB or GB.
    """
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Into a file a bar would write empty lines; in a notebook rich needs ipywidgets, and warns without.
        disable=not shown or not here().is_first or not console.is_terminal or console.is_jupyter,
    )
    with bars:
        task = bars.add_task(title, total=total)
        yield lambda steps: bars.advance(task, steps)
