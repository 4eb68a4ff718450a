"""Evaluating a model along the orbits of its inputs, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.domains import Domain
from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.deviation import Deviation, EquivarianceError
from jetsym.spectrum import SO3, Quadrature, QuadratureEstimator, RandomEstimator, Spectrum
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import to_numpy

__all__ = ["Measurement", "Orbit", "Responses", "Subject", "measure", "rounding_response"]

#: Name of a layer or output -> array (evaluations, features…).
Responses = dict[str, Any]

#: Rings of a quadrature rule that are evaluated together if the batch size allows: their products then run at speed.
RINGS_PER_CHUNK = 16

#: Inputs and perturbations of each that the effect of rounding is measured with.
ROUNDING_INPUTS, ROUNDING_DRAWS = 8, 4

#: Relative rounding of floating-point types, by name.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Subject:
    """What is measured: how to move inputs, and how to get the responses of every layer and output to them."""

    domain: Domain
    move: Callable[[Any, Any], Any]
    respond: Callable[[Any], Responses]

    def along(self, inputs: Any, matrices: NDArray[np.float64]) -> Responses:
        """Responses (elements, samples, features…) of the inputs under elements (n, 3, 3) or (n, samples, 3, 3)."""
        samples, elements = self.domain.size(inputs), len(matrices)
        responses = self.respond(self.move(inputs, matrices))
        for name, response in responses.items():
            if response.shape[0] != samples * elements:
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
        ``SO3()`` or ``O3()``; for the latter −R goes with every R.
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
    """

    group: SO3
    l_max: int
    rule: Quadrature | None
    n_rotations: int
    batch_size: int
    seed: int

    @property
    def cosets(self) -> int:
        """Evaluations per rotation: R alone, or R and −R."""
        return 2 if self.group.has_inversion else 1

    def evaluations(self, samples: int) -> int:
        """Forward evaluations that a number of inputs takes."""
        return self.cosets * samples * self.n_rotations

    def batches(self, samples: int) -> Iterator[slice]:
        """Inputs that travel together: few, so that many rotations of each fit into one forward pass."""
        together = self.n_rotations if self.rule is None else RINGS_PER_CHUNK * self.rule.ring_size
        step = max(1, self.batch_size // min(together, self.n_rotations))
        for start in range(0, samples, step):
            yield slice(start, min(start + step, samples))

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

    def __init__(self, orbit: Orbit, samples: int, generator: np.random.Generator, mask: Any) -> None:
        self._orbit = orbit
        self._mask = mask
        self._own = None if orbit.rule else orbit.group.rotations((samples, orbit.n_rotations), generator)
        self._shared = orbit.rule.rotations if orbit.rule else None
        self.estimators: dict[str, QuadratureEstimator | RandomEstimator] = {}
        self.errors: dict[str, EquivarianceError] = {}

    def elements(self, chunk: slice) -> NDArray[np.float64]:
        """(n_chunk, 3, 3) rotations shared by the inputs, or (n_chunk, samples, 3, 3) of their own."""
        if self._shared is not None:
            return self._shared[chunk]
        assert self._own is not None
        return np.swapaxes(self._own[:, chunk], 0, 1)

    def add(self, chunk: slice, name: str, proper: Any, improper: Any, *, kind: Kind | None) -> None:
        """Take in the responses of one layer, or of one output that should be of a kind, to one chunk of rotations."""
        mask = token_mask(self._mask, proper, kind)
        if name not in self.estimators:
            self.estimators[name] = self._new_estimator()
        try:
            self.estimators[name].add(chunk, proper, improper, mask=mask)
        except SpectrumError as error:
            raise ProbeError(f"{name!r} cannot be measured: {error}") from error
        if kind is not None:
            if name not in self.errors:
                weights = None if self._orbit.rule is None else self._orbit.rule.weights
                self.errors[name] = EquivarianceError(
                    representation(kind), weights, self._orbit.n_rotations, estimator=self._new_estimator()
                )
            self.errors[name].add(chunk, self.elements(chunk), proper, improper, mask=mask)

    def _new_estimator(self) -> QuadratureEstimator | RandomEstimator:
        if self._orbit.rule is not None:
            return QuadratureEstimator(self._orbit.rule, self._orbit.group)
        assert self._own is not None
        return RandomEstimator(self._orbit.group, self._orbit.l_max, self._own)


@dataclass
class Measurement:
    """Spectra of every layer and output, and results of the outputs' errors, batch of inputs by batch."""

    spectra: dict[str, list[Spectrum]] = field(default_factory=dict)
    errors: dict[str, list[Deviation]] = field(default_factory=dict)

    def take(self, batch: InputBatch) -> None:
        for name, estimator in batch.estimators.items():
            self.spectra.setdefault(name, []).append(estimator.result())
        for name, error in batch.errors.items():
            self.errors.setdefault(name, []).append(error.result())


def measure(
    subject: Subject, inputs: Any, orbit: Orbit, outputs: Mapping[str, Kind], advance: Callable[[int], None]
) -> Measurement:
    """Evaluate all inputs along their orbits.

    Parameters
    ----------
    subject, inputs, orbit
        What is measured, on what, and where.
    outputs
        Name and kind of the responses that are outputs.
    advance
        Called with the number of evaluations done since its last call.
    """
    measurement = Measurement()
    generator = np.random.default_rng(orbit.seed)
    for part in orbit.batches(subject.domain.size(inputs)):
        some = subject.domain.take(inputs, part)
        samples = subject.domain.size(some)
        batch = InputBatch(orbit, samples, generator, subject.domain.mask(some))
        for chunk in orbit.chunks(samples):
            elements = batch.elements(chunk)
            proper = subject.along(some, elements)
            improper = subject.along(some, -elements) if orbit.group.has_inversion else {}
            for name, response in proper.items():
                batch.add(chunk, name, response, improper.get(name), kind=outputs.get(name))
            advance(orbit.cosets * samples * len(elements))
        measurement.take(batch)
    return measurement


def token_mask(mask: Any, response: Any, kind: Kind | None = None) -> Any:
    """The mask of the inputs' tokens, where a response (elements, samples, tokens, features…) has them; else None.

    The axes of one object of an output, such as the 3 × 3 of a rank-2 tensor, are never taken for tokens.
    """
    own = 1 if kind is None else max(1, len(representation(kind).shape))
    if mask is None or response.ndim < 3 + own or tuple(response.shape[1:3]) != tuple(mask.shape):
        return None
    return mask


def rounding_response(subject: Subject, inputs: Any, *, seed: int) -> dict[str, float]:
    """How far the responses move, relative to their own size, when the inputs move by one rounding error.

    Each input is acted on by matrices that differ from the identity by random numbers of the size of the input's eps.
    Returns ‖δu‖/‖u‖ of every layer and output, over a few inputs.
    """
    some = subject.domain.take(inputs, slice(0, ROUNDING_INPUTS))
    eps = EPS[subject.domain.dtype_name(some)]
    noise = np.random.default_rng(seed).uniform(-2, 2, size=(ROUNDING_DRAWS, 3, 3))
    matrices = np.eye(3) + eps * np.concatenate([np.zeros((1, 3, 3)), noise])
    result = {}
    for name, response in subject.along(some, matrices).items():
        values = to_numpy(response).astype(np.complex128 if np.iscomplexobj(to_numpy(response)) else np.float64)
        mask = token_mask(subject.domain.mask(some), response)
        if mask is not None:
            values = values[:, to_numpy(mask)]
        if not np.isfinite(values).all():
            raise ProbeError(f"{name!r} cannot be measured: its responses to the inputs as they are are not finite")
        change = (np.abs(values[1:] - values[:1]) ** 2).sum() / ROUNDING_DRAWS
        norm = (np.abs(values[0]) ** 2).sum()
        result[name] = float(np.sqrt(change / norm)) if norm else 0.0
    return result
