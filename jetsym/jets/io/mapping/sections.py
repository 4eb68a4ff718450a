"""Sections of a mapping's YAML, whose keys are taken one by one, and the values in them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from jetsym.errors import ConfigError, closest
from jetsym.jets.io.mapping.expressions import Expression

__all__ = [
    "Section",
    "branch_of",
    "expect_known",
    "expression_of",
    "is_number",
    "listed_names",
    "names_of",
    "shown",
    "whole_numbers",
]


def expect_known(where: str, found: Iterable[Any], known: Sequence[str]) -> None:
    """Refuse keys that have no meaning; ``where`` begins the message."""
    for key in found:
        if key not in known:
            raise ConfigError(f"{where} has the key {key!r}, which is unknown; {closest(str(key), known)}")


def is_number(found: Any) -> bool:
    """Tell whether a value of YAML is a number."""
    return isinstance(found, int | float) and not isinstance(found, bool)


def shown(found: Any) -> str:
    """Return a value of YAML for a message, short, whatever aliases of aliases stand in the file."""
    return reprlib.repr(found)


class Section:
    """A section of the file, whose keys are taken one by one; those that are left have no meaning."""

    def __init__(self, where: str, found: Any, *, separator: str = ".") -> None:
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ConfigError(f"{where} is {shown(found)}; expected keys that are words, with their values")
        self.where, self.left, self.known, self._separator = where, dict(found), list[str](), separator

    def take(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, which is then done with."""
        self.known.append(key)
        return self.left.pop(key, default)

    def section(self, key: str) -> Section | None:
        """Return the section of a key."""
        found = self.take(key)
        return None if found is None else Section(self.at(key), found)

    def expression(self, key: str) -> Expression | None:
        """Return the expression of a key."""
        found = self.take(key)
        return None if found is None else expression_of(found, self.at(key))

    def branch(self, key: str) -> str | None:
        """Return the name of a branch, of a key."""
        found = self.take(key)
        if found is not None and not isinstance(found, str):
            raise ConfigError(f"{self.at(key)} is {shown(found)}; expected the name of a branch")
        return None if found is None else found.strip("`")

    def at(self, key: str) -> str:
        """Return where a key stands, for messages."""
        return f"{self.where}{self._separator}{key}"

    def end(self) -> None:
        """Refuse the keys that nobody has taken."""
        expect_known(self.where, self.left, self.known)


def expression_of(found: Any, where: str) -> Expression:
    """Return the expression that a value is."""
    if not isinstance(found, str) and not is_number(found):
        raise ConfigError(f"{where} is {shown(found)}; expected an expression or the name of a branch")
    return Expression.parse(str(found), where=where)


def branch_of(name: str, where: str) -> Expression:
    """Return the expression that is what a name means, a branch or a variable of the file."""
    return Expression.parse(f"`{name}`", where=where)


def whole_numbers(found: Any, where: str) -> tuple[int, ...]:
    """Return the whole numbers that a value is, one or a list."""
    values = found if isinstance(found, list) else [found]
    if not values or not all(is_number(value) and isinstance(value, int) for value in values):
        raise ConfigError(f"{where} is {shown(found)}; expected a whole number, or a list of some")
    return tuple(values)


def listed_names(found: Any, where: str) -> list[str]:
    """Return the names that a value lists, which may be none."""
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{where} is {shown(found)}; expected a list of names")
    return found


def names_of(found: Any, where: str) -> Sequence[str]:
    """Return the different words that a value lists, at least one."""
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{where} is {shown(found)}; expected one or more words")
    if len(set(found)) < len(found):
        raise ConfigError(f"{where} is {shown(found)}; expected each word once")
    return found
