"""From a finding to the configuration of a run that mends it: what changes, why, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jetsym.errors import CheckpointError, ConfigError, closest
from jetsym.files import write_atomically
from jetsym.probing.findings import MODES
from jetsym.probing.storage import read_json
from jetsym.training.config import TrainConfig
from jetsym.training.folder import CONFIG

__all__ = ["MENDS", "Repair", "Where", "repair"]

Values = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """What a finding was made under: the group of the probe, its frame and its axis.

    Parameters
    ----------
    group
        "O3", "SO3", "SO2" or "boost".
    frame
        Of O3 and SO3: "lab" or "rest".
    axis
        Of SO2 and boost: "beam", "jet" or "random".
    width
        Half width of the rapidities of boosts.
    """

    group: str = "O3"
    frame: str = "lab"
    axis: str = "beam"
    width: float = 0.5

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Where:
        """From the facts of a report; "lorentz" is judged under O(3) at rest."""
        group = str(meta["group"])
        if group == "lorentz":
            return cls("O3", "rest")
        axis = meta.get("axis")
        named = axis if axis in ("beam", "jet", "random") else "beam"
        if group in ("SO2", "boost") and axis not in ("beam", "jet", "random", "z", [0.0, 0.0, 1.0]):
            raise ConfigError(
                f"the report is about the axis {axis}; training moves jets about 'beam', 'jet' or 'random'"
            )
        return cls(group, str(meta.get("frame") or "lab"), named)

    def moves(self) -> Values:
        """As an augmentation is written, without what it takes for granted."""
        moves: Values = {"group": self.group}
        if self.group in ("SO2", "boost"):
            moves["axis"] = None if self.axis == "beam" else self.axis
        else:
            moves["frame"] = None if self.frame == "lab" else self.frame
        return moves | ({"width": self.width} if self.group == "boost" else {})

    def __str__(self) -> str:
        if self.group in ("SO2", "boost"):
            return f"{'rotations about' if self.group == 'SO2' else 'boosts along'} {self.axis}"
        return f"{self.group} ({self.frame})"


class Step(NamedTuple):
    """What one remedy does to a configuration.

    Parameters
    ----------
    changes
        Fields of the configuration that are to be others.
    effect
        What that does.
    """

    changes: Values
    effect: str


def _augment(config: Values, where: Where, weight: float) -> Step | None:
    turned = config["augmentation"]["group"] in ("SO3", "O3") and where.group in ("SO3", "O3")
    if turned and (config["augmentation"]["frame"] or "lab") == where.frame:
        return None  # mirror images are for parity contamination
    return Step(
        {"augmentation": _full_moves(where.moves())},
        f"shows every training jet moved at random by {where}, so that the logits learn not to change",
    )


def _mirror(config: Values, where: Where, weight: float) -> Step:
    moves = {**config["augmentation"], "group": "O3"} if config["augmentation"]["group"] == "SO3" else {"group": "O3"}
    return Step({"augmentation": _full_moves(moves)}, "shows training jets mirrored as well as turned")


def _penalty(config: Values, where: Where, weight: float) -> Step:
    old = float(config["penalty"]["weight"])
    if old:
        changed = {**config["penalty"], "weight": 2 * old}
        return Step({"penalty": changed}, "doubles the weight of the penalty")
    changed = {**config["penalty"], "weight": weight, "moves": _full_moves(where.moves()), "against": "moved"}
    effect = f"adds {weight:g} times the A² of the logits under {where}, from two random positions of every jet"
    return Step({"penalty": changed}, effect)


def _canonical(config: Values, where: Where, weight: float) -> Step | None:
    if config["model"] == "canonical" or where.group == "boost":
        return None
    group = "O3" if where.group == "O3" else "SO3"  # rotations about the beam are among them
    options = {"backbone": config["model"], "options": dict(config["options"]), "group": group, "frame": where.frame}
    changes: Values = {"model": "canonical", "options": {**options, "signs": "moment"}}
    effect = (
        f"shows the same network every jet along axes of its own, which makes all its layers invariant under {group} "
        f"({where.frame}) but for jumps where two axes change places"
    )
    if config["augmentation"]["group"] in ("SO2", "SO3", "O3"):
        changes["augmentation"] = _full_moves({"group": "none"})
        effect += "; turning jets in training then does nothing and is left out"
    return Step(changes, effect)


def _calmer(config: Values, where: Where, weight: float) -> Step:
    changes = {"lr": config["lr"] / 2, "ema": max(config["ema"], 0.999)}
    return Step(changes, "halves the learning rate and averages the weights over steps")


Remedy = Callable[[Values, Where, float], Step | None]

#: Steps between two looks at a run that drifted.
MONITOR_EVERY = 200

#: What can be done by configuration.
REMEDIES: dict[str, Remedy] = {
    "augment": _augment,
    "mirror": _mirror,
    "penalty": _penalty,
    "canonical": _canonical,
    "calmer": _calmer,
}

#: Mode -> remedies that mend it, the least intrusive first.
MENDS: dict[str, tuple[str, ...]] = {
    "leakage": ("augment", "penalty", "canonical"),
    "misalignment": ("augment", "penalty", "canonical"),
    "parity-contamination": ("mirror", "penalty", "canonical"),
    "frame-locking": ("augment", "penalty", "canonical"),
    "late-collapse": ("canonical",),
    "starvation": ("canonical",),
    "drift": ("penalty", "calmer"),
}

#: Mode -> what mends it, where that is no configuration of a training.
ELSEWHERE = {
    "bottleneck": "give the embedding spherical harmonics up to the λ that is needed, or take a tagger with pairwise "
    "invariants (part, lgatr)",
    "saturation": "probe with a larger --l_max or --method random; --remedy augment smooths the response",
    "parity-blindness": "let in a triple product or a TensorBasisHead with σ = −1, in the model",
    "under-resolved": "probe again with a larger --limit, --l_max or --n_rotations",
}


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
    """

    finding: str
    remedy: str
    config: TrainConfig
    changes: Mapping[str, tuple[Any, Any]]
    effect: str
    before: int
    after: int
    run: str

    def __str__(self) -> str:
        lines = [f"{self.finding} of {self.run}, by {self.remedy}: {self.effect}."]
        lines += [f"  {name}: {_short(before)} -> {_short(after)}" for name, (before, after) in self.changes.items()]
        lines.append(
            f"A step takes every jet through the network {_times(self.after)} instead of {_times(self.before)}"
            if self.after != self.before
            else "A step of the training costs what it did"
        )
        lines[-1] += f", over {self.config.epochs} epochs as before; in use the tagger costs what it did."
        return "\n".join(lines) + "\n"

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
        One of "augment", "mirror", "penalty", "canonical", "calmer"; by default the least intrusive one that mends the
        finding and that the run does not have already.
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
        if "model" in changes:
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
    )


def _passes(penalty: Mapping[str, Any]) -> int:
    """Jets through the network per jet of a step: the jet, and for a penalty two positions, or two per generator."""
    return 1 + 2 * max(1, len(penalty["generators"])) if penalty["weight"] else 1


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


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


def _full_moves(moves: Values) -> Values:
    """An augmentation with all its fields, as configurations hold it."""
    from jetsym.jets.augmentation import AugmentationConfig

    return asdict(AugmentationConfig(**moves))


def _short(value: Any) -> str:
    """A value of a configuration without what is empty."""
    if isinstance(value, Mapping):
        inside = {key: item for key, item in value.items() if item not in (None, [], {})}
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in inside.items()) + "}"
    return str(value)
