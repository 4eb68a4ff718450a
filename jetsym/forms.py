"""The forms of saved results: by what the fields of a dataclass say, it is written as plain values, and read again.

What was read is compared with them: a number that has become a text, or a list an entry, would else be found where
somebody prints the result, or never.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

__all__ = ["FACTS", "as_plain", "expect_facts", "expect_form", "from_plain", "made_of"]

T = TypeVar("T")

#: What is known of how something was measured -> its form; other facts may be anything.
FACTS: dict[str, Any] = {
    **dict.fromkeys(("axes", "dtype", "device", "distribution", "group", "jetsym", "method", "model", "readout"), str),
    **dict.fromkeys(("axis", "frame", "unit"), str | None),
    **dict.fromkeys(
        ("evaluations", "jets", "n_inputs", "n_rotations", "passes", "probed", "ranks", "seed", "step"), int
    ),
    **dict.fromkeys(("batch_size", "degree", "held_out", "l_max", "n_draws", "rotated", "test_jets"), int | None),
    "seconds": float,
    **dict.fromkeys(("confidence", "width"), float | None),
    "notes": list[str] | tuple[str, ...],
    "unbiased": list[str] | tuple[str, ...] | list[list[str]],  # layers, or those of every width of boosts
    **dict.fromkeys(("units", "unsaid", "without_law"), Mapping[str, str] | list[str] | tuple[str, ...]),
    "laws": Mapping[str, Any],
    "resolution": Mapping[str, Any] | None,
}
#: The same of what l_max='auto' found, and of each of its steps.
_RESOLUTION: dict[str, Any] = {"tolerance": float, "agreed": bool, "inputs": int, "steps": list[Any] | tuple[Any, ...]}
_STEP: dict[str, Any] = {"l_max": int}


def as_plain(value: Any) -> Any:
    """Return values that JSON can hold for a value and all within it; :func:`from_plain` is the way back.

    A class whose plain form is not that of its fields has ``to_dict``, and ``from_dict``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     name: str
    ...     place: tuple[float, ...]
    >>> as_plain({1: Point("here", (1.0, 2.5)), 2: np.zeros(2)})
    {'1': {'name': 'here', 'place': [1.0, 2.5]}, '2': [0.0, 0.0]}
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {one.name: as_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): as_plain(item) for name, item in value.items()}
    return [as_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(hint: Any, value: Any) -> Any:
    """Return the value of type ``hint`` that :func:`as_plain` was given; what is of no such type stays as it is.

    Examples
    --------
    >>> from_plain(Mapping[int, tuple[float, ...]], {"1": [0.5]}), from_plain(tuple[float, ...] | None, "rubbish")
    ({1: (0.5,)}, 'rubbish')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [one for one in arguments if one is not NoneType]
        return from_plain(kinds[0], value) if len(kinds) == 1 else value
    if isinstance(value, Mapping):
        if isinstance(hint, type) and is_dataclass(hint):
            return hint.from_dict(value) if hasattr(hint, "from_dict") else made_of(hint, value)
        key, of = arguments if len(arguments) == 2 else (str, Any)
        return {int(name) if key is int else name: from_plain(of, item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    if np.ndarray in (hint, origin):
        return np.array(value, dtype=float)
    if origin is tuple and ... not in arguments:
        return tuple(map(from_plain, arguments, value)) if len(value) == len(arguments) else value
    items = [from_plain(arguments[0], item) for item in value] if arguments else value
    return tuple(items) if arguments and origin is not list else items


def made_of(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass of the plain values of its fields."""
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    return kind(**{name: from_plain(hints.get(name, Any), value) for name, value in values.items()})


def expect_form(result: Any) -> None:
    """Refuse a dataclass that holds something else than its fields say.

    Raises
    ------
    TypeError
        It does; the message names the first such place.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     name: str
    ...     place: tuple[float, ...]
    >>> expect_form(Point("here", (1, 2.5)))
    >>> expect_form(Point("here", (1, "2.5")))
    Traceback (most recent call last):
    TypeError: place[1] is '2.5'; expected float
    """
    kind: Any = type(result)
    for name, hint in _hints(kind).items():
        _expect(getattr(result, name), hint, name)


def expect_facts(meta: Mapping[str, Any], *, needed: Collection[str] = ()) -> None:
    """Refuse facts of a measurement of another form than :data:`FACTS` says, and where some are missing: TypeError.

    Examples
    --------
    >>> expect_facts({"group": "SO3", "notes": "none"})
    Traceback (most recent call last):
    TypeError: notes is 'none'; expected list[str] | tuple[str, ...]
    """
    _expect_table(meta, FACTS, "meta", needed)
    found = meta.get("resolution")
    if found:
        _expect_table(found, _RESOLUTION, "resolution", _RESOLUTION)
        if not found["steps"]:
            raise TypeError("resolution has no steps")
        for step in found["steps"]:
            _expect(step, Mapping[str, float], "a step of resolution")
            _expect_table(step, _STEP, "a step of resolution", _STEP)
            if not {"unexplained"} & {*step} and not {"tail", "difference"} <= {*step}:
                raise TypeError("a step of resolution does not say what it leaves")


def _expect_table(values: Mapping[str, Any], table: Mapping[str, Any], where: str, needed: Collection[str]) -> None:
    for name in needed:
        if name not in values:
            raise TypeError(f"{where} has no {name!r}")
    for name, value in values.items():
        _expect(value, table.get(name, Any), name)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, as far as they are known here."""
    if not is_dataclass(kind):
        return {}
    try:
        hints = get_type_hints(kind)
    except NameError:  # of a type that is imported for checkers alone
        return {}
    return {one.name: hints[one.name] for one in fields(kind)}


def _expect(value: Any, hint: Any, where: str) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin in (Union, UnionType):
        if not any(_is(value, one, where) for one in arguments):
            _refuse(value, hint, where)
    elif origin is Literal:
        if value not in arguments:
            _refuse(value, hint, where)
    elif isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, hint):
            _refuse(value, hint, where)
        kind: Any = type(value)
        for name, own in _hints(kind).items():
            _expect(getattr(value, name), own, f"{where}.{name}")
    elif origin is np.ndarray or hint is np.ndarray:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            _refuse(value, hint, where)
    elif origin is not None:
        _expect_members(value, hint, where)
    elif hint in _PLAIN:
        if not isinstance(value, _PLAIN[hint]) or (isinstance(value, bool) and hint is not bool):
            _refuse(value, hint, where)
    elif isinstance(hint, type) and not isinstance(value, hint):
        _refuse(value, hint, where)


#: A type that a field names -> the values that count as such.
_PLAIN: dict[Any, Any] = {float: Real, int: Integral, str: str, bool: (bool, np.bool_), NoneType: NoneType}


def _expect_members(value: Any, hint: Any, where: str) -> None:
    """Look at the members of a container."""
    origin, arguments = get_origin(hint), get_args(hint)
    if not isinstance(origin, type):
        return
    if not isinstance(value, origin) or isinstance(value, str):
        _refuse(value, hint, where)
    if issubclass(origin, Mapping):
        for key, member in value.items():
            _expect(key, arguments[0], f"a name in {where}")
            _expect(member, arguments[1], f"{where}[{key!r}]")
    elif origin is tuple and arguments[-1:] != (...,):
        if len(value) != len(arguments):
            _refuse(value, hint, where)
        for number, (member, own) in enumerate(zip(value, arguments, strict=True)):
            _expect(member, own, f"{where}[{number}]")
    elif len(arguments) in (1, 2) and not issubclass(origin, type):
        for number, member in enumerate(value):
            _expect(member, arguments[0], f"{where}[{number}]")


def _is(value: Any, hint: Any, where: str) -> bool:
    try:
        _expect(value, hint, where)
    except TypeError:
        return False
    return True


def _refuse(value: Any, hint: Any, where: str) -> None:
    shown = " ".join(repr(value).split())
    said = hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")
    raise TypeError(f"{where} is {shown[:60]}{'…' if len(shown) > 60 else ''}; expected {said}")
