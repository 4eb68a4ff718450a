"""What a public function is given, compared with its annotations before anything else happens.

Python does not compare the two, so that 2.5 epochs, or the name of a file in place of what was read from it, would go
on to where nobody knows any more what they were meant for.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from importlib import import_module
from numbers import Real
from typing import Any, TypeVar, get_type_hints

from jetsym.annotations import Kind, Range, allowed, array, is_array, is_device
from jetsym.errors import ConfigError, JetsymError, shorten

__all__ = [
    "Shape",
    "above",
    "among",
    "anything",
    "array",
    "at_least",
    "by_name",
    "checked",
    "endless",
    "filled",
    "fraction",
    "having",
    "number",
    "path",
    "placed",
    "shaped",
]

_Target = TypeVar("_Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class Shape:
    """The axes of an array: numbers, and names, of which each has one size in a call; "..." leaves the first open."""

    axes: tuple[int | str, ...]
    finite: bool


def at_least(least: float, *, endless: bool = False) -> Range:
    """Return the numbers from one on; with ``endless`` infinity as well."""
    return Range(f"≥ {least:g}", lambda value: value >= least, endless)


def above(limit: float, *, endless: bool = False) -> Range:
    """Return the numbers above one; with ``endless`` infinity as well."""
    return Range(f"> {limit:g}", lambda value: value > limit, endless)


def among(*numbers: int) -> Range:
    """Return a few numbers."""
    return Range(f"of {', '.join(map(str, numbers))}", lambda value: value in numbers)


#: From 0 to below 1.
fraction = Range("in [0, 1)", lambda value: 0 <= value < 1)
#: Any finite or infinite number.
endless = Range("or infinity", lambda value: True, endless=True)
#: Text that says something.
filled = Kind(lambda value: isinstance(value, str) and value != "", "a text that is not empty")
#: A real number, or none, as a loss may be.
number = Kind(lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number")
#: Where torch can place tensors.
placed = Kind(is_device, "a device that is there, such as 'cpu'")
#: What is said of things by name.
by_name = Kind(
    lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value), "a dictionary by names"
)
#: Where something lies.
path = Kind(lambda value: isinstance(value, os.PathLike) or (isinstance(value, str) and value != ""), "a path")
#: What is looked at later, by the function itself.
anything = Kind(lambda value: True, "anything")


def shaped(*axes: int | str, finite: bool = True) -> Shape:
    """Return the shape of an array, of finite numbers if not said otherwise."""
    return Shape(axes, finite)


def having(what: str, *names: str) -> Kind:
    """Return what has some attributes, as a thing of a room that is not known here."""
    return Kind(lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names), what)


def checked(
    error: type[JetsymError] = ConfigError, mark: str = "", /, **limits: Range | Shape | Kind
) -> Callable[[_Target], _Target]:
    """Refuse arguments that do not fit their annotations; decorates a function, or a class, of which it is the maker.

    Numbers are finite, integers are no truth values, texts are no sequences of texts, and a sequence may be an array.
    What is annotated as Any, or as a protocol that cannot be tested, is not looked at. Too many arguments, and unknown
    names of them, stay Python's own errors.

    Parameters
    ----------
    error
        The error that is raised.
    mark
        What stands before names in its messages, such as "--" of flags.
    limits
        Name of a parameter -> the numbers that it may be; other kinds that it may have as well, such as None, have no
        range. Or the shape of an array, or what it has to be in place of what the annotation says; a default is allowed
        in any case.

    Examples
    --------
    >>> @checked(limit=at_least(1))
    ... def take(names: Sequence[str], *, limit: int | None = None) -> None: ...
    >>> take(["a"], limit=2.5)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: limit is 2.5; expected an integer ≥ 1 or None
    >>> take("a")
    Traceback (most recent call last):
    jetsym.errors.ConfigError: names is 'a'; expected a list of texts
    """

    def door(target: Any, module: str = "") -> Any:
        if isinstance(target, type):
            maker = "__init__" if "__init__" in vars(target) else "__new__"
            made = door(getattr(target, maker), target.__module__)
            setattr(target, maker, staticmethod(made) if maker == "__new__" else made)
            return target
        known: list[_Door] = []  # made at the first call, when all names can be found

        @wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not known:
                known.append(_Door.of(target, limits, module or target.__module__))
            known[0].refuse(args, kwargs, lambda words: error(mark + words))
            return target(*args, **kwargs)

        return call

    return door


@dataclass(frozen=True)
class _Door:
    """The kinds of a function's parameters, and the shapes of those that are arrays."""

    positional: tuple[tuple[str, Kind | None], ...]
    rest: tuple[str, Kind | None]
    named: Mapping[str, Kind | None]
    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, function: Callable[..., Any], limits: Mapping[str, Range | Shape | Kind], module: str) -> _Door:
        """Read the annotations of a function."""
        names = _for_types_only(module)
        if function.__module__ not in sys.modules:  # as that which makes named tuples, and knows no names at all
            names = {**vars(builtins), **vars(sys.modules[module]), **names}
        hints = get_type_hints(function, localns=names)
        parameters = inspect.signature(function).parameters
        if unknown := limits.keys() - parameters.keys():
            raise TypeError(f"{function.__qualname__} has no parameter {', '.join(sorted(unknown))}")
        kinds = {name: _of(hints.get(name, Any), one.default, limits.get(name)) for name, one in parameters.items()}
        several = [name for name, one in parameters.items() if one.kind is one.VAR_POSITIONAL]
        by_place = [
            name for name, one in parameters.items() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        return cls(
            positional=tuple((name, kinds[name]) for name in by_place),
            rest=(several[0], kinds[several[0]]) if several else ("", None),
            named=kinds,
            shapes={name: one for name, one in limits.items() if isinstance(one, Shape)},
        )

    def refuse(self, args: Sequence[Any], kwargs: Mapping[str, Any], error: Callable[[str], JetsymError]) -> None:
        """Refuse the first argument that does not fit."""
        for (name, kind), value in zip(self.positional, args, strict=False):
            if kind is not None and not kind.fits(value):
                raise error(f"{name} is {shorten(value)}; expected {kind.words}")
        name, kind = self.rest
        if kind is not None:
            for value in args[len(self.positional) :]:
                if not kind.fits(value):
                    raise error(f"one of {name} is {shorten(value)}; expected {kind.words}")
        for name, value in kwargs.items():
            kind = self.named.get(name)
            if kind is not None and not kind.fits(value):
                raise error(f"{name} is {shorten(value)}; expected {kind.words}")
        if self.shapes:
            given = dict(zip((name for name, _ in self.positional), args, strict=False)) | dict(kwargs)
            self._refuse_shapes(given, error)

    def _refuse_shapes(self, given: Mapping[str, Any], error: Callable[[str], JetsymError]) -> None:
        sizes: dict[str, int] = {}
        for name, shape in self.shapes.items():
            value: Any = given.get(name)
            found = (len(value),) if isinstance(value, list | tuple) else getattr(value, "shape", None)
            if found is None or isinstance(value, Real):  # left out, or another kind of argument
                continue
            axes, sized = shape.axes, tuple(found)
            if axes[0] == "...":
                axes, sized = axes[1:], sized[max(0, len(sized) - len(axes) + 1) :]
            fits = len(axes) == len(sized) and all(
                size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
                for axis, size in zip(axes, sized, strict=True)
            )
            if not fits:
                known = [f"{axis} = {sizes[axis]}" if axis in sizes else axis for axis in map(str, shape.axes)]
                comma = "," if len(known) == 1 else ""
                raise error(f"{name} has shape {tuple(found)}; expected ({', '.join(known)}{comma})")
            if shape.finite and is_array(value) and not bool((value * 0 == 0).all()):  # in any library
                raise error(f"{name} is not finite throughout; expected finite numbers")


def _of(hint: Any, default: Any, limit: Range | Shape | Kind | None) -> Kind | None:
    """Return what a parameter may be."""
    if not isinstance(limit, Kind):
        kind = allowed(hint, limit if isinstance(limit, Range) else None)
        if not isinstance(limit, Shape) or kind is not None:
            return kind
        limit = array
    if default is inspect.Parameter.empty:
        return limit
    return Kind(lambda value: value is default or limit.fits(value), f"{limit.words} or {default!r}")


class _Awaited(type):
    """A class of a package that may be loaded later: what it is, is looked up for every value."""

    home: str
    name: str

    def __instancecheck__(cls, value: Any) -> bool:
        meant = getattr(sys.modules.get(cls.home), cls.name, None)
        if meant is None:  # there can be no value of it
            return False
        return isinstance(value, meant) if isinstance(meant, type) else True

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __getattr__(cls, name: str) -> Any:  # of a package, as in "ak.Array"
        if name.startswith("_"):
            raise AttributeError(name)
        return _awaited(f"{cls.home}.{cls.name}".rstrip("."), name)


def _awaited(home: str, name: str) -> Any:
    return _Awaited(name or "_", (), {"home": home, "name": name})


@cache
def _for_types_only(module: str) -> dict[str, Any]:
    """Return the names that a module imports for its annotations alone."""
    found: dict[str, Any] = {}
    for block in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not (isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"):
            continue
        for line in block.body:
            if isinstance(line, ast.ImportFrom) and line.module:
                found |= {one.asname or one.name: _looked_up(line.module, one.name) for one in line.names}
            elif isinstance(line, ast.Import):
                found |= {one.asname or one.name.partition(".")[0]: _looked_up(one.name, "") for one in line.names}
    return found


def _looked_up(module: str, name: str) -> Any:
    home = import_module(module) if module.partition(".")[0] == "jetsym" else sys.modules.get(module)
    if home is None:
        return _awaited(module, name)
    return getattr(home, name) if name else home
