"""Inputs that were computed from others that move, and would be stale once these have moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError

__all__ = ["SAMPLES", "refuse_stale"]

Array = NDArray[np.float64]

#: Samples that are looked at, and numbers that must agree.
SAMPLES, LEAST = 16, 8
#: Correlation from which on one thing is computed from another; change along the orbit from which on it is stale.
SAME, CHANGES = 1 - 1e-5, 1e-4


def refuse_stale(before: Mapping[str, Array], after: Mapping[str, Array], kept: Mapping[str, Array]) -> None:
    """Refuse inputs that stay though they are functions of others that move.

    What is known are components, pT, log pT, |p|, log |p|, E, log E, η, φ and cos θ of points, of their sums, and of
    points relative to their sums, each up to an affine map and clipping.

    Parameters
    ----------
    before, after
        Name -> components (samples, points, 3 or 4), (E, px, py, pz) for four, of what moves, and the same once moved.
    kept
        Name -> (samples, points, columns) or (samples, columns) of what stays.

    Raises
    ------
    ProbeError
        A column of these follows from what moves, and not from what the group leaves as it is.
    """
    for name, moving in before.items():
        for points, moved in ((True, after[name]), (False, after[name])):
            new = dict(_derived(moved, of_points=points))
            for what, values in _derived(moving, of_points=points):
                if not _changes(values, new[what]):
                    continue
                for other, array in kept.items():
                    if array.ndim == 2 + points and array.shape[: 1 + points] == values.shape:
                        for column in range(array.shape[-1]):
                            if _is_same(array[..., column], values):
                                raise ProbeError(
                                    f"the input {other} holds {what} of {name} (column {column}), which changes as "
                                    f"{name} moves, while {other} would stay; compute it from what moved, with "
                                    f"call=…, or say with moves={{{other!r}: None, …}} that it is to stay"
                                )


def _derived(p: Array, *, of_points: bool) -> Iterator[tuple[str, Array]]:
    """Yield what is computed from points (samples, points, 3 or 4), or from their sums, by name."""
    total = p.sum(axis=1)
    with np.errstate(all="ignore"):
        whole = dict(_functions(total))
        if not of_points:
            yield from ((f"{name} of the sum", values) for name, values in whole.items())
            return
        own = dict(_functions(np.where((p != 0).any(axis=-1, keepdims=True), p, np.nan)))
        yield from own.items()
        eta, phi = own["η"] - whole["η"][:, None], own["φ"] - whole["φ"][:, None]
        phi = (phi + np.pi) % (2 * np.pi) - np.pi
        sign = np.sign(whole["η"])[:, None]
        yield from (("Δη", eta), ("Δη by the side", sign * eta), ("Δφ", phi), ("ΔR", np.hypot(eta, phi)))
        for name in ("pT", "|p|", "E"):
            if name in own:
                yield f"{name} ratio", own[name] / whole[name][:, None]
                yield f"log of the {name} ratio", np.log(own[name] / whole[name][:, None])


def _functions(p: Array) -> Iterator[tuple[str, Array]]:
    x, y, z = np.moveaxis(p[..., -3:], -1, 0)
    pt, size = np.hypot(x, y), np.sqrt((p[..., -3:] ** 2).sum(axis=-1))
    yield from (("x", x), ("y", y), ("z", z), ("φ", np.arctan2(y, x)), ("η", np.arcsinh(z / pt)), ("cos θ", z / size))
    scales = [("pT", pt), ("|p|", size), *([("E", p[..., 0])] if p.shape[-1] == 4 else [])]
    for name, values in scales:
        yield from ((name, values), (f"log {name}", np.log(values)))


def _changes(before: Array, after: Array) -> bool:
    after = after.reshape(-1, *before.shape)
    known = np.isfinite(after) & np.isfinite(before)
    change = np.where(known, after - before, 0.0)
    return bool(np.abs(change).max(initial=0) > CHANGES * np.abs(np.where(known, before, 0.0)).max(initial=0))


def _is_same(column: Array, values: Array) -> bool:
    """Return whether a column is an affine function of values, but where it is clipped."""
    kept = np.isfinite(values) & np.isfinite(column)
    for end in (column[kept].min(initial=np.inf), column[kept].max(initial=-np.inf)):
        if (column[kept] == end).sum() > 1:
            kept &= column != end
    a, b = column[kept], values[kept]
    if len(np.unique(a)) < LEAST:
        return False
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return bool(size > 0 and abs(a @ b) > SAME * size)
