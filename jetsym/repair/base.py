"""Remedies by word and kind of run, and a repair: a configuration with what it changes, why and at what cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from jetsym.arguments import anything, checked
from jetsym.errors import CheckpointError, ConfigError, expect_a, refuse_unknown
from jetsym.files import check_out, write_atomically
from jetsym.probing.diagnosis.modes import MODES
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.read import read_report
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.reading import parse_yaml, read_text
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.spectrum import group_of
from jetsym.spectrum.averaging import group_average
from jetsym.storage import read_json
from jetsym.symmetry import Symmetry

__all__ = ["REMEDIES", "Change", "Repair", "Run", "Step", "Values", "chosen", "facts", "register"]

#: The options of a run.
Values = dict[str, Any]


@checked()
class Step(NamedTuple):
    """The change that one remedy makes to the options of a run.

    Parameters
    ----------
    changes
        Options that are to be others.
    effect
        What that does.
    more
        What it costs besides what the change itself tells.
    """

    changes: Values
    effect: str
    more: str = ""


#: ``change(values, symmetry, weight)``: what a remedy does to the options of a run, where the symmetry is broken under
#: ``symmetry`` and a new penalty would have a weight; None where it cannot be had.
Change = Callable[[Values, Symmetry, float], Step | None]


#: Kind of run -> word -> what it changes.
REMEDIES: dict[str, dict[str, Change]] = {"jets": {}, "atoms": {}}

#: Files in the folders of runs that say how they were trained.
CONFIGURATIONS = ("config.yaml", "options.yaml", "train.yaml")
#: Part of A² that an average at inference may leave.
LEFT = 0.05
#: What remedies were called -> what they are called.
RENAMED = {"handed": "no-mirror", "calmer": "lower-rate", "deeper": "more-attention"}


@checked(word=anything, runs=anything)
def register(word: str, runs: str, *, repairs: Sequence[str] = ()) -> Callable[[Change], Change]:
    """Add the change that follows to the remedies of a kind of run.

    Parameters
    ----------
    word
        What ``--remedy`` calls it.
    runs
        The kind of runs: "jets" or "atoms".
    repairs
        Failure modes whose rows do not name the word: it joins them as the last, the most intrusive one.

    Raises
    ------
    ConfigError
        Such runs have a remedy of that name, or there is no such kind of runs or failure mode.
    """
    expect_a("the word of a remedy", word, str)
    refuse_unknown("runs", runs, REMEDIES)
    known = REMEDIES[runs]
    if word in known:
        raise ConfigError(f"runs of {runs} have a remedy {word!r} already; expected another name")
    for finding in repairs:
        refuse_unknown("repairs", finding, MODES)

    def add(change: Change) -> Change:
        expect_a(f"the change by {word!r}", change, Callable)
        known[word] = change
        for finding in repairs:
            MODES[finding] = replace(MODES[finding], remedies=(*MODES[finding].remedies, word))
        return change

    return add


@checked()
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
        The run that it repairs.
    instead
        What would do without training, by averaging at inference, and its cost; empty where no report tells.
    command
        What takes the configuration by ``--config``.
    """

    finding: str
    remedy: str
    config: Any
    changes: Mapping[str, tuple[Any, Any]]
    effect: str
    costs: str
    run: str
    command: str
    instead: str = ""

    def __str__(self) -> str:
        lines = [f"{self.finding} of {self.run}, by {self.remedy}: {self.effect}."]
        lines += [f"  {name}: {_short(before)} -> {_short(after)}" for name, (before, after) in self.changes.items()]
        return "\n".join([*lines, self.costs, *([self.instead] if self.instead else [])]) + "\n"

    @checked()
    def save(self, path: str | Path) -> Path:
        """Write the configuration as ``--config`` takes it, with what it repairs as comments.

        Raises
        ------
        ConfigError
            Nothing can be written there, or it is the configuration of the run itself.
        """
        check_out(path, inputs=[Path(self.run) / name for name in CONFIGURATIONS])
        comment = "".join(f"# {line.strip()}\n" for line in str(self).splitlines())
        values = self.config if isinstance(self.config, dict) else self.config.to_dict()
        return write_atomically(path, comment + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def start(self, path: str | Path) -> str:
        """Return the command line that takes the configuration at a path."""
        return self.command.format(config=path)


def chosen(
    finding: str,
    remedy: str | None,
    values: Values,
    symmetry: Symmetry,
    weight: float | None,
    *,
    runs: type[Run],
    when: str,
) -> tuple[str, Step]:
    """Return the remedy that was asked for, or the first of those that repair a finding that changes something.

    Raises
    ------
    ConfigError
        There is no such remedy, nothing repairs the finding, all of it is there already or cannot be what ``when``
        says, or a weight was given that changes nothing.
    """
    known = REMEDIES[runs.RUNS]
    if remedy in RENAMED:
        raise ConfigError(f"--remedy is {remedy!r}, which is called {RENAMED[remedy]!r} now")
    if remedy is not None:
        refuse_unknown("--remedy", remedy, known)
    names = runs.remedies(finding) if remedy is None else [remedy]
    if not names:
        raise ConfigError(f"no option of such a training repairs {finding!r}; by hand: {MODES[finding].remedy}")
    for name in names:
        steps = [known[name](values, symmetry, (weight or runs.WEIGHT) * factor) for factor in (1, 2)]
        if steps[0] is not None and any(values[key] != value for key, value in steps[0].changes.items()):
            if weight is not None and steps[1] is not None and steps[0].changes == steps[1].changes:
                raise ConfigError(
                    f"--weight is {weight:g}, that of a new penalty, but {name} {steps[0].effect}; leave it out, or "
                    "choose another --remedy"
                )
            return name, steps[0]
    raise ConfigError(
        f"the run has {' and '.join(names)} already, or {'it' if len(names) == 1 else 'they'} cannot be {when}; "
        f"average over the group at inference, or choose another --remedy: {', '.join(known)}"
    )


def facts(finding: str, report: str | Path) -> tuple[Mapping[str, Any], list[str]]:
    """Return how a report was measured; and of a diagnosis the evidence of a finding.

    Raises
    ------
    DataError
        It is neither, or damaged, or of a newer jetsym.
    ConfigError
        A diagnosis without the finding.
    """
    if read_json(report).get("kind") != Diagnosis.KIND:
        return _with_group(read_report(report).meta, report), []
    found = Diagnosis.load(report)
    names = [item.name for item in found]
    if finding not in names:
        raise ConfigError(f"{report} did not find {finding!r}; it found {', '.join(names) or 'nothing'}")
    evidence = [item.evidence[0].what for item in found if item.name == finding]
    return _with_group(found.meta.get("report", {}), report), evidence


def _with_group(meta: Any, report: str | Path) -> Mapping[str, Any]:
    if not isinstance(meta, Mapping) or not isinstance(meta.get("group"), str):
        raise ConfigError(f"{report} says no group; expected a report of jetsym probe or a diagnosis")
    return meta


class Run(ABC):
    """A run of one kind, of which a repaired one is made.

    Parameters
    ----------
    folder
        Its folder.

    Raises
    ------
    CheckpointError
        The folder does not say how its run was trained.
    """

    #: The kind of run, as remedies are registered for it, and the command that trains it.
    RUNS: ClassVar[str]
    COMMAND: ClassVar[str]
    #: What a remedy cannot be that a run has not got, and cannot have.
    CANNOT: ClassVar[str]
    #: The file in the folder that holds the options.
    OPTIONS: ClassVar[str]
    #: Options that make the network, and so leave no weights to begin from.
    NETWORK: ClassVar[frozenset[str]]
    #: Weight of a new penalty.
    WEIGHT: ClassVar[float] = 0.1
    #: Outputs that are averaged at inference, what an input is called, and what else may be averaged over.
    AVERAGED: ClassVar[tuple[str, ...]]
    INPUT: ClassVar[str]
    FURTHER: ClassVar[str] = ""

    def __init__(self, folder: str | Path) -> None:
        self.name, self.folder = str(folder), Path(folder).expanduser()
        path = self.folder / self.OPTIONS
        try:
            found = parse_yaml(read_text(path))
        except OSError as error:
            raise CheckpointError(
                f"{folder} does not say how it was trained: {path} cannot be read ({error.strerror or error}); "
                f"expected the folder of a run of {self.COMMAND}"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        self.values = self._checked(found, path)

    @classmethod
    def remedies(cls, finding: str) -> list[str]:
        """Return the remedies of a failure mode that such runs have, the least intrusive first."""
        return [word for word in MODES[finding].remedies if word in REMEDIES[cls.RUNS]]

    @abstractmethod
    def _checked(self, found: Any, path: Path) -> Values:
        """Return all options of the run from what its file holds; CheckpointError where it is something else."""

    @abstractmethod
    def _symmetry(self, finding: str, report: str | Path | None) -> Symmetry:
        """Return what a finding was made under, from the report or the diagnosis it was found in."""

    @abstractmethod
    def _from_weights(self, values: Values) -> Values:
        """Return the options with which changed ones begin from the weights of this run."""

    @abstractmethod
    def _costs(self, values: Values, more: str) -> str:
        """Say what a training with other options costs."""

    @abstractmethod
    def _symmetrized(self, symmetry: Symmetry, degree: int) -> str:
        """Say how the model is averaged at inference; nothing where it cannot be."""

    def _configured(self, values: Values, finding: str) -> Any:
        """Return the configuration of a run with these options, which is to watch whether a finding comes again."""
        return values

    def _instead(self, finding: str, report: str | Path | None) -> str:
        """Say what does without training: by default an average at inference, where augmentation would do."""
        return self._averaged(report) if "augment" in self.remedies(finding) else ""

    def repaired(
        self,
        finding: str,
        report: str | Path | None,
        remedy: str | None,
        weight: float | None,
        from_weights: bool,
    ) -> Repair:
        """Return the repaired run; the parameters are those of :func:`jetsym.repair.dispatch.repair`."""
        symmetry = self._symmetry(finding, report)
        name, step = chosen(
            finding,
            remedy,
            self.values,
            symmetry,
            weight,
            runs=type(self),
            when=self.CANNOT.format(symmetry.words),
        )
        after = self.values | step.changes
        if from_weights:
            if self.NETWORK & set(step.changes):
                raise ConfigError(
                    f"--remedy {name} changes the network; its weights cannot be taken over: leave --from_weights out"
                )
            after |= self._from_weights(after)
        config = self._configured(after, finding)
        after = config if isinstance(config, dict) else config.to_dict()
        return Repair(
            finding=finding,
            remedy=name,
            config=config,
            changes={key: (old, after[key]) for key, old in self.values.items() if old != after[key]},
            effect=step.effect,
            costs=self._costs(after, step.more),
            run=self.name,
            command=f"{self.COMMAND} --config {{config}} --out NEW_RUN",
            instead=self._instead(finding, report),
        )

    def _averaged(self, path: str | Path | None) -> str:
        """Say what an average over the group would take and leave, from the error spectra in a report."""
        if path is None or read_json(path).get("kind") != SymmetryReport.KIND:
            return ""
        report = SymmetryReport.load(path)
        symmetry = Symmetry.from_dict(report.meta)
        outputs = {name: item for name, item in report.equivariance.items() if name in self.AVERAGED}
        if not outputs or not self._symmetrized(symmetry, 0):
            return ""
        try:
            degree = max(averaging_degree(item, tolerance=LEFT) for item in outputs.values())
        except ConfigError as error:
            return f"Averaging at inference would do without training; how far is not known: {error}.{self.FURTHER}"
        elements = len(group_average(group_of(symmetry), degree).elements)
        return (
            f"Without training: {self._symmetrized(symmetry, degree)} evaluates every {self.INPUT} {elements} times, "
            f"and leaves at most {LEFT:.0%} of A² of {', '.join(outputs)} by the error spectrum.{self.FURTHER}"
        )


def _short(value: Any) -> str:
    """Return a value of a configuration as text, without what is empty."""
    if isinstance(value, Mapping):
        inside = {key: item for key, item in value.items() if item not in (None, [], {})}
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in inside.items()) + "}"
    return str(value)
