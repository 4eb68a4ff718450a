"""The remedies of a tagger: small changes of the configuration of its training, one for each word."""

from __future__ import annotations

from dataclasses import asdict, replace

from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.repair.base import Step, Values, register
from jetsym.symmetry import GroupName, Symmetry

#: Gaussians that tell products of pairs apart.
INVARIANTS = 16
#: Hidden channels of the perceptron on pairs.
PAIRS = 16


@register("augment", "jets")
def _augment(config: Values, symmetry: Symmetry, weight: float) -> Step | None:
    now = Symmetry.from_dict(config["augmentation"])
    if now.is_orthogonal and symmetry.is_orthogonal and now.frame == symmetry.frame:
        return None  # mirror images are for parity contamination
    return Step(
        {"augmentation": asdict(AugmentationConfig.of(symmetry))},
        f"shows every training jet moved at random by {symmetry.words}, so that the logits learn not to change",
    )


@register("mirror", "jets")
def _mirror(config: Values, symmetry: Symmetry, weight: float) -> Step:
    rotated = Symmetry.from_dict(config["augmentation"]).is_orthogonal
    moves = config["augmentation"] | {"group": GroupName.O3} if rotated else asdict(AugmentationConfig.of(Symmetry()))
    return Step({"augmentation": moves}, "shows training jets mirrored as well as rotated")


@register("no-mirror", "jets")
def _no_mirror(config: Values, symmetry: Symmetry, weight: float) -> Step | None:

    def proper(moves: Values) -> Values:
        return moves | {"group": GroupName.SO3}

    changes: Values = {}
    if config["model"] == "canonical" and config["options"].get("group") == GroupName.O3:
        changes["options"] = proper(config["options"])
    if config["augmentation"]["group"] == GroupName.O3:
        changes["augmentation"] = proper(config["augmentation"])
    if config["penalty"]["weight"] and config["penalty"]["moves"]["group"] == GroupName.O3:
        changes["penalty"] = config["penalty"] | {"moves": proper(config["penalty"]["moves"])}
    effect = "leaves reflections out of poses and moves, under which no layer, or no answer, may differ in a mirror"
    return Step(changes, effect) if changes else None


@register("penalty", "jets")
def _penalty(config: Values, symmetry: Symmetry, weight: float) -> Step:
    old = float(config["penalty"]["weight"])
    if old:
        changed = config["penalty"] | {"weight": 2 * old}
        return Step({"penalty": changed}, "doubles the weight of the penalty")
    changed = config["penalty"] | {
        "weight": weight,
        "moves": asdict(AugmentationConfig.of(symmetry)),
        "against": "moved",
    }
    effect = f"adds {weight:g} times the A² of the logits under {symmetry.words}, from two random positions of each jet"
    return Step({"penalty": changed}, effect)


@register("canonical", "jets")
def _canonical(config: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if config["model"] == "canonical" or not symmetry.is_compact:
        return None
    # Rotations about an axis are among all rotations.
    posed = replace(symmetry, group=GroupName.O3 if symmetry.has_inversion else GroupName.SO3, axis=None)
    options = {"backbone": config["model"], "options": dict(config["options"])}
    changes: Values = {
        "model": "canonical",
        "options": options | {"group": posed.group, "frame": posed.frame, "signs": "moment"},
    }
    effect = (
        f"shows the same network every jet along axes of its own, which makes all its layers invariant under "
        f"{posed.words} but for jumps where two axes change places"
    )
    if config["augmentation"]["group"] != "none" and Symmetry.from_dict(config["augmentation"]).is_compact:
        changes["augmentation"] = asdict(AugmentationConfig())
        effect += "; rotating jets in training then does nothing and is left out"
    return Step(changes, effect)


@register("harmonics", "jets")
def _harmonics(config: Values, symmetry: Symmetry, weight: float) -> Step | None:
    if config["model"] != "pointnet":
        return None
    largest = 1 + config["options"].get("harmonics", 1)
    effect = f"shows the embedding spherical harmonics of every particle's vectors up to λ = {largest}"
    more = f"a wider first layer, by {3 * ((largest + 1) ** 2 - 4)} columns"
    return Step({"options": config["options"] | {"harmonics": largest}}, effect, more)


@register("invariants", "jets")
def _invariants(config: Values, symmetry: Symmetry, weight: float) -> Step | None:
    effect = (
        "shows the embedding how every particle's Minkowski products with the others and with the jet are spread, "
        "which no rotation or boost changes, beside its vectors, which stay"
    )
    more = (
        f"a wider first layer, by {INVARIANTS + 1} columns, and {INVARIANTS} Gaussians of all pairs of particles, "
        "about 1.3 times the time at 64 particles on a CPU"
    )
    return _switched_on(config, "invariants", INVARIANTS, effect, more)


@register("pairs", "jets")
def _pairs(config: Values, symmetry: Symmetry, weight: float) -> Step | None:
    effect = "lets all blocks see the mass and the angle of every pair of particles, which no rotation changes"
    more = f"a perceptron of {PAIRS} channels on all pairs of particles, about twice the time at 64 particles on a CPU"
    return _switched_on(config, "pairs", PAIRS, effect, more)


@register("lower-rate", "jets")
def _lower_rate(config: Values, symmetry: Symmetry, weight: float) -> Step:
    changes = {"lr": config["lr"] / 2, "ema": max(config["ema"], 0.999)}
    return Step(changes, "halves the learning rate and averages the weights over steps")


def _switched_on(config: Values, option: str, value: int, effect: str, more: str) -> Step | None:
    """Return the step that gives PointNet an option that it does not use."""
    if config["model"] != "pointnet" or config["options"].get(option):
        return None
    return Step({"options": config["options"] | {option: value}}, effect, more)
