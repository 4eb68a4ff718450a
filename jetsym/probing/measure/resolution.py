"""The l_max that a measurement needs: grow it until hardly anything is left unexplained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
    unexplained
        The largest power, among them, that held-out elements find beyond it or aliased, over the norm.
    """

    l_max: int
    tail: float
    unexplained: float


@dataclass(frozen=True)
class Resolution:
    """The l_max that was settled on, and why.

    Parameters
    ----------
    tolerance
        What was to stay unexplained at most, as a fraction of power.
    agreed
        Whether it does at the last step.
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
    """Grow l_max until what a rule leaves unexplained is below a tolerance.

    A rule for l_max integrates what is band-limited at l_max. Content beyond it is missing from the fractions, which
    the tail says, but part of it also aliases into them, and into A²: one irrep at 3·l_max may put more than half of
    its power below l_max. Held-out elements see both.

    Parameters
    ----------
    measured
        The report for an l_max, always of the same few inputs.
    steps
        Values of l_max to try.
    tolerance
        As a fraction of power.
    inputs
        Number of inputs in the reports.

    Returns
    -------
    Resolution
        At the first l_max that fulfils it, or at the last.
    """
    taken: list[Step] = []
    for l_max in steps:
        report = measured(l_max)
        taken.append(Step(l_max, float(np.abs(report.tail).max()), float(report.unseen()[0].max())))
        if taken[-1].unexplained <= tolerance:
            return Resolution(tolerance, True, tuple(taken), inputs)
    return Resolution(tolerance, False, tuple(taken), inputs)
