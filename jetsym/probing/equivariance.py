"""The equivariance error A of outputs that should not change under the group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio

__all__ = ["KINDS", "Equivariance", "ErrorResult", "InvariantError", "centred", "combine"]

#: What an output can be: "scalar" is invariant component by component, "logits" as well, once centred over classes.
KINDS = ("logits", "scalar")

#: A² (samples,), N (samples,) and the average f̄ (samples, components) of an output.
ErrorResult = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def centred(response: Any, kind: str) -> Any:
    """An output as it enters the measurement: logits lose their mean over classes, as a common shift predicts nothing.

    Raises
    ------
    ProbeError
        An unknown kind.

    Examples
    --------
    >>> centred(np.array([[1.0, 2.0, 6.0]]), "logits")
    array([[-2., -1.,  3.]])
    """
    if kind not in KINDS:
        raise ProbeError(f"an output is said to be {kind!r}; expected one of {', '.join(map(repr, KINDS))}")
    if kind == "scalar":
        return response
    if response.ndim < 2 or response.shape[-1] < 2:
        raise ProbeError(f"logits of shape {tuple(response.shape)} have no classes; call this output 'scalar'")
    return response - response.sum(-1)[..., None] / response.shape[-1]


@dataclass(frozen=True)
class Equivariance:
    """How far an output is from transforming as it should.

    Parameters
    ----------
    kind
        "logits" or "scalar".
    absolute, absolute_stderr
        A = √⟨A²⟩ over inputs, in the unit of the output, with A² = ∫ ‖f(g·x) − f̄‖² dμ summed over components.
    relative, relative_stderr
        √(Σ A² / Σ N): the part of the output's root-mean-square value that the group makes or breaks.
    over_spread
        A over the standard deviation of f̄ across inputs: the number to compare across domains, as it is free of
        arbitrary constants in the output. NaN for a single input.
    noise_floor
        The relative error that rounding alone can cause.

    A negative unbiased estimate of A² is reported as minus the root of its modulus, never clipped.
    """

    kind: str
    absolute: float
    absolute_stderr: float
    relative: float
    relative_stderr: float
    over_spread: float
    noise_floor: float


class InvariantError:
    """Accumulates z(g) = f(g·x) of an output that should be invariant, for a batch of inputs.

    Sums are kept of z minus the first response, so that A² = ∫‖z‖² − ‖∫z‖² does not cancel for a nearly exact symmetry.

    Parameters
    ----------
    weights
        (n,) weights of a quadrature rule, or None for n random rotations, for which A² is then unbiased.
    n_rotations
        n.
    """

    def __init__(self, weights: NDArray[np.float64] | None, n_rotations: int) -> None:
        self._exact = weights is not None
        self._weights = np.full(n_rotations, 1.0 / n_rotations) if weights is None else weights
        self._n = n_rotations
        self._reference: NDArray[np.float64] | None = None
        self._mean: Any = 0.0
        self._square: Any = 0.0
        self._coset_square: Any = 0.0
        self._norm: Any = 0.0

    def add(self, chunk: slice, z_proper: Any, z_improper: Any = None) -> None:
        """Add responses (n_chunk, samples, …) under R and, for O(3), under −R."""
        responses = [self._flat(z) for z in (z_proper, z_improper) if z is not None]
        if self._reference is None:
            self._reference = responses[0][0].copy()
        weights = self._weights[chunk]
        shifted = [z - self._reference for z in responses]
        coset_mean = sum(shifted) / len(shifted)
        self._mean = self._mean + np.einsum("n,nsf->sf", weights, coset_mean)
        self._coset_square = self._coset_square + np.einsum("n,nsf,nsf->s", weights, coset_mean, coset_mean)
        for z, original in zip(shifted, responses, strict=True):
            self._square = self._square + np.einsum("n,nsf,nsf->s", weights, z, z) / len(shifted)
            self._norm = self._norm + np.einsum("n,nsf,nsf->s", weights, original, original) / len(shifted)

    def result(self) -> ErrorResult:
        """A², N and f̄ of the batch."""
        mean_square = (self._mean**2).sum(axis=1)
        if not self._exact:  # leave the pairs of a rotation with itself out of ‖f̄‖²
            mean_square = (self._n * mean_square - self._coset_square) / (self._n - 1)
        return self._square - mean_square, self._norm, self._mean + self._reference

    @staticmethod
    def _flat(z: Any) -> NDArray[np.float64]:
        flat = to_numpy(z).reshape(*z.shape[:2], -1)
        if np.iscomplexobj(flat):
            flat = np.concatenate([flat.real, flat.imag], axis=-1)
        return flat.astype(np.float64)


def combine(kind: str, parts: Sequence[ErrorResult], noise_floor: float) -> Equivariance:
    """The error over all inputs, from the results of their batches and a noise floor given as a power fraction."""
    a2, norm, mean = (np.concatenate([part[index] for part in parts]) for index in range(3))
    absolute, absolute_stderr = _root(*jackknife_ratio(a2, np.ones_like(a2)))
    relative, relative_stderr = _root(*jackknife_ratio(a2, norm))
    spread = np.sqrt(((mean - mean.mean(axis=0)) ** 2).sum(axis=1).mean())
    return Equivariance(
        kind=kind,
        absolute=absolute,
        absolute_stderr=absolute_stderr,
        relative=relative,
        relative_stderr=relative_stderr,
        over_spread=float(absolute / spread) if len(a2) > 1 and spread > 0 else float("nan"),
        noise_floor=float(np.sqrt(noise_floor)),
    )


def _root(value: NDArray[np.float64], stderr: NDArray[np.float64]) -> tuple[float, float]:
    """Signed root of a squared quantity and the error carried over to it."""
    root = float(np.sign(value) * np.sqrt(np.abs(value)))
    return root, float(stderr / (2 * abs(root))) if root else float(np.sqrt(stderr))
