"""The l_max that a measurement needs: grow it until the tail is small and two grids agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["INPUTS", "Resolution", "Step", "ladder", "settle"]

#: Inputs that l_max is settled with.
INPUTS = 4
#: Values of l_max that are tried, for all rotations and for those about one axis, whose rules are much smaller.
LADDER, LADDER_OF_MODES = (2, 4, 6, 8, 10, 12, 14), (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Step:
    """The findings of one l_max about a few inputs.

    Parameters
    ----------
    l_max
        The l_max.
    tail
        The largest fraction of power, among layers and outputs, that lies beyond it.
    difference
        The largest change, by the next finer grid, of a fraction of power up to l_max, or of relative A², both signed
        parts of the same norm: what the grid of l_max aliases.
    """

    l_max: int
    tail: float
    difference: float


@dataclass(frozen=True)
class Resolution:
    """The l_max that was settled on, and why.

    Parameters
    ----------
    tolerance
        What tail and difference were to stay below, as a fraction of power.
    agreed
        Whether they do at the last step.
    steps
        The steps, by rising l_max; the last is the one that counts.
    inputs
        Number of inputs they were measured with.
    """

    tolerance: float
    agreed: bool
    steps: tuple[Step, ...]
    inputs: int

    @property
    def l_max(self) -> int:
        """The l_max to measure with."""
        return self.steps[-1].l_max

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {**asdict(self), "steps": [asdict(step) for step in self.steps]}


def ladder(*, about_an_axis: bool, at_least: int) -> tuple[int, ...]:
    """Return values of l_max to try, from the smallest that outputs of λ up to ``at_least`` need."""
    steps = LADDER_OF_MODES if about_an_axis else LADDER
    return tuple(step for step in steps if step >= at_least) or (at_least, at_least + 2)


def settle(
    measured: Callable[[int], SymmetryReport], steps: Sequence[int], *, tolerance: float, inputs: int
) -> Resolution:
    """Grow l_max until the tail and the difference to the next grid are below a tolerance.

    A rule for l_max integrates what is band-limited at l_max. Content beyond it is missing from the fractions, which
    the tail says, but part of it also aliases into them, and into A², which only another grid can show: one irrep at
    3·l_max may put more than half of its power below l_max.

    Parameters
    ----------
    measured
        The report for an l_max, always of the same few inputs.
    steps
        Values of l_max to try; the last serves for comparison only.
    tolerance
        As a fraction of power.
    inputs
        Number of inputs in the reports.

    Returns
    -------
    Resolution
        At the first l_max that fulfils both, or at the last that was compared.
    """
    taken: list[Step] = []
    coarse = measured(steps[0])
    for here, finer in pairwise(steps):
        fine = measured(finer)
        taken.append(Step(here, float(np.abs(coarse.tail).max()), difference(coarse, fine)))
        if max(taken[-1].tail, taken[-1].difference) <= tolerance:
            return Resolution(tolerance, True, tuple(taken), inputs)
        coarse = fine
    return Resolution(tolerance, False, tuple(taken), inputs)


def difference(coarse: SymmetryReport, fine: SymmetryReport) -> float:
    """Return the largest change of a fraction of power in both reports: of a layer in an irrep, or relative A²."""
    shared = [fine.irreps.index(irrep) for irrep in coarse.irreps]
    changes = [np.abs(fine.fractions[:, shared] - coarse.fractions).max()]
    for name, item in coarse.equivariance.items():
        # What is reported of A² is its signed root.
        squares = [one.relative * abs(one.relative) for one in (item, fine.equivariance[name])]
        changes.append(abs(squares[1] - squares[0]))
    return float(max(changes))
