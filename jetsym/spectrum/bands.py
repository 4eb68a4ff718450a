"""The real functions whose integrals over an orbit are the coefficients of a response, and the matrices they make.

For every ring of a rule the responses are Fourier-transformed over γ, by one product with :func:`ring_transform`; then
for every n ≥ 0 one product with w e^{−imα} d^λ_mn(β) e^{−inγ₀}, a :class:`Band`, gives all (λ, m) at once; as responses
are real, n and −n hold the same power. Cosines and sines are kept apart, so that everything is real. Where rings come
in antipodal pairs, sums and differences of the two are transformed instead, which halves those products: see
:func:`_paired_bands`. A rule on SO(2) has rings of one rotation and a single product, with w cos mφ and w sin mφ; a
window of boosts likewise, with w p_n(y).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from jetsym.spectrum.finite import FiniteRule
from jetsym.spectrum.quadrature import Quadrature, euler_angles
from jetsym.spectrum.wigner import small_d
from jetsym.spectrum.windows import Window

__all__ = ["Band", "Rule", "bands_of", "basis_at", "has_rings", "one_after_the_other", "ring_transform", "rows_of"]

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
    return one_after_the_other(len(band.matrix) for band in bands_of(rule))


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


def one_after_the_other(lengths: Iterable[int]) -> list[slice]:
    """Return slices of so many rows each."""
    return [slice(start, stop) for start, stop in pairwise(accumulate(lengths, initial=0))]
