"""The six generators of the Lorentz group on jets, along the beam or along each jet."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jetsym.errors import DataError, expect_one_of
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.frames import jet_axes
from jetsym.spectrum.lorentz import GENERATORS

__all__ = ["aligned_generators", "tangents"]


def aligned_generators(batch: JetBatch, axes: Literal["beam", "jet"] = "beam") -> Tensor:
    """Return the six generators along the axes of the lab or of each jet, in the order of GENERATORS.

    Parameters
    ----------
    batch
        B jets.
    axes
        "beam": x, y and the beam z. "jet": the axes of :func:`~jetsym.jets.moves.frames.jet_axes`, so that J_z turns
        about the jet, K_z boosts along it, and x lies in the plane of jet and beam.

    Returns
    -------
    Tensor
        (6, 1, 4, 4) or (6, B, 4, 4), float64, on the device of the batch.

    Raises
    ------
    DataError
        Other axes, or a jet whose stored axis has no direction.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> aligned_generators(batch, "jet")[5, 0, 0]  # the boost along the jet (0.6, 0, 0.8)
    tensor([0.0000, 0.6000, 0.0000, 0.8000], dtype=torch.float64)
    """
    expect_one_of("axes", axes, ("beam", "jet"), DataError)
    generators = torch.as_tensor(np.stack(list(GENERATORS.values())), device=batch.device)[:, None]
    if axes == "beam":
        return generators
    frame = torch.zeros(len(batch), 4, 4, dtype=torch.float64, device=batch.device)
    frame[:, 0, 0], frame[:, 1:, 1:] = 1, jet_axes(batch)
    return frame.mT @ generators @ frame


def tangents(batch: JetBatch, generators: Tensor) -> tuple[Tensor, Tensor]:
    """Return how momenta start to move, as forward-mode derivatives take it: X p of constituents and jet axis.

    Parameters
    ----------
    batch
        B jets of up to N particles.
    generators
        (k, 1, 4, 4) or (k, B, 4, 4), as :func:`aligned_generators` gives them.

    Returns
    -------
    Tensor, Tensor
        (k, B, N, 4) for ``p4`` and (k, B, 4) for ``jet_p4``, in the dtype of the batch; zero for padding.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> tangents(batch, aligned_generators(batch))[1][2] + 0.0  # J_z turns px into py
    tensor([[0., 0., 3., 0.]])
    """
    with torch.autocast(batch.device.type, enabled=False):
        p4 = batch.p4.double() @ generators.mT
        jet_p4 = batch.jet_p4[:, None].double() @ generators.mT
    return p4.to(batch.dtype), jet_p4[:, :, 0].to(batch.dtype)
