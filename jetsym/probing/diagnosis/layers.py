"""The failure modes of layers: starvation, bottleneck, saturation, late collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from jetsym.probing.diagnosis.case import INVARIANT, Case, NotJudged
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, register
from jetsym.probing.diagnosis.thresholds import Bound
from jetsym.probing.measure.resolution import LADDER, LADDER_OF_MODES
from jetsym.probing.reports.diagnosis import Evidence, Finding
from jetsym.probing.reports.significance import Share
from jetsym.probing.reports.spectrum import NOT_SMALL, SymmetryReport, tail_floor
from jetsym.spectrum import Irrep
from jetsym.text import percent

__all__ = ["bottleneck", "late_collapse", "saturation", "starvation"]


@register(
    "starvation",
    why="A readout can only use what its features hold: an irrep that the target has and the features lack must come "
    "from amplified residues, which are noisy and break under rotation.",
    remedy="Give the features that irrep: spherical harmonics or tensors of it at the embedding, or for the output a "
    "TensorBasisHead, which multiplies learned scalars with tensors that turn as they should.",
    remedies=("invariants", "pairs", "canonical", "more-attention"),
    thresholds={
        "starved": Bound(
            1e-3,
            "Fraction of power in an irrep below which the features hold too little of it: at 10⁻³ a linear readout "
            "has to amplify its amplitude thirtyfold against everything else.",
        )
    },
)
def starvation(case: Case) -> Iterator[Finding]:
    """Find irreps that an output needs and that are missing, or all but missing, where the readout sees them."""
    row = case.readout_row
    for name, irreps in case.needs.items():
        for irrep in irreps:
            if irrep not in case.report.irreps or case.is_blind(irrep):
                continue
            if case.below(case.share(row, irrep.__eq__), case.bounds.starved):
                yield _starved(case, row, name, irrep)
    unknown = [name for name in case.report.equivariance if name not in case.needs]
    if unknown:
        group = case.report.meta["group"]
        raise NotJudged(f"which irreps of {group} {' and '.join(unknown)} needs is not in the report; say so by needs")


def _starved(case: Case, row: int, name: str, irrep: Irrep) -> Finding:
    layer, bounds, chosen = case.report.layers[row], case.bounds, irrep.__eq__
    first = case.evidence(f"{irrep} in {layer}", row, chosen, bounds.starved)
    evidence = [first, case.error(name, f"relative A of {name}", "relative", bounds.deviation)]
    text = f"{layer} holds {percent(first.value, first.stderr, first.noise_floor)} % of {irrep}, which {name} needs"
    if first.untrained > 10 * max(first.value, first.noise_floor):
        text += "; training has taken it away"
    output = case.report.layers.index(name) if name in case.report.layers else None
    severity = "problem" if case.below(case.share(row, chosen), bounds.absent) else "warning"
    if output is not None and case.above(case.share(output, chosen), bounds.starved) and case.is_kept(name):
        text += ". The output holds it and obeys its law: it is amplified, or reaches the output another way"
        severity = "note"
    return Finding(severity, layer, f"{text}.", evidence, (str(irrep),))


@register(
    "bottleneck",
    why="An embedding that is linear in the vectors holds no content at λ ≥ 2; every quadrupole has to be made by "
    "products in later layers, which costs depth and training.",
    remedy="Add spherical harmonics up to the λ that is needed to what the embedding sees, or pairwise invariants "
    "where the target is one.",
    remedies=("harmonics", "more-attention"),
)
def bottleneck(case: Case) -> Iterator[Finding]:
    """Find an embedding that is linear in the vectors, so that λ ≥ 2 is made by later layers alone."""
    case.readout_row  # noqa: B018  judged where features were measured
    case.refuse_named()
    if case.report.irreps[-1].lam < 2:
        raise NotJudged("the report ends below λ = 2")

    def high(irrep: Irrep) -> bool:
        return irrep.lam >= 2

    first, bounds = case.hidden[0], case.bounds
    turns = case.above(case.share(first, lambda irrep: irrep.lam == 1), bounds.starved)
    if not turns or not case.below(case.share(first, high), bounds.absent):
        return
    needing = [name for name, irreps in case.needs.items() if any(map(high, irreps))]
    below = range(first + 1, len(case.report.layers))
    later = [row for row in below if case.above(case.share(row, high), bounds.starved)]
    if not needing and not later:
        return
    evidence = [case.evidence(f"λ ≥ 2 in {case.report.layers[first]}", first, high, bounds.absent)]
    text = f"{case.report.layers[first]} holds no content at λ ≥ 2"
    if later:
        evidence.append(case.evidence(f"λ ≥ 2 in {case.report.layers[later[0]]}", later[0], high))
        text += f"; it first appears in {case.report.layers[later[0]]}"
    if needing:
        evidence.append(case.error(needing[0], f"relative A of {needing[0]}", "relative", bounds.deviation))
        text += f", and {needing[0]} needs it"
    severity = "note" if not needing else "warning" if case.is_kept(needing[0]) else "problem"
    yield Finding(
        severity, case.report.layers[first], f"{text}.", evidence, [*map(str, filter(high, case.report.irreps))]
    )


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
    severity = "problem" if piled else case.severity(value)
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
    """Find a part that is not invariant, stays as it is through the layers, and is removed by the head alone."""
    row, bounds = case.readout_row, case.bounds
    names = [name for name, item in case.report.equivariance.items() if item.kind in INVARIANT]
    if not names:
        raise NotJudged("no output is said to be invariant")
    if row == case.hidden[0]:
        raise NotJudged("it takes at least two layers before the output")
    invariant = case.report.irreps[0]
    for name in names:
        first, head = case.hidden[0], case.report.layers.index(name)
        turning = [
            case.evidence(f"not invariant in {case.report.layers[place]}", place, invariant.__ne__)
            for place in (first, row, head)
        ]
        start, readout, end = (Share(item.value, item.stderr, item.noise_floor, case.inputs) for item in turning)
        carried = case.above(readout, max(bounds.severe, start.value / 2))
        if not carried or not case.below(end, readout.value / bounds.collapse):
            continue
        text = (
            f"{percent(readout.value, readout.stderr)} % of {case.report.layers[row]} is not invariant, after "
            f"{percent(start.value, start.stderr)} % of {case.report.layers[first]}, and "
            f"{percent(end.value, end.stderr)} % of {name}: the last step alone makes it invariant."
        )
        yield Finding("note", case.report.layers[row], text, turning, (str(invariant),))
