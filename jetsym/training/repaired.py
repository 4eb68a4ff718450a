"""What a repair is: a configuration with what it changes, why and at what cost; or a measurement to make again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import ConfigError, closest
from jetsym.files import write_atomically
from jetsym.probing.diagnose import diagnose
from jetsym.probing.findings import MODES, Diagnosis
from jetsym.probing.options import RANDOM_ROTATIONS, group_of
from jetsym.probing.reading import read_report
from jetsym.probing.storage import read_json
from jetsym.training.config import TrainConfig
from jetsym.training.mends import Step, Values

__all__ = ["MEASURED_AGAIN", "Repair", "chosen", "facts", "measured_again"]

#: Modes that are the measurement's rather than the model's.
MEASURED_AGAIN = ("saturation", "under-resolved")


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


def measured_again(finding: str, run: str | Path, report: str | Path | None) -> Repair:
    """The options of a probe that would tell what this one could not, from the errors in its report.

    Raises
    ------
    ConfigError
        There is no report, it does not have the finding, or no option would do.
    """
    if report is None:
        raise ConfigError(f"{finding!r} is mended by measuring again: give the --report, whose errors say with what")
    meta, _ = facts(finding, report)
    is_diagnosis = read_json(report).get("kind") == Diagnosis.KIND
    found = Diagnosis.load(report) if is_diagnosis else diagnose(read_report(report))
    item = next((item for item in found if item.name == finding), None)
    if item is None:
        raise ConfigError(f"{report} shows no {finding!r}; it shows {', '.join(sorted(found.names)) or 'nothing'}")
    if not item.options:
        raise ConfigError(f"no option of jetsym probe mends it: {item.text}")
    random = meta.get("method") == "random"
    before: Values = {
        "group": meta["group"],
        **({"frame": meta["frame"]} if meta["group"] in ("O3", "SO3") else {}),
        **({"axis": meta["axis"]} if meta["group"] == "SO2" else {}),
        "l_max": meta["l_max"],
        "method": "random" if random else "auto",
        **({"n_rotations": meta["n_rotations"]} if random else {}),
        "limit": meta["n_inputs"],
        "seed": meta["seed"],
    }
    after = {**before, **item.options}
    return Repair(
        finding=finding,
        remedy="measuring again",
        config=after,
        changes={name: (before[name], value) for name, value in item.options.items() if before[name] != value},
        effect=item.text.removesuffix("."),
        costs=f"It takes about {_rotations(after) / _rotations(before):.2g} times the evaluations, and no training.",
        run=str(run),
        command=f"jetsym probe {run} --config {{config}} --out NEW_REPORT.json  # and --inputs as before",
    )


def _rotations(options: Values) -> int:
    """Inputs times rotations of a probe."""
    group = group_of("O3" if options["group"] == "lorentz" else options["group"], options.get("axis"))
    random = options["method"] == "random"
    each = options.get("n_rotations", RANDOM_ROTATIONS) if random else len(group.quadrature(options["l_max"]))
    return int(options["limit"]) * int(each)


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
