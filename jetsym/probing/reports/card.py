"""What a model card takes of a report: sentences, tables in Markdown, and the numbers of its head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jetsym.cards import Measured, Symmetries, markdown_table
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.text import at_most, concise

__all__ = ["symmetries"]

_OUTPUTS = (
    "output",
    "kind",
    "A (output units)",
    "relative A",
    "A / spread",
    "untrained copies, relative A",
    "rounding",
)


def symmetries(report: Any) -> Symmetries:
    """Return what a card says of a :class:`~jetsym.SymmetryReport`; see :func:`jetsym.cards.model_card`."""
    heads = ["layer", *map(str, report.irreps), "tail", "unexplained"]
    return Symmetries(
        sentences=report.sentences(),
        outputs=markdown_table(_OUTPUTS, [_cells(name, item, report) for name, item in report.outputs.items()]),
        layers=markdown_table(heads, [[name, *report.cells(row)] for row, name in enumerate(report.layers)]),
        settings=report.settings(),
        version=str(report.meta.get("jetsym", "of an unknown version")),
        numbers=_numbers(report),
        known_to=KNOWN_TO,
    )


def _cells(name: str, item: Equivariance, report: Any) -> Sequence[str]:
    """Write the error of an output, by :data:`_OUTPUTS`; one that rounding explains is said to be below that."""
    baseline: Any = report.baseline
    unit = str(report.meta.get("units", {}).get(name, ""))
    floor = KNOWN_TO * item.noise_floor if item.is_within_rounding else 0.0
    untrained = baseline.outputs.get(name) if baseline else None
    return (
        name,
        item.kind,
        f"{concise(item.absolute, item.absolute_stderr)} {unit}".strip(),
        concise(item.relative, item.relative_stderr, floor=floor),
        concise(item.over_spread, item.over_spread_stderr),
        "–" if untrained is None else concise(untrained.relative, untrained.relative_stderr),
        at_most(item.noise_floor),
    )


def _numbers(report: Any) -> list[Measured]:
    """Return relative A of the outputs that do not obey their law to within rounding; of others it is no number."""
    group, outputs = report.meta["group"], dict[str, Equivariance](report.outputs)
    return [
        Measured("relative_A", f"relative A of {name} under {group}, standard error {item.relative_stderr:.1g}", value)
        for name, item in outputs.items()
        for value in ([] if item.is_within_rounding or item.is_without_size else [item.relative])
    ]
