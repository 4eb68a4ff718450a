"""Canonical poses: every jet rotated into axes that its own momenta define, so that how it lay is no longer seen.

The axes are eigenvectors of the momentum tensor S = Σ p pᵀ/E, which is infrared and collinear safe. In the lab the
first is the direction of the total momentum P, and the other two are those of the part of S across it; in the rest
frame of P all three are those of S there. Whatever turns the jet turns its axes, so that components along them stay:
in the lab under SO(3) or O(3), and from the rest frame under the whole Lorentz group, as p → Λp turns what is seen at
rest by a Wigner rotation.

An eigenvector has no sign. ``signs="moment"`` gives each axis that in which the third moment Σ (p·e)³/E² is positive;
``signs="all"`` gives all poses, 2 or 4 in the lab for SO(3) and O(3), 4 or 8 at rest, for an average over them: the
frame averaging of O. Puny, M. Atzmon, H. Ben-Hamu, I. Misra, A. Grover, E. Smith, Y. Lipman, arXiv:2110.03336.

No choice of axes is continuous for all jets. Poses jump

- where two eigenvalues meet: the order of the axes changes there, and their directions on the way;
- with ``signs="moment"`` where a third moment vanishes;
- from the rest frame, where a jet is so light that its mass is hardly more than rounding (γ > ``MAX_GAMMA``): its boost
  is held back at that γ. Invariance under rotations in the lab stays, that under boosts ends there.

Such jets are few: when every momentum of 1000 bundled test jets is scaled at random by 1%, the poses of 3 of them jump
in either frame, and of none by 0.1%.

A jet whose momenta are symmetric about an axis leaves the others open; all directions look alike then. Only a jet at
rest in the lab without any momentum, or with an isotropic tensor, has axes that do not move with it.
"""

from __future__ import annotations

from itertools import product
from typing import Literal

import torch
from torch import Tensor

from jetsym.jets.batch import JetBatch
from jetsym.jets.kinematics import mass2
from jetsym.jets.moves.actions import boost, rotate
from jetsym.jets.moves.frames import MAX_GAMMA, jet_momentum
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["ROTATIONS", "Signs", "poses", "principal_axes"]

Signs = Literal["moment", "all"]

#: What poses are invariant under if nobody says.
ROTATIONS = Symmetry(GroupName.SO3)

#: Eigenvalues of a momentum tensor of trace 1 that are closer than this are taken for equal by derivatives.
_GAP = 1e-6

#: Momenta across the jet, over those along it, below which they are taken for rounding and define no axes.
_NARROW = 1e-6


def poses(batch: JetBatch, symmetry: Symmetry = ROTATIONS, *, signs: Signs = "moment") -> list[JetBatch]:
    """Return the jets in their own axes: x is the first, along the momentum of the jet in the lab.

    The jet axis becomes the sum of the constituents in that pose, (E, |P|, 0, 0) in the lab and (M, 0, 0, 0) at rest:
    the stored one, which is near it, would bring its own direction back in. Padding becomes zero. Differentiable in
    both modes, but for the jumps.

    Parameters
    ----------
    batch
        B jets.
    symmetry
        What the poses are to be invariant under, SO(3) or O(3), in the lab or at rest: with O(3) mirror images have
        the same poses.
    signs
        "moment" or "all"; see the module.

    Returns
    -------
    list of JetBatch
        One for "moment"; for "all" as many as there are choices of signs, B jets each, in no particular order.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 3.0, 4.0, 0.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4[:, 0])
    >>> poses(batch)[0].p4[0].abs().round(decimals=3) + 0.0  # the two particles, side by side in a plane
    tensor([[5.0000, 4.1230, 2.8280, 0.0000],
            [5.0000, 4.1230, 2.8280, 0.0000]])
    """
    real = batch.replace(p4=batch.p4.masked_fill(~batch.mask[..., None], 0.0)).to(torch.float64)
    total = jet_momentum(real)
    length = _length(total[:, 1:])
    if symmetry.is_at_rest:
        mass = _safe_sqrt(torch.maximum(mass2(total), (total[:, 0] / MAX_GAMMA).square()))
        rapidity = torch.where(mass > 0, ((total[:, 0] + length) / torch.where(mass > 0, mass, 1)).log(), 0.0)
        at_rest = total.new_tensor([0.0, 0.0, 1.0])  # any direction will do for what is not boosted
        real = boost(real, -rapidity[None], torch.where((length > 0)[:, None], _unit(total[:, 1:]), at_rest))
        axis = torch.stack([mass, *torch.zeros_like(total[:, 1:]).unbind(-1)], dim=-1)
        axes = principal_axes(real)
    else:
        axis = torch.stack([total[:, 0], length, *torch.zeros_like(total[:, 2:]).unbind(-1)], dim=-1)
        axes = principal_axes(real, total[:, 1:])
    along = None if symmetry.is_at_rest else total[:, 1:]
    found = []
    for chosen in _signed(real, axes, along, mirrors=symmetry.has_inversion, signs=signs):
        moved = rotate(real, chosen[None])
        found.append(moved.replace(jet_p4=axis).to(batch.dtype))
    return found


