"""Rounding and what it alone makes of responses: the measured noise floor."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import token_mask
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = ["rounding_response"]


#: Inputs and perturbations of each that the effect of rounding is measured with.
INPUTS, DRAWS = 8, 4


def rounding_response(session: Session, inputs: Any) -> dict[str, float]:
    """Measure how far the responses move, relative to their own size, when the inputs move by one rounding error.

    Each input is acted on by matrices that differ from the identity by random numbers of the size of the input's eps.
    Returns ‖δu‖/‖u‖ of every layer and output, over a few inputs.
    """
    domain = session.domain
    some = domain.select(inputs, slice(0, min(INPUTS, session.evaluations, domain.batches(inputs)[0].stop)))
    eps = EPS[domain.dtype_name(some)]
    noise = np.random.default_rng(session.seed).uniform(-2, 2, size=(DRAWS, 3, 3))
    matrices = np.eye(3) + eps * np.concatenate([np.zeros((1, 3, 3)), noise])
    result = {}
    for name, response in session.along(some, matrices, in_lab=True).items():
        values = to_numpy(response).astype(np.complex128 if np.iscomplexobj(to_numpy(response)) else np.float64)
        mask = token_mask(domain.mask(some), response, session.outputs.get(name))
        if mask is not None:
            values = values[:, to_numpy(mask)]
        if not np.isfinite(values).all():
            raise ProbeError(f"{name!r} cannot be measured: its responses to the inputs as they are are not finite")
        change = (np.abs(values[1:] - values[:1]) ** 2).sum() / DRAWS
        norm = (np.abs(values[0]) ** 2).sum()
        result[name] = float(np.sqrt(change / norm)) if norm else 0.0
    return result
