"""What a domain tells of how a group acts on its inputs, and of what in them may break a symmetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Action", "Domain", "Measurand", "Source"]


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


class Domain(Protocol):
    """What the module of a domain offers."""

    #: What a reader of a report must know about any action on these inputs.
    NOTES: Sequence[str]

    def measured(self, model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
        """A model as it is measured here, with the kinds of its outputs (None: nobody says what they are)."""

    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Inputs for a model from what the user gave (None: the bundled sample), at most ``limit`` of them."""

    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Any, Sequence[Source]]:
        """The inputs as :meth:`load` gives them, and what in them or in the model may break a symmetry."""

    def size(self, inputs: Any) -> int:
        """Number of inputs."""

    def take(self, inputs: Any, selection: slice) -> Any:
        """Some of the inputs."""

    def batches(self, inputs: Any) -> Sequence[slice]:
        """Inputs that may share a forward pass, as their responses have the same shapes: slices that cover them all."""

    def at_once(self, inputs: Any) -> int:
        """Evaluations of any of these inputs that main memory should hold in one pass, by what models need inside."""

    def move(self, inputs: Any, matrices: Any) -> Any:
        """Every input under n elements of O(3) in the lab (n, 3, 3), or (n, samples, 3, 3) of its own."""

    def act(self, inputs: Any, *, group: str, frame: str, axis: Any, seed: int) -> tuple[Any, Action]:
        """The action of a group ("SO2", "SO3", "O3", "boost") in a frame or about an axis, and inputs ready for it."""

    def transform(self, inputs: Any, matrices: Any) -> Any:
        """Every input under n Lorentz matrices (n, 4, 4), or (n, samples, 4, 4) of its own."""

    def generators(self, inputs: Any, axes: str) -> Any:
        """The generators J_x, J_y, J_z, K_x, K_y, K_z (6, 1 or samples, 4, 4), along the "beam" or the "jet"."""

    def tilted(self, inputs: Any, generators: Any) -> Any:
        """k · samples inputs with X p as forward-mode tangents of their momenta p, for generators (k, 1 or B, 4, 4)."""

    def place(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Inputs on a torch device and in a torch dtype (None: as they are)."""

    def mask(self, inputs: Any) -> Any:
        """(samples, tokens) bool, True for real tokens; None where inputs have no padding."""

    def dtype_name(self, inputs: Any) -> str:
        """Name of the floating-point type of the inputs, such as "float32"."""
