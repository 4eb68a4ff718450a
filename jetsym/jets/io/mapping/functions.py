"""The functions that expressions may call: :data:`FUNCTIONS`, from a name to what computes it.

Values are of jets, or of their particles one jet after the other
(:class:`~jetsym.jets.io.mapping.quantities.Quantity`). A function either works element by element, where each jet's
number goes with all its particles, or it goes over the particles of each jet, as what numpy and awkward call
``axis=1``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.quantities import (
    Quantity,
    apply,
    are_conditions,
    counts_of,
    numeric,
    place,
    refuse_overflow,
    refuse_vectors,
)

__all__ = ["FUNCTIONS", "Function", "over_stack"]


@dataclass(frozen=True)
class Function:
    """A function that expressions may call.

    Parameters
    ----------
    compute
        Called with the words that messages begin with, the arguments, each a :class:`Quantity`, and the options.
    least, most
        How many arguments it takes; None for any number.
    options
        Names of its options; they are numbers, True or False.
    axis
        Whether it goes over particles, or over something else without ``axis=1`` or ``axis=-1``: "taken" if these may
        stand there, "needed" if they must. ``compute`` does not get them.
    lists
        Whether an argument may be a list of arguments, as in ``isin(x, [1, 2])``.
    of_all
        Whether what it gives of the first particles of a jet depends on those behind them; some functions go over
        particles with one argument, and else element by element.
    """

    compute: Callable[..., Quantity]
    least: int = 1
    most: int | None = 1
    options: frozenset[str] = frozenset()
    axis: str = ""
    lists: bool = False
    of_all: bool = False


def _elementwise(function: Callable[..., Any], arguments: int = 1) -> Function:
    def compute(what: str, *operands: Quantity) -> Quantity:
        return _applied(function, what, *operands)

    return Function(compute, arguments, arguments)


def _applied(function: Callable[..., Any], what: str, *operands: Quantity) -> Quantity:
    """Apply a function to numbers; conditions are 0 and 1, but where numpy makes conditions of them again."""
    if function in _OF_CONDITIONS and are_conditions(operands):
        return apply(_OF_CONDITIONS[function], what, *operands)
    return apply(function, what, *map(numeric, operands))


def _successive(what: str, function: Callable[..., Any], operands: Sequence[Quantity]) -> Quantity:
    first, *others = operands
    for other in others:
        first = _applied(function, what, first, other)
    return first


def _over(function: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]], name: str, axis: str) -> Function:
    """Make a function from a jet's particles to the jet."""

    def compute(what: str, quantity: Quantity) -> Quantity:
        if quantity.counts is None:
            raise ConfigError(f"{what}: {name} of something that has one value per jet; expected one per particle")
        refuse_vectors(what, name, quantity)
        if name in _EXTREMES and are_conditions([quantity]):  # a condition to awkward, and none of an empty list
            raise ConfigError(f"{what}: {name} of conditions; write {'any' if name == 'max' else 'all'}")
        return Quantity(function(quantity.values, quantity.counts))

    return Function(compute, axis=axis, of_all=True)


