"""``jetsym.diagnose``: from a report to what is wrong, and what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jetsym.arguments import anything, checked
from jetsym.errors import ProbeError
from jetsym.probing.diagnosis.case import Case, NotJudged, case_of
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, MODES, Mode
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.reports.diagnosis import SEVERITIES, Diagnosis, Finding
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.significance import FEWEST_INPUTS
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["diagnose"]


@checked(ProbeError, report=anything)
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
        Name of the layer whose features the outputs are read from; by default those that each depends on by itself,
        as the report says, or in reports that do not the last one before the outputs.
    needs
        Output name -> irreps that it needs, such as [(2, 1)] or ["(2,+)"]; by default those of its kind, where
        rank2 stands for a symmetric tensor.
    thresholds
        Bounds other than those of :class:`~jetsym.probing.diagnosis.thresholds.Thresholds`.

    Returns
    -------
    Diagnosis
        The findings, the gravest first, and which modes could not be judged and why. Of fewer than eight inputs what
        is found in the model is no more than a note.

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
    >>> report = jetsym.probe(Net(), points, outputs={"force": "vector"}, layers=["*"], l_max=2, progress=False)
    >>> [finding.name for finding in diagnose(report)]
    ['starvation', 'leakage']
    """
    bounds = thresholds or Thresholds()
    case = case_of(report, baseline=baseline, history=history, readout=readout, needs=needs, bounds=bounds)
    found: list[Finding] = []
    not_judged: dict[str, str] = {}
    for name, mode in MODES.items():
        try:
            found.extend(_cautious(finding, mode, case) for finding in mode.findings(case))
        except NotJudged as reason:
            not_judged[name] = str(reason)
    found.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    meta = {"report": dict(report.meta), "readout": _readout(case), "thresholds": vars(bounds)}
    return Diagnosis(tuple(found), tuple(MODES), not_judged, meta)


def _cautious(finding: Finding, mode: Mode, case: Case) -> Finding:
    """Return a finding as grave as few inputs allow: of a model a note, of the measurement itself a warning."""
    if int(case.source.meta["n_inputs"]) >= FEWEST_INPUTS:
        return finding
    most = "warning" if MEASURE_AGAIN in mode.remedies else "note"
    return replace(finding, severity=min(finding.severity, most, key=SEVERITIES.index))


def _readout(case: Case) -> str | None:
    """Return the names of the layers that the outputs are read from; None where there are none."""
    found: list[str] = []
    for name in case.compact.outputs if case.compact is not None else ():
        try:
            found += [case.report.layers[row] for row in case.readout_of(name)]
        except NotJudged:
            continue
    return ", ".join(dict.fromkeys(found)) or None
