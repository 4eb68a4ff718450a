"""Spectrum: the power of a response per irrep and input, with its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.groups import Irrep

__all__ = ["Spectrum", "jackknife_ratio"]


def jackknife_ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ratio of sums over inputs, and its standard error by leaving out one input at a time.

    Parameters
    ----------
    numerator
        (samples, …) one value per input.
    denominator
        (samples,) one value per input.

    Returns
    -------
    ratio, stderr
        Arrays of shape (…). The error is NaN for a single input; a vanishing denominator gives the ratio 0.

    Examples
    --------
    >>> ratio, stderr = jackknife_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    >>> float(ratio), float(stderr.round(6))  # for equal denominators the standard error of the mean
    (1.0, 0.288675)
    """
    samples = len(numerator)
    denominator = denominator.reshape(-1, *[1] * (numerator.ndim - 1))
    total, norm = numerator.sum(axis=0), denominator.sum(axis=0)
    ratio = _divide(total, norm)
    if samples < 2:
        return ratio, np.full_like(ratio, np.nan)
    left_out = _divide(total - numerator, norm - denominator)
    variance = (samples - 1) / samples * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    return ratio, np.sqrt(variance)


def _divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, 0.0, numerator / safe)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How the power of a response u(g) = f(g·x) is distributed over irreps.

    Parameters
    ----------
    irreps
        The irreps, up to l_max.
    power
        (samples, irreps) B_α(x) = d_α ‖∫ D^α(g)* u(g) dμ‖², in the response's unit squared. Unbiased estimates may be
        negative; they are not clipped.
    norm
        (samples,) N(x) = ∫ ‖u‖² dμ, so that Σ_α B_α = N over all irreps (Parseval).
    n_rotations
        Number of rotations per input, R and −R counted once.
    noise_floor
        The fraction of power that rounding alone can put into any irrep. By the triangle inequality rounding changes
        √b_α by no more than √noise_floor.
    method
        "quadrature" or "random".
    """

    irreps: tuple[Irrep, ...]
    power: NDArray[np.float64]
    norm: NDArray[np.float64]
    n_rotations: int
    noise_floor: float
    method: str

    @property
    def fractions(self) -> NDArray[np.float64]:
        """(irreps,) b_α = Σ_x B_α / Σ_x N, a ratio of sums."""
        return jackknife_ratio(self.power, self.norm)[0]

    @property
    def stderr(self) -> NDArray[np.float64]:
        """(irreps,) jackknife standard errors of the fractions over inputs."""
        return jackknife_ratio(self.power, self.norm)[1]

    @property
    def tail(self) -> float:
        """1 − Σ b: the fraction of the power beyond l_max."""
        return float(jackknife_ratio(self.norm - self.power.sum(axis=1), self.norm)[0])

    @property
    def tail_stderr(self) -> float:
        """Jackknife standard error of the tail."""
        return float(jackknife_ratio(self.norm - self.power.sum(axis=1), self.norm)[1])

    def plus(self, other: Spectrum) -> Spectrum:
        """The spectrum of the features of both, measured alike for the same inputs: powers add.

        Raises
        ------
        SpectrumError
            Spectra that differ in inputs, irreps, method or number of rotations.
        """
        if other.power.shape != self.power.shape:
            raise SpectrumError(f"spectra of shapes {self.power.shape} and {other.power.shape} cannot be added")
        self._check_like(other)
        return replace(
            self,
            power=self.power + other.power,
            norm=self.norm + other.norm,
            noise_floor=max(self.noise_floor, other.noise_floor),
        )

    def _check_like(self, other: Spectrum) -> None:
        settings = [(each.irreps, each.method, each.n_rotations) for each in (self, other)]
        if settings[0] != settings[1]:
            raise SpectrumError("spectra measured with other irreps, methods or numbers of rotations cannot be joined")

    @classmethod
    def concatenate(cls, parts: Sequence[Spectrum]) -> Spectrum:
        """Join the spectra of several batches of inputs, measured alike.

        Raises
        ------
        SpectrumError
            No parts, or parts that differ in irreps, method or number of rotations.
        """
        if not parts:
            raise SpectrumError("no spectra to join; expected at least one")
        first = parts[0]
        for part in parts[1:]:
            first._check_like(part)
        return replace(
            first,
            power=np.concatenate([part.power for part in parts]),
            norm=np.concatenate([part.norm for part in parts]),
            noise_floor=max(part.noise_floor for part in parts),
        )
