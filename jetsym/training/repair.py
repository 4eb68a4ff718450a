"""From a finding to the configuration of a run that mends it: what changes, why, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import CheckpointError, ConfigError, closest
from jetsym.files import write_atomically
from jetsym.probing.findings import MODES, Diagnosis
from jetsym.probing.options import group_of
from jetsym.probing.report import SymmetryReport
from jetsym.probing.storage import read_json
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.spectrum.averaging import group_average
from jetsym.training.config import TrainConfig
from jetsym.training.folder import CONFIG
from jetsym.training.mends import (
    ELSEWHERE,
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

__all__ = ["Repair", "chosen", "facts", "repair"]


@dataclass(frozen=True)
class Repair:
    """The configuration of a repaired run.

    Parameters
    ----------
    finding, remedy
        Names of both.
    config
        The whole configuration.
    changes
        Field -> what it was, what it is.
    effect
        What the remedy does, in words.
    costs
        What it costs, in words.
    run
        The run that it mends.
    instead
        What would do without training, by averaging at inference, and its cost; empty where no report tells.
    command
        What trains it, with ``--config`` and ``--out``.
    """

    finding: str
    remedy: str
    config: TrainConfig | Values
    changes: Mapping[str, tuple[Any, Any]]
    effect: str
    costs: str
    run: str
    instead: str = ""
    command: str = "jetsym train"

    def __str__(self) -> str:
        lines = [f"{self.finding} of {self.run}, by {self.remedy}: {self.effect}."]
        lines += [f"  {name}: {_short(before)} -> {_short(after)}" for name, (before, after) in self.changes.items()]
        return "\n".join([*lines, self.costs, *([self.instead] if self.instead else [])]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the configuration as ``--config`` takes it, with what it mends as comments."""
        comment = "".join(f"# {line.strip()}\n" for line in str(self).splitlines())
        values = self.config.to_dict() if isinstance(self.config, TrainConfig) else self.config
        return write_atomically(path, comment + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


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
        Name of what was found: a key of :data:`jetsym.probing.findings.MODES`.
    report
        The report or the diagnosis it was found in, for group, frame and axis; by default O(3) in the lab, and for
        frame locking rotations about the beam.
    remedy
        One of "augment", "mirror", "penalty", "harmonics", "pairs", "canonical", "calmer"; by default the least
        intrusive one that mends the finding and that the run does not have already.
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
    config = _config_of(run)
    values, where = config.to_dict(), _where(finding, report)
    new = WEIGHT if weight is None else weight
    remedies = {name: _bound(remedy_of, where, new) for name, remedy_of in REMEDIES.items()}
    name, step = chosen(finding, remedy, values, remedies, MENDS, ELSEWHERE, when=f"used under {where}")
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


def chosen(
    finding: str,
    remedy: str | None,
    values: Values,
    remedies: Mapping[str, Callable[[Values], Step | None]],
    mends: Mapping[str, Sequence[str]],
    elsewhere: Mapping[str, str],
    *,
    when: str,
) -> tuple[str, Step]:
    """The remedy that was asked for, or the first of those that mend a finding that changes something.

    Raises
    ------
    ConfigError
        There is no such finding or remedy, nothing mends it, or all of it is there already or cannot be what ``when``
        says.
    """
    if finding not in MODES:
        raise ConfigError(f"--finding is {finding!r}; {closest(finding, MODES)}")
    if remedy is not None and remedy not in remedies:
        raise ConfigError(f"--remedy is {remedy!r}; {closest(remedy, remedies)}")
    if remedy is None and finding not in mends:
        raise ConfigError(f"no option of a training mends {finding!r}: {elsewhere[finding]}")
    names = (remedy,) if remedy is not None else mends[finding]
    for name in names:
        step = remedies[name](values)
        if step is not None and any(values[key] != value for key, value in step.changes.items()):
            return name, step
    raise ConfigError(
        f"the run has {' and '.join(names)} already, or {'it' if len(names) == 1 else 'they'} cannot be {when}; "
        f"average over the group at inference, or choose another --remedy: {', '.join(remedies)}"
    )


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
    group, axis = report.meta["group"], report.meta.get("axis")
    try:
        degree = averaging_degree(item, tolerance=LEFT)
    except ConfigError as error:
        return f"Averaging at inference would do without training; how far is not known: {error}."
    elements = len(group_average(group_of(group, axis), degree).elements)
    call = f"jetsym.remedies.Symmetrized(tagger, {group!r}, {degree}, frame={report.meta['frame']!r})"
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


def facts(finding: str, report: str | Path) -> tuple[Mapping[str, Any], list[str]]:
    """How a report was measured; and of a diagnosis the evidence of a finding.

    Raises
    ------
    ConfigError
        It is neither, or a diagnosis without the finding.
    """
    data = read_json(report)
    meta, evidence = data.get("meta", {}), []
    if data.get("kind") == Diagnosis.KIND:
        names = [item["name"] for item in data["findings"]]
        if finding not in names:
            raise ConfigError(f"{report} did not find {finding!r}; it found {', '.join(names) or 'nothing'}")
        evidence = [item["evidence"][0]["what"] for item in data["findings"] if item["name"] == finding]
        meta = meta.get("report", {})
    if "group" not in meta:
        raise ConfigError(f"{report} says no group; expected a report of jetsym probe or a diagnosis")
    return meta, evidence


def _short(value: Any) -> str:
    """A value of a configuration without what is empty."""
    if isinstance(value, Mapping):
        inside = {key: item for key, item in value.items() if item not in (None, [], {})}
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in inside.items()) + "}"
    return str(value)
