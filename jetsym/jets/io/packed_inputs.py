"""PackedInput: an input (:mod:`jetsym.jets.inputs`) without padding, as streams and caches hold it.

The rows of the members that are there are kept as they are, and filled up on the device where the batch is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapped import ranges_of, rows_of
from jetsym.jets.io.ragged import offsets_of

__all__ = ["PackedInput", "join_inputs"]


@dataclass(frozen=True, eq=False)
class PackedInput:
    """An input without padding, in numpy arrays or torch tensors.

    Parameters
    ----------
    form
        Its form.
    values
        (Q, V) float32: the members of all jets one after the other, of each jet at most as many as the input is long;
        (B, V) where it has no length.
    offsets
        (B + 1,) int64: the members of jet i are ``offsets[i]`` to ``offsets[i + 1]``; None where it has no length.

    Examples
    --------
    Two jets of two members and of one, in an input of length 3.

    >>> rows = np.array([[1, 10], [2, 20], [3, 30]], "float32")
    >>> repeated = PackedInput(InputForm(("pt", "eta"), length=3), rows, np.array([0, 2, 3]))
    >>> repeated.batch().padded().tolist()
    [[[1.0, 2.0, 1.0], [10.0, 20.0, 10.0]], [[3.0, 3.0, 3.0], [30.0, 30.0, 30.0]]]
    >>> filled = PackedInput(InputForm(("pt", "eta"), length=3, fill=(0.0, -1.0)), rows, np.array([0, 2, 3]))
    >>> filled.take(np.array([1])).batch().padded().tolist()
    [[[3.0, 0.0, 0.0], [30.0, -1.0, -1.0]]]
    """

    form: InputForm
    values: Any
    offsets: Any = None

    def take(self, jets: NDArray[np.int64]) -> PackedInput:
        """Select the jets (n,) of these numbers, in their order."""
        if self.offsets is None:
            return replace(self, values=self.values.take(jets, axis=0))
        starts, counts = ranges_of(self.offsets, jets)
        offsets = offsets_of(counts)
        return replace(self, values=rows_of(self.values, starts, offsets), offsets=offsets)

    def slice(self, start: int, stop: int) -> PackedInput:
        """Select the jets ``start`` to ``stop``: views of what is in memory, but for the offsets."""
        if self.offsets is None:
            return replace(self, values=self.values[start:stop])
        offsets = self.offsets[start : stop + 1]
        return replace(self, values=self.values[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])

    def batch(self) -> PackedInput:
        """Return the same memory as torch tensors."""
        return self.map(torch.from_numpy)

    def map(self, change: Callable[[Any], Any]) -> PackedInput:
        """Change the values and the offsets."""
        return replace(self, values=change(self.values), offsets=None if self.offsets is None else change(self.offsets))

    def padded(self) -> Tensor:
        """Return the input (B, V, length) of torch tensors, filled up on the device where they are."""
        if self.offsets is None:
            values: Tensor = self.values
            return values
        place = torch.arange(self.form.shape[-1], device=self.values.device)
        counts = self.offsets.diff()[:, None]
        there = place < counts
        if self.form.fill is None:
            place, there = place % counts.clamp_min(1), (counts > 0).expand_as(there)
        fill = self.values.new_tensor(self.form.fill or [0.0] * len(self.form.names))
        if not len(self.values):
            empty: Tensor = fill[:, None].expand(len(counts), *self.form.shape).clone()
            return empty
        rows = torch.where(there, self.offsets[:-1, None] + place, 0)
        found: Tensor = torch.where(there[..., None], self.values[rows], fill).mT.contiguous()
        return found


def join_inputs(parts: Sequence[Mapping[str, PackedInput]]) -> dict[str, PackedInput]:
    """Join the inputs of several parts along the jets.

    Raises
    ------
    DataError
        If they are not of the same names and forms.
    """
    joined = {}
    for name, first in parts[0].items():
        own = [part[name] for part in parts if name in part and part[name].form == first.form]
        if len(own) != len(parts):
            raise DataError(f"jets that differ in their input {name!r} cannot be joined")
        values = np.concatenate([one.values for one in own])
        offsets = None if first.offsets is None else offsets_of(np.concatenate([np.diff(one.offsets) for one in own]))
        joined[name] = PackedInput(first.form, values, offsets)
    return joined
