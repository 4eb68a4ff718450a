"""Results in words: numbers with their errors, in one notation, and tables as plain text."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from decimal import ROUND_CEILING, Context
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

__all__ = ["as_text", "at_most", "concise", "concise_root", "fitted", "options_said", "percent", "table_of"]

#: Columns of the terminal, where text is to fit into one.
_FITTED: ContextVar[int | None] = ContextVar("fitted", default=None)


def as_text(*renderables: Any, width: int = 10_000) -> str:
    r"""Return what rich prints of tables and the like, without colours, also in a notebook, which rich would write to.

    Parameters
    ----------
    renderables
        One after the other.
    width
        Columns at most; by default as many as they take, or as :func:`fitted` says. A table that is wider is written
        in parts, each with the words that its rows begin with.

    Examples
    --------
    >>> as_text("one", "two")
    'one\ntwo\n'
    """
    width = min(width, _FITTED.get() or width)
    stream = io.StringIO()
    # Names are shown as they are: [eV] is no markup, and :smile: no picture.
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(file=stream, width=width, color_system=None, force_jupyter=False, **plain)
    for renderable in renderables:
        for part in _parts(renderable, console) if isinstance(renderable, Table) else [renderable]:
            console.print(part)
    return stream.getvalue()


@contextmanager
def fitted(width: int | None) -> Iterator[None]:
    """Let no text of :func:`as_text` be wider than a terminal, within the block; None for any width.

    Examples
    --------
    >>> table = table_of(None, ["layer", "energy", "forces"], [["blocks.0", "1.25", "2.75"]], box=None)
    >>> with fitted(20):
    ...     [line.split() for line in as_text(table).splitlines()]
    [['layer', 'energy'], ['blocks.0', '1.25'], ['layer', 'forces'], ['blocks.0', '2.75']]
    """
    before = _FITTED.set(width)
    try:
        yield
    finally:
        _FITTED.reset(before)


def _parts(table: Table, console: Console) -> Iterator[Table]:
    """Divide the columns of a table that is too wide into several tables, each with its columns of words."""
    if _width(table, console) <= console.width:
        yield table
        return
    heads = next((place for place, column in enumerate(table.columns) if column.justify != "left"), len(table.columns))
    words, others = table.columns[:heads], table.columns[heads:]
    part: list[Column] = []
    for column in others:
        if part and _width(_of_columns(table, [*words, *part, column]), console) > console.width:
            yield _of_columns(table, [*words, *part])
            table, part = copy(table), []
            table.title = None
        part.append(column)
    yield _of_columns(table, [*words, *part])


def _width(table: Table, console: Console) -> int:
    """Return the columns that a table takes where nothing in it is broken into lines."""
    return Measurement.get(console, console.options.update_width(10_000), table).maximum


def _of_columns(table: Table, columns: Sequence[Column]) -> Table:
    """Return a table of some of the columns of another, in which what is too long is broken, and never cut."""
    chosen = copy(table)
    chosen.columns = [replace(one, no_wrap=False, overflow="fold", _index=i) for i, one in enumerate(columns)]
    return chosen


class _PlainTable(Table):
    """A table whose cells are shown as they are, whoever prints it."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table_of(
    title: str | None,
    heads: Iterable[str],
    rows: Iterable[Iterable[str]] = (),
    *,
    words: int = 1,
    no_wrap: bool = False,
    **options: Any,
) -> Table:
    r"""Return a table of rich: words set to the left, and numbers to the right; brackets in them are no markup.

    Parameters
    ----------
    title, heads, rows
        What stands above it and in it; more rows can be added.
    words
        Number of columns, from the left, that hold words.
    no_wrap
        Keep every cell on one line.
    options
        Of :class:`rich.table.Table`.

    Examples
    --------
    >>> as_text(table_of(None, ["what", "GeV"], [["mass", "80.4"]], box=None))
    ' what   GeV \n mass  80.4 \n'
    >>> as_text(table_of(None, ["energy[eV]", "[/]"], box=None))
    ' energy[eV]  [/] \n'
    """
    named = None if title is None else Text(title, style="table.title")
    table = _PlainTable(title=named, title_justify="left", **options)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place < words else "right", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*row)
    return table


