"""The deviation of outputs from their law along an orbit, accumulated over its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.measure.errors import Errors, HeldOutError
from jetsym.spectrum import (
    HeldOutElements,
    Irrep,
    QuadratureEstimator,
    RandomEstimator,
    Spectrum,
    WindowEstimator,
)
from jetsym.spectrum.heldout import HeldOut
from jetsym.spectrum.representations import Representation
from jetsym.spectrum.responses import to_numpy

__all__ = ["Deviation", "EquivarianceError"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Deviation:
    """The findings of a batch of inputs about one output.

    Parameters
    ----------
    squared, norm, leakage
        (samples,) A² = ∫‖z − f̄‖² dμ, N = ∫‖z‖² dμ, and the part Σ_blocks (N − B_α[u]) of A² in the wrong irreps.
    noise
        (samples,) what chance adds to ‖f̄‖², summed over the rows of an input: of n random pairs
        Σ‖z̄_i − f̄‖²/(n(n−1)); 0 by a rule.
    average
        (samples, …, *shape) f̄ = ∫z dμ in the layout of the output; zero for padded tokens.
    spectrum
        B_β[z − z₀] of a constant z₀: all but its first irrep, the invariant one, are the error spectrum B_β[z].
    mask
        (samples, tokens) bool, True for real tokens; None where there is no padding.
    held_out
        What held-out elements say of z − z₀; None where there were none.
    by_rotation
        What each random rotation makes of the errors, (samples, n) and (samples, n, irreps), NaN for the leakage, or
        that of all inputs together, see :meth:`Errors.pooled`; None by a rule, and where there is no spectrum.
    """

    squared: Array
    norm: Array
    leakage: Array
    noise: Array
    average: NDArray[np.floating | np.complexfloating]
    spectrum: Spectrum | None
    mask: NDArray[np.bool_] | None
    held_out: HeldOutError | None = None
    by_rotation: Errors | None = None

    @property
    def rows(self) -> Array:
        """(inputs or real tokens, features) f̄ as the spread across inputs takes it."""
        return rows_of(self.average, self.mask)

    def pooled(self) -> Deviation:
        """Return it without what each input by itself has by chance of its random rotations."""
        return self if self.by_rotation is None else replace(self, by_rotation=self.by_rotation.pooled())


class EquivarianceError:
    """The accumulated z(g) = ρ(g)⁻¹ f(g·x) of an output that should transform as ρ, for a batch of inputs.

    Everything is measured on z minus its first value z₀, in float64: z = z₀ for every g if the law holds, so nothing
    cancels for a nearly exact symmetry. The shift changes neither A² nor the error spectrum; nor the leakage, as ρ(g)z₀
    lies in the right irrep.

    Parameters
    ----------
    rho
        The representation.
    weights
        (n,) weights of a quadrature rule, or None for n random rotations, for which all squares are then unbiased.
    n_rotations
        n.
    estimator
        A fresh estimator of the same rotations, for the error spectrum; None does without.

    Notes
    -----
    A² = (N − B_α[u]) + (B_α[u] − ‖f̄‖²) with u(g) = f(g·x), block by block: wrong irrep, and right irrep but misaligned
    (arXiv:2603.24638). For f of bandwidth L a rule needs degree 2L for A² and the split (and λ_α ≤ L); z has bandwidth
    L + λ_α, so that its spectrum up to λ needs degree λ + L + λ_α.
    """

    def __init__(
        self,
        rho: Representation,
        weights: Array | None,
        n_rotations: int,
        *,
        estimator: QuadratureEstimator | RandomEstimator | WindowEstimator | None = None,
    ) -> None:
        self._rho = rho
        self._blocks = [BlockError(block, weights, n_rotations) for block in rho.blocks]
        self._estimator = estimator
        self._held_out: HeldOutElements | None = None
        self._layout: tuple[int, ...] = ()
        self._complex = False
        self._kept: NDArray[np.bool_] | None = None

    def add(
        self, chunk: slice, elements: Array, f_proper: object, f_improper: object = None, *, mask: object = None
    ) -> None:
        """Add outputs to a chunk of the rotations.

        Parameters
        ----------
        chunk
            Slice of the rotations.
        elements
            (n_chunk, 3, 3) proper rotations R, or (n_chunk, samples, 3, 3) of each input's own.
        f_proper, f_improper
            (n_chunk, samples, …, *shape) outputs f(R·x) and, for O(3), f(−R·x), of any array library.
        mask
            (samples, tokens) bool for outputs (n_chunk, samples, tokens, …, *shape): only True tokens count.
        """
        self._kept = None if mask is None else to_numpy(mask)
        matrices = self._rho.block_matrices(elements if elements.ndim == 4 else elements[:, None])
        by_block = self._by_block(f_proper, f_improper)
        shifted = [
            block.add(chunk, turns, parts) for block, turns, parts in zip(self._blocks, matrices, by_block, strict=True)
        ]
        if self._estimator is not None:
            self._estimator.add(chunk, *_flattened(shifted))

    def add_held_out(
        self,
        held_out: HeldOutElements,
        chunk: slice,
        f_proper: object,
        f_improper: object = None,
        *,
        turns: bool = True,
        mask: object = None,
    ) -> None:
        """Add outputs to a chunk of held-out elements, after those of the rule.

        Parameters
        ----------
        held_out, chunk
            Elements of each input's own, and a slice of them.
        f_proper, f_improper, mask
            As for :meth:`add`.
        turns
            Whether the elements are rotations; boosts leave invariant outputs as they are.
        """
        self._kept = None if mask is None else to_numpy(mask)
        samples = held_out.elements.shape[1]
        still = np.broadcast_to(np.eye(3), (chunk.stop - chunk.start, samples, 3, 3))
        matrices = self._rho.block_matrices(held_out.elements[chunk] if turns else still)
        by_block = self._by_block(f_proper, f_improper)
        shifted = [
            block.compare(turned, parts) for block, turned, parts in zip(self._blocks, matrices, by_block, strict=True)
        ]
        self._held_out = held_out
        assert isinstance(self._estimator, (QuadratureEstimator, WindowEstimator))
        self._estimator.add_held_out(held_out, chunk, *_flattened(shifted))

    def _by_block(self, *cosets: object) -> list[list[Array]]:
        """Return for each block its components (n, samples, objects, d) of every coset."""
        components = [self._components(f) for f in cosets if f is not None]
        return [[each[..., place] for each in components] for place in self._rho.slices]

    def result(self) -> Deviation:
        """Return A², its split, N and f̄ of the batch."""
        parts = [block.result() for block in self._blocks]
        squared, norm, leakage, noise = (np.sum([part[index] for part in parts], axis=0) for index in range(4))
        mean = np.concatenate([part[4] for part in parts], axis=-1)
        average = self._rho.from_blocks(mean)
        if self._complex:
            real, imaginary = average[:, ::2], average[:, 1::2]
            average = real + 1j * imaginary
        found = None if self._estimator is None else self._estimator.result()
        return Deviation(
            squared=squared,
            norm=norm,
            leakage=leakage,
            noise=noise,
            average=average.reshape(self._layout),
            spectrum=found if isinstance(found, Spectrum) else None,
            mask=self._kept,
            held_out=None if found is None or found.held_out is None else self._compared(found.held_out, mean),
            by_rotation=self._by_rotation(),
        )

    def _by_rotation(self) -> Errors | None:
        """Return what each random rotation makes of the errors: A² is the norm of z − z₀ less its invariant part."""
        if not isinstance(self._estimator, RandomEstimator):
            return None
        power, shifted = self._estimator.influence()
        norm = np.sum([block.norms() for block in self._blocks], axis=0)
        return Errors(shifted - power[..., 0], norm, np.full_like(norm, np.nan), power[..., 1:])

    def _compared(self, shifted: HeldOut, mean: Array) -> HeldOutError:
        """Put together what held-out elements say, with f̄ (samples, objects, dim) of the rule."""
        assert isinstance(self._estimator, (QuadratureEstimator, WindowEstimator))
        r = to_numpy(self._estimator.held_out_residuals())  # of even parity
        r = r.reshape(*r.shape[:2], *mean.shape[1:])
        k = r.shape[1]
        first = np.concatenate([block.first for block in self._blocks], axis=-1)
        contents = [
            block.content(r[..., place], l_max=shifted_l_max(self._estimator))
            for block, place in zip(self._blocks, self._rho.slices, strict=True)
        ]
        spread = r - r.mean(axis=1, keepdims=True)
        return HeldOutError(
            shifted=shifted,
            content=HeldOut.joined(contents, lambda parts: np.sum(parts, axis=0)),
            constant=2 * (first * (mean - first)).sum(axis=(1, 2)) + (first**2).sum(axis=(1, 2)),
            along=2 * np.einsum("sod,skod->sk", first, r),
            rows=rows_of(mean + r.mean(axis=1), self._kept),
            noise=(spread**2).sum(axis=(1, 2, 3)) / (k * (k - 1)),
        )

    def _components(self, f: object) -> Array:
        """Return (n, samples, objects, dim) components in the basis of the blocks; padded tokens are zero."""
        values = to_numpy(f)
        if self._kept is not None:
            values = np.where(self._kept.reshape(*self._kept.shape, *[1] * (values.ndim - 3)), values, 0)
        objects = values.reshape(*values.shape[:2], -1, *self._rho.shape)
        self._complex = np.iscomplexobj(values)
        if self._complex:  # two real objects each
            pairs = np.stack([objects.real, objects.imag], axis=3)
            objects = pairs.reshape(*values.shape[:2], -1, *self._rho.shape)
        self._layout = values.shape[1:]
        return self._rho.to_blocks(objects.astype(np.float64))


class BlockError:
    """The sums of one irreducible block, for inputs with several objects each.

    For random rotations pairs of a rotation with itself are left out of every squared mean. The first rotation, whose
    z is subtracted, is then left out of the leakage: the others do not depend on it, which keeps that unbiased.
    """

    def __init__(self, irrep: Irrep, weights: Array | None, n_rotations: int) -> None:
        self._irrep = irrep
        self._exact = weights is not None
        self._n = n_rotations
        self._weights = np.full(n_rotations, 1.0 / n_rotations) if weights is None else weights
        self._leak_weights = self._weights
        if weights is None:
            self._leak_weights = np.where(np.arange(n_rotations) == 0, 0.0, 1.0 / (n_rotations - 1))
        self._first: Array | None = None
        self._held_out: list[tuple[Array, Array]] = []  # matrices, and the even part of z − z₀
        self._norms: list[tuple[int, Array]] = []  # of chunks of random rotations
        self._mean = self._norm = self._square = self._coset_square = np.zeros(1)
        self._coefficients = self._leak_square = self._leak_coset_square = np.zeros(1)

    def add(self, chunk: slice, matrices: Array, cosets: Sequence[Array]) -> list[Array]:
        """Add components (n, samples, objects, d) under D(R) (n, samples or 1, d, d); returns z − z₀ of each."""
        z = self._turned_back(matrices, cosets)
        if self._first is None:
            self._first = z[0][0].copy()
        shifted = [values - self._first for values in z]
        even = np.mean(shifted, axis=0)  # the part of the right parity
        weights = self._weights[chunk]
        self._mean = self._mean + np.tensordot(weights, even, axes=1)
        squares = _squares(*z)
        self._norm = self._norm + weights @ squares
        if not self._exact:
            self._norms.append((chunk.start, squares))
        self._square = self._square + weights @ _squares(*shifted)
        self._coset_square = self._coset_square + weights @ _squares(even)
        if self._irrep.dimension > 1:
            weights = self._leak_weights[chunk]
            rotated = even @ np.swapaxes(matrices, -1, -2)
            weighted = weights[:, None, None, None] * rotated
            self._coefficients = self._coefficients + _products(matrices, weighted)
            self._leak_square = self._leak_square + weights @ _squares(*shifted)
            self._leak_coset_square = self._leak_coset_square + weights @ _squares(even)
        return shifted

    def _turned_back(self, matrices: Array, cosets: Sequence[Array]) -> list[Array]:
        """Return z of every coset from components (n, samples, objects, d) under D(R) (n, samples or 1, d, d)."""
        signs = (1, self._irrep.parity or 1)
        return [sign * (u @ matrices) for sign, u in zip(signs, cosets, strict=False)]

    def norms(self) -> Array:
        """Return (samples, n) ‖z‖² at every random rotation."""
        return np.concatenate([squares for _, squares in sorted(self._norms, key=lambda one: one[0])]).T

    @property
    def first(self) -> Array:
        """(samples, objects, d) z₀."""
        assert self._first is not None
        return self._first

    def compare(self, matrices: Array, cosets: Sequence[Array]) -> list[Array]:
        """Keep components (n, samples, objects, d) at held-out elements; returns z − z₀ of each coset."""
        shifted = [values - self.first for values in self._turned_back(matrices, cosets)]
        self._held_out.append((matrices, np.mean(shifted, axis=0)))
        return shifted

    def content(self, r: Array, *, l_max: int) -> HeldOut:
        """Compare ũ_α, what has the law of the block in u′ = D(z − z₀), with held-out elements: B_α[u′].

        Parameters
        ----------
        r
            (samples, k, objects, d) z − z₀ less what the rule makes of it. D r has no part of what the rule holds of
            u′ if l_max reaches twice the λ of the block, and then varies least; otherwise u′ − ũ_α is taken.
        l_max
            Of the rule.
        """
        matrices, even = (np.swapaxes(np.concatenate(parts), 0, 1) for parts in zip(*self._held_out, strict=True))
        samples, k, _, d = even.shape
        matrices = np.broadcast_to(matrices, (samples, k, d, d))
        flat = matrices.reshape(samples, k, -1)
        if self._irrep.dimension > 1:
            held = self._irrep.factor * (flat @ self._coefficients).reshape(even.shape)
            power = self._irrep.factor * (self._coefficients**2).sum(axis=(1, 2))
        else:
            held = self._mean[:, None] @ np.swapaxes(matrices, -1, -2)
            power = (self._mean**2).sum(axis=(1, 2))
        left = (r if 2 * self._irrep.lam <= l_max else even) @ np.swapaxes(matrices, -1, -2)
        if 2 * self._irrep.lam > l_max:
            left = left - held
        left, held = left.reshape(samples, k, -1), held.reshape(samples, k, -1)
        gram = left @ np.swapaxes(left, 1, 2) * (1 - np.eye(k))
        pairs = gram * (self._irrep.factor * flat @ np.swapaxes(flat, 1, 2))
        cross = 2 * (held * left).sum(axis=-1)
        return HeldOut(power[:, None], np.zeros((samples, k)), cross[..., None], pairs.sum(axis=-1)[..., None])

    def result(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return A², N, leakage and the noise of ‖f̄‖², (samples,) each, and f̄ (samples, objects, d)."""
        assert self._first is not None
        modulus = (self._mean**2).sum(axis=(1, 2))
        unbiased = self._squared_mean(modulus, self._coset_square, self._n)
        squared = self._square - unbiased
        leakage = squared  # for d = 1, B_α[u] is ‖f̄‖²: nothing can be misaligned
        if (d := self._irrep.dimension) > 1:
            summed = (self._coefficients**2).sum(axis=(1, 2))
            content = self._irrep.factor * self._squared_mean(summed, d * self._leak_coset_square, self._n - 1)
            leakage = self._leak_square - content
        return squared, self._norm, leakage, modulus - unbiased, self._mean + self._first

    def _squared_mean(self, modulus: Array, mean_square: Array, n: int) -> Array:
        """Return ‖∫v‖² from ‖mean of v‖² and the mean of ‖v‖²."""
        return modulus if self._exact else (n * modulus - mean_square) / (n - 1)


