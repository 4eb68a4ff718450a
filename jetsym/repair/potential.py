"""From a finding to the options of a run of ``jetsym atoms train`` that mend it; and what averaging in use does."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path

import yaml

from jetsym.atoms.checkpoint import FINAL
from jetsym.atoms.packages import quiet, require
from jetsym.atoms.training.train import ARCHITECTURES, GIVEN, train
from jetsym.errors import CheckpointError, ConfigError
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.repair.base import Repair, chosen, facts
from jetsym.repair.remeasure import MEASURED_AGAIN, measured_again
from jetsym.repair.tagger_remedies import LEFT, Step, Values
from jetsym.spectrum import group_of
from jetsym.spectrum.averaging import group_average
from jetsym.storage import read_json
from jetsym.symmetry import Symmetry

__all__ = ["MENDS", "REMEDIES", "repair"]

SAME = "in use the model costs what it did"
#: What SymmetrizedCalculator averages.
AVERAGED = ("energy", "forces", "stress")


def repair(
    run: str | Path,
    *,
    finding: str,
    report: str | Path | None = None,
    remedy: str | None = None,
    weight: float | None = None,
    from_weights: bool = False,
) -> Repair:
    """The options of a run of ``jetsym atoms train`` that mend what was found in another.

    Parameters
    ----------
    run
        Folder of the run, whose ``train.yaml`` says how it was trained.
    finding
        Name of what was found: a key of :data:`jetsym.probing.reports.diagnosis.MODES`.
    report
        The report it was found in, whose error spectrum tells what averaging in use takes.
    remedy
        One of "augment", "equivariant", "deeper", "calmer"; by default the least intrusive one that mends the
        finding and that the run does not have already.
    weight
        None: metatrain has no penalty on asymmetry.
    from_weights
        Begin from the weights of the run that validated best instead of anew.

    Raises
    ------
    ConfigError
        There is no such finding or remedy, or no option that would mend it.
    CheckpointError
        The folder does not say how its run was trained.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / "train.yaml").write_text("data: molecules.xyz\\naugment: false")
    >>> mended = repair(run, finding="leakage")
    >>> mended.remedy, mended.changes
    ('augment', {'augment': (False, True)})
    """
    if weight is not None:
        raise ConfigError(f"--weight is {weight:g}, but metatrain has no penalty on asymmetry; leave it out")
    if finding in MEASURED_AGAIN and remedy is None:
        return measured_again(finding, run, report)
    values = _given(run)
    if report is not None:
        facts(finding, report)  # refuses a diagnosis that did not find it
    name, step = chosen(finding, remedy, values, REMEDIES, MENDS, when="had by its architecture")
    changes = dict(step.changes)
    if from_weights:
        if {"architecture", "model"} & set(changes):
            raise ConfigError(
                f"--remedy {name} changes the network; its weights cannot be taken over: leave --from_weights out"
            )
        start = {"method": "full", "read_from": str((Path(run).expanduser() / FINAL).resolve()), "config": {}}
        changes["training"] = {**_training(values | changes), "finetune": {**start, "inherit_heads": {}}}
    mended = values | changes
    return Repair(
        finding=finding,
        remedy=name,
        config=mended,
        changes={key: (values[key], value) for key, value in changes.items() if values[key] != value},
        effect=step.effect,
        costs=f"The training takes {_epochs(values)} epochs as before; {step.more or SAME}.",
        run=str(run),
        instead=_instead(finding, run, report),
        command="jetsym atoms train --config {config} --out NEW_RUN",
    )


def _given(run: str | Path) -> Values:
    """The options that a run was trained with, of those that can be given again."""
    path = Path(run).expanduser() / GIVEN
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{run} does not say how it was trained: {path} cannot be read ({error.strerror or error}); expected the "
            "folder of a run of jetsym atoms train"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    known = {name: option.default for name, option in signature(train).parameters.items() if name != "out"}
    if not isinstance(found, dict) or "data" not in found or not set(found) <= set(known):
        raise CheckpointError(f"{path} does not hold the options of jetsym atoms train")
    values = {name: default for name, default in known.items() if name not in ("resume", "progress")} | found
    if values["architecture"] not in ARCHITECTURES or "architecture" in (values["options"] or {}):
        raise ConfigError(
            f"{run} has an architecture section of its own, which is not changed here; write its options by hand"
        )
    return values


def _training(values: Values) -> Values:
    """Further options of the training, which go before the others."""
    return dict(values["training"] or {})


def _epochs(values: Values) -> int:
    return int(_training(values).get("num_epochs") or values["epochs"])


def _default(architecture: str, section: str) -> Values:
    """metatrain's own options of an architecture."""
    with quiet():
        defaults = require("metatrain.utils.architectures", "jetsym repair").get_default_hypers
        return dict(defaults(architecture)[section])


