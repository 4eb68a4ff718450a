"""Keeping a probe within memory: what the estimators will hold, in how many passes, and what to do when it runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from array_api_compat import array_namespace, device

from jetsym.errors import ProbeError, is_out_of_memory

__all__ = [
    "MEMORY_BUDGET",
    "Piece",
    "Size",
    "evaluations_at_once",
    "largest",
    "passes",
    "room_beside",
    "within_memory",
]

T = TypeVar("T")


class Adaptive(Protocol):
    """A session or the like, whose evaluations per forward pass may be halved where it is adaptive."""

    evaluations: int

    @property
    def adaptive(self) -> bool:
        """The freedom to halve them."""


#: Bytes that the estimators of one pass may hold above the forward pass. It decides how many inputs travel together;
#: where one input alone needs more, its layers are measured in several passes over its orbit.
MEMORY_BUDGET = 2**30

#: Share of an accelerator's free memory that they may hold where that is more: there calls are dear, and many inputs at
#: once take fewer.
SHARE_OF_FREE = 1 / 8

#: Bytes of responses that one forward pass may leave in main memory, which ends without a warning. Where the
#: batch size is asked for, that is the caller's affair.
FORWARD_BUDGET = 2**31


@dataclass(frozen=True)
class Piece:
    """A layer or output, or the part from ``start`` to ``stop`` of one axis of its response."""

    name: str
    axis: int | None = None
    start: int = 0
    stop: int = 0

    def of(self, response: Any) -> Any:
        """Return this part of a response (elements, samples, features…)."""
        if self.axis is None:
            return response
        return response[(*[slice(None)] * self.axis, slice(self.start, self.stop))]


@dataclass(frozen=True)
class Size:
    """The memory that the response (elements, samples, features…) of a layer asks for.

    Parameters
    ----------
    shape
        Its shape.
    bytes
        What an estimator holds for one input.
    first_axis
        The first axis that may be split: behind the tokens, where padding is to be left out.
    """

    shape: tuple[int, ...]
    bytes: int
    first_axis: int = 2

    @classmethod
    def of(cls, response: Any, numbers: int, *, has_tokens: bool) -> Size:
        """Return the size of a response, from the real numbers that the estimator holds for one real feature."""
        xp = array_namespace(response)
        parts = 2 if xp.isdtype(response.dtype, "complex floating") else 1
        itemsize = max(4, xp.finfo(response.dtype).bits // 8)
        features = math.prod(response.shape[2:])
        return cls(tuple(response.shape), parts * itemsize * features * numbers, 3 if has_tokens else 2)


def passes(sizes: Mapping[str, Size], budget: int) -> list[list[Piece]]:
    """Distribute layers over as few passes as hold them within the budget, in their order; split what is too large.

    Parameters
    ----------
    sizes
        Size of the response of every layer and output.
    budget
        Bytes. A single feature that needs more has a pass of its own all the same.

    Examples
    --------
    >>> sizes = {"a": Size((9, 1, 4), 40), "b": Size((9, 1, 4), 40), "c": Size((9, 1, 4), 120)}
    >>> [[(piece.name, piece.start, piece.stop) for piece in group] for group in passes(sizes, 80)]
    [[('a', 0, 0), ('b', 0, 0)], [('c', 0, 2)], [('c', 2, 4)]]
    """
    groups: list[list[Piece]] = []
    held = 0
    for name, size in sizes.items():
        for piece, needed in _split(name, size, budget):
            if not groups or held + needed > budget:
                groups.append([])
                held = 0
            groups[-1].append(piece)
            held += needed
    return groups


def room_beside(responses: Iterable[Any]) -> int:
    """Return the bytes that the estimators may hold, from where responses are."""
    places = {str(device(x)) for x in responses if isinstance(x, torch.Tensor) and x.is_cuda}
    free = [torch.cuda.mem_get_info(place)[0] for place in places]
    return max(MEMORY_BUDGET, int(SHARE_OF_FREE * min(free, default=0)))


def largest(groups: Sequence[Sequence[Piece]], sizes: Mapping[str, Size]) -> int:
    """Return the bytes per input of the pass that needs most."""
    return max(sum(_bytes(piece, sizes[piece.name]) for piece in group) for group in groups)


def _split(name: str, size: Size, budget: int) -> Iterator[tuple[Piece, int]]:
    axes = range(size.first_axis, len(size.shape))
    if size.bytes <= budget or not axes:
        yield Piece(name), size.bytes
        return
    axis = max(axes, key=lambda place: size.shape[place])
    length = size.shape[axis]
    step = max(1, length * budget // size.bytes)
    for start in range(0, length, step):
        piece = Piece(name, axis, start, min(start + step, length))
        yield piece, _bytes(piece, size)


def _bytes(piece: Piece, size: Size) -> int:
    if piece.axis is None:
        return size.bytes
    return size.bytes * (piece.stop - piece.start) // size.shape[piece.axis]


def evaluations_at_once(responses: Iterable[Any]) -> int:
    """Return how many evaluations a forward pass may take, from the responses to one of them.

    Accelerators say when their memory is full, so that there is no need to be careful.

    Examples
    --------
    >>> evaluations_at_once([torch.zeros(1, 1, 1024, 1024)])
    512
    """
    on_cpu = [x for x in responses if str(device(x)).startswith("cpu")]
    needed: int = sum(math.prod(x.shape) * array_namespace(x).finfo(x.dtype).bits // 8 for x in on_cpu)
    return max(1, FORWARD_BUDGET // max(1, needed))


def within_memory(session: Adaptive, attempt: Callable[[], T]) -> T:
    """Return what an attempt gives, and halve the evaluations per pass as long as memory does not suffice.

    Raises
    ------
    ProbeError
        Memory does not suffice for the batch size that was asked for, or for a single evaluation.
    """
    while True:
        try:
            return attempt()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if not session.adaptive or session.evaluations == 1:
                advice = "a smaller l_max or fewer layers" if session.adaptive else "a smaller batch_size, or 'auto'"
                raise ProbeError(
                    f"memory does not suffice for batches of {session.evaluations} ({error}); choose {advice}"
                ) from error
        # Only here, as the error held the arrays of the attempt.
        release()
        session.evaluations //= 2


def release() -> None:
    """Give cached memory of an accelerator back."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