def rows_of(mean: NDArray[np.floating | np.complexfloating], mask: NDArray[np.bool_] | None) -> Array:
    """Return f̄ (samples, …) with a row for each input, or for each of its real tokens: real numbers, one by one."""
    parts: Any = np.stack([mean.real, mean.imag], axis=-1) if np.iscomplexobj(mean) else mean
    rows: Array = parts.reshape(len(parts), -1) if mask is None else parts.reshape(*mask.shape, -1)[mask]
    return rows


def shifted_l_max(estimator: QuadratureEstimator | WindowEstimator) -> int:
    """Return the l_max of an estimator's rule; the outputs under boosts are invariant."""
    return estimator.rule.l_max if isinstance(estimator, QuadratureEstimator) else 0


def _flattened(shifted: Sequence[Sequence[Array]]) -> list[Array]:
    """Return for each coset z − z₀ (n, samples, features) of all blocks."""
    by_coset = [np.concatenate(parts, axis=-1) for parts in zip(*shifted, strict=True)]
    return [z.reshape(*z.shape[:2], -1) for z in by_coset]


def _squares(*cosets: Array) -> Array:
    """Return (n, samples) squared norms, averaged over cosets."""
    squares: Array = np.mean([np.einsum("nsmd,nsmd->ns", values, values) for values in cosets], axis=0)
    return squares


def _products(matrices: Array, values: Array) -> Array:
    """Sum D_ab(n) v(n) over n: D (n, samples or 1, d, d), v (n, samples, objects, d): (samples, d², objects · d)."""
    n, samples = values.shape[:2]
    flat = matrices.reshape(n, matrices.shape[1], -1)
    if flat.shape[1] == 1:
        product = flat[:, 0].T @ values.reshape(n, -1)
        return np.swapaxes(product.reshape(-1, samples, product.shape[1] // samples), 0, 1)
    return np.transpose(flat, (1, 2, 0)) @ np.swapaxes(values.reshape(n, samples, -1), 0, 1)
