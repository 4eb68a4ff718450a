"""A report in plain words and as a table of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jetsym.text import as_text

if TYPE_CHECKING:
    from jetsym.probing.equivariance import Equivariance
    from jetsym.probing.report import SymmetryReport

__all__ = ["concise", "sentences", "share", "tail_floor", "text_table"]


def concise(value: float, error: float, *, floor: float = 0.0) -> str:
    """A number with its standard error in the last digits, as physicists write it.

    Parameters
    ----------
    value, error
        The number and its standard error; without one (NaN or 0) three digits are given.
    floor
        A modulus below which the number is only said to be smaller.

    Examples
    --------
    >>> concise(83.251, 0.42), concise(0.2276, 0.0016), concise(1.234e-7, 2.5e-8)
    ('83.25(42)', '0.2276(16)', '1.23(25)e-7')
    >>> concise(3e-17, 1e-17, floor=1e-11)
    '<1e-11'
    """
    if abs(value) < floor:
        return f"<{floor:.0e}".replace("e-0", "e-")
    if not math.isfinite(error) or error == 0:
        return f"{value:.3g}"
    largest = max(abs(value), error)
    exponent = math.floor(math.log10(largest)) if largest < 1e-3 else 0
    value, error = value / 10**exponent, float(f"{error / 10**exponent:.1e}")
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 9:
        return f"{value * 10.0**exponent:.10g}"
    text = f"{value:.{digits}f}({round(error * 10**digits)})"
    return f"{text}e{exponent}" if exponent else text


def share(value: float, error: float, floor: float = 0.0) -> str:
    """A fraction in per cent with its error; see :func:`concise`."""
    return concise(100 * float(value), 100 * float(error), floor=100 * float(floor))


def tail_floor(floor: float) -> float:
    """What rounding can make of 1 − Σ b: an error of the size √floor in a norm of 1."""
    return 2 * math.sqrt(float(floor))


def sentences(report: SymmetryReport) -> list[str]:
    """What a report says: where the content lies, how it moves through the layers, and how far outputs turn."""
    result = [_depth(report)]
    for name, item in report.equivariance.items():
        result.append(_error(name, item, report))
    return result + _cut(report) + _resolution(report.meta.get("resolution"))


def _cut(report: SymmetryReport) -> list[str]:
    """Whether much lies beyond l_max, which is not only missing: part of it may alias into what is reported."""
    worst = int(report.tail.argmax())
    if report.tail[worst] <= 0.01:
        return []
    largest = report.irreps[-1]
    text = (
        f"{share(report.tail[worst], report.tail_stderr[worst])} % of {report.layers[worst]} lies beyond "
        f"{'m' if largest.is_mode else 'λ'} = {largest.lam}"
    )
    if report.meta["method"] == "random":
        return [f"{text}: a larger l_max would show where."]
    return [
        f"{text}, and as much may have strayed into the irreps shown: a larger l_max, l_max='auto' or method='random' "
        "would tell."
    ]


def _resolution(found: Mapping[str, Any] | None) -> list[str]:
    """What l_max='auto' found."""
    if not found:
        return []
    last, asked = found["steps"][-1], f"{100 * found['tolerance']:.2g}"
    numbers = f"{100 * last['tail']:.2g} % beyond it, {100 * last['difference']:.2g} % of change on the next grid"
    if found["agreed"]:
        return [f"l_max = {last['l_max']} resolves {found['inputs']} of the inputs: {numbers}."]
    return [
        f"Not resolved: l_max = {last['l_max']}, the largest tried, leaves {numbers}, where {asked} % was asked for; "
        "the shares are those of this grid, and method='random' gives some without aliasing."
    ]


def _depth(report: SymmetryReport) -> str:
    first, last = 0, len(report.layers) - 1
    invariant = report.fractions[:, 0]
    shares = [share(invariant[row], report.stderr[row, 0]) for row in (first, last)]
    if first == last:
        return f"{report.layers[0]} holds {shares[0]} % of its power in the invariant {report.irreps[0]}."
    return (
        f"The invariant part {report.irreps[0]} is {shares[0]} % of the power in {report.layers[first]} and "
        f"{shares[1]} % in {report.layers[last]}."
    )


def _error(name: str, item: Equivariance, report: SymmetryReport) -> str:
    group = report.meta["group"]
    law = "invariant" if item.kind in ("logits", "scalar") else f"equivariant as {item.kind}"
    if abs(item.relative) <= item.noise_floor:
        return f"{name} is {law} under {group} to within rounding (relative A below {item.noise_floor:.0e})."
    verb = "changes" if law == "invariant" else f"misses its law as {item.kind}"
    text = (
        f"{name} {verb} by {concise(item.relative, item.relative_stderr)} of its size (relative A) under {group}, "
        f"{abs(item.relative) / item.noise_floor:.0e} times what rounding explains"
    )
    untrained = report.baseline.equivariance.get(name) if report.baseline else None
    if untrained:
        text += f"; an untrained copy: {concise(untrained.relative, untrained.relative_stderr)}"
    return f"{text}. {_split(item)}".strip()


def _split(item: Equivariance) -> str:
    """Where the error of an output that turns comes from; for an invariant one there is nothing to split."""
    if item.kind in ("logits", "scalar", "pseudoscalar"):
        return ""
    floor = item.noise_floor**2
    return (
        f"Of its power {share(item.leakage, item.leakage_stderr, floor)} % lies in irreps that it should not have, and "
        f"{share(item.misalignment, item.misalignment_stderr, floor)} % in the right ones but turned the wrong way."
    )


def text_table(report: SymmetryReport) -> str:
    """The fractions in per cent, a row per layer, with the outputs' errors below."""
    table = Table(
        title=f"Power per irrep of {report.meta['group']} in %, standard error in the last digits", title_justify="left"
    )
    table.add_column("layer")
    for irrep in report.irreps:
        table.add_column(str(irrep), justify="right")
    table.add_column("tail", justify="right")
    for row, layer in enumerate(report.layers):
        floor = report.noise_floor[row]
        cells = [share(b, e, floor) for b, e in zip(report.fractions[row], report.stderr[row], strict=True)]
        table.add_row(layer, *cells, share(report.tail[row], report.tail_stderr[row], tail_floor(floor)))
    return as_text(table, width=28 + 15 * (len(report.irreps) + 1)) + "\n".join(sentences(report)) + "\n"
