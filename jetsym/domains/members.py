"""Arrays as a model takes them: one, a tuple of arguments, or a dictionary of keywords, beside numbers and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, device as device_of, is_array_api_obj, is_numpy_array, is_torch_array
from numpy.typing import NDArray

from jetsym.domains.moves import is_floating
from jetsym.errors import ProbeError
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = [
    "CONSTANTS",
    "Key",
    "arrays_of",
    "by_point",
    "expect_numbers",
    "first",
    "is_of_marks",
    "is_of_pairs",
    "mapped",
    "members",
    "placed",
    "rearranged",
    "same_rows",
]

#: Position of an argument, or its keyword.
Key = int | str
#: What a model takes beside arrays, the same for all samples.
CONSTANTS = (type(None), bool, int, float, str)

UNKNOWN = (
    "inputs of type {} are not known; expected a JetBatch, paths of ROOT files, an array, a tuple of arrays (numpy, "
    "torch, …), a dictionary of them, which go in as keywords, a list of dictionaries, one a sample, or anything with "
    "a length and action=…"
)


def placed(array: Any, device: Any, dtype: Any) -> Any:
    """Return an array of numpy or torch as a tensor, floating-point numbers in a dtype; others as they are."""
    if is_numpy_array(array):
        array = torch.as_tensor(array)
    if not is_torch_array(array):
        return array
    return array.to(device=device, dtype=dtype if array.is_floating_point() else None)


def rearranged(array: Any, places: Any, axis: int, fill: float) -> Any:
    """Return an array (samples, …) with other points along an axis; empty slots, of negative places, are filled."""
    xp = array_namespace(array)
    first = array if axis == 1 else xp.moveaxis(array, axis, 1)
    n, rest = first.shape[1], tuple(first.shape[2:])
    rows = np.reshape(np.maximum(places, 0) + n * np.arange(len(places))[:, None], -1)
    taken = xp.take(xp.reshape(first, (-1, *rest)), xp.asarray(rows, device=device_of(array)), axis=0)
    taken = xp.reshape(taken, (*np.shape(places), *rest))
    if (places < 0).any():
        empty = xp.reshape(xp.asarray(places < 0, device=device_of(array)), (*np.shape(places), *[1] * len(rest)))
        taken = xp.where(empty, xp.full_like(taken, fill), taken)
    return taken if axis == 1 else xp.moveaxis(taken, 1, axis)


def same_rows(array: Any, other: Any) -> NDArray[np.bool_]:
    """Return (samples,) whether what two arrays (samples, …) hold of a sample is the same."""
    one, two = to_numpy(array), to_numpy(other)
    found: NDArray[np.bool_] = (one == two).reshape(len(one), -1).all(axis=1)
    return found


def is_of_pairs(array: Any, axes: Sequence[int]) -> bool:
    """Return whether two axes are the two points of pairs: of marks, or the same when they are exchanged."""
    if str(array.dtype).rpartition(".")[2] == "bool":
        return True
    values = to_numpy(array)
    return bool(np.array_equal(values, np.swapaxes(values, *axes), equal_nan=values.dtype.kind == "f"))


def is_of_marks(array: Any) -> bool:
    """Return whether an array holds nothing but 0 and 1."""
    values = to_numpy(array)
    return bool(((values == 0) | (values == 1)).all())


def by_point(array: Any) -> Any:
    """Return components (samples, …, 3 or 4) as (samples, points, 3 or 4) in float64."""
    values = to_numpy(array).astype(np.float64)
    return values.reshape(len(values), -1, values.shape[-1])


def members(inputs: Any) -> dict[Key, Any]:
    """Return arrays and constants by position or keyword."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return dict(enumerate(inputs)) if isinstance(inputs, tuple) else {0: inputs}


def arrays_of(inputs: Any) -> dict[Key, Any]:
    """Return the arrays among inputs, by position or keyword."""
    return {key: array for key, array in members(inputs).items() if not isinstance(array, CONSTANTS)}


def mapped(change: Callable[[Key, Any], Any], inputs: Any) -> Any:
    """Return inputs with every array changed; constants stay."""
    found = {
        key: value if isinstance(value, CONSTANTS) else change(key, value) for key, value in members(inputs).items()
    }
    return found if isinstance(inputs, Mapping) else tuple(found.values()) if isinstance(inputs, tuple) else found[0]


def first(inputs: Any) -> Any:
    """Return the first array."""
    return next(iter(arrays_of(inputs).values()))


def expect_numbers(source: Any) -> None:
    """Refuse what are no arrays of numbers with as many samples each.

    Raises
    ------
    ProbeError
        It is something else.
    """
    given = members(source)
    for array in given.values():
        if isinstance(array, np.ma.MaskedArray):
            raise ProbeError(
                "an input is a masked array of numpy, whose masked numbers have no value to move; give "
                "array.filled(…), and a mask of its own if the model takes one"
            )
        if not is_array_api_obj(array) and not (len(given) > 1 and isinstance(array, CONSTANTS)):
            raise ProbeError(UNKNOWN.format(type(array).__name__))
    arrays = list(arrays_of(source).values())
    for array in arrays:
        if str(getattr(array.dtype, "kind", "f")) in "OSUV":
            raise ProbeError(f"an input array has dtype {array.dtype}; expected numbers")
    if not any(map(is_floating, arrays)):
        dtypes = ", ".join(dict.fromkeys(str(array.dtype) for array in arrays)) or "none"
        raise ProbeError(f"an input array has dtype {dtypes}; expected one of {', '.join(EPS)}: convert it first")
    sizes = {int(array.shape[0]) if array.ndim else 0 for array in arrays}
    if len(sizes) > 1 or 0 in sizes:
        raise ProbeError(
            f"the input arrays hold {sorted(sizes)} samples; expected one common number, at least 1: what all "
            "samples share goes in with call=…, and graphs are a list of one for each, with action=…"
        )