def _sum(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    jets = np.repeat(np.arange(len(counts)), counts)
    sums: NDArray[Any] = np.bincount(jets, weights=values.astype(np.float64), minlength=len(counts))
    return sums


def _mean(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return _sum(values, counts) / counts


def _reduced(function: Any, empty: Any) -> Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]:
    """Go over the particles of each jet with one of numpy's operations; ``empty`` is said of jets without any."""

    def reduce(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
        found = np.full(len(counts), empty)
        filled = counts > 0
        if filled.any():
            found[filled] = function.reduceat(values.astype(found.dtype), (np.cumsum(counts) - counts)[filled])
        return found

    return reduce


def _extremes_of_particles(function: Any, last: float) -> Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]:
    """Return the largest or the smallest of each jet's numbers, as awkward does: NaN counts as ``last``."""
    reduce = _reduced(function, np.nan)
    return lambda values, counts: reduce(np.where(np.isnan(values), last, values), counts)


def _extreme(function: Any, name: str) -> Function:
    """Make ``max`` or ``min``: of one argument over particles, of more of them element by element."""
    over = _over(_OVER[name], name, "taken").compute

    def compute(what: str, *operands: Quantity) -> Quantity:
        return over(what, *operands) if len(operands) == 1 else _successive(what, function, operands)

    return Function(compute, most=None, axis="taken", of_all=True)


def _order(what: str, quantity: Quantity, ascending: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which particle of all comes where when each jet's are sorted, and their number in each jet.

    What is no number comes first, whatever the order, as awkward has it.
    """
    counts = counts_of(quantity, what)
    values = numeric(quantity).values
    jets = np.repeat(np.arange(len(counts)), counts)
    return np.lexsort((values if ascending else -values, ~np.isnan(values), jets)), counts


def _sort(what: str, quantity: Quantity, *, ascending: bool = True) -> Quantity:
    refuse_vectors(what, "sort", quantity)
    order, counts = _order(what, quantity, ascending)
    return Quantity(quantity.values[order], counts)


def _argsort(what: str, quantity: Quantity, *, ascending: bool = True) -> Quantity:
    refuse_vectors(what, "argsort", quantity)
    order, counts = _order(what, quantity, ascending)
    return Quantity(order - np.repeat(np.cumsum(counts) - counts, counts), counts, numbers=True)


def _first(what: str, quantity: Quantity) -> Quantity:
    return place(quantity, what, 0, None, alone=True)


def _count(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return counts


def _singletons(what: str, quantity: Quantity) -> Quantity:
    """Make lists of one number each of numbers of jets."""
    if quantity.counts is not None or not quantity.values.ndim:
        raise ConfigError(f"{what}: singletons of what has no value per jet; expected one")
    return replace(quantity, counts=np.ones(len(quantity.values), np.int64))


def _concatenate(what: str, *operands: Quantity) -> Quantity:
    """Put each jet's lists one behind the other."""
    refuse_vectors(what, "concatenate", *operands)
    counts = np.stack([counts_of(operand, what) for operand in operands])
    within = np.cumsum(counts, axis=0) - counts + np.cumsum(counts.sum(axis=0)) - counts.sum(axis=0)
    found = np.empty(counts.sum(), np.result_type(*(operand.values for operand in operands)))
    for operand, own, starts in zip(operands, counts, within, strict=True):
        found[np.repeat(starts - (np.cumsum(own) - own), own) + np.arange(own.sum())] = operand.values
    return Quantity(found, counts.sum(axis=0))


def _local_index(values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)


def _numbered(what: str, quantity: Quantity) -> Quantity:
    counts = counts_of(quantity, what)
    return Quantity(_local_index(quantity.values, counts), counts)


def _same(what: str, quantity: Quantity, *, dtype: str | None = None) -> Quantity:
    return replace(quantity, values=quantity.values if dtype is None else quantity.values.astype(dtype))


def _filled(function: Callable[..., Any]) -> Function:
    """Make ``ones_like`` or ``zeros_like``."""

    def compute(what: str, quantity: Quantity, *, dtype: str | None = None) -> Quantity:
        return _same(what, apply(function, what, quantity), dtype=dtype)

    return Function(compute, options=frozenset({"dtype"}))


def over_stack(name: str) -> Function | None:
    """Return what goes over several numbers of a jet, as ``np.argmax(np.stack([a, b], axis=1), axis=1)`` does."""
    if name not in _OVER_STACKS:
        return None

    def compute(what: str, *operands: Quantity) -> Quantity:
        if any(operand.counts is not None for operand in operands):
            raise ConfigError(f"{what}: np.stack of something with several values per jet; expected numbers of jets")
        refuse_vectors(what, "np.stack", *operands)
        columns = np.stack(np.broadcast_arrays(*(operand.values for operand in operands)), axis=-1)
        refuse_overflow(getattr(np, name), what, [columns], axis=-1)
        return Quantity(np.asarray(getattr(np, name)(columns, axis=-1)))

    return Function(compute, most=None, lists=True)


_OVER_STACKS = ("argmax", "argmin", "sum", "max", "min", "mean", "prod", "any", "all")


def _is_in(what: str, quantity: Quantity, *values: Quantity) -> Quantity:
    same = [apply(np.equal, what, quantity, value) for value in values]
    return _successive(what, np.logical_or, same)


def _where(what: str, condition: Quantity, one: Quantity, other: Quantity) -> Quantity:
    return apply(np.where, what, condition, one, other)


def _logical(function: Callable[..., Any], arguments: int) -> Function:
    return Function(lambda what, *operands: apply(function, what, *operands), arguments, arguments)


_OVER: dict[str, Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]] = {
    "sum": _sum,
    "prod": _reduced(np.multiply, 1.0),
    "mean": _mean,
    "any": _reduced(np.logical_or, False),
    "all": _reduced(np.logical_and, True),
    "max": _extremes_of_particles(np.maximum, -np.inf),
    "min": _extremes_of_particles(np.minimum, np.inf),
}
_EXTREMES = {"max": np.maximum, "min": np.minimum}
#: What numpy's functions of which conditions are made of conditions are then.
_OF_CONDITIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.maximum: np.logical_or,
    np.minimum: np.logical_and,
    np.absolute: lambda values: values,
    np.nan_to_num: lambda values: values,
}
_SORTS = {"sort": _sort, "argsort": _argsort}

