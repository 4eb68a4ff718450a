"""Masks among arrays: which input says what points are real, by what a model makes of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from numpy.typing import NDArray

from jetsym.spectrum.responses import to_numpy

__all__ = ["Mask", "find_mask"]

#: What a point that is marked as padding may change, relative to what it changes otherwise; and in roundings.
UNSEEN, ROUNDINGS = 1e-3, 30.0


@dataclass(frozen=True)
class Mask:
    """An input (samples, points), with or without axes of length 1, that says what points are real.

    Parameters
    ----------
    key
        The position or keyword of the input.
    padding
        What it holds for a point that is none, 0 or 1.
    """

    key: int | str
    padding: int

    def real(self, array: Any) -> Any:
        """Return (samples, points) bool, True for real points."""
        xp = array_namespace(array)
        flat = xp.reshape(array, (array.shape[0], -1))
        return xp.astype(flat, xp.bool) if self.padding == 0 else ~xp.astype(flat, xp.bool)

    def __str__(self) -> str:
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

    What tells nothing so is taken by its name: "mask" for real points, "…pad…" for padding.

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
    known = {key: name for key, name in marks.items() if _may_mark(take(inputs, key), slots)}
    for key in known:
        for padding in (0, 1):
            array = take(inputs, key)
            real = to_numpy(Mask(key, padding).real(array))
            place = int(real.sum(axis=1).argmax())
            if real[place].sum() < 2:
                continue
            slot = int(np.flatnonzero(real[place])[-1])
            alone = one(inputs, place)
            marked = put(alone, key, _marked(take(alone, key), slot, padding))
            if _is_unseen(alone, marked, partial(disturbed, slot=slot), outputs):
                return Mask(key, padding)
    by_name = [(key, int("pad" in name.lower())) for key, name in known.items() if _is_called_mask(name)]
    return Mask(*by_name[0]) if by_name else None


def _is_called_mask(name: str) -> bool:
    return "mask" in name.lower() or "pad" in name.lower()


def _may_mark(array: Any, slots: int) -> bool:
    """Return whether an array holds a 0 or 1 for every point of a sample."""
    if sorted(array.shape[1:]) not in ([slots], sorted([1, slots])):
        return False
    values = to_numpy(array)
    return bool(((values == 0) | (values == 1)).all())


def _marked(array: Any, slot: int, padding: int) -> Any:
    """Return an array (1, …) that marks one more point as padding."""
    xp = array_namespace(array)
    here = np.zeros(int(np.prod(array.shape)), dtype=bool)
    here[slot] = True
    where = xp.asarray(here.reshape(array.shape), device=device_of(array))
    return xp.where(where, xp.full_like(array, padding), array)


def _is_unseen(
    as_it_is: Any, marked: Any, disturbed: Callable[[Any], Any], outputs: Callable[[Any], Mapping[str, Any]]
) -> bool:
    """Return whether another point changes the outputs, and does so no more where it is marked."""
    try:
        seen, unseen = ((outputs(some), outputs(disturbed(some))) for some in (as_it_is, marked))
    except (RuntimeError, ValueError, TypeError, IndexError):  # a model that does not take it tells nothing
        return False
    contrast, left = (sum(map(_difference, *(one.values() for one in pair))) for pair in (seen, unseen))
    sizes = [_difference(array, array * 0) for array in seen[0].values()]
    eps = max(float(array_namespace(array).finfo(array.dtype).eps) for array in seen[0].values())
    return bool(contrast > (ROUNDINGS * eps) ** 2 * sum(sizes) and left <= UNSEEN**2 * contrast)


def _difference(one: Any, other: Any) -> float:
    a, b = _numbers(one), _numbers(other)
    return float((np.abs(a - b) ** 2).sum()) if a.shape == b.shape else float("nan")


def _numbers(array: Any) -> NDArray[Any]:
    values = to_numpy(array)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
