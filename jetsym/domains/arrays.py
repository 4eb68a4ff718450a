"""Arrays as inputs: one, a tuple of arguments, or a dictionary of keywords, with the samples along their first axes.

What is named with ``moves=…`` moves, all else stays. Where nothing is named an array (samples, …, 3) moves as vectors
and (samples, …, 4) as four-vectors (E, px, py, pz), if it is the only one of such a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array, is_torch_array
from array_api_compat import device as device_of
from torch.autograd import forward_ad
from typing_extensions import override

from jetsym.domains.base import Action, Domain
from jetsym.domains.masks import Mask, find_mask
from jetsym.domains.moves import HELD_FIXED, Move, as_move, is_floating
from jetsym.domains.stale import SAMPLES, refuse_stale
from jetsym.errors import ProbeError, closest
from jetsym.spectrum import SO2, group_of
from jetsym.spectrum.lorentz import GENERATORS, boost_matrices
from jetsym.spectrum.responses import EPS, to_numpy
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["ARRAYS", "Arrays"]

#: Position of an argument, or its keyword.
Key = int | str
#: What a model takes beside arrays, the same for all samples.
CONSTANTS = (type(None), bool, int, float, str)
#: Last axis -> what an array is taken for that nobody names.
BY_SHAPE = {3: "vector", 4: "four-vector"}
UNKNOWN = (
    "inputs of type {} are not known; expected a JetBatch, paths of ROOT files, an array, a tuple of arrays (numpy, "
    "torch, …), a dictionary of them, which go in as keywords, a list of dictionaries, one a sample, or anything with "
    "a length and action=…"
)


class Arrays(Domain):
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
    reach = "plain arrays move in the lab, about or along 'x', 'y', 'z' or a vector"

    def __init__(
        self, moves: Mapping[Key, Move] | None = None, arguments: Sequence[str] = (), mask: Mask | None = None
    ) -> None:
        self._moves, self._arguments, self._mask = moves, tuple(arguments), mask

    # --- which arrays move ---

    @override
    def with_moves(self, moves: Mapping[Any, Any] | None, arguments: Sequence[str]) -> Arrays:
        if moves is None:
            return type(self)(None, arguments)
        if not isinstance(moves, Mapping) or not moves:
            raise ProbeError(f"moves is {moves!r}; expected a dictionary such as {{'points': 'vector'}}")
        return type(self)({key: as_move(said, repr(key)) for key, said in moves.items()}, arguments)

    def _name(self, key: Key) -> str:
        return self._arguments[key] if isinstance(key, int) and key < len(self._arguments) else str(key)

    def _key(self, said: Key, inputs: Any) -> Key:
        """Return the key of an input that a caller names."""
        items = dict(_items(inputs))
        by_name = {self._name(key): key for key in items} | {str(key): key for key in items}
        if said in items and not isinstance(said, bool):
            return said
        if isinstance(said, str) and said in by_name and not said.isdigit():
            return by_name[said]
        unnamed = not isinstance(inputs, Mapping) and not self._arguments and isinstance(said, str)
        why = (
            "the arguments of the model have no names here: say moves={0: …}, by position"
            if unnamed
            else closest(str(said), by_name)
        )
        raise ProbeError(f"moves names {said!r}, which is no array among the inputs; {why}")

    def moving(self, inputs: Any) -> dict[Key, Move]:
        """Return how each input that moves does so.

        Raises
        ------
        ProbeError
            What is named is no such array; or nothing is, and several arrays may be meant, or none.
        """
        items = dict(_items(inputs))
        if self._moves is None:
            return self._by_shape(inputs, items)
        found = {self._key(said, inputs): move for said, move in self._moves.items()}
        for key, move in found.items():
            self._check(move, items[key], self._name(key))
        if not any(move.moves for move in found.values()):
            raise ProbeError(f"moves={self._said()} holds nothing that moves; name what the group moves")
        return {key: move for key, move in found.items() if move.moves}

    def _said(self) -> str:
        return "{" + ", ".join(f"{key!r}: {str(move.kind)!r}" for key, move in (self._moves or {}).items()) + "}"

    def _check(self, move: Move, array: Any, name: str) -> None:
        move.check(array, name)

    def _candidates(self, items: Mapping[Key, Any]) -> dict[Key, Move]:
        return {
            key: Move(BY_SHAPE[array.shape[-1]])
            for key, array in items.items()
            if array.ndim >= self._least_ndim and array.shape[-1] in BY_SHAPE and is_floating(array)
        }

    #: Axes that an array needs to move without a name.
    _least_ndim = 2

    def _by_shape(self, inputs: Any, items: Mapping[Key, Any]) -> dict[Key, Move]:
        """Return the only array that may move, or refuse to choose."""
        found = self._candidates(items)
        if len(items) == 1 and found:
            return found
        listed = ", ".join(f"{self._name(key)} {tuple(array.shape)}" for key, array in items.items())
        say = self._remedy(items, found)
        if not found:
            shape = tuple(next(iter(items.values())).shape)
            which = f"an input array has shape {shape}" if len(items) == 1 else f"the input arrays are {listed}"
            raise ProbeError(
                f"{which}; expected (samples, …, 3) for vectors or (samples, …, 4) for four-vectors (E, px, py, pz). "
                f"Name what moves, as {say}, another layout with jetsym.moves(…, order=…, axis=…), or say with "
                "action=… what moves your inputs"
            )
        if len(found) > 1:
            which = ", ".join(f"{self._name(key)} {tuple(items[key].shape)}" for key in found)
            raise ProbeError(
                f"what of the inputs moves cannot be told: it may be any of {which}. Name what does: {say} moves all "
                "of them, and what is not named stays"
            )
        return found

    def _remedy(self, items: Mapping[Key, Any], found: Mapping[Key, Move]) -> str:
        """Return how to say that some inputs move; with none of them, an example."""
        kinds: dict[Key, Any] = {key: move.kind for key, move in found.items()}
        if not kinds:
            sizes = {key: set(array.shape[1:]) & set(BY_SHAPE) for key, array in items.items() if is_floating(array)}
            key = max(sizes, key=lambda key: len(sizes[key]))
            kinds = {key: BY_SHAPE[max(sizes[key], default=3)]}
        return f"moves={ {key if self._name(key).isdigit() else self._name(key): kind for key, kind in kinds.items()} }"

    @override
    def what_moves(self, inputs: Any) -> dict[str, str]:
        items, moving = dict(_items(inputs)), self.moving(inputs)
        words = {self._word(key, inputs): str(moving.get(key, HELD_FIXED_WORDS)) for key in items}
        if self._mask is not None:
            words[self._word(self._mask.key, inputs)] += f", {self._mask}"
        return words

    def _word(self, key: Key, inputs: Any) -> str:
        name = self._name(key)
        return f"input {name}" if name.isdigit() and isinstance(inputs, tuple) else "input" if name.isdigit() else name

    @override
    def settled(self, inputs: Any, outputs: Callable[[Any], Mapping[str, Any]]) -> Arrays:
        """Return the domain with the mask among the inputs, if there is one."""
        points = self._points(inputs)
        if self._mask is not None or points is None:
            return self
        slots, axes = points
        first, (axis,) = next(iter(axes.items()))
        move = self._likely(inputs)[first]
        marks = {key: self._name(key) for key, _ in _items(inputs) if key not in axes}

        def put(some: Any, key: Key, array: Any) -> Any:
            return _map(lambda own, old: array if own == key else old, some)

        def disturbed(some: Any, slot: int) -> Any:
            array = dict(_items(some))[first]
            xp = array_namespace(array)
            here = (np.arange(slots) == slot).reshape(slots, *[1] * (array.ndim - 1 - axis))
            turned = 1.25 * move.moved(array, np.roll(np.eye(3), 1, axis=0)[None])
            return put(some, first, xp.where(xp.asarray(here, device=device_of(array)), turned, array))

        found = find_mask(
            inputs,
            marks,
            slots,
            take=lambda some, key: dict(_items(some))[key],
            put=put,
            one=lambda some, place: self.select(some, slice(place, place + 1)),
            disturbed=disturbed,
            outputs=outputs,
        )
        return self if found is None else type(self)(self._moves, self._arguments, found)

    # --- as any domain ---

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Return the first samples of the arrays, or refuse what is no array of numbers."""
        source = dict(source) if isinstance(source, Mapping) else source
        members = _members(source)
        for array in members.values():
            if not is_array_api_obj(array) and not (len(members) > 1 and isinstance(array, CONSTANTS)):
                raise ProbeError(UNKNOWN.format(type(array).__name__))
        arrays = [array for _, array in _items(source)]
        for array in arrays:
            if str(getattr(array.dtype, "kind", "f")) in "OSUV":
                raise ProbeError(f"an input array has dtype {array.dtype}; expected numbers")
        if not any(map(is_floating, arrays)):
            dtypes = ", ".join(dict.fromkeys(str(array.dtype) for array in arrays)) or "none"
            raise ProbeError(f"an input array has dtype {dtypes}; expected one of {', '.join(EPS)}: convert it first")
        sizes = {int(array.shape[0]) if array.ndim else 0 for array in arrays}
        if len(sizes) > 1 or 0 in sizes:
            raise ProbeError(
                f"the input arrays hold {sorted(sizes)} samples; expected one common number, at least 1: what all "
                "samples share goes in with call=…, and graphs are a list of one for each, with action=…"
            )
        return self.select(source, slice(0, limit))

    @override
    def size(self, inputs: Any) -> int:
        return int(_first(inputs).shape[0])

    @override
    def select(self, inputs: Any, selection: slice) -> Any:
        return _map(lambda _, array: array[selection], inputs)

    @override
    def move(self, inputs: Any, matrices: Any) -> Any:
        moving = self.moving(inputs)
        return _map(lambda key, array: moving.get(key, STILL).moved(array, matrices), inputs)

    @override
    def act(self, inputs: Any, symmetry: Symmetry, *, seed: int) -> tuple[Any, Action]:
        """Return the action in the lab: rotations and reflections, or Lorentz transformations of four-vectors."""
        self.moving(inputs)
        is_boost = symmetry.group == GroupName.BOOST and symmetry.axis not in ("jet", "random")
        if is_boost or symmetry.named.on_four_vectors:
            self._check_four_vectors(inputs)
        if not is_boost:
            inputs, action = super().act(inputs, symmetry, seed=seed)
        else:
            direction = SO2("z" if symmetry.axis == "beam" else symmetry.axis or "z").axis

            def boost(inputs: Any, rapidity: Any) -> Any:
                return self.transform(inputs, boost_matrices(np.asarray(rapidity), direction))

            action = Action(boost, False, f"Boosts along ({', '.join(f'{x:g}' for x in direction)}).")
        self._refuse_doubtful(inputs, symmetry, action)
        return inputs, action

    def _refuse_doubtful(self, inputs: Any, symmetry: Symmetry, action: Action) -> None:
        """Refuse marks that nobody names for vectors, and what stays though it was computed from what moves."""
        moving, items = self.moving(inputs), dict(_items(inputs))
        said = {self._key(key, inputs) for key in self._moves or ()}
        if self._moves is None and len(items) > 1 and all(_is_of_marks(items[key]) for key in moving):
            (key,) = moving
            raise ProbeError(
                f"the only input that may move is {self._name(key)} {tuple(items[key].shape)}, but it holds nothing "
                f"but 0 and 1, as marks do. Name what moves, as {self._remedy(items, moving)}"
            )
        kept = {
            key: array for key, array in items.items() if key not in said and key not in moving and is_floating(array)
        }
        known = {key: move for key, move in moving.items() if move.kind in ("vector", "four-vector")}
        if not kept or not known:
            return
        some = self.select(inputs, slice(0, SAMPLES))
        rng = np.random.default_rng(0)
        elements = group_of(symmetry).sample(2, rng) if symmetry.is_compact else np.array([0.5, -0.7])
        before, after = (
            {self._name(key): _by_point(move.components(dict(_items(these))[key])) for key, move in known.items()}
            for these in (some, action.move(some, elements))
        )
        points = self._axes(some)
        columns = {}
        for key in kept:
            axes = () if points is None else points[1][key]
            values = to_numpy(dict(_items(some))[key]).astype(np.float64)
            values = np.moveaxis(values, axes[0], 1) if len(axes) == 1 else values
            columns[self._name(key)] = values.reshape(*values.shape[: 1 + (len(axes) == 1)], -1)
        refuse_stale(before, after, columns)

    def _check_four_vectors(self, inputs: Any) -> None:
        for key, move in self.moving(inputs).items():
            if move.kind != "four-vector":
                shape = tuple(dict(_items(inputs))[key].shape)
                raise ProbeError(
                    f"an input array has shape {shape}, and moves as {move}; expected four-vectors (…, 4) as (E, px, "
                    "py, pz) for a group that acts on them"
                )

    @override
    def transform(self, inputs: Any, matrices: Any) -> Any:
        self._check_four_vectors(inputs)
        return self.move(inputs, matrices)

    @override
    def generators(self, inputs: Any, axes: str) -> Any:
        if axes != "beam":
            raise ProbeError(f"axes {axes!r} need jets; plain arrays have those of the lab only")
        return np.stack(list(GENERATORS.values()))[:, None]

    @override
    def with_tangents(self, inputs: Any, generators: Any) -> Any:
        self._check_four_vectors(inputs)
        moving = self.moving(inputs)

        def tilt(key: Key, array: Any) -> Any:
            repeated = Move.repeated(array, len(generators))
            if key not in moving:
                return repeated
            return forward_ad.make_dual(repeated, moving[key].moved(array, generators, others=0.0))

        return _map(tilt, inputs)

    @override
    def to(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Return arrays as a torch module takes them; those of a third library stay as they are."""
        return _map(lambda _, array: placed(array, device, dtype), inputs)

    @override
    def dtype_name(self, inputs: Any) -> str:
        moving = {} if self._moves is None else self.moving(inputs)
        arrays = [array for key, array in _items(inputs) if key in moving or not moving]
        return super().dtype_name(next(array for array in arrays if is_floating(array)))

    # --- points ---

    def _likely(self, inputs: Any) -> dict[Key, Move]:
        """Return what moves, or may."""
        return self._candidates(dict(_items(inputs))) if self._moves is None else self.moving(inputs)

    def _points(self, inputs: Any) -> tuple[int, dict[Key, tuple[int, ...]]] | None:
        """Return how many points the moving arrays have, and the axis of each; None where they have none in common."""
        items = dict(_items(inputs))
        axes: dict[Key, tuple[int, ...]] = {}
        for key, move in self._likely(inputs).items():
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
        for key, array in _items(inputs):
            if key not in axes:
                own = tuple(axis for axis in range(1, array.ndim) if array.shape[axis] == n)
                if len(own) > 2 or (len(own) == 2 and not _is_of_pairs(array, own)):
                    return None
                axes[key] = own
        return n, axes

    @override
    def mask(self, inputs: Any) -> Any:
        return None if self._mask is None else self._mask.real(dict(_items(inputs))[self._mask.key])

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

        def rearranged(key: Key, array: Any) -> Any:
            fill = self._mask.padding if self._mask is not None and key == self._mask.key else 0
            for axis in axes[key]:
                array = _rearranged(array, places, axis, fill)
            return array

        return _map(rearranged, inputs)


ARRAYS = Arrays()
STILL = Move(HELD_FIXED)
HELD_FIXED_WORDS = str(STILL)


def placed(array: Any, device: Any, dtype: Any) -> Any:
    """Return an array of numpy or torch as a tensor, floating-point numbers in a dtype; others as they are."""
    if is_numpy_array(array):
        array = torch.as_tensor(array)
    if not is_torch_array(array):
        return array
    return array.to(device=device, dtype=dtype if array.is_floating_point() else None)


def _rearranged(array: Any, places: Any, axis: int, fill: int) -> Any:
    xp = array_namespace(array)
    first = array if axis == 1 else xp.moveaxis(array, axis, 1)
    n, rest = first.shape[1], tuple(first.shape[2:])
    rows = np.reshape(np.maximum(places, 0) + n * np.arange(len(places))[:, None], -1)
    taken = xp.take(xp.reshape(first, (-1, *rest)), xp.asarray(rows, device=device_of(array)), axis=0)
    taken = xp.reshape(taken, (*np.shape(places), *rest))
    if (places < 0).any():
        empty = xp.reshape(xp.asarray(places < 0, device=device_of(array)), (*np.shape(places), *[1] * len(rest)))
        taken = xp.where(empty, xp.full_like(taken, fill), taken)
    return taken if axis == 1 else xp.moveaxis(taken, 1, axis)


def _is_of_pairs(array: Any, axes: Sequence[int]) -> bool:
    """Return whether two axes are the two points of pairs: of marks, or the same when they are exchanged."""
    if str(array.dtype).rpartition(".")[2] == "bool":
        return True
    values = to_numpy(array)
    return bool(np.array_equal(values, np.swapaxes(values, *axes), equal_nan=values.dtype.kind == "f"))


def _is_of_marks(array: Any) -> bool:
    values = to_numpy(array)
    return bool(((values == 0) | (values == 1)).all())


def _by_point(array: Any) -> Any:
    """Return components (samples, …, 3 or 4) as (samples, points, 3 or 4) in float64."""
    values = to_numpy(array).astype(np.float64)
    return values.reshape(len(values), -1, values.shape[-1])


def _members(inputs: Any) -> dict[Key, Any]:
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return dict(enumerate(inputs)) if isinstance(inputs, tuple) else {0: inputs}


def _items(inputs: Any) -> list[tuple[Key, Any]]:
    """Return the arrays among inputs, by position or keyword."""
    return [(key, array) for key, array in _members(inputs).items() if not isinstance(array, CONSTANTS)]


def _map(change: Callable[[Key, Any], Any], inputs: Any) -> Any:
    """Return inputs with every array changed; constants stay."""
    found = {
        key: value if isinstance(value, CONSTANTS) else change(key, value) for key, value in _members(inputs).items()
    }
    return found if isinstance(inputs, Mapping) else tuple(found.values()) if isinstance(inputs, tuple) else found[0]


def _first(inputs: Any) -> Any:
    return _items(inputs)[0][1]
