"""The rules of a diagnosis that look at outputs: leakage, misalignment, parity, frame locking, drift."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetsym.probing.diagnosis.case import INVARIANT, Case, NotJudged
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.text import concise, percent

__all__ = [
    "about_the_beam",
    "drift",
    "leakage",
    "locked_to_azimuth",
    "locked_to_rapidity",
    "misalignment",
    "parity_contamination",
]

#: Pseudoscalar errors of an output that turns rightly and mirrors wrongly.
MIRRORED = "(0,−)"
#: What reports call the axis of the beam.
BEAM = ("beam", "z", [0.0, 0.0, 1.0])


def about_the_beam(report: SymmetryReport) -> bool:
    """Whether a report is one of rotations about the beam, whose error is a locked frame rather than leakage."""
    return report.meta["group"] == "SO2" and report.meta.get("axis") in BEAM


def leakage(case: Case) -> list[Finding]:
    """An output lies in part in irreps that it should not have, besides mirror images that are told apart."""
    found = []
    for name, item in _outputs(case).items():
        mirrored, mirrored_stderr = (
            item.error_spectrum.get(MIRRORED, 0.0),
            _zero(item.error_spectrum_stderr.get(MIRRORED, 0.0)),
        )
        part = item.leakage - mirrored
        stderr = item.leakage_stderr + mirrored_stderr  # whatever their correlation, no more than that
        if about_the_beam(case.report) and item.kind in INVARIANT:
            continue
        if not _counts(case, part, stderr, item):
            continue
        other = case.error(name, "", "leakage")
        evidence = [
            Evidence(
                f"wrong irreps in {name}, of its power",
                part,
                stderr,
                case.bounds.deviation**2,
                item.noise_floor**2,
                other.untrained,
                other.untrained_stderr,
            ),
            *_about(case, name, item),
        ]
        text = f"{percent(part, stderr)} % of the power of {name} lies in irreps other than those of {item.kind}"
        found.append(_output_finding(case, "leakage", name, part, text, evidence, without=(MIRRORED,)))
    return found


def misalignment(case: Case) -> list[Finding]:
    """An output lies in its irrep and turns otherwise than it should."""
    found = []
    for name, item in _outputs(case).items():
        part, stderr = item.misalignment, item.misalignment_stderr
        if item.kind in (*INVARIANT, "pseudoscalar") or not _counts(case, part, stderr, item):
            continue
        bound = case.bounds.deviation**2
        evidence = [
            case.error(name, f"misaligned in {name}, of its power", "misalignment", bound),
            *_about(case, name, item),
        ]
        text = f"{percent(part, stderr)} % of the power of {name} is {item.kind}, but turned the wrong way"
        found.append(_output_finding(case, "misalignment", name, part, text, evidence, without=(MIRRORED,)))
    return found


def parity_contamination(case: Case) -> list[Finding]:
    """A part of an output turns rightly and changes sign wrongly under the inversion: B_(0,−)[z]."""
    if case.report.irreps[0].sigma != 1:
        raise NotJudged(f"{case.report.meta['group']} has no inversion; probe under O3")
    found = []
    for name, item in _outputs(case).items():
        if MIRRORED not in item.error_spectrum:
            continue
        part, stderr = item.error_spectrum[MIRRORED], item.error_spectrum_stderr[MIRRORED]
        if not _counts(case, part, stderr, item):
            continue
        evidence = [
            case.error(name, f"{MIRRORED} in the error spectrum of {name}", MIRRORED, case.bounds.deviation**2),
            *_about(case, name, item)[:1],
        ]
        text = f"{percent(part, stderr)} % of the power of {name} changes sign in a mirror, as {item.kind} does not"
        if item.kind not in INVARIANT:
            text = (
                f"{percent(part, stderr)} % of the power of {name} turns as {item.kind} does and mirrors the other way"
            )
        severity = _severity(case.bounds, part)
        found.append(Finding("parity-contamination", severity, name, (MIRRORED,), f"{text}.", tuple(evidence)))
    return found


def _outputs(case: Case) -> dict[str, Equivariance]:
    if not case.report.equivariance:
        raise NotJudged("no outputs were measured")
    return dict(case.report.equivariance)


def _counts(case: Case, part: float, stderr: float, item: Equivariance) -> bool:
    """Whether a part of relative A² is surely more than is tolerated, and than rounding makes."""
    least = max(np.sqrt(max(part, 0.0)) - item.noise_floor, 0.0) ** 2 - case.bounds.sigma * stderr
    return bool(least > case.bounds.deviation**2)


def _severity(bounds: Thresholds, part: float) -> str:
    return "problem" if part > bounds.severe**2 else "warning"


def _about(case: Case, name: str, item: Equivariance) -> list[Evidence]:
    """Relative A, and where in the error spectrum most of it lies."""
    largest = sorted(item.error_spectrum, key=lambda irrep: -item.error_spectrum[irrep])[:2]
    spread = Evidence(f"A of {name} over its spread across inputs", item.over_spread, item.over_spread_stderr)
    return [
        case.error(name, f"relative A of {name}", "relative", case.bounds.deviation),
        *([spread] if np.isfinite(item.over_spread) else []),
        *(
            case.error(name, f"{irrep} in the error spectrum", irrep)
            for irrep in largest
            if item.error_spectrum[irrep] > 0
        ),
    ]


def _output_finding(
    case: Case, mode: str, name: str, part: float, text: str, evidence: list[Evidence], *, without: tuple[str, ...]
) -> Finding:
    """A finding about an output's error, with what training did to it and the irreps of the error."""
    relative = case.error(name, "", "relative")
    if np.isfinite(relative.untrained):
        gap = relative.untrained - relative.value
        error = case.bounds.sigma * float(np.hypot(relative.stderr, relative.untrained_stderr))
        verb = "lowered" if gap > error else "raised" if gap < -error else "not changed"
        before = concise(relative.untrained, relative.untrained_stderr)
        text += f"; training has {verb} relative A, from {before} to {concise(relative.value, relative.stderr)}"
    spectrum = case.report.equivariance[name].error_spectrum
    irreps = tuple(
        irrep for irrep, power in spectrum.items() if irrep not in without and power > 0.1 * max(spectrum.values())
    )
    return Finding(mode, _severity(case.bounds, part), name, irreps, f"{text}.", tuple(evidence))