def principal_axes(batch: JetBatch, along: Tensor | None = None) -> Tensor:
    """Return float64 rotations (B, 3, 3) whose ROWS are the eigenvectors of S, of falling eigenvalue, and right-handed.

    With ``along`` (B, 3) the first is along these vectors and the others belong to the part of S across them. The signs
    are arbitrary. Jets without energy get x, y, z, in some order.

    Their derivative is that of perturbation theory, dv_i = Σ_j v_j (v_j·dS v_i)/(λ_i − λ_j), where eigenvalues are
    apart; what turns axes that nothing defines is left out, so that it is finite for every jet.
    """
    energy, vectors = batch.p4[..., :1].double(), batch.p4[..., 1:].double()
    scale = _trace(_momentum_tensor(energy, vectors))
    first: Tensor | float = 0.0
    if along is not None:
        unit = _unit(along)[:, None]
        vectors = vectors - (vectors * unit).sum(dim=-1, keepdim=True) * unit
        # Twice the projector on it lies above all that is left, whose trace is one.
        first = 2 * unit.mT * unit
    tensor = _momentum_tensor(energy, vectors)
    trace = _trace(tensor)
    wide = trace > _NARROW**2 * scale
    tensor = first + torch.where(wide, tensor / torch.where(wide, trace, 1), 0.0)
    values, vectors = torch.linalg.eigh(tensor.detach())
    values, vectors = values.flip(-1), vectors.flip(-1)
    # Off the diagonal this is zero but for its derivative.
    mixing = vectors.mT @ tensor @ vectors
    gaps = values[:, None, :] - values[:, :, None]
    apart = gaps.abs() > _GAP
    vectors = vectors + vectors @ torch.where(apart, mixing / torch.where(apart, gaps, 1), 0.0)
    third = torch.linalg.cross(vectors[..., 0], vectors[..., 1])
    return torch.stack([vectors[..., 0], vectors[..., 1], third], dim=-2)


def _momentum_tensor(energy: Tensor, vectors: Tensor) -> Tensor:
    """Return (B, 3, 3) S = Σ p pᵀ/E, for energies (B, N, 1) and vectors (B, N, 3)."""
    return (vectors / torch.where(energy > 0, energy, 1)).mT @ vectors


def _trace(tensor: Tensor) -> Tensor:
    return tensor.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]


def _signed(batch: JetBatch, axes: Tensor, along: Tensor | None, *, mirrors: bool, signs: Signs) -> list[Tensor]:
    """Return the axes (B, 3, 3) with signs, improper ones among them for O(3); the first points along P in the lab."""
    moments = (batch.p4[..., 1:].detach() @ axes.detach().mT).pow(3) / batch.p4[..., :1].square().clamp_min(1e-30)
    moment = moments.sum(dim=1)
    if along is not None:
        forward = (axes.detach()[:, 0] * along.detach()).sum(dim=-1)
        moment[:, 0] = torch.where(forward != 0, forward, moment[:, 0])
    own = torch.where(moment < 0, -1.0, 1.0).to(axes.dtype)
    first_free = 0 if along is None else 1
    choices = [own]
    if signs == "all":
        free = product((1.0, -1.0), repeat=(3 if mirrors else 2) - first_free)
        choices = []
        for values in free:
            choice = torch.ones_like(own)
            choice[:, :first_free] = own[:, :first_free]
            choice[:, first_free : first_free + len(values)] = own.new_tensor(values)
            choices.append(choice)
    if not mirrors:  # the third follows from the first two
        choices = [torch.cat([choice[:, :2], choice[:, :1] * choice[:, 1:2]], dim=1) for choice in choices]
    return [choice[:, :, None] * axes for choice in choices]


def _length(vectors: Tensor) -> Tensor:
    """Return the length (…) of vectors (…, 3), of zero derivative at zero."""
    return _safe_sqrt(vectors.square().sum(dim=-1))


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors (…, 3) over their length; zero for zero."""
    length = _length(vectors)[..., None]
    return vectors / torch.where(length > 0, length, 1)


def _safe_sqrt(values: Tensor) -> Tensor:
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1).sqrt(), 0.0)
