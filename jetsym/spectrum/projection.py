"""From responses along an orbit to their coefficients in every irrep: products with :mod:`jetsym.spectrum.bands`.

:func:`advance` is a pure function of arrays of one library, and of nothing else: it can be traced by ``jax.jit``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array
from numpy.typing import NDArray

from jetsym.spectrum.bands import Rule, bands_of, one_after_the_other, ring_transform, rows_of
from jetsym.spectrum.responses import InputColumns, Responses, as_like, is_mutable, lasting, to_numpy

__all__ = [
    "Matrices",
    "State",
    "add_norms",
    "add_products",
    "advance",
    "halve",
    "matrices_of",
    "parity_half",
    "parity_halves",
    "powers_of",
    "transform",
]


class Matrices(NamedTuple):
    """The factors that the responses of one chunk are multiplied with, in their own library.

    Parameters
    ----------
    weights
        (n_chunk,) weights of the rotations.
    transform
        (parts, F / parts, K) transforms of what stays together; see :func:`~jetsym.spectrum.bands.ring_transform`.
    bands
        For each band (rows, 1 or 2 · units).
    """

    weights: Any
    transform: Any
    bands: tuple[Any, ...]


def matrices_of(rule: Rule, chunk: slice, *, like: Any) -> Matrices:
    """Return the matrices of a chunk in the library, dtype and device of another array; kept for the next call."""
    bands, units = bands_of(rule), rule.units(chunk)
    converted: dict[Any, Matrices] = rule.__dict__["_converted"]
    key = (units.start, units.stop, array_namespace(like).__name__, like.dtype, device(like))
    if key in converted:
        return converted[key]
    made = Matrices(
        as_like(rule.weights[chunk], like),
        as_like(ring_transform(rule), like),
        tuple(as_like(band.matrix[:, :, units].reshape(len(band.matrix), -1), like) for band in bands),
    )
    if lasting(made.weights):
        converted[key] = made
    return made


class State(NamedTuple):
    """The sums over the responses so far; a tree of arrays.

    Parameters
    ----------
    norm
        (samples,) ∫‖u‖² over the rotations so far.
    coefficients
        For each coset (of R, and of −R), and in the end for each parity half: (rows of all bands, one after the other;
        columns).
    """

    norm: Any
    coefficients: tuple[Any, ...]


def advance(state: State | None, matrices: Matrices, responses: Responses) -> State:
    """Return the state after the responses of one more chunk; None is the state before the first.

    Torch states are updated in place, which saves a copy of all coefficients: go on with the state that comes back.
    """
    before = [None] * len(responses.cosets) if state is None else state.coefficients
    norm = add_norms(None if state is None else state.norm, matrices.weights, responses)
    coefficients = tuple(
        add_products(old, matrices.bands, transform(matrices.transform, u))
        for old, u in zip(before, responses.cosets, strict=True)
    )
    return State(norm, coefficients)


def add_norms(norm: Any, weights: Any, responses: Responses) -> Any:
    """Add a chunk's squared norms, with weights (n_chunk,), to the sums (samples,); None is the first sum."""
    for u in responses.cosets:
        part = weights / len(responses.cosets) @ responses.columns.squared_norms(u)
        norm = part if norm is None else norm + part
    return norm


def transform(matrix: Any, u: Any, *, out: Any = None) -> Any:
    """Compute the transforms (F, units, columns) of responses (n_chunk, columns), written to ``out``.

    ``matrix`` is that of :func:`~jetsym.spectrum.bands.ring_transform`. Of pairs of rings the sums and differences are
    transformed, which halves the arithmetic.
    """
    xp = array_namespace(u)
    parts, rows, ring = matrix.shape
    rings = xp.reshape(u, (u.shape[0] // (parts * ring), parts, ring, u.shape[1]))
    first, last = rings[:, 0, ...], rings[:, -1, ...]
    folded = [first + last, first - last] if parts == 2 else [first]
    if not is_torch_array(u):
        transformed = xp.stack([matrix[part, ...] @ some for part, some in enumerate(folded)], axis=2)
        transformed = xp.permute_dims(xp.reshape(transformed, (first.shape[0], parts * rows, -1)), (1, 0, 2))
        if out is not None:
            out[...] = transformed
        return transformed
    # Written in the order in which the products read it, which saves a copy.
    transformed = u.new_empty((parts * rows, first.shape[0], u.shape[1])) if out is None else out
    for part, some in enumerate(folded):
        xp.bmm(matrix[part].expand(len(some), rows, ring), some, out=transformed[part::parts].transpose(0, 1))
    return transformed


def add_products(before: Any, bands: tuple[Any, ...], transformed: Any) -> Any:
    """Add the products of all bands with transforms (F, units, columns) to the coefficients of one coset."""
    xp, (_, units, columns) = array_namespace(transformed), transformed.shape
    widths = [matrix.shape[1] // units for matrix in bands]
    places = one_after_the_other(matrix.shape[0] for matrix in bands)
    given = [transformed[some, ...] for some in one_after_the_other(widths)]
    pairs = [(matrix, xp.reshape(rows, (matrix.shape[1], columns))) for matrix, rows in zip(bands, given, strict=True)]
    if not is_torch_array(transformed):
        added = xp.concat([matrix @ rows for matrix, rows in pairs], axis=0)
        return added if before is None else before + added
    after = transformed.new_empty((places[-1].stop, columns)) if before is None else before
    for some, (matrix, rows) in zip(places, pairs, strict=True):
        after[some].addmm_(matrix, rows, beta=0 if before is None else 1)
    return after


def parity_half(cosets: tuple[Any, ...], half: int) -> Any:
    """Return one of the halves (u(R) ± u(−R))/2, even (0) or odd (1); one coset is its own only half."""
    if len(cosets) == 1:
        return cosets[0]
    proper, improper = cosets
    return (proper - improper if half else proper + improper) / 2


def parity_halves(cosets: tuple[Any, ...]) -> tuple[Any, ...]:
    """Split what belongs to R and −R into the halves of :func:`parity_half`."""
    return tuple(parity_half(cosets, half) for half in range(len(cosets)))


def halve(rule: Rule, cosets: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the parity halves of coefficients (rows, columns) of each coset; those of torch and numpy are lost.

    They are changed where they are, a few rows at a time: copies of all would double the memory.
    """
    if len(cosets) == 1 or not is_mutable(cosets[0]):
        return parity_halves(cosets)
    for rows in rows_of(rule):
        proper, improper = (coset[rows, :] for coset in cosets)
        odd = (proper - improper) / 2
        proper += improper
        proper /= 2
        improper[...] = odd
    return cosets


def powers_of(rule: Rule, halves: tuple[Any, ...], columns: InputColumns) -> NDArray[np.float64]:
    """Compute the (halves, samples, λ) power of every λ in the parity halves (rows, columns) of the coefficients."""
    bands, xp = bands_of(rule), array_namespace(halves[0])
    lam, factor = (np.concatenate([getattr(band, name) for band in bands]) for name in ("lam", "factor"))
    weights = np.where(lam[:, None] == np.arange(1 + lam.max()), factor[:, None], 0.0)
    squares = [xp.concat([columns.squared_norms(half[rows, :]) for rows in rows_of(rule)]) for half in halves]
    return np.stack([to_numpy(part).astype(np.float64).T @ weights for part in squares])
