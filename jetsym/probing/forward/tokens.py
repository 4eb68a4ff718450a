"""Tokens: which axes of a response are the points of an input, by what it does in a few dry passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.probing.forward.dry import PERMUTED, DryPasses
from jetsym.probing.forward.evidence import TOLERANCE, evidence_of, tokens_of
from jetsym.probing.forward.layouts import (
    ALONE,
    BY_INPUT,
    BY_POINT,
    NODES,
    OFF_DIAGONAL,
    PACKED,
    SQUARE,
    TOKEN_FIRST,
    TOKEN_LAST,
    TRIANGLES,
    Layout,
)

__all__ = ["ROUGHLY", "WITHOUT_INPUTS", "Named", "find_layouts"]

#: What a caller says of a layer: the axis of its tokens, two for pairs, or that it has none.
Named = int | tuple[int, int] | None
Array = NDArray[Any]

#: Tokens beside those of the points, such as class tokens, that are looked for: along any axis, and along one that
#: grows with the points.
OTHERS, OTHERS_THAT_GROW = 3, 8
#: What is the same where the alternative differs by about as much as there is, as a fraction of power.
ROUGHLY = 0.01

#: Why a response is left out.
UNNAMED = "name their axis with tokens={{{name!r}: …}}, or None where there are none"
WITHOUT_INPUTS = "the inputs are along none of its axes"
OTHER_ROWS = "its rows are {k} for an input, which is no number of its points; tokens={{{name!r}: {axis}}} folds them"
NO_NUMBER = "an axis grows with the points, but not as their number or their pairs; " + UNNAMED
ANY_PLACE = "which of its tokens are points cannot be told; " + UNNAMED
ONE_NUMBER = "its axis of {length} may be the points, and the model takes no other number of them; " + UNNAMED
OWN_SLOTS = "its axis of {length} may be the slots that the model pads to; " + UNNAMED


@dataclass
class Finder:
    """The search for the layout of one array."""

    name: str
    passes: DryPasses
    own_axes: int = 0
    named: Mapping[str, Named] = field(default_factory=dict)

    def find(self) -> Layout | str:
        """Return the layout, or why there is none."""
        name, passes = self.name, self.passes
        if len({one.arrays[name].ndim for one in passes.all}) > 1:
            return WITHOUT_INPUTS
        first = self._arrangement()
        if first is None:
            return WITHOUT_INPUTS
        if name in self.named:
            return self._as_named(first, self.named[name])
        if first.rows == PACKED:
            return replace(first, axes=(1,))
        if not passes.has_points:
            return first if first.rows == ALONE else self._other_rows(first)
        shapes = self._shapes(first)
        growing = [axis for axis in range(1, len(shapes[0]) + 1) if len({shape[axis - 1] for shape in shapes}) > 1]
        fits = [one for one in self._fits(first, shapes, growing) if self._leaves_own(one, len(shapes[0]))]
        chosen = self._choose(fits, trusted=bool(growing))
        if chosen is None and not passes.padded:  # all points count, in whatever order their tokens are
            plain = [one for one in fits if one.form == NODES and one.copies == 1 and not self._holds_other_slots(one)]
            chosen = next(iter(fits if growing else plain if first.rows != ALONE else []), None)
        if first.rows != ALONE and not (chosen and 1 in chosen.axes):
            return self._other_rows(first)
        if chosen is not None:
            return chosen
        if not passes.padded:  # all points count, wherever they are
            return first
        if growing:
            return (ANY_PLACE if fits else NO_NUMBER).format(name=name)
        return self._without_tokens(first, shapes[0])

    def _without_tokens(self, first: Layout, shape: Sequence[int]) -> Layout | str:
        """Return a layout without tokens, unless the model takes one number of slots and a size may be that."""
        n = self.passes.alone.slots
        for length in shape[: len(shape) - self.own_axes]:
            if not self.passes.takes_others and (length == n + 1 or (length and length % n == 0)):
                return ONE_NUMBER.format(name=self.name, length=length)
        return first

    def _other_rows(self, first: Layout) -> str:
        k = self.passes.alone.arrays[self.name].shape[first.inputs] // self.passes.alone.size
        return OTHER_ROWS.format(k=k, name=self.name, axis=first.inputs)

    def _leaves_own(self, layout: Layout, ndim: int) -> bool:
        """Return whether the axes of one object of an output, such as a vector, are no tokens."""
        left = [axis for axis in range(1, ndim + 1) if axis not in layout.axes or layout.copies > 1]
        return len(left) >= self.own_axes

    # inputs

    def _arrangement(self) -> Layout | None:
        """Return where the inputs are: an axis that is as long as they are many, or else rows of which each has some.

        Rows are those of an input, or of a point, together: inputs then do the same in company as they do alone.
        """
        passes, name = self.passes.all, self.name
        shapes = [one.arrays[name].shape for one in passes]
        for axis in range(len(shapes[0])):
            if all(shape[axis] == one.size for shape, one in zip(shapes, passes, strict=True)):
                return Layout(axis)
        if shapes[0] and all(
            one.mask is not None and shape[0] == one.mask.sum() for shape, one in zip(shapes, passes, strict=True)
        ):
            rows = Layout(0, PACKED)
            return rows if self._in_company(rows) < ROUGHLY else None
        folded = [
            Layout(axis, rows)
            for axis in range(len(shapes[0]))
            if all(shape[axis] and shape[axis] % one.size == 0 for shape, one in zip(shapes, passes, strict=True))
            for rows in (BY_INPUT, BY_POINT)
        ]
        best = min(folded, key=self._in_company, default=None)
        return best if best is not None and self._in_company(best) < ROUGHLY else None

    def _in_company(self, layout: Layout) -> float:
        """Return how far inputs do something else in company than they do alone, relative to what differs in it."""
        alone, together = self.passes.alone, self.passes.together[0]
        one, more = (layout.inputs_first(some.arrays[self.name], some.size, some.mask) for some in (alone, together))
        if one.shape[1:] != more.shape[1:]:  # a trimmer has begun to cut
            return float("inf")
        if one.ndim > 1 and layout.rows == PACKED:
            assert alone.mask is not None
            one, more = one[alone.mask], more[: alone.size][alone.mask]
        rows = one.reshape(-1, *one.shape[2:]) if layout.rows != PACKED else one
        spread = (np.abs(rows - rows.mean(axis=0)) ** 2).sum()
        difference = (np.abs(one - more[: len(one)]) ** 2).sum()
        return float(difference / spread) if spread > 0 else 0.0

    def _shapes(self, first: Layout) -> list[tuple[int, ...]]:
        """Return the shapes of all passes behind the inputs."""
        return [
            tuple(first.inputs_first(one.arrays[self.name], one.size, one.mask).shape[1:]) for one in self.passes.all
        ]

    # tokens

    def _fits(self, first: Layout, shapes: Sequence[Sequence[int]], growing: Sequence[int]) -> list[Layout]:
        """Return all layouts whose sizes fit, those with fewest other tokens first."""
        places: list[tuple[int, ...]]
        if growing:
            places = [tuple(growing)] if len(growing) < 3 else []
        else:
            axes = range(1, len(shapes[0]) + 1)
            places = [(axis,) for axis in axes]
            places += [(a, b) for a in axes for b in axes if a < b and shapes[0][a - 1] == shapes[0][b - 1]]
        fits = [one for axes in places for one in self._fits_along(first, shapes, axes, fixed=not growing)]
        return fits if self.passes.takes_others else sorted(fits, key=self._holds_other_slots)

    def _fits_along(
        self, first: Layout, shapes: Sequence[Sequence[int]], axes: tuple[int, ...], *, fixed: bool
    ) -> tuple[Layout, ...]:
        sizes = [[shape[axis - 1] for axis in axes] for shape in shapes]
        if any(len(set(one)) > 1 for one in sizes):
            return ()
        lengths = tuple(one[0] for one in sizes)
        return _that_fit(first, axes, lengths, self.passes.numbers, fixed, self.passes.takes_others)

    def _holds_other_slots(self, layout: Layout) -> bool:
        """Return whether a layout is of other slots than those of the inputs."""
        array = layout.inputs_first(self.passes.alone.arrays[self.name], self.passes.alone.size, self.passes.alone.mask)
        return layout.slots_of(array.shape[layout.axes[0]]) != self.passes.alone.slots

    def _choose(self, fits: Sequence[Layout], *, trusted: bool) -> Layout | None:
        """Return the layout that the passes speak for."""
        evidence = {one: found for one in fits if (found := evidence_of(one, self.passes, self.name)) is not None}
        if not trusted:  # what comes after the slots may be more of them
            evidence = {one: found for one, found in evidence.items() if self._ends_as(one)}
        for mark in ("follows", "is_local", *(["is_steady"] if trusted else [])):
            for one, found in evidence.items():
                if getattr(found, mark):
                    return one
        return next(iter(evidence)) if trusted and len(evidence) == 1 else None

    def _ends_as(self, layout: Layout) -> bool:
        """Return whether the last token is one of no point where a layout says so, by what empty slots are like."""
        short = min(self.passes.all, key=lambda one: one.most)
        if layout.form != NODES or layout.copies > 1 or short.mask is None:
            return True
        plain = replace(layout, after=0)
        length = plain.inputs_first(short.arrays[self.name], short.size, short.mask).shape[layout.axes[0]]
        u = tokens_of(plain, short, self.name, length - layout.before)[:, layout.before :]
        last = u.shape[1] - 1
        is_other = False
        for tokens, real in zip(u, short.mask, strict=True):
            empty = [slot for slot in range(last) if slot >= len(real) or not real[slot]]
            if (last < len(real) and real[last]) or not empty:
                continue
            size = TOLERANCE**2 * float((tokens**2).sum())
            is_alike = float(((tokens[empty] - tokens[empty[0]]) ** 2).sum()) <= size
            is_other |= is_alike and float(((tokens[last] - tokens[empty[0]]) ** 2).sum()) > size
        return bool(layout.after) == is_other

    # what a caller says

    def _as_named(self, first: Layout, named: Named) -> Layout:
        if named is None:
            return first
        given = (named,) if isinstance(named, int) else tuple(named)
        array = self.passes.alone.arrays[self.name]
        said = f"tokens={{{self.name!r}: {named!r}}}"
        if not all(isinstance(axis, int) and 0 <= axis < array.ndim for axis in given) or len(set(given)) not in (1, 2):
            raise ProbeError(f"{said} of an array of shape {array.shape}; expected one or two of its axes, or None")
        if first.rows == ALONE and first.inputs in given:
            raise ProbeError(
                f"{said}, but the inputs are along axis {first.inputs} of {array.shape}; name another axis"
            )
        axes = tuple(sorted(_behind_inputs(first, axis) for axis in given))
        shapes = self._shapes(first)
        growing = [axis for axis in axes if len({shape[axis - 1] for shape in shapes}) > 1]
        fits = [one for fixed in (False, True) for one in self._fits_along(first, shapes, axes, fixed=fixed)]
        chosen = self._choose(fits, trusted=bool(growing))
        if chosen is not None:
            return chosen
        if first.rows != ALONE and 1 in axes and not growing:
            return first
        if self.passes.takes_others and not growing:
            raise ProbeError(
                f"{said}, but this axis of {array.shape} neither grows with the points nor follows them; leave it out"
            )
        if not fits:
            raise ProbeError(f"{said}, whose length in {array.shape} is no number of points or pairs of them")
        return fits[0]


def _behind_inputs(first: Layout, axis: int) -> int:
    """Return where an axis of an array is once the inputs are the first."""
    if first.rows == ALONE:
        return axis + (axis < first.inputs)
    return 1 if axis == first.inputs else axis + 1 + (axis < first.inputs)


@lru_cache(maxsize=512)  # many layers have the same shapes
def _that_fit(
    first: Layout,
    axes: tuple[int, ...],
    lengths: tuple[int, ...],
    numbers: tuple[tuple[int, int], ...],
    fixed: bool,
    takes_others: bool,
) -> tuple[Layout, ...]:
    """Return layouts along some axes whose slots are possible in every pass.

    Parameters
    ----------
    first
        Where the inputs are.
    axes, lengths
        Axes of the tokens, and how long they are in every pass.
    numbers
        Of every pass the largest number of real points, and that of slots; the first is of the inputs as they are.
    fixed
        Whether the lengths are the same in all passes.
    takes_others
        Whether the model takes other numbers of slots.
    """
    n = numbers[0][1]

    def is_possible(layout: Layout) -> bool:
        held_by = [layout.slots_of(length) for length in lengths]
        held = held_by[0]
        if held is None:
            return False
        if fixed and (takes_others or held != n):
            plain = layout.form == NODES or (layout.form == SQUARE and len(axes) == 2)
            if not (plain and layout.copies == 1 and max(layout.after, layout.before) < 2) or held < PERMUTED:
                return False
        return all(
            one is not None and (fixed or most <= one <= slots)
            for one, (most, slots) in zip(held_by, numbers, strict=True)
        )

    return tuple(filter(is_possible, _along(first, axes, lengths[0], n, fixed=fixed)))


def _along(first: Layout, axes: tuple[int, ...], length: int, n: int, *, fixed: bool) -> Iterator[Layout]:
    """Yield layouts along some axes of a length, for n slots, those with fewest other tokens first."""
    forms = (SQUARE,) if len(axes) == 2 else (NODES, SQUARE)
    for others in range((OTHERS if fixed else OTHERS_THAT_GROW) + 1):
        for before in range(others + 1):
            for form in forms:
                yield replace(first, axes=axes, form=form, before=before, after=others - before)
    if len(axes) == 2:
        return
    copies = {length // n} if fixed and length % n == 0 else set(range(2, length // max(1, n - 1) + 1))
    for k in sorted(copies - {0, 1}):
        for order in (TOKEN_FIRST, TOKEN_LAST):
            yield replace(first, axes=axes, copies=k, order=order)
    for form in (OFF_DIAGONAL, *TRIANGLES):
        yield replace(first, axes=axes, form=form)


def find_layouts(
    passes: DryPasses, *, own_axes: Mapping[str, int], named: Mapping[str, Named]
) -> tuple[dict[str, Layout], dict[str, str]]:
    """Find the layout of every array, and why some have none that can be told.

    Parameters
    ----------
    passes
        See :func:`dry_passes`.
    own_axes
        For outputs, how many axes one object has, such as 2 for a rank-2 tensor: those are no tokens.
    named
        What the caller says.

    Returns
    -------
    Name -> layout, and name -> why it is left out.
    """
    names = [name for name in passes.alone.arrays if all(name in one.arrays for one in passes.all)]
    found = {name: Finder(name, passes, own_axes.get(name, 0), named).find() for name in names}
    layouts = {name: item for name, item in found.items() if isinstance(item, Layout)}
    left_out = {name: item for name, item in found.items() if isinstance(item, str)}
    n = passes.alone.slots
    own_slots = {
        passes.alone.arrays[name].shape[0 if item.rows != ALONE else item.axes[0] - (item.axes[0] <= item.inputs)]
        for name, item in layouts.items()
        if passes.padded
        and item.axes
        and item.rows == ALONE
        and len({one.arrays[name].shape[1:] for one in passes.all}) == 1
    } - {n}
    for name, item in list(layouts.items()):
        shape = passes.alone.arrays[name].shape
        if not item.axes and own_slots & set(shape[: len(shape) - own_axes.get(name, 0)]) and name not in named:
            del layouts[name]
            left_out[name] = OWN_SLOTS.format(name=name, length=min(own_slots & set(shape)))
    return layouts, left_out
