"""Anything with a length as inputs, which the caller's own action moves: lists, graph batches, nested tensors, …."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from array_api_compat import is_array_api_obj
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import override

from jetsym.domains.base import Domain, runs_of
from jetsym.domains.members import CONSTANTS
from jetsym.domains.moves import is_floating
from jetsym.errors import ProbeError

__all__ = ["ANYTHING", "Anything", "arrays_within"]

#: How a batch of graphs is put together again from what its slices give, where it can.
FROM_LIST = "from_data_list"


class Anything(Domain):
    """Inputs of which no more is known than their length, and how to take some of them.

    Those of a mapping or a tuple are along all its values; slices are taken, and items where there are no slices.
    """

    reach = "what moves these inputs is the caller's to say, with action=…"

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Return the first inputs, or a list of them where the type has no slices."""
        try:
            n = self.size(source)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ProbeError(
                f"inputs of type {type(source).__name__} have no length ({error}); expected anything with a length and "
                "action=…, a list of samples for one"
            ) from error
        if not n:
            raise ProbeError("the inputs hold no sample; expected at least one to probe with")
        try:
            some = self.select(source, slice(0, min(limit, n)))
            if type(some) is type(source) and self.size(some) == min(limit, n):
                return some
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError, NotImplementedError):
            pass
        try:
            return [source[place] for place in range(min(limit, n))]
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError) as error:
            raise ProbeError(
                f"inputs of type {type(source).__name__} have a length, but neither slices nor items ({error}); give "
                "them one, or a list with one sample each, put together in call=… and moved by action=…"
            ) from error

    @override
    def size(self, inputs: Any) -> int:
        if _is_nested(inputs):
            return int(inputs.size(0))
        if not _is_of_members(inputs):
            return len(inputs)
        members = inputs.values() if isinstance(inputs, Mapping) else inputs
        sizes = {self.size(value) for value in members if not isinstance(value, CONSTANTS)}
        if len(sizes) != 1:
            raise ValueError(f"its parts hold {sorted(sizes)}")
        return sizes.pop()

    @override
    def select(self, inputs: Any, selection: slice) -> Any:
        if isinstance(inputs, CONSTANTS):
            return inputs
        if isinstance(inputs, Mapping):
            return {name: self.select(value, selection) for name, value in inputs.items()}
        if _is_of_members(inputs):
            return tuple(self.select(value, selection) for value in inputs)
        if _is_nested(inputs):
            return torch.nested.as_nested_tensor(list(inputs.unbind())[selection], layout=inputs.layout)
        some = inputs[selection]
        defining = next((cls for cls in type(inputs).__mro__ if FROM_LIST in vars(cls)), None)
        return some if defining is None or not isinstance(some, list) else getattr(defining, FROM_LIST)(some)

    @override
    def batches(self, inputs: Any) -> list[slice]:
        """Return slices of inputs that are made of arrays of the same shapes; what is unknown stands alone."""
        return runs_of(self._shapes(inputs, place) for place in range(self.size(inputs)))

    def _shapes(self, inputs: Any, place: int) -> Any:
        arrays = arrays_within(self.select(inputs, slice(place, place + 1)))
        return place if arrays is None else [tuple(array.shape) for array in arrays]

    @override
    def move(self, inputs: Any, matrices: Any) -> NoReturn:
        raise ProbeError(f"inputs of type {type(inputs).__name__} move in no way that is known; say so with action=…")

    @override
    def to(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Return inputs with their tensors on a device and in a dtype; arrays of other libraries stay as they are."""

        def to(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                return leaf.to(device=device, dtype=dtype if leaf.is_floating_point() else None)
            return leaf.to(device) if device is not None and hasattr(leaf, "to") else leaf

        return tree_map(to, inputs)

    @override
    def dtype_name(self, inputs: Any) -> str:
        """Return that of the first numbers; the finest where there are none that are known."""
        leaves = [leaf for leaf in tree_leaves(inputs) if is_array_api_obj(leaf) and is_floating(leaf)]
        return super().dtype_name(leaves[0]) if leaves else "float64"


ANYTHING = Anything()


def arrays_within(inputs: Any) -> list[Any] | None:
    """Return the arrays in lists, tuples and dictionaries at any depth, or the numbers where there are no arrays.

    None where there is anything else, or nothing.
    """
    found, numbers = list[Any](), list[Any]()
    for leaf in tree_leaves(inputs):
        if _is_nested(leaf):
            found.extend(leaf.unbind())
        elif is_array_api_obj(leaf):
            found.append(leaf)
        elif isinstance(leaf, (int, float)):
            numbers.append(np.asarray(leaf, dtype=np.float64))
        elif not isinstance(leaf, CONSTANTS):
            return None
    return found or numbers or None


def _is_of_members(inputs: Any) -> bool:
    return isinstance(inputs, Mapping) or type(inputs) is tuple


def _is_nested(inputs: Any) -> bool:
    return isinstance(inputs, torch.Tensor) and inputs.is_nested