#: What works element by element, under numpy's names: of one number, and of two.
_ONE = (
    "exp exp2 expm1 log log2 log10 log1p sqrt cbrt square abs absolute fabs sign floor ceil trunc rint isfinite isnan "
    "isinf sin cos tan arcsin arccos arctan asin acos atan sinh cosh tanh arcsinh arccosh arctanh asinh acosh atanh "
    "deg2rad rad2deg radians degrees nan_to_num negative positive"
)
_TWO = "arctan2 atan2 hypot maximum minimum fmod"
_ELEMENTWISE = {**dict.fromkeys(_ONE.split(), 1), **dict.fromkeys(_TWO.split(), 2), "clip": 3}
_CONDITIONS = {"logical_not": 1, "logical_and": 2, "logical_or": 2, "logical_xor": 2}

_NUMPYS: dict[str, Function] = {
    **{name: _elementwise(getattr(np, name), arguments) for name, arguments in _ELEMENTWISE.items()},
    **{name: _logical(getattr(np, name), arguments) for name, arguments in _CONDITIONS.items()},
    **dict.fromkeys(("power", "pow"), _elementwise(np.float_power, 2)),
    "ones_like": _filled(np.ones_like),
    "zeros_like": _filled(np.zeros_like),
    "where": Function(_where, 3, 3),
    "isin": Function(_is_in, 2, None, lists=True),
}
_AWKWARDS: dict[str, Function] = {
    "where": Function(_where, 3, 3),
    "zeros_like": _NUMPYS["zeros_like"],
    "ones_like": _NUMPYS["ones_like"],
    "nan_to_num": _NUMPYS["nan_to_num"],
    "num": _over(_count, "num", "taken"),
    "firsts": Function(_first, axis="taken"),
    "count": _over(_count, "count", "needed"),
    "sort": Function(_sort, options=frozenset({"ascending"}), axis="taken", of_all=True),
    "argsort": Function(_argsort, options=frozenset({"ascending"}), axis="taken", of_all=True),
    "singletons": Function(_singletons),
    "concatenate": Function(_concatenate, 1, None, axis="needed", lists=True, of_all=True),
    "local_index": Function(_numbered, axis="needed"),
    "to_numpy": Function(_same),
    "copy": Function(_same),
    "values_astype": Function(_same, options=frozenset({"dtype"})),
}

#: All functions, by the name that stands in an expression.
FUNCTIONS: dict[str, Function] = {
    **_NUMPYS,
    **{f"np.{name}": one for name, one in _NUMPYS.items()},
    **{f"ak.{name}": one for name, one in _AWKWARDS.items()},
    **{name: _over(function, name, "taken") for name, function in _OVER.items()},
    **{name: _extreme(function, name) for name, function in _EXTREMES.items()},
    **{
        f"{module}.{name}": _over(function, name, "needed")
        for module in ("np", "ak")
        for name, function in _OVER.items()
    },
    **{name: _AWKWARDS[name] for name in ("sort", "argsort")},
    "count": _over(_count, "count", "taken"),
    "first": Function(_first, axis="taken"),
}
