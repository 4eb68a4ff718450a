"""Arrays as inputs: one, a tuple of arguments, or a dictionary of keywords, with the samples along their first axes.

What is named with ``moves=…`` moves, all else stays. Where nothing is named an array (samples, …, 3) moves as vectors
and (samples, …, 4) as four-vectors (E, px, py, pz), if it is the only one of such a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device as device_of
from numpy.typing import NDArray
from typing_extensions import override

from jetsym.domains.base import Action
from jetsym.domains.four_vectors import FourVectors
from jetsym.domains.masks import Mask, added, find_mask
from jetsym.domains.members import (
    Key,
    arrays_of,
    by_point,
    expect_numbers,
    first,
    is_of_marks,
    is_of_pairs,
    mapped,
    placed,
    rearranged,
    same_rows,
)
from jetsym.domains.moves import Move, is_floating
from jetsym.domains.naming import STILL, said_of
from jetsym.domains.stale import SAMPLES, columns_of_points, refuse_stale
from jetsym.errors import ProbeError
from jetsym.spectrum import SO2, group_of
from jetsym.spectrum.responses import EPS, to_numpy
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["ARRAYS", "Arrays"]

#: Elements of which one changes inputs that are changed at all, of a group of two as well; and the roundings by which
#: they may seem to change what stays.
SOME, STAYS = 32, 16.0


class Arrays(FourVectors):
    """Arrays of any library that follows the array API: one, a tuple, or a dictionary of keywords.

    Parameters
    ----------
    moves
        Argument -> how it moves; None where nobody says so.
    arguments
        Names of arguments by position, for words.
    mask
        Which input says what points are real; None where none does.
    """

    lab_note = "The group acts in the frame of the arrays."
    reach = "plain arrays move in the lab or at rest, about or along 'x', 'y', 'z' or a vector"

    def __init__(
        self, moves: Mapping[Key, Move] | None = None, arguments: Sequence[str] = (), mask: Mask | None = None
    ) -> None:
        super().__init__(moves, arguments)
        self._mask = self._found = mask

    @override
    def with_moves(self, moves: Mapping[Any, Any] | None, arguments: Sequence[str]) -> Arrays:
        return Arrays(said_of(moves), arguments)

    @override
    def what_moves(self, inputs: Any) -> dict[str, str]:
        return self.words(inputs, {} if self._mask is None else {self._mask.key: str(self._mask)})

    @override
    def settled(self, inputs: Any, outputs: Callable[[Any], Mapping[str, Any]]) -> Arrays:
        """Return the domain with the mask among the inputs, if there is one."""
        points = self._points(inputs)
        if self._mask is not None or points is None:
            return self
        slots, axes = points
        one, (axis,) = next(iter(axes.items()))
        move = self.likely(inputs)[one]
        said = {self.key(key, inputs) for key in self.said or ()}  # with None: a feature that stays, and no mask
        marks = {key: self.name(key) for key in arrays_of(inputs) if key not in axes and key not in said}

        def put(some: Any, key: Key, array: Any) -> Any:
            return mapped(lambda own, old: array if own == key else old, some)

        def disturbed(some: Any, slot: int) -> Any:
            array = arrays_of(some)[one]
            xp = array_namespace(array)
            here = (np.arange(slots) == slot).reshape(slots, *[1] * (array.ndim - 1 - axis))
            turned = 1.25 * move.moved(array, np.roll(np.eye(3), 1, axis=0)[None])
            return put(some, one, xp.where(xp.asarray(here, device=device_of(array)), turned, array))

        found = find_mask(
            inputs,
            marks,
            slots,
            take=lambda some, key: arrays_of(some)[key],
            put=put,
            one=lambda some, place: self.select(some, slice(place, place + 1)),
            disturbed=disturbed,
            outputs=outputs,
        )
        self._found = found  # which an action that was made before needs as well
        return self if found is None else type(self)(self.said, self.arguments, found)

    # --- as any domain ---

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Return the first samples of the arrays, or refuse what is no array of numbers."""
        source = dict(source) if isinstance(source, Mapping) else source
        expect_numbers(source)
        return self.select(source, slice(0, limit))

    @override
    def size(self, inputs: Any) -> int:
        return int(first(inputs).shape[0])

    @override
    def select(self, inputs: Any, selection: slice) -> Any:
        return mapped(lambda _, array: array[selection], inputs)

    @override
    def move(self, inputs: Any, matrices: Any) -> Any:
        moving = self.moving(inputs)
        return mapped(lambda key, array: moving.get(key, STILL).moved(array, matrices), inputs)

    @override
    def act(self, inputs: Any, symmetry: Symmetry, *, seed: int) -> tuple[Any, Action]:
        """Return the action in the lab: rotations and reflections, or Lorentz transformations of four-vectors."""
        self.moving(inputs)
        is_boost = symmetry.group == GroupName.BOOST and symmetry.axis not in ("jet", "random")
        if is_boost or symmetry.is_at_rest or symmetry.named.on_four_vectors:
            self.check_four_vectors(inputs)
        if is_boost:
            action = self.boosts(SO2("z" if symmetry.axis == "beam" else symmetry.axis or "z").axis)
        elif symmetry.is_at_rest:
            moving = self.moving(inputs)
            others = (array for key, array in arrays_of(inputs).items() if key not in moving)
            if not any(is_of_marks(array) or added(array) is not None for array in others):
                self.total(inputs)  # refuses what has no such frame; with a mask, once it is known
            action = self.at_rest()
        else:
            inputs, action = super().act(inputs, symmetry, seed=seed)
        # Turns in the lab tell as much as those at rest, which have to know the mask.
        tried = Action(self.move, True, self.lab_note) if symmetry.is_at_rest else action
        self.refuse_doubtful(inputs)
        self._refuse_stale(inputs, symmetry, tried)
        self._refuse_unmoved(inputs, symmetry, action)
        return inputs, action

    def _refuse_unmoved(self, inputs: Any, symmetry: Symmetry, action: Action) -> None:
        """Refuse inputs none of which a group changes in the lab, as zeros, or points on its axis: any model agrees."""
        moving = self.moving(inputs)
        is_known = symmetry.is_compact or symmetry.group == GroupName.BOOST  # of others nobody says what elements are
        if symmetry.is_at_rest or not moving or not is_known:  # a single particle at rest stays where others do not
            return
        elements = _few_elements(symmetry, SOME)
        for start in range(0, self.size(inputs), SAMPLES):
            some = self.select(inputs, slice(start, start + SAMPLES))
            before, after = arrays_of(some), arrays_of(action.move(some, elements))
            for key in moving:
                ours, theirs = (np.asarray(to_numpy(items[key]), dtype=np.float64) for items in (before, after))
                apart = np.abs(theirs - np.concatenate([ours] * (len(theirs) // len(ours))))
                if not apart.max(initial=0.0) <= STAYS * EPS["float64"] * np.abs(ours).max(initial=0.0):
                    return
        raise ProbeError(
            f"no input changes under {symmetry.words}, as all are zero or along its axis: every model gives the same "
            "then; give inputs that move"
        )

    def _refuse_stale(self, inputs: Any, symmetry: Symmetry, action: Action) -> None:
        """Refuse what stays but comes from what moves."""
        moving, items = self.moving(inputs), arrays_of(inputs)
        said = {self.key(key, inputs) for key in self.said or ()}
        kept = {
            key: array for key, array in items.items() if key not in said and key not in moving and is_floating(array)
        }
        known = {key: move for key, move in moving.items() if move.kind in ("vector", "four-vector")}
        if not kept or not known:
            return
        some = self.select(inputs, slice(0, SAMPLES))
        elements = _few_elements(symmetry)
        before, after = (
            {self.name(key): by_point(move.components(arrays_of(these)[key])) for key, move in known.items()}
            for these in (some, action.move(some, elements))
        )
        points = self._points(some)
        n = None if points is None else points[0]
        columns = {self.name(key): columns_of_points(to_numpy(arrays_of(some)[key]), n) for key in kept}
        refuse_stale(before, after, columns)

    @override
    def to(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Return arrays as a torch module takes them; those of a third library stay as they are."""
        return mapped(lambda _, array: placed(array, device, dtype), inputs)

    @override
    def dtype_name(self, inputs: Any) -> str:
        moving = {} if self.said is None else self.moving(inputs)
        arrays = [array for key, array in arrays_of(inputs).items() if key in moving or not moving]
        return super().dtype_name(next(array for array in arrays if is_floating(array)))

    # --- points ---

    def _points(self, inputs: Any) -> tuple[int, dict[Key, tuple[int, ...]]] | None:
        """Return how many points the moving arrays have, and the axis of each; None where they have none in common."""
        items = arrays_of(inputs)
        axes: dict[Key, tuple[int, ...]] = {}
        for key, move in self.likely(inputs).items():
            others = [axis for axis in range(1, items[key].ndim) if axis not in move.axes(items[key].ndim)]
            if others:
                axes[key] = (others[0],)
        lengths = {int(items[key].shape[axis]) for key, (axis,) in axes.items()}
        return (lengths.pop(), axes) if len(lengths) == 1 else None

    def _axes(self, inputs: Any) -> tuple[int, dict[Key, tuple[int, ...]]] | None:
        """Return how many points there are, and along which axes of every input; None where that cannot be told."""
        found = self._points(inputs)
        if found is None:
            return None
        n, axes = found[0], dict(found[1])
        for key, array in arrays_of(inputs).items():
            if key not in axes:
                own = tuple(axis for axis in range(1, array.ndim) if array.shape[axis] == n)
                if len(own) > 2 or (len(own) == 2 and not is_of_pairs(array, own)):
                    return None
                axes[key] = own
        return n, axes

    @override
    def mask(self, inputs: Any) -> Any:
        return None if self._mask is None else self._mask.real(arrays_of(inputs)[self._mask.key])

    @override
    def slots(self, inputs: Any) -> int | None:
        """Return the length of the axis of points that all moving arrays have, where it is known in the others."""
        found = self._axes(inputs)
        return None if found is None else found[0]

    @override
    def rearrange(self, inputs: Any, places: Any) -> Any:
        """Return arrays with other points; slots that are empty hold zeros, where a mask says so."""
        found = self._axes(inputs)
        assert found is not None
        places, axes = np.asarray(places), found[1]

        def with_others(key: Key, array: Any) -> Any:
            fill = self._mask.padding if self._mask is not None and key == self._mask.key else 0
            for axis in axes[key]:
                array = rearranged(array, places, axis, fill)
            return array

        return mapped(with_others, inputs)

    @override
    def is_same(self, inputs: Any, others: Any) -> NDArray[np.bool_]:
        known = arrays_of(others)
        alike = [same_rows(array, known[key]) for key, array in arrays_of(inputs).items()]
        found: NDArray[np.bool_] = np.logical_and.reduce(alike)
        return found


ARRAYS = Arrays()


def _few_elements(symmetry: Symmetry, n: int = 2) -> NDArray[np.float64]:
    """Return a few elements of a group, or two rapidities."""
    if not symmetry.is_compact:
        return np.array([0.5, -0.7])
    return group_of(symmetry).sample(n, np.random.default_rng(0))
