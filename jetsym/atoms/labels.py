"""What structures say of their energies, forces, stress and other quantities: by name, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.calculated import full_stress
from jetsym.atoms.frames import results_of
from jetsym.atoms.units import in_ev
from jetsym.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["SLOPES", "alike", "found_in", "label", "labels_of", "named", "names_in", "not_a_stress"]

Array = NDArray[np.float64]

SLOPES = ("forces", "stress", "virial")
#: eV/Å³, and eV of every atom, above which the median structure of a file is under no stress: 80 GPa, and more
#: than bonds hold. A virial is the stress times a volume, and lies above.
LARGEST, LARGEST_OF_AN_ATOM = 0.5, 10.0
#: Two tensors are the same up to this, as files keep some digits only.
SAME = 1e-3
#: How many structures an error names.
NAMED = 8


def found_in(frame: Atoms) -> dict[str, Any]:
    """Return all that a structure comes with, by name: of its calculator, then per structure and per atom."""
    results = {name: value for name, value in results_of(frame).items() if value is not None}
    return {**frame.arrays, **frame.info, **results}


def names_in(frames: Iterable[Atoms]) -> set[str]:
    """Return the names of all that structures come with, beside what makes them structures.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> names_in([ase.Atoms("Cu", info={"energy": 0.5}), ase.Atoms("Cu")])
    {'energy'}
    """
    return {name for frame in frames for name in found_in(frame)} - {"numbers", "positions"}


def label(frame: Atoms, key: str, quantity: str) -> Array | None:
    """Return what a structure says of a quantity: energy (), forces (atoms, 3), stress or virial (3, 3), else as it is.

    Returns
    -------
    numpy.ndarray or None
        None where it says nothing: there is no such name, or only NaN.

    Raises
    ------
    ValueError
        It cannot be read; the message says why.
    """
    value = found_in(frame).get(key)
    if value is None:
        return None
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{str(value)[:30]!r} is no number") from error
    if quantity in ("stress", "virial"):
        array = _tensor(array, own=key == "stress" and key in results_of(frame))
    expected = {"energy": (), "forces": (len(frame), 3)}.get(quantity)
    if quantity == "energy" and array.size == 1:
        array = array.reshape(())
    if expected is not None and array.shape != expected:
        raise ValueError(f"shape {array.shape} in place of {expected}")
    if np.isinf(array).any():
        raise ValueError("it is infinite")
    return None if np.isnan(array).all() else array


def _tensor(array: Array, *, own: bool) -> Array:
    if array.size == 9 or (array.shape == (6,) and own):  # which ASE's readers have brought into ASE's order
        return full_stress(array)
    if array.shape == (6,):
        raise ValueError(
            "six numbers, whose order is not said (ASE's is xx, yy, zz, yz, xz, xy); write all nine, "
            "ase.stress.voigt_6_to_full_3x3_stress"
        )
    raise ValueError(f"shape {array.shape} in place of (3, 3)")


def labels_of(
    frames: Sequence[Atoms], key: str, quantity: str, *, of: str = "", numbers: Sequence[int] | None = None
) -> dict[int, Array]:
    """Return what structures say of a quantity, as :func:`label` does, by the places of those that say something.

    Parameters
    ----------
    frames
        The structures.
    key, quantity
        Its name, and what it is.
    of
        Where they come from, for the error: " of data.xyz".
    numbers
        Their numbers there, where these are not their places.

    Raises
    ------
    DataError
        It cannot be read in some of them.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> labels_of([ase.Atoms("Cu"), ase.Atoms("Cu", info={"e": 0.5})], "e", "energy")
    {1: array(0.5)}
    """
    labels, unreadable = {}, {}
    for place, frame in enumerate(frames):
        try:
            values = label(frame, key, quantity)
        except ValueError as error:
            unreadable[place] = str(error)
            continue
        if values is not None:
            labels[place] = values
    if unreadable:
        reason = Counter(unreadable.values()).most_common(1)[0][0]
        raise DataError(
            f"{quantity} is {key!r}, which cannot be read in {len(unreadable)} of {len(frames)} structures{of}: "
            f"{named(frames, unreadable, numbers=numbers)}: {reason}"
        )
    return labels


def named(frames: Sequence[Atoms], places: Iterable[int], *, numbers: Sequence[int] | None = None) -> str:
    """Write which structures are meant, with their formulas, by their places or by numbers of their own.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> named([ase.Atoms("Cu"), ase.Atoms("Al2")], [1])
    '1 (Al2)'
    """
    chosen = list(places)
    called = range(len(frames)) if numbers is None else numbers
    words = [f"{called[place]} ({frames[place].get_chemical_formula()})" for place in chosen[:NAMED]]
    return ", ".join([*words, *(["…"] if len(chosen) > NAMED else [])])


def alike(quantity: str, names: Iterable[str]) -> list[str]:
    """Return the names that may be those of a quantity: REF_energy, ref_forces, free_energy, dft_virials.

    Examples
    --------
    >>> alike("forces", ["dft_force", "positions", "FORCES"])
    ['FORCES', 'dft_force']
    """
    stem = re.escape(quantity.rpartition(":")[2].removesuffix("s"))
    return sorted(name for name in names if re.search(stem, name, re.IGNORECASE))


def not_a_stress(
    frames: Sequence[Atoms], tensors: Mapping[int, Array], *, key: str, quantity: str, unit: str
) -> str | None:
    """Say what else a stress (or a virial −V σ) is, by its name, by the stress that stands beside it and by its size.

    Parameters
    ----------
    frames
        The structures.
    tensors
        What they say, by their places.
    key, quantity
        Its name, and what it is taken for: "stress" or "virial".
    unit
        Of the energy.
    """
    other = {"stress": "virial", "virial": "stress"}[quantity]
    remedy = f"give {other}={key!r} (--{other} {key}) and no {quantity}, or convert them"
    if other in key.lower() and quantity not in key.lower():
        return f"{quantity} is {key!r}, by its name a {other}; {remedy}"
    tensors = {place: tensor for place, tensor in tensors.items() if np.isfinite(tensor).all()}  # gaps say nothing
    seen = []
    for place, tensor in tensors.items():
        frame, volume = frames[place], frames[place].cell.volume
        if not volume or not np.abs(tensor).max():
            continue
        beside = None
        if key != "stress":
            with suppress(ValueError):  # nobody asked for it, and it may be anything
                beside = label(frame, "stress", "stress")
        if beside is not None and np.abs(beside).max():
            factors = {1.0: "stress", -1.0: "negative", -volume: "virial", volume: "negative"}
            size = np.abs(tensor).max()
            seen += [name for by, name in factors.items() if np.abs(tensor - by * beside).max() < SAME * size]
    if seen and {*seen} == {other}:
        return f"{quantity} is {key!r}, which equals the {other} of all structures that have both; {remedy}"
    if seen and {*seen} == {"negative"}:
        return f"{quantity} is {key!r}, which has the other sign of the stress beside it; convert it"
    return _too_large(frames, tensors, key, unit, remedy) if quantity == "stress" else None


def _too_large(frames: Sequence[Atoms], tensors: Mapping[int, Array], key: str, unit: str, remedy: str) -> str | None:
    """Say whether stresses are too large for any: those of the median structure, in eV/Å³, and per atom in eV."""
    sizes = {place: in_ev(unit) * float(np.abs(tensor).max()) for place, tensor in tensors.items() if tensor.any()}
    if not sizes:
        return None
    median = float(np.median([*sizes.values()]))
    of_an_atom = float(np.median([size * frames[i].cell.volume / len(frames[i]) for i, size in sizes.items()]))
    if median <= LARGEST and of_an_atom <= LARGEST_OF_AN_ATOM:
        return None
    return (
        f"stress is {key!r}, which is too large for stresses in {unit or 'eV'}/Å³: the median structure's would be "
        f"{median * 160.2177:.3g} GPa, or {of_an_atom:.3g} eV an atom; if they are virials, {remedy}; if they are in "
        "GPa or kbar, convert them"
    )
