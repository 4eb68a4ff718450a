"""What mends a finding by the configuration of a training: one small change each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from jetsym.errors import ConfigError
from jetsym.jets.moves.augmentation import AugmentationConfig

__all__ = ["LEFT", "MENDS", "MONITOR_EVERY", "REMEDIES", "WEIGHT", "Remedy", "Step", "Values", "Where"]

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
    more
        What it costs besides passes through the network.
    """

    changes: Values
    effect: str
    more: str = ""


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


def _handed(config: Values, where: Where, weight: float) -> Step | None:
    changes: Values = {}
    if config["model"] == "canonical" and config["options"].get("group") == "O3":
        changes["options"] = {**config["options"], "group": "SO3"}
    if config["augmentation"]["group"] == "O3":
        changes["augmentation"] = {**config["augmentation"], "group": "SO3"}
    if config["penalty"]["weight"] and config["penalty"]["moves"]["group"] == "O3":
        changes["penalty"] = {**config["penalty"], "moves": {**config["penalty"]["moves"], "group": "SO3"}}
    effect = "leaves reflections out of poses and moves, under which no layer, or no answer, may differ in a mirror"
    return Step(changes, effect) if changes else None


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


def _harmonics(config: Values, where: Where, weight: float) -> Step | None:
    if config["model"] != "pointnet":
        return None
    largest = 1 + config["options"].get("harmonics", 1)
    effect = f"shows the embedding spherical harmonics of every particle's vectors up to λ = {largest}"
    more = f"a wider first layer, by {3 * ((largest + 1) ** 2 - 4)} columns"
    return Step({"options": {**config["options"], "harmonics": largest}}, effect, more)


def _invariants(config: Values, where: Where, weight: float) -> Step | None:
    if config["model"] != "pointnet" or config["options"].get("invariants"):
        return None
    effect = (
        "shows the embedding how every particle's Minkowski products with the others and with the jet are spread, "
        "which no rotation or boost changes, beside its vectors, which stay"
    )
    more = (
        f"a wider first layer, by {INVARIANTS + 1} columns, and {INVARIANTS} Gaussians of all pairs of particles, "
        "about 1.3 times the time at 64 particles on a CPU"
    )
    return Step({"options": {**config["options"], "invariants": INVARIANTS}}, effect, more)


def _pairs(config: Values, where: Where, weight: float) -> Step | None:
    if config["model"] != "pointnet" or config["options"].get("pairs"):
        return None
    effect = "lets all blocks see the mass and the angle of every pair of particles, which no rotation changes"
    more = f"a perceptron of {PAIRS} channels on all pairs of particles, about twice the time at 64 particles on a CPU"
    return Step({"options": {**config["options"], "pairs": PAIRS}}, effect, more)


def _calmer(config: Values, where: Where, weight: float) -> Step:
    changes = {"lr": config["lr"] / 2, "ema": max(config["ema"], 0.999)}
    return Step(changes, "halves the learning rate and averages the weights over steps")


Remedy = Callable[[Values, Where, float], Step | None]

#: Gaussians that tell products of pairs apart.
INVARIANTS = 16
#: Hidden channels of the perceptron on pairs.
PAIRS = 16
#: Part of A² that an average at inference may leave.
LEFT = 0.05
#: Of a new penalty.
WEIGHT = 0.1
#: Steps between two looks at a run that drifted.
MONITOR_EVERY = 200

#: What can be done by configuration.
REMEDIES: dict[str, Remedy] = {
    "augment": _augment,
    "mirror": _mirror,
    "handed": _handed,
    "penalty": _penalty,
    "harmonics": _harmonics,
    "invariants": _invariants,
    "pairs": _pairs,
    "canonical": _canonical,
    "calmer": _calmer,
}

#: Mode -> remedies that mend it, the least intrusive first.
MENDS: dict[str, tuple[str, ...]] = {
    "leakage": ("augment", "penalty", "invariants", "canonical"),
    "misalignment": ("augment", "penalty", "invariants", "canonical"),
    "parity-contamination": ("mirror", "penalty", "canonical"),
    "parity-blindness": ("handed",),
    "frame-locking": ("augment", "penalty", "canonical"),
    "late-collapse": ("invariants", "pairs", "canonical"),
    "starvation": ("invariants", "pairs", "canonical"),
    "bottleneck": ("harmonics",),
    "drift": ("penalty", "calmer"),
}


def _full_moves(moves: Values) -> Values:
    """An augmentation with all its fields, as configurations hold it."""
    return asdict(AugmentationConfig(**moves))
