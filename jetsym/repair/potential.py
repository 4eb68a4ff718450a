"""Runs of ``jetsym atoms train``, and their remedies by word."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from jetsym.atoms.architectures.bias import is_tensor
from jetsym.atoms.architectures.inject import LARGEST, Injection, parse_injection
from jetsym.atoms.checkpoint import FINAL
from jetsym.atoms.packages import quiet
from jetsym.atoms.training.train import ARCHITECTURES, GIVEN, train
from jetsym.errors import CheckpointError, ConfigError, require
from jetsym.probing.diagnosis.diagnose import diagnose
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.read import read_report
from jetsym.repair.base import Run, Step, Values, facts, register
from jetsym.storage import read_json
from jetsym.symmetry import Symmetry

__all__ = ["PotentialRun"]

#: The finding whose irreps say what features lack.
STARVED = "starvation"


@dataclass(frozen=True)
class Found(Symmetry):
    """The symmetry that a finding was made under, and what it names.

    Parameters
    ----------
    starved
        λ of the irreps that are starved; none where that is not known.
    """

    starved: tuple[int, ...] = ()


class PotentialRun(Run):
    """A run of ``jetsym atoms train``."""

    RUNS, COMMAND, OPTIONS = "atoms", "jetsym atoms train", GIVEN
    NETWORK = frozenset({"architecture", "model", "inject"})
    #: In units of the loss, in which A² counts once already where structures are rotated in training.
    WEIGHT = 1.0
    CANNOT = "had by its architecture"
    #: What SymmetrizedCalculator averages.
    AVERAGED, INPUT = ("energy", "forces", "stress"), "structure"
    FURTHER = (
        " For a crystal, --symmetrize space takes 48 evaluations at most and makes its degeneracies and its forbidden "
        "stress exact; the energy still changes under other rotations."
    )

    def _checked(self, found: Any, path: Path) -> Values:
        known = {name: option.default for name, option in signature(train).parameters.items() if name != "out"}
        if not isinstance(found, dict) or "data" not in found or not set(found) <= set(known):
            raise CheckpointError(f"{path} does not hold the options of jetsym atoms train")
        values = {name: default for name, default in known.items() if name not in ("resume", "progress")} | found
        if values["architecture"] not in ARCHITECTURES or "architecture" in (values["options"] or {}):
            raise ConfigError(
                f"{self.name} has an architecture section of its own, which is not changed here; write its options by "
                "hand"
            )
        return values

    def _symmetry(self, finding: str, report: str | Path | None) -> Symmetry:
        if report is None:
            return Found()
        facts(finding, report)
        return Found(starved=_starved(report) if finding == STARVED else ())

    def _from_weights(self, values: Values) -> Values:
        start = {"method": "full", "read_from": str((self.folder / FINAL).resolve()), "config": {}}
        return {"training": _training(values) | {"finetune": {**start, "inherit_heads": {}}}}

    def _costs(self, values: Values, more: str) -> str:
        epochs = int(_training(self.values).get("num_epochs") or self.values["epochs"])
        return f"The training takes {epochs} epochs as before; {more or 'at inference the model costs what it did'}."

    def _symmetrized(self, symmetry: Symmetry, degree: int) -> str:
        if not symmetry.is_orthogonal:
            return ""
        return (
            f"SymmetrizedCalculator(calculator, {symmetry.group!r}, {degree}), in jetsym relax and phonons "
            f"--symmetrize {symmetry.group} --l_max {degree},"
        )

    def _instead(self, finding: str, report: str | Path | None) -> str:
        if finding != "drift":
            return super()._instead(finding, report)
        return (
            f"Without training: {self.name} keeps checkpoints along the way, and jetsym atoms spectra {self.name} "
            "--inputs … says at which A was smallest."
        )


def _training(values: Values) -> Values:
    """Return further options of the training, which go before the others."""
    return dict(values["training"] or {})


def _default(architecture: str, section: str) -> Values:
    """Return metatrain's own options of an architecture."""
    with quiet():
        defaults = require("metatrain.utils.architectures", extra="atoms", purpose="jetsym repair").get_default_hypers
        return dict(defaults(architecture)[section])


