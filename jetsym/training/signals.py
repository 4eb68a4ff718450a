"""SIGTERM, which batch systems send to a job before they kill it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["noticing_sigterm"]


@contextmanager
def noticing_sigterm() -> Iterator[Callable[[], bool]]:
    """Handle SIGTERM, which batch systems send before killing a job: yield a function that says whether it came.

    Python lets only the main thread handle signals; elsewhere the function always returns False.

    Examples
    --------
    >>> with noticing_sigterm() as asked:
    ...     before = asked()
    ...     signal.raise_signal(signal.SIGTERM)
    ...     before, asked()
    (False, True)
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    earlier = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if earlier is None else earlier)
