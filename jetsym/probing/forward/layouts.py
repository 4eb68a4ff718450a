"""Layouts of responses: where in an array the inputs are, and where their points, and how these come to the front."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.spectrum.responses import to_numpy

__all__ = ["Layout"]

#: Ways in which the inputs are along an axis: by themselves; as rows, those of an input together or those of a point;
#: and as rows of the real points alone.
ALONE, BY_INPUT, BY_POINT, PACKED = "alone", "by input", "by point", "packed"
#: What the tokens are, by the points that each belongs to: one, two in a square, two different ones, and unordered two.
NODES, SQUARE, OFF_DIAGONAL = "points", "pairs", "pairs of different points"
TRIANGLES = {"lower triangle": (np.tril_indices, 0), "upper triangle": (np.triu_indices, 0)} | {
    "lower triangle, no diagonal": (np.tril_indices, -1),
    "upper triangle, no diagonal": (np.triu_indices, 1),
}
#: How an axis holds several features of each token: those of a token together, or those of a feature.
TOKEN_FIRST, TOKEN_LAST = "tokens first", "tokens last"


@dataclass(frozen=True)
class Layout:
    """Where an array holds its inputs and its tokens.

    Parameters
    ----------
    inputs, rows
        The axis of the inputs, and how they are along it: "alone", or folded with tokens into rows, those of an input
        together ("by input") or those of a token ("by point"), or as the rows of real points alone ("packed").
    axes
        Axes of the tokens, once the inputs are the first axis of their own; one, two for pairs, or none.
    form
        What tokens are: "points", "pairs", …
    copies, order
        Features that share an axis with the tokens, and which of the two changes more slowly.
    before, after
        Tokens that belong to no point, such as a class token, before and after the others.

    Examples
    --------
    Channels first, three slots of which two are real:

    >>> layout = Layout(axes=(2,))
    >>> response = np.arange(6.0).reshape(1, 2, 3)
    >>> layout.arranged(response, 1, mask=np.array([[True, True, False]])).tolist()
    [[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]]
    >>> Layout(axes=(2,), before=1).real(np.array([[True, False]])).tolist()
    [[True, True, False]]
    """

    inputs: int = 0
    rows: str = ALONE
    axes: tuple[int, ...] = ()
    form: str = NODES
    copies: int = 1
    order: str = TOKEN_FIRST
    before: int = 0
    after: int = 0

    def __str__(self) -> str:
        if not self.axes:
            return "none"
        if self.rows != ALONE:
            where = f"rows along axis {self.inputs}, {self.rows}"
        else:
            where = " and ".join(f"axis {axis - (axis <= self.inputs)}" for axis in self.axes)
        extra = [f"{n} more {place}" for n, place in ((self.before, "first"), (self.after, "last")) if n]
        features = [f"{self.copies} features of each"] if self.copies > 1 else []
        return ", ".join([f"{self.form}: {where}", *features, *extra])

    # --- what stands where ---

    def inputs_first(self, array: Any, size: int, mask: Any = None) -> Any:
        """Return an array with the inputs as its first axis, and what was folded with them as its second."""
        xp = array_namespace(array)
        others = [axis for axis in range(array.ndim) if axis != self.inputs]
        moved = xp.permute_dims(array, (self.inputs, *others)) if self.inputs else array
        if self.rows == ALONE:
            return moved
        rest = tuple(moved.shape[1:])
        if self.rows == BY_INPUT:
            return xp.reshape(moved, (size, moved.shape[0] // size, *rest))
        if self.rows == BY_POINT:
            folded = xp.reshape(moved, (moved.shape[0] // size, size, *rest))
            return xp.permute_dims(folded, (1, 0, *range(2, folded.ndim)))
        real = to_numpy(mask)
        if int(real.sum()) != moved.shape[0]:
            raise ProbeError(
                f"an array of {moved.shape[0]} rows does not hold the {int(real.sum())} points of its inputs"
            )
        places = np.maximum(np.cumsum(real) - 1, 0)  # of padding: any, as it is left out
        return xp.reshape(_take(moved, places, 0), (*real.shape, *rest))

    def arranged(self, array: Any, size: int, *, mask: Any = None, slots: int | None = None) -> Any:
        """Return (inputs, tokens, features…), or (inputs, features…) where there are no tokens.

        Parameters
        ----------
        array
            What a layer returned.
        size
            Number of inputs.
        mask
            (inputs, slots) bool, True for real points; None where all are.
        slots
            Slots that the tokens are to belong to: more are cut off, fewer are filled up. Default those of the mask.

        Raises
        ------
        ProbeError
            The array does not fit the layout.
        """
        found = self.inputs_first(array, size, mask)
        if not self.axes:
            return found
        xp, axes = array_namespace(found), self.axes
        shape = list(found.shape)
        if len(axes) == 1 and (self.copies > 1 or self.form == SQUARE):
            (axis,) = axes
            length = shape[axis]
            side = math.isqrt(length) if self.form == SQUARE else length // self.copies
            other = length // side
            points_last = self.form != SQUARE and self.order == TOKEN_LAST
            shape[axis : axis + 1] = [other, side] if points_last else [side, other]
            found = xp.reshape(found, tuple(shape))
            axes = (axis, axis + 1) if self.form == SQUARE else (axis + points_last,)
        others = [axis for axis in range(1, found.ndim) if axis not in axes]
        found = xp.permute_dims(found, (0, *axes, *others))
        held = self._held(int(found.shape[1]))
        if len(axes) == 2:
            rest = tuple(found.shape[3:])
            found = xp.reshape(found, (found.shape[0], found.shape[1] * found.shape[2], *rest))
        wanted = slots if slots is not None else held if mask is None else int(mask.shape[1])
        if held == wanted:
            return found
        if mask is not None and held < wanted and to_numpy(mask[:, held:]).any():
            raise ProbeError(f"an array holds {held} points, fewer than there are real ones among its inputs")
        return _take(found, self._places(held, wanted), 1)

    def real(self, mask: Any) -> NDArray[np.bool_]:
        """Return (inputs, tokens), True for tokens of real points only, from a mask (inputs, slots)."""
        known = to_numpy(mask)
        slots = self.slots(known.shape[1])
        with_others = np.concatenate([known, np.ones((len(known), 1), dtype=bool)], axis=1)
        first, second = np.where(slots < 0, known.shape[1], slots).T
        return np.asarray(with_others[:, first] & with_others[:, second])

    def slots(self, n: int) -> NDArray[np.int64]:
        """Return the two points (tokens, 2) that each token belongs to, among n; negative numbers for what has none."""
        return _slots(self.form, n, self.before, self.after)

    def slots_of(self, length: int) -> int | None:
        """Return the slots whose tokens an axis of some length holds; None where that is no such number."""
        side = math.isqrt(length)
        if self.form == SQUARE and len(self.axes) == 1:
            return self._held(side) if side * side == length else None
        held = self._held(length // self.copies)
        fits = held > 0 and (self.form == SQUARE or self._count(held) * self.copies == length)
        return held if fits else None

    def _held(self, length: int) -> int:
        """Return the slots whose tokens are so many (for a square, along one of its two axes)."""
        if self.form in (NODES, SQUARE):
            return length - self.before - self.after
        about = math.isqrt(2 * length if self.form in TRIANGLES else length)
        return next((n for n in range(max(1, about - 1), about + 3) if self._count(n) == length), about)

    def _count(self, n: int) -> int:
        """Return how many tokens n points have: the length of :meth:`slots`."""
        if self.form in TRIANGLES:
            side = n - abs(TRIANGLES[self.form][1])
            return side * (side + 1) // 2
        points = n + self.before + self.after
        return {NODES: points, SQUARE: points**2, OFF_DIAGONAL: points * (points - 1)}[self.form]

    def _places(self, held: int, wanted: int) -> NDArray[np.int64]:
        """Return where among the tokens of ``held`` slots those of ``wanted`` are; 0 where there are none."""
        return np.maximum(find_tokens(self.slots(held), self.slots(wanted)), 0)


def find_tokens(held: NDArray[np.int64], wanted: NDArray[np.int64], *, ordered: bool = True) -> NDArray[np.int64]:
    """Return the positions among tokens (tokens, 2) of others; −1 for what is not there."""
    if not ordered:
        held, wanted = np.sort(held, axis=1), np.sort(wanted, axis=1)
    lowest = min(held.min(initial=0), wanted.min(initial=0))
    base = int(max(held.max(initial=0), wanted.max(initial=0)) - lowest) + 1
    mine, theirs = ((item - lowest) @ np.array([base, 1]) for item in (held, wanted))
    order = np.argsort(mine, kind="stable")
    place = order[np.minimum(np.searchsorted(mine[order], theirs), len(mine) - 1)]
    return np.where(mine[place] == theirs, place, -1)


@lru_cache(maxsize=64)
def _slots(form: str, n: int, before: int, after: int) -> NDArray[np.int64]:
    points = np.concatenate([-1 - np.arange(before), np.arange(n), -1 - before - np.arange(after)])
    if form == NODES:
        return np.stack([points, points], axis=1)
    if form in TRIANGLES:
        indices, offset = TRIANGLES[form]
        return np.stack(indices(n, offset), axis=1)
    pairs = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1).reshape(-1, 2)
    return pairs[pairs[:, 0] != pairs[:, 1]] if form == OFF_DIAGONAL else pairs


def _take(array: Any, places: NDArray[np.int64], axis: int) -> Any:
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(places, device=device(array)), axis=axis)
