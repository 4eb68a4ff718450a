"""The failure modes of layers: starvation, bottleneck, saturation, late collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from jetsym.probing.diagnosis.case import Case, NotJudged, one_by_one
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, register
from jetsym.probing.diagnosis.thresholds import Bound
from jetsym.probing.kinds import INVARIANT
from jetsym.probing.measure.resolution import LADDER, LADDER_OF_MODES
from jetsym.probing.reports.diagnosis import SEVERITIES, Evidence, Finding
from jetsym.probing.reports.sentences import NOT_SMALL
from jetsym.probing.reports.significance import Share
from jetsym.probing.reports.spectrum import SymmetryReport, tail_floor
from jetsym.spectrum import Irrep
from jetsym.text import percent

__all__ = ["bottleneck", "late_collapse", "saturation", "starvation"]


@register(
    "starvation",
    why="A readout can only use what its features hold: an irrep that the target has and the features lack must come "
    "from amplified residues, which are noisy and break under rotation.",
    remedy="Give the features that irrep: spherical harmonics or tensors of it at the embedding, or for the output a "
    "TensorBasisHead, which multiplies learned scalars with tensors that turn as they should.",
    remedies=("invariants", "pairs", "canonical", "harmonics", "tensor-basis", "more-attention"),
    thresholds={
        "starved": Bound(
            1e-3,
            "Fraction of power in an irrep below which the features hold too little of it: at 10⁻³ a linear readout "
            "has to amplify its amplitude thirtyfold against everything else.",
        )
    },
)
def starvation(case: Case) -> Iterator[Finding]:
    """Find irreps that an output needs and that are missing, or all but missing, in all layers that it is read from.

    Products of what the layers hold, or what reaches it past them, may well be all that an output needs, unless it is
    known to miss its law.
    """
    case.refuse_few()

    def judge(name: str) -> Iterator[Finding]:
        rows, irreps = case.readout_of(name), _needed(case, name)
        case.refuse_rounded(rows, case.bounds.starved)
        for irrep in irreps:
            shares = {row: case.share(row, irrep.__eq__) for row in rows}
            most = max(rows, key=lambda row: shares[row].value)
            made = case.comes_past(name) or any(case.is_linear(row, name) is False for row in rows)
            if case.is_blind(irrep) or (made and not case.is_broken(name)):
                continue
            if all(case.below(share, case.bounds.starved) for share in shares.values()):
                yield _starved(case, most, name, irrep)

    yield from one_by_one(case.report.outputs, judge)


def _needed(case: Case, name: str) -> list[Irrep]:
    """Return the irreps that an output needs, as far as the report goes; NotJudged where it holds none of them."""
    if name not in case.needs:
        group = case.report.meta["group"]
        raise NotJudged(f"which irreps of {group} {name} needs is not in the report; say so by needs")
    irreps = [irrep for irrep in case.needs[name] if irrep in case.report.irreps]
    if not irreps:
        raise NotJudged(f"the report does not reach what {name} needs, {', '.join(map(str, case.needs[name]))}")
    return irreps


def _starved(case: Case, row: int, name: str, irrep: Irrep) -> Finding:
    layer, bounds, chosen = case.report.layers[row], case.bounds, irrep.__eq__
    first = case.evidence(f"{irrep} in {layer}", row, chosen, bounds.starved)
    evidence = [first, case.error(name, f"relative A of {name}", "relative", bounds.deviation)]
    text = f"{layer} holds {percent(first.value, first.stderr, first.noise_floor)} % of {irrep}, which {name} needs"
    if first.untrained > 10 * max(first.value, first.noise_floor):
        text += "; training has taken it away"
    guessed, grave = case.readout_words, case.is_broken(name, severely=True)
    if case.below(case.share(row, chosen), bounds.absent):
        grave = case.is_broken(name)
    severity = "problem" if grave and not guessed else "warning"
    invariant = case.report.irreps[0]
    if case.serves(name, irrep):
        text += ". The output holds it and obeys its law: it is amplified, or reaches the output another way"
        severity = "note"
    elif irrep != invariant and case.comes_past(name):
        text += f". What turns in {name} reaches it past the layers"
        severity = "note"
    elif case.is_linear(row, name) is False and not case.below(case.share(row, invariant.__ne__), bounds.starved):
        text += f". {name} is not linear in {layer}, so that products may make it of what is there"
        severity = "note"
    return Finding(severity, layer, f"{text}.{guessed}", evidence, (str(irrep),))


@register(
    "bottleneck",
    why="An embedding that is linear in the vectors holds no content at λ ≥ 2; every quadrupole has to be made by "
    "products in later layers, which costs depth and training. And what a layer in the middle does not let through, no "
    "later one has.",
    remedy="Add spherical harmonics up to the λ that is needed to what the embedding sees, or pairwise invariants "
    "where the target is one; carry vectors and tensors past a layer that keeps their lengths alone.",
    remedies=("harmonics", "more-attention"),
)
def bottleneck(case: Case) -> Iterator[Finding]:
    """Find an embedding linear in the vectors, so that λ ≥ 2 is made by later layers alone, or a layer that loses more.

    Where an output obeys its law, as that of products of exact tensors does, nothing is in its way.
    """
    case.refuse_named()
    if case.report.irreps[-1].lam < 2:
        raise NotJudged("the report ends below λ = 2")
    case.refuse_few()

    found = list(one_by_one(case.report.outputs, lambda name: _lost(case, name)))
    with suppress(NotJudged):  # where rounding hides what an embedding holds, a loss still shows
        found += one_by_one(case.report.outputs, lambda name: _narrow(case, name))
    yield from sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity))[:1]


def _narrow(case: Case, name: str) -> Iterator[Finding]:
    """Find embeddings without λ ≥ 2 in the way of one output."""

    def high(irrep: Irrep) -> bool:
        return irrep.lam >= 2

    bounds, layers, embeddings = case.bounds, case.report.layers, case.embeddings_of(name)
    case.refuse_rounded(embeddings, bounds.absent)
    first = max(embeddings, key=lambda row: case.share(row, high).value)
    turns = any(case.above(case.share(row, lambda irrep: irrep.lam == 1), bounds.starved) for row in embeddings)
    if not turns or not case.below(case.share(first, high), bounds.absent) or case.is_kept(name):
        return
    needs = any(map(high, case.needs.get(name, ())))
    later = [row for row in range(first + 1, len(layers)) if case.above(case.share(row, high), bounds.starved)]
    if not later:  # what no layer makes is missing, which is starvation
        return
    evidence = [
        case.evidence(f"λ ≥ 2 in {layers[first]}", first, high, bounds.absent),
        case.evidence(f"λ ≥ 2 in {layers[later[0]]}", later[0], high),
    ]
    text = f"{layers[first]} holds no content at λ ≥ 2; it first appears in {layers[later[0]]}"
    if needs:
        evidence.append(case.error(name, f"relative A of {name}", "relative", bounds.deviation))
        text += f", and {name} needs it"
    severity = "note" if not needs else "problem" if case.is_broken(name) else "warning"
    yield Finding(severity, layers[first], f"{text}.", evidence, [*map(str, filter(high, case.report.irreps))])


def _lost(case: Case, name: str) -> Iterator[Finding]:
    """Find a layer from which on there is hardly any of an irrep that a broken output needs, and there was before."""
    layers, rows = case.report.layers, case.rows_behind(name)
    if not case.is_broken(name) or name not in case.needs:
        return
    for irrep in case.needs[name]:
        if irrep not in case.report.irreps:
            continue
        held = [row for row in rows if not case.below(case.share(row, irrep.__eq__), case.bounds.starved)]
        after = [row for row in rows if held and row > held[-1]]
        if not after or not case.above(case.share(held[-1], irrep.__eq__), case.bounds.collapse * case.bounds.starved):
            continue
        evidence = [
            case.evidence(f"{irrep} in {layers[after[0]]}", after[0], irrep.__eq__, case.bounds.starved),
            case.evidence(f"{irrep} in {layers[held[-1]]}", held[-1], irrep.__eq__),
            case.error(name, f"relative A of {name}", "relative", case.bounds.deviation),
        ]
        text = f"{layers[after[0]]} lets all but nothing through of {irrep}, which {layers[held[-1]]} holds"
        text += f" and {name} needs."
        grave = case.is_broken(name, severely=True) and not case.readout_words
        severity = "problem" if grave else "warning"
        yield Finding(severity, layers[after[0]], f"{text}{case.readout_words}", evidence, (str(irrep),))


@register(
    "saturation",
    why="What lies beyond l_max is not in the spectrum, and with a quadrature rule part of it strays into the irreps "
    "that are; averages over a rule of that degree leave as much.",
    remedy="Probe with a larger l_max, l_max='auto' or method='random'. If power still piles up, the layer reacts to "
    "small turns with jumps: smoother non-linearities, fewer nearest-neighbour choices, or augmentation.",
    remedies=(MEASURE_AGAIN,),
    thresholds={
        "tail": Bound(
            NOT_SMALL,
            'Power beyond l_max, or aliased from there, over all power; the tolerance of l_max="auto" as well.',
        )
    },
)
def saturation(case: Case) -> Iterator[Finding]:
    """Find the layer that has most power beyond l_max, and more than the tolerance."""
    case.refuse_named()
    report, bounds, last = case.report, case.bounds, case.report.irreps[-1].lam
    if case.inputs < 2:
        raise NotJudged("one input has no standard errors")
    unexplained, stderr = report.unseen()
    floors = [*map(tail_floor, report.noise_floor)]
    least = unexplained - floors - case.errors * stderr
    lost = [(float(unexplained[row]), row) for row in range(len(report.layers)) if least[row] > bounds.tail]
    if not lost:
        return
    value, worst = max(lost)
    layer, what = (
        case.report.layers[worst],
        "beyond, or aliased from beyond," if report.meta.get("held_out") else "beyond",
    )
    beyond = Evidence(f"{what} λ = {last} in {layer}", value, float(stderr[worst]), bounds.tail, floors[worst])
    at_cut, before = (case.evidence(f"λ = {lam} in {layer}", worst, _at(lam)) for lam in (last, last - 1))
    piled = at_cut.value - before.value > case.errors * (at_cut.stderr + before.stderr)
    text = f"{percent(value, beyond.stderr)} % of {layer} lies beyond λ = {last}"
    if report.meta.get("held_out"):
        text += ", or has strayed from there"
    if piled and last:
        text += f", and power piles up at the cut: {percent(at_cut.value, at_cut.stderr)} % at λ = {last}"
    if len(lost) > 1:
        text += f"; {len(lost) - 1} more of {len(report.layers)} layers lose more than {100 * bounds.tail:g} %"
    severity = "problem" if least[worst] > bounds.severe else "warning"
    options = _further(
        report, tail=value, at_cut=at_cut.value, before=before.value if last else 0.0, tolerance=bounds.tail
    )
    irreps = [*map(str, filter(_at(last), report.irreps))]
    yield Finding(severity, layer, f"{text}.", (beyond, at_cut, before)[: 3 if last else 2], irreps, options)


def _at(lam: int) -> Callable[[Irrep], bool]:
    return lambda irrep: irrep.lam == lam


def _further(report: SymmetryReport, *, tail: float, at_cut: float, before: float, tolerance: float) -> dict[str, Any]:
    """Return the options that would show what lies beyond l_max.

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


