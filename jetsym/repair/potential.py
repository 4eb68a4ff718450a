"""Runs of ``jetsym atoms train``, and their remedies by word."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

from jetsym.atoms.checkpoint import FINAL
from jetsym.atoms.packages import quiet
from jetsym.atoms.training.train import ARCHITECTURES, GIVEN, train
from jetsym.errors import CheckpointError, ConfigError, require
from jetsym.repair.base import Run, Step, Values, facts, register
from jetsym.symmetry import Symmetry

__all__ = ["PotentialRun"]


class PotentialRun(Run):
    """A run of ``jetsym atoms train``."""

    RUNS, TRAINER, COMMAND, OPTIONS = "atoms", "metatrain", "jetsym atoms train", GIVEN
    NETWORK = frozenset({"architecture", "model"})
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
        if report is not None:
            facts(finding, report)
        return Symmetry()

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


@register("equivariant", "atoms")
def _equivariant(values: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if values["architecture"] == "soap_bpnn":
        return None
    kept = {name: value for name, value in _training(values).items() if name in _default("soap_bpnn", "training")}
    changes = {"architecture": "soap_bpnn", "model": None, "training": kept or None}
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
        "linear in the vectors, and what reads its features; metatrain has no option for harmonics at the embedding"
    )
    more = f"an epoch, and the model at inference, take about {layers / (layers - 1):.2g} times as long"
    return Step({"model": {**model, "num_attention_layers": layers}}, effect, more)


@register("lower-rate", "atoms")
def _lower_rate(values: Values, symmetry: Symmetry, weight: float) -> Step:
    training = _training(values)
    rate = training.pop("learning_rate", values["learning_rate"])
    rate = _default(values["architecture"], "training")["learning_rate"] if rate is None else rate
    return Step({"learning_rate": rate / 2, "training": training or None}, "halves the learning rate")
