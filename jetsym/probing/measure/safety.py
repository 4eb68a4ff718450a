"""Moves that are no group: what a collinear splitting or a soft emission changes, against its size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import ProbeError, expect_at_least, refuse_unknown
from jetsym.probing.forward.layouts import Layout
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import representation_of
from jetsym.probing.measure.combination import rooted, scatter
from jetsym.probing.measure.rounding import Rounding, along_turns, measure_rounding
from jetsym.probing.options import AUTO, check
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.safety import Curve, Safety
from jetsym.progress import progress_bar
from jetsym.spectrum import SO3
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["safety"]

Array = NDArray[np.float64]

#: Sizes by default; a move at 0 is the limit itself, where it has one.
SIZES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


class Changes(NamedTuple):
    """(inputs, features) an output as it is, and (sizes, inputs) what moves change, squared and averaged over draws."""

    as_is: Array
    squared: Array


@checked(
    ProbeError,
    sizes=at_least(0),
    draws=at_least(1),
    limit=at_least(1),
    seed=at_least(0),
    batch_size=at_least(1),
    device=anything,
    outputs=by_name,
)
def safety(
    model: Any,
    inputs: Any = None,
    *,
    move: str = "collinear splitting",
    sizes: Sequence[float] | None = None,
    draws: int = 4,
    options: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Kind | None] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = AUTO,
    progress: bool = True,
) -> Safety:
    """Measure what collinear splittings or soft emissions change of a tagger's outputs, down to their limit.

    An observable is infrared and collinear safe if neither changes it there, whatever the splitting's fractions. For
    every size the change √⟨‖f(moved x) − f(x)‖²⟩ is taken over jets and random draws, the same draws at all sizes.

    Parameters
    ----------
    model, inputs, outputs, call, limit, seed, device, batch_size, progress
        As for :func:`jetsym.probe`; jets.
    move
        "collinear splitting" (:func:`jetsym.jets.moves.emissions.split`), of angles θ in radians between the halves, or
        "soft emission" (:func:`jetsym.jets.moves.emissions.emit`), of shares of the jet's pT.
    sizes
        Angles, of which 0 is the limit itself, or shares above 0. By default powers of ten from 10⁻⁶ to 10⁻¹, and the
        limit of splittings.
    draws
        Splittings or emissions of each jet, with azimuths or directions of their own.
    options
        Of the move: ``{"fraction": 0.5, "which": "hardest"}`` or ``{"radius": 0.8}``.

    Returns
    -------
    Safety
        Changes against size, with jackknife errors over jets, and a verdict on the limit.

    Raises
    ------
    ProbeError
        The inputs have no such move, an option cannot be used, or no output can be compared.
    DataError, ConfigError
        Jets to which no particle can be added, or a size or option that the move refuses.

    Examples
    --------
    >>> from jetsym.testing.jets import random_jets
    >>> jets = random_jets(8, dtype=torch.float64)
    >>> def observables(jets):
    ...     pt = jets.p4[..., 1:3].norm(dim=-1)
    ...     return {"sum": pt.sum(1), "number": jets.mask.sum(1).double(), "squares": (pt**2).sum(1).sqrt()}
    >>> kinds = dict.fromkeys(("sum", "number", "squares"), "scalar")
    >>> found = safety(observables, jets, outputs=kinds, sizes=[0, 0.01], progress=False)
    >>> [found.verdict(name) for name in kinds], found.curves["number"].change
    (['safe', 'not safe', 'not safe'], (1.0, 1.0))
    """
    check(method=AUTO, l_max=0, n_rotations=None, limit=limit, seed=seed, device=device)
    expect_at_least("draws", draws, 1, ProbeError)
    shared: dict[str, Any] = {"call": call, "device": device, "batch_size": batch_size, "seed": seed}
    session = Session.of(model, inputs, outputs, layers=[], **shared)
    known = session.domain.other_moves()
    if not known:
        session.domain.refuse("a splitting or an emission")
    refuse_unknown("move", move, known, ProbeError)
    own = [name for name, one in signature(known[move]).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for option in options or {}:
        refuse_unknown(f"an option of a {move}", option, [name for name in own if name != "generator"], ProbeError)
    loaded = session.domain.with_room(session.domain.load(inputs, limit=limit, model=session.model))
    chosen = sorted(map(float, _default(move) if sizes is None else sizes))
    if not chosen:
        raise ProbeError("sizes is empty; expected angles or shares of pT")

    def moved(size: float, draw: int) -> Any:
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, draw)).generate_state(1)[0]))
        return known[move](loaded, size, generator=generator, **(options or {}))

    start = time.perf_counter()
    _, action = session.act(loaded, Symmetry(GroupName.SO3))
    with session.open(loaded, action) as (running, placed):
        within_memory(running, lambda: settle(running, placed))
        names = [name for name in running.outputs if not running.layouts.get(name, Layout()).axes]
        if not names:
            raise ProbeError("no output can be compared: all belong to single particles, or none has a law")
        (rounding,) = within_memory(running, lambda: measure_rounding(running, placed, along_turns(SO3())))
        as_is = _evaluated(running, placed, names)
        squared: dict[str, list[list[Array]]] = {name: [] for name in names}
        with progress_bar(move, len(chosen) * draws, shown=progress) as advance:
            for size in chosen:
                for rows in squared.values():
                    rows.append([])
                for draw in range(draws):
                    here = running.domain.to(
                        moved(size, draw), device=getattr(placed, "device", None), dtype=getattr(placed, "dtype", None)
                    )
                    for name, values in _evaluated(running, here, names).items():
                        squared[name][-1].append(((values - as_is[name]) ** 2).sum(axis=1))
                    advance(1)
        size_of = running.domain.size(placed)
        meta = {
            **session.facts(placed),
            "draws": draws,
            "options": dict(options or {}),
            "evaluations": size_of * (1 + len(chosen) * draws),
            "seconds": time.perf_counter() - start,
        }
        others = [name for name in running.outputs if name not in names]
        meta["notes"] = [
            *meta["notes"],
            *(f"{name!r} belongs to single particles, and is left out." for name in others),
        ]
        curves = {
            name: _curve(
                running.outputs[name], chosen, Changes(as_is[name], np.mean(squared[name], axis=1)), rounding[name]
            )
            for name in names
        }
    return Safety(move, tuple(chosen), curves, meta)


def _default(move: str) -> Sequence[float]:
    return (0.0, *SIZES) if move.startswith("collinear") else SIZES


def _evaluated(session: Session, inputs: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return outputs (inputs, features) of all inputs as they are."""
    found: dict[str, list[Array]] = {name: [] for name in names}

    for part in session.parts(inputs, session.evaluations):
        some = session.domain.select(inputs, part)

        def attempt(some: Any = some) -> Responses:
            return session.along(some, np.eye(3)[None])

        responses = within_memory(session, attempt)
        for name in names:
            values = to_numpy(responses[name])[0].astype(np.float64)
            found[name].append(values.reshape(len(values), -1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _curve(kind: Kind, sizes: Sequence[float], found: Changes, rounding: Rounding) -> Curve:
    """Return the changes of an output over all inputs, with their errors."""
    ones, norm = np.ones(len(found.as_is)), (found.as_is**2).sum(axis=1).mean()
    changes = [rooted(*jackknife_ratio(squared, ones)) for squared in found.squared]
    # The difference of two evaluations has twice the power of rounding.
    bound = float(KNOWN_TO * np.sqrt(2 * rounding.floor_of_error(kind) * norm))
    slope, slope_stderr = float("nan"), float("nan")
    places = [place for place, size in enumerate(sizes) if size > 0][:2]
    if len(places) == 2 and min(changes[place][0] for place in places) > bound:
        slope, slope_stderr = _slope(*(found.squared[place] for place in places), *(sizes[place] for place in places))
    several = len(ones) > 1
    return Curve(
        kind=str(representation_of(kind).name),
        change=tuple(value for value, _ in changes),
        change_stderr=tuple(error for _, error in changes),
        spread=float(np.sqrt(found.as_is.var(axis=0, ddof=1).sum())) if several else float("nan"),
        rounding=bound,
        slope=slope,
        slope_stderr=slope_stderr,
    )


def _slope(first: Array, second: Array, smaller: float, larger: float) -> tuple[float, float]:
    """Return k of √⟨squares⟩ ∝ size^k between two sizes, with its error by leaving out one input at a time."""

    def of(one: Any, other: Any) -> Any:
        return np.log(other / one) / (2 * np.log(larger / smaller))

    if len(first) < 2:
        return float(of(first.sum(), second.sum())), float("nan")
    left_out = of(first.sum() - first, second.sum() - second)
    return float(of(first.sum(), second.sum())), scatter(left_out)
