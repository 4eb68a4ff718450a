"""The inputs of a mapping: their variables standardised, clipped and put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.mapping.functions import Quantity, spread
from jetsym.jets.io.packed_inputs import PackedInput
from jetsym.jets.io.ragged import offsets_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jetsym.jets.io.mapping.tree_mapping import MappedInput

__all__ = ["measure_scaling", "pack_input", "scaled"]


def pack_input(where: str, one: MappedInput, found: Sequence[Quantity], *, jets: int) -> PackedInput:
    """Put the variables of an input side by side, those of jets beside those of their members.

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
    DataError
        If its variables are of different numbers of members.
    ConfigError
        If it has no length, and variables with several values per jet.
    """
    form = one.form
    counts = next((each.counts for each in found if each.counts is not None), None)
    if counts is None:
        jet_values = [np.broadcast_to(each.values, jets) for each in found]
        rows = _columns(jet_values, one)
        return PackedInput(form, rows, None if form.length is None else np.arange(jets + 1))
    if form.length is None:
        raise ConfigError(f"{where} has variables with several values per jet, and no length; give it one")
    kept = np.minimum(counts, form.length)
    first = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) < form.length
    columns = []
    for each, expression in zip(found, one.variables, strict=True):
        if each.counts is not None and not np.array_equal(each.counts, counts):
            jet = int(np.flatnonzero(each.counts != counts)[0])
            raise DataError(
                f"{where}: {expression} has {each.counts[jet]} values in a jet where {one.variables[0]} has "
                f"{counts[jet]}; expected as many in all variables of an input"
            )
        columns.append(spread(each, counts)[first])
    return PackedInput(form, _columns(columns, one), offsets_of(kept))


def _columns(values: Sequence[NDArray[Any]], one: MappedInput) -> NDArray[np.float32]:
    rows = np.empty((len(values[0]), len(values)), np.float32)
    for place, column in enumerate(values):
        rows[:, place] = scaled(column, one.form.scaling[place] if one.form.scaling else None)
    return rows


def scaled(values: NDArray[Any], scaling: tuple[float, float, float, float] | None) -> NDArray[np.float32]:
    """Standardise values, (x − centre) · scale, and clip them, in float32; what is not a number becomes 0.

    Examples
    --------
    >>> scaled(np.array([1.0, 30.0, np.nan]), (2.0, 0.5, -5.0, 5.0))
    array([-0.5,  5. ,  0. ], dtype=float32)
    """
    with np.errstate(all="ignore"):
        found = values.astype(np.float32)
        if scaling is not None:
            centre, scale, smallest, largest = map(np.float32, scaling)
            found = np.clip((found - centre) * scale, smallest, largest)
    found[np.isnan(found)] = 0
    return found


def measure_scaling(values: NDArray[Any]) -> tuple[float, float]:
    """Measure the centre of a variable, its median, and its scale, one over the larger way to the 16th or 84th percent.

    Values that are not numbers count as 0, as they do once they are standardised.

    Examples
    --------
    >>> measure_scaling(np.arange(101.0))
    (50.0, 0.029411764705882353)
    """
    low, centre, high = np.percentile(np.nan_to_num(values), [16, 50, 84])
    width = max(high - centre, centre - low)
    return float(centre), float(1 / width) if width else 1.0
