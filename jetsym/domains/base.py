"""Domains: how a group acts on inputs of one kind, and what in them may break a symmetry."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.symmetry import Symmetry

__all__ = ["Action", "Domain", "Measurand", "Source", "runs_of"]


class Action(NamedTuple):
    """The action of a group on the inputs of a domain.

    Parameters
    ----------
    move
        ``move(inputs, elements)``: every input under n elements, or under n of its own, as n · samples inputs, element
        by element. Elements of compact groups are matrices (n, 3, 3) or (n, samples, 3, 3); boosts are rapidities (n,).
    on_outputs
        Whether outputs that are vectors or tensors turn with the same matrices. Otherwise only invariant ones have a
        law that is known.
    note
        What a reader of a report must know about it.
    back
        ``back(inputs, elements, outputs)``: what outputs that are four-vectors (n, samples, …, 4) are where they have
        a law, given the inputs before they moved: where these are at rest, so that they turn with the matrices, or
        where they were before a boost, so that they stay. None where their law is not known, or that in the lab.
    """

    move: Callable[[Any, Any], Any]
    on_outputs: bool
    note: str
    back: Callable[[Any, Any, Any], Any] | None = None


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
        Inputs to take in place of the others; None keeps them. Of a move a function that makes them.
    model
        A model to take in place of the other; None keeps it.
    before
        ``before(inputs)``: what happens to inputs after they were moved, on their way into the model.
    is_move
        Whether the change is a move itself, beside those of the group, which half of all evaluations then have: it
        counts by what it changes, not by what it breaks of the group. Measured only where it is named.
    least
        Relative A below which such a move, of some small size, says nothing of its limit.
    """

    name: str
    change: str
    adds: bool = False
    inputs: Any = None
    model: Any = None
    before: Callable[[Any], Any] | None = None
    is_move: bool = False
    least: float = 0.0


