"""What a domain tells of how a group acts on its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Action"]


class Action(NamedTuple):
    """How a group acts on the inputs of a domain.

    Parameters
    ----------
    move
        ``move(inputs, elements)``: every input under n elements, or under n of its own, as n · samples inputs, element
        by element. Elements of O(3), SO(3) and SO(2) are matrices (n, 3, 3) or (n, samples, 3, 3); boosts are
        rapidities (n,).
    on_outputs
        Whether outputs that are vectors or tensors turn with the same matrices. Otherwise only invariant ones have a
        law that is known.
    note
        What a reader of a report must know about it.
    """

    move: Callable[[Any, Any], Any]
    on_outputs: bool
    note: str
