"""From the deviations of batches of inputs to the error of an output over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.measure.deviation import Deviation
from jetsym.probing.measure.errors import Errors
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.spectrum import Spectrum, WindowEnergies
from jetsym.spectrum.heldout import is_beyond_chance
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import EPS
from jetsym.spectrum.result import by_chance, jackknife_ratio

__all__ = ["combine", "errors_of", "is_beyond_rule", "rooted", "scatter", "stderr_over_size"]

Array = NDArray[np.float64]

#: Rows that are squared at a time.
AT_ONCE = 4096
#: Roundings that a sum over the orbit, and weights of rules, leave of what should cancel, at most.
SUMS = 32.0


def combine(
    kind: Kind,
    parts: Sequence[Deviation],
    noise_floor: float,
    *,
    exact_to: int | None = None,
    unbiased: bool = False,
    labels: NDArray[np.int64] | None = None,
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
    labels
        (rows,) of the rows of all inputs, between which the output has a zero in common; None where it has one at all.
    """
    parts = [part for part in parts if _counts(part).any()] or parts  # without inputs that lack the output
    by_rule, held = _errors_by_rule(parts), _held_out(parts)
    found, sway = errors_of(parts, unbiased=unbiased)
    chosen: list[Any] = list(parts) if sway is None else [part.held_out for part in parts]
    sway = sway or _by_rotation(parts)
    noise = np.concatenate([part.noise for part in chosen])
    counts = np.concatenate([_counts(part) for part in parts])

    everyone = kept = np.ones(len(found.squared), dtype=bool)

    def share(
        of: Callable[[Errors], Array],
        over: Callable[[Errors], Array] = lambda one: one.norm,
        *,
        some: NDArray[np.bool_] = everyone,
    ) -> Any:
        values = [of(found), over(found)] if sway is None else [of(found), over(found), of(sway), over(sway)]
        values = values if some is everyone else [value[some] for value in values]  # which copies them
        return jackknife_ratio(values[0], values[1], influence=None if sway is None else (values[2], values[3]))

    absolute, absolute_stderr = rooted(*share(lambda one: one.squared, lambda one: np.ones_like(one.norm)))
    rounding = float(np.sqrt(noise_floor * found.norm.mean()))
    blur, scale = float(noise.mean()), 1.0
    if labels is None:
        relative, relative_stderr = rooted(*share(lambda one: one.squared))
        least = blur + _told(noise_floor, found)
        over_spread = over_spread_stderr = float("nan")
        if _have_rows(chosen):  # not kept here, as they are as large as all the rest
            over_spread, over_spread_stderr = _over_spread(
                found.squared, _rows(chosen), counts, noise=blur, least=least
            )
    else:  # of outputs, which have the same components in every row
        rows = _rows(chosen)
        over_spread, over_spread_stderr, spread, alike = _over_spread_by_label(
            found.squared, rows, counts, labels, noise=blur, least=_told(noise_floor, found)
        )
        relative = over_spread / np.hypot(1, over_spread)
        relative_stderr = over_spread_stderr / np.hypot(1, over_spread) ** 3
        if alike.any():
            kept = alike
            scale = float(found.norm[kept].mean() / (found.squared[kept].mean() + spread))
    leaked, leaked_stderr = share(lambda one: one.leakage, some=kept)
    misaligned, misaligned_stderr = share(lambda one: one.squared - one.leakage, some=kept)
    irreps = next((part.spectrum.irreps for part in parts if part.spectrum is not None), ())  # boosts have none
    names = [str(irrep) for irrep in irreps[1:]]
    error, error_stderr = share(lambda one: one.power[..., : len(names)], some=kept)
    tail, _ = share(lambda one: one.squared - one.power[..., : len(names)].sum(axis=-1), some=kept)
    unexplained, unexplained_stderr = _unexplained(by_rule, held, kept)
    shares = None if sway is None else (sway.power[..., : len(names)], sway.squared)
    held_by, held_by_error = by_chance(found.power[..., : len(names)], found.squared, influence=shares)
    return Equivariance(
        kind=representation(kind).name,
        absolute=absolute,
        absolute_stderr=absolute_stderr,
        relative=relative,
        relative_stderr=relative_stderr,
        over_spread=over_spread,
        over_spread_stderr=over_spread_stderr,
        noise_floor=float(np.sqrt(scale * noise_floor)),
        leakage=scale * float(leaked),
        leakage_stderr=scale * float(leaked_stderr),
        misalignment=scale * float(misaligned),
        misalignment_stderr=scale * float(misaligned_stderr),
        error_spectrum=dict(zip(names, (scale * error).tolist(), strict=True)),
        error_spectrum_stderr=dict(zip(names, (scale * error_stderr).tolist(), strict=True)),
        error_shares=dict(zip(names, held_by.tolist(), strict=True)),
        error_shares_stderr=dict(zip(names, held_by_error.tolist(), strict=True)),
        error_tail=scale * float(tail),
        error_exact_to=None if unbiased else exact_to,
        unexplained=scale * unexplained,
        unexplained_stderr=scale * unexplained_stderr,
        rounding=rounding,
    )


