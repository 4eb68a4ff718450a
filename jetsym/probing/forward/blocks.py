"""The layers worth reading: which modules of a model are its blocks, by what they did in one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["Call", "address", "find_blocks", "is_equal", "tensors_in", "unwrapped_tensor"]

#: The attribute in which a wrapper says which of its children is the model whose layers are to be read.
WITHIN = "probe_within"
#: Modules that hold others and never run; None stands for a plain list.
LISTS = (nn.ModuleList, nn.ModuleDict, type(None))
#: Where no blocks are stacked, modules are opened until there are so many layers.
ENOUGH = 3
#: How deep in what a module is given and returns arrays are looked for.
DEPTH = 4

#: How good a stack is: whether its members have parts themselves, and how many they are.
Score = tuple[bool, int]


@dataclass(eq=False)
class Call:
    """One call of a module in a forward pass.

    Parameters
    ----------
    order
        When it began.
    given, copies
        The arrays among what it was given, and what they were.
    returned
        The arrays of numbers that it returned.
    hands_on
        Whether those are what it was given.
    """

    order: int
    given: Sequence[Tensor]
    copies: Sequence[Tensor]
    returned: Sequence[Tensor] = ()
    hands_on: bool = False

    def end(self, returned: Iterable[Any], *, has_parameters: bool) -> None:
        """Take note of the arrays that the module returned."""
        tensors = map(unwrapped_tensor, returned)
        self.returned = [x for x in tensors if x is not None and (x.is_floating_point() or x.is_complex())]
        pairs = list(zip(self.given, self.copies, strict=True))
        self.hands_on = bool(self.returned) and all(
            any(_is_handed_on(x, *pair, has_parameters=has_parameters) for pair in pairs) for x in self.returned
        )
        self.copies = ()

    def returns(self, outputs: Iterable[Any]) -> bool:
        """Return whether all that it returned is among the outputs of the model."""
        theirs = list(outputs)
        return bool(self.returned) and all(any(_is_same(x, output) for output in theirs) for x in self.returned)

    def is_followed_by(self, other: Call) -> bool:
        """Return whether another call may go on from this: with an array as this returned, and not with its inputs."""
        shapes, own = {x.shape for x in self.returned}, {id(x) for x in self.given}
        return any(x.shape in shapes and id(x) not in own for x in other.given)


def tensors_in(value: Any, depth: int = DEPTH) -> list[Tensor]:
    """Return the tensors within tuples, dictionaries, and objects that hold some."""
    if isinstance(value, Tensor):
        tensor = unwrapped_tensor(value)
        return [] if tensor is None else [tensor]
    if depth == 0 or value is None or isinstance(value, (str, bytes, int, float, complex, type, nn.Module)):
        return []
    if isinstance(value, Mapping):
        items: Iterable[Any] = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif is_dataclass(value):
        items = [getattr(value, one.name) for one in fields(value)]
    else:
        items = getattr(value, "__dict__", {}).values()
    return [tensor for item in items for tensor in tensors_in(item, depth - 1)]


def unwrapped_tensor(array: Any) -> Tensor | None:
    """Return a tensor outside the gradients of torch.func; None for another value, and for one within a vmap."""
    while isinstance(array, Tensor) and _functorch.is_gradtrackingtensor(array):
        array = _functorch.get_unwrapped(array)
    return array if isinstance(array, Tensor) and not _functorch.is_functorch_wrapped_tensor(array) else None


def address(array: Any) -> int | None:
    """Return where the memory of an array begins; None where that is not known."""
    try:
        if isinstance(array, Tensor):
            return array.data_ptr() or None
        return int(array.__array_interface__["data"][0])
    except (AttributeError, RuntimeError, TypeError):  # of another library, or sparse
        return None


def _is_same(array: Tensor, other: Any) -> bool:
    """Return whether two arrays are one, of whatever shape, or equal but for their precision."""
    if array is other:
        return True
    if address(array) == address(other) is not None:
        size = other.numel() if isinstance(other, Tensor) else other.size
        return bool(array.numel() == size)
    alike = isinstance(other, Tensor) and array.dtype != other.dtype and array.shape == other.shape
    return alike and is_equal(array.to(other), other)


def _is_handed_on(array: Tensor, given: Tensor, before: Tensor, *, has_parameters: bool) -> bool:
    """Return whether an array is one that was given, as it was."""
    if array is given or (address(array) == address(given) is not None and array.numel() == given.numel()):
        return is_equal(given, before)
    alike = not has_parameters and array.shape == before.shape and array.dtype == before.dtype
    if not alike or array.is_complex():
        return False
    # An activation hands on positive numbers, and is no less an activation.
    return is_equal(array, before) and bool((before < 0).any() and (before > 0).any())


def is_equal(array: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same numbers; False where these cannot be compared."""
    try:
        return torch.equal(array, other)
    except RuntimeError:  # of types or layouts that torch does not compare
        return False


