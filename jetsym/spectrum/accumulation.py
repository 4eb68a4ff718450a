"""The sums along one pass over a rule: which of its nodes they hold, and when their products are made.

A product reads and writes all coefficients, which for few rings takes longer than its arithmetic. So responses to few
rings are transformed over γ straight into a buffer, while they are still in cache, and the products follow once it
holds a block of rings. The buffer is never larger than the coefficients. Arrays that
cannot be written to, as those of jax, are multiplied as they come.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from jetsym.errors import SpectrumError
from jetsym.spectrum.bands import Rule, bands_of, has_rings, ring_transform
from jetsym.spectrum.projection import Matrices, State, add_norms, add_products, halve, matrices_of, transform
from jetsym.spectrum.responses import InputColumns, Responses, as_like, check_finite, is_mutable, to_numpy

__all__ = ["Accumulation", "block_size", "coefficients", "waiting_numbers"]

#: Rings that one product takes, if the buffer may be as large: its arithmetic then outweighs the coefficients' traffic.
RINGS_PER_PRODUCT = 32


def block_size(rule: Rule) -> int:
    """Return the number of units (rings, or pairs of them) that wait for one product; 0 where none do.

    Examples
    --------
    >>> from jetsym.spectrum import SO3
    >>> rule = SO3().quadrature(8)
    >>> len(rule) // rule.unit, block_size(rule)
    (55, 14)
    """
    if not has_rings(rule):
        return 0  # there is nothing to transform
    units = len(rule) // rule.unit
    most = min(RINGS_PER_PRODUCT * rule.ring_size // rule.unit, coefficients(rule) // _transforms(rule))
    return math.ceil(units / math.ceil(units / most)) if most > 1 else 0  # blocks as equal as can be


def coefficients(rule: Rule) -> int:
    """Return how many real numbers the sums hold for one feature and coset.

    Examples
    --------
    >>> from jetsym.spectrum import SO2, SO3
    >>> coefficients(SO3().quadrature(8)), coefficients(SO2().quadrature(8))
    (969, 17)
    """
    return sum(len(band.matrix) for band in bands_of(rule))


def waiting_numbers(rule: Rule) -> int:
    """Return how many real numbers wait for a product at most, for one feature and coset."""
    return block_size(rule) * _transforms(rule)


def _transforms(rule: Rule) -> int:
    """Return F, how many transforms there are of the responses to what stays together."""
    parts, rows, _ = ring_transform(rule).shape
    return int(parts * rows)


class Accumulation:
    """The sums along one pass over a rule, and which of its chunks they hold.

    Parameters
    ----------
    rule
        A rule on a group, or a window.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.columns = InputColumns(0)
        self.eps = 0.0
        self._norm: Any = None
        self._coefficients: tuple[Any, ...] | None = None
        self._halves: tuple[Any, ...] | None = None
        self._seen = np.zeros(len(rule) // rule.unit, dtype=bool)
        self._size = block_size(rule)
        self._buffers: tuple[Any, ...] = ()  # for each coset (F, block size, columns)
        self._block = slice(0, 0)  # the units that the buffers are for
        self._waiting = np.zeros(0, dtype=bool)  # which of them are there

    def check(self, chunk: slice[int]) -> int:
        """Return the number of nodes of a chunk; refuse one that was added already, or that cuts through a ring."""
        if self._seen[self.rule.units(chunk)].any():
            raise SpectrumError(f"the chunk {chunk.start}:{chunk.stop} was added already; add every chunk once")
        return chunk.stop - chunk.start

    def add(self, chunk: slice, responses: Responses) -> None:
        """Add the responses of a chunk that :meth:`check` has let pass."""
        units, like = self.rule.units(chunk), responses.cosets[0]
        norm = add_norms(self._norm, as_like(self.rule.weights[chunk], like), responses)
        check_finite(to_numpy(norm))
        if is_mutable(like) and units.stop - units.start < self._size:
            self._gather(units, responses.cosets)
        else:
            matrices = matrices_of(self.rule, chunk, like=like)
            self._multiply(matrices, [transform(matrices.transform, u) for u in responses.cosets])
        self._norm = norm
        self.columns, self.eps = responses.columns, responses.eps
        self._seen[units] = True

    def halves(self) -> State:
        """Return the state after all chunks, with the parity halves of its coefficients; refuse if some are missing."""
        if not self._seen.all():
            missing = int((~self._seen).sum())
            total = len(self._seen)
            raise SpectrumError(f"{missing} of {total} nodes or rings were not added; add every chunk of the rule")
        if self._halves is None:
            self._flush()
            assert self._coefficients is not None
            self._halves, self._coefficients, self._buffers = halve(self.rule, self._coefficients), None, ()
        return State(self._norm, self._halves)

    def _gather(self, units: slice, cosets: tuple[Any, ...]) -> None:
        """Transform the responses to some units into the buffers, block by block."""
        unit = self.rule.unit
        if not self._buffers:
            shape = (_transforms(self.rule), self._size, cosets[0].shape[1])
            xp = array_namespace(*cosets)
            self._buffers = tuple(xp.empty(shape, dtype=u.dtype, device=device(u)) for u in cosets)
        if cosets[0].shape[1] != self._buffers[0].shape[2]:
            found, expected = cosets[0].shape[1], self._buffers[0].shape[2]
            raise SpectrumError(f"responses have {found} features in all; those of the chunks before had {expected}")
        for first in range(units.start - units.start % self._size, units.stop, self._size):
            block = slice(first, min(first + self._size, len(self._seen)))
            if block != self._block:
                self._flush()
                self._block, self._waiting = block, np.zeros(block.stop - first, dtype=bool)
            start, stop = max(first, units.start), min(block.stop, units.stop)
            here, there = slice(start - first, stop - first), slice(start - units.start, stop - units.start)
            matrix = self._matrices().transform
            for waiting, u in zip(self._views(), cosets, strict=True):
                transform(matrix, u[there.start * unit : there.stop * unit], out=waiting[:, here])
            self._waiting[here] = True
            if self._waiting.all():
                self._flush()

    def _matrices(self) -> Matrices:
        """Return the matrices of the block that the buffers are for."""
        unit = self.rule.unit
        return matrices_of(self.rule, slice(self._block.start * unit, self._block.stop * unit), like=self._buffers[0])

    def _views(self) -> list[Any]:
        """Return the buffers as (F, units of the block, columns) without gaps: the last block may be smaller."""
        rows, _, columns = self._buffers[0].shape
        shape = (rows, len(self._waiting), columns)
        return [buffer.reshape(-1)[: math.prod(shape)].reshape(shape) for buffer in self._buffers]

    def _flush(self) -> None:
        """Multiply the units that wait, and add their product to the coefficients."""
        if not self._waiting.any():
            return
        views = self._views()
        if not self._waiting.all():  # as chunks came in another order
            for waiting in views:
                waiting[:, ~self._waiting] = 0
        self._multiply(self._matrices(), views)
        self._waiting[:] = False

    def _multiply(self, matrices: Matrices, transforms: list[Any]) -> None:
        before = self._coefficients or [None] * len(transforms)
        self._coefficients = tuple(
            add_products(old, matrices.bands, transformed) for old, transformed in zip(before, transforms, strict=True)
        )
