"""Masks among arrays: which input says what points are real, by what a model makes of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device as device_of
from numpy.typing import NDArray

from jetsym.domains.members import is_of_marks
from jetsym.spectrum.responses import to_numpy

__all__ = ["Mask", "added", "find_mask"]

#: What a point that is marked as padding may change, relative to what it changes otherwise; and in roundings.
UNSEEN, ROUNDINGS = 1e-3, 30.0
#: What stands for padding where marks are 0 and 1, and the largest number that hides a point by being added to scores.
BITS, HIDING = (0, 1), -1e3
#: Words of a name such as key_padding_mask or attentionMask, and those of padding.
WORD, PADDING = re.compile(r"[A-Z]?[a-z]+|[A-Z]+"), {"pad", "padding"}


@dataclass(frozen=True)
class Mask:
    """An input (samples, points), with or without axes of length 1, that says what points are real.

    Parameters
    ----------
    key
        The position or keyword of the input.
    padding
        What it holds for a point that is none: 0, 1, or a large negative number that is added to scores of attention.
    """

    key: int | str
    padding: float

    def real(self, array: Any) -> Any:
        """Return (samples, points) bool, True for real points."""
        xp = array_namespace(array)
        flat = xp.reshape(array, (array.shape[0], -1))
        return xp.astype(flat, xp.bool) if self.padding == 0 else ~xp.astype(flat, xp.bool)

    def __str__(self) -> str:
        if self.padding < 0:
            return "0 for real points"
        return f"{'True' if self.padding == 0 else 'False'} for real points"


def find_mask(
    inputs: Any,
    marks: Mapping[int | str, str],
    slots: int,
    *,
    take: Callable[[Any, int | str], Any],
    put: Callable[[Any, int | str, Any], Any],
    one: Callable[[Any, int], Any],
    disturbed: Callable[..., Any],
    outputs: Callable[[Any], Mapping[str, Any]],
) -> Mask | None:
    """Find the mask among inputs: where it marks a point as padding, the outputs do not depend on that point.

    Where a model cannot be asked so, a name tells by its words: "mask" for real points, "pad" or "padding" for padding.

    Parameters
    ----------
    inputs
        Of any form.
    marks
        Key of an input that stays -> its name.
    slots
        How many points there are.
    take, put
        The array of a key, and inputs with another one in its place.
    one
        ``one(inputs, place)``: a single sample.
    disturbed
        ``disturbed(inputs, slot=…)``: with another point in a slot.
    outputs
        What a model returns for inputs, by name.
    """
    by_name = None
    for key, name in marks.items():
        array = take(inputs, key)
        if (marking := _marking(array, slots)) is None:
            continue
        words = {word.lower() for word in WORD.findall(name)}
        named = marking[-1] if words & PADDING else marking[0] if "mask" in words else None
        for padding in marking:
            real = to_numpy(Mask(key, padding).real(array))
            place = int(real.sum(axis=1).argmax())
            slot = int(np.flatnonzero(real[place])[-1]) if real[place].any() else slots - 1
            alone = one(inputs, place)
            if real[place].sum() < 2:
                alone = put(alone, key, _marked(take(alone, key), slice(None), int(padding == 0)))
            marked = put(alone, key, _marked(take(alone, key), slot, padding))
            hides = _hides(alone, marked, partial(disturbed, slot=slot), outputs)
            if hides:
                return Mask(key, padding)
            if hides is None and padding == named and by_name is None:
                by_name = Mask(key, padding)
    return by_name


def _marking(array: Any, slots: int) -> tuple[float, ...] | None:
    """Return what may stand for padding in an array with a mark for every point of a sample; None if it has none."""
    if sorted([1, 1, *array.shape[1:]])[-3:] != sorted([1, 1, slots]) or array.ndim > 4:
        return None
    if is_of_marks(array):
        return BITS
    low = added(array)
    return None if low is None else (low,)


def added(array: Any) -> float | None:
    """Return the number that hides points where it is added to scores of attention; None if there is none such.

    Examples
    --------
    >>> added(np.array([[0.0, -np.inf]])), added(np.array([[0.0, -1e9]])), added(np.array([[0.0, -2.0]]))
    (-inf, -1000000000.0, None)
    """
    values = np.unique(to_numpy(array))
    if len(values) != 2 or values[1] != 0 or not values[0] <= HIDING:
        return None
    return float(values[0])


def _marked(array: Any, slot: int | slice, mark: float) -> Any:
    """Return an array (1, …) with another mark in a slot."""
    xp = array_namespace(array)
    here = np.zeros(int(np.prod(array.shape)), dtype=bool)
    here[slot] = True
    where = xp.asarray(here.reshape(array.shape), device=device_of(array))
    return xp.where(where, xp.full_like(array, mark), array)


def _hides(
    as_it_is: Any, marked: Any, disturbed: Callable[[Any], Any], outputs: Callable[[Any], Mapping[str, Any]]
) -> bool | None:
    """Return whether another point changes the outputs, and does so no more where it is marked; None if none can tell.

    That is so where the model does not take the inputs, does not look at the point, or only to rounding.
    """
    try:
        seen, unseen = ((outputs(some), outputs(disturbed(some))) for some in (as_it_is, marked))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    contrast, left = (sum(map(_difference, *(one.values() for one in pair))) for pair in (seen, unseen))
    eps = max(float(array_namespace(array).finfo(array.dtype).eps) for array in seen[0].values())
    rounding = (ROUNDINGS * eps) ** 2 * sum(_difference(array, array * 0) for array in seen[0].values())
    if contrast > rounding and left <= UNSEEN**2 * contrast:
        return True
    return False if left > max(rounding, UNSEEN**2 * contrast) else None


def _difference(one: Any, other: Any) -> float:
    a, b = _numbers(one), _numbers(other)
    return float((np.abs(a - b) ** 2).sum()) if a.shape == b.shape else float("nan")


def _numbers(array: Any) -> NDArray[Any]:
    values = to_numpy(array)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
