"""Four-vectors among arrays: boosts of them, and what acts where the momenta of a sample have no sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device as device_of
from numpy.typing import NDArray
from torch.autograd import forward_ad
from typing_extensions import override

from jetsym.domains.base import Action, Domain
from jetsym.domains.masks import Mask
from jetsym.domains.members import Key, arrays_of, by_point, mapped
from jetsym.domains.moves import Move
from jetsym.domains.naming import Naming
from jetsym.errors import ProbeError
from jetsym.spectrum.lorentz import GENERATORS, MAX_GAMMA, boost_to_rest, boosted, boosted_outputs, has_rest_frame
from jetsym.spectrum.responses import to_numpy

__all__ = ["FourVectors"]

AT_REST = (
    "The group acts where the momenta of each sample have no sum; those with a negative energy are taken as incoming "
    "ones, and count with the other sign."
)


class FourVectors(Naming, Domain):
    """Arrays of which those that move may be four-vectors (E, px, py, pz)."""

    #: Which input says what points are real, once that is known; None where none does.
    _found: Mask | None = None

    def boosts(self, axis: NDArray[np.float64]) -> Action:
        """Return boosts along an axis, (3,), by rapidities."""

        def boost(inputs: Any, rapidity: Any) -> Any:
            factor = np.exp(_of_samples(rapidity))
            return self._changed(inputs, lambda p: boosted(p[None], axis, _spread(factor, p.ndim), np), len(factor))

        def back(inputs: Any, rapidity: Any, outputs: Any) -> Any:
            return boosted_outputs(outputs, axis[None], np.exp(-_of_samples(rapidity)))

        return Action(boost, False, f"Boosts along ({', '.join(f'{x:g}' for x in axis)}).", back)

    def at_rest(self) -> Action:
        """Return rotations and reflections in the frame in which the momenta of each sample have no sum."""
        return Action(self._turn_at_rest, False, AT_REST, self._outputs_at_rest)

    def _turn_at_rest(self, inputs: Any, matrices: Any) -> Any:
        direction, factor = boost_to_rest(self.total(inputs))
        elements = np.asarray(matrices, dtype=np.float64)
        elements = elements if elements.ndim == 4 else elements[:, None]

        def turn(p: NDArray[np.float64]) -> NDArray[np.float64]:
            along, times = _spread(direction[None], p.ndim)[0], _spread(factor[None], p.ndim)[0]
            still = boosted(p, along, 1 / times, np)
            turned = np.einsum(
                "nsij,s...j->ns...i", np.broadcast_to(elements, (len(elements), len(p), 3, 3)), still[..., 1:]
            )
            energy = np.broadcast_to(still[None, ..., :1], (*turned.shape[:-1], 1))
            moved: NDArray[np.float64] = boosted(np.concatenate([energy, turned], axis=-1), along, times, np)
            return moved

        return self._changed(inputs, turn, len(elements))

    def _outputs_at_rest(self, inputs: Any, _: Any, outputs: Any) -> Any:
        direction, factor = boost_to_rest(self.total(inputs))
        return boosted_outputs(outputs, direction, 1 / factor[None])

    def _changed(self, inputs: Any, change: Callable[[NDArray[np.float64]], NDArray[np.float64]], n: int) -> Any:
        """Move the four-vectors of inputs in float64 by n elements, and repeat all else as often."""
        self.check_four_vectors(inputs)
        moving = self.moving(inputs)

        def changed(components: Any) -> Any:
            moved = change(to_numpy(components).astype(np.float64))
            return array_namespace(components).asarray(moved, dtype=components.dtype, device=device_of(components))

        def done(key: Any, array: Any) -> Any:
            return moving[key].changed(array, "e x y z", changed) if key in moving else Move.repeated(array, n)

        return mapped(done, inputs)

    def total(self, inputs: Any) -> NDArray[np.float64]:
        """Return the total momenta (samples, 4) of the real points of all four-vectors that move.

        Those with a negative energy, as incoming ones have where all are written as outgoing, count with the other
        sign: the sum over all would vanish.

        Raises
        ------
        ProbeError
            A sample whose total momentum has no rest frame.
        """
        mask = None if self._found is None else to_numpy(self._found.real(arrays_of(inputs)[self._found.key]))
        total: Any = 0.0
        for key, move in self.moving(inputs).items():
            p = by_point(move.components(arrays_of(inputs)[key]))
            if mask is not None and p.shape[1] == mask.shape[1]:
                p = np.where(mask[..., None], p, 0)
            total = total + np.where(p[..., :1] < 0, -p, p).sum(axis=1)
        lacking = np.flatnonzero(~has_rest_frame(total))
        if lacking.size:
            energy, *momentum = total[lacking[0]]
            raise ProbeError(
                f"{lacking.size} of {len(total)} samples have no rest frame; the first is sample {lacking[0]}, whose "
                f"momenta have the sum E = {energy:.4g}, |p| = {np.linalg.norm(momentum):.4g}; expected a mass of at "
                f"least E/{MAX_GAMMA:g}: leave them out, or move them in the lab"
            )
        return np.asarray(total)

    def check_four_vectors(self, inputs: Any) -> None:
        """Refuse inputs of which something moves that is no four-vector: ProbeError."""
        for key, move in self.moving(inputs).items():
            if move.kind != "four-vector":
                shape = tuple(arrays_of(inputs)[key].shape)
                raise ProbeError(
                    f"an input array that moves as {move} has shape {shape}; expected four-vectors (…, 4) as (E, px, "
                    "py, pz) for a group that acts on them"
                )

    @override
    def transform(self, inputs: Any, matrices: Any) -> Any:
        self.check_four_vectors(inputs)
        return self.move(inputs, matrices)

    @override
    def generators(self, inputs: Any, axes: str) -> Any:
        if axes != "beam":
            raise ProbeError(f"axes {axes!r} need jets; plain arrays have those of the lab only")
        return np.stack(list(GENERATORS.values()))[:, None]

    @override
    def with_tangents(self, inputs: Any, generators: Any) -> Any:
        self.check_four_vectors(inputs)
        moving = self.moving(inputs)

        def tilt(key: Key, array: Any) -> Any:
            repeated = Move.repeated(array, len(generators))
            if key not in moving:
                return repeated
            return forward_ad.make_dual(repeated, moving[key].moved(array, generators, others=0.0))

        return mapped(tilt, inputs)


def _of_samples(rapidity: Any) -> NDArray[np.float64]:
    """Return rapidities (n,), or (n, samples), as (n, 1 or samples)."""
    values = np.asarray(rapidity, dtype=np.float64)
    return values if values.ndim == 2 else values[:, None]


def _spread(values: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Return (n, samples, *own axes) with axes for the points of momenta (samples, …, 4) between them."""
    return values.reshape(*values.shape[:2], *[1] * (ndim - 2), *values.shape[2:])
