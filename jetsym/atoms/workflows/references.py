"""What an evaluation compares a potential with: references by name and unit, and further outputs of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from jetsym.atoms.calculated import GPA, PER_ATOM
from jetsym.atoms.exports import declared_outputs
from jetsym.atoms.frames import is_crystal
from jetsym.atoms.labels import alike, labels_of, names_in, not_a_stress
from jetsym.atoms.model import AUXILIARY
from jetsym.atoms.packages import quiet
from jetsym.atoms.units import COMMON, contradictions, in_ev
from jetsym.atoms.workflows.calculators import exported_model
from jetsym.errors import ConfigError, DataError, closest, require
from jetsym.text import options_said

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Asked", "Further", "further", "in_units", "references", "unit_of"]

Array = NDArray[np.float64]

#: Outputs of models that are forces and stress without being slopes: what they begin with -> of what, in which unit.
DIRECT = {"non_conservative_force": ("forces", "eV/A", 1e3), "non_conservative_stress": ("stress", "eV/A^3", GPA)}
#: Another unit is named where errors are less than this part of the forces in it, and of that in the unit taken.
CLOSE, CLOSER = 0.5, 1 / 3
#: What a reference in eV, eV/Å and eV/Å³ is measured in.
SCALE = {"energy": 1e3, "forces": 1e3, "stress": GPA, "virial": GPA}


@dataclass(frozen=True)
class Asked:
    """Names of references in a file, and the unit of its energies."""

    energy: str | None
    forces: str | None
    stress: str | None
    virial: str | None
    targets: Mapping[str, str]
    unit: str

    @property
    def keys(self) -> dict[str, str]:
        """Quantity or output -> its name in the file; the stress is left out where the virial stands for it."""
        own = {name: getattr(self, name) for name in ("energy", "forces", "stress", "virial")}
        if self.virial is not None:
            own["stress"] = None
        return {name: key for name, key in own.items() if key is not None} | dict(self.targets)


def unit_of(calculator: Any) -> str:
    """Return the unit that a model was trained in; "eV" for calculators that are no model's."""
    model = exported_model(calculator)
    if model is None:
        return "eV"
    outputs = model.capabilities().outputs
    variant = ((getattr(calculator, "parameters", None) or {}).get("variants") or {}).get("energy")
    name = f"energy/{variant}" if variant else "energy"
    return (outputs[name].unit if name in outputs else "") or "eV"


def references(
    frames: Sequence[Atoms], places: Sequence[int], asked: Asked
) -> tuple[list[dict[str, Array]], list[str]]:
    """Return what each of some structures is compared with, in meV/atom, meV/Å and GPa, and notes on what is missing.

    Raises
    ------
    DataError
        A reference cannot be read, or no structure has one of a name that was given, or any at all.
    """
    found: list[dict[str, Array]] = [{} for _ in places]
    factor, notes = in_ev(asked.unit), list[str]()
    chosen = [frames[place] for place in places]
    names = names_in(chosen)
    for quantity, key in asked.keys.items():
        labels = labels_of(chosen, key, quantity, numbers=places)
        if not labels:
            notes += _said_of_none(quantity, key, names)
            continue
        if quantity in ("stress", "virial"):
            labels, more = _of_crystals(chosen, labels, quantity, key, asked.unit)
            notes += more
        if quantity == "energy":
            notes += contradictions(chosen, key, asked.unit or "eV", labels, {})
        gaps = [place for place in range(len(chosen)) if place not in labels or np.isnan(labels[place]).any()]
        if gaps and labels:
            said = f"{quantity} {'' if quantity == key else repr(key) + ' '}missing, or NaN, in {len(gaps)} of"
            notes.append(f"{said} {len(chosen)} structures, and left out there")
        for place, values in labels.items():
            scaled = values * factor * SCALE[quantity] if quantity in SCALE else values
            if quantity == "energy":
                scaled = scaled / len(chosen[place])
            if quantity == "virial":
                scaled = -scaled / abs(chosen[place].get_volume())
            found[place]["stress" if quantity == "virial" else quantity] = scaled
    own = {quantity: key for quantity, key in asked.keys.items() if quantity in ("energy", "forces")}
    like = {quantity: [name for name in alike(quantity, names) if name != key] for quantity, key in own.items()}
    found_as = {quantity: words[0] for quantity, words in like.items() if words}
    remedy = options_said(found_as) if found_as else ""
    if not any(found) or (remedy and not any(own.keys() & one.keys() for one in found)):
        missing = " or ".join(map(repr, (own if remedy else asked.keys).values()))
        raise DataError(
            f"no structure has {missing} to compare with; they have {', '.join(sorted(names)) or 'nothing'}"
            f"{f'; give {remedy}' if remedy else ''}"
        )
    return found, notes


