"""What an annotation allows, as a test of a value and words for it."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["Kind", "Range", "allowed", "array", "is_array", "is_device"]


@dataclass(frozen=True)
class Kind:
    """What a parameter may be.

    Parameters
    ----------
    fits
        The test of a value.
    words
        What it has to be.
    dtypes
        Letters of the dtypes of arrays that hold such values, as numpy calls them; "" if none do.
    """

    fits: Callable[[Any], bool]
    words: str
    dtypes: str = ""


@dataclass(frozen=True)
class Range:
    """Numbers that a parameter may have, and words for them; of several numbers it holds for each."""

    words: str
    holds: Callable[[float], bool]
    endless: bool = False  # whether infinity may be one of them


def allowed(hint: Any, limits: Range | None = None) -> Kind | None:
    """Return what an annotation allows, its numbers within limits; None for anything.

    Examples
    --------
    >>> kind = allowed(Sequence[int] | None)
    >>> kind.words, kind.fits([1, 2]), kind.fits([0.5]), kind.fits("12")
    ('a list of integers or None', True, False, False)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return allowed(parts[0], limits)
    if origin in (Union, UnionType):
        if hint is getattr(sys.modules.get("numpy.typing"), "ArrayLike", None):
            return _LIKE_ARRAYS
        is_device = str in parts and any(getattr(part, "__module__", "") == "torch" for part in parts)
        is_path = str in parts and any(_is_path(part) for part in parts)
        kept = [part for part in parts if not (is_device and part is str)]  # which devices are written as
        return _any_of([_PATH if is_path and part is str else allowed(part, limits) for part in kept])
    if origin is Literal:
        return Kind(lambda value: _is_in(value, parts), f"one of {', '.join(map(repr, parts))}")
    if hint in (int, float):
        return _number(hint, limits)
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    return _instance(hint) if origin is None else _container(origin, parts, limits)


def _is_path(hint: Any) -> bool:
    meant = get_origin(hint) or hint
    return isinstance(meant, type) and issubclass(meant, os.PathLike)


def _any_of(kinds: Sequence[Kind | None]) -> Kind | None:
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    words = " or ".join(dict.fromkeys(kind.words for kind in known))
    return Kind(lambda value: any(kind.fits(value) for kind in known), words, "".join(kind.dtypes for kind in known))


def _is_in(value: Any, choices: tuple[Any, ...]) -> bool:
    if not isinstance(value, str | int | None):
        return False
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in choices)


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # of arrays with several numbers
        return False
    return True


def _is_number(value: Any, *, endless: bool = False) -> bool:
    """Tell whether it is one finite real number, or infinity, as an array of no axes may be too."""
    if isinstance(value, bool) or not (isinstance(value, Real) or getattr(value, "ndim", None) == 0):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return math.isfinite(number) or (endless and math.isinf(number))


def _number(hint: Any, limits: Range | None) -> Kind:
    words, dtypes = ("an integer", "iu") if hint is int else ("a number", "iuf")
    if limits is None:
        return Kind(_is_integer if hint is int else _is_number, words, dtypes)
    words = f"{words} {limits.words}"
    if hint is int:
        return Kind(lambda value: _is_integer(value) and limits.holds(value), words, dtypes)
    return Kind(lambda value: _is_number(value, endless=limits.endless) and limits.holds(value), words, dtypes)


def is_device(value: Any) -> bool:
    """Tell whether torch can place a tensor there."""
    torch: Any = sys.modules["torch"]
    if isinstance(value, torch.dtype):
        return False
    try:
        torch.empty(0, device=value)
    except (RuntimeError, AssertionError, TypeError, ValueError):  # torch built without CUDA asserts
        return False
    return value is not None


def _is_bool(value: Any) -> bool:
    kinds = (bool, getattr(sys.modules.get("numpy"), "bool_", bool))
    return isinstance(value, kinds) or type(value).__name__ == "bool_"


def is_array(value: Any) -> bool:
    """Tell whether it is an array of numbers, of any library."""
    dtype = getattr(value, "dtype", None)
    return hasattr(value, "shape") and dtype is not None and getattr(dtype, "kind", "f") in "biufcV"  # V: bfloat16


