"""Findings: what a diagnosis says, with its evidence, why it matters, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any, ClassVar

from markupsafe import Markup
from rich.text import Text

from jetsym.pages import render
from jetsym.probing.reports.significance import FEWEST_INPUTS
from jetsym.results import Result
from jetsym.text import as_text, at_most, concise, table_of

__all__ = ["SEVERITIES", "Diagnosis", "Evidence", "Finding"]

#: From harmless to grave.
SEVERITIES = ("note", "warning", "problem")

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
        """Write what it was, its value, the bound, the untrained copy and the noise floor."""
        floor = self.noise_floor if self.noise_floor > 0 else 0.0
        return [
            self.what,
            concise(self.value, self.stderr, floor=floor),
            concise(self.bound),
            concise(self.untrained, self.untrained_stderr, floor=floor),
            "—" if isnan(self.noise_floor) else at_most(self.noise_floor),
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
class Diagnosis(Result):
    """The findings of :func:`jetsym.diagnose`: iterate over it, ask for a mode with ``in``, print it, save it.

    Parameters
    ----------
    findings
        The gravest first.
    modes
        Names of all modes that were looked for.
    not_judged
        Mode -> why it could not be judged from this report.
    meta
        Of the report, the thresholds, the readout.
    """

    findings: tuple[Finding, ...]
    modes: tuple[str, ...]
    not_judged: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = "diagnosis"
    FORMAT: ClassVar[int] = 2

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
        """Say every finding in one sentence, or that there is none."""
        if not self.findings:
            return [f"Nothing was found; {self._looked_for()}"]
        said = [f"{finding.name} ({finding.severity}): {finding.text}" for finding in self.findings]
        return [*said, *self._few()]

    def _few(self) -> list[str]:
        """Say that few inputs keep findings from being called grave."""
        n = self.meta.get("report", {}).get("n_inputs")
        if not self.findings or not isinstance(n, int) or n >= FEWEST_INPUTS:
            return []
        return [
            f"Of {n} input{'s' * (n != 1)}, fewer than {FEWEST_INPUTS}, no finding is called more than a note, or a "
            "warning where it is about the measurement: probe more of them to learn how grave it is."
        ]

    def _looked_for(self) -> str:
        judged = [name for name in self.modes if name not in self.not_judged]
        return f"looked for: {', '.join(judged)}."

    def section(self, *, explained: bool = True) -> Markup:
        """Return the findings with their evidence, why they matter and what to try; and what could not be judged.

        For a notebook's cell or a page, with or without a word on when a number counts.
        """
        return render(
            "diagnosis.html",
            sentences=self.sentences(),
            header=EVIDENCE_COLUMNS,
            findings=[(finding, [item.cells() for item in finding.evidence]) for finding in self.findings],
            not_judged=[*self._few(), *self._unknown()],
            explained=explained,
        )

    def _unknown(self) -> list[str]:
        return [f"Not judged, {name}: {reason}." for name, reason in self.not_judged.items()]

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per finding and number behind it, the one that decided first."""
        for finding in self.findings:
            said = {name: getattr(finding, name) for name in ("name", "severity", "subject")}
            yield from (
                said | {"evidence" if key == "what" else key: v for key, v in asdict(item).items()}
                for item in finding.evidence
            )

    def _heading(self) -> str:
        model = self.meta.get("report", {}).get("model")
        return f"Diagnosis of {model}" if isinstance(model, str) else "Diagnosis"

    def _check(self) -> None:
        unknown = sorted({finding.name for finding in self} - {*self.modes})
        if unknown:
            raise ValueError(f"unknown findings {', '.join(unknown)}")

    def __str__(self) -> str:
        parts: list[Any] = []
        for finding in self.findings:
            title = f"{finding.name} ({finding.severity}), {finding.subject}"
            table = table_of(title, EVIDENCE_COLUMNS, [item.cells() for item in finding.evidence])
            parts += [table, Text(finding.text), Text(f"Why: {finding.why}"), Text(f"Try: {finding.remedy}"), ""]
        parts.append(Text(self._looked_for().capitalize() if self.findings else self.sentences()[0]))
        parts += map(Text, [*self._few(), *self._unknown()])
        return as_text(*parts, width=120)

    def __repr__(self) -> str:
        return f"Diagnosis({', '.join(finding.name for finding in self.findings) or 'nothing found'})"
