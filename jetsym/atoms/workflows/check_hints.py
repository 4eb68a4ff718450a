"""What the errors of a potential hint at: the irrep that holds most of them, and their size beside rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from jetsym.atoms.workflows.check_report import Row
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.significance import quantile
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.text import options_said, percent

__all__ = ["hints_of"]

#: The dominant irrep surely holds more of A² than this, at so many standard deviations: twice all others together.
MOST, SURE = 2 / 3, 3.0
#: What a part may be off at most for one that is nearly all to be told.
WOULD_DO = 0.25
#: Relative A of forces that 32-bit numbers in a function of 64-bit ones make.
SINGLE = (5e-9, 1e-6)
#: Irrep of the error of a scalar or, block by block, of what turns -> what it hints at.
HINTS = {
    "(0,−)": "the error is odd under inversion for every orientation: a model of SO(3), as of e3nn without parity",
    "(1,+)": "one direction in space is preferred, as by a field along an axis",
    "(2,+)": "an axis in space is preferred, whatever its sense",
    "(4,+)": "the lab's three axes are preferred, as by displacements, grids or components taken one by one",
}


def hints_of(report: SymmetryReport, rows: Sequence[Row]) -> list[str]:
    """Say in which irrep the errors sit, where it can be told, and what it hints at.

    Parameters
    ----------
    report
        Of the potential, as probed.
    rows
        What was found of it: outputs without a fault of "A under O(3)" get no hint.
    """
    wrong = {row.output: row for row in rows if row.test == "A under O(3)" and row.fault}
    hints: list[str] = []
    for name in wrong:
        hints += _of_irreps(name, report.equivariance[name], report)
    if "forces" in wrong:
        hints += _of_size(report.equivariance["forces"], rows)
    return hints


def _of_irreps(name: str, item: Equivariance, report: SymmetryReport) -> Iterator[str]:
    """Say which irrep is the dominant one of A², that none is, or that random rotations do not tell."""
    irrep, n = item.largest_irrep, report.meta["n_rotations"]
    if irrep is None:
        return
    share, error = item.error_shares[irrep], item.error_shares_stderr[irrep]
    said, doubt = f"{percent(share, error)} %", error * _errors(report)
    within = sum(item.error_shares.values()) + _errors(report) * math.hypot(*item.error_shares_stderr.values())
    if share - doubt > MOST:
        word = HINTS.get(irrep)
        yield f"{said} of A² of {name} is in {irrep}{': ' + word if word else ''}."
    elif share + doubt > MOST and report.meta["method"] == "quadrature":
        yield f"In which irrep A² of {name} sits cannot be told ({said} in {irrep}): raise l_max (--l_max)."
    elif share + doubt > MOST:
        enough = math.ceil(1.5 * n * max(doubt / WOULD_DO, 1.0))  # the error falls by 1/n at first, later by 1/√n
        yield (
            f"In which irrep A² of {name} sits cannot be told from {n} random rotations ({said} in {irrep}): some "
            f"{enough} may: {options_said({'n_rotations': enough})}."
        )
    elif 1 - within > MOST:
        yield f"Most of A² of {name} lies beyond the irreps measured: raise l_max (--l_max)."
    else:
        yield f"A² of {name} is spread over irreps, of which none holds two thirds: {said} is in {irrep}."


def _errors(report: SymmetryReport) -> float:
    """Return how many errors by chance of random elements are sure: Student's t for those of all structures."""
    n = report.meta["n_inputs"]
    k = report.meta["n_rotations" if report.meta["method"] == "random" else "held_out"]
    return quantile(SURE, n * (k - 1) + 1)


def _of_size(item: Equivariance, rows: Sequence[Row]) -> Iterator[str]:
    """Say that A of forces is of the size of 32-bit numbers, where their own rounding is far below.

    Of 16-bit numbers nothing is said by size: faults of any kind are of theirs, and so is what a network has learned.
    Those that round as they go are found by the test of rounding.
    """
    least, most = SINGLE
    found = [row.value for row in rows if (row.test, row.output) == ("rounding", "forces")]
    rounding = max(found, default=math.inf)
    if least < item.relative < most and rounding < item.absolute / 10:
        yield (
            f"Relative A of forces, {item.relative:.1g}, is of the size that 32-bit numbers make, and what forces are "
            "rounded to is far less: look for a constant in these, for differences, or for sums that are cut short."
        )
