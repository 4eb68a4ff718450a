"""From the deviations of batches of inputs to the error of an output over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.measure.deviation import Deviation, Errors, HeldOutError
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.spectrum.heldout import is_beyond_chance
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.result import jackknife_ratio

__all__ = ["combine", "is_wrong"]

Array = NDArray[np.float64]


def combine(
    kind: Kind, parts: Sequence[Deviation], noise_floor: float, *, exact_to: int | None = None, unbiased: bool = False
) -> Equivariance:
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
    unbiased
        Whether to give the estimates from held-out elements in place of those of the rule.
    """
    held = [part.held_out for part in parts if part.held_out is not None]
    chosen: Sequence[Any] = held if unbiased else parts
    found = _joined([each.estimates() for each in held]) if unbiased else _errors_by_rule(parts)
    sway = _joined([each.influence() for each in held]) if unbiased else None
    rows, noise = (np.concatenate([getattr(part, name) for part in chosen]) for name in ("rows", "noise"))
    counts = np.concatenate([_counts(part) for part in parts])

    def share(of: Callable[[Errors], Array], over: Callable[[Errors], Array] = lambda one: one.norm) -> Any:
        return jackknife_ratio(of(found), over(found), influence=None if sway is None else (of(sway), over(sway)))

    absolute, absolute_stderr = _root(*share(lambda one: one.squared, lambda one: np.ones_like(one.norm)))
    relative, relative_stderr = _root(*share(lambda one: one.squared))
    leaked, leaked_stderr = share(lambda one: one.leakage)
    misaligned, misaligned_stderr = share(lambda one: one.squared - one.leakage)
    blur = float(noise.mean())
    least = blur + noise_floor * float(found.norm.mean())
    over_spread, over_spread_stderr = _over_spread(found.squared, rows, counts, noise=blur, least=least)
    irreps = next((part.spectrum.irreps for part in parts if part.spectrum is not None), ())  # boosts have none
    names = [str(irrep) for irrep in irreps[1:]]
    error, error_stderr = share(lambda one: one.power[..., : len(names)])
    unexplained, unexplained_stderr = _unexplained(parts, held)
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
        error_tail=float(share(lambda one: one.squared - one.power[..., : len(names)].sum(axis=-1))[0]),
        error_exact_to=None if unbiased else exact_to,
        unexplained=unexplained,
        unexplained_stderr=unexplained_stderr,
    )


def is_wrong(parts: Sequence[Deviation]) -> bool:
    """Return whether held-out elements change A² of a rule by more than chance."""
    held = [part.held_out for part in parts if part.held_out is not None]
    if not held:
        return False
    change = _joined([each.estimates() for each in held]).squared - _errors_by_rule(parts).squared
    return is_beyond_chance(change, _joined([each.influence() for each in held]).squared)


def _errors_by_rule(parts: Sequence[Deviation]) -> Errors:
    squared, norm, leakage = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("squared", "norm", "leakage")
    )
    spectra = [part.spectrum for part in parts if part.spectrum is not None]
    power = np.concatenate([spectrum.power[:, 1:] for spectrum in spectra]) if spectra else np.zeros((len(squared), 0))
    return Errors(squared, norm, leakage, power)


def _joined(parts: Sequence[Errors]) -> Errors:
    """Put the numbers of batches together."""
    return Errors(*map(np.concatenate, zip(*parts, strict=True)))


def _unexplained(parts: Sequence[Deviation], held: Sequence[HeldOutError]) -> tuple[float, float]:
    """Return A² from held-out elements less that of the rule, over N, with its error; NaN where none were held out."""
    if not held:
        return float("nan"), float("nan")
    by_rule = _errors_by_rule(parts).squared
    found, sway = (_joined([of(each) for each in held]) for of in (HeldOutError.estimates, HeldOutError.influence))
    value, stderr = jackknife_ratio(found.squared - by_rule, found.norm, influence=(sway.squared, sway.norm))
    return float(value), float(stderr)


def _counts(part: Deviation) -> NDArray[np.int64]:
    """Count the rows (samples,) of each input: its real tokens, or the same number for all."""
    samples = len(part.squared)
    return np.full(samples, len(part.rows) // samples) if part.mask is None else part.mask.sum(axis=1)


def _over_spread(
    a2: Array, rows: Array, counts: NDArray[np.int64], *, noise: float, least: float
) -> tuple[float, float]:
    """Return √(⟨A²⟩ / spread²) and its standard error, each by leaving out one input, with its rows, at a time.

    The spread of the rows f̄ about their mean, Σ‖f̄ − mean‖² over the inputs, is too small by what the mean follows them;
    the jackknife takes that out, n/(n − 1) for one row an input. NaN where no spread can be told from rounding.

    Parameters
    ----------
    a2
        (samples,) A² of every input.
    rows
        (Σ counts, features) f̄, the rows of one input after those of another.
    counts
        (samples,) rows of each input.
    noise
        What the rotations' finite number adds to the spread² of an input.
    least
        The spread² of an input that must be exceeded for there to be any: noise, and what rounding makes.
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
    spread = squares.sum() - others.mean()
    if not spread > least:
        return float("nan"), float("nan")
    value = _root(a2.mean() / (spread - noise), np.array(0.0))[0]
    others = others * spread / squares.sum() * (samples - 1) / max(samples - 2, 1) - noise
    if not (others > 0).all():
        return value, float("nan")
    left_out = (a2.sum() - a2) / (samples - 1) / others
    left_out = np.sign(left_out) * np.sqrt(np.abs(left_out))
    return value, float(np.sqrt((samples - 1) / samples * ((left_out - left_out.mean()) ** 2).sum()))


def _root(value: NDArray[np.float64], stderr: NDArray[np.float64]) -> tuple[float, float]:
    """Return the signed root of a squared quantity and the error carried over to it."""
    root = float(np.sign(value) * np.sqrt(np.abs(value)))
    return root, float(stderr / (2 * abs(root))) if root else float(np.sqrt(stderr))