@dataclass
class Tree:
    """The modules of a model as they are within each other, of which those count that ran, or held one that did."""

    modules: Mapping[str, nn.Module]
    calls: Mapping[str, Sequence[Call]]
    outputs: Sequence[Any]
    within: str | None = None
    _best: dict[str, Score | None] = field(default_factory=dict)
    _opened: set[str] = field(default_factory=set)

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        """Name -> names of the children that ran, or held what did; those in a list are its children."""
        running = set()
        for name in self.calls:
            parts = name.split(".")
            held = [".".join(parts[: n + 1]) for n in range(len(parts))]
            if not any(isinstance(self.modules.get(item), ParametrizationList) for item in held):  # which make weights
                running.update(held)
        found: dict[str, list[str]] = {}
        for name in self.modules:
            parts = name.split(".")
            for n in range(len(parts)):
                child, parent = ".".join(parts[: n + 1]), ".".join(parts[:n])
                siblings = found.setdefault(parent, [])
                if child in running and child not in siblings:
                    siblings.append(child)
        return found

    def children(self, name: str) -> list[str]:
        """Return what ran, or holds what did, right within a module, or the model (""); lists are open."""
        within = self.within if not name else getattr(self.modules.get(name), WITHIN, None)
        found = []
        for child in self._children.get(name, []):
            if within is None or child.rpartition(".")[2] == within:
                is_list = child not in self.calls and isinstance(self.modules.get(child), LISTS)
                found += self.children(child) if is_list else [child]
        return found

    # --- stacks of equal blocks ---

    def _score(self, names: Sequence[str]) -> Score | None:
        """Return how good the best stack among siblings is."""
        groups: dict[Any, list[str]] = {}
        for name in names:
            if name in self.calls:
                groups.setdefault((name.rpartition(".")[0], self._kind(name)), []).append(name)
        return max((score for group in groups.values() if (score := self._score_of(group))), default=None)

    def _kind(self, name: str) -> Any:
        """Return what equal blocks have in common: their class, and what is within those of torch's containers."""
        module = self.modules[name]
        inside = tuple(type(child) for child in module.children()) if type(module) is nn.Sequential else ()
        return type(module), inside

    def _score_of(self, group: Sequence[str]) -> Score | None:
        """Return how good a stack equal siblings make: each goes on from the one before, or stands in a list alone."""
        parent = group[0].rpartition(".")[0]
        in_list = bool(parent) and isinstance(self.modules.get(parent), (nn.ModuleList, type(None)))
        has_parts = bool(self._children.get(group[0])) or any(
            not isinstance(part, (nn.ParameterList, nn.ParameterDict)) for part in self.modules[group[0]].children()
        )
        if not (has_parts or in_list):
            return None
        calls = sorted((self.calls[name][0] for name in group), key=lambda call: call.order)
        longest = length = 1
        for i in range(1, len(calls)):
            length = length + 1 if calls[i - 1].is_followed_by(calls[i]) else 1
            longest = max(longest, length)
        alone = in_list and has_parts and len(self._children[parent]) == 1
        return (has_parts, longest) if longest > 1 or alone else None

    def best(self, name: str) -> Score | None:
        """Return how good the best stack within a module is, at whatever depth."""
        if name not in self._best:
            children = self.children(name)
            scores = [self._score(children), *(self.best(child) for child in children)]
            self._best[name] = max((score for score in scores if score), default=None)
        return self._best[name]

    def open_to_stacks(self, name: str) -> Iterator[str]:
        """Yield what is within a module, in which whatever holds a better stack than stands beside it is opened.

        Single layers that go on from each other stand aside for blocks. What did not run itself, as only its parts are
        called, is opened where no stack stands beside it.
        """
        children = self.children(name)
        here = self._score(children)
        has_blocks, _ = here or (False, 0)
        for child in children:
            inside = self.best(child)
            is_open = (inside and inside > here) if has_blocks and here else (inside or child not in self.calls)
            if is_open:
                yield from self.open_to_stacks(child)
            if child in self.calls and (not is_open or self._adds(child)):
                yield child

    # --- what is read ---

    def open_once(self, names: Iterable[str], *, only_opaque: bool = False) -> list[str]:
        """Return modules, and those within them, or only within what returns no arrays, in place of the former."""
        found = []
        for name in names:
            calls = self.calls.get(name, ())
            inside = [] if only_opaque and any(call.returned for call in calls) else self.children(name)
            if name in self._opened or not inside:
                found.append(name)
                continue
            self._opened.add(name)
            found += [*inside, name] if self._adds(name) else inside
        return found

    def _adds(self, name: str) -> bool:
        """Return whether a module returns something that no module within it does."""
        inside = [
            x
            for other, calls in self.calls.items()
            if other.startswith(f"{name}.")
            for call in calls
            for x in call.returned
        ]
        return any(call.returned and not call.returns(inside) for call in self.calls.get(name, ()))

    def is_layer(self, name: str) -> bool:
        """Return whether a module returns arrays that are neither what it was given nor the outputs of the model."""
        return any(
            call.returned and not call.hands_on and not call.returns(self.outputs) for call in self.calls.get(name, ())
        )


def find_blocks(
    model: nn.Module, modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Call]], outputs: Sequence[Any]
) -> list[str]:
    """Return the names of a model's blocks, by one forward pass.

    Modules are opened until a stack of equal blocks appears, each of which goes on from the one before: what stands
    beside it is taken as it is, unless it holds a longer one. Where no blocks are stacked, all are opened until there
    are at least three layers. What is opened is read as well if it returns what nothing within it does. A wrapper says
    in ``probe_within`` which of its children is the model whose layers are to be read: what it adds beside is not what
    the outputs are read from.

    Parameters
    ----------
    model
        The model.
    modules
        All modules within it by name.
    calls
        Of those that ran, what they did.
    outputs
        What the model returned.

    Returns
    -------
    Those that ran, but for what hands on what it was given and what returns the outputs.
    """
    tree = Tree(modules, calls, outputs, within=getattr(model, WITHIN, None))
    if tree.best("") is not None:
        names = list(tree.open_to_stacks(""))
    else:
        names = tree.children("")
        while sum(map(tree.is_layer, names)) < ENOUGH and (opened := tree.open_once(names)) != names:
            names = opened
    while (opened := tree.open_once(names, only_opaque=True)) != names:
        names = opened
    return [name for name in names if tree.is_layer(name)]
