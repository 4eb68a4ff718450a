"""Options of taggers: each is written once, as a field of a dataclass, and checked against what its default is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

from jetsym.errors import ConfigError, closest

__all__ = ["Options", "option"]


def option(default: Any, **limits: Any) -> Any:
    """Make a field of :class:`Options` that may be less, or more, than its default alone says.

    Parameters
    ----------
    default
        Its default.
    least
        The smallest number; 1 for whole numbers and 0 for others where it is not given.
    below
        What a number that is not whole has to be less than.
    choices
        All that it may be.
    empty
        Whether there may be none of several whole numbers.
    """
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class Options:
    """Options of a tagger, from which its ``Config`` is derived.

    A field whose default is a truth value, a text, a whole number, another number or a tuple of whole numbers, nested
    or not, takes nothing else; lists, which JSON and YAML hand over, become tuples.

    Raises
    ------
    ConfigError
        An option cannot have that value.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class LinearConfig(Options):
    ...     width: int = 8
    ...     dropout: float = option(0.0, below=1)
    >>> LinearConfig(width=0)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: Linear option width is 0; expected a whole number from 1
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, tuple):
                value = _tuples(value)
                object.__setattr__(self, one.name, value)
            if expected := _expected(value, one.default, **one.metadata):
                raise ConfigError(
                    f"{type(self).__name__.removesuffix('Config')} option {one.name} is {value!r}; {expected}"
                )


def _expected(
    value: Any,
    default: Any,
    *,
    least: int | None = None,
    below: float | None = None,
    choices: Collection[str] | None = None,
    empty: bool = False,
) -> str | None:
    """Say what was expected in place of a value; None where it will do."""
    if choices is not None:
        return None if isinstance(value, str) and value in choices else closest(str(value), choices)
    if isinstance(default, bool | str):
        wanted = "True or False" if isinstance(default, bool) else "a text"
        return None if isinstance(value, type(default)) else f"expected {wanted}"
    if isinstance(default, float):
        least = least or 0
        limit = f"{least} or more" + ("" if below is None else f" and less than {below}")
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return None if good and least <= value and (below is None or value < below) else f"expected {limit}"
    least = 1 if least is None else least
    if isinstance(default, tuple):
        good = (
            isinstance(value, tuple)
            and all(_is_whole(number, least) for number in _leaves(value))
            and (empty or _is_filled(value))
        )
        return None if good else f"expected {'' if empty else 'one or more '}whole numbers from {least}"
    return None if not isinstance(default, int) or _is_whole(value, least) else f"expected a whole number from {least}"


def _tuples(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple(_tuples(one) if isinstance(one, list | tuple) else one for one in value)


def _leaves(value: tuple[Any, ...]) -> list[Any]:
    return [leaf for one in value for leaf in (_leaves(one) if isinstance(one, tuple) else [one])]


def _is_filled(value: tuple[Any, ...]) -> bool:
    return bool(value) and all(_is_filled(one) for one in value if isinstance(one, tuple))


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
