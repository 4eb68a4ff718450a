"""Models built from what a file says of them, within what the file itself could fill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["TooLargeError", "bounded_by"]

#: How much more may be made than a file holds, and how much in any case: buffers, initial values, what is thrown away.
FACTOR, NUMBERS, CALLS = 64, 20_000_000, 20_000


class TooLargeError(Exception):
    """More was to be made than the tensors of the file could fill."""


@contextmanager
def bounded_by(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Stop the building of a model that grows far beyond the tensors that are to fill it.

    A header of some bytes can ask for a million blocks, or for layers of any width. Numbers are counted before they
    get memory, and calls of torch as well, as blocks take time also where they are small.

    Parameters
    ----------
    tensors
        The tensors of the file.

    Raises
    ------
    TooLargeError
        It does.

    Examples
    --------
    >>> with bounded_by([torch.zeros(8, 8)]):
    ...     layer = torch.nn.Linear(8, 8)
    >>> with bounded_by([torch.zeros(8, 8)]):
    ...     layer = torch.nn.Linear(10**9, 10**9)
    Traceback (most recent call last):
    jetsym.allocation.TooLargeError: it asks for 1000000000000000000 numbers at once, and the file has 64
    """
    held = [tensor.numel() for tensor in tensors]
    with _Counted(sum(held), len(held)):
        yield


class _Counted(TorchDispatchMode):
    """Counts what torch makes while it is on."""

    def __init__(self, numbers: int, tensors: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held, self._made, self._calls = numbers, 0, 0
        self._most_numbers, self._most_calls = NUMBERS + FACTOR * numbers, CALLS + FACTOR * tensors

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = _asked(args)
        if asked > self._most_numbers:
            raise TooLargeError(f"it asks for {asked} numbers at once, and the file has {self._held}")
        found = func(*_with_tensors(func, args), **(kwargs or {}))
        self._calls += 1
        if isinstance(found, Tensor) and asked:
            self._made += asked
        if self._made > self._most_numbers or self._calls > self._most_calls:
            raise TooLargeError(f"it grows far beyond the {self._held} numbers of the file")
        return found


def _with_tensors(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with tensors where the operator takes these: numbers of compiled code arrive as Python's own."""
    takes = [str(argument.type) == "Tensor" for argument in func._schema.arguments]
    return tuple(
        torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
        if takes_tensor and isinstance(value, bool | int | float)
        else value
        for value, takes_tensor in zip(args, takes, strict=False)
    )


def _asked(args: tuple[Any, ...]) -> int:
    """Return how many numbers an operator that takes a shape first is asked for; 0 of any other."""
    shape = args[0] if args else None
    if isinstance(shape, int) and not isinstance(shape, bool):
        return int(shape)
    if isinstance(shape, list | tuple | torch.Size) and shape and all(isinstance(one, int) for one in shape):
        return prod(shape)
    return 0
