"""The failure mode of a measurement: what it cannot carry, and with which options it has to be made again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jetsym.probing.diagnosis.case import Case
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, register
from jetsym.probing.diagnosis.thresholds import Bound
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.significance import FEWEST_INPUTS, Share

__all__ = ["under_resolved"]

#: Inputs to take where one alone says nothing of errors: as jetsym.probe does.
INPUTS = 64


#: Why a measurement says too little: in words, in numbers, and by the options that would do.
Reason = tuple[str, Evidence, Mapping[str, Any]]


@register(
    "under-resolved",
    why="The measurement cannot carry a conclusion: what looks like a failure, or like none, may be its own error.",
    remedy="Measure again with more inputs, more rotations or a larger l_max, as the evidence says.",
    remedies=(MEASURE_AGAIN,),
    thresholds={
        "uncertain": Bound(
            0.05,
            "Standard error of a fraction of power above which a spectrum says too little: five points in a hundred.",
        )
    },
)
def under_resolved(case: Case) -> Iterator[Finding]:
    """Find what makes a measurement say too little: too few inputs, or a grid that is too coarse."""
    reasons = [reason for rule in _RULES for reason in rule(case)]
    if reasons:
        subject = str(case.report.meta.get("model", "the report"))
        texts, evidence, options = zip(*reasons, strict=True)
        yield Finding("warning", subject, f"{'; '.join(texts)}.", evidence, options=_together(options))


def _together(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return options that do for all: of numbers the largest."""
    result: dict[str, Any] = {}
    for options in several:
        for name, value in options.items():
            number = isinstance(value, int) and name in result
            result[name] = max(result[name], value) if number else value
    return result


def _more(case: Case, factor: float) -> dict[str, Any]:
    """Return the option of as many inputs as lower variances by a factor, which falls with their number."""
    return {"limit": math.ceil(case.inputs * factor)}


def _few_inputs(case: Case) -> Iterator[Reason]:
    if case.inputs <= 1:
        yield "one input has no standard errors: take more", Evidence("inputs", case.inputs, NAN, 2), {"limit": INPUTS}
    elif case.inputs < FEWEST_INPUTS:
        text = f"of fewer than {FEWEST_INPUTS} inputs nothing is said to stay below a bound: take more"
        yield text, Evidence("inputs", case.inputs, NAN, FEWEST_INPUTS), {"limit": INPUTS}


def _never_resolved(case: Case) -> Iterator[Reason]:
    found = case.report.meta.get("resolution")
    if found and not found["agreed"] and not case.report.irreps[0].is_named:  # those have no grid
        last = found["steps"][-1]
        left = last.get("unexplained", last.get("difference"))  # former versions compared two grids
        text = f"{100 * left:.2g} % is unexplained at l_max = {last['l_max']}, the largest tried: use method='random'"
        beyond = Evidence("unexplained, of the power", left, NAN, found["tolerance"])
        yield text, beyond, {"l_max": last["l_max"], "method": "random"}


def _wrong_by_rule(case: Case) -> Iterator[Reason]:
    """Find outputs of which the rule surely has A² wrong by a quarter and more, so that its error spectrum is cut."""
    last = case.report.irreps[-1].lam
    for name, item in case.report.outputs.items():
        bound = max(case.bounds.deviation**2, item.noise_floor**2, item.relative**2 / 4)
        if abs(item.unexplained) - case.errors * item.unexplained_stderr > bound:
            evidence = Evidence(
                f"relative A² of {name} that the rule does not see", item.unexplained, item.unexplained_stderr, bound
            )
            text = f"a rule for l_max = {last} has A of {name} wrong: raise l_max, or use method='random'"
            yield text, evidence, {"l_max": max(2 * last, 1)}


def _loose_shares(case: Case) -> Iterator[Reason]:
    report, bound = case.report, case.bounds.uncertain
    row, column = np.unravel_index(int(np.nan_to_num(report.stderr).argmax()), report.stderr.shape)
    error = float(report.stderr[row, column])
    if error > bound:
        what = f"standard error of {report.irreps[int(column)]} in {report.layers[int(row)]}"
        text = f"shares are uncertain by up to {100 * error:.2g} %: take more inputs or rotations"
        yield text, Evidence(what, error, NAN, bound), _more(case, (error / bound) ** 2)


def _loose_errors(case: Case) -> Iterator[Reason]:
    """Find outputs whose A could as well lie below its bound as above."""
    bound = case.bounds.deviation
    for name, item in case.report.outputs.items() if case.inputs > 1 else ():
        # Near zero the error of A itself diverges; that of its square does not.
        square = item.relative * abs(item.relative)
        stderr = 2 * abs(item.relative) * item.relative_stderr
        needed = max(square, bound**2) / case.errors
        is_large = case.above(Share(square, stderr, item.noise_floor**2, case.inputs), bound**2)
        if stderr > needed and stderr > item.noise_floor**2 and not is_large:
            evidence = Evidence(f"relative A² of {name}", square, stderr, bound**2, item.noise_floor**2)
            text = f"whether A of {name} exceeds {bound:.2g} of its size cannot be told: take more inputs or rotations"
            yield text, evidence, _more(case, (stderr / needed) ** 2)


def _out_of_reach(case: Case) -> Iterator[Reason]:
    largest = case.report.irreps[-1].lam
    for name, irreps in case.needs.items():
        if irreps[0].is_named:  # all of the table was measured
            continue
        most = max(irrep.lam for irrep in irreps)
        if most > largest:
            text = f"{name} needs λ = {most}, and the report ends at {largest}: raise l_max"
            yield text, Evidence("l_max", largest, NAN, most), {"l_max": most}


_RULES: tuple[Callable[[Case], Iterator[Reason]], ...] = (
    _few_inputs,
    _never_resolved,
    _wrong_by_rule,
    _loose_shares,
    _loose_errors,
    _out_of_reach,
)
