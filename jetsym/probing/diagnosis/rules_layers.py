"""The rules of a diagnosis that look at layers: starvation, bottleneck, saturation, blindness, late collapse."""

from __future__ import annotations

from jetsym.probing.diagnosis.case import INVARIANT, Case, NotJudged
from jetsym.probing.diagnosis.rules_resolution import further
from jetsym.probing.reports.derived import Share
from jetsym.probing.reports.diagnosis import Evidence, Finding
from jetsym.probing.reports.spectrum import tail_floor
from jetsym.spectrum import Irrep
from jetsym.text import percent

__all__ = ["bottleneck", "late_collapse", "parity_blindness", "saturation", "starvation"]


def readout_of(case: Case) -> int:
    """The row of the features that the readout sees."""
    if case.readout is None:
        raise NotJudged("only outputs were measured, no features")
    return case.readout


def is_kept(case: Case, name: str) -> bool:
    """Whether an output surely obeys its law, to the tolerance of the diagnosis."""
    item, bounds = case.report.equivariance[name], case.bounds
    return abs(item.relative) + bounds.sigma * item.relative_stderr + item.noise_floor < bounds.deviation


def starvation(case: Case) -> list[Finding]:
    """An irrep that an output needs is missing in the features that the readout sees, or all but missing."""
    row = readout_of(case)
    return [
        _starved(case, row, name, irrep)
        for name, irreps in case.needs.items()
        for irrep in irreps
        if irrep in case.report.irreps
        and not _is_blind(case, irrep)
        and case.below(case.share(row, lambda other, irrep=irrep: other == irrep), case.bounds.starved)
    ]


def _starved(case: Case, row: int, name: str, irrep: Irrep) -> Finding:
    layer, bound = case.layer(row), case.bounds.starved
    first = case.evidence(f"{irrep} in {layer}", row, lambda other: other == irrep, bound)
    evidence = [first, case.error(name, f"relative A of {name}", "relative", case.bounds.deviation)]
    text = f"{layer} holds {percent(first.value, first.stderr, first.noise_floor)} % of {irrep}, which {name} needs"
    if first.untrained > 10 * max(first.value, first.noise_floor):
        text += "; training has taken it away"
    output = case.report.layers.index(name) if name in case.report.layers else None
    served = output is not None and case.above(case.share(output, lambda other: other == irrep), case.bounds.starved)
    if served and is_kept(case, name):
        text += ". The output holds it and obeys its law: it is amplified, or reaches the output another way"
        return Finding("starvation", "note", layer, (str(irrep),), f"{text}.", tuple(evidence))
    severity = "problem" if case.below(case.share(row, lambda other: other == irrep), case.bounds.absent) else "warning"
    return Finding("starvation", severity, layer, (str(irrep),), f"{text}.", tuple(evidence))


def bottleneck(case: Case) -> list[Finding]:
    """The embedding is linear in the vectors: λ ≥ 2 is made by later layers alone."""
    readout_of(case)
    if case.report.irreps[-1].lam < 2:
        raise NotJudged("the report ends below λ = 2")

    def high(irrep: Irrep) -> bool:
        return irrep.lam >= 2

    first, bounds = case.hidden[0], case.bounds
    turns = case.above(case.share(first, lambda irrep: irrep.lam == 1), bounds.starved)
    if not turns or not case.below(case.share(first, high), bounds.absent):
        return []
    needing = [name for name, irreps in case.needs.items() if any(irrep.lam >= 2 for irrep in irreps)]
    later = [
        row for row in range(first + 1, len(case.report.layers)) if case.above(case.share(row, high), bounds.starved)
    ]
    if not needing and not later:
        return []
    evidence = [case.evidence(f"λ ≥ 2 in {case.layer(first)}", first, high, bounds.absent)]
    text = f"{case.layer(first)} holds no content at λ ≥ 2"
    if later:
        evidence.append(case.evidence(f"λ ≥ 2 in {case.layer(later[0])}", later[0], high))
        text += f"; it first appears in {case.layer(later[0])}"
    if needing:
        evidence.append(case.error(needing[0], f"relative A of {needing[0]}", "relative", bounds.deviation))
        text += f", and {needing[0]} needs it"
    severity = "note" if not needing else "warning" if is_kept(case, needing[0]) else "problem"
    irreps = tuple(str(irrep) for irrep in case.report.irreps if high(irrep))
    return [Finding("bottleneck", severity, case.layer(first), irreps, f"{text}.", tuple(evidence))]


