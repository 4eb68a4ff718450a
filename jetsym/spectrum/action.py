"""What a domain tells of how a group acts on its inputs, and of what in them may break a symmetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Action", "Measurand", "Source"]


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


class Measurand(NamedTuple):
    """A model as a domain measures it.

    Parameters
    ----------
    model
        What is called with the inputs: the model itself, or a wrapper of it.
    outputs
        Output name -> kind, as for :func:`jetsym.probe`.
    notes
        What a reader of a report must know about the model.
    """

    model: Any
    outputs: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Source(NamedTuple):
    """One thing that may break a symmetry, and how to measure a model without it, or with it.

    Parameters
    ----------
    name
        What it is called.
    change
        What is done to switch it, in a few words.
    adds
        Whether the change switches it on. Otherwise it is part of the measurement as it is, and switched off.
    inputs
        Inputs to take in place of the others; None keeps them.
    model
        A model to take in place of the other; None keeps it.
    before
        ``before(inputs)``: what happens to inputs after they were moved, on their way into the model.
    """

    name: str
    change: str
    adds: bool = False
    inputs: Any = None
    model: Any = None
    before: Callable[[Any], Any] | None = None
