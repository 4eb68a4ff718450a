"""Evaluating a model along the orbits of its inputs, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.domains import Domain
from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing import budget
from jetsym.probing.budget import Piece, Size, within_memory
from jetsym.probing.deviation import Deviation, EquivarianceError
from jetsym.probing.precision import full_precision
from jetsym.spectrum import Group, Quadrature, QuadratureEstimator, RandomEstimator, Spectrum
from jetsym.spectrum.accumulation import waiting_numbers
from jetsym.spectrum.representations import Kind, representation

__all__ = [
    "Measurement",
    "Orbit",
    "Plan",
    "Responses",
    "Subject",
    "measure",
    "plan_passes",
]

#: Name of a layer or output -> array (evaluations, features…).
Responses = dict[str, Any]

#: Rings of a quadrature rule that are evaluated together if the batch size allows: their products then run at speed.
RINGS_PER_CHUNK = 16


@dataclass(frozen=True)
class Subject:
    """What is measured: how to move inputs, and how to get the responses of every layer and output to them."""

    domain: Domain
    move: Callable[[Any, Any], Any]
    respond: Callable[[Any], Responses]

    def along(self, inputs: Any, matrices: NDArray[np.float64], batch_size: int) -> Responses:
        """Responses (elements, samples, features…) of the inputs under elements (n, 3, 3) or (n, samples, 3, 3).

        They are evaluated in forward passes of at most ``batch_size`` inputs, or of one element.
        """
        samples, elements = self.domain.size(inputs), len(matrices)
        step = max(1, batch_size // samples)
        parts = [self._evaluate(inputs, matrices[start : start + step]) for start in range(0, elements, step)]
        if len(parts) == 1:
            return parts[0]
        return {name: array_namespace(parts[0][name]).concat([part[name] for part in parts]) for name in parts[0]}

    def _evaluate(self, inputs: Any, matrices: NDArray[np.float64]) -> Responses:
        """One forward pass."""
        samples, elements = self.domain.size(inputs), len(matrices)
        with full_precision():
            moved = self.move(inputs, matrices)
        responses = self.respond(moved)
        for name, response in responses.items():
            if response.ndim < 1 or response.shape[0] != samples * elements:
                raise ProbeError(
                    f"{name!r} has shape {tuple(response.shape)} for a batch of {samples * elements} inputs; expected "
                    "the inputs along its first axis: choose other layers, or wrap the model with call=…"
                )
        return {name: array.reshape(elements, samples, *array.shape[1:]) for name, array in responses.items()}


@dataclass(frozen=True)
class Orbit:
    """Which rotations each input is evaluated at, and how many evaluations go into one batch.

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
    batch_size
        Evaluations per forward pass.
    seed
        Seed of the random rotations.
    adaptive
        Whether the batch size may shrink where memory does not suffice.
    memory
        Bytes that the estimators of one pass may hold.
    """

    group: Group
    l_max: int
    rule: Quadrature | None
    n_rotations: int
    batch_size: int
    seed: int
    adaptive: bool = False
    memory: int = budget.MEMORY_BUDGET

    @property
    def cosets(self) -> int:
        """Evaluations per rotation: R alone, or R and −R."""
        return 2 if self.group.has_inversion else 1

    def evaluations(self, samples: int) -> int:
        """Forward evaluations that a number of inputs takes."""
        return self.cosets * samples * self.n_rotations

    def own_rotations(self, inputs: slice) -> NDArray[np.float64] | None:
        """(samples, n, 3, 3) random rotations of some inputs, the same however inputs are batched; None for a rule."""
        if self.rule is not None:
            return None
        generators = [np.random.default_rng([self.seed, index]) for index in range(inputs.start, inputs.stop)]
        return np.stack([self.group.rotations((self.n_rotations,), generator) for generator in generators])

    @property
    def numbers(self) -> int:
        """Real numbers that an estimator holds for one real feature of one input."""
        if self.rule is not None and self.group.axis is not None:
            return 2 * self.l_max + 1
        if self.rule is not None:
            return self.cosets * (budget.coefficients(self.l_max) + waiting_numbers(self.rule))
        return 2 * self.cosets * self.n_rotations  # every response, and once more in order

    def inputs_together(self, bytes_each: int) -> int:
        """Inputs that travel together: few, so that many rotations of each fit into one forward pass."""
        rotations = self.n_rotations if self.rule is None else RINGS_PER_CHUNK * self.rule.ring_size
        return max(1, min(self.batch_size // min(rotations, self.n_rotations), self.memory // max(1, bytes_each)))

    def chunks(self, samples: int) -> Iterator[slice]:
        """Slices of the rotations for a batch of inputs."""
        size = max(1, self.batch_size // samples)
        if self.rule is not None:
            yield from self.rule.chunks(size)
        else:
            for start in range(0, self.n_rotations, size):
                yield slice(start, min(start + size, self.n_rotations))


class InputBatch:
    """A few inputs on their way along the orbit: their rotations, and one estimator for every layer and output."""

    def __init__(self, orbit: Orbit, rotations: NDArray[np.float64] | None, mask: Any) -> None:
        self._orbit = orbit
        self._mask = mask
        self._own = rotations
        self._shared = orbit.rule.rotations if orbit.rule else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.estimators: dict[Piece, QuadratureEstimator | RandomEstimator] = {}
        self.errors: dict[str, EquivarianceError] = {}

    def elements(self, chunk: slice) -> NDArray[np.float64]:
        """(n_chunk, 3, 3) rotations shared by the inputs, or (n_chunk, samples, 3, 3) of their own."""
        if self._shared is not None:
            return self._shared[chunk]
        assert self._own is not None
        return np.swapaxes(self._own[:, chunk], 0, 1)

    @full_precision()
    def add(self, chunk: slice, piece: Piece, proper: Any, improper: Any, *, kind: Kind | None) -> None:
        """Take in the responses of one layer, or of one output that should be of a kind, to one chunk of rotations."""
        name, shape = piece.name, tuple(proper.shape[1:])
        if self._shapes.setdefault(name, shape) != shape:
            raise ProbeError(f"{name!r} has features of shape {shape[1:]} and {self._shapes[name][1:]} for one input")
        mask = token_mask(self._mask, proper, kind)
        if piece not in self.estimators:
            self.estimators[piece] = self._new_estimator()
        try:
            inverted = None if improper is None else piece.of(improper)
            self.estimators[piece].add(chunk, piece.of(proper), inverted, mask=mask)
        except SpectrumError as error:
            raise ProbeError(f"{name!r} cannot be measured: {error}") from error
        if kind is not None and piece.start == 0:
            if name not in self.errors:
                weights = None if self._orbit.rule is None else self._orbit.rule.weights
                self.errors[name] = EquivarianceError(
                    representation(kind).under(self._orbit.group),
                    weights,
                    self._orbit.n_rotations,
                    estimator=self._new_estimator(),
                )
            self.errors[name].add(chunk, self.elements(chunk), proper, improper, mask=mask)

    def _new_estimator(self) -> QuadratureEstimator | RandomEstimator:
        if self._orbit.rule is not None:
            return QuadratureEstimator(self._orbit.rule, self._orbit.group)
        assert self._own is not None
        return RandomEstimator(self._orbit.group, self._orbit.l_max, self._own)


@dataclass
class Measurement:
    """Spectra of every layer and output, and results of the outputs' errors, batch of inputs by batch.

    ``orbit`` is how it was measured in the end, ``passes`` over the orbit of every input.
    """

    orbit: Orbit
    passes: int
    spectra: dict[str, list[Spectrum]] = field(default_factory=dict)
    errors: dict[str, list[Deviation]] = field(default_factory=dict)

    def take(self, spectra: Mapping[str, Spectrum], errors: Mapping[str, Deviation]) -> None:
        for name, spectrum in spectra.items():
            self.spectra.setdefault(name, []).append(spectrum)
        for name, error in errors.items():
            self.errors.setdefault(name, []).append(error)


def measure(
    subject: Subject,
    inputs: Any,
    orbit: Orbit,
    plans: Sequence[Plan],
    outputs: Mapping[str, Kind],
    advance: Callable[[int], None],
) -> Measurement:
    """Evaluate all inputs along their orbits.

    Where memory does not suffice, a batch of inputs starts again with smaller forward passes; it counts once complete.

    Parameters
    ----------
    subject, inputs, orbit, plans
        What is measured, on what, where, and in which passes.
    outputs
        Name and kind of the responses that are outputs.
    advance
        Called with the number of evaluations done since its last call.
    """
    if orbit.adaptive:
        orbit = replace(orbit, batch_size=min([orbit.batch_size, *(plan.evaluations for plan in plans)]))
    measurement = Measurement(orbit, max(len(plan.groups) for plan in plans))
    for plan in plans:
        done = plan.inputs.start
        while done < plan.inputs.stop:

            def attempt(
                orbit: Orbit, start: int = done, plan: Plan = plan
            ) -> tuple[int, dict[str, Spectrum], dict[str, Deviation]]:
                part = slice(start, min(start + orbit.inputs_together(plan.bytes_each), plan.inputs.stop))
                return part.stop, *_travel(subject, inputs, part, orbit, plan.groups, outputs, advance)

            (done, spectra, errors), measurement.orbit = within_memory(measurement.orbit, attempt)
            measurement.take(spectra, errors)
    return measurement


def _travel(
    subject: Subject,
    inputs: Any,
    part: slice,
    orbit: Orbit,
    groups: Sequence[Sequence[Piece]],
    outputs: Mapping[str, Kind],
    advance: Callable[[int], None],
) -> tuple[dict[str, Spectrum], dict[str, Deviation]]:
    """Take some inputs along their orbit, once for every group of layers."""
    some = subject.domain.take(inputs, part)
    samples, rotations = part.stop - part.start, orbit.own_rotations(part)
    spectra: dict[str, Spectrum] = {}
    errors: dict[str, Deviation] = {}
    evaluated = 0
    try:
        for group in groups:
            batch = InputBatch(orbit, rotations, subject.domain.mask(some))
            for chunk in orbit.chunks(samples):
                elements = batch.elements(chunk)
                proper = subject.along(some, elements, orbit.batch_size)
                improper = subject.along(some, -elements, orbit.batch_size) if orbit.group.has_inversion else {}
                for piece in group:
                    name = piece.name
                    batch.add(chunk, piece, proper[name], improper.get(name), kind=outputs.get(name))
                count = orbit.cosets * samples * len(elements)
                advance(count)
                evaluated += count
            for piece, estimator in batch.estimators.items():
                with full_precision():  # some products may still be due
                    found, name = estimator.result(), piece.name
                spectra[name] = Spectrum.sum_features([spectra[name], found]) if name in spectra else found
            errors |= {name: error.result() for name, error in batch.errors.items()}
    except BaseException:
        advance(-evaluated)
        raise
    return spectra, errors


@dataclass(frozen=True)
class Plan:
    """Which layers are measured in which pass over the orbit, and the bytes that one input needs in the largest.

    It is for the ``inputs`` whose responses have the same shapes. A forward pass takes at most so many ``evaluations``
    where the batch size is left open.
    """

    inputs: slice
    groups: Sequence[Sequence[Piece]]
    bytes_each: int
    evaluations: int


def plan_passes(subject: Subject, inputs: Any, orbit: Orbit, kinds: Mapping[str, Kind]) -> list[Plan]:
    """Look at the responses to one input of each shape, and distribute the layers over passes within the memory.

    ``kinds`` names the outputs, after the first forward pass.
    """
    return [_plan(subject, inputs, alike, orbit, kinds) for alike in subject.domain.batches(inputs)]


def _plan(subject: Subject, inputs: Any, alike: slice, orbit: Orbit, kinds: Mapping[str, Kind]) -> Plan:
    one = subject.domain.take(inputs, slice(alike.start, alike.start + 1))
    mask = subject.domain.mask(one)
    responses = subject.along(one, np.eye(3)[None], 1)
    sizes = {
        name: Size.of(response, orbit.numbers, has_tokens=token_mask(mask, response, kinds.get(name)) is not None)
        for name, response in responses.items()
    }
    groups = budget.passes(sizes, orbit.memory)
    evaluations = min(budget.evaluations_at_once(responses.values()), subject.domain.at_once(one))
    return Plan(alike, groups, budget.largest(groups, sizes), evaluations)


def token_mask(mask: Any, response: Any, kind: Kind | None = None) -> Any:
    """The mask of the inputs' tokens, where a response (elements, samples, tokens, features…) has them; else None.

    The axes of one object of an output, such as the 3 × 3 of a rank-2 tensor, are never taken for tokens.
    """
    own = 1 if kind is None else max(1, len(representation(kind).shape))
    if mask is None or response.ndim < 3 + own or tuple(response.shape[1:3]) != tuple(mask.shape):
        return None
    return mask