def errors_of(parts: Sequence[Deviation], *, unbiased: bool) -> tuple[Errors, Errors | None]:
    """Return the errors of every input by the rule; or unbiased, if held-out elements tell, with their influence."""
    held = _held_out(parts) if unbiased else None
    return (_errors_by_rule(parts), None) if held is None else held


def stderr_over_size(errors: tuple[Errors, Errors], sways: tuple[Errors | None, Errors | None]) -> float:
    """Return the jackknife error of √(ΣA²/ΣN), with A² of the first of two measurements and N of the second.

    It is of the kind of that of relative A, which is the same with both from one measurement; NaN without a size.
    """
    (found, before), (sway, sway_before) = errors, sways
    if not before.norm.sum() > 0:
        return float("nan")
    influence = None if sway is None or sway_before is None else (sway.squared, sway_before.norm)
    return rooted(*jackknife_ratio(found.squared, before.norm, influence=influence))[1]


def is_beyond_rule(found: Spectrum | WindowEnergies, errors: Sequence[Deviation], floor: float) -> bool:
    """Tell whether estimates from held-out elements take the place of what a rule gives of a layer or output.

    Parameters
    ----------
    found
        By the rule, with its held-out elements.
    errors
        Of an output, its deviations; else none.
    floor
        Fraction of power that rounding makes, as far as it is known.
    """
    known = KNOWN_TO**2 * floor
    return not found.is_resolved(known) or (found.unexplained[0] > known and _is_wrong(errors))


def _is_wrong(parts: Sequence[Deviation]) -> bool:
    """Tell whether held-out elements change A² of a rule by more than chance."""
    held = _held_out(parts)
    if held is None:
        return False
    return is_beyond_chance(held.found.squared - _errors_by_rule(parts).squared, held.sway.squared)


class HeldOutErrors(NamedTuple):
    """The errors from held-out elements of all batches, and what each element makes of them."""

    found: Errors
    sway: Errors


def _held_out(parts: Sequence[Deviation]) -> HeldOutErrors | None:
    """Put together what held-out elements say; None where there were none."""
    held = [part.held_out for part in parts if part.held_out is not None]
    if not held:
        return None
    return HeldOutErrors(_joined([each.estimates() for each in held]), _joined([each.influence() for each in held]))


def _by_rotation(parts: Sequence[Deviation]) -> Errors | None:
    """Put together what random rotations make of the errors, by input or in all; None by a rule, or without spectra."""
    own = [part.by_rotation for part in parts if part.by_rotation is not None]
    if not own or len(own) < len(parts):
        return None
    joined = _joined(own)
    return joined.pooled().opposed() if joined.norm.shape[1] == 1 else joined


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


