"""Limits: which jets are read where not all of them are, spread evenly over files and over the jets of each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.layout import labels
from jetsym.jets.io.formats.opening import explained

__all__ = ["choose", "cut", "spread_over"]

#: A block is made of whole clusters of a file, with at least so many jets …
_SMALLEST = 8192
#: … and is cut where a file's own clusters have more than this.
_LARGEST = 65_536


def spread_over(limit: int, files: int, size: Callable[[int], int]) -> list[int]:
    """Split a total evenly over files; what short files cannot give goes to the others. Opens only files it needs."""
    sizes: dict[int, int] = {}
    shares = [0] * files
    left, spare = limit, list(range(files))
    while left and spare:
        for place, number in enumerate(spare):
            # Differences of floors: shares differ by at most one, and few jets come from files spaced evenly.
            share = (place + 1) * left // len(spare) - place * left // len(spare)
            if share:
                sizes[number] = size(number)
                shares[number] = min(shares[number] + share, sizes[number])
        left = limit - sum(shares)
        spare = [number for number in spare if number not in sizes or shares[number] < sizes[number]]
    return shares


def choose(index: FileIndex, share: int | None, in_pieces: bool) -> list[NDArray[np.int64]]:
    """Choose jets of a file, all or a number of them spread evenly over it, as pieces to be read one by one.

    Whole clusters have to be decompressed, so not all are visited: up to 256, evenly spaced, or a few where the labels
    say that all jets are of one class.
    """
    if share is None or share >= index.n_jets:
        if not in_pieces:
            return [np.arange(index.n_jets)]
        return [np.arange(start, stop) for start, stop in cut(index.boundaries)]
    clusters = cut(index.boundaries, smallest=1)
    most = 4 if len(clusters) > 4 and _of_one_class(index) else 256
    while True:
        n = min(share, most, len(clusters))
        visited = [clusters[(2 * place + 1) * len(clusters) // (2 * n)] for place in range(n)]
        ends = np.cumsum([0, *(stop - start for start, stop in visited)])
        if ends[-1] >= share or n == len(clusters):
            break
        most *= 2
    places = (2 * np.arange(share) + 1) * ends[-1] // (2 * share)
    edges = np.searchsorted(places, ends)
    pieces = (
        places[edges[number] : edges[number + 1]] - ends[number] + start for number, (start, _) in enumerate(visited)
    )
    return [piece for piece in pieces if len(piece)]


def cut(boundaries: NDArray[np.int64], *, smallest: int = _SMALLEST, largest: int = _LARGEST) -> list[tuple[int, int]]:
    """Cut a file into blocks of whole clusters: small ones are joined, and large ones cut evenly.

    Examples
    --------
    >>> cut(np.array([0, 3, 10, 12, 40]), smallest=5, largest=20)
    [(0, 10), (10, 25), (25, 40)]
    """
    edges = [int(boundaries[0])]
    for boundary in boundaries[1:]:
        if boundary - edges[-1] >= smallest:
            edges.append(int(boundary))
    if edges[-1] != boundaries[-1]:  # what is left at the end is too small to be a block of its own
        edges[max(1, len(edges) - 1) :] = [int(boundaries[-1])]
    blocks = []
    for start, stop in pairwise(edges):
        parts = -(-(stop - start) // largest)
        inner = [start + part * (stop - start) // parts for part in range(parts + 1)]
        blocks += list(pairwise(inner))
    return blocks


def _of_one_class(index: FileIndex) -> bool:
    """Tell whether the labels of a file, which take little to read, are all the same."""
    layout = index.layout
    if not layout.labels:
        return False
    with index.reader(index) as file, explained(index.path):
        flat = {name: file.flat(name, 0, index.n_jets) for name in layout.labels}
    label = labels(index.path, flat, layout)
    return label is not None and bool((label == label[0]).all())
