"""Jets as a domain of the probe: see :class:`jetsym.domains.base.Domain` for what each function promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from jetsym.domains.base import Action, Measurand, Source
from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.read import read
from jetsym.jets.io.sample import sample
from jetsym.jets.moves import actions
from jetsym.jets.moves.frames import axes_along, expect_rest_frame
from jetsym.jets.moves.generators import aligned_generators, tangents
from jetsym.jets.moves.sampling import random_directions
from jetsym.jets.sources import ALL_PARTICLES, max_particles_of, sources_of

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

#: What an output is when nobody says so.
OUTPUTS = {"logits": "logits"}
NOTES = (
    "Constituents and jet axis move together; features are recomputed from them.",
    f"Held fixed, as only turns about the beam leave them alone: {', '.join(actions.HELD_FIXED)}.",
)
#: Columns that carry a direction of each jet's own.
DIRECTION = ("direction_x", "direction_y", "direction_z")


def measured(model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
    return Measurand(model, OUTPUTS if outputs is None else outputs)


def load(source: Any, *, limit: int, model: Any) -> JetBatch:
    return _load(source, limit=limit, max_particles=max_particles_of(model))


def sources(source: Any, *, limit: int, model: Any) -> tuple[JetBatch, list[Source]]:
    return sources_of(_load(source, limit=limit, max_particles=ALL_PARTICLES), model)


def _load(source: Any, *, limit: int, max_particles: int) -> JetBatch:
    if source is None:
        jets = sample("test", limit=limit, max_particles=max_particles)
    elif isinstance(source, JetBatch):
        jets = source[:limit]
    else:
        jets = read(source, limit=limit, max_particles=max_particles)
    if not len(jets):
        raise DataError("the batch holds no jets; expected at least one to probe with")
    empty = (jets.n_particles == 0).nonzero().flatten().tolist()
    if empty:
        raise DataError(
            f"{len(empty)} jets have no particles (the first is jet {empty[0]}); leave them out of the inputs"
        )
    if not jets.p4[jets.mask].isfinite().all():
        raise DataError("the jets hold NaN or infinite momenta; leave those jets out of the inputs")
    return jets.trim()


def size(inputs: JetBatch) -> int:
    return len(inputs)


def take(inputs: JetBatch, selection: slice) -> JetBatch:
    return inputs[selection]


def batches(inputs: JetBatch) -> tuple[slice]:
    return (slice(0, len(inputs)),)


def at_once(inputs: JetBatch) -> int:
    return sys.maxsize


def move(inputs: JetBatch, matrices: Any) -> JetBatch:
    return actions.rotate(inputs, torch.as_tensor(matrices))


def act(inputs: JetBatch, *, group: str, frame: str, axis: Any, seed: int) -> tuple[JetBatch, Action]:
    if isinstance(axis, str) and axis == "random":
        inputs = _with_directions(inputs, seed)
    if group == "boost":
        return inputs, Action(_boost_along(axis), False, f"Boosts along {_named(axis)}.")
    if frame == "rest":
        expect_rest_frame(inputs)
        note = "The group acts where the sum of the constituents is at rest."
        return inputs, Action(_on_tensors(actions.rotate_at_rest), False, note)
    if isinstance(axis, str) and axis == "jet":
        return inputs, Action(_on_tensors(actions.about_jet_axis), False, f"The group turns about {_named(axis)}.")
    if isinstance(axis, str) and axis == "random":
        return inputs, Action(_about_own_direction, False, f"The group turns about {_named(axis)}.")
    return inputs, Action(move, True, "The group acts on lab momenta.")


def transform(inputs: JetBatch, matrices: Any) -> JetBatch:
    return actions.transform(inputs, torch.as_tensor(matrices))


def generators(inputs: JetBatch, axes: str) -> Tensor:
    return aligned_generators(inputs, axes)  # type: ignore[arg-type]  # refuses other axes


def tilted(inputs: JetBatch, generators: Tensor) -> JetBatch:
    p4, jet_p4 = tangents(inputs, generators)
    repeated = move(inputs, torch.eye(3, dtype=torch.float64).expand(len(generators), 3, 3))
    return repeated.replace(
        p4=forward_ad.make_dual(repeated.p4, p4.flatten(0, 1)),
        jet_p4=forward_ad.make_dual(repeated.jet_p4, jet_p4.flatten(0, 1)),
    )


def place(inputs: JetBatch, *, device: Any, dtype: Any) -> JetBatch:
    placed = inputs if device is None else inputs.to(device)
    return placed if dtype is None else placed.to(dtype)


def mask(inputs: JetBatch) -> Tensor:
    return inputs.mask


def dtype_name(inputs: JetBatch) -> str:
    return str(inputs.dtype).removeprefix("torch.")


def _on_tensors(action: Callable[[JetBatch, Tensor], JetBatch]) -> Callable[[JetBatch, Any], JetBatch]:
    return lambda inputs, matrices: action(inputs, torch.as_tensor(matrices))


def _boost_along(axis: Any) -> Callable[[JetBatch, Any], JetBatch]:
    def move(inputs: JetBatch, rapidity: Any) -> JetBatch:
        if not isinstance(axis, str):
            direction: Any = torch.as_tensor(axis)
        else:
            direction = _directions_of(inputs) if axis == "random" else axis
        return actions.boost(inputs, torch.as_tensor(rapidity), direction)

    return move


def _about_own_direction(inputs: JetBatch, matrices: Any) -> JetBatch:
    axes = axes_along(_directions_of(inputs))
    elements = torch.as_tensor(matrices).to(axes)
    if elements.ndim == 3:
        elements = elements[:, None]
    return actions.rotate(inputs, axes.mT @ elements @ axes)


def _with_directions(inputs: JetBatch, seed: int) -> JetBatch:
    """Jets with a random direction of their own, which travels with them as columns."""
    directions = random_directions(len(inputs), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    return inputs.replace(columns={**inputs.columns, **dict(zip(DIRECTION, directions.unbind(-1), strict=True))})


def _directions_of(inputs: JetBatch) -> Tensor:
    """(B, 3) float64 unit vectors."""
    directions = torch.stack([inputs.columns[name] for name in DIRECTION], dim=-1).double()
    return directions / directions.norm(dim=-1, keepdim=True)


def _named(axis: Any) -> str:
    if not isinstance(axis, str):
        return f"the axis ({', '.join(f'{x:g}' for x in axis)})"
    return {
        "beam": "the beam",
        "jet": "the stored axis of each jet",
        "random": "a random direction of each jet's own",
    }.get(axis, f"the {axis} axis")