def saturation(case: Case) -> list[Finding]:
    """A layer has more power beyond l_max than the tolerance."""
    report, bounds, last = case.report, case.bounds, case.report.irreps[-1].lam
    lost = []
    for row, floor in enumerate(report.noise_floor):
        least = report.tail[row] - tail_floor(floor) - bounds.sigma * report.tail_stderr[row]
        if least > bounds.tail:
            lost.append((float(report.tail[row]), row))
    if not lost:
        return []
    worst = max(lost)[1]
    beyond = Evidence(
        f"beyond λ = {last} in {case.layer(worst)}",
        float(report.tail[worst]),
        float(report.tail_stderr[worst]),
        bounds.tail,
        tail_floor(report.noise_floor[worst]),
    )
    at_cut, before = (
        case.evidence(f"λ = {lam} in {case.layer(worst)}", worst, lambda irrep, lam=lam: irrep.lam == lam)
        for lam in (last, last - 1)
    )
    piled = at_cut.value - before.value > bounds.sigma * (at_cut.stderr + before.stderr)
    text = f"{percent(beyond.value, beyond.stderr)} % of {case.layer(worst)} lies beyond λ = {last}"
    if piled and last:
        text += f", and power piles up at the cut: {percent(at_cut.value, at_cut.stderr)} % at λ = {last}"
    if len(lost) > 1:
        text += f"; {len(lost) - 1} more of {len(report.layers)} layers lose more than {100 * bounds.tail:g} %"
    severity = "problem" if piled or beyond.value > bounds.severe else "warning"
    irreps = tuple(str(irrep) for irrep in report.irreps if irrep.lam == last)
    evidence = (beyond, at_cut, before) if last else (beyond, at_cut)
    options = further(
        report, tail=beyond.value, at_cut=at_cut.value, before=before.value if last else 0.0, tolerance=bounds.tail
    )
    return [Finding("saturation", severity, case.layer(worst), irreps, f"{text}.", evidence, options)]


def _is_pseudo(irrep: Irrep) -> bool:
    return irrep.sigma == -1


def _is_blind(case: Case, irrep: Irrep) -> bool:
    """Whether pseudotensors are asked for, and no layer holds any."""
    return irrep.sigma == -1 and all(case.below(case.share(row, _is_pseudo), case.bounds.absent) for row in case.hidden)


def parity_blindness(case: Case) -> list[Finding]:
    """An output is a pseudotensor, and no layer holds pseudotensors."""
    row = readout_of(case)
    if case.report.irreps[0].sigma != 1:
        raise NotJudged(f"{case.report.meta['group']} has no inversion; probe under O3")
    found = []
    for name, irreps in case.needs.items():
        odd = [irrep for irrep in irreps if irrep.sigma == -1]
        if odd and all(_is_blind(case, irrep) for irrep in odd):
            most = max(case.hidden, key=lambda row: case.share(row, _is_pseudo).value)
            evidence = [
                case.evidence(f"σ = − in {case.layer(place)}", place, _is_pseudo, case.bounds.absent)
                for place in dict.fromkeys((row, most))
            ]
            evidence.append(case.error(name, f"relative A of {name}", "relative", case.bounds.deviation))
            text = f"{name} is a pseudotensor, and none of {len(case.hidden)} layers holds any content at σ = −."
            found.append(
                Finding("parity-blindness", "problem", case.layer(row), tuple(map(str, odd)), text, tuple(evidence))
            )
    return found


def late_collapse(case: Case) -> list[Finding]:
    """The part that is not invariant stays as it is through the layers, and the head alone removes it."""
    row = readout_of(case)
    names = [name for name, item in case.report.equivariance.items() if item.kind in INVARIANT]
    if not names:
        raise NotJudged("no output is said to be invariant")
    if row == case.hidden[0]:
        raise NotJudged("it takes at least two layers before the output")
    found = []
    for name in names:
        first, head = case.hidden[0], case.report.layers.index(name)
        places = [(place, case.layer(place)) for place in (first, row, head)]
        turning = [case.evidence(f"not invariant in {layer}", place, _turns) for place, layer in places]
        start, readout, end = (Share(item.value, item.stderr, item.noise_floor) for item in turning)
        carried = case.above(readout, max(case.bounds.severe, start.value / 2))
        if not carried or not case.below(end, readout.value / case.bounds.collapse):
            continue
        text = (
            f"{percent(readout.value, readout.stderr)} % of {case.layer(row)} still turns, after "
            f"{percent(start.value, start.stderr)} % of {case.layer(first)}, and {percent(end.value, end.stderr)} % of "
            f"{name}: the last step alone makes it invariant."
        )
        irreps = (str(case.report.irreps[0]),)
        found.append(Finding("late-collapse", "note", case.layer(row), irreps, text, tuple(turning)))
    return found


def _turns(irrep: Irrep) -> bool:
    return irrep.lam > 0 or irrep.sigma == -1
