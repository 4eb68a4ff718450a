"""The deviation of outputs from their law along an orbit, accumulated over its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.reports.equivariance import Equivariance
from jetsym.spectrum import Irrep, QuadratureEstimator, RandomEstimator, Spectrum
from jetsym.spectrum.representations import Kind, Representation, representation
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio

__all__ = ["Deviation", "EquivarianceError", "combine"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Deviation:
    """The findings of a batch of inputs about one output.

    Parameters
    ----------
    squared, norm, leakage
        (samples,) A² = ∫‖z − f̄‖² dμ, N = ∫‖z‖² dμ, and the part Σ_blocks (N − B_α[u]) of A² in the wrong irreps.
    average
        (samples, …, *shape) f̄ = ∫z dμ in the layout of the output; zero for padded tokens.
    spectrum
        B_β[z − z₀] of a constant z₀: all but its first irrep, the invariant one, are the error spectrum B_β[z].
    mask
        (samples, tokens) bool, True for real tokens; None where there is no padding.
    rows
        (inputs or real tokens, features) f̄ as the spread across inputs takes it.
    """

    squared: Array
    norm: Array
    leakage: Array
    average: NDArray[np.floating | np.complexfloating]
    spectrum: Spectrum | None
    mask: NDArray[np.bool_] | None
    rows: Array


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
        estimator: QuadratureEstimator | RandomEstimator | None = None,
    ) -> None:
        self._rho = rho
        self._blocks = [BlockError(block, weights, n_rotations) for block in rho.blocks]
        self._estimator = estimator
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
        cosets = [self._components(f) for f in (f_proper, f_improper) if f is not None]
        matrices = self._rho.block_matrices(elements if elements.ndim == 4 else elements[:, None])
        shifted = [
            block.add(chunk, turns, [coset[..., place] for coset in cosets])
            for block, turns, place in zip(self._blocks, matrices, self._rho.slices, strict=True)
        ]
        if self._estimator is not None:
            by_coset = [np.concatenate(parts, axis=-1) for parts in zip(*shifted, strict=True)]
            self._estimator.add(chunk, *(z.reshape(*z.shape[:2], -1) for z in by_coset))

    def result(self) -> Deviation:
        """Return A², its split, N and f̄ of the batch."""
        parts = [block.result() for block in self._blocks]
        squared, norm, leakage = (np.sum([part[index] for part in parts], axis=0) for index in range(3))
        mean = np.concatenate([part[3] for part in parts], axis=-1)
        average = self._rho.from_blocks(mean)
        if self._complex:
            real, imaginary = average[:, ::2], average[:, 1::2]
            average = real + 1j * imaginary
        kept = np.ones((len(mean), 1), dtype=bool) if self._kept is None else self._kept
        return Deviation(
            squared=squared,
            norm=norm,
            leakage=leakage,
            average=average.reshape(self._layout),
            spectrum=None if self._estimator is None else self._estimator.result(),
            mask=self._kept,
            rows=mean.reshape(*kept.shape, -1)[kept],
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
        self._mean = self._norm = self._square = self._coset_square = np.zeros(1)
        self._coefficients = self._leak_square = self._leak_coset_square = np.zeros(1)

    def add(self, chunk: slice, matrices: Array, cosets: Sequence[Array]) -> list[Array]:
        """Add components (n, samples, objects, d) under D(R) (n, samples or 1, d, d); returns z − z₀ of each."""
        signs = (1, self._irrep.parity or 1)
        z = [sign * (u @ matrices) for sign, u in zip(signs, cosets, strict=False)]
        if self._first is None:
            self._first = z[0][0].copy()
        shifted = [values - self._first for values in z]
        even = np.mean(shifted, axis=0)  # the part of the right parity
        weights = self._weights[chunk]
        self._mean = self._mean + np.tensordot(weights, even, axes=1)
        self._norm = self._norm + weights @ _squares(*z)
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

    def result(self) -> tuple[Array, Array, Array, Array]:
        """Return A² (samples,), N (samples,), leakage (samples,) and f̄ (samples, objects, d)."""
        assert self._first is not None
        squared = self._square - self._squared_mean((self._mean**2).sum(axis=(1, 2)), self._coset_square, self._n)
        leakage = squared  # for d = 1, B_α[u] is ‖f̄‖²: nothing can be misaligned
        if (d := self._irrep.dimension) > 1:
            modulus = (self._coefficients**2).sum(axis=(1, 2))
            content = self._irrep.factor * self._squared_mean(modulus, d * self._leak_coset_square, self._n - 1)
            leakage = self._leak_square - content
        return squared, self._norm, leakage, self._mean + self._first

    def _squared_mean(self, modulus: Array, mean_square: Array, n: int) -> Array:
        """Return ‖∫v‖² from ‖mean of v‖² and the mean of ‖v‖²."""
        return modulus if self._exact else (n * modulus - mean_square) / (n - 1)


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


def combine(kind: Kind, parts: Sequence[Deviation], noise_floor: float, *, exact_to: int | None = None) -> Equivariance:
    """Combine the errors of batches into that over all inputs.

    Parameters
    ----------
    kind
        What the output is.
    parts
        One deviation for every batch of inputs.
    noise_floor
        As a fraction of power.
    exact_to
        Largest λ up to which the error spectrum is exact.
    """
    a2, norm, leakage, rows = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("squared", "norm", "leakage", "rows")
    )
    absolute, absolute_stderr = _root(*jackknife_ratio(a2, np.ones_like(a2)))
    relative, relative_stderr = _root(*jackknife_ratio(a2, norm))
    leaked, leaked_stderr = jackknife_ratio(leakage, norm)
    misaligned, misaligned_stderr = jackknife_ratio(a2 - leakage, norm)
    over_spread, over_spread_stderr = _over_spread(a2, rows, np.concatenate([_counts(part) for part in parts]))
    spectra = [part.spectrum for part in parts if part.spectrum is not None]
    power = np.concatenate([spectrum.power[:, 1:] for spectrum in spectra]) if spectra else np.zeros((len(a2), 0))
    names = [str(irrep) for irrep in spectra[0].irreps[1:]] if spectra else []
    error, error_stderr = jackknife_ratio(power, norm)
    return Equivariance(
        kind=representation(kind).name,
        absolute=absolute,
        absolute_stderr=absolute_stderr,
        relative=relative,
        relative_stderr=relative_stderr,
        over_spread=over_spread,
        over_spread_stderr=over_spread_stderr,
        noise_floor=float(np.sqrt(noise_floor)),
        leakage=float(leaked),
        leakage_stderr=float(leaked_stderr),
        misalignment=float(misaligned),
        misalignment_stderr=float(misaligned_stderr),
        error_spectrum=dict(zip(names, error.tolist(), strict=True)),
        error_spectrum_stderr=dict(zip(names, error_stderr.tolist(), strict=True)),
        error_tail=float(jackknife_ratio(a2 - power.sum(axis=1), norm)[0]),
        error_exact_to=exact_to,
    )


def _counts(part: Deviation) -> NDArray[np.int64]:
    """Count the rows (samples,) of each input: its real tokens, or the same number for all."""
    samples = len(part.squared)
    return np.full(samples, len(part.rows) // samples) if part.mask is None else part.mask.sum(axis=1)


def _over_spread(a2: NDArray[np.float64], rows: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return √(Σ A² / Σ‖f̄ − mean‖²), and its standard error by leaving out one input, with its rows, at a time.

    Parameters
    ----------
    a2
        (samples,) A² of every input.
    rows
        (Σ counts, features) f̄, the rows of one input after those of another.
    counts
        (samples,) rows of each input.
    """
    samples = len(a2)
    if samples < 2:
        return float("nan"), float("nan")
    owner = np.repeat(np.arange(samples), counts)
    centred = rows - rows.mean(axis=0)
    sums = np.zeros((samples, rows.shape[1]))
    np.add.at(sums, owner, centred)
    squares = np.bincount(owner, weights=(centred**2).sum(axis=1), minlength=samples)
    # About their own mean the rest spread by Σ‖r‖² − ‖Σr‖²/n, where the sums of all are 0.
    left = len(rows) - counts
    others = squares.sum() - squares - (sums**2).sum(axis=1) / np.maximum(left, 1)
    if not squares.sum() > 0:
        return float("nan"), float("nan")
    value = _root(a2.sum() / squares.sum(), np.array(0.0))[0]
    if not (others > 0).all():
        return value, float("nan")
    left_out = (a2.sum() - a2) / others
    left_out = np.sign(left_out) * np.sqrt(np.abs(left_out))
    return value, float(np.sqrt((samples - 1) / samples * ((left_out - left_out.mean()) ** 2).sum()))


def _root(value: NDArray[np.float64], stderr: NDArray[np.float64]) -> tuple[float, float]:
    """Return the signed root of a squared quantity and the error carried over to it."""
    root = float(np.sign(value) * np.sqrt(np.abs(value)))
    return root, float(stderr / (2 * abs(root))) if root else float(np.sqrt(stderr))
