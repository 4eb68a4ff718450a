"""Dependence: which layers the outputs are read from, found by disturbing what layers return.

The order in which layers run does not say what an output depends on: a branch that runs last may hardly count. So a few
inputs are evaluated again with noise of a small size ε on what one layer returns. The gain of an output is its relative
change over ε: 0 where it does not depend on the layer, about 1 where it is linear in it. With all later layers held at
what they were, what is left of the gain is what reaches the output past them: the layers of which something is left are
its readout.

One forward pass for each layer is the square of their number in all. Where there are more than :data:`MANY`, the gains
are those of infinitely small noise, by :mod:`jetsym.probing.measure.slopes`, as far as disturbing groups of layers
confirms them, and noise on all layers at once tells which of them no other changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.errors import is_out_of_memory
from jetsym.probing.forward.layers import Layered
from jetsym.probing.forward.returned import changed_leaves, flatten_outputs
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.reproducibility import as_numbers
from jetsym.probing.measure.slopes import Change, confirmed, moved_by_others, slopes_of

__all__ = ["measure_dependence"]

#: Inputs that are evaluated again, and the noise on a layer over its root-mean-square size.
FEW, NOISE = 4, 2.0**-4
#: The relative change of a response that is more than rounding in the coarsest precision.
MOVED = 2.0**-12
#: Layers that are disturbed one after the other, each in a pass of its own; more of them are differentiated.
MANY = 48

#: Layer or output -> what it is, with zeros for what is padding.
Numbers = dict[str, NDArray[Any]]


@dataclass
class Meddling:
    """The layers of a module, which return what they are told while it runs."""

    label: Callable[[str], str]
    changes: Mapping[str, Change] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, changes: Mapping[str, Change]) -> None:
        """Say what layers are to return in the next forward pass."""
        self.changes, self.seen = changes, {}

    def hook(self, name: str, output: Any) -> Any:
        """Return what a layer that has returned ``output`` is to return, by the names of a record of layers."""
        named = flatten_outputs(output, self.label(name))
        arrays = {key: array for key, array in named.items() if isinstance(array, Tensor)}
        wanted = {id(array): self.changes[key] for key, array in arrays.items() if key in self.changes}
        if not wanted:
            if not self.changes:
                self.seen |= {key: array.clone() for key, array in arrays.items()}
            return None
        return changed_leaves(output, lambda leaf: wanted[id(leaf)](leaf) if id(leaf) in wanted else leaf)


@contextmanager
def meddled(layers: Mapping[str, nn.Module], label: Callable[[str], str]) -> Iterator[Meddling]:
    """Change what the given modules return, from entry to exit; the hooks are removed whatever happens."""
    meddling = Meddling(label)

    def hook_for(name: str) -> Any:
        return lambda module, arguments, output: meddling.hook(name, output)

    handles = [module.register_forward_hook(hook_for(name)) for name, module in layers.items()]
    try:
        yield meddling
    finally:
        for handle in handles:
            handle.remove()


def measure_dependence(session: Session, inputs: Any, elements: NDArray[np.float64]) -> dict[str, Any]:
    """Find out which layers each output depends on, and from which it is read.

    Parameters
    ----------
    session, inputs
        An open and settled session, and all its inputs, of which a few are looked at.
    elements
        (1, …) an element of the group.

    Returns
    -------
    Nothing where there are no layers, or where a model says what they are; otherwise

    embeddings
        Layers that no earlier layer changes.
    outputs
        Output -> "through": layer -> gain; "readout": layer -> gain with all later layers held; "nonlinear": layer of
        the readout -> the part of the change that is even in the noise, 0 for a linear head; "past": the relative
        change of the output along the group with all layers held, which reaches it past them.
    """
    if not isinstance(session.model, nn.Module) or isinstance(session.model, Layered) or not session.layers:
        return {}
    some = session.domain.select(
        inputs, slice(0, min(FEW, session.evaluations, session.domain.batches(inputs)[0].stop))
    )
    session.along(some, np.eye(3)[None])  # by which it is known what is read
    with meddled(session.modules, session.label) as meddling:
        return _Experiment(session, some, meddling).result(elements)


class _Experiment:
    """A few inputs, evaluated with layers disturbed or held."""

    moved = MOVED

    def __init__(self, session: Session, inputs: Any, meddling: Meddling) -> None:
        self._session, self._inputs, self._meddling = session, inputs, meddling
        self.usual: Mapping[str, NDArray[Any]] = self._responses({})
        self._layers = [name for name in self.usual if name not in session.outputs and name in meddling.seen]
        self.held: Mapping[str, Tensor] = {name: meddling.seen[name] for name in self._layers}
        self._generator = torch.Generator().manual_seed(session.seed)
        self._noise = {name: _noise_like(array, self._generator) for name, array in self.held.items()}

    def result(self, elements: NDArray[np.float64]) -> dict[str, Any]:
        """Return what :func:`measure_dependence` gives."""
        if not self._layers:
            return {}
        first, gains = self._many() if len(self._layers) > MANY else self._one_by_one()
        direct = self._direct()
        past = self._changes({name: self._kept(name) for name in self._layers}, elements)
        even = {name: self._even_part(name) for name in direct if any(direct[name].values())}
        return {
            "embeddings": first,
            "outputs": {
                output: {
                    "through": {name: gains[name][output] for name in self._layers},
                    "readout": {name: direct[name][output] for name in self._layers if name in direct},
                    "nonlinear": {name: even[name][output] for name in self._layers if name in even},
                    "past": past[output] if past else 0.0,
                }
                for output in self._session.outputs
            },
        }

    def _one_by_one(self) -> tuple[list[str], dict[str, dict[str, float]]]:
        """Return the layers that no earlier layer changes, and the gains of the outputs by every layer."""
        gains = {name: self._gains({name: self._disturbed(name)}) for name in self._layers}
        first = [
            name
            for place, name in enumerate(self._layers)
            if not any(gains[earlier][name] * NOISE > MOVED for earlier in self._layers[:place])
        ]
        return first, gains

    def _many(self) -> tuple[list[str], dict[str, dict[str, float]]]:
        """Return the same with few passes: by noise on all layers at once, and by derivatives as far as they hold.

        What a layer returns before its own noise is added has moved where an earlier one, of those, changes it.
        """
        moved = moved_by_others(self)
        if moved is None:
            return self._one_by_one()
        slopes = None
        if not self._session.differentiates:  # whose graph is its own
            slopes = slopes_of(self, np.random.default_rng(self._session.seed))
        known = set(self._layers if slopes else ())
        for output, one in (slopes or {}).items():
            known.intersection_update(confirmed(self, output, one))
        gains = {}
        for name in self._layers:
            if slopes and name in known:
                sizes = {output: one.sizes[name] for output, one in slopes.items()}
                gains[name] = {output: size if size * NOISE > MOVED else 0.0 for output, size in sizes.items()}
            else:
                gains[name] = self._of_outputs(self._gains({name: self._disturbed(name)}))
        return [name for name in self._layers if not moved[name]], gains

    def noise(self, name: str, array: Tensor) -> Tensor:
        """Return the noise on what a layer returned."""
        noise = self._noise[name]
        if noise.shape != array.shape:  # of a model that trims otherwise in every pass
            noise = _noise_like(array, self._generator)
        return noise

    def run(self, changes: Mapping[str, Change]) -> dict[str, Any]:
        """Return the outputs with layers changed, as the model returns them."""
        self._meddling.begin(changes)
        found = self._session.along(self._inputs, np.eye(3)[None])
        return {output: found[output] for output in self._session.outputs}

    def numbers(self, outputs: Mapping[str, Any]) -> Numbers:
        """Return outputs in double precision, with zeros for what is padding."""
        return as_numbers(self._session, self._inputs, dict(outputs))

    def _direct(self) -> dict[str, dict[str, float]]:
        """Return the gains of the outputs by each layer with all later ones held, from the last one backwards.

        It ends where nothing earlier reaches them past the layers that are held.
        """
        found: dict[str, dict[str, float]] = {}
        for place in reversed(range(len(self._layers))):
            name, earlier = self._layers[place], self._layers[:place]
            later = {other: self._kept(other) for other in self._layers[place + 1 :]}
            found[name] = self._of_outputs(self._gains({**later, name: self._disturbed(name)}, unknown=0.0))
            rest = {**later, name: self._kept(name), **{other: self._disturbed(other) for other in earlier}}
            if not earlier or not any(self._of_outputs(self._gains(rest)).values()):
                break
        return found

    def _even_part(self, name: str) -> dict[str, float]:
        """Return how much of the outputs' change by a large disturbance is even in it, with later layers held."""
        later = {other: self._kept(other) for other in self._layers[self._layers.index(name) + 1 :]}
        ahead, back = (
            self._responses({**later, name: self._disturbed(name, sign / NOISE)}, careful=True) for sign in (1, -1)
        )
        result = {}
        for output in self._session.outputs:
            if ahead is None or back is None:
                result[output] = 1.0
                continue
            even = _size((ahead[output] + back[output]) / 2 - self.usual[output])
            odd = _size((ahead[output] - back[output]) / 2)
            result[output] = even / (even + odd) if even + odd else 0.0
        return result

    def _of_outputs(self, gains: Mapping[str, float]) -> dict[str, float]:
        return {output: gains[output] for output in self._session.outputs}

    def _gains(self, changes: Mapping[str, Change], *, unknown: float = 1.0) -> dict[str, float]:
        """Return the relative change of every response over that of the disturbed layers, 0 where rounding does it.

        ``unknown`` is that of a model that cannot compute with such layers.
        """
        found = self._changes(changes)
        if found is None:
            return dict.fromkeys(self.usual, unknown)
        return {name: change / NOISE if change > MOVED else 0.0 for name, change in found.items()}

    def _changes(
        self, changes: Mapping[str, Change], elements: NDArray[np.float64] | None = None
    ) -> dict[str, float] | None:
        """Return the relative change of every response where layers are changed, or the inputs moved as well."""
        found = self._responses(changes, elements, careful=True)
        if found is None:
            return None
        return {
            name: _size(found[name] - values) / size if (size := _size(values)) else float(found[name].any())
            for name, values in self.usual.items()
        }

    def _responses(
        self, changes: Mapping[str, Change], elements: NDArray[np.float64] | None = None, *, careful: bool = False
    ) -> Any:
        """Evaluate the model with layers changed; None, if asked for, where it cannot compute with them."""
        self._meddling.begin(changes)
        session, some = self._session, self._inputs
        try:
            found = session.along(some, np.eye(3)[None] if elements is None else elements)
            return as_numbers(session, some, found)
        except Exception as error:  # whatever a model raises where a layer returns what it never would
            if careful and not is_out_of_memory(error):
                return None
            raise

    def _kept(self, name: str) -> Change:
        return lambda array: self.held[name].clone() if array.shape == self.held[name].shape else array

    def _disturbed(self, name: str, times: float = 1.0) -> Change:
        def change(array: Tensor) -> Tensor:
            return self._kept(name)(array) + times * self.noise(name, array)

        return change


def _noise_like(array: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise for an array, :data:`NOISE` of its root-mean-square size."""
    dtype = torch.complex64 if array.is_complex() else torch.float32
    noise = torch.randn(array.shape, generator=generator, dtype=dtype)
    return NOISE * noise.to(array) * array.abs().square().mean().sqrt()


def _size(values: NDArray[Any]) -> float:
    return float(np.sqrt((np.abs(values) ** 2).mean())) if values.size else 0.0
