"""The failure modes of outputs: leakage, misalignment, parity contamination and blindness, drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jetsym.probing.diagnosis.case import MIRRORED, Case, NotJudged, is_pseudo, one_by_one
from jetsym.probing.diagnosis.modes import register
from jetsym.probing.diagnosis.thresholds import Bound
from jetsym.probing.kinds import INVARIANT
from jetsym.probing.reports.diagnosis import NAN, Evidence, Finding
from jetsym.symmetry import Symmetry
from jetsym.text import concise, percent

__all__ = ["drift", "leakage", "misalignment", "parity_blindness", "parity_contamination"]


@register(
    "leakage",
    why="The output holds irreps that its target cannot have: it depends on how the input happens to be rotated. On "
    "inputs that are rotated at random this part is pure error, for squared errors ⟨RMSE²⟩ = RMSE²[f̄] + A². On inputs "
    "as they come, whose directions may tell something, an average may cost accuracy: jetsym cost measures what.",
    remedy="Augment with this group in this frame, or penalise A in training; at inference average over the group "
    "(degree from the error spectrum) or bring inputs into a frame of their own first.",
    remedies=("augment", "tensor-basis", "penalty", "invariants", "canonical", "equivariant"),
)
def leakage(case: Case) -> Iterator[Finding]:
    """Find outputs that lie in part in irreps they should not have, besides mirror images that are told apart."""

    def judge(name: str) -> Iterator[Finding]:
        item = case.outputs[name]
        if Symmetry.from_dict(case.report.meta).is_about_beam and item.kind in INVARIANT:
            raise NotJudged(f"{name} is judged as frame-locking")
        _refuse_unsplit(name, item.leakage)
        part = item.leakage - item.error_spectrum.get(MIRRORED, 0.0)
        # Whatever the correlation of the two, no more than the sum of their errors.
        stderr = item.leakage_stderr + float(np.nan_to_num(item.error_spectrum_stderr.get(MIRRORED, 0.0)))
        if case.counts(part, stderr, item):
            text = f"lies in irreps other than those of {item.kind}"
            yield _finding(case, name, ("leakage", part, stderr), f"wrong irreps in {name}", text)

    yield from one_by_one(case.outputs, judge)


def _refuse_unsplit(name: str, part: float) -> None:
    if np.isnan(part):
        raise NotJudged(f"the report does not say where the error of {name} lies")


@register(
    "misalignment",
    why="The output lies in the right irrep and still turns differently from its input: its size or direction depends "
    "on the orientation, which a spectrum of the output alone does not show.",
    remedy="A TensorBasisHead turns exactly as it should; augmentation, a penalty on A and averaging over the group at "
    "inference lower it as well.",
    remedies=("augment", "tensor-basis", "penalty", "invariants", "canonical", "equivariant"),
)
def misalignment(case: Case) -> Iterator[Finding]:
    """Find outputs that lie in their irrep and turn otherwise than they should."""

    def judge(name: str) -> Iterator[Finding]:
        item = case.outputs[name]
        if item.kind in (*INVARIANT, "pseudoscalar"):
            raise NotJudged(f"{name} is {item.kind}, which cannot turn")
        _refuse_unsplit(name, item.misalignment)
        part = item.misalignment, item.misalignment_stderr
        if case.counts(*part, item):
            text = f"is {item.kind}, but rotated wrongly"
            yield _finding(case, name, ("misalignment", *part), f"misaligned in {name}", text)

    yield from one_by_one(case.outputs, judge)


@register(
    "parity-contamination",
    why="A part of the output turns rightly and changes sign wrongly under reflections: mirror images get different "
    "answers where the physics has none.",
    remedy="Include reflections: augment with O3 instead of SO3, or average the output over the inversion, which "
    "removes this part exactly for one more evaluation.",
    # A tagger is augmented by rotations alone unless told otherwise; potentials always by reflections as well.
    remedies=("mirror", "augment", "penalty", "canonical", "equivariant"),
)
def parity_contamination(case: Case) -> Iterator[Finding]:
    """Find outputs of which a part turns rightly and changes sign wrongly under the inversion: B_(0,−)[z]."""
    _refuse_without_inversion(case)
    for name, item in case.outputs.items():
        part, stderr = item.error_spectrum.get(MIRRORED, 0.0), item.error_spectrum_stderr.get(MIRRORED, 0.0)
        if not case.counts(part, stderr, item):
            continue
        what = f"{MIRRORED} in the error spectrum of {name}"
        evidence = [case.error(name, what, MIRRORED, case.bounds.deviation**2), case.about(name)[0]]
        text = f"{percent(part, stderr)} % of the power of {name} "
        if item.kind in INVARIANT:
            text += f"changes sign in a mirror, as {item.kind} does not."
        else:
            text += f"turns as {item.kind} does and mirrors the other way."
        yield Finding(case.severity(part, stderr, item.noise_floor**2), name, text, evidence, (MIRRORED,))


@register(
    "parity-blindness",
    why="The target changes under reflections as a pseudotensor, and no layer holds any: what the layers see, such as "
    "distances and angles, is the same for mirror images, so that the best answer is zero.",
    remedy="Let in a quantity that knows left from right: a triple product of vectors, a signed dihedral, or a "
    "TensorBasisHead with σ = −1.",
    remedies=("no-mirror",),
)
def parity_blindness(case: Case) -> Iterator[Finding]:
    """Find outputs that are pseudotensors, of which no layer holds any."""
    _refuse_without_inversion(case)
    names = [name for name, irreps in case.needs.items() if any(map(is_pseudo, irreps))]
    if not names:
        raise NotJudged("no output is a pseudotensor")
    if not case.hidden:
        raise NotJudged("only outputs were measured, no features")
    case.refuse_few()
    case.refuse_rounded(case.hidden, case.bounds.absent)
    for name in names:
        odd = [irrep for irrep in case.needs[name] if is_pseudo(irrep)]
        if not case.is_blind(odd[0]) or case.serves(name, odd[0]):
            continue
        most = max(case.hidden, key=lambda row: case.share(row, is_pseudo).value)
        what = f"σ = − in {case.report.layers[most]}"
        evidence = [
            case.evidence(what, most, is_pseudo, case.bounds.absent),
            case.error(name, f"relative A of {name}", "relative", case.bounds.deviation),
        ]
        text = f"{name} is a pseudotensor, and none of {len(case.hidden)} layers holds any content at σ = −."
        yield Finding("problem", case.report.layers[most], text, evidence, [*map(str, odd)])


@register(
    "drift",
    why="Training first lowered and then raised the symmetry error: the loss goes on falling on inputs as they come, "
    "at the price of rotated ones.",
    remedy="Stop at or go back to the step with the smallest A, raise the weight of augmentation or of the penalty, or "
    "lower the learning rate at the end.",
    remedies=("penalty", "lower-rate"),
    thresholds={"drift": Bound(0.25, "Rise of relative A from its lowest value in training, as a part of that value.")},
)
def drift(case: Case) -> Iterator[Finding]:
    """Find outputs whose relative A has risen from its lowest value in training."""
    if case.compact is not None and not case.history:
        raise NotJudged("it takes reports of earlier steps of the training (history=…)")
    yield from one_by_one(case.outputs, lambda name: _risen(case, name))


def _risen(case: Case, name: str) -> Iterator[Finding]:
    """Find one output whose relative A has risen, and A itself as well: a smaller output alone is no drift."""
    item = case.outputs[name]
    if not all(name in past.outputs for past in case.history):
        raise NotJudged(f"not all earlier reports measured {name}")
    earlier = [past.outputs[name] for past in case.history]
    step = min(range(len(earlier)), key=lambda place: earlier[place].relative)
    best = earlier[step]
    rise, absolute = item.relative - best.relative, item.absolute - best.absolute
    error, absolute_error = (
        case.errors * float(np.hypot(getattr(item, of), getattr(best, of)))
        for of in ("relative_stderr", "absolute_stderr")
    )
    allowed = case.bounds.drift * max(best.relative, case.bounds.deviation)
    if not rise - error > allowed + item.noise_floor or not absolute > absolute_error:
        return
    passed = case.history[step].meta.get("step")
    when = f"report {step + 1} of the training" if passed is None else f"step {passed}"
    evidence = (
        case.error(name, f"relative A of {name} now", "relative", best.relative + allowed),
        Evidence(f"at its lowest, {when}", best.relative, best.relative_stderr, NAN, best.noise_floor),
    )
    text = (
        f"relative A of {name} has risen from {concise(best.relative, best.relative_stderr)} to "
        f"{concise(item.relative, item.relative_stderr)} since {when}."
    )
    squared = item.relative**2, 2 * item.relative * item.relative_stderr, item.noise_floor**2
    yield Finding(case.severity(*squared), name, text, evidence)


def _refuse_without_inversion(case: Case) -> None:
    case.refuse_named()
    if case.report.irreps[0].sigma != 1:
        raise NotJudged(f"{case.report.meta['group']} has no inversion; probe under O3")


def _finding(case: Case, name: str, part: tuple[str, float, float], what: str, text: str) -> Finding:
    """Return a failure by a part (name, value, error) of A², with what training did to A, and the irreps of it."""
    of, value, stderr = part
    evidence = case.error(name, f"{what}, of its power", of, case.bounds.deviation**2)
    text = f"{percent(value, stderr)} % of the power of {name} {text}"
    relative = case.error(name, "", "relative")
    if np.isfinite(relative.untrained):
        gap = relative.untrained - relative.value
        error = case.gap_to_baseline(relative)
        verb = "lowered" if gap > error else "raised" if gap < -error else "not surely changed"
        before = concise(relative.untrained, relative.untrained_stderr)
        text += f"; training has {verb} relative A, from {before} to {concise(relative.value, relative.stderr)}"
    spectrum = case.outputs[name].error_spectrum
    irreps = [irrep for irrep, power in spectrum.items() if irrep != MIRRORED and power > 0.1 * max(spectrum.values())]
    evidence = replace(evidence, value=value, stderr=stderr)
    severity = case.severity(value, stderr, case.outputs[name].noise_floor ** 2)
    return Finding(severity, name, f"{text}.", [evidence, *case.about(name)], irreps)
