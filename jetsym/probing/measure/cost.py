"""What a broken symmetry costs: the loss of a model over the orbits of its inputs, less that of its group average."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import ProbeError, expect_at_least, expect_one_of
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.kinds import check_law, representation_of
from jetsym.probing.measure.orbit import Orbit, orbit_of
from jetsym.probing.measure.rounding import Rounding, along_turns, measure_rounding
from jetsym.probing.measure.targets import Aim, aims_of, of_label, summed
from jetsym.probing.options import AUTO, BESIDE, RANDOM_ROTATIONS, affordable, check
from jetsym.probing.reports.cost import CROSS_ENTROPY, SQUARED, Cost, LossSplit
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.progress import progress_bar
from jetsym.spectrum import FiniteGroup, group_of
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio
from jetsym.symmetry import Axis, GroupName, Symmetry, group_names

__all__ = ["cost"]

Array = NDArray[np.float64]

#: Rotations of an input at least: halves of them tell what the jackknife leaves.
LEAST = 4


class Losses(NamedTuple):
    """What a batch of inputs gives, (samples,) each, summed over the objects of an input that count.

    Parameters
    ----------
    as_is, moved, of_average, remainder
        As of :class:`~jetsym.probing.reports.cost.LossSplit`, not yet divided.
    counts
        Components, or objects with a label.
    norm
        ∫‖z‖² dμ of the output, for what rounding makes of it.
    """

    as_is: Array
    moved: Array
    of_average: Array
    remainder: Array
    counts: Array
    norm: Array


@checked(
    ProbeError,
    limit=at_least(1),
    seed=at_least(0),
    batch_size=at_least(1),
    device=anything,
    moves=anything,
    outputs=by_name,
    axis=anything,
)
def cost(
    model: Any,
    inputs: Any = None,
    targets: Any = None,
    *,
    loss: str = AUTO,
    group: str = GroupName.O3,
    frame: str | None = None,
    axis: Axis | None = None,
    outputs: Mapping[str, Kind | None] | None = None,
    n_rotations: int | None = None,
    moves: Mapping[Any, Any] | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = AUTO,
    progress: bool = True,
) -> Cost:
    """Measure what a broken symmetry costs: the part of the loss that averaging over the group takes away.

    Targets are to transform as the outputs do, t(g·x) = ρ(g) t(x), as labels and energies do. Over inputs and
    orientations the mean squared error per component is then that of the group average f̄ plus A²,

        ⟨RMSE²⟩ = RMSE²[f̄] + A²

    (arXiv:2603.24638), and a cross-entropy that of the averaged logits plus a divergence that no label enters,

        ⟨CE(f(g·x), y)⟩ = CE(f̄, y) + ⟨KL(softmax f̄ ‖ softmax f(g·x))⟩.

    It is the average of logits that splits exactly: a mean of probabilities is another model, and a shift of all logits
    changes neither.

    Parameters
    ----------
    model, inputs, group, frame, axis, outputs, moves, action, call, limit, seed, device, batch_size, progress
        As for :func:`jetsym.probe`; groups that are compact.
    targets
        What the outputs should be for the inputs as they are: an array, one row an input, or a dictionary of arrays by
        the names of outputs; lists of an array for each input where these have other shapes. Class numbers (samples,)
        go with logits, else arrays of the output's shape. By default what the inputs hold: the labels of jets, the
        energies and forces of structures for a calculator.
    loss
        "squared", "cross-entropy", or "auto": cross-entropy of logits with class numbers, squared errors of all else.
    n_rotations
        Random rotations of each input's own, with −R beside every R where the group has the inversion; 32 by default,
        fewer for calculators. All elements of a finite group are taken.

    Returns
    -------
    Cost
        The loss as it is, over the orbits, of the average, and what is owed to A, with jackknife errors over inputs.

    Raises
    ------
    ProbeError
        An option that cannot be used, or targets that are missing or do not fit.
    DataError
        Inputs that cannot be read or used.

    Notes
    -----
    All parts of a squared error are unbiased at any number of rotations n: pairs of a rotation with itself are left
    out of ‖f̄ − t‖². The cross-entropy of a mean of n logits is too large by O(1/n), which a jackknife over the
    rotations takes off; what is left, O(1/n²), is estimated from halves and reported as ``remainder``. Every input
    counts once, whatever its weight.

    Examples
    --------
    A model that adds a fixed direction of length 0.1 to a vector has A² = 0.01, whatever its other errors:

    >>> points = np.random.default_rng(0).normal(size=(64, 3))
    >>> found = cost(lambda x: 1.1 * x + [0, 0, 0.1], points, points, outputs={"v": "vector"}, progress=False)
    >>> split = found.losses["v"]
    >>> round(3 * split.cost, 4), bool(np.isclose(split.of_average, 0.01 * (points**2).mean(), atol=1e-4))
    (0.01, True)
    """
    check(method=AUTO, l_max=0, n_rotations=None, limit=limit, seed=seed, device=device)
    expect_one_of("loss", loss, (AUTO, SQUARED, CROSS_ENTROPY), ProbeError)
    if n_rotations is not None:
        expect_at_least("n_rotations", n_rotations, LEAST, ProbeError)
    symmetry = Symmetry.parse(group, frame, axis, error=ProbeError, groups=group_names(compact=True))
    options: dict[str, Any] = {"call": call, "action": action, "device": device, "batch_size": batch_size, "seed": seed}
    session = Session.of(model, inputs, outputs, moves=moves, layers=[], **options)
    loaded = session.domain.load(inputs, limit=limit, model=session.model)
    orbit = _orbit_of(session, loaded, symmetry, n_rotations)
    loaded, acting = session.act(loaded, symmetry)
    start = time.perf_counter()
    with session.open(loaded, acting) as (running, placed):
        within_memory(running, lambda: orbit.settle(running, placed))
        check_law(running.outputs, acting)
        if targets is None:
            targets = running.domain.targets(inputs, placed, outputs=running.outputs, model=running.model)
        wanted = aims_of(running, placed, targets, loss, limit=limit)
        (rounding,) = within_memory(running, lambda: measure_rounding(running, placed, along_turns(orbit.group)))
        size = running.domain.size(placed)
        found: dict[str, list[Losses]] = {name: [] for name in wanted}
        with progress_bar("measuring losses", size, shown=progress) as advance:
            for part in running.parts(placed, orbit.inputs_together(running.evaluations)):

                def attempt(part: slice = part) -> dict[str, Losses]:
                    return _of_part(running, placed, part, orbit, wanted)

                for name, item in within_memory(running, attempt).items():
                    found[name].append(item)
                advance(part.stop - part.start)
        meta = {
            **session.facts(placed, acting),
            **symmetry.to_dict(),
            "n_rotations": orbit.n_rotations,
            "method": "random" if orbit.rule is None else "quadrature",
            "evaluations": orbit.evaluations(size) + size,
            "seconds": time.perf_counter() - start,
            **running.domain.facts(running.model),
        }
        kinds = {name: running.outputs[name] for name in wanted}
    return Cost({name: _split(kinds[name], wanted[name].loss, found[name], rounding[name]) for name in wanted}, meta)


def _orbit_of(session: Session, inputs: Any, symmetry: Symmetry, n_rotations: int | None) -> Orbit:
    """Return random rotations of each input's own, or all elements of a finite group."""
    group = group_of(symmetry)
    if isinstance(group, FiniteGroup):
        if n_rotations is not None:
            raise ProbeError(f"n_rotations is {n_rotations}, but all elements of {group.name} are taken; leave it out")
        lam = max([0, *(representation_of(kind, group).lam for kind in session.kinds.values())])
        return orbit_of(group, method=AUTO, l_max=lam, n_rotations=None, seed=session.seed)
    most = session.domain.most_calls(inputs)
    if n_rotations is None and most is not None:
        size, cosets = session.domain.size(inputs), 2 if group.has_inversion else 1
        most_rotations = affordable(size, cosets, most, beside=BESIDE + 2 * size, least=LEAST, meant="n_rotations=…")
        n_rotations = min(RANDOM_ROTATIONS, most_rotations)
    return orbit_of(group, method="random", l_max=0, n_rotations=n_rotations, seed=session.seed)


