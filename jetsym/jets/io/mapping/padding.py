"""Padding in lists of particles: filled up to one length by zeros or by another constant, and no particles at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.remote import File

__all__ = ["find_empty_ends", "find_padding", "refuse_padding"]


def refuse_padding(
    path: File,
    mapping: TreeMapping,
    parts: Mapping[str, NDArray[Any]],
    counts: NDArray[np.int64],
    entries: NDArray[np.int64],
    kept: NDArray[np.bool_] | None = None,
) -> None:
    """Refuse particles that are padding, as far as the mapping does not leave them out.

    Parameters
    ----------
    path, mapping
        The file, and what is read of it.
    parts
        (P,) what the file says of the momenta of all particles, by name.
    counts, entries
        (B,) the number of particles of each jet, and that of its entry.
    kept
        (P,) the particles that are meant; None for all.

    Raises
    ------
    DataError
        If there are some; the message says how to leave them out.
    """
    jets = np.repeat(np.arange(len(counts)), counts)
    if kept is not None:
        parts, jets = {name: one[kept] for name, one in parts.items()}, jets[kept]
        counts = np.bincount(jets, minlength=len(counts))
    filled = find_padding([*parts.values()], counts)
    if not len(filled):
        return
    value = {name: one[filled[0]] for name, one in parts.items()}
    said = ", ".join(f"{name} = {each:g}" for name, each in value.items())
    assert mapping.particles is not None
    name = next((name for name in ("pt", "energy", "px") if name in value), next(iter(value)))
    text = mapping.particles.parts[name].text if name in mapping.particles.parts else f"`{name}`"
    condition = f"isfinite({text})" if not np.isfinite(value[name]) else f"{text} != {value[name]:g}"
    remedy = f"with 'where' under 'particles' in {mapping.path}, such as where: \"{condition}\""
    if mapping.of_weaver:
        remedy = f"by 'new_variables' in {mapping.path}, each with [{condition}] behind it"
    raise DataError(
        f"{path}: {len(filled)} particles of {len(np.unique(jets[filled]))} jets are padding, by {said}, the first at "
        f"entry {entries[jets[filled[0]]]}; leave them out, {remedy}"
    )


def find_padding(parts: list[NDArray[Any]], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find particles that are padding (n,): those without any momentum, and at the ends of jets those of a constant.

    A constant is what several jets end with after others, and either the last two or more particles of a jet are, or
    all components, if it is a whole number; also NaN or infinity, if most jets end so.

    Examples
    --------
    >>> px = np.array([5.0, -9.0, -9.0, 3.0, 4.0, -9.0, 8.0, 0.0, 7.0])
    >>> find_padding([px, px, px], np.array([3, 3, 3]))
    array([1, 2, 5, 7])
    """
    if len(parts) < 2:
        return np.empty(0, np.int64)
    is_zero = parts[0] == 0
    for one in parts[1:]:
        if not is_zero.any():
            break
        is_zero = is_zero & (one == 0)
    found = is_zero
    for constant in _constants(parts, counts):
        same = np.ones(len(found), np.bool_)
        for one, value in zip(parts, constant, strict=True):
            same &= one == value if np.isfinite(value) else ~np.isfinite(one)
        found = found | (same & _at_the_end(same, counts))
    return np.flatnonzero(found)


def find_empty_ends(momenta: list[NDArray[Any]], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which particles (P,) have no momentum, (px, py, pz) = 0, and are followed by none that has in their jet.

    Examples
    --------
    >>> px = np.array([5.0, 0.0, 3.0, 0.0, 0.0, 0.0])
    >>> find_empty_ends([px, px, px], np.array([4, 2])).astype(int)
    array([0, 0, 0, 1, 1, 1])
    """
    empty = np.asarray(np.logical_and.reduce([one == 0 for one in momenta]), np.bool_)
    return empty & _at_the_end(empty, counts) if empty.any() else empty


def _constants(parts: list[NDArray[Any]], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Return the constants that jets end with, as far as they can be told from particles."""
    sizes = counts[counts > 0]
    last = np.cumsum(sizes) - 1

    def at(places: NDArray[np.int64]) -> NDArray[np.float64]:
        found = np.stack([one[places].astype(np.float64) for one in parts], axis=1)
        return np.where(np.isfinite(found), found, np.inf)  # NaN is not the same as NaN

    ends = at(last)
    constants, inverse, number = np.unique(ends, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)

    def is_end_of(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        found = np.zeros(len(constants), np.bool_)
        found[inverse[where]] = True
        return found

    twice = is_end_of((sizes > 1) & (ends == at(np.maximum(last - 1, 0))).all(axis=1))
    after_others = is_end_of((ends != at(last - sizes + 1)).any(axis=1))
    unbroken = (constants == constants[:, :1]).all(axis=1) & (constants[:, 0] == np.round(constants[:, 0]))
    empty = np.isinf(constants).all(axis=1)
    chosen = (number > 1) & after_others & np.where(empty, 2 * number > len(ends), twice | unbroken)
    return [*constants[chosen]]


def _at_the_end(same: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which particles are followed by none of another kind in their jet."""
    others = np.concatenate([[0], np.cumsum(~same)])
    ends = np.repeat(np.cumsum(counts), counts)
    return np.asarray(others[ends] == others[1:])
