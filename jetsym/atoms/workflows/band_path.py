"""The path through a Brillouin zone along which phonon bands are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from jetsym.errors import ConfigError

__all__ = ["BandPath", "band_path"]


@dataclass(frozen=True)
class BandPath:
    """A path along special points.

    Parameters
    ----------
    segments
        q-points of each segment in fractions of the reciprocal vectors, each of shape (points, 3).
    distances
        Distances of these along the path, in 1/Å without 2π.
    ticks
        Distances and names of the special points.
    points
        The special points on the path.
    """

    segments: Sequence[np.ndarray]
    distances: Sequence[np.ndarray]
    ticks: Sequence[tuple[float, str]]
    points: Mapping[str, np.ndarray]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        return {
            "segments": [segment.tolist() for segment in self.segments],
            "distances": [distance.tolist() for distance in self.distances],
            "ticks": [[place, name] for place, name in self.ticks],
            "points": {name: point.tolist() for name, point in self.points.items()},
        }


def band_path(cell: np.ndarray, *, path: str | None = None, points: int = 41, eps: float = 2e-4) -> BandPath:
    """Make a path through the Brillouin zone of a primitive cell, by default the standard one of its lattice.

    Parameters
    ----------
    cell
        Lattice vectors as rows, in Å, shape (3, 3).
    path
        Names of special points as ASE writes them; a comma where it jumps.
    points
        Points on the longest segment; the others have as many per length.
    eps
        Relative tolerance in telling the lattice.

    Raises
    ------
    ConfigError
        A special point that the lattice does not have.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> import numpy as np
    >>> way = band_path(np.array([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]), path="GX,GL", points=5)
    >>> [name for _, name in way.ticks], len(way.segments)
    (['Γ', 'X|Γ', 'L'], 2)
    """
    from ase.cell import Cell

    if points < 2:
        raise ConfigError(f"points is {points}; expected 2 or more on a segment")
    lattice = Cell(cell)
    special = lattice.bandpath(npoints=0, eps=eps).special_points
    standard = lattice.bandpath(npoints=0, eps=eps).path
    legs = [_names(part, list(special)) for part in (path or standard).split(",")]
    if min(map(len, legs)) < 2:
        raise ConfigError(f"path is {path!r}; expected two special points or more between commas, such as 'GXWKGL'")
    reciprocal = np.linalg.inv(cell).T  # rows, without 2π
    pairs = [pair for leg in legs for pair in pairwise(leg)]
    lengths = [float(np.linalg.norm((special[end] - special[start]) @ reciprocal)) for start, end in pairs]
    segments, distances, place = [], [], 0.0
    ticks: list[tuple[float, str]] = []
    for (start, end), length in zip(pairs, lengths, strict=True):
        count = max(2, round((points - 1) * length / max(lengths)) + 1)
        segments.append(np.linspace(special[start], special[end], count))
        distances.append(place + np.linspace(0, length, count))
        if not ticks:
            ticks.append((0.0, _shown(start)))
        elif ticks[-1][1] != _shown(start):  # the path jumps
            ticks[-1] = (ticks[-1][0], f"{ticks[-1][1]}|{_shown(start)}")
        place += length
        ticks.append((place, _shown(end)))
    names = dict.fromkeys(name for leg in legs for name in leg)
    return BandPath(segments, distances, ticks, {_shown(name): np.asarray(special[name]) for name in names})


def _names(part: str, known: list[str]) -> list[str]:
    """Split "GXW1K" into G, X, W1, K."""
    names: list[str] = []
    rest = part.strip()
    while rest:
        found = [name for name in known if rest.startswith(name)]
        if not found:
            raise ConfigError(f"path has no special point at {rest!r}; this lattice has {', '.join(known)}")
        name = max(found, key=len)
        names.append(name)
        rest = rest[len(name) :]
    return names


def _shown(name: str) -> str:
    return "Γ" if name == "G" else name
