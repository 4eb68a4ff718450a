"""Findings: what a diagnosis says, with its evidence, why it matters, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, ClassVar, Self

from rich.table import Table
from rich.text import Text

from jetsym.probing.reports.html import paragraphs, table_element
from jetsym.storage import Stored
from jetsym.text import as_text, concise

__all__ = ["SEVERITIES", "Diagnosis", "Evidence", "Finding", "diagnosis_fragment"]

#: From harmless to grave.
SEVERITIES = ("note", "warning", "problem")

#: The modes that every diagnosis looked for before it said which.
FIRST_MODES = (
    *("starvation", "bottleneck", "saturation", "leakage", "misalignment", "parity-contamination"),
    *("parity-blindness", "frame-locking", "late-collapse", "drift", "under-resolved"),
)

NAN = float("nan")


@dataclass(frozen=True)
class Evidence:
    """A measured number behind a finding.

    Parameters
    ----------
    what
        What was measured.
    value, stderr
        The number and its jackknife standard error (for sums of fractions an upper bound of it).
    bound
        What it was compared with; NaN where the number only tells more.
    noise_floor
        What rounding alone can make of it.
    untrained, untrained_stderr
        The same in the untrained copy; NaN where there is none.
    """

    what: str
    value: float
    stderr: float
    bound: float = NAN
    noise_floor: float = NAN
    untrained: float = NAN
    untrained_stderr: float = NAN

    def cells(self) -> list[str]:
        """Return what was measured, its value, the bound, the untrained copy and the noise floor, as text."""
        floor = self.noise_floor if self.noise_floor > 0 else 0.0
        return [
            self.what,
            concise(self.value, self.stderr, floor=floor),
            _or_dash(self.bound, f"{self.bound:.3g}"),
            _or_dash(self.untrained, concise(self.untrained, self.untrained_stderr, floor=floor)),
            _or_dash(self.noise_floor, f"{self.noise_floor:.0e}"),
        ]


#: Heads of the columns of :meth:`Evidence.cells`.
EVIDENCE_COLUMNS = ("evidence", "value", "bound", "untrained", "noise floor")


@dataclass(frozen=True)
class Finding:
    """One failure.

    Parameters
    ----------
    severity
        "note", "warning" or "problem".
    subject
        The layer or output it was found in.
    text
        What was found, in one sentence.
    evidence
        The numbers behind it; the first decided.
    irreps
        The irreps concerned, as the report names them.
    options
        Those of :func:`jetsym.probe` to measure again with, where that is what it takes.
    name
        Of the failure mode.
    why
        Why it matters.
    remedy
        The remedy to try, with the options of a measurement that this one asks for.
    """

    severity: str
    subject: str
    text: str
    evidence: Sequence[Evidence]
    irreps: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True, eq=False)
class Diagnosis(Stored):
    """What :func:`jetsym.diagnose` found: iterate over it, ask for a mode with ``in``, print it, save it.

    Parameters
    ----------
    findings
        The gravest first.
    not_judged
        Mode -> why it could not be judged from this report. All other modes were looked for.
    meta
        Of the report, the thresholds, the readout.
    modes
        Names of all modes that were looked for, judged or not.
    """

    findings: tuple[Finding, ...]
    not_judged: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    modes: tuple[str, ...] = FIRST_MODES

    KIND: ClassVar[str] = "diagnosis"
    FORMAT: ClassVar[int] = 1

    @property
    def names(self) -> frozenset[str]:
        """The modes that were found."""
        return frozenset(finding.name for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def sentences(self) -> list[str]:
        """Every finding in one sentence, or that there is none."""
        if not self.findings:
            return [f"Nothing was found; {self._looked_for()}"]
        return [f"{finding.name} ({finding.severity}): {finding.text}" for finding in self.findings]

    def _looked_for(self) -> str:
        judged = [name for name in self.modes if name not in self.not_judged]
        return f"looked for: {', '.join(judged)}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "findings": [asdict(finding) for finding in self],
            "modes": list(self.modes),
            "not_judged": dict(self.not_judged),
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        findings = tuple(
            Finding(
                **{key: item[key] for key in ("name", "severity", "subject", "text", "why", "remedy")},
                irreps=tuple(item["irreps"]),
                evidence=tuple(Evidence(**evidence) for evidence in item["evidence"]),
                options=dict(item.get("options", {})),
            )
            for item in data["findings"]
        )
        modes = tuple(data.get("modes", FIRST_MODES))  # which the first versions did not write
        unknown = sorted({finding.name for finding in findings} - set(modes))
        if unknown:
            raise ValueError(f"unknown findings {', '.join(unknown)}")
        return cls(findings, dict(data["not_judged"]), dict(data["meta"]), modes)

    def __str__(self) -> str:
        parts: list[Any] = []
        for finding in self.findings:
            table = Table(title=f"{finding.name} ({finding.severity}), {finding.subject}", title_justify="left")
            for column in EVIDENCE_COLUMNS:
                table.add_column(column, justify="left" if column == "evidence" else "right")
            for item in finding.evidence:
                table.add_row(*item.cells())
            parts += [table, Text(finding.text), Text(f"Why: {finding.why}"), Text(f"Try: {finding.remedy}"), ""]
        parts.append(Text(self._looked_for().capitalize() if self.findings else self.sentences()[0]))
        parts += [Text(f"Not judged, {name}: {reason}.") for name, reason in self.not_judged.items()]
        return as_text(*parts, width=120)

    def __repr__(self) -> str:
        return f"Diagnosis({', '.join(finding.name for finding in self.findings) or 'nothing found'})"

    def _repr_html_(self) -> str:

        return diagnosis_fragment(self)


def _or_dash(value: float, text: str) -> str:
    return "—" if value != value else text


READING_FINDINGS = (
    "A number counts as a failure only where it is beyond its bound by three standard errors (in brackets, for the "
    "last digits) and by what rounding can do. For sums of shares the error is an upper bound."
)


def diagnosis_fragment(found: Diagnosis, *, explained: bool = True) -> str:
    """Return findings as HTML, with their evidence, why they matter and what to try; and what could not be judged.

    With or without a word on when a number counts.
    """
    parts = []
    for finding in found:
        parts += [
            f"<h3>{escape(finding.name)}: {escape(finding.subject)} ({escape(finding.severity)})</h3>",
            paragraphs([finding.text]),
            table_element(EVIDENCE_COLUMNS, [item.cells() for item in finding.evidence]),
            f"<p><b>Why it matters.</b> {escape(finding.why)}</p>",
            f"<p><b>What to try.</b> {escape(finding.remedy)}</p>",
        ]
    if not found.findings:
        parts.append(paragraphs(found.sentences()))
    unknown = [f"Not judged, {name}: {reason}." for name, reason in found.not_judged.items()]
    return "\n".join([*parts, paragraphs([READING_FINDINGS] * explained + unknown, note=True)])
