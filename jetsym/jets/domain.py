"""Jets as a domain of the probe: see :class:`jetsym.domains.Domain` for what each function promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.actions import HELD_FIXED, rotate
from jetsym.jets.batch import JetBatch
from jetsym.jets.io import read
from jetsym.jets.io.sample import sample

__all__ = ["NOTES", "OUTPUTS", "dtype_name", "load", "mask", "move", "place", "size", "take"]

OUTPUTS = {"logits": "logits"}
NOTES = (
    "The group acts on the lab momenta of the constituents and of the jet axis; features are recomputed from them.",
    f"Held fixed, as they have no law under rotations: {', '.join(HELD_FIXED)}.",
)


def load(source: Any, *, limit: int, model: Any) -> JetBatch:
    max_particles = getattr(model, "max_particles", 128)
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


def move(inputs: JetBatch, matrices: Any) -> JetBatch:
    return rotate(inputs, torch.as_tensor(matrices))


def place(inputs: JetBatch, *, device: Any, dtype: Any) -> JetBatch:
    placed = inputs if device is None else inputs.to(device)
    return placed if dtype is None else placed.to(dtype)


def mask(inputs: JetBatch) -> Tensor:
    return inputs.mask


def dtype_name(inputs: JetBatch) -> str:
    return str(inputs.dtype).removeprefix("torch.")
