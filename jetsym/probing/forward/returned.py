"""What a forward pass returned: its arrays, what they are called, and how others are put in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import torch
from array_api_compat import array_namespace, is_array_api_obj, is_torch_array
from torch.autograd import forward_ad

from jetsym.errors import ProbeError

__all__ = ["Returned", "changed_leaves", "detached", "flatten_outputs", "is_floating", "is_transformed"]


class Returned:
    """The leaves of what a model returned: arrays of floating-point numbers, by name, and the rest.

    A single array is called "output". Mappings, named tuples and dataclasses give the names of their entries; tuples
    and lists count from ``output.0``. What lies deeper is called ``name.key``.

    Parameters
    ----------
    returned
        What the model returned; its arrays are not kept beyond :attr:`arrays`.

    Attributes
    ----------
    arrays
        Name -> array of floating-point numbers, complex ones as well.
    others
        Name -> what it is, in a few words.
    is_named
        Whether what was returned has names of its own.

    Raises
    ------
    ProbeError
        There is no floating-point array.

    Examples
    --------
    >>> returned = Returned({"energy": torch.ones(2), "parts": (torch.zeros(2), None), "loss": 0.5})
    >>> list(returned.arrays), returned.others
    (['energy', 'parts.0'], {'parts.1': 'None', 'loss': 'a float'})
    >>> returned.with_arrays({"energy": 1, "parts.0": 2})
    {'energy': 1, 'parts': (2, None), 'loss': None}
    """

    def __init__(self, returned: Any) -> None:
        parts = _parts(returned)
        self.is_named = parts is not None and not _is_counted(returned)
        leaves = _leaves(returned, "" if self.is_named else "output")
        self.arrays = {name: leaf for name, leaf in leaves.items() if is_floating(leaf)}
        self.others = {name: _words(leaf) for name, leaf in leaves.items() if name not in self.arrays}
        if not self.arrays:
            what = type(returned).__name__ if parts is not None else _words(returned)
            raise ProbeError(
                f"the model returned {what}, which holds no floating-point array; say with call=… how to get one from "
                "it"
            )
        self._names = list(leaves)
        self._empty = _with_leaves(returned, repeat(None))

    @property
    def is_single(self) -> bool:
        """Whether there is one array, which has no name of its own."""
        return not self.is_named and len(self.arrays) == 1

    def rename(self, name: str) -> None:
        """Give the single array that has no name of its own another one."""
        (old,) = self.arrays
        self.arrays = {name: self.arrays[old]}
        self._names = [name if known == old else known for known in self._names]

    def with_arrays(self, arrays: Mapping[str, Any]) -> Any:
        """Return what the model did, with other arrays, and None for what was no floating-point array."""
        return _with_leaves(self._empty, iter([arrays.get(name) for name in self._names]))


def flatten_outputs(output: Any, name: str) -> dict[str, Any]:
    """Name the arrays of an output as :class:`Returned` does, below a name; the rest is skipped."""
    return {label: leaf for label, leaf in _leaves(output, name).items() if is_array_api_obj(leaf)}


def changed_leaves(output: Any, change: Callable[[Any], Any]) -> Any:
    """Return an output with every leaf changed; containers stay of their kind.

    Examples
    --------
    >>> changed_leaves({"energy": 1, "parts": (2, None)}, lambda leaf: leaf and 10 * leaf)
    {'energy': 10, 'parts': (20, None)}
    """
    return _with_leaves(output, map(change, _leaves(output, "").values()))


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """Return names and parts of what a container holds; None for what is none."""
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        names = () if _is_counted(value) else _fields(value)
        return list(zip(names or map(str, range(len(value))), value, strict=True))
    if isinstance(value, type) or is_array_api_obj(value):
        return None
    names = _attributes(value)
    return [(name, getattr(value, name, None)) for name in names] if names else None


def _attributes(value: Any) -> Sequence[str]:
    """Return the names of what a dataclass holds, one of attrs or pydantic, or a plain namespace."""
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    kind = type(value)
    by_attrs = [field.name for field in getattr(kind, "__attrs_attrs__", ())]
    return by_attrs or list(getattr(kind, "model_fields", ())) or list(vars(value) if kind is SimpleNamespace else ())


def _fields(value: Any) -> Sequence[str]:
    """Return the names of the entries of a tuple; torch names those of its own, such as of ``max``, otherwise."""
    kind = type(value)
    by_torch = getattr(kind, "__match_args__", ()) if hasattr(kind, "n_fields") else ()
    names: Sequence[str] = getattr(kind, "_fields", by_torch)
    return names


def _is_counted(value: Any) -> bool:
    """Return whether the entries of a container have no names, but places."""
    return isinstance(value, (list, tuple)) and not _fields(value)


def _leaves(value: Any, name: str) -> dict[str, Any]:
    """Name what a container holds that is none itself; a name that is there already gets a number."""
    parts = _parts(value)
    if parts is None:
        return {name: value}
    found: dict[str, Any] = {}
    for key, part in parts:
        for label, leaf in _leaves(part, f"{name}.{key}" if name else key).items():
            times = next(n for n in range(1, len(found) + 2) if (f"{label}@{n}" if n > 1 else label) not in found)
            found[f"{label}@{times}" if times > 1 else label] = leaf
    return found


def _with_leaves(value: Any, leaves: Iterator[Any]) -> Any:
    """Return a copy of what was returned with other leaves, in the order of :func:`_leaves`."""
    parts = _parts(value)
    if parts is None:
        return next(leaves)
    new = [_with_leaves(part, leaves) for _, part in parts]
    if type(value) is dict or (isinstance(value, Mapping) and not isinstance(value, dict)):
        return dict(zip(value, new, strict=True))
    if isinstance(value, (list, tuple)):
        return type(value)._make(new) if hasattr(value, "_make") else type(value)(new)
    changed = copy.copy(value)
    if isinstance(value, Mapping):
        changed.update(zip(value, new, strict=True))
        return changed
    for (name, _), part in zip(parts, new, strict=True):
        object.__setattr__(changed, name, part)  # of frozen dataclasses as well
    return changed


def _words(leaf: Any) -> str:
    """Say what is no array of floating-point numbers."""
    if leaf is None:
        return "None"
    if is_array_api_obj(leaf):
        layout = getattr(leaf, "layout", torch.strided)
        sparse = "" if layout == torch.strided else f"{layout} ".removeprefix("torch.")
        return f"{sparse}{str(leaf.dtype).rpartition('.')[2]} numbers"
    name = type(leaf).__name__
    return f"a{'n' if name[0].lower() in 'aeiou' else ''} {name}"


def is_floating(array: Any) -> bool:
    """Return whether something is an array of real or complex floating-point numbers, all of which are there."""
    if not is_array_api_obj(array) or (is_torch_array(array) and (array.layout != torch.strided or array.is_nested)):
        return False
    try:
        return bool(array_namespace(array).isdtype(array.dtype, ("real floating", "complex floating")))
    except (TypeError, ValueError):  # of objects, or types of numbers that no standard knows
        return False


def is_transformed(array: Any) -> bool:
    """Return whether an array is what a function of torch.func, such as vmap or grad, gives to what it transforms."""
    return isinstance(array, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(array)


def detached(array: Any) -> Any:
    """Return an array without the graph behind it; the tangent of a dual number stays."""
    if not is_torch_array(array) or not array.requires_grad:
        return array
    primal, tangent = forward_ad.unpack_dual(array)
    return primal.detach() if tangent is None else forward_ad.make_dual(primal.detach(), tangent.detach())
