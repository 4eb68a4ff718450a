"""The equivariance error A of outputs: what a report says about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.deviation import Deviation
from jetsym.spectrum.representations import Kind, Representation, representation
from jetsym.spectrum.result import jackknife_ratio

__all__ = ["Equivariance", "as_measured", "combine", "representation_of"]


def representation_of(kind: Kind) -> Representation:
    """The representation of a kind of output; what is none is the caller's mistake, a ProbeError."""
    try:
        return representation(kind)
    except SpectrumError as error:
        raise ProbeError(str(error)) from error


def as_measured(response: Any, kind: Kind) -> Any:
    """An output as it enters the measurement: logits lose their mean over classes, as a common shift predicts nothing.

    Parameters
    ----------
    response
        (evaluations, …, *shape) array.
    kind
        What it is said to be; see :func:`jetsym.spectrum.representations.representation`.

    Raises
    ------
    ProbeError
        An unknown kind, or a shape that does not fit it.

    Examples
    --------
    >>> as_measured(np.array([[1.0, 2.0, 6.0]]), "logits")
    array([[-2., -1.,  3.]])
    """
    rho = representation_of(kind)
    shape = tuple(response.shape)
    if shape[max(1, len(shape) - len(rho.shape)) :] != rho.shape:
        expected = ", ".join(["samples", "…", *map(str, rho.shape)])
        raise ProbeError(
            f"an output of shape {shape} is said to be {kind!r}, which needs shape ({expected}); say what it is with "
            "outputs=…, or wrap the model with call=…"
        )
    if kind != "logits":
        return response
    if response.ndim < 2 or response.shape[-1] < 2:
        raise ProbeError(f"logits of shape {shape} have no classes; call this output 'scalar'")
    return response - response.sum(-1)[..., None] / response.shape[-1]


@dataclass(frozen=True)
class Equivariance:
    """How far an output is from transforming as it should.

    Parameters
    ----------
    kind
        "logits", "scalar", "vector", …, or "(λ,σ)" for spherical tensors.
    absolute, absolute_stderr
        A = √⟨A²⟩ over inputs, in the unit of the output, with A² = ∫ ‖z − f̄‖² dμ, z(g) = ρ(g)⁻¹ f(g·x) and f̄ = ∫ z dμ,
        summed over components and real tokens.
    relative, relative_stderr
        √(Σ A² / Σ N): the part of the output's root-mean-square value that the group makes or breaks.
    over_spread
        A over the standard deviation of f̄ across inputs: the number to compare across domains, as it is free of
        arbitrary constants in the output. Real tokens of all inputs spread about one mean. NaN for a single input.
    over_spread_stderr
        Its standard error by leaving out one input at a time; NaN in reports from before it was measured.
    noise_floor
        The relative error that rounding alone can cause.
    leakage, leakage_stderr, misalignment, misalignment_stderr
        The two parts of relative², as fractions of Σ N with errors: power in irreps that the output should not have,
        Σ_blocks (N − B_α[u]), and power in the right irrep but turned the wrong way, Σ_blocks (B_α[u] − ‖f̄‖²). An
        output whose blocks all have λ = 0 has no misalignment.
    error_spectrum, error_spectrum_stderr
        B_β[z] as fractions of Σ N, for every irrep but the invariant one, by name. A² = Σ_β B_β[z]. Empty for boosts,
        which have no irreps to split it over.
    error_tail
        What is left of relative² beyond l_max.
    error_exact_to
        Largest λ up to which the error spectrum is exact for an output of bandwidth l_max: z has bandwidth
        l_max + λ_α, so a probe at l_max says it up to l_max − λ_α. None for random rotations, which do not alias.

    A negative unbiased estimate of A² is reported as minus the root of its modulus, never clipped.
    """

    kind: str
    absolute: float
    absolute_stderr: float
    relative: float
    relative_stderr: float
    over_spread: float
    noise_floor: float
    leakage: float
    leakage_stderr: float
    misalignment: float
    misalignment_stderr: float
    error_spectrum: Mapping[str, float]
    error_spectrum_stderr: Mapping[str, float]
    error_tail: float
    error_exact_to: int | None
    over_spread_stderr: float = float("nan")


def combine(kind: Kind, parts: Sequence[Deviation], noise_floor: float, *, exact_to: int | None = None) -> Equivariance:
    """The error over all inputs, from their batches.

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
    """(samples,) rows of each input: its real tokens, or the same number for all."""
    samples = len(part.squared)
    return np.full(samples, len(part.rows) // samples) if part.mask is None else part.mask.sum(axis=1)


def _over_spread(a2: NDArray[np.float64], rows: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """√(Σ A² / Σ‖f̄ − mean‖²), and its standard error by leaving out one input, with its rows, at a time.

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
    """Signed root of a squared quantity and the error carried over to it."""
    root = float(np.sign(value) * np.sqrt(np.abs(value)))
    return root, float(stderr / (2 * abs(root))) if root else float(np.sqrt(stderr))
