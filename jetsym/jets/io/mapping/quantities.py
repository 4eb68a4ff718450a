"""Numbers of jets and of their particles, and what can be done with them: joined, chosen, spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError

__all__ = [
    "Quantity",
    "apply",
    "are_conditions",
    "as_condition",
    "counts_of",
    "filtered",
    "numeric",
    "place",
    "refuse_overflow",
    "refuse_vectors",
    "spread",
]


#: What makes of whole numbers such as int64 may no longer hold: each with how large that can be, from the sizes.
_GROWING: dict[Callable[..., Any], Callable[..., float]] = {
    np.add: lambda *sizes: sum(sizes),
    np.subtract: lambda *sizes: sum(sizes),
    np.multiply: lambda *sizes: math.prod(sizes),
    np.square: lambda size: size**2,
    np.sum: lambda size: math.inf,
    np.prod: lambda size: math.inf,
}


@dataclass(frozen=True, eq=False)
class Quantity:
    """Numbers of jets or of their particles.

    Parameters
    ----------
    values
        (B,) of the jets, (P,) of all their particles, or () a constant.
    counts
        (B,) how many particles each jet has; None for what is not of particles.
    numbers
        Whether they are numbers of particles within their jets, as ``argsort`` gives them.
    vectors
        Whether they are four-momenta, each with (E, px, py, pz) in a further axis.
    """

    values: NDArray[Any]
    counts: NDArray[np.int64] | None = None
    numbers: bool = False
    vectors: bool = False


def spread(quantity: Quantity, counts: NDArray[np.int64]) -> NDArray[Any]:
    """Spread values to particles (P,): a jet's number goes to each of its ``counts`` particles, a constant to all."""
    if quantity.counts is not None:
        return quantity.values
    if quantity.values.ndim == 0:
        return np.broadcast_to(quantity.values, counts.sum())
    return np.repeat(quantity.values, counts, axis=0) if quantity.vectors else np.repeat(quantity.values, counts)


def apply(function: Callable[..., Any], what: str, *operands: Quantity) -> Quantity:
    """Apply a function to numbers, where each jet's goes with all its particles if others are of particles.

    Raises
    ------
    ConfigError
        If some are four-momenta; these are only added and subtracted.
    DataError
        If two lists of particles do not have the same lengths, or whole numbers reach 2^63.
    """
    vectors = any(operand.vectors for operand in operands)
    if vectors and not (function in (np.add, np.subtract) and all(operand.vectors for operand in operands)):
        raise ConfigError(f"{what}: a four-momentum where a number is expected, such as its .pt or .mass")
    lists = [operand.counts for operand in operands if operand.counts is not None]
    for other in lists[1:]:
        _refuse_other_counts(lists[0], other, what)
    given = [spread(operand, lists[0]) if lists else operand.values for operand in operands]
    refuse_overflow(function, what, given)
    found: Any = function(*given)
    values: Any = found if isinstance(found, NDArrayOperatorsMixin) else np.asarray(found)
    return Quantity(values, lists[0] if lists else None, vectors=vectors)


def are_conditions(operands: Iterable[Quantity]) -> bool:
    """Tell whether all operands are true or false."""
    return all(operand.values.dtype == np.bool_ for operand in operands)


def numeric(quantity: Quantity) -> Quantity:
    """Turn conditions into 0 and 1."""
    if quantity.values.dtype != np.bool_:
        return quantity
    return replace(quantity, values=quantity.values.astype(np.int64))


def as_condition(quantity: Quantity, what: str) -> Quantity:
    """Turn flags, which are 0 and 1, into conditions.

    Raises
    ------
    ConfigError
        If there are other numbers.
    """
    refuse_vectors(what, "a condition", quantity)
    values = quantity.values
    if values.dtype == np.bool_:
        return quantity
    if (odd := (values != 0) & (values != 1)).any():
        raise ConfigError(
            f"{what} is no condition (it is {values[odd].ravel()[0]} somewhere); expected comparisons, such as "
            "(jet_pt > 500), joined by 'and', 'or', 'not', or flags that are 0 and 1"
        )
    return replace(quantity, values=values == 1)


