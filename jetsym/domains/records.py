"""Lists of dictionaries as inputs: one sample each, of any sizes; a model takes the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from typing_extensions import override

from jetsym.domains.arrays import ARRAYS, Arrays
from jetsym.domains.base import Action, Domain, runs_of
from jetsym.domains.members import CONSTANTS, placed
from jetsym.domains.moves import as_move
from jetsym.errors import ProbeError
from jetsym.symmetry import Symmetry

__all__ = ["RECORDS", "Records"]

Record = dict[str, Any]
Move = Callable[[Any, Any], Any]


class Records(Domain):
    """Samples as dictionaries of arrays without an axis of samples, such as points (n, 3) with n of each sample's own.

    Parameters
    ----------
    inner
        The domain of a single one, as arrays that hold one sample.
    """

    lab_note = ARRAYS.lab_note
    reach = ARRAYS.reach

    def __init__(self, inner: Arrays = ARRAYS) -> None:
        self._inner = inner

    @override
    def with_moves(self, moves: Mapping[Any, Any] | None, arguments: Sequence[str]) -> Records:
        """Return the domain with what moves; axes are those of the arrays of one sample."""
        if isinstance(moves, Mapping):
            known = {key: as_move(said, repr(key)) for key, said in moves.items()}
            moves = {key: replace(move, axis=_with_samples(move.axis)) for key, move in known.items()}
        return Records(self._inner.with_moves(moves, ()))

    @override
    def what_moves(self, inputs: Any) -> Mapping[str, str]:
        return self._inner.what_moves(_lifted(inputs[0]))

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> list[Record]:
        """Return the first samples, or refuse what is no dictionary of arrays like the others."""
        some = [dict(record) for record in source[:limit]]
        for place, record in enumerate(some):
            if list(record) != list(some[0]):
                raise ProbeError(
                    f"sample {place} holds {', '.join(map(repr, record))}; expected {', '.join(map(repr, some[0]))}, "
                    "as the first one does"
                )
            for name, array in record.items():
                if not is_array_api_obj(array) and not isinstance(array, CONSTANTS):
                    raise ProbeError(
                        f"{name!r} of sample {place} is a {type(array).__name__}; expected an array or a number, or "
                        "say with action=… what moves the inputs"
                    )
        for record in some:
            self._inner.load(_lifted(record), limit=1, model=model)
        return some

    @override
    def batches(self, inputs: Any) -> list[slice]:
        """Return slices of samples whose arrays have the same shapes, as they stand."""
        return runs_of(map(_shapes, inputs))

    @override
    def move(self, inputs: Any, matrices: Any) -> list[Record]:
        return _each(inputs, matrices, self._inner.move)

    @override
    def act(self, inputs: Any, symmetry: Symmetry, *, seed: int) -> tuple[Any, Action]:
        _, action = self._inner.act(_lifted(max(inputs, key=_size)), symmetry, seed=seed)
        moved = action._replace(move=lambda some, elements: _each(some, elements, action.move))
        own = action.back
        if own is None:
            return inputs, moved

        def back(some: Any, elements: Any, outputs: Any) -> Any:
            parts = [
                own(_lifted(record), _of_one(elements, place), outputs[:, place : place + 1])
                for place, record in enumerate(some)
            ]
            return array_namespace(outputs).concat(parts, axis=1)

        return inputs, moved._replace(back=back)

    @override
    def transform(self, inputs: Any, matrices: Any) -> list[Record]:
        return _each(inputs, matrices, self._inner.transform)

    @override
    def generators(self, inputs: Any, axes: str) -> Any:
        return self._inner.generators(inputs, axes)

    @override
    def with_tangents(self, inputs: Any, generators: Any) -> list[Record]:
        return _each(inputs, generators, self._inner.with_tangents)

    @override
    def to(self, inputs: Any, *, device: Any, dtype: Any) -> list[Record]:
        return [_map(lambda array: placed(array, device, dtype), record) for record in inputs]

    @override
    def mask(self, inputs: Any) -> Any:
        """Return True for all points: samples that share a pass have equally many."""
        points = self._inner.slots(_lifted(inputs[0]))
        return None if points is None else np.ones((len(inputs), points), dtype=bool)

    @override
    def dtype_name(self, inputs: Any) -> str:
        return self._inner.dtype_name(_lifted(inputs[0]))


RECORDS = Records()


def _with_samples(axis: int | None) -> int | None:
    return axis if axis is None or axis < 0 else axis + 1


def _map(change: Callable[[Any], Any], record: Mapping[str, Any]) -> Record:
    return {name: value if isinstance(value, CONSTANTS) else change(value) for name, value in record.items()}


def _lifted(record: Mapping[str, Any]) -> Record:
    """Return arrays that hold one sample."""
    return _map(lambda array: array[None], record)


def _shapes(record: Mapping[str, Any]) -> list[Any]:
    return [value if isinstance(value, CONSTANTS) else tuple(value.shape) for value in record.values()]


def _size(record: Mapping[str, Any]) -> int:
    return sum(int(np.prod(shape)) for shape in _shapes(record) if isinstance(shape, tuple))


def _of_one(elements: Any, place: int) -> Any:
    """Return the elements, rapidities or matrices, that move one of several samples."""
    has_own = elements.ndim in (2, 4) and elements.shape[1] > 1
    return elements[:, place : place + 1] if has_own else elements


def _each(inputs: Sequence[Mapping[str, Any]], elements: Any, move: Move) -> list[Record]:
    """Move every sample by n elements, or by n of its own: n · samples of them, element by element."""
    moved = [move(_lifted(record), _of_one(elements, place)) for place, record in enumerate(inputs)]
    return [_map(itemgetter(element), sample) for element in range(len(elements)) for sample in moved]
