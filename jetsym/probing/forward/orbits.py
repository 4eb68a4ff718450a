"""Responses along the orbits of inputs: which elements of a group go into one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch.utils.checkpoint import checkpoint

from jetsym.domains.base import Domain
from jetsym.errors import ProbeError
from jetsym.probing.forward.calling import Call
from jetsym.probing.forward.precision import full_precision
from jetsym.probing.kinds import FOUR_VECTOR
from jetsym.ranks import ALONE, Ranks
from jetsym.spectrum.representations import Kind

__all__ = ["Orbits", "Responses", "without_inputs"]

#: Name of a layer or output -> array (evaluations, features…).
Responses = dict[str, Any]
T = TypeVar("T")


class Orbits(ABC):
    """A model that answers, and what moves its inputs; see :class:`~jetsym.probing.forward.session.Session`."""

    domain: Domain
    outputs: dict[str, Kind]
    evaluations: int
    action: Call | None
    move: Call | None
    back: Callable[[Any, Any, Any], Any] | None

    @abstractmethod
    def responses(self, inputs: Any) -> Responses:
        """Return responses by name to inputs as they are."""

    def parts(self, inputs: Any, most: int, ranks: Ranks = ALONE) -> Iterator[slice]:
        """Yield slices of at most so many inputs, of those whose responses have the same shapes.

        They cover all inputs; of processes that share, those that are this one's.
        """
        for alike in map(ranks.share, self.domain.batches(inputs)):
            for start in range(alike.start, alike.stop, most):
                yield slice(start, min(start + most, alike.stop))

    def orbit(
        self,
        inputs: Any,
        elements: NDArray[np.float64],
        chunks: Iterable[slice],
        take: Callable[[slice, Responses, Responses], T],
        *,
        inversion: bool = False,
        again: bool = False,
    ) -> Iterator[T]:
        """Yield what ``take(chunk, proper, improper)`` makes of the responses to every chunk of the elements.

        Parameters
        ----------
        inputs
            Inputs that travel together, ready for the action.
        elements
            (n, 3, 3), (n, samples, 3, 3), or rapidities (n,).
        chunks
            Slices of the elements.
        take
            Is given a chunk, the responses to its elements g and, with the inversion, to −g; {} without.
        again
            Whether gradients evaluate a chunk again on the way back, so that memory is that of a single one.
        """

        def part(chunk: slice) -> T:
            some = elements[chunk]
            proper, improper = self.along(inputs, some), self.along(inputs, -some) if inversion else {}
            with full_precision():
                return take(chunk, proper, improper)

        for chunk in chunks:
            yield checkpoint(part, chunk, use_reentrant=False) if again else part(chunk)

    def along(self, inputs: Any, elements: NDArray[np.float64], *, in_lab: bool = False) -> Responses:
        """Return responses (elements, samples, features…) of inputs under elements (n, …), or (n, samples, …).

        They are evaluated in forward passes of at most ``evaluations`` inputs, or of one element. ``in_lab`` moves by
        matrices in the lab whatever the action is.
        """
        lab = self.action or self.domain.move
        move = lab if in_lab or self.move is None else self.move
        step = max(1, self.evaluations // self.domain.size(inputs))
        back = None if move is lab else self.back
        parts = [
            self._pass(inputs, elements[start : start + step], move, back) for start in range(0, len(elements), step)
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: array_namespace(parts[0][name]).concat([part[name] for part in parts]) for name in parts[0]}

    def _pass(self, inputs: Any, elements: NDArray[np.float64], move: Call, back: Any) -> Responses:
        """Evaluate inputs under elements in one forward pass."""
        samples, n = self.domain.size(inputs), len(elements)
        with full_precision():
            moved = move(inputs, elements)
        responses = self.responses(moved)
        for name, response in responses.items():
            if response.ndim < 1 or response.shape[0] != samples * n:
                raise ProbeError(without_inputs(name, response, samples * n))
        along = {name: array.reshape(n, samples, *array.shape[1:]) for name, array in responses.items()}
        four = [name for name in along if back is not None and self.outputs.get(name) == FOUR_VECTOR]
        return along | {name: back(inputs, elements, along[name]) for name in four}


def without_inputs(name: str, response: Any, size: int) -> str:
    """Say that a response does not hold its inputs where they should be."""
    return (
        f"{name!r} has shape {tuple(response.shape)} for a batch of {size} inputs; expected the inputs along its first "
        "axis: choose other layers, or wrap the model with call=…"
    )
