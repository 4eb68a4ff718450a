"""Structures as a domain of the probe: see :class:`jetsym.domains.base.Domain` for what each function promises."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import nn

from jetsym.atoms.model import Model
from jetsym.atoms.read import frames_of
from jetsym.atoms.structures import Structures
from jetsym.domains.base import Action, Measurand, Source
from jetsym.errors import ProbeError

__all__ = [
    "NOTES",
    "act",
    "at_once",
    "batches",
    "dtype_name",
    "generators",
    "load",
    "mask",
    "measured",
    "move",
    "place",
    "size",
    "sources",
    "take",
    "tilted",
    "transform",
]

#: Pairs of neighbours that main memory should hold at once: a PET of the usual size needs some 12 kB for each.
PAIRS_AT_ONCE = 2**17

NOTES = ("Positions, cell and the vectors of the neighbour lists move together; the lists are built once.",)


def measured(model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
    if not isinstance(model, nn.Module):
        return Measurand(model, outputs or {})
    known = model if isinstance(model, Model) else Model(model).train(model.training)
    return Measurand(known, {**known.kinds, **(outputs or {})}, known.notes)


def load(source: Any, *, limit: int, model: Any) -> Structures:
    if isinstance(source, Structures):
        return source[:limit]
    if not isinstance(model, Model):
        raise ProbeError(
            f"model is a {type(model).__name__}, which says nothing of the neighbour lists it needs; expected a model "
            "of metatrain, a .ckpt or a .pt file"
        )
    return model.structures(frames_of(source, limit=limit))


def sources(source: Any, *, limit: int, model: Any) -> tuple[Structures, tuple[Source, ...]]:
    _needs_jets("attribution")


def size(inputs: Structures) -> int:
    return len(inputs)


def take(inputs: Structures, selection: slice) -> Structures:
    return inputs[selection]


def batches(inputs: Structures) -> list[slice]:
    return [slice(index, index + 1) for index in range(len(inputs))]


def at_once(inputs: Structures) -> int:
    if inputs.device.type != "cpu":
        return sys.maxsize  # accelerators say when their memory is full
    return max(1, PAIRS_AT_ONCE // max(1, *inputs.pairs))


def move(inputs: Structures, matrices: Any) -> Structures:
    return inputs.moved(matrices)


def act(inputs: Structures, *, group: str, frame: str, axis: Any, seed: int) -> tuple[Structures, Action]:
    if group == "boost":
        _needs_jets("group='boost'")
    if frame == "rest":
        _needs_jets("frame='rest'")
    if isinstance(axis, str) and axis in ("jet", "random"):
        _needs_jets(f"axis={axis!r}")
    return inputs, Action(move, True, "The group acts on whole structures.")


def transform(inputs: Structures, matrices: Any) -> Structures:
    _needs_jets("group='lorentz'")


def generators(inputs: Structures, axes: str) -> Any:
    _needs_jets("group='lorentz'")


def tilted(inputs: Structures, generators: Any) -> Any:
    _needs_jets("group='lorentz'")


def place(inputs: Structures, *, device: Any, dtype: Any) -> Structures:
    return inputs.to(device=device, dtype=dtype)


def mask(inputs: Structures) -> Any:
    """All atoms are real; inputs are batches of equally many."""
    atoms = inputs.sizes[0]
    return inputs.systems[0].types.new_ones((len(inputs), atoms)).bool()


def dtype_name(inputs: Structures) -> str:
    return str(inputs.dtype).removeprefix("torch.")


def _needs_jets(what: str) -> NoReturn:
    raise ProbeError(f"{what} needs jets; structures of atoms move under group='O3', 'SO3' or 'SO2' (about x, y or z)")
