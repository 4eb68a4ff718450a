"""Inputs that were computed from others that move, and would be stale once these have moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError

__all__ = ["SAMPLES", "columns_of_points", "refuse_stale"]

Array = NDArray[np.float64]

#: Samples that are looked at, and numbers that must agree.
SAMPLES, LEAST = 16, 8
#: Correlation from which on one thing is computed from another; change along the orbit from which on it is stale.
SAME, CHANGES = 1 - 1e-5, 1e-4
#: What is summed over points, and taken relative to these sums.
SCALES = {"pT", "|p|", "E", "mT"}


def refuse_stale(before: Mapping[str, Array], after: Mapping[str, Array], kept: Mapping[str, Array]) -> None:
    """Refuse inputs that stay though they are functions of others that move.

    What is known are, each up to an affine map and clipping: components, pT, |p|, E, mT and their squares, inverses and
    logarithms; φ, η, θ, the rapidity, and sines and cosines of angles; of points, of their sums, of points relative
    to these and to their mean, of differences of pairs; shares and sums of the scales, and second moments.

    Parameters
    ----------
    before, after
        Name -> components (samples, points, 3 or 4), (E, px, py, pz) for four, of what moves, and the same once moved.
    kept
        Name -> (samples, points, columns), (samples, points · points, columns) of pairs, or (samples, columns) of what
        stays.

    Raises
    ------
    ProbeError
        A column of these follows from what moves, and not from what the group leaves as it is.
    """
    for name, moving in before.items():
        for derived in (_of_points, _of_sums, _of_pairs):
            new = dict(derived(after[name]))
            for what, values in derived(moving):
                if not _changes(values, new[what]):
                    continue
                for other, array in kept.items():
                    if array.shape[:-1] == values.shape:
                        for column in range(array.shape[-1]):
                            if _is_same(array[..., column], values):
                                raise ProbeError(
                                    f"the input {other} holds {what} of {name} (column {column}), which changes as "
                                    f"{name} moves, while {other} would stay; compute it from what moved, with "
                                    f"call=…, or say with moves={{{other!r}: None, …}} that it is to stay"
                                )


def columns_of_points(array: NDArray[Any], n: int | None) -> Array:
    """Arrange what stays as :func:`refuse_stale` takes it, by the axes of its n points or of their pairs."""
    values = array.astype(np.float64)
    axes = [] if n is None else [axis for axis in range(1, values.ndim) if values.shape[axis] == n][:2]
    values = np.moveaxis(values, axes, range(1, 1 + len(axes)))
    rows = [n ** len(axes)] if n is not None and axes else []
    return values.reshape(len(values), *rows, -1)


def _of_points(p: Array) -> Iterator[tuple[str, Array]]:
    """Yield what is computed from points (samples, points, 3 or 4), by name."""
    with np.errstate(all="ignore"):
        whole = dict(_functions(p.sum(axis=1)))
        real = np.where((p != 0).any(axis=-1, keepdims=True), p, np.nan)
        own = dict(_functions(real))
        yield from own.items()
        eta, phi = own["η"] - whole["η"][:, None], own["φ"] - whole["φ"][:, None]
        phi = (phi + np.pi) % (2 * np.pi) - np.pi
        sign = np.sign(whole["η"])[:, None]
        yield from (("Δη", eta), ("Δη by the side", sign * eta), ("Δφ", phi), ("ΔR", np.hypot(eta, phi)))
        if "rapidity" in own:
            yield "Δ of the rapidity", own["rapidity"] - whole["rapidity"][:, None]
        for name in SCALES & own.keys():
            for total, of in ((whole[name], "of the sum"), (np.nansum(own[name], axis=1), "of the scalar sum")):
                yield f"{name} ratio, {of}", own[name] / total[:, None]
                yield f"log of the {name} ratio, {of}", np.log(own[name] / total[:, None])
        known = np.isfinite(real).all(axis=-1, keepdims=True)
        mean = np.where(known, p, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
        yield from ((f"{name} relative to the mean", values) for name, values in _functions(real - mean))


def _of_sums(p: Array) -> Iterator[tuple[str, Array]]:
    """Yield what is computed for a sample from all its points, by name."""
    with np.errstate(all="ignore"):
        yield from ((f"{name} of the sum", values) for name, values in _functions(p.sum(axis=1)))
        own = dict(_functions(p))
        yield from ((f"the sum of {name}", own[name].sum(axis=1)) for name in SCALES & own.keys())
        for what, q in (("the second moment", p), ("the covariance", p - p.mean(axis=1, keepdims=True))):
            for one, other in combinations_with_replacement(range(p.shape[-1]), 2):
                yield f"{what} {one} {other}", (q[..., one] * q[..., other]).sum(axis=1)


def _of_pairs(p: Array) -> Iterator[tuple[str, Array]]:
    """Yield what is computed from differences of two points, (samples, points · points), by name."""
    apart = p[:, :, None] - p[:, None]
    with np.errstate(all="ignore"):
        for name, values in _functions(apart.reshape(len(p), -1, p.shape[-1])):
            yield f"{name} of differences", values


def _functions(p: Array) -> Iterator[tuple[str, Array]]:
    x, y, z = np.moveaxis(p[..., -3:], -1, 0)
    pt, size = np.hypot(x, y), np.sqrt((p[..., -3:] ** 2).sum(axis=-1))
    phi = np.arctan2(y, x)
    yield from (("x", x), ("y", y), ("z", z), ("φ", phi), ("sin φ", np.sin(phi)), ("cos φ", np.cos(phi)))
    yield from (("η", np.arcsinh(z / pt)), ("cos θ", z / size), ("θ", np.arctan2(pt, z)), ("sin θ", pt / size))
    scales = [("pT", pt), ("|p|", size)]
    if p.shape[-1] == 4:
        e = p[..., 0]
        yield "rapidity", np.arctanh(z / e)
        scales += [("E", e), ("mT", np.sqrt(e**2 - z**2))]
    for name, values in scales:
        yield from ((name, values), (f"log {name}", np.log(values)), (f"log (1 + {name})", np.log1p(values)))
        yield from ((f"{name}²", values**2), (f"1/{name}", 1 / values), (f"√{name}", np.sqrt(values)))


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
