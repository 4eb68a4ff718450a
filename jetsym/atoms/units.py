"""Units of energies: what they are in eV, and where a file of structures contradicts the one that is declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.packages import quiet
from jetsym.errors import ConfigError, require
from jetsym.text import options_said

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["COMMON", "contradictions", "in_ev", "total_energy_of_atoms"]

#: Units that files of energies come in.
COMMON = ("eV", "kcal/mol", "kJ/mol", "Hartree", "Ry", "meV")
#: eV between which a unit of the energies of structures lies: a kcal is 2.6e22 eV, and a kcal/mol 0.043.
SMALLEST, LARGEST = 1e-6, 1e3
#: Words in the names of labels, and in what a file says of units -> the unit.
WORDS = {
    "ev": "eV",
    "mev": "meV",
    "kcal": "kcal/mol",
    "kcalmol": "kcal/mol",
    "kj": "kJ/mol",
    "kjmol": "kJ/mol",
    "hartree": "Hartree",
    "ha": "Hartree",
    "ry": "Ry",
    "rydberg": "Ry",
}
#: Times the energy of all electrons that none exceeds: the formula is off by up to 17 % for hydrogen alone, and by 7 %
#: for gold; and the part that they may differ by where a unit is named.
NONE, ALIKE = 1.3, 0.1
#: eV/Å that forces of half of the structures of a file exceed in no unit but a smaller one than eV.
MOST = 10.0


def in_ev(unit: str) -> float:
    """Return a unit of energy in eV.

    Raises
    ------
    ConfigError
        It is none, or that of a lump of matter instead of a structure.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("metatomic.torch")
    >>> round(in_ev("kcal/mol"), 6), in_ev("")
    (0.043364, 1.0)
    """
    if not unit:
        return 1.0
    with quiet():
        convert = require("metatomic.torch", extra="atoms", purpose="units").unit_conversion_factor
    try:
        factor = float(convert(unit, "eV"))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"unit is {unit!r}; expected one of energies, such as eV, meV, kcal/mol, kJ/mol, Hartree or Ry"
        ) from error
    if not SMALLEST < factor < LARGEST:
        mole = f"{unit}/mol"
        meant = f"; {mole!r} may be meant" if SMALLEST < factor * float(convert("eV/mol", "eV")) < LARGEST else ""
        raise ConfigError(
            f"unit is {unit!r}, {factor:.2g} eV, in which no energies of structures are given; expected one such as "
            f"eV, meV, kcal/mol, kJ/mol, Hartree or Ry{meant}"
        )
    return factor


def contradictions(
    frames: Sequence[Atoms], key: str, unit: str, energies: Mapping[int, Any], forces: Mapping[int, Any]
) -> list[str]:
    """Say what of a file of structures speaks against the unit that is declared for its energies.

    Parameters
    ----------
    frames
        The structures.
    key, unit
        Name of the energies, and their declared unit.
    energies, forces
        What structures say of them, by their places.
    """
    said = [*_by_words(frames, key, unit), *_by_total_energies(frames, unit, energies)]
    if not said and (size := _median_size(forces) * in_ev(unit)) > MOST:
        said.append(
            f"half of the structures have forces of {size:.3g} eV/Å and more if they are in {unit}/Å, which are "
            "forces of a smaller unit, such as kcal/mol, or of structures far from any that atoms stay in"
        )
    return [f"look at the unit: {words}" for words in said]


def _by_words(frames: Sequence[Atoms], key: str, unit: str) -> Iterator[str]:
    """Yield units that the name of the energies, or an entry of the structures about units, says against another."""
    entries = {f"energy is {key!r}, by its name": key}
    for name, value in (frames[0].info if frames else {}).items():
        if re.search("units?$", str(name), re.IGNORECASE) and isinstance(value, str):
            entries[f"{name!r} of the structures is {value!r},"] = value
    for what, text in entries.items():
        found = {WORDS[word] for word in re.split("[^a-z]+", text.lower()) if word in WORDS}
        if len(found) == 1 and not np.isclose(in_ev(named := found.pop()), in_ev(unit)):
            yield f"{what} in {named}, and unit is {unit!r} ({options_said({'unit': named})} if that is so)"


def _by_total_energies(frames: Sequence[Atoms], unit: str, energies: Mapping[int, Any]) -> Iterator[str]:
    """Yield the unit in which energies are those of all electrons, where they are larger than that in the other."""
    ratios = [float(energies[place]) / total_energy_of_atoms(frames[place].numbers) for place in energies]
    ratio = float(np.median(ratios)) * in_ev(unit) if ratios else 0.0
    if ratio > NONE:
        fits = [other for other in COMMON if abs(ratio * in_ev(other) / in_ev(unit) - 1) < ALIKE]
        yield f"energies are {ratio:.3g} times those of all electrons of the atoms if they are in {unit}" + (
            f", and are those in {fits[0]} ({options_said({'unit': fits[0]})})" if fits else ", which none can be"
        )


def total_energy_of_atoms(numbers: NDArray[Any]) -> float:
    """Return the total energy of all electrons of neutral atoms, eV, to some per cent.

    Notes
    -----
    E = −0.768745 Z^(7/3) + Z²/2 − 0.269900 Z^(5/3) Hartree, without relativity: Thomas and Fermi's, Scott's and
    Schwinger's terms; B.-G. Englert, Semiclassical Theory of Atoms (1988). Hydrogen is −1/2.

    Examples
    --------
    >>> round(total_energy_of_atoms(np.array([6])) / 27.2114, 1)  # Hartree and Fock's is -37.7
    -37.6
    """
    z = np.asarray(numbers, dtype=np.float64)
    each = -0.768745 * z ** (7 / 3) + z**2 / 2 - 0.269900 * z ** (5 / 3)
    return 27.211386 * float(np.where(z == 1, -0.5, each).sum())


def _median_size(forces: Mapping[int, Any]) -> float:
    sizes = [float(np.sqrt(np.nanmean(np.square(values)))) for values in forces.values()]
    return float(np.median(sizes)) if sizes else 0.0
