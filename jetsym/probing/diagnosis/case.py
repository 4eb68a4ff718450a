"""The subject of a diagnosis: a report with its baseline, its readout, and what its outputs need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from jetsym.errors import ProbeError, closest
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.kinds import INVARIANT
from jetsym.probing.reports.derived import share_of
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.probing.reports.draws import least_gap
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.significance import FEWEST_INPUTS, Share, quantile
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum import Irrep
from jetsym.spectrum.representations import NAMED

__all__ = [
    "MIRRORED",
    "Case",
    "NotJudged",
    "case_of",
    "is_pseudo",
    "needed",
    "one_by_one",
    "parse_irrep",
]

#: Pseudoscalar errors of an output that turns rightly and mirrors wrongly.
MIRRORED = "(0,−)"
#: Rank 2 tensors of physics (stress, polarizability) are symmetric: they need no antisymmetric part.
SYMMETRIC = {"rank2": (Irrep(0, 1), Irrep(2, 1))}


def parse_irrep(text: str | Sequence[int]) -> Irrep:
    """Return an irrep of O(3) from its name, "(1,+)" or "(1,-)", or a pair (λ, σ).

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


def _parts(kind: str) -> tuple[Irrep, ...]:
    """Return the irreps that the name of a function's representation tells; none where it is known by modes alone."""
    return tuple(map(parse_irrep, kind.split(" ⊕ "))) if kind.startswith("(") else ()


def needed(kind: str, report: SymmetryReport, needs: Sequence[Any] | None = None) -> tuple[Irrep, ...]:
    """Return the irreps that features must hold for an output of this kind, as the group of the report names them.

    Under SO(3) an irrep (λ, σ) is λ, under SO(2) its largest mode stands for it. Of a group whose irreps have names
    alone, it is known which one is invariant, and no more.

    Raises
    ------
    ProbeError
        What ``needs`` names is no irrep.
    """
    if report.irreps[0].is_named:
        by_name = {str(irrep): irrep for irrep in report.irreps}
        for name in needs or ():
            if name not in by_name:
                raise ProbeError(f"needs names {name!r}, which is no irrep of the report; {closest(name, by_name)}")
        return tuple(by_name[name] for name in needs or ()) or report.irreps[: kind in INVARIANT]
    given = tuple(map(parse_irrep, needs or ()))
    blocks = given or SYMMETRIC.get(kind) or (NAMED[kind][1] if kind in NAMED else _parts(kind))
    sigma = report.irreps[0].sigma
    return tuple(dict.fromkeys(Irrep(block.lam, block.sigma if sigma == 1 else sigma) for block in blocks))


def is_pseudo(irrep: Irrep) -> bool:
    """Tell whether an irrep is one of pseudotensors."""
    return irrep.sigma == -1


class NotJudged(Exception):
    """A report does not hold what a rule needs; the message says what is missing."""


