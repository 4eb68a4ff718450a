"""Frames of jets: their momentum and rest frame, and axes along the jet. Float64 throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.kinematics import mass2, momentum
from jetsym.spectrum import lorentz
from jetsym.spectrum.lorentz import MAX_GAMMA

__all__ = ["MAX_GAMMA", "axes_along", "expect_rest_frame", "has_rest_frame", "jet_axes", "jet_momentum"]


def jet_momentum(batch: JetBatch) -> Tensor:
    """Return the total momenta P, (B, 4) float64: sums of the real constituents, and not the stored ``jet_p4``.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, -3.0, 0.0, 4.0]]])
    >>> jet_momentum(JetBatch(p4, torch.tensor([[True, True]]), torch.zeros(1, 2, 10), p4[:, 0]))
    tensor([[10.,  0.,  0.,  8.]], dtype=torch.float64)
    """
    return torch.where(batch.mask[..., None], batch.p4, 0).double().sum(dim=1)


def has_rest_frame(batch: JetBatch) -> Tensor:
    """Return (B,) bool, whether P is timelike, with an energy of at most MAX_GAMMA · mass.

    Jets of a single light particle have none, and jets of massless particles that are collinear.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, -3.0, 0.0, 4.0]], [[5.0, 3.0, 0.0, 4.0], [0.0] * 4]])
    >>> has_rest_frame(JetBatch(p4, p4[..., 0] > 0, torch.zeros(2, 2, 10), p4[:, 0]))
    tensor([ True, False])
    """
    found: Tensor = lorentz.has_rest_frame(jet_momentum(batch))
    return found


def expect_rest_frame(batch: JetBatch) -> None:
    """Raise a DataError that names the jets without a rest frame, if there are any."""
    lacking = (~has_rest_frame(batch)).nonzero().flatten()
    if not len(lacking):
        return
    first = int(lacking[0])
    total = jet_momentum(batch)[first]
    squared = float(mass2(total))
    mass = f"{squared**0.5:.3g} GeV" if squared >= 0 else f"imaginary (M² = {squared:.3g} GeV²)"
    raise DataError(
        f"{len(lacking)} of {len(batch)} jets have no rest frame; the first is jet {first} of "
        f"{int(batch.n_particles[first])} particles, with energy {float(total[0]):.4g} GeV and mass {mass}; "
        f"expected a mass of at least energy/{MAX_GAMMA:g}: leave them out with batch[has_rest_frame(batch)] "
        "(jetsym.jets.moves.frames), or move the jets in the lab frame"
    )


def jet_axes(batch: JetBatch) -> Tensor:
    """Return right-handed orthonormal axes of each jet, the third along the stored jet axis ``jet_p4``.

    The first points to larger polar angles, the second to larger azimuths. A jet along ±z has no azimuth; its second
    axis is y.

    Returns
    -------
    Tensor
        (B, 3, 3) float64 rotations A whose ROWS are the axes: A p are the components of p along them, and Aᵀ g A acts
        about them as g does about x, y, z.

    Raises
    ------
    DataError
        A jet whose ``jet_p4`` has no direction.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> jet_axes(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0]))[0]
    tensor([[ 0.8000,  0.0000, -0.6000],
            [-0.0000,  1.0000,  0.0000],
            [ 0.6000,  0.0000,  0.8000]], dtype=torch.float64)
    """
    modulus = momentum(batch.jet_p4.double())
    still = (~((modulus > 0) & modulus.isfinite())).nonzero().flatten()
    if len(still):
        raise DataError(
            f"the stored axis of {len(still)} of {len(batch)} jets has no direction; the first is jet {int(still[0])}, "
            f"with jet_p4 {batch.jet_p4[still[0]].tolist()}: leave them out, or move the jets along the beam"
        )
    return axes_along(batch.jet_p4[:, 1:])


def axes_along(vectors: Tensor) -> Tensor:
    """Return the axes of :func:`jet_axes` for vectors (…, 3): float64 rotations (…, 3, 3), third row along them.

    Vectors of length zero get x, y, z.
    """
    vectors = vectors.double()
    size = vectors.abs().amax(dim=-1, keepdim=True)
    x, y, z = (vectors / torch.where(size > 0, size, 1)).unbind(-1)  # no square of these under- or overflows
    z = torch.where(size[..., 0] > 0, z, 1.0)
    transverse = torch.hypot(x, y)
    pole = transverse == 0
    cos_phi, sin_phi = (
        torch.where(pole, limit, part / torch.where(pole, 1, transverse)) for part, limit in ((x, 1.0), (y, 0.0))
    )
    length = torch.hypot(transverse, z)
    sine, cosine = transverse / length, z / length
    zero = torch.zeros_like(sine)
    rows = [
        torch.stack([cosine * cos_phi, cosine * sin_phi, -sine], dim=-1),
        torch.stack([-sin_phi, cos_phi, zero], dim=-1),
        torch.stack([sine * cos_phi, sine * sin_phi, cosine], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
