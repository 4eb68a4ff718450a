"""Reports on boosts and generators in plain words and as tables of text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from jetsym.probing.words import concise
from jetsym.text import as_text

if TYPE_CHECKING:
    from jetsym.probing.equivariance import Equivariance
    from jetsym.probing.lorentz_report import BoostReport, LocalReport, LorentzReport

__all__ = [
    "boost_sentences",
    "boost_table",
    "local_cells",
    "local_sentence",
    "local_table",
    "lorentz_sentences",
    "lorentz_text",
    "root",
    "width_cells",
]

#: What each direction is called in a sentence.
DIRECTIONS = {"beam": "the beam", "jet": "the jet", "random": "random directions"}


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


def width_cells(report: BoostReport, row: int) -> list[str]:
    """Relative A of a layer in every window."""
    floor = math.sqrt(float(report.noise_floor[row]))
    return [root(report.squared[w, row], report.squared_stderr[w, row], floor=floor) for w in range(len(report.widths))]


def local_cells(report: LocalReport, row: int) -> list[str]:
    """‖L_X f‖/‖f‖ of a layer for every generator."""
    return [root(*pair) for pair in zip(report.squared[row], report.squared_stderr[row], strict=True)]


def boost_sentences(report: BoostReport) -> list[str]:
    """What happens to every output under boosts."""
    axis = report.meta["axis"]
    along = DIRECTIONS.get(axis, axis) if isinstance(axis, str) else axis
    measure = f"{report.meta['distribution']} measure of width {report.widths[-1]:g}"
    result = []
    for name, item in report.equivariance.items():
        if abs(item.relative) <= item.noise_floor:
            text = f"{name} is invariant under boosts along {along} to within rounding ({measure})."
        else:
            text = (
                f"{name} changes by {concise(item.relative, item.relative_stderr)} of its size (relative A) under "
                f"boosts along {along} ({measure})."
            )
        result.append(text)
    return result


def boost_table(report: BoostReport) -> str:
    """Relative A of every layer and output in every window."""
    table = Table(title=f"Relative A under boosts along {report.meta['axis']}, by window width", title_justify="left")
    table.add_column("layer")
    for width in report.widths:
        table.add_column(f"{width:g}", justify="right")
    for row, layer in enumerate(report.layers):
        table.add_row(layer, *width_cells(report, row))
    return _printed(table, columns=len(report.widths))


def local_table(report: LocalReport) -> str:
    """‖L_X f‖/‖f‖ of every layer and output for every generator."""
    title = f"Slope ‖L_X f‖/‖f‖ per radian or unit of rapidity, axes of the {report.meta['axes']}"
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for name in report.generators:
        table.add_column(name, justify="right")
    for row, layer in enumerate(report.layers):
        table.add_row(layer, *local_cells(report, row))
    return _printed(table, columns=len(report.generators))


def local_sentence(report: LocalReport) -> str:
    """Which generator the last output feels most, and which least."""
    slopes = np.sqrt(np.maximum(report.squared[-1], 0.0))
    most, least = int(slopes.argmax()), int(slopes.argmin())
    return (
        f"Locally, {report.layers[-1]} changes fastest under {report.generators[most]} "
        f"({slopes[most]:.3g} of its size per radian or unit of rapidity, axes of the {report.meta['axes']}) and "
        f"slowest under {report.generators[least]} ({slopes[least]:.3g}); by {report.meta['method']}."
    )


def lorentz_sentences(report: LorentzReport) -> list[str]:
    """One plain sentence for each part."""
    result = []
    for name in report.equivariance:
        errors = [f"{_relative(part.equivariance[name])} under {title}" for title, part in report.compact.items()]
        result.append(f"Compact groups, exactly: relative A of {name} is {', '.join(errors)}.")
    result.append(local_sentence(report.local["jet"]))
    for name in report.equivariance:
        errors = [
            f"{_relative(part.equivariance[name])} along {DIRECTIONS.get(axis, axis)}"
            for axis, part in report.windows.items()
        ]
        first = next(iter(report.windows.values()))
        result.append(
            f"Boosts, of a declared {first.meta['distribution']} measure of width {first.widths[-1]:g}: relative A of "
            f"{name} is {', '.join(errors)}."
        )
    return [*result, _sides(report)]


def _relative(item: Equivariance) -> str:
    return concise(item.relative, item.relative_stderr, floor=item.noise_floor)


def _sides(report: LorentzReport) -> str:
    """How the local and the compact measurement of the same thing compare."""
    name = report.layers[-1]
    sides, l_max = report.casimir[name], report.compact["O3 lab"].meta["l_max"]
    return (
        f"The slopes under rotations and the spectrum of {name} are two measurements of one thing: ∫Σ‖J_a u‖² is "
        f"{sides['local']:.4g} of its power, Σ λ(λ+1) b up to λ = {l_max} is {sides['spectrum']:.4g}, and "
        f"{100 * sides['tail']:.2g} % of the power lies beyond, where it weighs most. (Slopes do not see jumps.)"
    )


def lorentz_text(report: LorentzReport) -> str:
    """All three parts, one below the other."""
    parts = [f"{title}\n{part}" for title, part in report.compact.items()]
    parts += [str(part) for part in report.local.values()]
    parts += [boost_table(part) for part in report.windows.values()]
    return "\n".join([*parts, *report.sentences()]) + "\n"


def _printed(table: Table, *, columns: int) -> str:
    return as_text(table, width=28 + 15 * (columns + 1))