def _is_like_an_array(value: Any) -> bool:
    """Tell whether numpy makes an array of numbers of it."""
    if is_array(value):
        return True
    if isinstance(value, str | bytes | bool) or not isinstance(value, Real | Sequence):
        return False
    try:
        return import_module("numpy").asarray(value).dtype.kind in "biufc"
    except (TypeError, ValueError, RuntimeError):
        return False


_PATH = Kind(lambda value: isinstance(value, str) and value != "", "a path")
#: An array of any library.
array = Kind(is_array, "an array of numbers")
_LIKE_ARRAYS = Kind(_is_like_an_array, "an array of numbers")
_SIMPLE: dict[Any, Kind] = {
    bool: Kind(_is_bool, "True or False", "b"),
    str: Kind(lambda value: isinstance(value, str), "a text", "U"),
    NoneType: Kind(lambda value: value is None, "None"),
    complex: Kind(lambda value: isinstance(value, complex) or _is_number(value), "a number", "iufc"),
}


def _is_listed(value: Any) -> bool:
    """Tell whether it is a sequence of things, as a list, an array or the values of a dictionary are, and no text."""
    if isinstance(value, str | bytes | Mapping | set | frozenset | type):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0


def _plural(kind: Kind | None) -> str:
    """Put into words what several of a kind are."""
    if kind is None:
        return "values"
    for word, several in {"a text": "texts", "an integer": "integers", "a number": "numbers"}.items():
        if kind.words == word or (kind.words.startswith(f"{word} ") and " or " not in kind.words):
            return several + kind.words.removeprefix(word)
    return f"values, each {kind.words}"


def _container(origin: Any, parts: tuple[Any, ...], limits: Range | None) -> Kind | None:
    if getattr(origin, "__name__", "") == "ndarray":
        return array
    if not isinstance(origin, type):
        return None
    if issubclass(origin, Mapping):
        return _mapping(allowed(parts[0]), allowed(parts[1], limits))
    if issubclass(origin, tuple) and parts[-1:] != (Ellipsis,):
        return _fixed([allowed(part, limits) for part in parts])
    if issubclass(origin, Sequence) or origin is Iterable:
        return _several(allowed(parts[0], limits), streams=origin is Iterable)
    return _instance(origin)


def _several(item: Kind | None, *, streams: bool = False) -> Kind:
    def fits(value: Any) -> bool:
        if not _is_listed(value):
            return streams and hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping | type)
        dtype = getattr(value, "dtype", None)
        if item is None or dtype is None:
            return item is None or all(map(item.fits, value))
        kind = getattr(dtype, "kind", "f" if getattr(dtype, "is_floating_point", False) else "i")
        return value.ndim == 1 and (kind in item.dtypes or kind == "O") and all(map(item.fits, value.tolist()))

    return Kind(fits, f"a list of {_plural(item)}")


def _fixed(items: Sequence[Kind | None]) -> Kind:
    def fits(value: Any) -> bool:
        if not _is_listed(value) or len(value) != len(items):
            return False
        return all(item is None or item.fits(one) for item, one in zip(items, value, strict=True))

    words = ", ".join("anything" if item is None else item.words for item in items)
    return Kind(fits, f"({words})")


def _mapping(key: Kind | None, item: Kind | None) -> Kind:
    def fits(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return False
        return (key is None or all(map(key.fits, value))) and (item is None or all(map(item.fits, value.values())))

    return Kind(fits, f"a dictionary of {_plural(key)} -> {'anything' if item is None else item.words}")


def _instance(hint: Any) -> Kind | None:
    if hint is Callable or hint is get_origin(Callable[..., Any]):
        return Kind(callable, "a function")
    if not isinstance(hint, type) or hint in (Any, object):
        return None
    if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
        return None
    if _is_path(hint):
        return Kind(lambda value: isinstance(value, os.PathLike), "a path")
    if issubclass(hint, Mapping):
        return _mapping(None, None)
    if hint in (Sequence, list, tuple):
        return _several(None)
    if hint.__module__ == "torch" and hint.__name__ == "device":
        return Kind(is_device, "a device that is there, such as 'cpu'")
    return Kind(lambda value: isinstance(value, hint), f"a {hint.__name__}")
