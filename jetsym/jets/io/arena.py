"""An arena: memory in which threads put the particles of many blocks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.packed_inputs import join_inputs
from jetsym.jets.io.ragged import check_alike, common_dtype

__all__ = ["Arena"]


class Arena:
    """Memory for the particles of many blocks, that threads fill side by side, again and again.

    New memory would have to be zeroed by the system for every buffer, and joining blocks would copy them: together
    these take as long as decompressing.
    """

    def __init__(self, capacity: int, columns: int) -> None:
        self.values = np.empty((capacity, columns), np.float32)
        self.kinds = np.empty(capacity, np.uint8) if columns > 4 else None
        self._used = 0
        self._lock = Lock()

    def clear(self) -> None:
        """Give all places away anew."""
        self._used = 0

    def reserve(self, particles: int) -> int | None:
        """Reserve so many places and return the first, or None where there are not as many left."""
        with self._lock:
            if self._used + particles > len(self.values):
                return None
            self._used += particles
            return self._used - particles

    def move(self, jets: PackedJets, place: int | None) -> PackedJets:
        """Return jets whose values lie in their places already as a part of the arena; others as they are."""
        if place is None or (jets.kinds is not None and jets.kinds.ndim == 2):
            return jets
        if self.kinds is not None and jets.kinds is not None:
            self.kinds[place : place + len(jets.kinds)] = jets.kinds
        return replace(jets, offsets=jets.offsets + place, values=self.values, kinds=self.kinds)

    def join(self, parts: Sequence[PackedJets]) -> tuple[PackedJets, NDArray[np.int64]] | None:
        """Join parts without a copy of their particles, and say where each of their jets is; None if that cannot be."""
        order = sorted(range(len(parts)), key=lambda number: int(parts[number].offsets[0]))
        there = [parts[number] for number in order]
        if not there or any(part.values is not self.values for part in there):
            return None
        if any(one.offsets[-1] != other.offsets[0] for one, other in pairwise(there)):
            return None
        for part in there[1:]:
            check_alike(there[0], part)
        jets = replace(
            there[0],
            offsets=np.concatenate([there[0].offsets[:1], *(part.offsets[1:] for part in there)]),
            jet_p4=np.concatenate([part.jet_p4 for part in there]),
            label=None if there[0].label is None else np.concatenate([part.label for part in there]),
            columns={name: _joined([part.columns[name] for part in there], name) for name in there[0].columns},
            inputs=join_inputs([part.inputs for part in there]),
        )
        begins = np.empty(len(parts), np.int64)
        begins[order] = np.cumsum([0, *map(len, there[:-1])])
        return jets, np.concatenate([begin + np.arange(len(part)) for begin, part in zip(begins, parts, strict=True)])


def _joined(parts: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    return np.concatenate(parts, dtype=common_dtype(parts, name), casting="unsafe")
