"""Evaluating a model along the orbits of its inputs, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.forward import memory as budget
from jetsym.probing.forward.actions import check_action
from jetsym.probing.forward.memory import Piece, Size, within_memory
from jetsym.probing.forward.precision import full_precision
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import representation_of
from jetsym.probing.measure.compact import compacted
from jetsym.probing.measure.deviation import Deviation, EquivarianceError
from jetsym.probing.measure.rounding import spread_of_a_constant
from jetsym.probing.options import AUTO, RANDOM_ROTATIONS
from jetsym.ranks import here
from jetsym.spectrum import (
    SO3,
    FiniteRule,
    Group,
    HeldOutElements,
    Quadrature,
    QuadratureEstimator,
    RandomEstimator,
    Spectrum,
)
from jetsym.spectrum.accumulation import coefficients, waiting_numbers
from jetsym.spectrum.representations import Kind

__all__ = [
    "FEW",
    "Measurement",
    "Orbit",
    "Plan",
    "deviations_along",
    "held_out_generators",
    "measure",
    "orbit_of",
    "plan_passes",
]


#: Held-out elements of each input, a pair ±R counting as one.
HELD_OUT = 8

#: Rings of a quadrature rule that are evaluated together if the batch size allows: their products then run at speed.
RINGS_PER_CHUNK = 16
#: Rotations along which rows of responses are to keep their places.
FEW = 4


@dataclass(frozen=True)
class Orbit:
    """The rotations that each input is evaluated at.

    Parameters
    ----------
    group
        ``SO2(axis)``, ``SO3()`` or ``O3()``; for the last −R goes with every R.
    l_max
        Largest λ of the spectra.
    rule
        The quadrature rule that all inputs share, or None for random rotations of each input's own.
    n_rotations
        Number of rotations per input.
    seed
        Seed of the random rotations.
    """

    group: Group
    l_max: int
    rule: Quadrature | FiniteRule | None
    n_rotations: int
    seed: int

    @property
    def cosets(self) -> int:
        """Evaluations per rotation: R alone, or R and −R."""
        return 2 if self.group.has_inversion else 1

    def evaluations(self, samples: int) -> int:
        """Return the forward evaluations that a number of inputs takes."""
        return self.cosets * samples * (self.n_rotations + self.n_held_out)

    def rotations(self, inputs: slice) -> NDArray[np.float64]:
        """Return (n, 3, 3) rotations of a rule, or (n, samples, 3, 3) random ones, the same in whatever batches."""
        if self.rule is not None:
            return self.rule.rotations
        generators = [np.random.default_rng([self.seed, index]) for index in range(inputs.start, inputs.stop)]
        own = np.stack([self.group.rotations((self.n_rotations,), each) for each in generators])
        return np.swapaxes(own, 0, 1)

    @property
    def n_held_out(self) -> int:
        """Number of held-out elements of each input, beside a rule; random ones and those of a finite group need none.

        All elements of a finite group are exact, and of a group given by the nodes of a rule no others are known.
        """
        return HELD_OUT if isinstance(self.rule, Quadrature) else 0

    @property
    def sees_all(self) -> bool:
        """Whether nothing aliases, whatever the response: of random elements, or all elements of a finite group."""
        return self.rule is None or (isinstance(self.rule, FiniteRule) and self.rule.group.is_finite)

    def held_out(self, inputs: slice) -> HeldOutElements | None:
        """Return elements of each input's own that the rule does not hold, the same in whatever batches."""
        if not isinstance(self.rule, Quadrature) or not self.n_held_out:
            return None
        generators = held_out_generators(self.seed, inputs)
        own = np.stack([self.group.rotations((HELD_OUT,), each) for each in generators], axis=1)
        return HeldOutElements(self.rule, own)

    @property
    def numbers(self) -> int:
        """The real numbers that an estimator holds for one real feature of one input."""
        if self.rule is not None:
            # Of held-out elements the responses, and while they are compared the two halves and what is left of them.
            return self.cosets * (coefficients(self.rule) + waiting_numbers(self.rule) + 3 * self.n_held_out)
        return 2 * self.cosets * self.n_rotations  # every response, and once more in order

    def error_of(
        self, kind: Kind, *, estimator: QuadratureEstimator | RandomEstimator | None = None
    ) -> EquivarianceError:
        """Return an accumulator of the error of an output of a kind, and with an estimator its spectrum."""
        weights = None if self.rule is None else self.rule.weights
        rho = representation_of(kind, self.group)
        return EquivarianceError(rho, weights, self.n_rotations, estimator=estimator)

    def rounding_of_sums(self, eps: float) -> float:
        """Return what the sums of responses of that spacing make of a constant: the root of its share beside (0,+)."""
        if self.rule is None:  # what varies is summed without its mean
            return 0.0
        return spread_of_a_constant(QuadratureEstimator(self.rule, self.group), self.chunks(self.n_rotations), eps)

    def inputs_together(self, evaluations: int) -> int:
        """Return how many inputs travel together: few, so that many rotations of each fit into one forward pass."""
        rotations = self.n_rotations if self.rule is None else RINGS_PER_CHUNK * self.rule.ring_size
        return max(1, evaluations // min(rotations, self.n_rotations))

    def settle(self, session: Session, inputs: Any) -> None:
        """Check the caller's action; find where responses have inputs and tokens, and which keep their order."""
        check_action(session, inputs, self.group.sample(2, np.random.default_rng(self.seed)), own=self.rule is None)
        for name, kind in session.kinds.items():
            if (lam := representation_of(kind, self.group).lam) > self.l_max and callable(kind) and self.rule:
                raise ProbeError(f"output {name!r} has modes up to {lam}, but l_max is {self.l_max}; expected {lam}")
        if isinstance(self.rule, FiniteRule):  # whose elements may exchange features, as those of a regular irrep
            settle(session, inputs, self.rule.rotations[:FEW], features=False)
        else:
            settle(session, inputs, self.group.rotations((FEW,), np.random.default_rng(self.seed)))

    def chunks(self, size: int) -> Iterator[slice]:
        """Yield slices of about so many rotations."""
        size = max(1, size)
        if self.rule is not None:
            yield from self.rule.chunks(size)
        else:
            for start in range(0, self.n_rotations, size):
                yield slice(start, min(start + size, self.n_rotations))


def held_out_generators(seed: int, inputs: slice) -> list[np.random.Generator]:
    """Return one generator for the held-out elements of each input, the same in whatever batches."""
    # One more number than the random rotations of the same seed, which are others.
    return [np.random.default_rng([seed, index, 1]) for index in range(inputs.start, inputs.stop)]


class InputBatch:
    """A few inputs on their way along the orbit, with an estimator for every piece and an error for every output.

    Where there are no pieces to measure, there is an error for all outputs, without its spectrum.
    """

    def __init__(
        self, session: Session, inputs: Any, part: slice[int], orbit: Orbit, pieces: Sequence[Piece] = ()
    ) -> None:
        self._session, self._orbit, self._pieces = session, orbit, pieces
        self._inputs = session.domain.select(inputs, part)
        self._rotations, self._samples = orbit.rotations(part), part.stop - part.start
        self._held_out = orbit.held_out(part) if pieces else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._masks: dict[str, Any] = {}
        self.estimators = {piece: self._new_estimator() for piece in pieces}
        kinds = session.kinds_measured if pieces else session.outputs
        # Of layers A is all that is told: no error spectrum, and nothing from held-out elements.
        self.errors = {
            name: orbit.error_of(
                kinds[name], estimator=self._new_estimator() if pieces and name in session.outputs else None
            )
            for name in ([piece.name for piece in pieces if piece.start == 0] if pieces else kinds)
            if name in kinds
        }

    def travel(self) -> Iterator[int]:
        """Go along the orbit, then to the held-out elements; yield the number of evaluations of every chunk."""
        at_once = self._session.evaluations // self._samples
        inversion = self._orbit.group.has_inversion
        chunks = self._orbit.chunks(at_once)
        yield from self._session.orbit(self._inputs, self._rotations, chunks, self._take, inversion=inversion)
        if self._held_out is not None:
            elements, step = self._held_out.elements, max(1, at_once)
            parts = [slice(start, min(start + step, HELD_OUT)) for start in range(0, HELD_OUT, step)]
            if self._session.action is None:
                yield from self._session.orbit(self._inputs, elements, parts, self._compare, inversion=inversion)
            else:
                yield from self._one_by_one(elements, parts, (1, -1) if inversion else (1,))

    def _one_by_one(self, elements: NDArray[np.float64], parts: Sequence[slice], signs: Sequence[int]) -> Iterator[int]:
        """Evaluate input by input: an action of the caller's may know no elements of each input's own."""
        session = self._session
        inputs = [session.domain.select(self._inputs, slice(place, place + 1)) for place in range(self._samples)]
        for chunk in parts:
            cosets: list[Responses] = []
            for sign in signs:
                own = [session.along(one, sign * elements[chunk, place]) for place, one in enumerate(inputs)]
                joined = {name: [one[name] for one in own] for name in own[0]}
                cosets.append({name: array_namespace(*some).concat(some, axis=1) for name, some in joined.items()})
            with full_precision():
                yield self._compare(chunk, cosets[0], cosets[1] if len(cosets) > 1 else {})

    def _take(self, chunk: slice, proper: Responses, improper: Responses) -> int:
        """Take in the responses to one chunk of rotations."""
        for piece in self._pieces:
            estimator = self.estimators[piece]
            self._add(piece, proper, improper, lambda *u, add=estimator.add, **mask: add(chunk, *u, **mask))
        for name, deviation in self.errors.items():
            u, real = proper[name], self._real(name, proper[name])
            deviation.add(chunk, self._rotations[chunk], u, improper.get(name), mask=real)
        return self._orbit.cosets * self._samples * len(self._rotations[chunk])

    def _compare(self, chunk: slice, proper: Responses, improper: Responses) -> int:
        """Take in the responses to one chunk of held-out elements."""
        held = self._held_out
        assert held is not None
        for piece in self._pieces:
            estimator = self.estimators[piece]
            assert isinstance(estimator, QuadratureEstimator)
            add = estimator.add_held_out
            self._add(piece, proper, improper, lambda *u, add=add, **mask: add(held, chunk, *u, **mask))
        for name, deviation in self.errors.items():
            if name in self._session.laws:
                continue
            u, real = proper[name], self._real(name, proper[name])
            deviation.add_held_out(held, chunk, u, improper.get(name), mask=real)
        return self._orbit.cosets * self._samples * len(range(chunk.start, chunk.stop))

    def _add(self, piece: Piece, proper: Responses, improper: Responses, add: Callable[..., None]) -> None:
        """Add a piece of the responses to its estimator."""
        name, u = piece.name, proper[piece.name]
        shape = tuple(u.shape[1:])
        if self._shapes.setdefault(name, shape) != shape:
            raise ProbeError(f"{name!r} has features of shape {shape[1:]} and {self._shapes[name][1:]} for one input")
        try:
            add(piece.of(u), piece.of(improper[name]) if improper else None, mask=self._real(name, u))
        except SpectrumError as error:
            raise ProbeError(f"{name!r} cannot be measured: {error}") from error

    def _real(self, name: str, response: Any) -> Any:
        if name not in self._masks:
            self._masks[name] = self._session.real(name, response, self._inputs)
        return self._masks[name]

    def _new_estimator(self) -> QuadratureEstimator | RandomEstimator:
        if self._orbit.rule is not None:
            return QuadratureEstimator(self._orbit.rule, self._orbit.group)
        return RandomEstimator(self._orbit.group, self._orbit.l_max, np.swapaxes(self._rotations, 0, 1))


@dataclass
class Measurement:
    """Spectra of every layer and output, and deviations of the outputs, by batches of inputs; in how many passes."""

    passes: int
    spectra: dict[str, list[Spectrum]] = field(default_factory=dict)
    deviations: dict[str, list[Deviation]] = field(default_factory=dict)


def measure(
    session: Session,
    inputs: Any,
    orbit: Orbit,
    plans: Sequence[Plan],
    advance: Callable[[int], None],
    *,
    by_input: Collection[str] = (),
) -> Measurement:
    """Evaluate all inputs along their orbits; processes that share take some of them each.

    Where memory does not suffice, a batch of inputs starts again with smaller forward passes; it counts once complete.

    Parameters
    ----------
    session, inputs, orbit, plans
        What is measured, on what, where, and in which passes.
    advance
        Called with the number of evaluations done since its last call.
    by_input
        Outputs of which it is kept what each input has by chance of its random rotations; of others it is that of all.
    """

    def along(plan: Plan, part: slice[int]) -> Iterator[tuple[int, Found]]:
        for start, (spectra, deviations) in _part_by_part(session, inputs, orbit, plan, part, advance):
            pooled = {name: item if name in by_input else item.pooled() for name, item in deviations.items()}
            yield start, (spectra, pooled)

    if session.adaptive:
        session.evaluations = min([session.evaluations, *(plan.evaluations for plan in plans)])
    measurement, ranks = Measurement(max(len(plan.groups) for plan in plans)), here()
    shares = [(plan, ranks.share(plan.inputs)) for plan in plans]
    found = ranks.in_order(lambda: [item for plan, part in shares for item in compacted(along(plan, part))])
    for spectra, deviations in found:
        for name, spectrum in spectra.items():
            measurement.spectra.setdefault(name, []).append(spectrum)
        for name, deviation in deviations.items():
            measurement.deviations.setdefault(name, []).append(deviation)
    return measurement


Found = tuple[dict[str, Spectrum], dict[str, Deviation]]


def _part_by_part(
    session: Session, inputs: Any, orbit: Orbit, plan: Plan, share: slice[int], advance: Callable[[int], None]
) -> Iterator[tuple[int, Found]]:
    """Yield where some inputs begin, and what is found of them, for all inputs of a share."""
    done = share.start
    while done < share.stop:

        def attempt(start: int = done) -> tuple[int, Found]:
            together = min(orbit.inputs_together(session.evaluations), plan.inputs_at_most)
            part = slice(start, min(start + together, share.stop))
            return part.stop, _travel(session, inputs, part, orbit, plan.groups, advance)

        start = done
        done, found = within_memory(session, attempt)
        yield start, found


def _travel(
    session: Session,
    inputs: Any,
    part: slice,
    orbit: Orbit,
    groups: Sequence[Sequence[Piece]],
    advance: Callable[[int], None],
) -> Found:
    """Take some inputs along their orbit, once for every group of layers."""
    spectra: dict[str, Spectrum] = {}
    deviations: dict[str, Deviation] = {}
    evaluated = 0
    try:
        for group in groups:
            batch = InputBatch(session, inputs, part, orbit, group)
            for count in batch.travel():
                advance(count)
                evaluated += count
            for piece, estimator in batch.estimators.items():
                with full_precision():  # some products may still be due
                    found, name = estimator.result(), piece.name
                spectra[name] = Spectrum.sum_features([spectra[name], found]) if name in spectra else found
            deviations |= {name: error.result() for name, error in batch.errors.items()}
    except BaseException:
        advance(-evaluated)
        raise
    return spectra, deviations


def deviations_along(session: Session, inputs: Any, orbit: Orbit) -> dict[str, list[Deviation]]:
    """Evaluate all inputs along their orbits, for the errors of the outputs alone, by batches of inputs."""

    def travel(part: slice) -> dict[str, Deviation]:
        batch = InputBatch(session, inputs, part, orbit)
        sum(batch.travel())
        return {name: error.result() for name, error in batch.errors.items()}

    ranks, most = here(), orbit.inputs_together(session.evaluations)
    found = ranks.in_order(lambda: [(part.start, travel(part)) for part in session.parts(inputs, most, ranks)])
    return {name: [errors[name] for errors in found] for name in session.outputs}


@dataclass(frozen=True)
class Plan:
    """The layers of each pass over the orbit, and how many inputs the memory allows to travel together.

    It is for the ``inputs`` whose responses have the same shapes. A forward pass takes at most so many ``evaluations``
    where the batch size is left open.
    """

    inputs: slice
    groups: Sequence[Sequence[Piece]]
    inputs_at_most: int
    evaluations: int


def plan_passes(session: Session, inputs: Any, orbit: Orbit) -> list[Plan]:
    """Look at the responses to one input of each shape, and distribute the layers over passes within the memory.

    The outputs are to be known from a forward pass before.
    """
    return [_plan(session, inputs, alike, orbit) for alike in session.domain.batches(inputs)]


def _plan(session: Session, inputs: Any, alike: slice, orbit: Orbit) -> Plan:
    one = session.domain.select(inputs, slice(alike.start, alike.start + 1))
    responses = session.along(one, np.eye(3)[None] if orbit.rule is None else orbit.rule.rotations[:1])
    sizes = {
        name: Size.of(response, orbit.numbers, has_tokens=session.real(name, response, one) is not None)
        for name, response in responses.items()
    }
    memory = budget.room_beside(responses.values())
    groups = budget.passes(sizes, memory)
    evaluations = min(budget.evaluations_at_once(responses.values()), session.domain.max_evaluations(one))
    return Plan(alike, groups, max(1, memory // max(1, budget.largest(groups, sizes))), evaluations)


def orbit_of(group: Group, *, method: str, l_max: int, n_rotations: int | None, seed: int) -> Orbit:
    """Return the rotations that each input is evaluated at."""
    if method == "random" or (method == AUTO and n_rotations is not None):
        return Orbit(group, l_max, None, n_rotations or RANDOM_ROTATIONS, seed)
    try:
        if method != "icosahedral":
            rule = group.quadrature(l_max)
        elif isinstance(group, SO3):
            rule = group.quadrature(l_max, rule="icosahedral")
        else:
            raise ProbeError(f"method is 'icosahedral', which are rotations about several axes; {group} has one")
    except SpectrumError as error:
        raise ProbeError(str(error)) from error
    return Orbit(group, l_max, rule, len(rule), seed)