def one_by_one(names: Iterable[str], judge: Callable[[str], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what is found in each of some outputs; NotJudged, with all reasons, where none can be judged."""
    reasons, judged = [], False
    for name in names:
        try:
            yield from judge(name)
            judged = True
        except NotJudged as reason:
            reasons.append(str(reason))
    if reasons and not judged:
        raise NotJudged("; ".join(dict.fromkeys(reasons)))


@dataclass(frozen=True, eq=False)
class Case:
    """A report and what is needed to judge it.

    Parameters
    ----------
    source, source_baseline
        What was given, a report of any kind, and the same of an untrained copy.
    compact, baseline
        Of both, the report under a compact group that most modes are judged from; None for boosts.
    history
        Reports of earlier steps of the training.
    readout
        Name of the layer that the outputs are read from, where the caller says so.
    needs
        Output name -> irreps that it needs.
    bounds
        The thresholds.
    """

    source: Report
    source_baseline: Report | None
    compact: SymmetryReport | None
    baseline: SymmetryReport | None
    history: tuple[SymmetryReport, ...]
    readout: str | None
    needs: Mapping[str, tuple[Irrep, ...]]
    bounds: Thresholds

    @property
    def report(self) -> SymmetryReport:
        """The report under a compact group; NotJudged where there is none."""
        if self.compact is None:
            group = self.source.meta["group"]
            raise NotJudged(f"the group {group} has no irreps; probe under a compact group")
        return self.compact

    def refuse_named(self) -> None:
        """Raise NotJudged where irreps have names, and no λ to judge by."""
        if self.report.irreps[0].is_named:
            raise NotJudged(f"the irreps of {self.report.meta['group']} have names in place of λ")

    @property
    def outputs(self) -> dict[str, Equivariance]:
        """What was measured of every output; NotJudged where none was, or on one input."""
        if not self.report.outputs:
            raise NotJudged("no outputs were measured")
        if self.inputs < 2:
            raise NotJudged("one input has no standard errors")
        return dict(self.report.outputs)

    def refuse_few(self) -> None:
        """Raise NotJudged where nothing is said to stay below a bound: of few inputs."""
        if self.inputs < FEWEST_INPUTS:
            raise NotJudged(f"of {self.inputs} inputs nothing surely stays below a bound: take {FEWEST_INPUTS} or more")

    def refuse_rounded(self, rows: Iterable[int], bound: float) -> None:
        """Raise NotJudged where rounding alone may put as much as a bound into the irreps of a layer."""
        for row in rows:
            if not self.report.noise_floor[row] < bound:
                floor, layer = self.report.noise_floor[row], self.report.layers[row]
                raise NotJudged(f"shares of {layer} below {100 * floor:.2g} % cannot be told from rounding")

    @property
    def hidden(self) -> list[int]:
        """Rows of the layers that are no outputs."""
        return [row for row, layer in enumerate(self.report.layers) if layer in self.report.hidden]

    # --- what outputs depend on ---

    @property
    def readout_words(self) -> str:
        """What is said of a readout that nothing but the order of the layers tells; "" where it is known."""
        if self.readout is not None or self._dependence:
            return ""
        return " (The last layer that ran is taken for the readout, as the report does not say what outputs depend on.)"

    def readout_of(self, name: str) -> list[int]:
        """Return rows of the layers that an output is read from, through which it depends on all others.

        They are known by what disturbing each does to the output; in reports from before that was measured, it is the
        last layer before the outputs.

        Raises
        ------
        NotJudged
            There is none.
        """
        if self.readout is not None:
            return [self.report.layers.index(self.readout)]
        return self._counting(name, "readout", self.hidden[-1:])

    def embeddings_of(self, name: str) -> list[int]:
        """Return rows of the first layers that an output depends on: those that no earlier layer changes."""
        return self._counting(name, "through", self.hidden[:1], among=self._dependence.get("embeddings"))

    def rows_behind(self, name: str) -> list[int]:
        """Return rows of all layers that an output depends on, in the order in which they ran."""
        return self._counting(name, "through", self.hidden)

    def is_linear(self, row: int, name: str) -> bool | None:
        """Tell whether an output is linear in a layer of its readout; None where that is not known."""
        even = self._disturbed(name).get("nonlinear", {}).get(self.report.layers[row])
        return None if even is None else bool(even < self.bounds.deviation)

    def comes_past(self, name: str) -> bool:
        """Tell whether what turns in an output reaches it past the layers."""
        return bool(self._disturbed(name).get("past", 0.0) > self.bounds.deviation)

    @property
    def _dependence(self) -> Mapping[str, Any]:
        return self.report.meta.get("dependence") or {}

    def _disturbed(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._dependence.get("outputs", {}).get(name, {})
        return found

    def _counting(self, name: str, way: str, otherwise: list[int], *, among: Sequence[str] | None = None) -> list[int]:
        """Return rows of the layers that count for an output, by its gains along a way; NotJudged where none does."""
        if not self.hidden:
            raise NotJudged("only outputs were measured, no features")
        if not self._dependence:
            return otherwise
        gains = {
            layer: gain for layer, gain in self._disturbed(name).get(way, {}).items() if among is None or layer in among
        }
        least = self.bounds.passes * sum(gain**2 for gain in gains.values())
        rows = [row for row in self.hidden if gains.get(self.report.layers[row], 0.0) ** 2 > least]
        if not rows:
            raise NotJudged(f"{name} depends on no layer that was measured")
        return rows

    # --- what numbers say ---

    @property
    def inputs(self) -> int:
        """Number of inputs that errors are taken over."""
        return int(self.report.meta["n_inputs"])

    @property
    def errors(self) -> float:
        """Standard errors that a difference must exceed: ``sigma`` normal ones, at this number of inputs."""
        return quantile(self.bounds.sigma, self.inputs)

    def share(self, row: int, chosen: Any) -> Share:
        """Return the power of a layer in chosen irreps."""
        return share_of(self.report, row, chosen)

    def above(self, share: Share, bound: float) -> bool:
        """Tell whether a share surely exceeds a bound."""
        return share.surely_above(bound, self.bounds.sigma)

    def below(self, share: Share, bound: float) -> bool:
        """Tell whether a share surely stays below a bound."""
        return share.surely_below(bound, self.bounds.sigma)

    def is_blind(self, irrep: Irrep) -> bool:
        """Tell whether pseudotensors are asked for, and no layer holds any."""
        return is_pseudo(irrep) and all(
            self.below(self.share(row, is_pseudo), self.bounds.absent) for row in self.hidden
        )

    def counts(self, part: float, stderr: float, item: Equivariance) -> bool:
        """Tell whether a part of relative A² is surely more than is tolerated, and than rounding makes."""
        share = Share(part, stderr, item.noise_floor**2, self.inputs)
        return self.above(share, self.bounds.deviation**2)

    def is_kept(self, name: str) -> bool:
        """Tell whether an output surely obeys its law, to the tolerance of the diagnosis."""
        item = self.report.outputs[name]
        size = abs(item.relative)
        squared = Share(size**2, 2 * size * item.relative_stderr, item.noise_floor**2, self.inputs)
        return self.below(squared, self.bounds.deviation**2)

    def serves(self, name: str, irrep: Irrep) -> bool:
        """Tell whether an output surely holds an irrep that it needs, and obeys its law."""
        row = self.report.layers.index(name) if name in self.report.layers else None
        return row is not None and self.above(self.share(row, irrep.__eq__), self.bounds.starved) and self.is_kept(name)

    def is_broken(self, name: str, *, severely: bool = False) -> bool:
        """Tell whether an output surely misses its law, beyond the tolerance of the diagnosis, or by what is severe."""
        item = self.report.outputs[name]
        size, bound = abs(item.relative), self.bounds.severe if severely else self.bounds.deviation
        squared = Share(item.relative * size, 2 * size * item.relative_stderr, item.noise_floor**2, self.inputs)
        return self.above(squared, bound**2)

    def severity(self, part: float, stderr: float, floor: float = 0.0) -> str:
        """Return how grave a part of relative A² is: a problem if it is surely more than ``severe``."""
        return "problem" if self.above(Share(part, stderr, floor, self.inputs), self.bounds.severe**2) else "warning"

    def evidence(self, what: str, row: int, chosen: Any, bound: float = NAN) -> Evidence:
        """Return the power of a layer in chosen irreps, with that of the untrained copy."""
        share, layer = self.share(row, chosen), self.report.layers[row]
        untrained = (NAN, NAN)
        if self.baseline is not None and layer in self.baseline.layers:
            untrained = share_of(self.baseline, self.baseline.layers.index(layer), chosen)[:2]
        return Evidence(what, share.value, share.stderr, bound, share.floor, *untrained)

    def error(self, name: str, what: str, part: str, bound: float = NAN) -> Evidence:
        """Return a part of an output's error, such as "relative" or "leakage", with that of the untrained copy."""
        item = self.report.outputs[name]
        other = self.baseline.outputs.get(name) if self.baseline is not None else None
        floor = item.noise_floor if part == "relative" else item.noise_floor**2
        untrained = (NAN, NAN) if other is None else _with_error(other, part)
        return Evidence(what, *_with_error(item, part), bound, floor, *untrained)

    def gap_to_baseline(self, evidence: Evidence) -> float:
        """Return by how much a number must differ from that of the baseline for training to have changed it."""
        assert self.baseline is not None
        meta, sigma = self.baseline.meta, self.bounds.sigma
        if "n_draws" in meta:  # of the same inputs
            return least_gap(evidence.untrained_stderr, meta, sigma)
        return float(np.hypot(self.errors * evidence.stderr, least_gap(evidence.untrained_stderr, meta, sigma)))

    def about(self, name: str) -> list[Evidence]:
        """Return relative A of an output, and where in the error spectrum most of it lies."""
        item = self.report.outputs[name]
        spread = Evidence(f"A of {name} over its spread across inputs", item.over_spread, item.over_spread_stderr)
        largest = sorted(item.error_spectrum, key=lambda irrep: -item.error_spectrum[irrep])[:2]
        return [
            self.error(name, f"relative A of {name}", "relative", self.bounds.deviation),
            *([spread] if isfinite(item.over_spread) else []),
            *(
                self.error(name, f"{irrep} in the error spectrum", irrep)
                for irrep in largest
                if item.error_spectrum[irrep] > 0
            ),
        ]


def _with_error(item: Equivariance, part: str) -> tuple[float, float]:
    """Return a number of an output's error and its standard error; an irrep means that of the error spectrum."""
    if not hasattr(item, part):
        return item.error_spectrum.get(part, NAN), item.error_spectrum_stderr.get(part, NAN)
    return float(getattr(item, part)), float(getattr(item, f"{part}_stderr"))


def case_of(
    source: Report,
    *,
    baseline: Report | None,
    history: Sequence[SymmetryReport],
    readout: str | None,
    needs: Mapping[str, Sequence[Any]] | None,
    bounds: Thresholds,
) -> Case:
    """Check and gather what a diagnosis was given; the parameters are those of :func:`jetsym.diagnose`."""
    if isinstance(source, ReportsOver):
        raise ProbeError(
            f"the report is one over values of {source.argument}; expected that of one of them, such as "
            f"report[{source.values[-1]:.6g}]"
        )
    if not isinstance(source, Report):
        raise ProbeError(f"report is a {type(source).__name__}; expected what jetsym.probe returned")
    if baseline is not None and type(baseline) is not type(source):
        raise ProbeError(
            f"the baseline is a {type(baseline).__name__}; expected a {type(source).__name__}, measured like the report"
        )
    whole = source.baseline if baseline is None else baseline
    report, other = _compact(source), _compact(whole)
    if report is None:
        return Case(source, whole, report, other, tuple(history), None, {}, bounds)
    for past in (*history, *([] if other is None else [other])):
        if (past.meta["group"], past.irreps[0]) != (report.meta["group"], report.irreps[0]):
            raise ProbeError(
                f"a report under {past.meta['group']} cannot be compared with one under {report.meta['group']}; "
                "measure both under the same group"
            )
    wanted = needs or {}
    for name in wanted:
        if name not in report.outputs:
            raise ProbeError(f"needs names {name!r}, which is no output; {closest(name, report.outputs)}")
    if readout is not None and readout not in report.layers:
        raise ProbeError(f"readout is {readout!r}, which is no layer; {closest(readout, report.layers)}")
    by_output = {name: needed(item.kind, report, wanted.get(name)) for name, item in report.outputs.items()}
    needed_irreps = {name: irreps for name, irreps in by_output.items() if irreps}  # where they are known
    return Case(source, whole, report, other, tuple(history), readout, needed_irreps, bounds)


def _compact(report: Report | None) -> SymmetryReport | None:
    """Return the report under a compact group that all modes but frame locking are judged from."""
    if isinstance(report, LorentzReport):
        return next(iter(report.compact.values()))
    return report if isinstance(report, SymmetryReport) else None
