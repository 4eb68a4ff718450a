"""Tables and words of rich as plain text."""

from __future__ import annotations

import io
import math
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["as_text", "concise", "root", "share"]


def as_text(*renderables: Any, width: int) -> str:
    """What rich prints of tables and the like, without colours; the same in a notebook, which rich would write to.

    Parameters
    ----------
    renderables
        One after the other.
    width
        Columns at most.

    Examples
    --------
    >>> as_text("one", "two", width=80)
    'one\\ntwo\\n'
    """
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, highlight=False, force_jupyter=False)
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()


def concise(value: float, error: float, *, floor: float = 0.0) -> str:
    """A number with its standard error in the last digits, as physicists write it.

    Parameters
    ----------
    value, error
        The number and its standard error; without one (NaN or 0) three digits are given.
    floor
        A modulus below which the number is only said to be smaller.

    Examples
    --------
    >>> concise(83.251, 0.42), concise(0.2276, 0.0016), concise(1.234e-7, 2.5e-8)
    ('83.25(42)', '0.2276(16)', '1.23(25)e-7')
    >>> concise(3e-17, 1e-17, floor=1e-11)
    '<1e-11'
    """
    if abs(value) < floor:
        return f"<{floor:.0e}".replace("e-0", "e-")
    if not math.isfinite(error) or error == 0:
        return f"{value:.3g}"
    largest = max(abs(value), error)
    exponent = math.floor(math.log10(largest)) if largest < 1e-3 else 0
    value, error = value / 10**exponent, float(f"{error / 10**exponent:.1e}")
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 9:
        return f"{value * 10.0**exponent:.10g}"
    text = f"{value:.{digits}f}({round(error * 10**digits)})"
    return f"{text}e{exponent}" if exponent else text


def share(value: float, error: float, floor: float = 0.0) -> str:
    """A fraction in per cent with its error; see :func:`concise`."""
    return concise(100 * float(value), 100 * float(error), floor=100 * float(floor))


def root(squared: float, stderr: float, *, floor: float = 0.0) -> str:
    """The root of a squared quantity with the error carried over to it, as physicists write it.

    Examples
    --------
    >>> root(0.04, 0.004), root(1e-30, 1e-31, floor=1e-12)
    ('0.200(10)', '<1e-12')
    """
    value = math.sqrt(max(float(squared), 0.0))
    if value <= floor:
        return f"<{floor:.0e}".replace("e-0", "e-")
    return concise(value, float(stderr) / (2 * value))


def _printed(table: Table, *, columns: int) -> str:
    return as_text(table, width=28 + 15 * (columns + 1))
