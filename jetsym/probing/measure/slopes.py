"""Gains of outputs by many layers at once: from derivatives, which disturbing groups of layers has to confirm.

Noise on one layer after the other takes a forward pass through all layers for each of them. The derivatives of a few
random sums of an output with respect to all layers take one pass back for each sum instead. But they know nothing of
what cuts the graph (``.detach()``, numpy, an index), and only small changes. So layers are disturbed in groups as well,
about √n of them: where the sums change otherwise than the derivatives say, these are not believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import is_out_of_memory

__all__ = ["Change", "Layers", "Slopes", "confirmed", "moved_by_others", "slopes_of"]

Array = NDArray[np.float64]
T = TypeVar("T")
#: What is made of the array that a layer returned.
Change = Callable[[Tensor], Tensor]

#: Random sums of an output that are differentiated: gains are then known to some 10 %, as one draw of noise tells them.
SUMS = 8
#: The noise on a group of layers over that on one layer: so small that outputs change in proportion, with kinks such as
#: those of a maximum, or more, where rounding hides that.
SMALLER = (2.0**-9, 2.0**-5)
#: How much of the change of these sums derivatives may miss: less than what one layer of a group of 20 makes of it.
MISSED = 0.2
#: How much larger than the smallest the largest gain of a group may be.
ALIKE = 4.0


class Layers(Protocol):
    """Layers of a model, that can be disturbed while it runs on a few inputs."""

    #: Layer -> what it returned, and noise on it.
    held: Mapping[str, Tensor]
    #: Responses by name, outputs among them, in double precision, with zeros for what is padding.
    usual: Mapping[str, NDArray[Any]]
    #: The relative change of an array that is more than rounding.
    moved: float

    def noise(self, name: str, array: Tensor) -> Tensor:
        """Return the noise on what a layer returned."""

    def run(self, changes: Mapping[str, Change]) -> Mapping[str, Any]:
        """Return the outputs with layers changed, as the model returns them."""

    def numbers(self, outputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Return outputs as ``usual`` has them."""


@dataclass(frozen=True)
class Slopes:
    """Derivatives of random sums of an output with respect to all layers.

    Parameters
    ----------
    weights
        (sums, …) the random weights of the output's numbers.
    sizes
        Layer -> the expected change of the output by noise of the size of that layer, over the size of the output.
    changes
        Layer -> (sums,) how its noise changes every sum.
    """

    weights: Array
    sizes: Mapping[str, float]
    changes: Mapping[str, Array]


def moved_by_others(layers: Layers) -> dict[str, bool] | None:
    """Tell of every layer whether noise on all others changes it; None where the model cannot compute with that."""
    found = dict.fromkeys(layers.held, False)

    def change_of(name: str) -> Change:
        def change(array: Tensor) -> Tensor:
            held = layers.held[name]
            if array.shape != held.shape:
                found[name] = True
            else:  # what is not a number has moved as well
                found[name] = not float(torch.linalg.vector_norm(array - held)) <= layers.moved * float(
                    torch.linalg.vector_norm(held)
                )
            return array + layers.noise(name, array)

        return change

    ran = _tried(lambda: layers.run({name: change_of(name) for name in layers.held}))
    return None if ran is None else found


def slopes_of(layers: Layers, generator: np.random.Generator) -> dict[str, Slopes] | None:
    """Differentiate every output with respect to every layer; None where it cannot be done."""
    if any(held.is_complex() for held in layers.held.values()):
        return None
    return _tried(lambda: _slopes(layers, generator))


def _slopes(layers: Layers, generator: np.random.Generator) -> dict[str, Slopes] | None:
    with torch.enable_grad():
        shifts = {name: torch.zeros_like(held, requires_grad=True) for name, held in layers.held.items()}
        outputs = layers.run({name: partial(torch.add, other=shift) for name, shift in shifts.items()})
        if not all(isinstance(y, Tensor) and y.requires_grad and not y.is_complex() for y in outputs.values()):
            return None
        return {name: _slopes_of_output(layers, name, y, shifts, generator) for name, y in outputs.items()}


def _slopes_of_output(
    layers: Layers, output: str, y: Tensor, shifts: Mapping[str, Tensor], generator: np.random.Generator
) -> Slopes:
    weights, squares = [], dict.fromkeys(shifts, 0.0)
    changes: dict[str, list[float]] = {name: [] for name in shifts}
    for _ in range(SUMS):
        draw = torch.as_tensor(generator.standard_normal(tuple(y.shape))).to(y)
        weights.append(layers.numbers({output: draw})[output])  # 0 for padding
        given = torch.as_tensor(weights[-1]).to(y)
        found = torch.autograd.grad(y, list(shifts.values()), given, retain_graph=True, allow_unused=True)
        for (name, shift), slope in zip(shifts.items(), found, strict=True):
            slope = torch.zeros_like(shift) if slope is None else slope
            squares[name] += float(slope.double().square().sum()) / SUMS
            changes[name].append(float((slope.double() * layers.noise(name, shift)).sum()))
    size = float(np.linalg.norm(layers.usual[output]))
    of_layers = {name: float(held.double().square().mean().sqrt()) for name, held in layers.held.items()}
    return Slopes(
        np.stack(weights),
        {name: of_layers[name] * square**0.5 / size if size else 0.0 for name, square in squares.items()},
        {name: np.array(change) for name, change in changes.items()},
    )


def confirmed(layers: Layers, output: str, slopes: Slopes) -> Iterator[str]:
    """Yield the layers of all groups in which noise changes an output as the derivatives say."""
    for group in _alike(slopes.sizes):
        if any(_is_confirmed(layers, output, slopes, group, smaller * len(group) ** -0.5) for smaller in SMALLER):
            yield from group


def _alike(sizes: Mapping[str, float]) -> list[list[str]]:
    """Return groups of at most √n layers of about the same size, so that what is missed is not small beside the others.

    Examples
    --------
    >>> _alike({"a": 1.0, "b": 0.0, "c": 0.02, "d": 0.03, "e": 0.01})
    [['b'], ['e', 'c'], ['d'], ['a']]
    """
    groups: list[list[str]] = []
    for name in sorted(sizes, key=lambda name: sizes[name]):
        if groups and len(groups[-1]) < isqrt(len(sizes)) and sizes[name] <= ALIKE * sizes[groups[-1][0]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _is_confirmed(layers: Layers, output: str, slopes: Slopes, group: Sequence[str], share: float) -> bool:
    """Tell whether a share of the noise on each layer of a group changes the sums as the derivatives say.

    Where rounding changes them, it does not.
    """
    found = _tried(lambda: _disturbed(layers, group, share))
    if found is None:
        return False
    changed = slopes.weights.reshape(SUMS, -1) @ (found[output] - layers.usual[output]).ravel()
    expected = share * np.sum([slopes.changes[name] for name in group], axis=0)
    return bool(np.linalg.norm(changed - expected) <= MISSED * np.linalg.norm(expected))


def _disturbed(layers: Layers, group: Sequence[str], share: float) -> dict[str, NDArray[Any]]:
    """Return the outputs with a share of the noise on all layers of a group."""
    changes: dict[str, Change] = {
        name: lambda array, name=name: array + share * layers.noise(name, array)  # type: ignore[misc]
        for name in group
    }
    return layers.numbers(layers.run(changes))


def _tried(task: Callable[[], T]) -> T | None:
    """Return what a task does; None where a model cannot do it, which may raise whatever it likes."""
    try:
        return task()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None
