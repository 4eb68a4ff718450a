"""The failure mode of a precision: what rounding hides, and so cannot be judged."""

from __future__ import annotations

from collections.abc import Iterator

from jetsym.probing.diagnosis.case import Case
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, register
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.symmetry import Symmetry

__all__ = ["hidden_by_rounding"]


def _parts(source: Report) -> dict[str, SymmetryReport | BoostReport]:
    """Return the reports on single groups, by what acts."""
    if isinstance(source, LorentzReport):
        return {**source.compact, **{f"boosts along {axis}": part for axis, part in source.windows.items()}}
    return {Symmetry.from_dict(source.meta).words: source}


@register(
    "hidden-by-rounding",
    why="Rounding alone makes an error as large as the one that was measured, and larger than what counts: whether the "
    "law is obeyed cannot be told.",
    remedy="Measure in a higher precision: the model in float32 or float64, without autocast and TF32. What rounding "
    "does remains in use, where a higher precision of the part that magnifies it helps.",
    remedies=(MEASURE_AGAIN,),
)
def hidden_by_rounding(case: Case) -> Iterator[Finding]:
    """Find outputs and layers of which rounding alone may make all that was measured, and more than is tolerated."""
    bound = case.bounds.deviation
    for title, part in _parts(case.source).items():
        for name, item in part.outputs.items():
            if item.is_within_rounding and item.noise_floor > bound:
                what = f"relative A of {name} under {title}"
                evidence = Evidence(what, item.relative, item.relative_stderr, bound, item.noise_floor)
                text = (
                    f"{name} under {title} cannot be told from rounding, which makes a relative A of up to "
                    f"{item.noise_floor:.1g}: measure in float64."
                )
                yield Finding("warning", name, text, (evidence,))
    if isinstance(case.source, SymmetryReport):
        yield from _layers(case.source, bound)


def _layers(report: SymmetryReport, bound: float) -> Iterator[Finding]:
    """Find the layer in which rounding hides the largest shares, besides outputs."""
    floors = dict(zip(report.layers, map(float, report.noise_floor), strict=True))
    hidden = {name: floor for name, floor in floors.items() if floor > bound and name not in report.outputs}
    if hidden:
        worst = max(hidden, key=lambda name: hidden[name])
        text = f"shares of {worst} below {100 * hidden[worst]:.2g} % cannot be told from rounding: measure in float64."
        if len(hidden) > 1:
            text += f" So it is in {len(hidden) - 1} more of {len(report.layers)} layers."
        yield Finding("warning", worst, text, (Evidence(f"noise floor of {worst}", hidden[worst], NAN, bound),))