@register("augment", "atoms")
def _augment(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if values["architecture"] != "pet":
        return None
    effect = "shows PET every structure rotated or mirrored at random, anew in every epoch"
    return Step({"augment": True}, effect)


@register("penalty", "atoms")
def _penalty(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if values["architecture"] != "pet":
        return None
    more = (
        "a step takes one more pass of twice as many structures, without forces; at inference the model costs what it "
        "did"
    )
    if values["penalty"]:
        return Step({"penalty": 2 * values["penalty"]}, "doubles the weight of the penalty", more)
    effect = f"adds {weight:g} times the A² of the targets under O3 to the loss, from two random positions of each"
    return Step({"penalty": weight}, f"{effect} structure", more)


@register("harmonics", "atoms")
def _harmonics(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    now = _injection(values)
    starved = getattr(symmetry, "starved", ())
    # PET embeds vectors, so that λ = 1 is there; without a report the next λ above what the embedding sees.
    lam = max(starved, default=max(1, now.harmonics if now else 0) + 1)
    if now is None or lam < 2 or lam > LARGEST or lam <= now.harmonics:
        return None
    effect = f"shows the embedding of edges their solid harmonics up to λ = {lam}, where PET sees vectors and distances"
    return _injected(now, effect, f"{lam * (lam + 2)} more inputs of the embedding of every edge", harmonics=lam)


@register("invariants", "atoms")
def _invariants(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    now, lacking = _injection(values), getattr(symmetry, "starved", ()) or (0,)
    if now is None or 0 not in lacking or now.invariants:
        return None
    effect = "shows the embedding of edges their distances in radial functions and the angles between them"
    more = "the cosines between all pairs of edges of every atom, in training and at inference"
    return _injected(now, effect, more, invariants=True)


@register("tensor-basis", "atoms")
def _tensor_basis(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    now = _injection(values)
    tensors = [name for name, target in (values["targets"] or {}).items() if is_tensor(name, target)]
    if now is None or now.tensor_basis or not tensors:
        return None
    effect = (
        f"gives {', '.join(tensors)} as scalars of the PET times tensors made of edge vectors, which turn as they "
        "should; what is left of A comes from the scalars"
    )
    more = "a small network of distances and a few products of vectors for every atom, in training and at inference"
    return _injected(now, effect, more, tensor_basis=True)


def _injection(values: Values) -> Injection | None:
    """Return what is injected into the PET of a run; None for another network."""
    return parse_injection(values["inject"]) if values["architecture"] == "pet" else None


def _injected(now: Injection, effect: str, more: str, **changes: Any) -> Step:
    return Step({"inject": str(replace(now, **changes))}, effect, more)


def _starved(report: str | Path) -> tuple[int, ...]:
    """Return the λ of the irreps that a diagnosis, or that of a report, says are starved."""
    found = Diagnosis.load(report) if read_json(report).get("kind") == Diagnosis.KIND else diagnose(read_report(report))
    irreps = [irrep for finding in found if finding.name == STARVED for irrep in finding.irreps]
    return tuple(sorted({int(lam) for irrep in irreps for lam in re.findall(r"^\((\d+)", irrep)}))


@register("equivariant", "atoms")
def _equivariant(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if values["architecture"] == "soap_bpnn":
        return None
    kept = {name: value for name, value in _training(values).items() if name in _default("soap_bpnn", "training")}
    bias = {"inject": None, "penalty": 0.0, "penalty_on": None}  # which a PET alone takes
    changes = {"architecture": "soap_bpnn", "model": None, "training": kept or None, **bias}
    effect = "trains a SOAP-BPNN in place of the PET, whose features are invariant by construction, in all its layers"
    return Step(changes, effect, "it is another network, with another accuracy and cost at inference, to be measured")


@register("more-attention", "atoms")
def _more_attention(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if values["architecture"] != "pet":
        return None
    model = values["model"] or {}
    layers = 1 + (model.get("num_attention_layers") or _default("pet", "model")["num_attention_layers"])
    effect = (
        "adds an attention layer to every GNN layer of the PET, one product more between its embedding, which is "
        "linear in the vectors, and what reads its features"
    )
    more = f"an epoch, and the model at inference, take about {layers / (layers - 1):.2g} times as long"
    return Step({"model": {**model, "num_attention_layers": layers}}, effect, more)


@register("lower-rate", "atoms")
def _lower_rate(values: Values, symmetry: Symmetry, weight: float) -> Step:
    training = _training(values)
    rate = training.pop("learning_rate", values["learning_rate"])
    rate = _default(values["architecture"], "training")["learning_rate"] if rate is None else rate
    return Step({"learning_rate": rate / 2, "training": training or None}, "halves the learning rate")
