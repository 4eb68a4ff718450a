"""Items made ahead by another thread, while the ones before them are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(items: Iterator[T], *, depth: int = 2) -> Generator[T, None, None]:
    """Yield items, of which another thread makes up to ``depth`` while the one before them is used.

    What it raises is raised here, in its place. When the loop over this ends, early or not, the thread has ended, and
    a generator that it ran is closed.

    Examples
    --------
    >>> list(ahead(iter(range(3))))
    [0, 1, 2]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="jetsym-ahead") as pool:
        try:
            waiting = deque(pool.submit(_following, items) for _ in range(depth))
            while found := waiting.popleft().result():
                waiting.append(pool.submit(_following, items))
                yield found.pop()  # so that nothing here holds what has been handed over
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(items, Generator):
                items.close()


def _following(items: Iterator[T]) -> list[T]:
    return list(islice(items, 1))
