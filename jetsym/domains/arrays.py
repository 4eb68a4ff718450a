"""Plain arrays as inputs: (samples, …, 3) rotate as vectors, (samples, …, 4) as four-vectors (E, px, py, pz).

Inputs are one array or a tuple of arrays of any library that follows the array API; all move together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array, is_torch_array
from array_api_compat import device as device_of
from torch.autograd import forward_ad
from typing_extensions import override

from jetsym.domains.base import Action, Domain
from jetsym.errors import ProbeError
from jetsym.spectrum import SO2
from jetsym.spectrum.lorentz import GENERATORS, boost_matrices
from jetsym.spectrum.responses import EPS
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["ARRAYS", "Arrays"]


class Arrays(Domain):
    """Plain arrays of any library that follows the array API, one or a tuple of them."""

    notes = ("Arrays (…, 3) move as vectors, arrays (…, 4) as four-vectors (E, px, py, pz).",)
    lab_note = "The group acts in the frame of the arrays."
    reach = "plain arrays move in the lab, about or along 'x', 'y', 'z' or a vector"

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Return the first samples of the arrays, or refuse what is no array of numbers."""
        arrays = source if isinstance(source, tuple) else (source,)
        for array in arrays:
            if not is_array_api_obj(array):
                raise ProbeError(
                    f"inputs of type {type(array).__name__} are not known; expected a JetBatch, paths of ROOT files, "
                    "an array or a tuple of arrays (numpy, torch, …)"
                )
            if super().dtype_name(array) not in EPS:
                raise ProbeError(
                    f"an input array has dtype {array.dtype}; expected one of {', '.join(EPS)}: convert it first"
                )
        sizes = {int(array.shape[0]) for array in arrays}
        if len(sizes) > 1 or 0 in sizes:
            raise ProbeError(f"the input arrays hold {sorted(sizes)} samples; expected one common number, at least 1")
        return self.select(source, slice(0, limit))

    @override
    def size(self, inputs: Any) -> int:
        return int(_first(inputs).shape[0])

    @override
    def select(self, inputs: Any, selection: slice) -> Any:
        return _map(lambda array: array[selection], inputs)

    @override
    def move(self, inputs: Any, matrices: Any) -> Any:
        return _map(lambda array: _move(array, matrices), inputs)

    @override
    def act(self, inputs: Any, symmetry: Symmetry, *, seed: int) -> tuple[Any, Action]:
        """Return the action in the lab: rotations and reflections, or Lorentz transformations of four-vectors."""
        is_boost = symmetry.group == GroupName.BOOST and symmetry.axis not in ("jet", "random")
        if is_boost or symmetry.named.on_four_vectors:
            _map(_check_four_vectors, inputs)
        if not is_boost:
            return super().act(inputs, symmetry, seed=seed)
        direction = SO2("z" if symmetry.axis == "beam" else symmetry.axis or "z").axis

        def boost(inputs: Any, rapidity: Any) -> Any:
            return self.transform(inputs, boost_matrices(np.asarray(rapidity), direction))

        return inputs, Action(boost, False, f"Boosts along ({', '.join(f'{x:g}' for x in direction)}).")

    @override
    def transform(self, inputs: Any, matrices: Any) -> Any:
        return _map(lambda array: _transform(array, matrices), inputs)

    @override
    def generators(self, inputs: Any, axes: str) -> Any:
        if axes != "beam":
            raise ProbeError(f"axes {axes!r} need jets; plain arrays have those of the lab only")
        return np.stack(list(GENERATORS.values()))[:, None]

    @override
    def with_tangents(self, inputs: Any, generators: Any) -> Any:
        def tilt(array: Any) -> Any:
            tangent = _transform(array, generators)
            repeated = array.expand(len(generators), *array.shape).flatten(0, 1)
            return forward_ad.make_dual(repeated, tangent)

        return _map(tilt, inputs)

    @override
    def to(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Return arrays as a torch module takes them; those of a third library stay as they are."""

        def to(array: Any) -> Any:
            if is_numpy_array(array):
                array = torch.as_tensor(array)
            if not is_torch_array(array):
                return array
            return array.to(device=device, dtype=dtype if array.is_floating_point() else None)

        return _map(to, inputs)

    @override
    def slots(self, inputs: Any) -> int | None:
        """Return the length of the second axis of arrays (samples, points, …, 3 or 4), if all have the same."""
        lengths = {int(array.shape[1]) for array in _arrays(inputs) if array.ndim > 2}
        return lengths.pop() if len(lengths) == 1 else None

    @override
    def rearrange(self, inputs: Any, places: Any) -> Any:
        """Return arrays with other points in their second axis; there are no empty slots."""

        def rearranged(array: Any) -> Any:
            if array.ndim < 3:
                return array
            xp = array_namespace(array)
            rows = np.reshape(places + array.shape[1] * np.arange(len(places))[:, None], -1)
            flat = xp.reshape(array, (-1, *array.shape[2:]))
            taken = xp.take(flat, xp.asarray(rows, device=device_of(array)), axis=0)
            return xp.reshape(taken, (*np.shape(places), *array.shape[2:]))

        return _map(rearranged, inputs)

    @override
    def dtype_name(self, inputs: Any) -> str:
        return super().dtype_name(_first(inputs))


ARRAYS = Arrays()


def _move(array: Any, matrices: Any) -> Any:
    """Move (samples, …, 3 or 4) by (n, 3, 3) or (n, samples, 3, 3), to (n · samples, …)."""
    if array.ndim < 2 or array.shape[-1] not in (3, 4):
        raise ProbeError(
            f"an input array has shape {tuple(array.shape)}; expected (samples, …, 3) for vectors or (samples, …, 4) "
            "for four-vectors (E, px, py, pz), or say with action=… what moves your inputs"
        )
    xp = array_namespace(array)
    moved = _times(array[..., -3:], matrices)
    if array.shape[-1] == 4:
        energy = xp.broadcast_to(array[..., :1], (*moved.shape[:-1], 1))
        moved = xp.concat([energy, moved], axis=-1)
    return xp.reshape(moved, (-1, *array.shape[1:]))


def _transform(array: Any, matrices: Any) -> Any:
    """Move (samples, …, 4) by (n, 4, 4) or (n, samples, 4, 4), to (n · samples, …)."""
    _check_four_vectors(array)
    return array_namespace(array).reshape(_times(array, matrices), (-1, *array.shape[1:]))


def _check_four_vectors(array: Any) -> None:
    if array.ndim < 2 or array.shape[-1] != 4:
        raise ProbeError(
            f"an input array has shape {tuple(array.shape)}; expected four-vectors (…, 4) as (E, px, py, pz) for a "
            "group that acts on them"
        )


def _times(array: Any, matrices: Any) -> Any:
    """Multiply (samples, …, d) with matrices (n, d, d) or (n, samples, d, d), to (n, samples, …, d)."""
    xp = array_namespace(array)
    g = xp.asarray(matrices, dtype=array.dtype, device=device_of(array))
    own = () if g.ndim == 4 else (1,)
    g = xp.reshape(g, (*g.shape[:-2], *own, *[1] * (array.ndim - 2), *g.shape[-2:]))
    return xp.matmul(g, array[..., None])[..., 0]


def _map(change: Any, inputs: Any) -> Any:
    return tuple(change(array) for array in inputs) if isinstance(inputs, tuple) else change(inputs)


def _arrays(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _first(inputs: Any) -> Any:
    return _arrays(inputs)[0]
