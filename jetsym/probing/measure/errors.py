"""The errors of inputs, and what random elements of each input's own make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.spectrum.heldout import HeldOut

__all__ = ["Errors", "HeldOutError"]

Array = NDArray[np.float64]


class Errors(NamedTuple):
    """A², N and leakage (samples,), and the error spectrum (samples, irreps without the invariant one).

    Or what each of an input's n random elements makes of them, (samples, n) and (samples, n, irreps).
    """

    squared: Array
    norm: Array
    leakage: Array
    power: Array

    def pooled(self) -> Errors:
        """Return a few rows (rows, 1) and (rows, 1, irreps) in place of what random elements make of every input.

        The squares of any sum of their columns, but for the leakage, add up to the variance that the mean over the
        elements of every input has by chance, summed over inputs: they are the triangular factor of what varies.
        Nothing cancels, as in sums of squares and products it would. The leakage is NaN.

        Examples
        --------
        >>> from jetsym.spectrum.heldout import chance
        >>> squared, norm, power = np.random.default_rng(0).normal(size=(3, 1000, 4))
        >>> pooled = Errors(squared, norm, norm, power[..., None]).pooled()
        >>> pooled.norm.shape, pooled.power.shape
        ((3, 1), (3, 1, 1))
        >>> bool(np.isclose(chance(squared - 0.5 * norm), np.linalg.norm(pooled.squared - 0.5 * pooled.norm)))
        True
        """
        n = self.norm.shape[1]
        columns = np.concatenate([self.squared[..., None], self.norm[..., None], self.power], axis=-1)
        if n > 1:  # else they are pooled already
            columns = (columns - columns.mean(axis=1, keepdims=True)) / np.sqrt(n * (n - 1))
        factor = np.asarray(np.linalg.qr(columns.reshape(-1, columns.shape[-1]), mode="r"))[:, None]
        return Errors(factor[..., 0], factor[..., 1], np.full_like(factor[..., 0], np.nan), factor[..., 2:])

    def opposed(self) -> Errors:
        """Return pooled rows as two opposite elements each, whose mean has the variance of the row by chance."""
        signs = np.array([1.0, -1.0])
        squared, norm, leakage = (each * signs for each in self[:3])
        return Errors(squared, norm, leakage, self.power * signs[:, None])


@dataclass(frozen=True, eq=False)
class HeldOutError:
    """The findings at held-out elements about one output.

    Parameters
    ----------
    shifted
        Of z − z₀ per irrep: its norm less its invariant part is A².
    content
        Of Σ_blocks B_α[u], one component: its norm less this is the leakage.
    constant, along
        (samples,) and (samples, k): N = the norm of z − z₀ + constant + mean_h along.
    rows, noise
        As of :class:`Deviation`, with f̄ unbiased.
    """

    shifted: HeldOut
    content: HeldOut
    constant: Array
    along: Array
    rows: Array
    noise: Array

    def estimates(self) -> Errors:
        """Return the unbiased estimates."""
        power, norm, _ = self.shifted.estimates()
        content = self.content.estimates().power[:, 0]
        return Errors(norm - power[:, 0], norm + self.constant + self.along.mean(axis=1), norm - content, power[:, 1:])

    def influence(self) -> Errors:
        """Return what each element of an input makes of them, (samples, k) and (samples, k, irreps)."""
        norm, power = self.shifted.of_norm, self.shifted.influence()
        content = self.content.influence()[..., 0]
        return Errors(norm - power[..., 0], norm + self.along, norm - content, power[..., 1:])