def _unexplained(by_rule: Errors, held: HeldOutErrors | None, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """Return A² from held-out elements less that of the rule, over N, with its error; NaN where none were held out."""
    if held is None:
        return float("nan"), float("nan")
    found, sway = held
    influence = sway.squared[kept], sway.norm[kept]
    value, stderr = jackknife_ratio((found.squared - by_rule.squared)[kept], found.norm[kept], influence=influence)
    return float(value), float(stderr)


def _have_rows(parts: Sequence[Any]) -> bool:
    """Tell whether the rows of all inputs are as long, so that they have a mean.

    They are not with a layer of pairs whose features are taken together, over structures with other numbers of pairs.
    """
    return len({part.rows.shape[1] for part in parts}) == 1


def _rows(parts: Sequence[Any]) -> Array:
    """Return the rows of all inputs."""
    return np.concatenate([part.rows for part in parts])


def _counts(part: Deviation) -> NDArray[np.int64]:
    """Count the rows (samples,) of each input: its real tokens, or the same number for all."""
    samples = len(part.squared)
    return np.full(samples, len(part.rows) // samples) if part.mask is None else part.mask.sum(axis=1)


def _told(noise_floor: float, found: Errors) -> float:
    """Return the spread² of f̄ that rounding may make: of the responses, and of sums in which what turns cancels."""
    return KNOWN_TO**2 * noise_floor * float(found.norm.mean()) + (SUMS * EPS["float64"]) ** 2 * float(
        np.abs(found.squared).mean()
    )


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
        (Σ counts, features) f̄, the rows of one input after those of another; centred in place.
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
    rows -= rows.mean(axis=0)
    squares, of_sums = _squares_by_input(rows, counts)
    # About their own mean the rest spread by Σ‖r‖² − ‖Σr‖²/n, where the sums of all are 0.
    left = len(rows) - counts
    others = squares.sum() - squares - of_sums / np.maximum(left, 1)
    spread = squares.sum() - others.mean()
    if not spread > least:
        return float("nan"), float("nan")
    value = rooted(a2.mean() / (spread - noise), np.array(0.0))[0]
    others = others * spread / squares.sum() * (samples - 1) / max(samples - 2, 1) - noise
    if not (others > 0).all():
        return value, float("nan")
    left_out = (a2.sum() - a2) / (samples - 1) / others
    left_out = np.sign(left_out) * np.sqrt(np.abs(left_out))
    return value, scatter(left_out)


def _squares_by_input(rows: Array, counts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return (samples,) Σ‖r‖² and ‖Σr‖² over the rows of each input, of which there are so many."""
    if (counts == 1).all():  # nothing to sum up, and memory of as many rows to save
        squares = np.concatenate([(part**2).sum(axis=1) for part in np.array_split(rows, len(rows) // AT_ONCE + 1)])
        return squares, squares
    owner, sums = np.repeat(np.arange(len(counts)), counts), np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, owner, rows)
    squares = np.bincount(owner, weights=(rows**2).sum(axis=1), minlength=len(counts)).astype(np.float64)
    return squares, (sums**2).sum(axis=1)


def scatter(left_out: Array) -> float:
    """Return the standard error of what is found with one input left out at a time, by the jackknife."""
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def _over_spread_by_label(
    a2: Array, rows: Array, counts: NDArray[np.int64], labels: NDArray[np.int64], *, noise: float, least: float
) -> tuple[float, float, float, NDArray[np.bool_]]:
    """Return √(⟨A²⟩ / spread²) over inputs that share labels with others, its error, the spread², and these inputs.

    The spread of rows is that about the mean of their label, free of what the mean follows them. NaN and no inputs
    where no label belongs to two of them, or no spread can be told.
    """
    owner = np.repeat(np.arange(len(a2)), counts)
    shared = [label for label in np.unique(labels) if len(np.unique(owner[labels == label])) > 1]

    def ratio(others: NDArray[np.bool_]) -> tuple[float, float, NDArray[np.bool_]]:
        alike, spread = np.zeros(len(a2), dtype=bool), 0.0
        for label in shared:
            some = others[owner] & (labels == label)
            if len(np.unique(owner[some])) > 1:
                alike[owner[some]] = True
                spread += float(rows[some].var(axis=0, ddof=1).sum()) * int(some.sum())
        spread /= max(1, alike.sum())
        if not (alike.any() and spread > max(2 * noise, least)):
            return float("nan"), float("nan"), np.zeros(len(a2), dtype=bool)
        value, _ = rooted(a2[alike].mean() / (spread - noise), np.array(0.0))
        return value, spread - noise, alike

    value, spread, alike = ratio(np.ones(len(a2), dtype=bool))
    if not alike.any():
        return value, value, spread, alike
    left_out = np.array([ratio(np.arange(len(a2)) != place)[0] for place in np.flatnonzero(alike)])
    return value, scatter(left_out), spread, alike


def rooted(value: NDArray[np.float64], stderr: NDArray[np.float64]) -> tuple[float, float]:
    """Return the signed root of a squared quantity and the error carried over to it.

    A negative estimate is one about zero, where roots have no slope: its root is as many errors from zero as itself.
    """
    root = float(np.sign(value) * np.sqrt(np.abs(value)))
    slope = 2 if root > 0 else 1
    return root, float(stderr / (slope * abs(root))) if root else float(np.sqrt(stderr))
