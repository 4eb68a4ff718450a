"""The inputs of a mapping: their variables standardised, clipped and put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapping.quantities import Quantity
from jetsym.jets.io.mapping.tree_mapping import MappedInput
from jetsym.jets.io.packed_inputs import PackedInput
from jetsym.jets.io.ragged import offsets_of

__all__ = ["measure_scaling", "pack_input", "standardise"]


def pack_input(where: str, one: MappedInput, found: Sequence[Quantity], *, jets: int) -> PackedInput:
    """Put the variables of an input side by side, standardised.

    Parameters
    ----------
    where
        The file and the input, for messages.
    one
        The input.
    found
        The values of its variables.
    jets
        Number of the jets.

    Raises
    ------
    ConfigError
        If it has no length, and variables with several values per jet.
    """
    form, length = one.form, one.form.length
    counts = [each.counts for each in found]
    scaled = [
        standardise(each.values, form.scaling[place] if form.scaling else None) for place, each in enumerate(found)
    ]
    if length is None:
        if any(each is not None for each in counts):
            raise ConfigError(f"{where} has variables with several values per jet, and no length; give it one")
        return PackedInput(form, _side_by_side([np.broadcast_to(_finite(each), jets) for each in scaled]))
    first = counts[0]
    if first is not None and all(each is not None and np.array_equal(each, first) for each in counts):
        within = np.arange(first.sum()) - np.repeat(np.cumsum(first) - first, first) < length
        return PackedInput(
            form, _side_by_side([each[within] for each in scaled]), offsets_of(np.minimum(first, length))
        )
    # Variables of jets, or of several collections, are filled up each by itself; they count as one member.
    rows = np.empty((jets, length, len(found)), np.float32)
    for place, (values, own) in enumerate(zip(scaled, counts, strict=True)):
        fill = None if form.fill is None else form.fill[place : place + 1]
        number = np.ones(jets, np.int64) if own is None else own
        column = np.broadcast_to(_finite(values), jets) if own is None else _finite(values)
        alone = PackedInput(InputForm(form.names[place : place + 1], length, fill), column[:, None], offsets_of(number))
        rows[..., place] = alone.map(np.array).batch().padded()[:, 0].numpy()
    return PackedInput(form, rows.reshape(-1, len(found)), np.arange(jets + 1) * length)


def _side_by_side(columns: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    rows = np.empty((len(columns[0]), len(columns)), np.float32)
    for place, column in enumerate(columns):
        rows[:, place] = column
    return rows


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace infinity by the largest number, as weaver-core does where members are not all of one collection."""
    return np.nan_to_num(values)


def standardise(values: NDArray[Any], scaling: tuple[float, float, float, float] | None) -> NDArray[np.float32]:
    """Standardise values, (x − centre) · scale, and clip them, in float32; what is not a number becomes 0.

    Examples
    --------
    >>> standardise(np.array([1.0, 30.0, np.nan]), (2.0, 0.5, -5.0, 5.0))
    array([-0.5,  5. ,  0. ], dtype=float32)
    """
    with np.errstate(all="ignore"):
        found = values.astype(np.float32)
        if scaling is not None:
            centre, scale, smallest, largest = map(np.float32, scaling)
            found = np.clip((found - centre) * scale, smallest, largest)
    return np.where(np.isnan(found), np.float32(0), found)


def measure_scaling(values: NDArray[Any]) -> tuple[float, float]:
    """Measure the centre of a variable, its median, and its scale, one over the larger way to the 16th or 84th percent.

    Infinite values are left out. What is not a number counts as 0, as it does once it is standardised.

    Raises
    ------
    DataError
        More than half of them are not finite; or the scale is none.

    Examples
    --------
    >>> measure_scaling(np.arange(101.0))
    (50.0, 0.029411764705882353)
    """
    numbers = values.astype(np.float64)
    odd = len(numbers) - int(np.isfinite(numbers).sum())
    if 2 * odd > len(numbers):
        raise DataError(f"{odd:,} of {len(numbers):,} values are NaN or infinite; expected half of them at most")
    finite = np.nan_to_num(numbers[~np.isinf(numbers)])
    with np.errstate(all="ignore"):  # what overflows is refused
        low, centre, high = np.percentile(finite, [16, 50, 84])
        width = max(high - centre, centre - low)
        scale = 1 / width if width else 1.0  # all alike: the distance from it is shown as it is
    if not (np.isfinite(centre) and np.isfinite(scale) and scale):
        raise DataError(f"values from {finite.min()} to {finite.max()} have the scale {scale}; expected a finite one")
    return float(centre), float(scale)
