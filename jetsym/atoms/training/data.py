"""The structures that a run is trained on: what metatrain is told of a file, and whether every structure has it.

metatrain leaves out all forces, or all stress, of a file in which one structure lacks them, and says so in its log
alone. Here every structure is looked at first. What it can mask is a slope of the energy, or a target without a
composition baseline, that is NaN: for ``allow_missing`` a copy of the file is written, with NaN where a label is
missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.atoms.frames import expect_usable, results_of, stress_rank
from jetsym.atoms.labels import (
    SLOPES,
    Array,
    alike,
    found_in,
    label,
    labels_of,
    named,
    names_in,
    not_a_stress,
)
from jetsym.atoms.read import form_of, read_frames
from jetsym.atoms.units import contradictions, in_ev
from jetsym.errors import ConfigError, DataError, require
from jetsym.files import expect_data, finished_file

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Part", "file_of", "read_part", "split"]

#: Names under which metatrain finds what a structure's calculator holds.
OWN = ("energy", "forces", "stress")
UNITS = {"energy": "", "forces": "/Å", "stress": "/Å³", "virial": ""}


@dataclass(frozen=True)
class Wanted:
    """A label that every structure is to have: what it is, its name, its unit, and whether metatrain can mask it."""

    quantity: str
    key: str
    unit: str
    maskable: bool
    per_atom: bool = False

    @property
    def of_atoms(self) -> bool:
        """Whether it has a row for every atom."""
        return self.per_atom or self.quantity == "forces"

    def lacks_cell(self, frame: Atoms) -> bool:
        """Return whether it is the stress of a structure that has no volume, and so none."""
        return self.quantity == "stress" and not stress_rank(frame)


@dataclass
class Part:
    """A file of structures for training, validation or testing.

    Parameters
    ----------
    section
        What metatrain is told of it.
    frames
        Its structures; None where it is of a format that only metatrain reads.
    words
        What it holds, in numbers and units.
    wanted
        The labels.
    filled
        Whether metatrain needs a copy of it.
    """

    section: dict[str, Any]
    frames: list[Atoms] | None
    words: str
    wanted: list[Wanted] = field(default_factory=list)
    filled: bool = False

    def write_copy(self, file: Path) -> None:
        """Write what is trained on to a file of its own, NaN where it is missing, and have that read."""
        assert self.frames is not None
        like = [_first(one, self.frames) for one in self.wanted]
        copies = [_filled(frame, self.wanted, like) for frame in self.frames]
        with finished_file(file) as unfinished:
            require("ase.io", extra="atoms", purpose="writing structures").write(
                str(unfinished), copies, format="extxyz"
            )
        self.section["systems"]["read_from"] = str(file.resolve())


def file_of(name: str) -> Path:
    """Return the whole path of a file as a user names it."""
    return Path(name).expanduser().resolve()


def read_part(data: str, targets: Mapping[str, Any], length_unit: str, *, allow_missing: bool = False) -> Part:
    """Read a file of structures and look for every label that metatrain is to be told of.

    Parameters
    ----------
    data
        The file.
    targets
        metatrain's section of targets; where it leaves forces or stress to metatrain, they are trained on if any
        structure has them.
    length_unit
        metatrain's name for Å.
    allow_missing
        Mask what is missing or NaN, where metatrain can.

    Raises
    ------
    DataError
        There is no such file, or structures in it that cannot be used, or that lack what is asked for.
    """
    file = file_of(data)
    if file.exists():
        expect_data(file)
    if not file.is_file():
        raise DataError(f"there is no file {file}; expected structures, such as extended XYZ")
    section: dict[str, Any] = {
        "systems": {"read_from": str(file), "length_unit": length_unit},
        "targets": dict(targets),
    }
    if form_of(file) is None:
        return Part(section, None, f"{file.name}: read by metatrain alone, which looks for what is missing")
    frames = read_frames(file)
    if not frames:
        raise DataError(f"{file} holds no structures")
    for place, frame in enumerate(frames):
        expect_usable(frame, f"structure {place} of {file}")
    section["targets"] = {name: _with_slopes(name, target, frames) for name, target in targets.items()}
    wanted = list(_wanted(section["targets"]))
    words = [_look_for(one, frames, file, allow_missing) for one in wanted]
    said = f"{file.name}: {len(frames)} structures; {'; '.join(words)}"
    part = Part(section, frames, "\n".join([said, *_doubts(wanted, frames)]), wanted)
    part.filled = any(not _is_as_read(frame, one) for one in wanted for frame in frames)
    return part


def _with_slopes(name: str, target: Any, frames: Sequence[Atoms]) -> Any:
    """Decide about forces and stress that a section of an energy leaves open, by whether any structure has them."""
    if not isinstance(target, Mapping) or not (name == "energy" or target.get("quantity") == "energy"):
        return target
    decided = dict(target)
    for slope in SLOPES[:2]:
        given = slope == "stress" and target.get("virial")
        if target.get(slope) is None and "read_from" not in target:
            held = not given and any(slope in found_in(frame) for frame in frames)
            decided[slope] = {"key": slope} if held else False
    return decided


def _wanted(targets: Mapping[str, Any]) -> Iterator[Wanted]:
    """Yield the labels of a section of targets that are read from the file of structures itself."""
    for name, target in targets.items():
        if not isinstance(target, Mapping) or "read_from" in target:
            continue
        unit, key = str(target.get("unit") or ""), str(target.get("key") or name)
        per_atom = target.get("sample_kind") == "atom" or bool(target.get("per_atom"))
        if target.get("quantity", "energy") != "energy" or target.get("type", "scalar") != "scalar" or per_atom:
            yield Wanted(name, key, unit, _is_without_baseline(target), per_atom)
            continue
        if unit:
            in_ev(unit)
        yield Wanted("energy", key, unit, maskable=False)
        for slope in SLOPES:
            given = target.get(slope)
            own = {} if given is True else given
            if isinstance(own, Mapping) and "read_from" not in own:
                yield Wanted(slope, str(own.get("key") or slope), unit, maskable=True)


def _is_without_baseline(target: Mapping[str, Any]) -> bool:
    """Return whether metatrain fits no composition to a target, which NaN would spoil: Cartesian, or λ > 0."""
    kind = target.get("type", "scalar")
    if not isinstance(kind, Mapping):
        return False
    irreps = (kind.get("spherical") or kind.get("Spherical") or {}).get("irreps", [])
    return "cartesian" in {str(name).lower() for name in kind} or all(irrep["o3_lambda"] > 0 for irrep in irreps)


def _look_for(one: Wanted, frames: Sequence[Atoms], file: Path, allow_missing: bool) -> str:
    """Look for a label in every structure; return in words how many have it, and its size.

    Raises
    ------
    DataError
        It is missing, cannot be read, or is something else.
    """
    said = f"{one.quantity} is {one.key!r}, which"
    found, names = labels_of(frames, one.key, one.quantity, of=f" of {file}"), names_in(frames)
    labels = {place: values for place, values in found.items() if not one.lacks_cell(frames[place])}
    gaps = [place for place in range(len(frames)) if place not in labels or np.isnan(labels[place]).any()]
    no_cell = len(found) - len(labels)
    if not found and one.key not in names:
        like = [name for name in alike(one.quantity, names) if name != one.key]
        raise DataError(
            f"{said} {file} does not have; its structures have {', '.join(sorted(names)) or 'nothing'} "
            f"({f'{like[0]!r} may be meant; ' if like else ''}"
            + (f"give {one.quantity}=null to train without)" if one.quantity in SLOPES else "give the name it has)")
        )
    if gaps and not (allow_missing and one.maskable and labels):
        why = f" ({no_cell} of them have no cell, and so no stress)" if no_cell else ""
        raise DataError(
            f"{said} {len(gaps)} of {len(frames)} structures of {file} lack, or have as NaN: {named(frames, gaps)}"
            f"{why}; "
            + (
                "add it, leave these structures out, or mask it where it is missing with allow_missing "
                "(--allow_missing true)"
                if one.maskable and labels
                else "add it, or leave these structures out"
            )
        )
    if one.quantity in ("stress", "virial") and (
        other := not_a_stress(frames, labels, key=one.key, quantity=one.quantity, unit=one.unit)
    ):
        raise DataError(f"{file}: {other}")
    return _described(one, frames, labels, gaps)


def _doubts(wanted: Sequence[Wanted], frames: Sequence[Atoms]) -> list[str]:
    """Say what of the structures speaks against the unit of the energies."""
    energies = [one for one in wanted if one.quantity == "energy"]
    if len(energies) != 1:
        return []
    (energy,) = energies
    forces = next((one.key for one in wanted if one.quantity == "forces"), None)
    found = labels_of(frames, energy.key, "energy")
    slopes = {} if forces is None else labels_of(frames, forces, "forces")
    return contradictions(frames, energy.key, energy.unit or "eV", found, slopes)


def _described(one: Wanted, frames: Sequence[Atoms], labels: Mapping[int, Any], gaps: Sequence[int]) -> str:
    """Say how many structures have a label, in which unit, and how large it is."""
    per = {"energy": "/atom", "virial": "/atom"}.get(one.quantity, UNITS.get(one.quantity, ""))
    scale = [len(frames[place]) if per == "/atom" else 1 for place in labels]
    values = np.concatenate([np.ravel(labels[place]) / by for place, by in zip(labels, scale, strict=True)])
    size = float(np.sqrt(np.nanmean(values**2)))
    unit = f"{one.unit or 'eV'}{per}" if one.quantity in UNITS else one.unit
    masked = f" ({len(gaps)} with gaps, masked)" if gaps else ""
    name = one.quantity if one.quantity == one.key else f"{one.quantity} {one.key!r}"
    return f"{name} of {len(labels)}{masked}, root mean square {size:.4g} {unit}".rstrip()


def _is_as_read(frame: Atoms, one: Wanted) -> bool:
    """Return whether metatrain finds a label where it looks for it, and takes it as it is."""
    own = results_of(frame)
    if one.lacks_cell(frame):
        return False
    if one.key in OWN and own.get(one.key) is not None:
        return one.key != "stress" or np.shape(own["stress"]) == (6,)
    value = (frame.arrays if one.of_atoms else frame.info).get(one.key)
    return value is not None and (one.quantity not in ("stress", "virial") or isinstance(value, np.ndarray))


def _first(one: Wanted, frames: Sequence[Atoms]) -> Array:
    """Return what the first structure that has a label says of it."""
    said = (label(frame, one.key, one.quantity) for frame in frames)
    return next(values for values in said if values is not None)


def _filled(frame: Atoms, wanted: Sequence[Wanted], like: Sequence[Array]) -> Atoms:
    """Return a structure with its labels alone, NaN for those that are missing, in the shape of others' like them."""
    atoms = require("ase", extra="atoms", purpose="jetsym.atoms").Atoms
    made: Atoms = atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    made.arrays |= {name: frame.arrays[name] for name in ("momenta",) if name in frame.arrays}
    made.info |= {name: frame.info[name] for name in ("charge", "spin", "spin_multiplicity") if name in frame.info}
    for one, other in zip(wanted, like, strict=True):
        value = label(frame, one.key, one.quantity)
        if value is None or one.lacks_cell(frame):
            value = np.full((len(frame), *other.shape[1:]) if one.of_atoms else other.shape, np.nan)
        held: dict[str, Any] = made.arrays if one.of_atoms else made.info
        held[one.key] = value if value.ndim else float(value)
    return made


def split(structures: int, validation: float | str, test: float | str) -> tuple[dict[str, float], dict[str, int]]:
    """Return fractions that take one structure at least where one is asked for, and the numbers that they take.

    Raises
    ------
    ConfigError
        None is left to train on.

    Examples
    --------
    >>> split(40, 0.1, 0.0)
    ({'validation': 0.1, 'test': 0.0}, {'training': 36, 'validation': 4, 'test': 0})
    >>> split(5, 0.1, 0.0)[1]
    {'training': 4, 'validation': 1, 'test': 0}
    """
    asked = {"validation": validation, "test": test}
    fractions = {name: float(part) for name, part in asked.items() if isinstance(part, (int, float))}
    left, share = structures, 1.0
    numbers = {"training": 0, "validation": 0, "test": 0}
    for name, fraction in fractions.items():
        taken = math.floor(left * (fraction / share))
        if fraction and not taken:
            taken, fractions[name] = 1, 1.000001 * share / left
        numbers[name], left, share = taken, left - taken, share - fractions[name]
    if left < 1:
        raise ConfigError(
            f"{structures} structure{'s' * (structures != 1)} cannot be split by validation={validation} and "
            f"test={test}; expected one to train on besides"
        )
    return fractions, {**numbers, "training": left}
