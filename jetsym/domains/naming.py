"""Which of several arrays a group moves: those that a caller names, or the only one that may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jetsym.domains.members import Key, arrays_of, is_of_marks
from jetsym.domains.moves import HELD_FIXED, Move, as_move, is_floating, likely_order
from jetsym.errors import ProbeError, closest

__all__ = ["STILL", "Naming", "said_of"]

#: Last axis -> what an array is taken for that nobody names.
BY_SHAPE = {3: "vector", 4: "four-vector"}
STILL = Move(HELD_FIXED)


def said_of(moves: Any) -> dict[Key, Move] | None:
    """Return what a caller says of inputs that move, by the names that are used there; None where nothing is said."""
    if moves is None:
        return None
    if not isinstance(moves, Mapping) or not moves:
        raise ProbeError(f"moves is {moves!r}; expected a dictionary such as {{'points': 'vector'}}")
    return {key: as_move(said, repr(key)) for key, said in moves.items()}


class Naming:
    """What moves among arrays.

    Parameters
    ----------
    said
        Name, position or keyword -> how it moves; None where nobody says so.
    arguments
        Names of arguments by position.
    """

    def __init__(self, said: Mapping[Key, Move] | None, arguments: Sequence[str]) -> None:
        self.said, self.arguments = said, tuple(arguments)

    def name(self, key: Key) -> str:
        """Return the name of an input, for words."""
        return self.arguments[key] if isinstance(key, int) and key < len(self.arguments) else str(key)

    def key(self, said: Key, inputs: Any) -> Key:
        """Return the key of an input that a caller names."""
        items = arrays_of(inputs)
        by_name = {self.name(key): key for key in items} | {str(key): key for key in items}
        if said in items and not isinstance(said, bool):
            return said
        if isinstance(said, str) and said in by_name and not said.isdigit():
            return by_name[said]
        unnamed = not isinstance(inputs, Mapping) and not self.arguments and isinstance(said, str)
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
        items = arrays_of(inputs)
        if self.said is None:
            return self._by_shape(inputs, items)
        found = {self.key(said, inputs): move for said, move in self.said.items()}
        for key, move in found.items():
            move.check(items[key], self.name(key))
        if not any(move.moves for move in found.values()):
            raise ProbeError(f"moves={self._told()} holds nothing that moves; name what the group moves")
        return {key: move for key, move in found.items() if move.moves}

    def _told(self) -> str:
        return "{" + ", ".join(f"{key!r}: {str(move.kind)!r}" for key, move in (self.said or {}).items()) + "}"

    def _candidates(self, items: Mapping[Key, Any]) -> dict[Key, Move]:
        return {
            key: Move(BY_SHAPE[array.shape[-1]])
            for key, array in items.items()
            if array.ndim > 1 and array.shape[-1] in BY_SHAPE and is_floating(array)
        }

    def _by_shape(self, inputs: Any, items: Mapping[Key, Any]) -> dict[Key, Move]:
        """Return the only array that may move, or refuse to choose."""
        found = self._candidates(items)
        if len(items) == 1 and found:
            return found
        listed = ", ".join(f"{self.name(key)} {tuple(array.shape)}" for key, array in items.items())
        say = self.remedy(items, found)
        if not found:
            shape = tuple(next(iter(items.values())).shape)
            which = f"an input array has shape {shape}" if len(items) == 1 else f"the input arrays are {listed}"
            raise ProbeError(
                f"{which}; expected (samples, …, 3) for vectors or (samples, …, 4) for four-vectors (E, px, py, pz). "
                f"Name what moves, as {say}, another layout with jetsym.moves(…, order=…, axis=…), or say with "
                "action=… what moves your inputs"
            )
        if len(found) > 1:
            which = ", ".join(f"{self.name(key)} {tuple(items[key].shape)}" for key in found)
            raise ProbeError(
                f"what of the inputs moves cannot be told: it may be any of {which}. Name what does: {say} moves all "
                "of them, and what is not named stays"
            )
        return found

    def remedy(self, items: Mapping[Key, Any], found: Mapping[Key, Move]) -> str:
        """Return how to say that some inputs move; with none of them, an example."""
        kinds: dict[Key, Any] = {key: move.kind for key, move in found.items()}
        if not kinds:
            sizes = {key: set(array.shape[1:]) & set(BY_SHAPE) for key, array in items.items() if is_floating(array)}
            key = max(sizes, key=lambda key: len(sizes[key]))
            kinds = {key: BY_SHAPE[max(sizes[key], default=3)]}
        return f"moves={ {self.said_as(key): kind for key, kind in kinds.items()} }"

    def said_as(self, key: Key) -> Key:
        """Return how a caller names an input."""
        return key if self.name(key).isdigit() else self.name(key)

    def words(self, inputs: Any, also: Mapping[Key, str]) -> dict[str, str]:
        """Return how each input moves, by name, and what else is known of some."""
        items, moving = arrays_of(inputs), self.moving(inputs)
        words = {self._word(key, inputs): str(moving.get(key, STILL)) for key in items}
        for key, more in also.items():
            words[self._word(key, inputs)] += f", {more}"
        return words

    def _word(self, key: Key, inputs: Any) -> str:
        name = self.name(key)
        return f"input {name}" if name.isdigit() and isinstance(inputs, tuple) else "input" if name.isdigit() else name

    def likely(self, inputs: Any) -> dict[Key, Move]:
        """Return what moves, or may."""
        return self._candidates(arrays_of(inputs)) if self.said is None else self.moving(inputs)

    def refuse_doubtful(self, inputs: Any) -> None:
        """Refuse marks that nobody names as vectors, and four-vectors whose energies stand elsewhere."""
        moving, items = self.moving(inputs), arrays_of(inputs)
        if self.said is None and len(items) > 1 and all(is_of_marks(items[key]) for key in moving):
            (key,) = moving
            raise ProbeError(
                f"the only input that may move is {self.name(key)} {tuple(items[key].shape)}, but it holds nothing "
                f"but 0 and 1, as marks do. Name what moves, as {self.remedy(items, moving)}"
            )
        for key, move in moving.items():
            plain = move.kind == "four-vector" and move.order is None
            if plain and (order := likely_order(move.components(items[key]))) is not None:
                where = "" if move.axis is None else f", axis={move.axis}"
                raise ProbeError(
                    f"the input {self.name(key)} {tuple(items[key].shape)} would move as four-vectors (E, px, py, pz), "
                    f"but many are space-like so, E² < p², and none as ({order}). Say which order it is, with "
                    f'moves={{{self.said_as(key)!r}: jetsym.moves("four-vector", order="{order}"{where})}}, or with '
                    'order="e px py pz"'
                )
