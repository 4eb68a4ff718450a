"""How one output fares in an assertion: what it may err by, against what its error can be."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jetsym.probing.kinds import INVARIANT
from jetsym.probing.measure.permutations import PERMUTATIONS
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.equivariance import HIDES, KNOWN_TO, Equivariance
from jetsym.probing.reports.significance import quantile
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.testing.findings import BROKEN, HELD, UNRESOLVED
from jetsym.text import concise

__all__ = ["Finding", "Range", "judge", "size_of"]

#: Standard errors over inputs that A of these inputs, which a rule sees all of, must stay away from a bound.
CLEARANCE = 2.0
#: Standard deviations of a normal number as improbable as what chance may do to an estimate from random elements.
BY_CHANCE = 3.0
#: Held-out elements of each input: even of one alone they tell so much of their own scatter.
HELD_OUT = 8
#: How much more than all of A² an irrep may seem to have.
SHARE_APART = 0.05

#: What shows more of a response than a rule does.
SEE_MORE = "raise l_max, or give n_rotations= (random rotations, in which nothing aliases)"


class Finding(NamedTuple):
    """How an output fares: its name, the part of the measurement, how it ended, and a sentence without a full stop."""

    output: str
    part: str
    ended: str
    words: str


class Range(NamedTuple):
    """What the relative A of an output can be.

    Parameters
    ----------
    least, most
        The bounds, by the errors of what was measured and by what a rule leaves unexplained.
    remedy
        What makes them narrower.
    unseen
        Whether a rule leaves some of the response unexplained, and estimates from held-out elements do not stand in for
        it.
    """

    least: float
    most: float
    remedy: str
    unseen: bool

    @classmethod
    def of(cls, name: str, item: Equivariance, report: SymmetryReport | BoostReport) -> Range:
        """Return the range of an output.

        Where a rule sees all of it, A is that of these inputs, and errs by their choice. Where random elements tell, it
        errs by chance as well. Where a rule leaves some of it unexplained, and A is the rule's still, held-out elements
        say without bias what A² differs by, in units of Σ N; that of the rule is wrong as well, but by no more than a
        factor (1 + √unexplained)², as ‖u − ũ‖ is the distance of the response from what the rule makes of it.
        """
        more = "raise l_max" if isinstance(report, BoostReport) else SEE_MORE
        size = abs(item.relative)
        inputs, is_unbiased = int(report.meta["n_inputs"]), name in _unbiased(report)
        is_random = report.meta.get("method") == "random"
        if is_random or is_unbiased:
            square = item.relative * size
            stderr = 2 * size * item.relative_stderr if size else item.relative_stderr**2
            if not math.isfinite(stderr) or (is_random and inputs < 2):  # a few rotations alone tell their error badly
                stderr = 0.0 if item.is_within_rounding else math.inf
            chance = _times(quantile(BY_CHANCE, inputs if is_random else max(inputs, HELD_OUT)), stderr)
            remedy = "give more inputs" if is_random else f"give more inputs, {more}"
            return cls(_root(square - chance), _root(square + chance), remedy, unseen=False)
        error = CLEARANCE * float(np.nan_to_num(item.relative_stderr))
        least, most = max(size - error, 0.0), size + error
        left, left_stderr, floor = _unexplained(name, item, report)
        if not left > KNOWN_TO**2 * floor:
            return cls(least, most, "give more inputs", unseen=False)
        errors = quantile(BY_CHANCE, max(inputs, HELD_OUT))
        factor = 1 + _root(left + errors * float(np.nan_to_num(left_stderr)))
        beside = float(np.nan_to_num(item.unexplained))
        chance = errors * float(np.nan_to_num(item.unexplained_stderr))
        return cls(
            _root((least / factor) ** 2 + min(beside - chance, 0.0)),
            _root((most * factor) ** 2 + max(beside + chance, 0.0)),
            more,
            unseen=True,
        )


def judge(name: str, item: Equivariance, report: SymmetryReport | BoostReport, at_most: Any, part: str) -> Finding:
    """Judge one output by what is allowed, and by what can be told."""

    def end(how: str, words: str) -> Finding:
        return Finding(name, part, how, words)

    allowed = at_most.get(name) if hasattr(at_most, "get") else at_most
    law = _law(item, part)
    if not math.isfinite(item.absolute) or _is_zero(name, item, report):
        return end(UNRESOLVED, f"whether {name} is {law} cannot be told: it is zero for all inputs; give others")
    if allowed is not None:
        return end(*_within(allowed, name, law, item, report))
    if not item.is_within_rounding:
        return end(BROKEN, f"{name} is not {law}: {size_of(item)}{_where(item)}")
    if item.noise_floor > HIDES:
        remedy = "measure in a higher precision"
        return end(UNRESOLVED, f"whether {name} is {law} cannot be told from rounding: {size_of(item)}; {remedy}")
    found = Range.of(name, item, report)
    if found.unseen:
        words = f"whether {name} is {law} cannot be told: the rule does not see all of it; {found.remedy}"
        return end(UNRESOLVED, words)
    return end(HELD, f"{name} is {law}: {size_of(item)}")


def _within(
    allowed: float, name: str, law: str, item: Equivariance, report: SymmetryReport | BoostReport
) -> tuple[str, str]:
    """Say how an output ends that may err by so much, and in which words."""
    if item.is_without_size:
        words = f"whether {name} is {law} to {allowed:g} cannot be told: {size_of(item)}; leave at_most out"
        return UNRESOLVED, words
    found = Range.of(name, item, report)
    rounding = KNOWN_TO * item.noise_floor
    said = size_of(item)
    if found.unseen:
        said += f", and with what the rule does not see of it between {found.least:.3g} and {found.most:.3g}"
    if max(abs(item.relative), found.least) > rounding and found.least > allowed:
        return BROKEN, f"{name} is not {law} to {allowed:g}: {said}{_where(item)}"
    if rounding > allowed and abs(item.relative) <= rounding:
        remedy = "measure in a higher precision, or allow more"
        return UNRESOLVED, f"whether {name} is {law} cannot be told from rounding: {size_of(item)}; {remedy}"
    if found.most > allowed:
        remedy = f"{found.remedy}, or more inputs" if found.unseen else found.remedy
        return UNRESOLVED, f"whether {name} is {law} to {allowed:g} cannot be told: {said}; {remedy}"
    return HELD, f"{name} is {law} to {allowed:g}: {said}"


def size_of(item: Equivariance) -> str:
    """Say how large the error of an output is, and how much of it rounding explains."""
    if item.is_without_size:  # energies of compositions that come once have an arbitrary zero
        size = concise(item.absolute, item.absolute_stderr)
        return f"A is {size}, of which rounding explains {KNOWN_TO * item.rounding:.2g}, and there is no relative A"
    size = concise(item.relative, item.relative_stderr)
    return f"relative A is {size}, of which rounding explains {KNOWN_TO * item.noise_floor:.2g}"


def _unbiased(report: SymmetryReport | BoostReport) -> list[str]:
    """Return the names whose numbers are estimates from held-out elements; of boosts those of the widest window."""
    found = report.meta["unbiased"]
    return list(found[-1] if isinstance(report, BoostReport) else found)


def _unexplained(name: str, item: Equivariance, report: SymmetryReport | BoostReport) -> tuple[float, float, float]:
    """Return what a rule leaves unexplained of an output, over Σ N, with its error and the floor of rounding."""
    row = report.layers.index(name)
    place: Any = row
    scale = 1.0
    if isinstance(report, BoostReport):
        place = (-1, row)
    elif item.rounding > 0 and item.noise_floor > 0:  # energies are over Σ N of each composition about its mean
        scale = float(report.norm[row]) * (item.noise_floor / item.rounding) ** 2
    left, stderr, floor = (
        scale * float(each[place]) for each in (report.unexplained, report.unexplained_stderr, report.noise_floor)
    )
    return left, stderr, floor


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


def _times(errors: float, stderr: float) -> float:
    """Return so many errors; none where there is no error, whatever their number."""
    return errors * stderr if stderr else 0.0


def _is_zero(name: str, item: Equivariance, report: SymmetryReport | BoostReport) -> bool:
    if isinstance(report, BoostReport):
        return item.noise_floor == 0
    return not report.norm[report.layers.index(name)] > 0


def _law(item: Equivariance, part: str) -> str:
    if part == PERMUTATIONS:
        return "the same, or permuted along, when points change places"
    return f"{'invariant' if item.kind in INVARIANT else f'equivariant as {item.kind}'} under {part}"


def _where(item: Equivariance) -> str:
    """Say in which irrep most of an error sits, if its parts are known."""
    name = item.largest_irrep
    if name is None or not abs(item.relative) > 0:
        return ""
    square = item.relative * abs(item.relative)
    share, beyond = item.error_spectrum[name] / square, item.error_tail / square
    if max(share, beyond) > 1 + SHARE_APART or square < 0:  # of jumps: the rule and what is held out see others
        return ""
    if beyond > share:
        return f"; {100 * beyond:.3g} % of A² lies beyond the irreps measured: raise l_max"
    return f"; {100 * share:.3g} % of A² is in {name}"