@register(
    "late-collapse",
    why="The layers carry the orientation along and the last step alone removes it: the symmetry rests on one layer, "
    "and features taken from earlier ones (fine-tuning, uncertainties) do not have it.",
    remedy="Offer invariants early (pairwise products or distances at the embedding), or penalise the part of earlier "
    "features that is not invariant.",
    remedies=("invariants", "pairs", "canonical", "equivariant"),
    thresholds={
        "collapse": Bound(
            10.0,
            "Factor by which the head alone lowers the part that is not invariant, when the layers before have not "
            "halved it.",
            least=1.0,
        )
    },
)
def late_collapse(case: Case) -> Iterator[Finding]:
    """Find a part that is not invariant, stays as it is through the layers, and is removed at the end alone."""
    names = [name for name, item in case.report.outputs.items() if item.kind in INVARIANT]
    if not names:
        raise NotJudged("no output is said to be invariant")
    case.refuse_few()
    yield from one_by_one(names, lambda name: _collapsed(case, name))


def _collapsed(case: Case, name: str) -> Iterator[Finding]:
    """Find an invariant output whose late layers turn as much as the first ones."""
    bounds, layers, invariant = case.bounds, case.report.layers, case.report.irreps[0]
    broken = case.is_broken(name)

    def turning(row: int) -> Share:
        return case.share(row, invariant.__ne__)

    behind, rows = case.rows_behind(name), case.readout_of(name)
    first = max(case.embeddings_of(name), key=lambda row: turning(row).value)
    if behind[-1] == first:
        raise NotJudged("it takes at least two layers before the output")
    start = turning(first)
    carried = [row for row in behind if case.above(turning(row), max(bounds.severe, start.value / 2))]
    # Of an output that obeys its law it is told only where the head alone makes it do so.
    late = [row for row in carried if row in rows or (broken and 2 * behind.index(row) + 2 > len(behind))]
    if not late or not case.above(start, bounds.severe):
        return
    last, output = late[-1], layers.index(name)
    readout, end = turning(last), turning(output)
    if last == first or not case.below(end, readout.value / bounds.collapse):
        return
    step = "the last step alone makes it invariant" if last in rows else "it is made so late, and in part"
    text = (
        f"{percent(readout.value, readout.stderr)} % of {layers[last]} is not invariant, after "
        f"{percent(start.value, start.stderr)} % of {layers[first]}, and {percent(end.value, end.stderr)} % of {name}: "
        f"{step}.{case.readout_words}"
    )
    shown = (first, last, output)
    evidence = [case.evidence(f"not invariant in {layers[row]}", row, invariant.__ne__) for row in shown]
    severity = "problem" if broken and not case.readout_words else "note"
    yield Finding(severity, layers[last], text, evidence, (str(invariant),))
