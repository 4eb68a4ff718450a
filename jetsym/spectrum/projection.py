"""From responses along an orbit to their coefficients in every irrep, as products of real matrices.

For every ring of a rule the responses are Fourier-transformed over γ by one matrix product with the K angles, then for
every n ≥ 0 one product with w e^{−imα} d^λ_mn(β) e^{−inγ₀} gives all (λ, m) at once; as responses are real, n and −n
hold the same power. Cosines and sines are kept apart, so that everything is real. Where rings come in antipodal pairs,
sums and differences of the two are transformed instead, which halves those products: see :func:`_paired_bands`. A rule
on SO(2) has rings of one rotation and a single product, with w cos mφ and w sin mφ; a window of boosts likewise, with
w p_n(y).

:func:`advance` is a pure function of arrays of one library, and of nothing else: it can be traced by ``jax.jit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array
from numpy.typing import NDArray

from jetsym.spectrum.finite import FiniteRule
from jetsym.spectrum.quadrature import Quadrature, euler_angles
from jetsym.spectrum.responses import InputColumns, Responses, as_like, is_mutable, lasting, to_numpy
from jetsym.spectrum.wigner import small_d
from jetsym.spectrum.windows import Window

__all__ = [
    "Band",
    "Matrices",
    "Rule",
    "State",
    "add_norms",
    "add_products",
    "advance",
    "bands_of",
    "basis_at",
    "halve",
    "has_rings",
    "matrices_of",
    "parity_half",
    "parity_halves",
    "powers_of",
    "ring_transform",
    "rows_of",
    "transform",
]

Rule = Quadrature | FiniteRule | Window


@dataclass(frozen=True, eq=False)
class Band:
    """The coefficients that one product gives.

    Parameters
    ----------
    matrix
        (rows, 1 or 2, units) real matrix on the transforms of all units (rings, or pairs of them): on one transform, or
        on two that stand side by side.
    lam
        (rows,) the λ (or m, or n of a window) that each coefficient belongs to.
    factor
        (rows,) what the square of each coefficient adds to B_λ.
    """

    matrix: NDArray[np.float64]
    lam: NDArray[np.int64]
    factor: NDArray[np.float64]


def bands_of(rule: Rule) -> tuple[Band, ...]:
    """Return the bands of a rule; made once for each rule, as all layers share them."""
    if "_bands" not in rule.__dict__:
        object.__setattr__(rule, "_bands", tuple(_bands(rule)))
        object.__setattr__(rule, "_converted", {})
    bands: tuple[Band, ...] = rule.__dict__["_bands"]
    return bands


def rows_of(rule: Rule) -> list[slice]:
    """Return the rows of each band among those of all."""
    return _one_after_the_other(len(band.matrix) for band in bands_of(rule))


def has_rings(rule: Rule) -> TypeGuard[Quadrature]:
    """Return whether a rule has rings of several rotations, over which responses are Fourier-transformed first."""
    return isinstance(rule, Quadrature) and rule.axis is None


def ring_transform(rule: Rule) -> NDArray[np.float64]:
    """Return the (parts, F / parts, K) transforms over the angles of a ring, of what stays together.

    The one part is that of a ring, its rows cos 0γ, cos γ, sin γ, cos 2γ, sin 2γ, …. Of a pair of rings the two parts
    are those of their sum and of their difference, and take turns: the F rows of both together are c₊(0), c₋(0), then
    c₊(n), s₋(n), s₊(n), c₋(n), in the order of the bands. For one node only 1.
    """
    if not has_rings(rule):
        return np.ones((1, 1, 1))
    angles = np.arange(rule.l_max + 1)[:, None] * rule.gamma
    both = np.stack([np.cos(angles), np.sin(angles)], axis=1) / rule.ring_size
    parts = [both, both[:, ::-1]] if rule.in_pairs else [both]
    return np.stack([np.concatenate([both[0, :1], part[1:].reshape(-1, rule.ring_size)]) for part in parts])


def basis_at(rule: Quadrature | Window, elements: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Compute for each band (…, rows) the real functions whose integrals over the responses are its coefficients.

    With them the coefficients c rebuild the response up to l_max, ũ(h) = Σ factor · c · e(h), and its part in one
    irrep from the rows that belong to it; Σ factor · e(h) e(h′) over those rows is the kernel of their projector.

    Parameters
    ----------
    rule
        A rule on SO(3) or SO(2), or a window.
    elements
        (…, 3, 3) proper rotations of the group, or (…) rapidities.

    Examples
    --------
    >>> from jetsym.spectrum import SO3
    >>> rule, h = SO3().quadrature(2), SO3().rotations(1, np.random.default_rng(0))[0]
    >>> pairs = zip(bands_of(rule), basis_at(rule, h), strict=True)
    >>> round(sum(float(band.factor @ values**2) for band, values in pairs), 9)  # 1² + 3² + 5², as χ(1) = d
    35.0
    """
    if isinstance(rule, Window):
        bands, angular = _polynomial_bands(rule.polynomials_at(elements.ravel())), None
    elif rule.axis is not None:
        cosine = (np.trace(elements, axis1=-2, axis2=-1) - 1) / 2
        turn = np.stack([elements[..., i, j] - elements[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=-1)
        bands, angular = _circular_bands(rule.l_max, np.arctan2(turn @ rule.axis / 2, cosine).ravel()), None
    else:
        alpha, beta, gamma = (angle.ravel() for angle in euler_angles(elements))
        bands = (_paired_bands if rule.in_pairs else _spherical_bands)(rule.l_max, alpha, beta)
        angular = _angular(rule.l_max, gamma, in_pairs=rule.in_pairs)
    result, start = [], 0
    for band in bands:
        functions = band.matrix[:, 0]
        if angular is not None:
            stop = start + band.matrix.shape[1]
            functions, start = (band.matrix * angular[start:stop]).sum(axis=1), stop
        shape = elements.shape if isinstance(rule, Window) else elements.shape[:-2]
        result.append(functions.T.reshape(*shape, -1))
    return result


def _angular(l_max: int, gamma: NDArray[np.float64], *, in_pairs: bool) -> NDArray[np.float64]:
    """Compute the F functions that :func:`ring_transform` integrates with, (F, n), at angles γ of single elements."""
    angles = np.arange(l_max + 1)[:, None] * gamma
    cosine, sine = np.cos(angles), np.sin(angles)
    if not in_pairs:
        return np.concatenate([cosine[:1], np.stack([cosine, sine], axis=1)[1:].reshape(-1, len(gamma))])
    quadruples = np.stack([cosine, sine, sine, cosine], axis=1)[1:]
    return np.concatenate([cosine[:1], cosine[:1], quadruples.reshape(-1, len(gamma))])


def _bands(rule: Rule) -> Iterator[Band]:
    """Yield the bands of a rule, from the functions at its nodes and the weights."""
    if isinstance(rule, Window):
        bands, weights = _polynomial_bands(rule.polynomials), rule.weights
    elif isinstance(rule, FiniteRule):
        bands, weights = _irrep_bands(rule), rule.weights
    elif rule.axis is not None:
        bands, weights = _circular_bands(rule.l_max, rule.alpha), rule.ring_weights
    elif rule.in_pairs:  # they have one weight
        bands, weights = _paired_bands(rule.l_max, rule.alpha[::2], rule.beta[::2]), rule.ring_weights[::2]
    else:
        bands, weights = _spherical_bands(rule.l_max, rule.alpha, rule.beta, rule.offset), rule.ring_weights
    for band in bands:
        yield Band(band.matrix * weights, band.lam, band.factor)


def _polynomial_bands(polynomials: NDArray[np.float64]) -> Iterator[Band]:
    """Yield p_n(y) of all polynomials, also of those above n_max: together they hold all of the norm."""
    order = np.arange(len(polynomials))
    yield Band(polynomials[:, None], order, np.ones(len(order)))


def _irrep_bands(rule: FiniteRule) -> Iterator[Band]:
    """Yield D_ab of all irreps of a group that is given by its elements."""
    rows = [matrices.reshape(len(rule), -1).T for _, matrices in rule.irreps]
    lam, factor = (
        np.repeat([getattr(irrep, name) for irrep, _ in rule.irreps], [len(part) for part in rows])
        for name in ("lam", "factor")
    )
    yield Band(np.concatenate(rows)[:, None], lam, factor)


def _circular_bands(l_max: int, alpha: NDArray[np.float64]) -> Iterator[Band]:
    """Yield cos mφ and sin mφ of all modes: B_m = 2(‖∫u cos mφ‖² + ‖∫u sin mφ‖²), and half of it, once, for m = 0."""
    m = np.arange(1, l_max + 1)
    angles = np.multiply.outer(m, alpha)
    matrix = np.concatenate([np.ones((1, len(alpha))), np.cos(angles), np.sin(angles)])
    lam = np.concatenate([[0], m, m])
    yield Band(matrix[:, None], lam, np.where(lam > 0, 2.0, 1.0))


def _spherical_bands(
    l_max: int, alpha: NDArray[np.float64], beta: NDArray[np.float64], offset: NDArray[np.float64] | float = 0.0
) -> Iterator[Band]:
    """Yield the matrices e^{−imα} d^λ_mn(β) e^{−inγ₀}, for n = 0 … l_max."""
    elements = [small_d(lam, beta) for lam in range(l_max + 1)]
    for n in range(l_max + 1):
        blocks = []
        for lam in range(n, l_max + 1):
            m = np.arange(-lam, lam + 1)[:, None]
            blocks.append(np.exp(-1j * (m * alpha + n * offset)) * elements[lam][:, :, n + lam].T)
        matrix = np.concatenate(blocks)
        # (x + iy)(c − is) = (xc + ys) + i(yc − xs): c and s are the cosine and sine transforms of a ring.
        cosine, sine = np.concatenate([matrix.real, matrix.imag]), np.concatenate([matrix.imag, -matrix.real])
        owner = np.tile(np.concatenate([[lam] * (2 * lam + 1) for lam in range(n, l_max + 1)]), 2)
        factor = (2.0 * owner + 1) * (2.0 if n else 1.0)  # d_λ, for n and −n
        yield Band(np.stack([cosine, sine] if n else [cosine], axis=1), owner, factor)


def _paired_bands(l_max: int, alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> Iterator[Band]:
    """Yield the matrices of antipodal pairs of rings, two bands for every n.

    A ring and its antipode, with transforms x and y = c − is, add w e^{−imα} (P x + (−1)^λ Q y) to the coefficient of
    (λ, m, n), with P = d^λ_mn(β) and Q = d^λ_m,−n(β), and w e^{imα} (Q x + (−1)^λ P y), but for a sign, to that of −m.
    With p, q = (P ± Q)/2 and t± = x ± (−1)^λ y, the two are A ± B with

        A = Σ w (cos mα p t₊ − i sin mα q t₋),  B = Σ w (cos mα q t₋ − i sin mα p t₊),

    so that 2(‖A‖² + ‖B‖²) is the power of both. Real and imaginary parts of A and B take one real transform of t₊ and
    one of t₋ each: half of the factors, and half of the nodes.
    """
    elements = [small_d(lam, beta) for lam in range(l_max + 1)]
    for n in range(l_max + 1):
        rows: tuple[list[Any], list[Any]] = ([], [])  # on (c₊, s₋), and on (s₊, c₋)
        owner: tuple[list[int], list[int]] = ([], [])
        for lam in range(n, l_max + 1):
            plus, minus = (elements[lam][:, lam:, lam + sign * n].T for sign in (1, -1))  # (m, units)
            m = np.arange(lam + 1)[:, None]
            scale = np.where(m > 0, 2**0.5, 1.0) / 2
            p, q = scale * (plus + minus), scale * (plus - minus)
            cosine, sine = np.cos(m * alpha), np.sin(m * alpha)
            with_cosine = [(cosine * p, -sine * q), (-sine * p, -cosine * q)]  # Re A, Im B: on c of t₊ and s of t₋
            with_sine = [(-cosine * p, -sine * q), (-sine * p, cosine * q)]  # Im A, Re B: on s of t₊ and c of t₋
            if lam % 2:  # t₊ is the difference, so that the two transforms change places
                with_cosine, with_sine = ([row[::-1] for row in part] for part in (with_sine, with_cosine))
            for place, part in enumerate((with_cosine, with_sine)):
                if n == 0 and place != lam % 2:
                    continue  # q is zero, and so is s
                for of_q, row in enumerate(part):
                    kept = np.stack(row if n else row[place : place + 1], axis=1)
                    # For m = 0 sin mα is zero, and q for even n, or p for odd n: one row of the two.
                    kept = kept[int(of_q != n % 2) :]
                    rows[place].append(kept)
                    owner[place].extend([lam] * len(kept))
        for lams, band in zip(owner, rows, strict=True):
            if band:  # l_max = 0 has no use for differences
                factor = (2.0 * np.array(lams) + 1) * (2.0 if n else 1.0)  # d_λ, for n and −n
                yield Band(np.concatenate(band), np.array(lams), factor)


class Matrices(NamedTuple):
    """The factors that the responses of one chunk are multiplied with, in their own library.

    Parameters
    ----------
    weights
        (n_chunk,) weights of the rotations.
    transform
        (parts, F / parts, K) transforms of what stays together; see :func:`ring_transform`.
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

    ``matrix`` is that of :func:`ring_transform`. Of pairs of rings the sums and differences are transformed, which
    halves the arithmetic.
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
    places = _one_after_the_other(matrix.shape[0] for matrix in bands)
    given = [transformed[some, ...] for some in _one_after_the_other(widths)]
    pairs = [(matrix, xp.reshape(rows, (matrix.shape[1], columns))) for matrix, rows in zip(bands, given, strict=True)]
    if not is_torch_array(transformed):
        added = xp.concat([matrix @ rows for matrix, rows in pairs], axis=0)
        return added if before is None else before + added
    after = transformed.new_empty((places[-1].stop, columns)) if before is None else before
    for some, (matrix, rows) in zip(places, pairs, strict=True):
        after[some].addmm_(matrix, rows, beta=0 if before is None else 1)
    return after


def _one_after_the_other(lengths: Iterable[int]) -> list[slice]:
    """Return slices of so many rows each."""
    return [slice(start, stop) for start, stop in pairwise(accumulate(lengths, initial=0))]


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
