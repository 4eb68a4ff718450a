"""Benchmarks that go on with what the numbers in a file lack."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from jetsym.errors import ConfigError, DataError
from jetsym.files import check_out
from jetsym.results import Result

__all__ = ["resumed"]

R = TypeVar("R", bound=Result)


def resumed(empty: R, out: str | None, *, kind: str, numbers: str) -> R:
    """Read the result that is there, or begin with an empty one.

    Parameters
    ----------
    empty
        A result without numbers, whose ``meta`` says what was measured.
    out
        Its file; None for none.
    kind, numbers
        What the result, and the numbers in it, are called.

    Raises
    ------
    ConfigError
        There is another file, or numbers of something else.
    """
    if out is None or not check_out(out).exists():
        return empty
    try:
        found = type(empty).load(out)
    except DataError as error:
        raise ConfigError(f"{out} is there and holds no {kind}: {error}; choose another name") from error
    there, meta = (dict(cast("Any", one).meta) for one in (found, empty))
    if there != meta:
        raise ConfigError(f"{out} holds the {numbers} of {there}; expected {meta}: choose another name")
    return found
