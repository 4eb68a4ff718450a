"""What a repair is: a configuration with what it changes, why and at what cost; or a measurement to make again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import ConfigError, closest
from jetsym.files import write_atomically
from jetsym.probing.reports.diagnosis import MODES, Diagnosis
from jetsym.repair.tagger_remedies import Step, Values
from jetsym.storage import read_json
from jetsym.training.config import TrainConfig

__all__ = ["Repair", "chosen", "facts"]


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
        What takes the configuration by ``--config``.
    """

    finding: str
    remedy: str
    config: TrainConfig | Values
    changes: Mapping[str, tuple[Any, Any]]
    effect: str
    costs: str
    run: str
    instead: str = ""
    command: str = "jetsym train --config {config} --out NEW_RUN"

    def __str__(self) -> str:
        lines = [f"{self.finding} of {self.run}, by {self.remedy}: {self.effect}."]
        lines += [f"  {name}: {_short(before)} -> {_short(after)}" for name, (before, after) in self.changes.items()]
        return "\n".join([*lines, self.costs, *([self.instead] if self.instead else [])]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the configuration as ``--config`` takes it, with what it mends as comments."""
        comment = "".join(f"# {line.strip()}\n" for line in str(self).splitlines())
        values = self.config.to_dict() if isinstance(self.config, TrainConfig) else self.config
        return write_atomically(path, comment + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def start(self, path: str | Path) -> str:
        """The command line that takes the configuration at a path."""
        return self.command.format(config=path)


def chosen(
    finding: str,
    remedy: str | None,
    values: Values,
    remedies: Mapping[str, Callable[[Values], Step | None]],
    mends: Mapping[str, Sequence[str]],
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
        raise ConfigError(f"no option of such a training mends {finding!r}; by hand: {MODES[finding].remedy}")
    names = (remedy,) if remedy is not None else mends[finding]
    for name in names:
        step = remedies[name](values)
        if step is not None and any(values[key] != value for key, value in step.changes.items()):
            return name, step
    raise ConfigError(
        f"the run has {' and '.join(names)} already, or {'it' if len(names) == 1 else 'they'} cannot be {when}; "
        f"average over the group at inference, or choose another --remedy: {', '.join(remedies)}"
    )


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
