"""The failure mode of jets in a detector: frame locking, to the azimuth or to the rapidity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jetsym.probing.diagnosis.case import Case, NotJudged
from jetsym.probing.diagnosis.modes import register
from jetsym.probing.diagnosis.thresholds import Bound, Thresholds
from jetsym.probing.kinds import INVARIANT
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.significance import quantile
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.symmetry import Symmetry
from jetsym.text import concise

__all__ = ["frame_locking"]


def _parts(source: Report | None) -> tuple[SymmetryReport | None, BoostReport | None]:
    """Return what a report tells of rotations about the beam, and of boosts along it."""
    if isinstance(source, LorentzReport):
        return source.compact.get("SO2 beam"), source.windows.get("beam")
    if isinstance(source, BoostReport):
        return None, source
    return (source if source is not None and Symmetry.from_dict(source.meta).is_about_beam else None), None


@register(
    "frame-locking",
    why="The output depends on the azimuth or the rapidity at which a jet was found beyond what the detector explains: "
    "it will differ between regions of the detector and between experiments.",
    remedy="Take absolute φ, η, px and py out of the features in favour of differences to the jet, augment with "
    "rotations about the beam and boosts along it, or canonicalise to the jet's own frame.",
    remedies=("augment", "penalty", "canonical", "equivariant"),
    thresholds={
        "azimuth": Bound(
            0.01, "Relative A under rotations about the beam: a detector is built the same all around it."
        ),
        "boost": Bound(
            0.1,
            "Relative A under boosts along the beam, uniform in rapidity on [−boost_width, boost_width]: a detector's "
            "cells and the edge of its acceptance justify some of it, a tenth of the output for half a unit.",
        ),
        "boost_width": Bound(0.5, "Half-width y₀ of the rapidities of those boosts."),
    },
)
def frame_locking(case: Case) -> Iterator[Finding]:
    """Find invariant outputs that change with the azimuth or the rapidity, from whatever part of a report tells."""
    (rotated, boosted), others = _parts(case.source), _parts(case.source_baseline)
    if rotated is None and boosted is None and not isinstance(case.source, LorentzReport):
        raise NotJudged("probe under 'lorentz', 'boost' or 'SO2' about the beam")
    if rotated is not None:
        yield from _locked_to_azimuth(rotated, case.bounds, others[0])
    if boosted is not None:
        yield from _locked_to_rapidity(boosted, case.bounds, others[1])


def _locked_to_azimuth(
    report: SymmetryReport, bounds: Thresholds, baseline: SymmetryReport | None
) -> Iterator[Finding]:
    """Find invariant outputs that change when everything is rotated about the beam."""
    for name, item in report.outputs.items():
        least = abs(item.relative) - quantile(bounds.sigma, report.meta["n_inputs"]) * item.relative_stderr
        certain = least > max(bounds.azimuth, item.noise_floor)
        if item.kind not in INVARIANT or not certain:
            continue
        other = baseline.outputs.get(name) if baseline is not None else None
        untrained = (NAN, NAN) if other is None else (other.relative, other.relative_stderr)
        what = f"relative A of {name} under rotations about the beam"
        evidence = Evidence(what, item.relative, item.relative_stderr, bounds.azimuth, item.noise_floor, *untrained)
        modes = sorted(item.error_spectrum, key=lambda mode: -item.error_spectrum[mode])[:2]
        text = f"{name} changes by {concise(item.relative, item.relative_stderr)} of its size with the azimuth."
        yield Finding("problem" if least > bounds.severe else "warning", name, text, (evidence,), modes)


def _locked_to_rapidity(report: BoostReport, bounds: Thresholds, baseline: BoostReport | None) -> Iterator[Finding]:
    """Find invariant outputs that change under boosts along the beam by more than a detector justifies."""
    symmetry = Symmetry.from_dict(report.meta)
    if not symmetry.is_about_beam:
        raise NotJudged(
            f"boosts along {symmetry.axis_words} change what a detector measures; probe those along the beam"
        )
    widths = [place for place, width in enumerate(report.widths) if width <= bounds.boost_width * (1 + 1e-9)]
    if not widths:
        raise NotJudged(f"no window is as narrow as {bounds.boost_width:g}")
    place = widths[-1]
    for name, item in report.outputs.items():
        if item.kind not in INVARIANT or name not in report.layers:
            continue
        evidence = _window(report, place, name, bounds.boost, baseline)
        error = quantile(bounds.sigma, report.meta["n_inputs"]) * evidence.stderr
        least = evidence.value - error - evidence.noise_floor
        if not least > bounds.boost:
            continue
        text = (
            f"{name} changes by {concise(evidence.value, evidence.stderr)} of its size under boosts along the beam of "
            f"width {report.widths[place]:g}, where {bounds.boost:g} may be the detector's."
        )
        yield Finding("problem" if least > 3 * bounds.boost else "warning", name, text, (evidence,))


def _window(report: BoostReport, place: int, name: str, bound: float, baseline: BoostReport | None) -> Evidence:
    """Return relative A of an output in one window, with that of the untrained copy."""

    def relative(of: BoostReport) -> tuple[float, float]:
        row = of.layers.index(name)
        root = float(of.relative[place, row])
        return root, float(of.squared_stderr[place, row]) / (2 * root) if root else NAN

    floor = float(np.sqrt(report.noise_floor[place, report.layers.index(name)]))
    untrained = relative(baseline) if baseline is not None and name in baseline.layers else (NAN, NAN)
    what = f"relative A of {name} under boosts along the beam, width {report.widths[place]:g}"
    return Evidence(what, *relative(report), bound, floor, *untrained)
