"""From a finding to the configuration of a run that mends it: what changes, why, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from jetsym.errors import CheckpointError, ConfigError
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.repair.base import Repair, chosen, facts
from jetsym.repair.remeasure import MEASURED_AGAIN, measured_again
from jetsym.repair.tagger_remedies import (
    LEFT,
    MENDS,
    MONITOR_EVERY,
    REMEDIES,
    WEIGHT,
    Remedy,
    Step,
    Values,
    Where,
)
from jetsym.spectrum import group_of
from jetsym.spectrum.averaging import group_average
from jetsym.storage import read_json
from jetsym.symmetry import Symmetry
from jetsym.training.config import TrainConfig
from jetsym.training.folder import CONFIG

__all__ = ["repair"]


def repair(
    run: str | Path,
    *,
    finding: str,
    report: str | Path | None = None,
    remedy: str | None = None,
    weight: float | None = None,
    from_weights: bool = False,
) -> Repair:
    """The configuration of a run of ``jetsym train`` that mends what was found in another.

    Parameters
    ----------
    run
        Folder of the run.
    finding
        Name of what was found: a key of :data:`jetsym.probing.reports.diagnosis.MODES`.
    report
        The report or the diagnosis it was found in, for group, frame and axis; by default O(3) in the lab, and for
        frame locking rotations about the beam.
    remedy
        One of "augment", "mirror", "handed", "penalty", "harmonics", "invariants", "pairs", "canonical", "calmer"; by
        default the least intrusive one that mends the finding and that the run does not have already.
    weight
        Of a new penalty; by default 0.1.
    from_weights
        Begin from the best weights of the run instead of anew.

    Raises
    ------
    ConfigError
        There is no such finding or remedy, or nothing in a configuration that would mend it.
    CheckpointError
        The folder holds no run.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / "config.yaml").write_text(yaml.safe_dump(TrainConfig("train/*.root").to_dict()))
    >>> mended = repair(run, finding="leakage")
    >>> mended.remedy, mended.config.augmentation.group
    ('augment', 'O3')
    >>> repair(run, finding="leakage", remedy="penalty").costs
    'A step takes every jet through the network 3 times instead of once, over 20 epochs as before; in use the tagger \
costs what it did.'
    """
    if finding in MEASURED_AGAIN and remedy is None:
        return measured_again(finding, run, report)
    config = _config_of(run)
    values, where = config.to_dict(), _where(finding, report)
    new = WEIGHT if weight is None else weight
    remedies = {name: _bound(remedy_of, where, new) for name, remedy_of in REMEDIES.items()}
    name, step = chosen(finding, remedy, values, remedies, MENDS, when=f"used under {where}")
    changes = dict(step.changes)
    if finding == "drift" and not values["monitor_every"]:
        changes["monitor_every"] = MONITOR_EVERY
    if from_weights:
        if {"model", "options"} & set(changes):
            raise ConfigError(
                f"--remedy {name} changes the network; its weights cannot be taken over: leave --from_weights out"
            )
        changes |= {"init": str(run), "options": {}}
    mended = TrainConfig.from_dict({**values, **changes})
    after = mended.to_dict()
    return Repair(
        finding=finding,
        remedy=name,
        config=mended,
        changes={key: (values[key], after[key]) for key in config.differing(mended)},
        effect=step.effect,
        costs=_costs(config, mended, step.more),
        run=str(run),
        instead=_averaged(report) if "augment" in MENDS.get(finding, ()) else "",
    )


def _bound(remedy: Remedy, where: Where, weight: float) -> Callable[[Values], Step | None]:
    return lambda values: remedy(values, where, weight)


def _costs(before: TrainConfig, after: TrainConfig, more: str) -> str:
    """What a step costs, in jets through the network, and what the tagger costs in use."""
    passes, were = _passes(after), _passes(before)
    text = (
        f"A step takes every jet through the network {_times(passes)} instead of {_times(were)}"
        if passes != were
        else "A step of the training costs what it did"
    )
    text += f", over {after.epochs} epochs as before"
    return text + (f"; here and in use comes {more}." if more else "; in use the tagger costs what it did.")


def _passes(config: TrainConfig) -> int:
    """Jets through the network per jet of a step: the jet, and for a penalty two positions, or two per generator."""
    return 1 + 2 * max(1, len(config.penalty.generators)) if config.penalty.weight else 1


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _averaged(path: str | Path | None) -> str:
    """What an average over the group would take, from the error spectrum of the logits in a report."""
    if path is None or read_json(path).get("kind") != SymmetryReport.KIND:
        return ""
    report = SymmetryReport.load(path)
    item = report.equivariance.get("logits")
    if item is None:
        return ""
    try:
        degree = averaging_degree(item, tolerance=LEFT)
    except ConfigError as error:
        return f"Averaging at inference would do without training; how far is not known: {error}."
    elements = len(group_average(group_of(Symmetry.from_dict(report.meta)), degree).elements)
    call = f"jetsym.remedies.Symmetrized(tagger, {report.meta['group']!r}, {degree}, frame={report.meta['frame']!r})"
    return (
        f"Without training: {call} evaluates every jet {elements} times, and leaves at most {LEFT:.0%} of A² by the "
        "error spectrum."
    )


def _config_of(run: str | Path) -> TrainConfig:
    """The configuration of a run."""
    path = Path(run).expanduser() / CONFIG
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{run} holds no run: {path} cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    try:
        return TrainConfig.from_dict(values)
    except TypeError as error:
        raise CheckpointError(f"{path} is no configuration of a training: {error}") from error


def _where(finding: str, report: str | Path | None) -> Where:
    """What to move jets by, from a report or a diagnosis."""
    if report is None:
        return Where("SO2", axis="beam") if finding == "frame-locking" else Where()
    meta, evidence = facts(finding, report)
    if evidence and finding == "frame-locking" and meta["group"] == "lorentz":
        return Where("boost") if all("boosts" in what for what in evidence) else Where("SO2", axis="beam")
    return Where.of(meta)