def _augment(values: Values) -> Step | None:
    if values["architecture"] != "pet":
        return None
    effect = "shows PET every structure turned or mirrored at random, anew in every epoch"
    return Step({"augment": True}, effect)


def _equivariant(values: Values) -> Step | None:
    if values["architecture"] == "soap_bpnn":
        return None
    kept = {name: value for name, value in _training(values).items() if name in _default("soap_bpnn", "training")}
    changes = {"architecture": "soap_bpnn", "model": None, "training": kept or None}
    effect = "trains a SOAP-BPNN in place of the PET, whose features are invariant by construction, in all its layers"
    return Step(changes, effect, "it is another network, with another accuracy and cost in use, to be measured")


def _deeper(values: Values) -> Step | None:
    if values["architecture"] != "pet":
        return None
    model = values["model"] or {}
    layers = 1 + (model.get("num_attention_layers") or _default("pet", "model")["num_attention_layers"])
    effect = (
        "adds an attention layer to every GNN layer of the PET, one product more between its embedding, which is "
        "linear in the vectors, and what reads its features; metatrain has no option for harmonics at the embedding"
    )
    more = f"an epoch, and the model in use, take about {layers / (layers - 1):.2g} times as long"
    return Step({"model": {**model, "num_attention_layers": layers}}, effect, more)


def _calmer(values: Values) -> Step:
    rate = _training(values).get("learning_rate", values["learning_rate"])
    rate = _default(values["architecture"], "training")["learning_rate"] if rate is None else rate
    others = {name: value for name, value in _training(values).items() if name != "learning_rate"}
    return Step({"learning_rate": rate / 2, "training": others or None}, "halves the learning rate")


#: What can be done by the options of a training.
REMEDIES: dict[str, Callable[[Values], Step | None]] = {
    "augment": _augment,
    "equivariant": _equivariant,
    "deeper": _deeper,
    "calmer": _calmer,
}

#: Mode -> remedies that mend it, the least intrusive first.
MENDS: dict[str, tuple[str, ...]] = {
    "leakage": ("augment", "equivariant"),
    "misalignment": ("augment", "equivariant"),
    "parity-contamination": ("augment", "equivariant"),
    "frame-locking": ("augment", "equivariant"),
    "late-collapse": ("equivariant",),
    "starvation": ("deeper",),
    "bottleneck": ("deeper",),
    "drift": ("calmer",),
}


def _instead(finding: str, run: str | Path, report: str | Path | None) -> str:
    """What does without training: an average over the group in use, or for drift an earlier checkpoint."""
    if finding == "drift":
        return (
            f"Without training: {run} keeps checkpoints along the way, and jetsym atoms spectra {run} --inputs … says "
            "at which A was smallest."
        )
    return _averaged(report) if "augment" in MENDS.get(finding, ()) else ""


def _averaged(path: str | Path | None) -> str:
    """What averages of a calculator take and leave, from the error spectra in a report."""
    if path is None or read_json(path).get("kind") != SymmetryReport.KIND:
        return ""
    report = SymmetryReport.load(path)
    group = report.meta["group"]
    outputs = {name: item for name, item in report.equivariance.items() if name in AVERAGED}
    if not outputs or group not in ("O3", "SO3"):
        return ""
    crystal = (
        "For a crystal, --symmetrize space takes 48 evaluations at most and makes its degeneracies and its forbidden "
        "stress exact; the energy still changes under other rotations."
    )
    try:
        degree = max(averaging_degree(item, tolerance=LEFT) for item in outputs.values())
    except ConfigError as error:
        return f"Averaging in use would do without training; how far is not known: {error}. {crystal}"
    elements = len(group_average(group_of(Symmetry(group)), degree).elements)
    return (
        f"Without training: SymmetrizedCalculator(calculator, {group!r}, {degree}), in jetsym relax and phonons "
        f"--symmetrize {group} --l_max {degree}, evaluates every structure {elements} times, and leaves at most "
        f"{LEFT:.0%} of A² of {', '.join(outputs)} by the error spectrum. {crystal}"
    )