# --- losses of some inputs ---


def _of_part(session: Session, inputs: Any, part: slice, orbit: Orbit, wanted: Mapping[str, Aim]) -> dict[str, Losses]:
    """Evaluate some inputs along their orbits and as they are."""
    some, samples, rotations = session.domain.select(inputs, part), part.stop - part.start, orbit.rotations(part)
    squared = {n: orbit.error_of(session.outputs[n]) for n, aim in wanted.items() if aim.loss == SQUARED}
    logits: dict[str, list[list[Array]]] = {name: [] for name, aim in wanted.items() if aim.loss == CROSS_ENTROPY}
    masks: dict[str, Any] = {}

    def take(chunk: slice, proper: Responses, improper: Responses) -> None:
        for name in wanted:
            if name not in masks:
                masks[name] = session.real(name, proper[name], some)
            if name in squared:
                elements = rotations[chunk]
                squared[name].add(chunk, elements, proper[name], improper.get(name), mask=masks[name])
            else:
                cosets = [proper[name], *([improper[name]] if improper else [])]
                logits[name].append([to_numpy(one).astype(np.float64) for one in cosets])

    chunks = orbit.chunks(max(1, session.evaluations // samples))
    for _ in session.orbit(some, rotations, chunks, take, inversion=orbit.group.has_inversion):
        pass
    still = session.along(some, np.eye(rotations.shape[-1])[None])
    found = {}
    for name, aim in wanted.items():
        mask = None if masks[name] is None else to_numpy(masks[name])
        as_is = to_numpy(still[name])[0]
        target = aim.target(part, as_is.shape)
        found_as_is, counts = aim.losses(as_is, target, mask), summed(aim.counted(target, mask).astype(float))
        if name in squared:
            result = squared[name].result()
            of_average = aim.losses(result.average, target, mask) - result.noise
            moved = of_average + result.squared
            found[name] = Losses(found_as_is, moved, of_average, np.zeros(samples), counts, result.norm)
        else:
            draws = np.stack([np.concatenate(own) for own in zip(*logits[name], strict=True)])
            weights = None if orbit.rule is None else orbit.rule.weights
            found[name] = Losses(
                found_as_is, *_entropies(aim, draws, target, mask, weights), counts, _norm(draws, weights)
            )
    return found


def _entropies(
    aim: Aim, draws: Array, labels: NDArray[Any], mask: NDArray[np.bool_] | None, weights: Array | None
) -> tuple[Array, Array, Array]:
    """Return ⟨CE⟩ of logits (cosets, n, samples, …, classes), CE of their average, and what its bias leaves."""
    pairs, counted = draws.mean(axis=0), aim.counted(labels, mask)
    n = len(pairs)
    share = np.full(n, 1 / n) if weights is None else weights
    over_orbit = np.tensordot(share, logsumexp(draws, axis=-1).mean(axis=0), axes=1)
    mean = np.tensordot(share, pairs, axes=1)
    of_mean, remainder = logsumexp(mean, axis=-1), np.zeros(mean.shape[:-1])
    if weights is None:
        of_mean, half = _of_mean(pairs), n // 2
        # What is left goes as 1/n²: that of half as many rotations is four times as large.
        remainder = ((_of_mean(pairs[:half]) + _of_mean(pairs[half : 2 * half])) / 2 - of_mean) / 3
    right = of_label(mean, labels)
    return summed(over_orbit - right, counted), summed(of_mean - right, counted), summed(remainder, counted)


def _norm(draws: Array, weights: Array | None) -> Array:
    """Return (samples,) ⟨‖z‖²⟩ of logits (cosets, n, samples, …)."""
    squares = (draws**2).mean(axis=0)
    return summed(squares.mean(axis=0) if weights is None else np.tensordot(weights, squares, axes=1))


def _of_mean(pairs: Array) -> Array:
    """Return log Σ exp of the mean of logits (n, …, classes), without its bias O(1/n), by the jackknife."""
    n, mean = len(pairs), pairs.mean(axis=0)
    left_out = (logsumexp(mean + (mean - one) / (n - 1), axis=-1) for one in pairs)
    found: Array = n * logsumexp(mean, axis=-1) - (n - 1) / n * sum(left_out)
    return found


# --- over all inputs ---


def _split(kind: Kind, loss: str, parts: Sequence[Losses], rounding: Rounding) -> LossSplit:
    """Return the losses over all inputs with their errors."""
    all_of = Losses(*map(np.concatenate, zip(*parts, strict=True)))
    owed = all_of.moved - all_of.of_average

    def over(numerator: Array, denominator: Array = all_of.counts) -> tuple[float, float]:
        value, stderr = jackknife_ratio(numerator, denominator)
        return float(value), float(stderr)

    if not all_of.counts.sum():
        raise ProbeError("no input has a label; expected numbers of classes from 0 on")
    # ⟨KL⟩ is at most a quarter of A² of the logits, as no eigenvalue of diag p − p pᵀ exceeds ½.
    power = KNOWN_TO**2 * rounding.floor_of_error(kind) * all_of.norm.sum() / all_of.counts.sum()
    (as_is, as_is_stderr), (moved, moved_stderr) = over(all_of.as_is), over(all_of.moved)
    (of_average, of_average_stderr), (part, part_stderr) = over(all_of.of_average), over(owed)
    (share, share_stderr), (gain, gain_stderr) = over(owed, all_of.moved), over(all_of.as_is - all_of.of_average)
    return LossSplit(
        kind=str(representation_of(kind).name),
        loss=loss,
        as_is=as_is,
        as_is_stderr=as_is_stderr,
        moved=moved,
        moved_stderr=moved_stderr,
        of_average=of_average,
        of_average_stderr=of_average_stderr,
        cost=part,
        cost_stderr=part_stderr,
        share=share,
        share_stderr=share_stderr,
        gain=gain,
        gain_stderr=gain_stderr,
        rounding=float(power / (4 if loss == CROSS_ENTROPY else 1)),
        remainder=over(all_of.remainder)[0],
    )