class Domain(ABC):
    """The knowledge of one kind of inputs: how they are read, counted, batched and moved.

    A subclass says how its inputs are loaded and how O(3) moves them in the lab. All else has a default, for inputs
    that have ``len()``, slices and a ``dtype``, no padding, and no Lorentz transformations. A domain is refused when it
    is made, if it lacks one of the two, or if one of its methods cannot be called as the one here.

    Raises
    ------
    ProbeError
        A method is missing, or takes other arguments.

    Examples
    --------
    >>> class Angles(Domain):
    ...     def load(self, source, *, limit, model):
    ...         return source[:limit]
    >>> Angles()
    Traceback (most recent call last):
    jetsym.errors.ProbeError: the domain Angles has no move(inputs, matrices); it must say this itself
    """

    #: What an output is when nobody says so: name -> kind.
    outputs: Mapping[str, Any] = {}
    #: Names of axes that each input has of its own: that of the jet, or a random one.
    own_axes: Sequence[str] = ()
    #: What a reader of a report must know about any action on these inputs, and about rotations in the lab.
    notes: Sequence[str] = ()
    lab_note: str = "The group acts in the frame of the inputs."
    #: How these inputs move, for an error that refuses another way.
    reach: str = "these inputs move under rotations and reflections in the lab"

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse a domain that lacks a method, or has one that cannot be called as it should."""
        for name, method in inspect.getmembers(Domain, inspect.isfunction):
            if name.startswith("_"):
                continue
            wanted = inspect.signature(method).parameters.values()
            fixed = isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))
            by_position = [p.name for p in wanted if p.kind is not p.KEYWORD_ONLY]
            by_name = [p.name for p in wanted if p.kind is p.KEYWORD_ONLY]
            call = f"{name}({', '.join([*by_position[1:], *['*'][: len(by_name)], *by_name])})"
            if getattr(getattr(cls, name), "__isabstractmethod__", False):
                raise ProbeError(f"the domain {cls.__name__} has no {call}; it must say this itself")
            try:
                inspect.signature(getattr(cls, name)).bind(*by_position[fixed:], **dict.fromkeys(by_name))
            except TypeError as error:
                raise ProbeError(
                    f"the method {name} of the domain {cls.__name__} cannot be called as it should ({error}); expected "
                    f"{call}"
                ) from None
        return super().__new__(cls)

    @abstractmethod
    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Return inputs for a model from what the user gave, at most ``limit`` of them."""

    @abstractmethod
    def move(self, inputs: Any, matrices: Any) -> Any:
        """Move every input by n elements of O(3) in the lab (n, 3, 3), or (n, samples, 3, 3) of its own."""

    def load_model(self, path: str | Path) -> Any:
        """Return the model of a run folder or checkpoint."""
        raise ProbeError(f"model is {str(path)!r}, but no model for these inputs can be loaded from a path; give it")

    def load_initial(self, path: str | Path) -> Any:
        """Return the model of a run as it was before its first step."""
        raise ProbeError(f"the run {str(path)!r} keeps no weights of step 0; give another baseline")

    def prepare(self, model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
        """Return a model as it is measured here, with the kinds of its outputs (None: nobody says what they are)."""
        return Measurand(model, self.outputs if outputs is None else outputs)

    def wrap(self, model: Any, inputs: Any) -> Any:
        """Return a model as a function of such inputs, which are only looked at, where it is none by itself."""
        return model

    def facts(self, model: Any) -> dict[str, Any]:
        """Return what a report says of a model that was measured: "calls" of it, and "units" of its outputs by name."""
        return {}

    def remarks(self, model: Any) -> list[str]:
        """Return what a reader must know of a model when it has been measured; it may be asked once more for that."""
        return []

    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Any, Sequence[Source]]:
        """Return the inputs as :meth:`load` does, and what in them or in the model may break a symmetry."""
        return self.load(source, limit=limit, model=model), ()

    def other_moves(self) -> Mapping[str, Callable[..., Any]]:
        """Return moves that are no group, by name: ``move(inputs, size, generator=…, …)``, a torch generator."""
        return {}

    def with_room(self, inputs: Any) -> Any:
        """Return inputs with place for a point more."""
        return inputs

    def targets(self, source: Any, inputs: Any, *, outputs: Mapping[str, Any], model: Any) -> Mapping[str, Any]:
        """Return what outputs, by name and kind, should be: a row for each input, as these or their source say."""
        return {}

    def with_moves(self, moves: Mapping[Any, Any] | None, arguments: Sequence[str]) -> Domain:
        """Return the domain with what a caller says of arrays that move, and with names of the model's arguments."""
        if moves is not None:
            raise ProbeError(f"moves={moves!r} goes with arrays; {self.reach}: leave it out")
        return self

    def what_moves(self, inputs: Any) -> Mapping[str, str]:
        """Return, where inputs are of several kinds, their names and how each moves, or "held fixed"."""
        return {}

    def settled(self, inputs: Any, outputs: Callable[[Any], Mapping[str, Any]]) -> Domain:
        """Return the domain with what the outputs of a model for a few inputs tell of them, such as which are masks."""
        return self

    def size(self, inputs: Any) -> int:
        """Return the number of inputs."""
        return len(inputs)

    def select(self, inputs: Any, selection: slice) -> Any:
        """Return some of the inputs."""
        return inputs[selection]

    def batches(self, inputs: Any) -> Sequence[slice]:
        """Return slices that cover the inputs, of those whose responses have the same shapes: they share a pass."""
        return (slice(0, self.size(inputs)),)

    def max_evaluations(self, inputs: Any) -> int:
        """Return how many evaluations of any of these inputs main memory holds at once, by what models need inside."""
        return sys.maxsize

    def spacing(self, model: Any, name: str) -> float:
        """Return the relative spacing of the numbers of an output, where a model knows it better than they show."""
        return 0.0

    def most_calls(self, inputs: Any) -> int | None:
        """Return how many evaluations may be made in all without being asked for, where each is dear; None for any."""
        return None

    def few(self, inputs: Any) -> Sequence[int] | None:
        """Return which inputs stand for all in what is measured beside the orbit, where evaluations are dear."""
        return None

    def holds(self, inputs: Any, name: str) -> Any:
        """Return (samples,) bool of the inputs that have an output (samples, 1, …) at all; None where all do."""
        return None

    def lacks(self, inputs: Any) -> Any:
        """Return (samples,) bool of inputs for which some layers need not run, such as atoms without neighbours.

        They are left out of these layers alone. None where all layers run for all inputs.
        """
        return None

    def named(self, inputs: Any, place: int) -> str:
        """Return what an input is called in notes, counted from 0."""
        return f"input {place}"

    def baselines(self, inputs: Any, name: str) -> Any:
        """Return labels (samples or tokens,) of inputs between which an output has a zero in common.

        Energies are known up to one for every composition: they are compared with their mean over it. None for outputs
        with a zero of their own.
        """
        return None

    def act(self, inputs: Any, symmetry: Symmetry, *, seed: int) -> tuple[Any, Action]:
        """Return inputs ready for a symmetry, and how it acts on them; the seed is that of random directions."""
        if symmetry.is_at_rest:
            self.refuse(f"frame={symmetry.frame!r}")
        if symmetry.axis in ("jet", "random"):
            self.refuse(f"axis={symmetry.axis!r}")
        if symmetry.named.on_four_vectors:
            return inputs, Action(self.transform, False, self.lab_note)
        if not symmetry.is_compact:
            self.refuse(f"group={symmetry.group!r}")
        return inputs, Action(self.move, True, self.lab_note)

    def transform(self, inputs: Any, matrices: Any) -> Any:
        """Move every input by n matrices on (E, px, py, pz), (n, 4, 4), or (n, samples, 4, 4) of its own."""
        self.refuse("a Lorentz transformation")

    def generators(self, inputs: Any, axes: str) -> Any:
        """Return the generators J_x … K_z (6, 1 or samples, 4, 4), along the axes of the "beam" or the "jet"."""
        self.refuse("a Lorentz transformation")

    def with_tangents(self, inputs: Any, generators: Any) -> Any:
        """Return k · samples inputs with X p as forward-mode tangents of momenta p, for X (k, 1 or samples, 4, 4)."""
        self.refuse("a Lorentz transformation")

    def to(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Return inputs on a torch device and in a torch dtype (None: as they are)."""
        return inputs

    def mask(self, inputs: Any) -> Any:
        """Return (samples, tokens) bool, True for real tokens; None where inputs have no padding."""
        return None

    def slots(self, inputs: Any) -> int | None:
        """Return how many points each input has place for; None where they are not made of points, or none move."""
        return None

    def rearrange(self, inputs: Any, places: Any) -> Any:
        """Return inputs with their points in other slots: places (samples, slots) are those they come from, −1 none."""
        self.refuse("another order of the points")

    def is_same(self, inputs: Any, others: Any) -> NDArray[np.bool_]:
        """Return (samples,) whether inputs of one shape are the same, point by point; False where that is not told."""
        return np.zeros(self.size(inputs), dtype=bool)

    def dtype_name(self, inputs: Any) -> str:
        """Return the name of the floating-point type of the inputs, such as "float32"."""
        return str(inputs.dtype).rpartition(".")[2]

    def refuse(self, what: str) -> NoReturn:
        """Refuse what these inputs have no law for."""
        raise ProbeError(f"{what} needs jets; {self.reach}")


def runs_of(shapes: Iterable[Any]) -> list[slice]:
    """Return slices of inputs that follow each other with the same shapes.

    Examples
    --------
    >>> runs_of([(3, 3), (3, 3), (5, 3)])
    [slice(0, 2, None), slice(2, 3, None)]
    """
    found, start = list[slice](), 0
    for _, alike in groupby(shapes):
        stop = start + len(list(alike))
        found.append(slice(start, stop))
        start = stop
    return found
