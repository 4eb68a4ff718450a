"""``jetsym.diagnose``: from a report to what is wrong, and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jetsym.errors import ProbeError
from jetsym.probing.diagnosis import rules_layers, rules_outputs, rules_resolution
from jetsym.probing.diagnosis.case import Case, NotJudged, case_of
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import MODES, SEVERITIES, Diagnosis, Finding
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["diagnose"]

Rule = Callable[[Case], list[Finding]]

#: Mode -> the rule that looks for it in a report under a compact group; frame locking has rules of its own.
RULES: dict[str, Rule] = {
    "starvation": rules_layers.starvation,
    "bottleneck": rules_layers.bottleneck,
    "saturation": rules_layers.saturation,
    "leakage": rules_outputs.leakage,
    "misalignment": rules_outputs.misalignment,
    "parity-contamination": rules_outputs.parity_contamination,
    "parity-blindness": rules_layers.parity_blindness,
    "late-collapse": rules_layers.late_collapse,
    "drift": rules_outputs.drift,
    "under-resolved": rules_resolution.under_resolved,
}
LOCKING = "frame-locking"
#: The part of a Lorentz report that turns jets about the beam.
ABOUT_THE_BEAM, ALONG_THE_BEAM = "SO2 beam", "beam"


def diagnose(
    report: Report,
    *,
    baseline: Report | None = None,
    history: Sequence[SymmetryReport] = (),
    readout: str | None = None,
    needs: Mapping[str, Sequence[Any]] | None = None,
    thresholds: Thresholds | None = None,
) -> Diagnosis:
    """Look for every known way in which a network fails its symmetry.

    Parameters
    ----------
    report
        What :func:`jetsym.probe` found. From a Lorentz report all modes are judged under its first compact group,
        O(3) in the rest frame, and frame locking under rotations about the beam and boosts along it.
    baseline
        The same measurement of an untrained copy, to show beside every number; ``report.baseline`` by default.
    history
        Reports of earlier steps of the training, in their order and measured like this one, for drift: of a run with
        --monitor_every, ``History.load(run).reports[:-1]`` beside the last.
    readout
        Name of the layer whose features the outputs are read from; the last one before the outputs by default.
    needs
        Output name -> irreps that it needs, such as [(2, 1)] or ["(2,+)"]; by default those of its kind, where
        rank2 stands for a symmetric tensor.
    thresholds
        Bounds other than those of :class:`~jetsym.probing.diagnosis.thresholds.Thresholds`.

    Returns
    -------
    Diagnosis
        The findings, the gravest first, and which modes could not be judged and why.

    Raises
    ------
    ProbeError
        Reports that do not belong together, or a layer, output or irrep that is none.

    Examples
    --------
    A readout that sees distances alone cannot give a vector:

    >>> import numpy as np, torch, jetsym
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.distance = torch.nn.Identity()
    ...     def forward(self, x):
    ...         return self.distance((x**2).sum(-1, keepdim=True)) * torch.ones(3)
    >>> points = np.random.default_rng(0).normal(size=(8, 3))
    >>> report = jetsym.probe(Net(), points, outputs={"force": "vector"}, l_max=2, progress=False)
    >>> [finding.name for finding in diagnose(report)]
    ['starvation', 'leakage']
    """
    bounds = thresholds or Thresholds()
    if baseline is not None and type(baseline) is not type(report):
        raise ProbeError(
            f"the baseline is a {type(baseline).__name__}; expected a {type(report).__name__}, measured like the report"
        )
    whole = report.baseline if baseline is None else baseline
    compact, other = _compact(report), _compact(whole)
    found, not_judged = _locking(report, whole, bounds)
    if compact is None:
        not_judged |= dict.fromkeys(RULES, "boosts have no irreps; probe under a compact group")
    else:
        options: dict[str, Any] = {"history": history, "readout": readout, "needs": needs, "bounds": bounds}
        case = case_of(compact, baseline=other, **options)
        for mode, rule in RULES.items():
            try:
                found += rule(case)
            except NotJudged as reason:
                not_judged[mode] = str(reason)
    meta = {
        "report": dict(report.meta),
        "readout": None if compact is None or case.readout is None else compact.layers[case.readout],
        "thresholds": asdict(bounds),
    }
    order = list(MODES)
    found.sort(key=lambda finding: (-SEVERITIES.index(finding.severity), order.index(finding.name)))
    return Diagnosis(tuple(found), {name: not_judged[name] for name in MODES if name in not_judged}, meta)


def _compact(report: Report | None) -> SymmetryReport | None:
    """The report under a compact group that all modes but frame locking are judged from."""
    if isinstance(report, LorentzReport):
        return next(iter(report.compact.values()))
    return report if isinstance(report, SymmetryReport) else None


def _locking(report: Report, baseline: Report | None, bounds: Thresholds) -> tuple[list[Finding], dict[str, str]]:
    """Frame locking, from whatever parts of a report tell of the beam."""
    found: list[Finding] = []
    try:
        if isinstance(report, LorentzReport):
            turned, pushed = report.compact.get(ABOUT_THE_BEAM), report.windows.get(ALONG_THE_BEAM)
            others = baseline if isinstance(baseline, LorentzReport) else None
            if turned is not None:
                untrained = others.compact.get(ABOUT_THE_BEAM) if others else None
                found += rules_outputs.locked_to_azimuth(turned, bounds, untrained)
            if pushed is not None:
                calm = others.windows.get(ALONG_THE_BEAM) if others else None
                found += rules_outputs.locked_to_rapidity(pushed, bounds, calm)
        elif isinstance(report, BoostReport):
            still = baseline if isinstance(baseline, BoostReport) else None
            found += rules_outputs.locked_to_rapidity(report, bounds, still)
        elif rules_outputs.about_the_beam(report):
            same = baseline if isinstance(baseline, SymmetryReport) else None
            found += rules_outputs.locked_to_azimuth(report, bounds, same)
        else:
            raise NotJudged("probe under 'lorentz', 'boost' or 'SO2' about the beam")
    except NotJudged as reason:
        return found, {LOCKING: str(reason)}
    return found, {}
