"""Findings: what a diagnosis says, with its evidence, why it matters, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any, ClassVar, NamedTuple, Self

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from jetsym.probing.reports.html import render
from jetsym.storage import Stored
from jetsym.text import as_text, concise

__all__ = ["MODES", "SEVERITIES", "Diagnosis", "Evidence", "Finding", "Mode"]

#: From harmless to grave.
SEVERITIES = ("note", "warning", "problem")

NAN = float("nan")


class Mode(NamedTuple):
    """One way in which a network fails its symmetry: why that matters, and the remedy to try."""

    why: str
    remedy: str


#: Every failure mode that is looked for, by name.
MODES = {
    "starvation": Mode(
        "A readout can only use what its features hold: an irrep that the target has and the features lack must come "
        "from amplified residues, which are noisy and break under rotation.",
        "Give the features that irrep: spherical harmonics or tensors of it at the embedding, or for the output a "
        "TensorBasisHead, which multiplies learned scalars with tensors that turn as they should.",
    ),
    "bottleneck": Mode(
        "An embedding that is linear in the vectors holds no content at λ ≥ 2; every quadrupole has to be made by "
        "products in later layers, which costs depth and training.",
        "Add spherical harmonics up to the λ that is needed to what the embedding sees, or pairwise invariants where "
        "the target is one.",
    ),
    "saturation": Mode(
        "What lies beyond l_max is not in the spectrum, and with a quadrature rule part of it strays into the irreps "
        "that are; averages over a rule of that degree leave as much.",
        "Probe with a larger l_max, l_max='auto' or method='random'. If power still piles up, the layer reacts to "
        "small turns with jumps: smoother non-linearities, fewer nearest-neighbour choices, or augmentation.",
    ),
    "leakage": Mode(
        "The output holds irreps that its target cannot have: it depends on how the input happens to be turned, and "
        "this part is pure error, ⟨RMSE²⟩ = RMSE²[f̄] + A².",
        "Augment with this group in this frame, or penalise A in training; at inference average over the group "
        "(degree from the error spectrum) or bring inputs into a frame of their own first.",
    ),
    "misalignment": Mode(
        "The output lies in the right irrep and still turns differently from its input: its size or direction depends "
        "on the orientation, which a spectrum of the output alone does not show.",
        "A TensorBasisHead turns exactly as it should; augmentation, a penalty on A and averaging over the group at "
        "inference lower it as well.",
    ),
    "parity-contamination": Mode(
        "A part of the output turns rightly and changes sign wrongly under reflections: mirror images get different "
        "answers where the physics has none.",
        "Include reflections: augment with O3 instead of SO3, or average the output over the inversion, which removes "
        "this part exactly for one more evaluation.",
    ),
    "parity-blindness": Mode(
        "The target changes under reflections as a pseudotensor, and no layer holds any: what the layers see, such as "
        "distances and angles, is the same for mirror images, so that the best answer is zero.",
        "Let in a quantity that knows left from right: a triple product of vectors, a signed dihedral, or a "
        "TensorBasisHead with σ = −1.",
    ),
    "frame-locking": Mode(
        "The output depends on the azimuth or the rapidity at which a jet was found beyond what the detector explains: "
        "it will differ between regions of the detector and between experiments.",
        "Take absolute φ, η, px and py out of the features in favour of differences to the jet, augment with rotations "
        "about the beam and boosts along it, or canonicalise to the jet's own frame.",
    ),
    "late-collapse": Mode(
        "The layers carry the orientation along and the last step alone removes it: the symmetry rests on one layer, "
        "and features taken from earlier ones (fine-tuning, uncertainties) do not have it.",
        "Offer invariants early (pairwise products or distances at the embedding), or penalise the part of earlier "
        "features that is not invariant.",
    ),
    "drift": Mode(
        "Training first lowered and then raised the symmetry error: the loss goes on falling on inputs as they come, "
        "at the price of those that are turned.",
        "Stop at or go back to the step with the smallest A, raise the weight of augmentation or of the penalty, or "
        "lower the learning rate at the end.",
    ),
    "under-resolved": Mode(
        "The measurement cannot carry a conclusion: what looks like a failure, or like none, may be its own error.",
        "Measure again with more inputs, more rotations, a larger l_max or in float64, as the evidence says.",
    ),
}


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
            "—" if isnan(self.noise_floor) else f"{self.noise_floor:.0e}",
        ]


#: Heads of the columns of :meth:`Evidence.cells`.
EVIDENCE_COLUMNS = ("evidence", "value", "bound", "untrained", "noise floor")


@dataclass(frozen=True)
class Finding:
    """One failure.

    Parameters
    ----------
    name
        A key of :data:`MODES`.
    severity
        "note", "warning" or "problem".
    subject
        The layer or output it was found in.
    irreps
        The irreps concerned, as the report names them.
    text
        What was found, in one sentence.
    evidence
        The numbers behind it; the first decided.
    options
        Those of :func:`jetsym.probe` to measure again with, where that is what it takes.
    """

    name: str
    severity: str
    subject: str
    irreps: tuple[str, ...]
    text: str
    evidence: tuple[Evidence, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """Why it matters."""
        return MODES[self.name].why

    @property
    def remedy(self) -> str:
        """The remedy to try, with the options of a measurement that this one asks for."""
        options = " ".join(f"--{name} {value}" for name, value in self.options.items())
        return MODES[self.name].remedy + (f" By these numbers: {options}." if options else "")


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
    """

    findings: tuple[Finding, ...]
    not_judged: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

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
        """Say every finding in one sentence, or that there is none."""
        if not self.findings:
            return [f"Nothing was found; {self._looked_for()}"]
        return [f"{finding.name} ({finding.severity}): {finding.text}" for finding in self.findings]

    def _looked_for(self) -> str:
        judged = [name for name in MODES if name not in self.not_judged]
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
            not_judged=self._unknown(),
            explained=explained,
        )

    def _unknown(self) -> list[str]:
        return [f"Not judged, {name}: {reason}." for name, reason in self.not_judged.items()]

    def _content(self) -> dict[str, Any]:
        return {
            "findings": [{**asdict(finding), "why": finding.why, "remedy": finding.remedy} for finding in self],
            "not_judged": dict(self.not_judged),
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        findings = tuple(
            Finding(
                **{key: item[key] for key in ("name", "severity", "subject", "text")},
                irreps=tuple(item["irreps"]),
                evidence=tuple(Evidence(**evidence) for evidence in item["evidence"]),
                options=dict(item.get("options", {})),
            )
            for item in data["findings"]
        )
        unknown = sorted({finding.name for finding in findings} - set(MODES))
        if unknown:
            raise ValueError(f"unknown findings {', '.join(unknown)}")
        return cls(findings, dict(data["not_judged"]), dict(data["meta"]))

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
        parts += map(Text, self._unknown())
        return as_text(*parts, width=120)

    def __repr__(self) -> str:
        return f"Diagnosis({', '.join(finding.name for finding in self.findings) or 'nothing found'})"

    def _repr_html_(self) -> str:
        return str(self.section())
