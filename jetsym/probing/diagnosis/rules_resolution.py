"""The rule on what a measurement cannot carry, and with which options it has to be made again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jetsym.probing.diagnosis.case import Case
from jetsym.probing.measure.resolution import LADDER, LADDER_OF_MODES
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["further", "under_resolved"]

#: Inputs to take where one alone says nothing of errors: as jetsym.probe does.
INPUTS = 64


class Reason(NamedTuple):
    """Why a measurement says too little: in words, in numbers, and by the options that would do."""

    text: str
    evidence: Evidence
    options: Mapping[str, Any] = {}


def under_resolved(case: Case) -> list[Finding]:
    """The measurement says too little: too few inputs, a grid that is too coarse, too much rounding."""
    reasons = [reason for rule in _RULES for reason in rule(case)]
    if not reasons:
        return []
    subject = str(case.report.meta.get("model", "the report"))
    text = "; ".join(reason.text for reason in reasons)
    evidence = tuple(reason.evidence for reason in reasons)
    options = _together([reason.options for reason in reasons])
    return [Finding("under-resolved", "warning", subject, (), f"{text}.", evidence, options)]


def further(report: SymmetryReport, *, tail: float, at_cut: float, before: float, tolerance: float) -> dict[str, Any]:
    """The options that would show what lies beyond l_max.

    Where power falls from λ = l_max − 1 to l_max by a factor r, it is taken to go on so: the tail beyond l_max + k is
    r^k times that beyond l_max. Where it does not fall, or too slowly for a rule of quadrature, random rotations, which
    need no bandwidth, show twice as many λ.

    Parameters
    ----------
    report
        The report.
    tail, at_cut, before
        Fractions of power beyond l_max, at l_max and at l_max − 1.
    tolerance
        Of the tail.
    """
    last = report.irreps[-1].lam
    largest = (LADDER_OF_MODES if report.irreps[-1].is_mode else LADDER)[-1]
    if 0 < at_cut < before:
        l_max = last + math.ceil(math.log(tail / tolerance) / math.log(before / at_cut))
        if l_max <= largest:
            return {"l_max": l_max}
    return {"l_max": max(2 * last, 1), "method": "random"}


def _together(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Options that do for all: of numbers the largest."""
    result: dict[str, Any] = {}
    for options in several:
        for name, value in options.items():
            number = isinstance(value, int) and name in result
            result[name] = max(result[name], value) if number else value
    return result


def _more(case: Case, factor: float) -> dict[str, Any]:
    """As many inputs as lower variances by a factor; standard errors fall with the root of their number."""
    return {"limit": math.ceil(case.report.meta["n_inputs"] * factor)}


def _one_input(case: Case) -> list[Reason]:
    count = case.report.meta["n_inputs"]
    if count > 1:
        return []
    evidence = Evidence("inputs", count, NAN, 2)
    return [Reason("one input has no standard errors: take more", evidence, {"limit": INPUTS})]


def _grids_disagree(case: Case) -> list[Reason]:
    found = case.report.meta.get("resolution")
    if not found or found["agreed"]:
        return []
    last = found["steps"][-1]
    text = f"two grids still disagree at l_max = {last['l_max']}, the largest tried: use method='random'"
    changed = Evidence("change of a share of power on the next grid", last["difference"], NAN, found["tolerance"])
    return [Reason(text, changed, {"l_max": last["l_max"], "method": "random"})]


def _loose_shares(case: Case) -> list[Reason]:
    report, bound = case.report, case.bounds.uncertain
    largest = np.unravel_index(int(np.nan_to_num(report.stderr).argmax()), report.stderr.shape)
    row, column = int(largest[0]), int(largest[1])
    error = float(report.stderr[row, column])
    if not error > bound:
        return []
    what = f"standard error of {report.irreps[column]} in {report.layers[row]}"
    text = f"shares are uncertain by up to {100 * error:.2g} %: take more inputs or rotations"
    return [Reason(text, Evidence(what, error, NAN, bound), _more(case, (error / bound) ** 2))]


def _loose_errors(case: Case) -> list[Reason]:
    """Outputs whose A could as well be nothing as be too large, and such that rounding hides."""
    reasons = []
    for name, item in case.report.equivariance.items():
        # Near zero the error of A itself diverges; that of its square does not.
        square = item.relative * abs(item.relative)
        stderr = 2 * abs(item.relative) * item.relative_stderr
        needed = max(square, case.bounds.deviation**2) / case.bounds.sigma
        if stderr > needed and stderr > item.noise_floor**2:
            evidence = Evidence(f"relative A² of {name}", square, stderr, case.bounds.deviation**2, item.noise_floor**2)
            text = f"A of {name} cannot be told from zero: take more inputs or rotations"
            reasons.append(Reason(text, evidence, _more(case, (stderr / needed) ** 2)))
        if item.noise_floor > case.bounds.deviation:
            what = f"noise floor of relative A of {name}"
            text = f"rounding hides errors of {name} below {item.noise_floor:.1g}: measure in float64"
            reasons.append(Reason(text, Evidence(what, item.noise_floor, NAN, case.bounds.deviation)))
    return reasons


def _out_of_reach(case: Case) -> list[Reason]:
    largest = case.report.irreps[-1].lam
    reasons = []
    for name, irreps in case.needs.items():
        most = max(irrep.lam for irrep in irreps)
        if most > largest:
            text = f"{name} needs λ = {most}, and the report ends at {largest}: raise l_max"
            reasons.append(Reason(text, Evidence("l_max", largest, NAN, most), {"l_max": most}))
    return reasons


_RULES: tuple[Callable[[Case], list[Reason]], ...] = (
    _one_input,
    _grids_disagree,
    _loose_shares,
    _loose_errors,
    _out_of_reach,
)
