"""``assert_equivariant``: one line of a test for any model, whose tolerance is the rounding that was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from inspect import signature
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
from torch import nn

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import JetsymError, ProbeError, expect_one_of, refuse_unknown, require
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import INVARIANT
from jetsym.probing.measure.permutations import PERMUTATIONS, measure_permutations
from jetsym.probing.options import AUTO, check_kinds
from jetsym.probing.probe import probe
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.equivariance import HIDES, KNOWN_TO, Equivariance
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import GroupName, Symmetry
from jetsym.testing.findings import BROKEN, HELD, UNRESOLVED, Assertion, tell
from jetsym.text import concise

__all__ = ["UnresolvedError", "assert_equivariant"]

#: Reports of single groups, by name.
Parts = dict[str, SymmetryReport | BoostReport]
#: Options of a probe that say how a model is run on what, which permutations need as well.
OF_SESSIONS = ("moves", "action", "call", "tokens", "device", "batch_size", "seed")
#: Standard errors that an estimate must stay away from a bound.
CLEARANCE = 2.0
#: How much more than all of A² an irrep may seem to have.
SHARE_APART = 0.05
#: Inputs that are looked at to find the layer in which a fault first shows.
TO_LOCATE = 8


class UnresolvedError(ProbeError):
    """Whether a law holds cannot be told, so that a test must not pass."""


@checked(ProbeError, at_most=anything, limit=at_least(1), outputs=by_name)
def assert_equivariant(
    model: Any,
    inputs: Any = None,
    outputs: Mapping[str, Kind | None] | None = None,
    *,
    group: str = GroupName.O3,
    at_most: float | Mapping[str, float] | None = None,
    permutation: bool = False,
    unresolved: str = "error",
    layers: str | Sequence[str] | None = None,
    limit: int = 64,
    **options: Any,
) -> Report:
    """Assert that the outputs of a model transform as they should, or say what does not, by how much, and where.

    The relative A of every output is measured, √(Σ ∫‖z − f̄‖² dμ / Σ N) (see :func:`jetsym.probe`), with what rounding
    alone makes of it: that is the tolerance, whatever the precision of the model.

    Parameters
    ----------
    model, inputs, outputs
        As for :func:`jetsym.probe`: any model on arrays, jets or structures of atoms.
    group
        As there, or "permutations" of the points of each input: what an output holds for each of them is to be permuted
        along, all else to stay.
    at_most
        The relative A that is allowed, or one for each output; default what rounding explains.
    permutation
        Whether permutations are asserted beside the group.
    unresolved
        What to do where it cannot be told whether a law holds: "error", or "skip" the test (with pytest).
    layers
        Layers to measure; default none, and those of a module to find the one in which a fault first shows.
    limit
        At most so many inputs.
    **options
        All others of :func:`jetsym.probe`.

    Returns
    -------
    The report of the group; for permutations a :class:`~jetsym.SymmetryReport` that has no irreps.

    Raises
    ------
    AssertionError
        An output misses its law: which, by how much, in which irrep most of the error sits, and the first layer that
        shows it. That is one with a law of its own that it misses, or one that reads the invariant irrep no more where
        all layers before do.
    ProbeError
        ``at_most`` is no bound, or names no output.
    UnresolvedError
        Rounding hides whether the law holds, the rule does not see all of the response, an error is as large as what is
        allowed, an output is zero, has no law, or could not be measured.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(8, 5, 3))
    >>> report = assert_equivariant(lambda x: (x**2).sum((1, 2)), points, {"size": "scalar"}, permutation=True)
    >>> assert_equivariant(lambda x: x.sum(1) + [0, 0, 0.1], points, {"sum": "vector"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: sum is not equivariant as vector under O3: relative A is 0.0315(35), of which rounding explains \
...; 100 % of A² is in (1,+)
    """
    expect_one_of("unresolved", unresolved, ("error", "skip"), ProbeError)
    for name in options:
        refuse_unknown("an option", name, list(signature(probe).parameters), ProbeError)
    for bound in at_most.values() if isinstance(at_most, Mapping) else [at_most]:
        is_number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
        if bound is not None and not (is_number and 0 <= bound < math.inf):
            raise ProbeError(f"at_most is {bound!r}; expected a relative A, a number ≥ 0")
    options = {"progress": False, **options}

    def measured(layers: str | Sequence[str], limit: int) -> dict[str, Report]:
        found: dict[str, Report] = {}
        if group != PERMUTATIONS:
            found[group] = probe(model, inputs, group=group, outputs=outputs, layers=layers, limit=limit, **options)
        if permutation or group == PERMUTATIONS:
            found[PERMUTATIONS] = _permuted(model, inputs, outputs, layers=layers, limit=limit, **options)
        return found

    whole = measured([] if layers is None else layers, limit)
    known = [name for part in _parts(whole).values() for name in (*part.equivariance, *part.meta["left_out"])]
    for name in at_most if isinstance(at_most, Mapping) else []:
        refuse_unknown("at_most", name, known, ProbeError)
    findings = [
        _judge(name, item, part, at_most, title)
        for title, part in _parts(whole).items()
        for name, item in part.equivariance.items()
    ]
    findings += _not_measured(whole, outputs)
    broken = [finding for finding in findings if finding.ended == BROKEN]
    if broken and layers is None and isinstance(model, nn.Module):
        with suppress(JetsymError):  # a fault is a fault, wherever it is
            parts = _parts(measured(AUTO, min(limit, TO_LOCATE)))
            names = {finding.output for finding in findings}
            broken = [one._replace(words=one.words + _first_layer(parts[one.part], names)) for one in broken]
    ended = next((word for word in (BROKEN, UNRESOLVED) if any(one.ended == word for one in findings)), HELD)
    words = tuple(one.words for one in [*broken, *(one for one in findings if one.ended == UNRESOLVED)])
    words = words or tuple(one.words for one in findings)
    tell(lambda: Assertion(ended, words, {name: report.to_dict() for name, report in whole.items()}))
    if ended == BROKEN:
        raise AssertionError("\n".join(words))
    if ended == UNRESOLVED:
        _leave_open("\n".join(words), unresolved)
    return next(iter(whole.values()))


class Finding(NamedTuple):
    """How an output fares: its name, the part of the measurement, how it ended, and a sentence without a full stop."""

    output: str
    part: str
    ended: str
    words: str


def _permuted(
    model: Any, inputs: Any, outputs: Mapping[str, Kind | None] | None, *, layers: Any, limit: int, **options: Any
) -> SymmetryReport:
    """Measure a model under permutations."""
    if options.get("over") is not None:
        raise ProbeError("over=… goes with groups that have a spectrum; assert permutations with call=… for one value")
    own = {name: options[name] for name in OF_SESSIONS if name in options}
    session = Session.of(model, inputs, outputs, layers=layers, progress=False, **own)
    check_kinds(session.kinds, None)
    return measure_permutations(session, session.domain.load(inputs, limit=limit, model=session.model))


def _parts(whole: Mapping[str, Report]) -> Parts:
    """Return the reports of single groups, by what acts."""
    found: Parts = {}
    for report in cast(Mapping[str, Any], whole).values():
        if isinstance(report, ReportsOver):
            for value, one in zip(report.values, report.reports, strict=True):
                found |= {f"{part} at {report.argument} = {value:g}": it for part, it in _parts({"": one}).items()}
        elif isinstance(report, LorentzReport):
            found |= report.compact
            found |= {f"boosts along {axis}": part for axis, part in report.windows.items()}
        else:
            group = report.meta["group"]
            found[group if group == PERMUTATIONS else Symmetry.from_dict(report.meta).words] = report
    return found


def _judge(name: str, item: Equivariance, report: SymmetryReport | BoostReport, at_most: Any, part: str) -> Finding:
    """Judge one output by what is allowed, and by what can be told."""

    def end(how: str, words: str) -> Finding:
        return Finding(name, part, how, words)

    allowed = at_most.get(name) if isinstance(at_most, Mapping) else at_most
    law = _law(item, part)
    size, error = abs(item.relative), float(np.nan_to_num(item.relative_stderr))
    rounding = KNOWN_TO * item.noise_floor
    is_seen = isinstance(report, BoostReport) or report.is_seen(name) or name in report.meta["unbiased"]
    if not math.isfinite(item.absolute) or _is_zero(name, item, report):
        return end(UNRESOLVED, f"whether {name} is {law} cannot be told: it is zero for all inputs; give others")
    if item.is_without_size and allowed is not None:
        return end(
            UNRESOLVED, f"whether {name} is {law} to {allowed:g} cannot be told: {_size(item)}; leave at_most out"
        )
    if allowed is None and not item.is_within_rounding:
        return end(BROKEN, f"{name} is not {law}: {_size(item)}{_where(item)}")
    if allowed is not None and size > max(allowed, rounding):
        if size - CLEARANCE * error <= allowed:
            return end(
                UNRESOLVED, f"whether {name} is {law} to {allowed:g} cannot be told: {_size(item)}; give more inputs"
            )
        return end(BROKEN, f"{name} is not {law} to {allowed:g}: {_size(item)}{_where(item)}")
    if (item.noise_floor > HIDES) if allowed is None else (rounding > allowed):
        remedy = "measure in a higher precision" + ("" if allowed is None else ", or allow more")
        return end(UNRESOLVED, f"whether {name} is {law} cannot be told from rounding: {_size(item)}; {remedy}")
    if allowed is not None and size + CLEARANCE * error > allowed:
        return end(
            UNRESOLVED, f"whether {name} is {law} to {allowed:g} cannot be told: {_size(item)}; give more inputs"
        )
    if not is_seen:
        return end(UNRESOLVED, f"whether {name} is {law} cannot be told: the rule does not see all of it; raise l_max")
    return end(HELD, f"{name} is {law}: {_size(item)}")


def _is_zero(name: str, item: Equivariance, report: SymmetryReport | BoostReport) -> bool:
    if isinstance(report, BoostReport):
        return item.noise_floor == 0
    return not report.norm[report.layers.index(name)] > 0


def _law(item: Equivariance, part: str) -> str:
    if part == PERMUTATIONS:
        return "the same, or permuted along, when points change places"
    return f"{'invariant' if item.kind in INVARIANT else f'equivariant as {item.kind}'} under {part}"


def _size(item: Equivariance) -> str:
    if item.is_without_size:  # energies of compositions that come once have an arbitrary zero
        size = concise(item.absolute, item.absolute_stderr)
        return f"A is {size}, of which rounding explains {KNOWN_TO * item.rounding:.2g}, and there is no relative A"
    size = concise(item.relative, item.relative_stderr)
    return f"relative A is {size}, of which rounding explains {KNOWN_TO * item.noise_floor:.2g}"


def _where(item: Equivariance) -> str:
    """Say in which irrep most of an error sits, if its parts are known."""
    name = item.largest_irrep
    if name is None or not abs(item.relative) > 0:
        return ""
    square = item.relative**2
    if item.error_tail > item.error_spectrum[name]:
        return f"; {100 * item.error_tail / square:.2g} % of A² lies beyond the irreps measured: raise l_max"
    share = item.error_spectrum[name] / square
    if share > 1 + SHARE_APART:  # of jumps, of which the rule and the elements held out see different ones
        return ""
    return f"; {100 * share:.3g} % of A² is in {name}"


def _not_measured(whole: Mapping[str, Report], outputs: Mapping[str, Kind | None] | None) -> list[Finding]:
    """Return what was to be asserted, and was not."""
    found = []
    for title, part in _parts(whole).items():
        wanted = {name for name, kind in (outputs or {}).items() if kind is not None}
        silent = {name for name, kind in (outputs or {}).items() if kind is None}
        left_out = [name for name in part.meta["left_out"] if name not in silent]
        missing = [*sorted(wanted - set(part.equivariance)), *left_out]
        found += [
            Finding(name, title, UNRESOLVED, f"output {name!r} was not measured: {' '.join(part.meta['notes'])}")
            for name in dict.fromkeys(missing)
        ]
        if not part.equivariance and not missing:
            found.append(Finding("", title, UNRESOLVED, "no output has a law; say what they are with outputs=…"))
    return found


def _first_layer(report: SymmetryReport | BoostReport, outputs: set[str]) -> str:
    """Say which layer shows a fault first, if that can be told."""
    unbroken = 0
    for row, layer in enumerate(report.layers):
        if layer in outputs:
            continue
        item = report.equivariance.get(layer)
        if item is not None and not item.is_within_rounding:
            return f"; it first shows in layer {layer!r}: {_size(item)}"
        if item is None and (share := _beside(report, row)):
            if report.meta["group"] == PERMUTATIONS:
                return f"; it first shows in layer {layer!r}, {100 * share:.2g} % of which is not permuted along"
            if not unbroken:
                return ""  # what no law says to be invariant says nothing by being something else
            return (
                f"; it first shows in layer {layer!r}, {100 * share:.2g} % of which is not invariant, as all before is"
            )
        unbroken += 1
    return "; no layer before shows it" if unbroken else ""


def _beside(report: SymmetryReport | BoostReport, row: int) -> float:
    """Return the share of a layer beside its invariant part, 0 where rounding explains it."""
    if isinstance(report, BoostReport):
        share, floor = report.squared[-1, row], report.noise_floor[-1, row]
    else:
        beside = [*report.fractions[row, 1:], report.unexplained[row]]  # a sum would gather the rounding of all
        share, floor = np.nanmax(beside), report.noise_floor[row]
    return float(share) if share > KNOWN_TO**2 * floor else 0.0


def _leave_open(words: str, unresolved: str) -> NoReturn:
    if unresolved == "skip":
        require("pytest", extra="test", purpose="unresolved='skip'").skip(words)
    raise UnresolvedError(words)
