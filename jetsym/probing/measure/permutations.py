"""Permutations of the points of an input: what belongs to points goes along with them, and all else stays."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.domains.base import Action
from jetsym.errors import ProbeError
from jetsym.probing.forward.layouts import Layout, find_tokens
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import representation_of
from jetsym.probing.measure.combination import rooted
from jetsym.probing.measure.reproducibility import as_numbers
from jetsym.probing.measure.rounding import Rounding, along_turns, measure_rounding
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum import SO3
from jetsym.spectrum.irreps import NamedIrrep
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio

__all__ = ["PERMUTATIONS", "measure_permutations"]

Array = NDArray[np.float64]

#: What the group is called in a report, and its irreps there: what obeys the law, and what does not.
PERMUTATIONS = "permutations"
IRREPS = (NamedIrrep(0, "permuted along", 1, 1), NamedIrrep(1, "otherwise", 1, 1))
#: Random permutations of each input.
DRAWN = 8


class Apart(NamedTuple):
    """(samples,) A² and N of a response, and what its points change by where they are; inf where it has none."""

    squared: Array
    norm: Array
    moved: Array


def measure_permutations(session: Session, inputs: Any, *, n: int = DRAWN) -> SymmetryReport:
    """Measure A of every layer and output under permutations of the real points of each input.

    A² = Σ‖z_i − z̄‖²/(n − 1) of n random permutations of each input's own, without bias, where z has its points where
    they were before.

    Parameters
    ----------
    session, inputs
        What is measured; inputs as the domain loads them.
    n
        Permutations of each input.

    Returns
    -------
    A report whose ``equivariance`` holds the outputs, and ``fractions`` (layers, 2) what is permuted along, or the same
    where a response has no points, and what is not.

    Raises
    ------
    ProbeError
        The inputs are not known to be made of points, or a sample has fewer than two, or the same several times.
    """
    if session.action is not None:
        raise ProbeError(
            "action=… moves inputs by rotations; for permutations the inputs must be arrays, jets or atoms"
        )

    def move(some: Any, elements: NDArray[Any]) -> Any:
        domain = session.domain  # as it is settled when inputs are there
        if elements.dtype.kind == "f":  # rotations, along which rounding is measured
            return domain.move(some, elements)
        copies = domain.move(some, np.tile(np.eye(3), (len(elements), 1, 1)))
        return domain.rearrange(copies, elements.reshape(-1, elements.shape[-1]))

    # Every output has a law here: it stays as it is, or its points change places with the input's.
    with session.open(inputs, Action(move, True, "The real points of each input change places.")) as (running, placed):
        domain = running.domain
        start = time.perf_counter()
        within_memory(running, lambda: settle(running, placed))
        (rounding,) = within_memory(running, lambda: measure_rounding(running, placed, along_turns(SO3())))
        found: dict[str, list[Apart]] = {}
        for part in running.parts(placed, max(1, running.evaluations // n)):
            some = domain.select(placed, part)
            places = _drawn(running, some, n, part)
            _expect_others(running, some, places, part)
            for name, item in _apart(running, some, running.along(some, cast(Any, places)), places).items():
                found.setdefault(name, []).append(item)
        meta = {
            **running.facts(placed),
            "group": PERMUTATIONS,
            "frame": "lab",
            "axis": None,
            "method": "random",
            "l_max": 0,
            "degree": None,
            "n_rotations": n,
            "evaluations": domain.size(placed) * (n + 1),
            "passes": 1,
            "seconds": time.perf_counter() - start,
            "batch_size": running.evaluations,
            "held_out": 0,
            "unbiased": [],
        }
    whole = {name: Apart(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in found.items()}
    meta["notes"] = [*meta["notes"], *_untested(whole, rounding)]
    return _assemble(whole, rounding, running, meta)


def _points(session: Session, inputs: Any) -> int:
    """Return how many slots for points inputs that share a pass have."""
    slots, mask = session.domain.slots(inputs), session.domain.mask(inputs)
    if slots is None and mask is None:
        raise ProbeError(
            "the points of these inputs cannot be counted; permutations need jets, atoms, or arrays (samples, points, "
            "3 or 4) that all have the same axis of points"
        )
    return int(mask.shape[1]) if slots is None else slots


def _drawn(session: Session, inputs: Any, n: int, part: slice) -> NDArray[np.int64]:
    """Draw permutations of the real points of each input, (1 + n, samples, slots), the identity first.

    Padding stays where it is.
    """
    slots, mask = _points(session, inputs), session.domain.mask(inputs)
    samples = session.domain.size(inputs)
    real = np.ones((samples, slots), dtype=bool) if mask is None else to_numpy(mask)
    if (alone := np.flatnonzero(real.sum(axis=1) < 2)).size:
        raise ProbeError(
            f"sample {part.start + int(alone[0])} has {int(real[alone[0]].sum())} points, which have no other order; "
            "leave out inputs with fewer than two"
        )
    places = np.tile(np.arange(slots), (1 + n, samples, 1))
    for sample in range(samples):
        rng, own = np.random.default_rng([session.seed, part.start + sample]), np.flatnonzero(real[sample])
        for row in places[1:, sample]:
            row[own] = rng.permutation(own)
        if (places[1:, sample] == places[1, sample]).all():  # by chance, where there are two or three
            places[1, sample, own] = np.roll(places[1, sample, own], 1)
    return places


def _expect_others(session: Session, inputs: Any, places: NDArray[np.int64], part: slice) -> None:
    """Refuse inputs that are the same in every order: nothing would be tested by them, and every law would hold."""
    domain = session.domain
    copies = domain.move(inputs, np.tile(np.eye(3), (len(places), 1, 1)))
    same = domain.is_same(copies, domain.rearrange(copies, places.reshape(-1, places.shape[-1])))
    alike = np.flatnonzero(same.reshape(places.shape[:2]).all(axis=0))
    if alike.size:
        raise ProbeError(
            f"the points of sample {part.start + int(alike[0])} are all the same, so that their order tells nothing; "
            "leave out inputs like that"
        )


def _untested(found: dict[str, Apart], rounding: dict[str, Rounding]) -> list[str]:
    """Say which responses are the same for all points of every input: whether they change places is not tested."""
    names = [
        name
        for name, item in found.items()
        if item.moved.sum() <= KNOWN_TO**2 * rounding[name].floor() * item.norm.sum()
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)} hold the same for every point of an input: whether that changes places with the points is "
        "not tested."
    ]


def _apart(session: Session, inputs: Any, responses: Responses, places: NDArray[np.int64]) -> dict[str, Apart]:
    """Return what is found of responses (permutations, samples, …), the first of which is to the identity."""
    result = {}
    for name, values in as_numbers(session, inputs, responses).items():
        layout = session.layouts.get(name, Layout())
        of_points = values.ndim > 2 and values.shape[2] == places.shape[-1]
        moved = np.full(values.shape[1], np.inf)
        if layout.axes or (of_points and session.real(name, responses[name], inputs) is not None):
            slots = layout.slots(places.shape[-1]) if layout.axes else np.arange(places.shape[-1])[:, None].repeat(2, 1)
            moved = (np.abs(values - values[0]) ** 2).reshape(*values.shape[:2], -1).sum(axis=2).max(axis=0)
            values = _back(values, slots, places, ordered="triangle" not in layout.form)
        wide = values.reshape(*values.shape[:2], -1)
        drawn = wide[1:] - wide[0]  # so that nothing cancels where the law holds
        squared = (np.abs(drawn - drawn.mean(axis=0)) ** 2).sum(axis=(0, 2)) / (len(drawn) - 1)
        result[name] = Apart(squared, (np.abs(wide) ** 2).sum(axis=2).mean(axis=0), moved)
    return result


def _back(values: NDArray[Any], slots: NDArray[np.int64], places: NDArray[np.int64], *, ordered: bool) -> NDArray[Any]:
    """Return responses (permutations, samples, tokens, …) with their tokens where they were before the permutations."""
    result = np.empty_like(values)
    for element in range(len(places)):
        for sample, own in enumerate(places[element]):
            wanted = np.where(slots < 0, slots, own[np.maximum(slots, 0)])
            result[element, sample, find_tokens(slots, wanted, ordered=ordered)] = values[element, sample]
    return result


def _assemble(
    found: dict[str, Apart], rounding: dict[str, Rounding], session: Session, meta: dict[str, Any]
) -> SymmetryReport:
    floors = {name: rounding[name].floor() for name in found}
    shares = {name: jackknife_ratio(item.squared, item.norm) for name, item in found.items()}
    broken, stderr = (np.array([float(shares[name][place]) for name in found]) for place in (0, 1))
    return SymmetryReport(
        layers=tuple(found),
        irreps=IRREPS,
        fractions=np.stack([1 - broken, broken], axis=1),
        stderr=np.stack([stderr, stderr], axis=1),
        norm=np.array([item.norm.mean() for item in found.values()]),
        tail=np.zeros(len(found)),
        tail_stderr=np.zeros(len(found)),
        unexplained=np.zeros(len(found)),
        unexplained_stderr=np.zeros(len(found)),
        noise_floor=np.array(list(floors.values())),
        equivariance={
            name: _error(str(representation_of(session.outputs[name]).name), item, floors[name])
            for name, item in found.items()
            if name in session.outputs
        },
        meta=meta,
    )


def _error(kind: str, item: Apart, floor: float) -> Equivariance:
    relative, relative_stderr = rooted(*jackknife_ratio(item.squared, item.norm))
    absolute, absolute_stderr = rooted(*jackknife_ratio(item.squared, np.ones_like(item.norm)))
    missing = float("nan")
    return Equivariance(
        kind=kind,
        absolute=absolute,
        absolute_stderr=absolute_stderr,
        relative=relative,
        relative_stderr=relative_stderr,
        over_spread=missing,
        noise_floor=float(np.sqrt(floor)),
        leakage=missing,
        leakage_stderr=missing,
        misalignment=missing,
        misalignment_stderr=missing,
        error_spectrum={},
        error_spectrum_stderr={},
        error_tail=0.0,
        error_exact_to=None,
        unexplained=0.0,
        unexplained_stderr=0.0,
    )
