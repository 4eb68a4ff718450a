"""``assert_equivariant``: one line of a test for any model, whose tolerance is the rounding that was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from inspect import signature
from typing import Any, NoReturn, cast

import numpy as np
from torch import nn

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import JetsymError, ProbeError, expect_one_of, refuse_unknown, require
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.permutations import PERMUTATIONS, measure_permutations
from jetsym.probing.options import AUTO, check_kinds
from jetsym.probing.probe import probe
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import GroupName, Symmetry
from jetsym.testing.findings import BROKEN, HELD, UNRESOLVED, Assertion, tell
from jetsym.testing.judgement import Finding, judge, size_of

__all__ = ["UnresolvedError", "assert_equivariant"]

#: Reports of single groups, by name.
Parts = dict[str, SymmetryReport | BoostReport]
#: Options of a probe that say how a model is run on what, which permutations need as well.
OF_SESSIONS = ("moves", "action", "call", "tokens", "device", "batch_size", "seed")
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
        The relative A that is allowed, or one for each output; default what rounding explains. It is compared with what
        A can be at most and at least, by its errors and by what a rule leaves unexplained of the response.
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
        Rounding hides whether the law holds, A may be above or below what is allowed, by its error or by what the rule
        does not see of the response, an output is zero, has no law, or could not be measured.

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
    if group == PERMUTATIONS and (unused := sorted({*options} - {*OF_SESSIONS, "progress"})):
        raise ProbeError(
            f"{unused[0]} is {options[unused[0]]!r}, which permutations do not take; leave it out, or name a group"
        )
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
        judge(name, item, part, at_most, title)
        for title, part in _parts(whole).items()
        for name, item in part.equivariance.items()
    ]
    findings += _not_measured(whole, outputs)
    broken = [finding for finding in findings if finding.ended == BROKEN]
    if broken and layers is None and isinstance(model, nn.Module):
        with suppress(JetsymError):  # a fault is a fault, wherever it is
            parts = _parts(measured(AUTO, min(limit, TO_LOCATE)))
            names, measured_of = {finding.output for finding in findings}, _parts(whole)

            def first(one: Finding) -> str:
                return _first_layer(parts[one.part], names, int(measured_of[one.part].meta["n_inputs"]))

            broken = [one._replace(words=one.words + first(one)) for one in broken]
    taken = {name for part in _parts(whole).values() for name in part.meta["unsaid"]}
    ended = next((word for word in (BROKEN, UNRESOLVED) if any(one.ended == word for one in findings)), HELD)
    open_ones = [one for one in findings if one.ended == UNRESOLVED]
    words = tuple(one.words + _taken_as(one.output, taken) for one in [*broken, *open_ones])
    words = words or tuple(one.words for one in findings)
    tell(lambda: Assertion(ended, words, {name: report.to_dict() for name, report in whole.items()}))
    if ended == BROKEN:
        raise AssertionError("\n".join(words))
    if ended == UNRESOLVED:
        _leave_open("\n".join(words), unresolved)
    return next(iter(whole.values()))


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


def _taken_as(output: str, taken: set[str]) -> str:
    """Say what an output was taken for that nobody has said anything of."""
    if output not in taken:
        return ""
    return (
        "; it was taken for a scalar, as nothing says what it is: say otherwise with such as "
        f'outputs={{"{output}": "vector"}}'
    )


def _first_layer(report: SymmetryReport | BoostReport, outputs: set[str], inputs: int) -> str:
    """Say which layer shows a fault first, if that can be told; of the outputs there were so many inputs."""
    own, unbroken = int(report.meta["n_inputs"]), 0
    of = f" (of the first {own} inputs)" if own < inputs else ""
    for row, layer in enumerate(report.layers):
        if layer in outputs:
            continue
        item = report.equivariance.get(layer)
        if item is not None and not item.is_within_rounding:
            return f"; it first shows in layer {layer!r}: {size_of(item)}{of}"
        if item is None and (share := _beside(report, row)):
            shown = f"; it first shows in layer {layer!r}, {100 * share:.2g} % of which{of}"
            if report.meta["group"] == PERMUTATIONS:
                return f"{shown} is not permuted along"
            if not unbroken:
                return ""  # what no law says to be invariant says nothing by being something else
            return f"{shown} is not invariant, as all before is"
        unbroken += 1
    return f"; no layer before shows it{of}" if unbroken else ""


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
