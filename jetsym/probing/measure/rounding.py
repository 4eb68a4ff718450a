"""What rounding alone makes of responses: the measured noise floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Subject
from jetsym.probing.kinds import token_mask
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = ["rounding_response"]


#: Inputs and perturbations of each that the effect of rounding is measured with.
INPUTS, DRAWS = 8, 4


def rounding_response(
    subject: Subject, inputs: Any, kinds: Mapping[str, Kind], *, seed: int, batch_size: int
) -> dict[str, float]:
    """How far the responses move, relative to their own size, when the inputs move by one rounding error.

    Each input is acted on by matrices that differ from the identity by random numbers of the size of the input's eps.
    Returns ‖δu‖/‖u‖ of every layer and output, over a few inputs. ``kinds`` names the outputs, after the first pass.
    """
    alike = subject.domain.batches(inputs)[0]
    some = subject.domain.take(inputs, slice(0, min(INPUTS, batch_size, alike.stop)))
    eps = EPS[subject.domain.dtype_name(some)]
    noise = np.random.default_rng(seed).uniform(-2, 2, size=(DRAWS, 3, 3))
    matrices = np.eye(3) + eps * np.concatenate([np.zeros((1, 3, 3)), noise])
    result = {}
    for name, response in subject.along(some, matrices, batch_size).items():
        values = to_numpy(response).astype(np.complex128 if np.iscomplexobj(to_numpy(response)) else np.float64)
        mask = token_mask(subject.domain.mask(some), response, kinds.get(name))
        if mask is not None:
            values = values[:, to_numpy(mask)]
        if not np.isfinite(values).all():
            raise ProbeError(f"{name!r} cannot be measured: its responses to the inputs as they are are not finite")
        change = (np.abs(values[1:] - values[:1]) ** 2).sum() / DRAWS
        norm = (np.abs(values[0]) ** 2).sum()
        result[name] = float(np.sqrt(change / norm)) if norm else 0.0
    return result