def place(quantity: Quantity, what: str, start: int | None, stop: int | None, *, alone: bool) -> Quantity:
    """Return a part of each jet's particles, ``x[:, start:stop]``, or one ``alone``, NaN in jets that do not have it.

    Raises
    ------
    ConfigError
        If there are no particles, or one four-momentum of each jet is asked for.
    """
    counts = counts_of(quantity, what)
    if alone:
        refuse_vectors(what, "one particle, as by [:, 0] and first,", quantity)
    begins = np.cumsum(counts) - counts
    if alone:
        assert start is not None
        there = (start < counts) & (start >= -counts)
        found = np.full(len(counts), np.nan)
        found[there] = quantity.values[(begins + np.where(start < 0, counts, 0) + start)[there]]
        return Quantity(found)
    within = np.arange(len(quantity.values)) - np.repeat(begins, counts)
    ends = np.repeat(counts, counts)
    kept = np.ones(len(within), np.bool_)
    if start is not None:
        kept &= within >= (start if start >= 0 else ends + start)
    if stop is not None:
        kept &= within < (stop if stop >= 0 else ends + stop)
    return filtered(quantity, Quantity(kept, counts), what)


def filtered(quantity: Quantity, which: Quantity, what: str) -> Quantity:
    """Return some of each jet's particles: those that fulfil a condition, or those of given numbers, in their order.

    Raises
    ------
    ConfigError
        If one of the two is not of particles, or the second is neither conditions nor numbers of particles.
    DataError
        If they are not of as many particles, or a jet does not have a particle of that number.
    """
    counts, chosen = counts_of(quantity, what), counts_of(which, what)
    numbers = which.values
    if numbers.dtype == np.bool_:
        _refuse_other_counts(counts, chosen, what)
        jets = np.repeat(np.arange(len(counts)), counts)[numbers]
        return replace(quantity, values=quantity.values[numbers], counts=np.bincount(jets, minlength=len(counts)))
    if not which.numbers:
        raise ConfigError(f"{what}: [ ] of what is no condition; expected one, such as [pt > 1], or argsort's numbers")
    sizes = np.repeat(counts, chosen)
    if (numbers >= sizes).any():
        raise DataError(f"{what}: [ ] of numbers of particles that are not there, as of other lists")
    starts = np.repeat(np.cumsum(counts) - counts, chosen)
    return replace(quantity, values=quantity.values[starts + numbers], counts=chosen)


def counts_of(quantity: Quantity, what: str) -> NDArray[np.int64]:
    """Return how many particles each jet has, (B,); refuse what has one value per jet."""
    if quantity.counts is None:
        raise ConfigError(f"{what}: particles of something that has one value per jet; expected one per particle")
    return quantity.counts


def refuse_vectors(what: str, name: str, *operands: Quantity) -> None:
    """Refuse four-momenta where numbers are expected."""
    if any(operand.vectors for operand in operands):
        raise ConfigError(f"{what}: {name} of four-momenta; expected numbers, such as their .px or .mass")


def refuse_overflow(function: Callable[..., Any], what: str, given: Sequence[NDArray[Any]], **options: Any) -> None:
    """Refuse whole numbers of which int64 would hold something else."""
    whole = [one for one in given if isinstance(one, np.ndarray) and one.dtype.kind in "iu" and one.size]
    if function not in _GROWING or len(whole) < len(given):
        return
    sizes = [float(max(abs(int(one.min())), abs(int(one.max())))) for one in given]
    if _GROWING[function](*sizes) < 2**63:
        return
    wide = np.abs(function(*(one.astype(np.float64) for one in given), **options))
    if (wide >= 2**63).any():
        raise DataError(
            f"{what}: whole numbers up to {wide.max():.4g}; expected less than 2^63, or numbers with a point, as by "
            "1.0 * before the first one"
        )


def _refuse_other_counts(one: NDArray[np.int64], other: NDArray[np.int64], what: str) -> None:
    """Refuse lists of different lengths, which two numbers of particles per jet, (B,), tell."""
    if one is not other and not np.array_equal(one, other):
        jet = int(np.flatnonzero(one != other)[0])
        raise DataError(f"{what} has lists of {one[jet]} and of {other[jet]} particles in one jet; expected as many")
