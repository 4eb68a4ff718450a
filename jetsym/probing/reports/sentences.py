"""What a :class:`~jetsym.SymmetryReport` says in words, and how it writes shares and units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jetsym.probing.reports.draws import baseline_words, least_gap
from jetsym.probing.reports.equivariance import HIDES, KNOWN_TO, Equivariance, rounding_of_sums
from jetsym.text import at_most, concise, percent

__all__ = ["NOT_SMALL", "sentences_of", "share_of_power", "unit_of"]

#: What is unseen of a layer above this is not small.
NOT_SMALL = 0.01


def sentences_of(report: Any) -> list[str]:
    """Say where the content lies, how it moves through the layers, and how far outputs are from their law."""
    errors = [_error(name, item, report) for name, item in report.outputs.items()]
    return [_depth(report), *errors, *_laws(report), *_rounded(report), *_cut(report), *_resolution(report)]


def unit_of(name: str, report: Any) -> str:
    """Return the unit of an output; nothing where the model does not say it."""
    return str(report.meta.get("units", {}).get(name, ""))


def share_of_power(fraction: float, stderr: float, floor: float) -> str:
    """Write a fraction of power in per cent, with its error over inputs and what rounding makes of sums of squares."""
    rounding = abs(float(fraction)) * rounding_of_sums(floor)
    return percent(fraction, float(np.hypot(stderr, rounding)), floor)


def _spread(item: Equivariance, report: Any) -> str:
    """Say of an output that is the same for all inputs that A has no spread to be compared with."""
    if not np.isnan(item.over_spread) or report.meta["n_inputs"] < 2:
        return ""
    return " It has no spread across inputs that can be told from rounding."


def _laws(report: Any) -> list[str]:
    """Say in one sentence how the layers whose law is known obey it, and where one first misses it."""
    laws = {name: report.equivariance[name] for name in report.layers if name in report.meta.get("laws", {})}
    if not laws:
        return []
    missing = [name for name, item in laws.items() if not item.is_within_rounding]
    group, of = report.meta["group"], "layer whose law is known" if len(laws) == 1 else "layers whose law is known"
    if not missing:
        floor = at_most(KNOWN_TO * max(item.noise_floor for item in laws.values()))
        seen = "" if all(map(report.is_seen, laws)) else ", as far as the rule sees, which is not all of them"
        return [f"{len(laws)} {of}: equivariant under {group} to within rounding (relative A below {floor}){seen}."]
    first = missing[0]
    item, verb = laws[first], "misses" if len(missing) == 1 else "miss"
    return [
        f"{len(missing)} of {len(laws)} {of} {verb} it under {group}: the first is {first} ({item.kind}), by "
        f"{concise(item.relative, item.relative_stderr)} of its size (relative A), where rounding explains "
        f"{item.noise_floor:.1g}."
    ]


def _rounded(report: Any) -> list[str]:
    """Say in which layers rounding hides small shares: not those of outputs, of which A tells."""
    rows = [row for row, layer in enumerate(report.layers) if layer not in report.outputs]
    hidden = [report.layers[row] for row in rows if report.noise_floor[row] > HIDES]
    if not hidden:
        return []
    most = 100 * max(report.noise_floor[report.layers.index(layer)] for layer in hidden)
    return [f"Shares below {most:.2g} % of {', '.join(hidden)} cannot be told from rounding."]


def _cut(report: Any) -> list[str]:
    """Say where much lies beyond l_max, which is not only missing: part of it may alias into what a rule gives."""
    value, stderr = report.unseen()
    value = np.where(value > KNOWN_TO**2 * report.noise_floor, value, 0.0)  # of rounding no larger l_max tells
    worst = int(value.argmax())
    if value[worst] <= NOT_SMALL:
        return [_replaced(report)] if report.meta.get("unbiased") else []
    largest, layer = report.irreps[-1], report.layers[worst]
    beyond = "the table of irreps" if largest.is_named else largest.order
    if layer in report.meta.get("unbiased", ()):
        return [
            f"The rule leaves {percent(value[worst], stderr[worst])} % of {layer} unexplained, beyond "
            f"{beyond} or strayed into the irreps shown. {_replaced(report)} A larger l_max would show where it lies."
        ]
    text = f"{percent(report.tail[worst], report.tail_stderr[worst])} % of {layer} lies beyond {beyond}"
    if largest.is_named:  # all elements were evaluated
        return [f"{text}."]
    if report.meta["method"] == "random":
        return [f"{text}: a larger l_max would show where."]
    return [
        f"{text}, and as much may have strayed into the irreps shown: a larger l_max, l_max='auto' or method='random' "
        "would tell."
    ]


def _replaced(report: Any) -> str:
    """Say which numbers do not come from the rule alone."""
    names = report.meta["unbiased"]
    of = "all layers" if len(names) == len(report.layers) else ", ".join(names)
    return (
        f"The numbers of {of} are unbiased estimates, with the help of {report.meta['held_out']} random elements of "
        "each input's own beside the rule."
    )


def _resolution(report: Any) -> list[str]:
    """Say what l_max='auto' found; irreps without λ need none."""
    found = report.meta.get("resolution")
    if not found or report.irreps[0].is_named:
        return []
    last, asked = found["steps"][-1], f"{100 * found['tolerance']:.2g}"
    if "unexplained" in last:
        numbers = f"{100 * last['unexplained']:.2g} % unexplained"
    else:  # as former versions compared two grids
        numbers = f"{100 * last['tail']:.2g} % beyond it, {100 * last['difference']:.2g} % of change on the next grid"
    if found["agreed"]:
        return [f"l_max = {last['l_max']} resolves {found['inputs']} of the inputs: {numbers}."]
    return [
        f"Not resolved: l_max = {last['l_max']}, the largest tried, leaves {numbers}, where {asked} % was asked for; "
        "method='random' has no l_max to choose."
    ]


def _depth(report: Any) -> str:
    """Say how much of the first and the last layer is invariant, as far as that can be told from rounding."""
    told = [_invariant(report, row) for row in (0, -1)][: len(report.layers)]
    if told[0].startswith("is ") and told[-1].startswith("is "):
        told[1:] = [text.replace("is ", "", 1).replace(" of the power", "", 1) for text in told[1:]]
    return f"The invariant part {report.irreps[0]} {' and '.join(told)}."


def _invariant(report: Any, row: int) -> str:
    share = share_of_power(report.fractions[row, 0], report.stderr[row, 0], float(report.noise_floor[row]))
    if share.startswith("<"):
        return f"cannot be told from rounding in {report.layers[row]}"
    return f"is {share} % of the power in {report.layers[row]}"


def _error(name: str, item: Equivariance, report: Any) -> str:
    group = report.meta["group"]
    law = item.law
    if item.is_without_size:
        unit = unit_of(name, report)
        found = f"A is {concise(item.absolute, item.absolute_stderr)} {unit}".strip()
        than = f"rounding explains {at_most(item.rounding)} {unit}".strip()
        within = " within rounding:" if item.is_within_rounding else ""
        return (
            f"{name}:{within} {found} under {group}, of which {than}; there is no relative A, as its zero is arbitrary "
            "for every composition and none has two structures or more that differ."
        )
    if item.is_within_rounding:
        text = item.verdict(name, law, group)
        seen = "" if report.is_seen(name) else " as far as the rule sees, which is not all of it"
        return f"{text}{seen}.{_spread(item, report)}"
    times = abs(item.relative) / item.noise_floor if item.noise_floor else math.inf
    verb = "changes" if law == "invariant" else f"misses its law as {item.kind}"
    text = (
        f"{name} {verb} by {concise(item.relative, item.relative_stderr)} of its size (relative A) under {group}, "
        + (
            f"{times:{'.0f' if times < 1e3 else '.0e'}} times what rounding explains"
            if not times <= 1
            else "which is nothing within its error"
        )
    )
    if report.baseline and (other := report.baseline.equivariance.get(name)):
        meta, gap = report.baseline.meta, abs(item.relative - other.relative)
        text += f"; {baseline_words(meta)}: {concise(other.relative, other.relative_stderr)}"
        text += "" if gap > least_gap(other.relative_stderr, meta) else ", from which it does not surely differ"
    return f"{text}.{_spread(item, report)} {_split(item)}".strip()


def _split(item: Equivariance) -> str:
    """Say where the error of an output that transforms comes from; for an invariant one there is nothing to split."""
    if item.kind in ("logits", "scalar", "pseudoscalar") or np.isnan(item.leakage):
        return ""
    wrong = percent(item.leakage, item.leakage_stderr, item.parts_floor)
    misaligned = percent(item.misalignment, item.misalignment_stderr, item.parts_floor)
    return (
        f"Of its power {wrong} % lies in irreps that it should not have, and {misaligned} % in the right ones but "
        "rotated wrongly."
    )
