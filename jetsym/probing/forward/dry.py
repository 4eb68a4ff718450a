"""Dry passes: a few inputs with their points in other slots, and with other numbers of slots and of real points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.domains.base import Domain
from jetsym.errors import is_out_of_memory
from jetsym.spectrum.responses import to_numpy

__all__ = ["INPUTS", "PERMUTED", "DryPasses", "Pass", "dry_passes"]

Array = NDArray[Any]
Evaluate = Callable[[Any], Mapping[str, Any]]

#: Inputs of a dry pass; slots that are added, and real points that are left out; points that change places.
INPUTS, ADDED, LEFT_OUT, PERMUTED = 2, 3, 2, 3
#: A third of a turn about the diagonal, x → y → z.
ABOUT_DIAGONAL = np.roll(np.eye(3), 1, axis=0)


@dataclass(frozen=True)
class Pass:
    """One forward pass: its inputs, their slots, and the largest number of real points; what came out, and its eps."""

    size: int
    slots: int
    most: int
    mask: Array | None
    arrays: Mapping[str, Array]
    eps: Mapping[str, float]


@dataclass(frozen=True)
class DryPasses:
    """A few passes of a few inputs.

    Parameters
    ----------
    alone
        The inputs as they are.
    together
        The inputs; again with some points in the ``permuted`` order; and where there are masks again with a copy of
        the second of these in place of the first: in one pass, or as few as may be.
    others
        With other numbers of slots, and of real points.
    permuted
        (slots,) the slot to which each point went; None where none moved.
    exchanged
        The slot that holds a copy of another point; None where none does.
    has_points
        Whether inputs are known to be made of points.
    takes_others
        Whether the model takes another number of slots.
    padded
        Whether some slots are empty, among all the inputs.
    """

    alone: Pass
    together: Sequence[Pass]
    others: Sequence[Pass] = ()
    permuted: Array | None = None
    exchanged: int | None = None
    has_points: bool = True
    takes_others: bool = True
    padded: bool = False

    @property
    def all(self) -> list[Pass]:
        """The passes in which tokens can be counted."""
        return [self.alone, *self.together, *self.others]

    @property
    def numbers(self) -> tuple[tuple[int, int], ...]:
        """Of all of them the largest number of real points, and that of slots."""
        return tuple((one.most, one.slots) for one in self.all)


def dry_passes(
    evaluate: Evaluate, domain: Domain, inputs: Any, *, move: Any, evaluations: int, turn: Array = ABOUT_DIAGONAL
) -> DryPasses:
    """Evaluate a few inputs as they are, in company, with points in other slots, and with other numbers of slots.

    Parameters
    ----------
    evaluate
        Gives arrays by name for inputs.
    domain, inputs
        The inputs, of which a few are taken.
    move
        ``move(inputs, matrices)`` in the lab.
    evaluations
        Inputs that a forward pass may take.
    turn
        What a second input is made with, where only one shares a pass with itself.
    """
    mask, n = domain.mask(inputs), domain.slots(inputs)
    some = _few_inputs(domain, inputs, move, INPUTS if evaluations >= 2 * INPUTS else 1, turn)

    def run(given: Any) -> Pass:
        real = domain.mask(given)
        real = None if real is None else to_numpy(real)
        slots = domain.slots(given) or 0
        most = slots if real is None else int(real.sum(axis=1).max())
        found = evaluate(given)
        arrays = {name: to_numpy(array) for name, array in found.items()}
        eps = {name: float(array_namespace(array).finfo(array.dtype).eps) for name, array in found.items()}
        return Pass(domain.size(given), slots, most, real, arrays, eps)

    def repeated(times: int) -> Any:
        return move(some, np.tile(np.eye(3), (times, 1, 1)))

    alone = run(repeated(1))
    if n is None:
        return DryPasses(alone, [run(repeated(min(2, max(1, evaluations // alone.size))))], has_points=False)
    own = domain.mask(some)
    places = np.arange(n)
    full = (places if own is None else np.flatnonzero(to_numpy(own).all(axis=0)))[:PERMUTED]
    shifted, doubled = places.copy(), places.copy()
    shifted[full] = np.roll(full, 1)  # the slot from which each point comes
    doubled[full[:1]] = full[1:2] if len(full) > 1 else full[:1]
    copies = [places, shifted] if own is None else [places, shifted, doubled]
    step = max(1, evaluations // alone.size)
    parts = [copies[start : start + step] for start in range(0, len(copies), step)]
    together = [run(domain.rearrange(repeated(len(p)), np.repeat(np.stack(p), alone.size, axis=0))) for p in parts]
    others, takes_others = _other_numbers(run, domain, some, alone, n)
    return DryPasses(
        alone,
        together,
        others,
        permuted=np.argsort(shifted) if len(full) > 1 else None,
        exchanged=int(full[0]) if len(full) > 1 and own is not None else None,
        takes_others=takes_others,
        padded=mask is not None and not bool(to_numpy(mask).all()),
    )


def _few_inputs(domain: Domain, inputs: Any, move: Any, size: int, turn: Array) -> Any:
    """Return inputs that share a pass; where there are masks, the fullest, and the same turned with half its points."""
    mask, n, alike = domain.mask(inputs), domain.slots(inputs), domain.batches(inputs)[0]
    if mask is None and alike.stop - alike.start >= size:
        return domain.select(inputs, slice(alike.start, alike.start + size))
    known = None if mask is None else to_numpy(mask)[alike]
    place = alike.start + (0 if known is None else int(known.sum(axis=1).argmax()))
    turns = np.stack([np.eye(len(turn)), turn])[:size]
    some = move(domain.select(inputs, slice(place, place + 1)), turns)
    if known is None or n is None or size == 1:
        return some
    real = np.flatnonzero(known[place - alike.start])
    half = real[: max(PERMUTED, len(real) // 2)]
    places = np.arange(n)
    return domain.rearrange(some, np.stack([places, np.where(np.isin(places, half), places, -1)]))


def _other_numbers(
    run: Callable[[Any], Pass], domain: Domain, some: Any, alone: Pass, n: int
) -> tuple[list[Pass], bool]:
    """Evaluate inputs with other numbers of slots, and of real points; and say whether the model takes the former."""
    mask, places = alone.mask, np.arange(n)
    if mask is None:
        trials = [places[None, :-1]] if n > 1 else []
    else:
        trials = [np.concatenate([places, np.full(ADDED, -1)])[None]]
        if alone.most > 1:
            last = np.flatnonzero(mask.any(axis=0))[-min(LEFT_OUT, alone.most - 1) :]
            fewer = np.tile(np.where(np.isin(places, last), -1, places), (alone.size, 1))
            still = np.flatnonzero(mask[-1] & (fewer[-1] >= 0))
            if alone.size > 1 and len(still) > 1:  # inputs of different numbers: rows of real points are fewer
                fewer[-1, still[-1]] = -1
            trials.append(fewer)
    found: list[Pass] = []
    takes_others = False
    for trial in trials:
        try:
            found.append(run(domain.rearrange(some, np.broadcast_to(trial, (alone.size, trial.shape[1])))))
        except Exception as error:  # whatever a model says of inputs it does not take
            if is_out_of_memory(error):
                raise
            continue
        takes_others = takes_others or trial.shape[1] != n
    return found, takes_others
