"""Layers of big models in groups, so that figures of them stay legible."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.plotting.style import LINES

__all__ = ["LayerGroup", "Rows", "apart", "condensed", "grouped"]


class LayerGroup(NamedTuple):
    """Layers that a figure shows as one: what they are called, and their places."""

    name: str
    places: list[int]


def grouped(layers: Sequence[str], apart: Collection[str] = (), *, most: int = LINES) -> list[LayerGroup]:
    """Return layers one by one where they are few; else runs of those that follow each other.

    Those whose names begin alike go together, as far as that makes at least half as many groups as there may be; else
    runs are of equal numbers of layers. Outputs, ``apart``, come last, and stay by themselves where they are no more
    than half of the groups that there may be; more of them go in runs of their own.

    Examples
    --------
    >>> names = [f"blocks.{block}.{part}" for block in range(8) for part in ("attn", "mlp")]
    >>> [group.name for group in grouped(["embed", *names, "logits"], ["logits"])][:3]
    ['embed', 'blocks.0 (2)', 'blocks.1 (2)']
    >>> [group.name for group in grouped([*"abcdefgh"], most=4)]
    ['a … b', 'c … d', 'e … f', 'g … h']
    """
    if len(layers) <= most:
        return [LayerGroup(name, [place]) for place, name in enumerate(layers)]
    inner = [place for place, name in enumerate(layers) if name not in apart]
    outer = [place for place, name in enumerate(layers) if name in apart]
    outputs = _evenly(layers, outer, most // 2 if inner else most)
    room = most - len(outputs)
    return [*((_by_name(layers, inner, room) or _evenly(layers, inner, room)) if inner else ()), *outputs]


def _by_name(layers: Sequence[str], inner: list[int], room: int) -> list[LayerGroup]:
    """Return runs of names that begin alike, as finely as there is room for; none where that is much coarser."""
    deepest = max(layers[place].count(".") for place in inner)
    for depth in range(deepest, 0, -1):
        runs = [
            (start, list(places))
            for start, places in groupby(inner, key=lambda place: ".".join(layers[place].split(".")[:depth]))
        ]
        if len(runs) <= room:
            if len(runs) < room // 2:
                return []
            named = [layers[places[0]] if len(places) == 1 else f"{start} ({len(places)})" for start, places in runs]
            return [LayerGroup(name, places) for name, (_, places) in zip(named, runs, strict=True)]
    return []


def _evenly(layers: Sequence[str], inner: list[int], room: int) -> list[LayerGroup]:
    runs = [part.tolist() for part in np.array_split(inner, room) if len(part)]
    return [
        LayerGroup(layers[run[0]] if len(run) == 1 else f"{layers[run[0]]} … {layers[run[-1]]}", run) for run in runs
    ]


def apart(groups: Sequence[LayerGroup], layers: Sequence[str], hidden: Collection[str]) -> Callable[[Any], Any]:
    """Return what lets lines end before outputs that are parallel: it puts a gap, NaN, before each of several.

    Parameters
    ----------
    groups
        What the figure shows, in its order.
    layers, hidden
        Names of all layers, and of those that are no outputs. A single output goes on from the last layer.

    Examples
    --------
    >>> groups = grouped(["first", "last", "score", "dipole"])
    >>> apart(groups, ["first", "last", "score", "dipole"], ["first", "last"])([1.0, 2.0, 3.0, 4.0]).tolist()
    [1.0, 2.0, nan, 3.0, nan, 4.0]
    >>> apart(groups, ["first", "last", "score", "dipole"], ["first", "last", "score"])([1.0, 2.0, 3.0, 4.0]).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    outputs = [place for place, group in enumerate(groups) if not {layers[row] for row in group.places} & {*hidden}]
    gaps = [place for place in outputs if place] if len(outputs) > 1 else []
    return lambda values: np.insert(np.asarray(values, dtype=float), gaps, np.nan, axis=-1)


def condensed(values: NDArray[Any], errors: NDArray[Any], groups: Sequence[LayerGroup]) -> tuple[Any, Any]:
    """Return (groups,) means of values (layers,), and (2, groups) bars: errors of single layers, else the range.

    Examples
    --------
    >>> mean, bars = condensed(np.array([1.0, 2.0, 6.0]), np.ones(3), [LayerGroup("a", [0]), LayerGroup("b", [1, 2])])
    >>> mean.tolist(), bars.tolist()
    ([1.0, 4.0], [[1.0, 2.0], [1.0, 2.0]])
    """
    mean = np.array([values[group.places].mean() for group in groups])
    ends = [
        (errors[group.places[0]], errors[group.places[0]])
        if len(group.places) == 1
        else (at - values[group.places].min(), values[group.places].max() - at)
        for group, at in zip(groups, mean, strict=True)
    ]
    return mean, np.maximum(np.array(ends, dtype=float).reshape(-1, 2).T, 0)  # a mean of equals may be rounded


class Rows(NamedTuple):
    """What stands along the x axis of a figure of layers, with gaps before outputs that are parallel."""

    groups: Sequence[LayerGroup]
    positions: Any
    gaps: Callable[[Any], Any]

    @classmethod
    def of(cls, report: Any, groups: Sequence[LayerGroup], hidden: Collection[str] | None = None) -> Rows:
        """Return those of a report's groups, with the layers that are no outputs where the report does not know."""
        gaps = apart(groups, report.layers, report.hidden if hidden is None else hidden)
        return cls(groups, gaps(np.arange(len(groups))), gaps)

    def of_layers(self, values: Any, errors: Any) -> tuple[Any, Any]:
        """Return means of values (layers,) and their bars, as :func:`condensed` makes them, with the gaps."""
        mean, bars = condensed(values, errors, self.groups)
        return self.gaps(mean), self.gaps(bars)