def at_most(bound: float) -> str:
    """Write a bound with one digit, rounded up, so that what is below the bound is below what is written.

    Examples
    --------
    >>> at_most(2.4e-15), at_most(1e-11), at_most(0.0301), at_most(0.0)
    ('3e-15', '1e-11', '0.04', '0')
    """
    if not math.isfinite(bound):
        return f"{bound}"
    digit = Context(prec=1, rounding=ROUND_CEILING).create_decimal(repr(float(bound)))
    return f"{float(digit):g}".replace("e-0", "e-")


def concise(value: float, error: float = math.nan, *, floor: float = 0.0) -> str:
    """Write a number with its standard error in the last digits, as physicists do.

    Parameters
    ----------
    value, error
        The number and its standard error; without one (NaN, 0, or less than 0, which none can be) three digits are
        given. NaN is a dash.
    floor
        A modulus below which the number is only said to be smaller, unless its error is larger than that.

    Examples
    --------
    >>> concise(83.251, 0.42), concise(0.2276, 0.0016), concise(1.234e-7, 2.5e-8), concise(0.5, math.inf)
    ('83.25(42)', '0.2276(16)', '1.23(25)e-7', '0.5(inf)')
    >>> concise(3e-17, 1e-17, floor=1e-11), concise(3e-17, 2e-3, floor=1e-11), concise(float("nan"))
    ('<1e-11', '0.0000(20)', '—')
    """
    if math.isnan(value):
        return "—"
    if abs(value) < floor and not error > floor:
        return f"<{at_most(floor)}"
    if error == math.inf and math.isfinite(value):
        return f"{value + 0.0:.3g}(inf)"
    if not (math.isfinite(value) and error > 0):
        return f"{value + 0.0:.3g}"
    largest = max(abs(value), error)
    exponent = math.floor(math.log10(largest)) if largest < 1e-3 else 0
    value, error = value / 10**exponent, float(f"{error / 10**exponent:.1e}")
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 9:
        return f"{value * 10.0**exponent:.10g}"
    text = f"{round(value, digits) + 0.0:.{digits}f}({round(error * 10**digits)})"  # + 0.0 as −0 is 0
    return f"{text}e{exponent}" if exponent else text


def percent(fraction: float, error: float, floor: float = 0.0) -> str:
    """Write a fraction in per cent with its error; see :func:`concise`."""
    return concise(100 * float(fraction), 100 * float(error), floor=100 * float(floor))


def concise_root(squared: float, error: float, *, floor: float = 0.0) -> str:
    """Write the root of a squared quantity, with the error of the square carried over to it; see :func:`concise`.

    The error of the root is δ/2√s for an error δ of the square s, as long as that is less than √(s + δ).

    Examples
    --------
    >>> concise_root(0.04, 0.004), concise_root(1e-30, 1e-31, floor=1e-12)
    ('0.200(10)', '<1e-12')
    >>> concise_root(-1e-9, 1e-4, floor=1e-12)  # the root may be as large as 0.01
    '0.000(10)'
    """
    value, error = math.sqrt(max(float(squared), 0.0)), float(error)
    if error > 0:
        most = math.sqrt(value**2 + error)
        error = min(error / (2 * value), most) if value else most
    return concise(value, error, floor=floor)


def options_said(options: Mapping[str, Any]) -> str:
    """Write options as Python takes them, and as the command line does.

    Examples
    --------
    >>> options_said({"energy": "REF_energy", "limit": 64})
    "energy='REF_energy', limit=64 (--energy REF_energy --limit 64)"
    """
    python = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"{python} ({' '.join(f'--{name} {value}' for name, value in options.items())})"
