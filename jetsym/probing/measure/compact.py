"""Results of batches of inputs, laid side by side in memory.

A probe of many inputs keeps a few small arrays of every batch. Each lies where there was room for it between the large
ones of a forward pass, and keeps the room around it from being used for these again: with many batches that is as much
memory as the results take themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

__all__ = ["compact", "compacted"]

T = TypeVar("T")

#: Batches whose results are laid side by side.
TOGETHER = 32


def compacted(found: Iterable[tuple[int, tuple[Mapping[str, Any], ...]]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield numbered results of batches, each some mappings of names to results, as they are, but side by side."""
    waiting: list[tuple[int, tuple[Mapping[str, Any], ...]]] = []
    for item in found:
        waiting.append(item)
        if len(waiting) == TOGETHER:
            yield from _side_by_side(waiting)
            waiting.clear()
    yield from waiting


def _side_by_side(found: Sequence[tuple[int, tuple[Mapping[str, Any], ...]]]) -> list[tuple[int, tuple[Any, ...]]]:
    changed: list[tuple[dict[str, Any], ...]] = [tuple(dict(one) for one in items) for _, items in found]
    for place in range(len(changed[0])):
        for name in {name for items in changed for name in items[place]}:
            those = [items[place] for items in changed if name in items[place]]
            for one, result in zip(those, compact([one[name] for one in those]), strict=True):
                one[name] = result
    return [(number, items) for (number, _), items in zip(found, changed, strict=True)]


def compact(results: Sequence[T]) -> list[T]:
    """Return dataclasses of one kind with the values that they have, their arrays being parts of common ones.

    Examples
    --------
    >>> from jetsym.spectrum import SO3, Spectrum
    >>> parts = [Spectrum(SO3().irreps(0), np.full((n, 1), n), np.ones(n), 9, 0.0, "random") for n in (1, 2)]
    >>> first, second = compact(parts)
    >>> first.power.tolist(), second.power.tolist(), first.power.base is second.power.base
    ([[1]], [[2], [2]], True)
    """
    changes: list[dict[str, Any]] = [{} for _ in results]
    for field in fields(results[0]):  # type: ignore[arg-type]
        values = _laid([getattr(one, field.name) for one in results])
        for change, value in zip(changes, values, strict=True):
            change[field.name] = value
    return [replace(one, **change) for one, change in zip(results, changes, strict=True)]  # type: ignore[type-var]


def _laid(values: Sequence[Any]) -> Sequence[Any]:
    """Lay arrays of one type side by side, also those of dataclasses and named tuples; leave other values alone."""
    first = values[0]
    if len({value.dtype if isinstance(value, np.ndarray) else type(value) for value in values}) > 1:
        return values
    if isinstance(first, np.ndarray):
        joined = np.concatenate([value.ravel() for value in values])
        ends = np.cumsum([value.size for value in values])
        return [joined[end - value.size : end].reshape(value.shape) for value, end in zip(values, ends, strict=True)]
    if is_dataclass(first):
        return compact(values)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return [type(first)(*one) for one in zip(*map(_laid, zip(*values, strict=True)), strict=True)]
    return values
