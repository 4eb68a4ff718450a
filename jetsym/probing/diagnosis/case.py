"""What the rules of a diagnosis look at: a report with its baseline, its readout, and what its outputs need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jetsym.errors import ProbeError, closest
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.reports.derived import Share, share_of
from jetsym.probing.reports.diagnosis import NAN, Evidence
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum import Irrep
from jetsym.spectrum.representations import NAMED

__all__ = ["INVARIANT", "Case", "NotJudged", "needed", "parse_irrep"]

#: Kinds of outputs that should not change at all.
INVARIANT = ("logits", "scalar")
#: Rank 2 tensors of physics (stress, polarizability) are symmetric: they need no antisymmetric part.
SYMMETRIC = {"rank2": (Irrep(0, 1), Irrep(2, 1))}


def parse_irrep(text: str | Sequence[int]) -> Irrep:
    """An irrep of O(3) from its name, "(1,+)" or "(1,-)", or a pair (λ, σ).

    Examples
    --------
    >>> parse_irrep("(2,−)"), parse_irrep([1, 1])
    (Irrep(lam=2, sigma=-1), Irrep(lam=1, sigma=1))
    """
    try:
        if not isinstance(text, str):
            lam, sigma = text
            return Irrep(int(lam), {1: 1, -1: -1}[int(sigma)])
        lam_text, sign = text.strip("() ").split(",")
        return Irrep(int(lam_text), {"+": 1, "-": -1, "−": -1}[sign.strip()])
    except (ValueError, KeyError, TypeError):
        raise ProbeError(f"{text!r} is no irrep of O(3); expected (λ, σ) with σ = ±1, or a name like '(1,+)'") from None


def needed(kind: str, report: SymmetryReport, needs: Sequence[Irrep] | None = None) -> tuple[Irrep, ...]:
    """The irreps that features must hold for an output of this kind, as the group of the report names them.

    Under SO(3) an irrep (λ, σ) is λ, under SO(2) its largest mode stands for it.
    """
    blocks = needs or SYMMETRIC.get(kind) or (NAMED[kind][1] if kind in NAMED else (parse_irrep(kind),))
    sigma = report.irreps[0].sigma
    return tuple(dict.fromkeys(Irrep(block.lam, block.sigma if sigma == 1 else sigma) for block in blocks))


@dataclass(frozen=True, eq=False)
class Case:
    """A report and what is needed to judge it."""

    report: SymmetryReport
    baseline: SymmetryReport | None
    history: tuple[SymmetryReport, ...]
    readout: int | None
    needs: Mapping[str, tuple[Irrep, ...]]
    bounds: Thresholds

    @property
    def hidden(self) -> list[int]:
        """Rows of the layers that are no outputs."""
        return [row for row, layer in enumerate(self.report.layers) if layer not in self.report.equivariance]

    def layer(self, row: int) -> str:
        return self.report.layers[row]

    def share(self, row: int, chosen: Any) -> Share:
        """The power of a layer in chosen irreps."""
        return share_of(self.report, row, chosen)

    def above(self, share: Share, bound: float) -> bool:
        return share.surely_above(bound, self.bounds.sigma)

    def below(self, share: Share, bound: float) -> bool:
        return share.surely_below(bound, self.bounds.sigma)

    def evidence(self, what: str, row: int, chosen: Any, bound: float = NAN) -> Evidence:
        """The power of a layer in chosen irreps, with that of the untrained copy."""
        share, layer = self.share(row, chosen), self.layer(row)
        untrained = (NAN, NAN)
        if self.baseline is not None and layer in self.baseline.layers:
            untrained = share_of(self.baseline, self.baseline.layers.index(layer), chosen)[:2]
        return Evidence(what, share.value, share.stderr, bound, share.floor, *untrained)

    def error(self, name: str, what: str, part: str, bound: float = NAN) -> Evidence:
        """A part of an output's error, such as "relative" or "leakage", with that of the untrained copy."""
        item = self.report.equivariance[name]
        other = self.baseline.equivariance.get(name) if self.baseline is not None else None
        floor = item.noise_floor if part == "relative" else item.noise_floor**2
        untrained = (NAN, NAN) if other is None else _with_error(other, part)
        return Evidence(what, *_with_error(item, part), bound, floor, *untrained)


def _with_error(item: Equivariance, part: str) -> tuple[float, float]:
    """A number of an output's error and its standard error; an irrep means that of the error spectrum."""
    if not hasattr(item, part):
        return item.error_spectrum.get(part, NAN), item.error_spectrum_stderr.get(part, NAN)
    return float(getattr(item, part)), float(getattr(item, f"{part}_stderr"))


def case_of(
    report: SymmetryReport,
    *,
    baseline: SymmetryReport | None,
    history: Sequence[SymmetryReport],
    readout: str | None,
    needs: Mapping[str, Sequence[Any]] | None,
    bounds: Thresholds,
) -> Case:
    """Check and gather what a diagnosis was given."""
    for other in (*history, *([baseline] if baseline is not None else [])):
        if (other.meta["group"], other.irreps[0]) != (report.meta["group"], report.irreps[0]):
            raise ProbeError(
                f"a report under {other.meta['group']} cannot be compared with one under {report.meta['group']}; "
                "measure both under the same group"
            )
    wanted = {name: tuple(map(parse_irrep, irreps)) for name, irreps in (needs or {}).items()}
    for name in wanted:
        if name not in report.equivariance:
            raise ProbeError(f"needs names {name!r}, which is no output; {closest(name, report.equivariance)}")
    rows = [row for row, layer in enumerate(report.layers) if layer not in report.equivariance]
    if readout is not None and readout not in report.layers:
        raise ProbeError(f"readout is {readout!r}, which is no layer; {closest(readout, report.layers)}")
    place = report.layers.index(readout) if readout is not None else (rows[-1] if rows else None)
    return Case(
        report=report,
        baseline=report.baseline if baseline is None else baseline,
        history=tuple(history),
        readout=place,
        needs={name: needed(item.kind, report, wanted.get(name) or None) for name, item in report.equivariance.items()},
        bounds=bounds,
    )


class NotJudged(Exception):
    """A report does not hold what a rule needs; the message says what is missing."""
