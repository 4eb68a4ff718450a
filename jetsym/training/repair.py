"""From a finding to the configuration of a run that mends it: what changes, why, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import CheckpointError, ConfigError, closest
from jetsym.files import write_atomically
from jetsym.probing.findings import MODES
from jetsym.probing.options import group_of
from jetsym.probing.report import SymmetryReport
from jetsym.probing.storage import read_json
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.spectrum.averaging import group_average
from jetsym.training.config import TrainConfig
from jetsym.training.folder import CONFIG
from jetsym.training.mends import ELSEWHERE, LEFT, MENDS, MONITOR_EVERY, REMEDIES, Step, Values, Where

__all__ = ["Repair", "repair"]


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
    before, after
        Jets that go through the network in a step of the training, for each jet of it: before and after.
    more
        What it costs besides.
    instead
        What would do without training, by averaging at inference, and its cost; empty where no report tells.
    """

    finding: str
    remedy: str
    config: TrainConfig
    changes: Mapping[str, tuple[Any, Any]]
    effect: str
    before: int
    after: int
    run: str
    more: str = ""
    instead: str = ""

    def __str__(self) -> str:
        lines = [f"{self.finding} of {self.run}, by {self.remedy}: {self.effect}."]
        lines += [f"  {name}: {_short(before)} -> {_short(after)}" for name, (before, after) in self.changes.items()]
        lines.append(
            f"A step takes every jet through the network {_times(self.after)} instead of {_times(self.before)}"
            if self.after != self.before
            else "A step of the training costs what it did"
        )
        lines[-1] += f", over {self.config.epochs} epochs as before"
        lines[-1] += f"; here and in use comes {self.more}." if self.more else "; in use the tagger costs what it did."
        return "\n".join([*lines, *([self.instead] if self.instead else [])]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the configuration as ``jetsym train --config`` takes it, with what it mends as comments."""
        comment = "".join(f"# {line.strip()}\n" for line in str(self).splitlines())
        text = yaml.safe_dump(self.config.to_dict(), sort_keys=False, allow_unicode=True)
        return write_atomically(path, comment + text)


def repair(
    run: str | Path,
    *,
    finding: str,
    report: str | Path | None = None,
    remedy: str | None = None,
    weight: float = 0.1,
    from_weights: bool = False,
) -> Repair:
    """The configuration of a run that mends what was found in another.

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
        Of a new penalty.
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
    >>> mended.remedy, mended.config.augmentation.group, mended.after
    ('augment', 'O3', 1)
    >>> repair(run, finding="leakage", remedy="penalty").after
    3
    """
    if finding not in MODES:
        raise ConfigError(f"--finding is {finding!r}; {closest(finding, MODES)}")
    config = _config_of(run)
    values, where = config.to_dict(), _where(finding, report)
    name, step = _chosen(finding, remedy, values, where, weight)
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
        before=_passes(values["penalty"]),
        after=_passes(after["penalty"]),
        run=str(run),
        more=step.more,
        instead=_averaged(report) if "augment" in MENDS.get(finding, ()) else "",
    )


def _passes(penalty: Mapping[str, Any]) -> int:
    """Jets through the network per jet of a step: the jet, and for a penalty two positions, or two per generator."""
    return 1 + 2 * max(1, len(penalty["generators"])) if penalty["weight"] else 1


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
    data = read_json(report)
    meta = data.get("meta", {})
    if data.get("kind") == "diagnosis":
        names = [item["name"] for item in data["findings"]]
        if finding not in names:
            raise ConfigError(f"{report} did not find {finding!r}; it found {', '.join(names) or 'nothing'}")
        evidence = [item["evidence"][0]["what"] for item in data["findings"] if item["name"] == finding]
        meta = meta.get("report", {})
        if finding == "frame-locking" and meta.get("group") == "lorentz":
            boosts = all("boosts" in what for what in evidence)
            return Where("boost") if boosts else Where("SO2", axis="beam")
    if "group" not in meta:
        raise ConfigError(f"{report} says no group; expected a report of jetsym probe or a diagnosis")
    return Where.of(meta)


def _chosen(finding: str, remedy: str | None, values: Values, where: Where, weight: float) -> tuple[str, Step]:
    """The remedy that was asked for, or the first that changes something."""
    if remedy is not None and remedy not in REMEDIES:
        raise ConfigError(f"--remedy is {remedy!r}; {closest(remedy, REMEDIES)}")
    if remedy is None and finding not in MENDS:
        raise ConfigError(f"no option of a training mends {finding!r}: {ELSEWHERE[finding]}")
    names = (remedy,) if remedy is not None else MENDS[finding]
    for name in names:
        step = REMEDIES[name](values, where, weight)
        if step is not None and any(values[key] != value for key, value in step.changes.items()):
            return name, step
    raise ConfigError(
        f"the run has {' and '.join(names)} already, or {'it' if len(names) == 1 else 'they'} cannot be used under "
        f"{where}; average over the group at inference, or choose another --remedy: {', '.join(REMEDIES)}"
    )


def _short(value: Any) -> str:
    """A value of a configuration without what is empty."""
    if isinstance(value, Mapping):
        inside = {key: item for key, item in value.items() if item not in (None, [], {})}
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in inside.items()) + "}"
    return str(value)