def locked_to_azimuth(report: SymmetryReport, bounds: Thresholds, baseline: SymmetryReport | None) -> list[Finding]:
    """Invariant outputs that change when everything is turned about the beam."""
    found = []
    for name, item in report.equivariance.items():
        certain = abs(item.relative) - bounds.sigma * item.relative_stderr > max(bounds.azimuth, item.noise_floor)
        if item.kind not in INVARIANT or not certain:
            continue
        other = baseline.equivariance.get(name) if baseline is not None else None
        untrained = (NAN, NAN) if other is None else (other.relative, other.relative_stderr)
        what = f"relative A of {name} under rotations about the beam"
        evidence = Evidence(what, item.relative, item.relative_stderr, bounds.azimuth, item.noise_floor, *untrained)
        modes = sorted(item.error_spectrum, key=lambda mode: -item.error_spectrum[mode])[:2]
        text = f"{name} changes by {concise(item.relative, item.relative_stderr)} of its size with the azimuth."
        severity = "problem" if item.relative > bounds.severe else "warning"
        found.append(Finding("frame-locking", severity, name, tuple(modes), text, (evidence,)))
    return found


def locked_to_rapidity(report: BoostReport, bounds: Thresholds, baseline: BoostReport | None) -> list[Finding]:
    """Invariant outputs that change under boosts along the beam by more than a detector justifies."""
    if report.meta["axis"] not in BEAM:
        raise NotJudged(
            f"boosts along {report.meta['axis']} change what a detector measures; probe those along the beam"
        )
    widths = [place for place, width in enumerate(report.widths) if width <= bounds.boost_width * (1 + 1e-9)]
    if not widths:
        raise NotJudged(f"no window is as narrow as {bounds.boost_width:g}")
    place = widths[-1]
    found = []
    for name, item in report.equivariance.items():
        if item.kind not in INVARIANT or name not in report.layers:
            continue
        evidence = _window(report, place, name, bounds.boost, baseline)
        if evidence.value - bounds.sigma * evidence.stderr - evidence.noise_floor <= bounds.boost:
            continue
        text = (
            f"{name} changes by {concise(evidence.value, evidence.stderr)} of its size under boosts along the beam of "
            f"width {report.widths[place]:g}, where {bounds.boost:g} may be the detector's."
        )
        severity = "problem" if evidence.value > 3 * bounds.boost else "warning"
        found.append(Finding("frame-locking", severity, name, (), text, (evidence,)))
    return found


def _window(report: BoostReport, place: int, name: str, bound: float, baseline: BoostReport | None) -> Evidence:
    """Relative A of an output in one window, with that of the untrained copy."""

    def relative(of: BoostReport) -> tuple[float, float]:
        row = of.layers.index(name)
        root = float(of.relative[place, row])
        return root, float(of.squared_stderr[place, row]) / (2 * root) if root else NAN

    row = report.layers.index(name)
    untrained = relative(baseline) if baseline is not None and name in baseline.layers else (NAN, NAN)
    what = f"relative A of {name} under boosts along the beam, width {report.widths[place]:g}"
    return Evidence(what, *relative(report), bound, float(np.sqrt(report.noise_floor[row])), *untrained)


def drift(case: Case) -> list[Finding]:
    """Relative A of an output has risen from its lowest value in training."""
    if not case.history:
        raise NotJudged("it takes reports of earlier steps of the training (history=…)")
    found = []
    for name, item in _outputs(case).items():
        if not all(name in past.equivariance for past in case.history):
            continue
        earlier = [past.equivariance[name] for past in case.history]
        step = min(range(len(earlier)), key=lambda place: earlier[place].relative)
        best = earlier[step]
        rise = item.relative - best.relative
        error = case.bounds.sigma * float(np.hypot(item.relative_stderr, best.relative_stderr))
        allowed = case.bounds.drift * max(best.relative, case.bounds.deviation)
        if not rise - error > allowed + item.noise_floor:
            continue
        bound = best.relative + allowed
        passed = case.history[step].meta.get("step")
        when = f"report {step + 1} of the training" if passed is None else f"step {passed}"
        evidence = (
            case.error(name, f"relative A of {name} now", "relative", bound),
            Evidence(
                f"at its lowest, {when}",
                best.relative,
                best.relative_stderr,
                NAN,
                best.noise_floor,
            ),
        )
        text = (
            f"relative A of {name} has risen from {concise(best.relative, best.relative_stderr)} to "
            f"{concise(item.relative, item.relative_stderr)} since {when}."
        )
        severity = "problem" if item.relative > case.bounds.severe else "warning"
        found.append(Finding("drift", severity, name, (), text, evidence))
    return found


def _zero(value: Any) -> float:
    return float(np.nan_to_num(value))
