"""Kinematics of four-momenta (E, px, py, pz) in torch: metric (+,−,−,−), GeV, radians. Shapes (…, 4) → (…).

Padded rows are zero vectors, so every function has a finite value and a zero derivative there: padding can then be
masked after the features are computed, also when these are differentiated forward or backward.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["delta_phi", "eta", "from_pt_eta_phi_energy", "mass2", "momentum", "phi", "pt", "rapidity"]


def pt(p4: Tensor) -> Tensor:
    """Compute the transverse momentum √(px² + py²), without overflow or underflow on the way.

    Examples
    --------
    >>> pt(torch.tensor([5.0, 3.0, 4.0, 0.0]))
    tensor(5.)
    """
    px, py, still = _transverse(p4)
    return torch.where(still, 0, torch.hypot(px, py))


def phi(p4: Tensor) -> Tensor:
    """Compute the azimuth in [−π, π]; 0 for a momentum without a transverse part.

    Examples
    --------
    >>> phi(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    tensor(1.5708)
    """
    px, py, still = _transverse(p4)
    return torch.where(still, 0, torch.atan2(py, px))


def eta(p4: Tensor) -> Tensor:
    """Compute the pseudorapidity asinh(pz / pT); ±inf along the beam, 0 for the zero vector.

    Examples
    --------
    >>> eta(torch.tensor([5.0, 3.0, 0.0, 4.0]))
    tensor(1.0986)
    """
    transverse, pz = pt(p4), p4[..., 3]
    zero = (transverse == 0) & (pz == 0)
    return torch.where(zero, 0, torch.asinh(pz / torch.where(zero, 1, transverse)))


def rapidity(p4: Tensor) -> Tensor:
    """Compute the rapidity along the beam asinh(pz / mT), mT² = pT² + m²; 0 for the zero vector.

    Finite along the beam, as mT is never taken to be less than 1e-15 GeV. A mass² that rounding has made negative is
    kept, so that derivatives are right for massless particles as well.

    Examples
    --------
    >>> rapidity(torch.tensor([5.0, 0.0, 0.0, 3.0]))  # ½ log((E + pz) / (E − pz))
    tensor(0.6931)
    """
    transverse2 = (pt(p4).square() + mass2(p4)).clamp_min(1e-30)
    zero = (p4 == 0).all(dim=-1)
    return torch.where(zero, 0, torch.asinh(p4[..., 3] / torch.where(zero, 1, transverse2).sqrt()))


def momentum(p4: Tensor) -> Tensor:
    """Compute the modulus of the three-momentum |p|.

    Examples
    --------
    >>> momentum(torch.tensor([5.0, 3.0, 0.0, 4.0]))
    tensor(5.)
    """
    modulus: Tensor = torch.linalg.vector_norm(p4[..., 1:], dim=-1)
    return modulus


def mass2(p4: Tensor) -> Tensor:
    """Compute the invariant mass squared E² − |p|², as (E − |p|)(E + |p|); rounding may leave it slightly negative.

    Examples
    --------
    >>> mass2(torch.tensor([5.0, 3.0, 0.0, 0.0]))
    tensor(16.)
    """
    modulus = momentum(p4)
    return (p4[..., 0] - modulus) * (p4[..., 0] + modulus)


def delta_phi(first: Tensor, second: Tensor) -> Tensor:
    """Subtract two azimuths, wrapped to [−π, π]; a difference that lies there already is returned unrounded.

    Examples
    --------
    >>> delta_phi(torch.tensor(3.0), torch.tensor(-3.0))
    tensor(-0.2832)
    """
    difference = first - second
    return difference - 2 * torch.pi * torch.round(difference / (2 * torch.pi))


def from_pt_eta_phi_energy(pt: Tensor, eta: Tensor, phi: Tensor, energy: Tensor) -> Tensor:
    """Make four-momenta (…, 4) of collider coordinates.

    Examples
    --------
    >>> zero = torch.tensor(0.0)
    >>> from_pt_eta_phi_energy(torch.tensor(3.0), zero, zero, torch.tensor(5.0))
    tensor([5., 3., 0., 0.])
    """
    return torch.stack([energy, pt * torch.cos(phi), pt * torch.sin(phi), pt * torch.sinh(eta)], dim=-1)


def _transverse(p4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return px and py, safe to differentiate, and where both are zero (px is replaced by 1 there)."""
    px, py = p4[..., 1], p4[..., 2]
    still = (px == 0) & (py == 0)
    return torch.where(still, 1, px), py, still