def _said_of_none(quantity: str, key: str, names: set[str]) -> Iterator[str]:
    """Say that no structure has a label, where one of another name may be meant.

    Raises
    ------
    DataError
        The name was given.
    """
    like = [name for name in alike(quantity, names) if name != key]
    if quantity == "stress":
        like += alike("virial", names)
    if key in names:
        yield f"{quantity} not compared: all of {key!r} is NaN"
    elif key != quantity:
        raise DataError(
            f"{quantity} is {key!r}, which no structure has; they have {', '.join(sorted(names)) or 'nothing'}: "
            f"{closest(key, names)}"
        )
    elif like:
        option = "virial" if "virial" in like[0].lower() else quantity
        meant = ", ".join(map(repr, like))
        yield f"{quantity} not compared: no structure has {key!r}, but {meant}: give {options_said({option: like[0]})}"


def _of_crystals(
    frames: Sequence[Atoms], labels: Mapping[int, Array], quantity: str, key: str, unit: str
) -> tuple[dict[int, Array], list[str]]:
    """Return the stresses of crystals: those of slabs and molecules are over other volumes, or none."""
    kept = {place: values for place, values in labels.items() if is_crystal(frames[place])}
    if other := not_a_stress(frames, kept, key=key, quantity=quantity, unit=unit):
        raise DataError(other)
    left = len(labels) - len(kept)
    words = "not periodic in three directions, whose stress is over another volume or none"
    return kept, [f"{left} structures are {words}: left out of the errors of the stress"] if left else []


@dataclass(frozen=True)
class Further:
    """An output of metatomic's models beside energy, forces and stress.

    Parameters
    ----------
    name
        The model's name for it.
    of
        The quantity whose reference it is compared with.
    unit, scale
        In which it is asked for, and what its values are multiplied by.
    per_atom
        Whether it is that of every atom.
    """

    name: str
    of: str
    unit: str
    scale: float
    per_atom: bool

    def ask(self, calculator: Any, structure: Atoms) -> Array:
        """Return it for one structure."""
        package = require("metatomic.torch", extra="atoms", purpose="outputs of a model")
        output = package.ModelOutput(unit=self.unit, sample_kind="atom" if self.per_atom else "system")
        with quiet(), torch.no_grad():
            blocks = calculator.run_model(structure, {self.name: output})[self.name].blocks()
        if len(blocks) != 1:
            raise ConfigError(f"{self.name!r} has {len(blocks)} blocks, which have no one name in a file; leave it out")
        values: Array = self.scale * blocks[0].values.double().cpu().numpy()
        return values


def further(
    calculator: Any, frames: Sequence[Atoms], asked: Asked, held: set[str], given: Mapping[str, Any]
) -> tuple[list[Further], list[str]]:
    """Return the further outputs to compare, targets and non-conservative ones, and notes on others that there are.

    Raises
    ------
    ConfigError
        A target is no output of the model.
    """
    # One that holds another, such as an average, has no way to ask for outputs beside its own.
    model = exported_model(calculator) if hasattr(calculator, "run_model") else None
    outputs = {} if model is None else dict(model.capabilities().outputs.items())
    declared = [] if model is None else declared_outputs(model)
    others = [name for name in declared if not AUXILIARY.search(name) and name.partition("/")[0] != "energy"]
    found: list[Further] = []
    for name, key in asked.targets.items():
        if name in given:  # of an ASE calculator
            continue
        if name not in outputs:
            known = others or [name for name in given if name not in SCALE]
            raise ConfigError(f"targets names {name!r}, which the model does not predict; {closest(name, known)}")
        per_atom = key in PER_ATOM or any(key in frame.arrays for frame in frames)
        found.append(Further(name, name, outputs[name].unit, 1.0, per_atom))
    for name in others:
        for start, (quantity, unit, scale) in DIRECT.items():
            if name.startswith(start) and quantity in held and name not in asked.targets:
                found.append(Further(name, quantity, unit, scale, quantity == "forces"))
    left = [name for name in others if name not in asked.targets and not name.startswith(tuple(DIRECT))]
    said = f"not compared, as the model predicts them: {', '.join(left)} (give their names in the file by targets)"
    return found, [said] if left else []


def in_units(parity: Mapping[str, Any] | None, unit: str) -> list[str]:
    """Say whether forces agree far better if the file is in another unit than that it was read in, or in none."""
    if parity is None:
        return []
    expected, predicted = (np.asarray(parity[name]) for name in ("reference", "predicted"))

    def share(factor: float) -> float:
        size = float(np.linalg.norm(factor * expected))
        return float(np.linalg.norm(predicted - factor * expected)) / size if size else np.inf

    shares = {other: share(in_ev(other) / in_ev(unit)) for other in COMMON}
    best, now = min(shares, key=lambda other: shares[other]), share(1.0)
    if shares[best] < min(CLOSE, CLOSER * now):
        return [
            f"the forces agree to {100 * shares[best]:.0f} % of their size if the file is in {best}, and to "
            f"{100 * now:.0f} % in {unit}, as it was read: give unit={best!r} (--unit {best})"
        ]
    if CLOSE < now < np.inf:
        return [
            f"the forces are off by {100 * now:.0f} % of their size in {unit}, as the file was read, and by no "
            f"less than {100 * min(shares[best], now):.0f} % in any of {', '.join(COMMON)}: "
            "the unit alone does not explain it"
        ]
    return []
