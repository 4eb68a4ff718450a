"""Moves of jets that are no group: a particle that splits in two, and a soft one that is added.

An observable is infrared and collinear safe where neither changes it in the limit: a splitting as its angle θ → 0, an
emission as its share of the jet's momentum → 0 (G. Sterman, S. Weinberg, Phys. Rev. Lett. 39, 1436 (1977)).

Both add a slot where a jet has no empty one, whatever number of particles a model is said to take. Jets in falling
order of pT stay so; the new particle comes behind all others where they are in none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jetsym.errors import ConfigError, DataError, expect_one_of
from jetsym.jets import kinematics
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.actions import HELD_FIXED
from jetsym.jets.moves.frames import axes_along
from jetsym.jets.moves.inputs import follow
from jetsym.jets.sources import hardest

__all__ = ["COLLINEAR", "SOFT", "emit", "split"]

#: What the two moves are called.
COLLINEAR, SOFT = "collinear splitting", "soft emission"
#: Flag of a charged particle -> that of the neutral one that it emits.
NEUTRAL = {"isChargedHadron": "isNeutralHadron", "isElectron": "isPhoton", "isMuon": "isPhoton"}


def split(
    batch: JetBatch,
    angle: float,
    *,
    fraction: float = 0.5,
    which: str = "hardest",
    generator: torch.Generator | None = None,
) -> JetBatch:
    """Replace one particle of each jet by two, with momentum fractions z and 1 − z at an angle θ.

    p₁ = z p + k and p₂ = (1 − z) p − k with k across p, of random azimuth: the momentum is kept, and E_i² = z_i² E² +
    k² leaves either daughter the share z_i of the mass, so that those of a massless particle are massless. At θ = 0
    the energy is kept as well; else it grows by O(θ²).

    Parameters
    ----------
    batch
        B jets.
    angle
        θ between the two, radians, from 0 to below π/2.
    fraction
        z, between 0 and 1.
    which
        The "hardest" particle, of largest pT, or a "random" one, by its share of pT.
    generator
        Source of randomness, on the CPU; None takes torch's global one.

    Returns
    -------
    JetBatch
        The particle of z keeps charge, flags and impact parameters; that of 1 − z is neutral: a neutral hadron from a
        charged one, a photon from an electron or a muon. The stored axis stays.

    Raises
    ------
    DataError
        The jets have inputs of other networks, or a jet has no particle that moves.
    ConfigError
        An option that cannot be used.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.ones(1, 1, 10), p4[:, 0])
    >>> two = split(jets, 0.0, fraction=0.25)
    >>> two.p4, two.scalars[0, :, 0]
    (tensor([[[3.7500, 2.2500, 0.0000, 3.0000],
             [1.2500, 0.7500, 0.0000, 1.0000]]]), tensor([0., 1.]))
    """
    if not 0.0 <= angle < math.pi / 2:
        raise ConfigError(f"angle is {angle!r}; expected radians from 0 to below π/2")
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"fraction is {fraction!r}; expected a share of the momentum between 0 and 1")
    expect_one_of("which", which, ("hardest", "random"))
    jets = _with_room(batch)
    weights = kinematics.pt(jets.p4).double().masked_fill(~jets.mask, 0.0)
    if not (weights.sum(dim=1) > 0).all():
        raise DataError("a jet has no particle with a momentum across the beam, and nothing to split; leave it out")
    place = weights.argmax(dim=1)
    if which == "random":
        place = torch.multinomial(weights.cpu(), 1, generator=generator)[:, 0].to(jets.device)
    rows = torch.arange(len(jets), device=jets.device)
    parent = jets.p4[rows, place].double()
    first = parent * fraction
    second = parent - first
    tangent, z2 = math.tan(angle), fraction * (1 - fraction)
    across = 2 * z2 * tangent / (1 + math.sqrt(1 + 4 * z2 * tangent**2)) * parent[:, 1:].norm(dim=-1)
    azimuth = 2 * math.pi * torch.rand(len(jets), generator=generator, dtype=torch.float64).to(jets.device)
    axes = axes_along(parent[:, 1:] / parent[:, 1:].norm(dim=-1, keepdim=True))
    k = across[:, None] * (azimuth.cos()[:, None] * axes[:, 0] + azimuth.sin()[:, None] * axes[:, 1])
    daughters = [
        torch.cat([torch.hypot(own[:, :1], across[:, None]), own[:, 1:] + sign * k], dim=-1)
        for own, sign in ((first, 1), (second, -1))
    ]
    p4 = jets.p4.clone()
    p4[rows, place] = daughters[0].to(p4.dtype)
    return _added(batch, jets.replace(p4=p4), daughters[1], _neutral(jets, jets.scalars[rows, place]))


def emit(batch: JetBatch, share: float, *, radius: float = 0.8, generator: torch.Generator | None = None) -> JetBatch:
    """Add a massless, neutral particle to each jet, with a share of its pT.

    Parameters
    ----------
    batch
        B jets.
    share
        ε: pT of the particle over that of the stored axis, above 0.
    radius
        It is uniform in the disc ΔR < ``radius`` about the stored axis.
    generator
        Source of randomness, on the CPU; None takes torch's global one.

    Returns
    -------
    JetBatch
        With a photon more; its momentum joins that of the stored axis.

    Raises
    ------
    DataError
        The jets have inputs of other networks, or a stored axis is along the beam.
    ConfigError
        An option that cannot be used.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.ones(1, 1, 10), p4[:, 0])
    >>> kinematics.pt(emit(jets, 0.01).p4)
    tensor([[3.0000, 0.0300]])
    """
    if not (share > 0 and math.isfinite(share)):
        raise ConfigError(f"share is {share!r}; expected a share of the jet's pT above 0")
    if not (radius > 0 and math.isfinite(radius)):
        raise ConfigError(f"radius is {radius!r}; expected a distance ΔR above 0")
    jets = _with_room(batch)
    axis = jets.jet_p4.double()
    distance, azimuth = torch.rand(2, len(jets), generator=generator, dtype=torch.float64).to(jets.device)
    distance, azimuth = radius * distance.sqrt(), 2 * math.pi * azimuth
    pt, eta = share * kinematics.pt(axis), kinematics.eta(axis) + distance * azimuth.cos()
    phi = kinematics.phi(axis) + distance * azimuth.sin()
    new = kinematics.from_pt_eta_phi_energy(pt, eta, phi, pt * eta.cosh())
    if not (new.isfinite().all() and (pt > 0).all()):
        raise DataError("the stored axis of a jet is along the beam, or has no momentum; leave it out")
    scalars = jets.scalars.new_zeros(len(jets), len(jets.scalar_names))
    if "isPhoton" in jets.scalar_names:
        scalars[:, jets.scalar_names.index("isPhoton")] = 1
    grown = jets.replace(jet_p4=(axis + new).to(jets.dtype))
    return follow(batch, _added(batch, grown, new, scalars))


def _with_room(batch: JetBatch) -> JetBatch:
    """Return jets with an empty slot each, or refuse those that a particle cannot be added to."""
    if batch.inputs:
        raise DataError(
            f"the jets have the inputs {', '.join(batch.inputs)}, to which no particle can be added; leave them out: "
            "jets.replace(inputs={}, input_forms={})"
        )
    return batch.widen(batch.max_particles + 1) if batch.mask.all(dim=1).any() else batch


def _neutral(batch: JetBatch, scalars: Tensor) -> Tensor:
    """Return scalars (B, F) of a neutral particle from those of one that emits it."""
    names, found = batch.scalar_names, scalars.clone()
    for charged, neutral in NEUTRAL.items():
        if charged in names and neutral in names:
            own = scalars[:, names.index(charged)]
            found[:, names.index(neutral)] = torch.maximum(found[:, names.index(neutral)], own)
    if "charge" in names:
        is_charged = scalars[:, names.index("charge")] != 0
        for name in HELD_FIXED:  # nothing neutral has a track
            if name in names:
                found[:, names.index(name)] = torch.where(is_charged, 0, found[:, names.index(name)])
    for name in ("charge", *NEUTRAL):
        if name in names:
            found[:, names.index(name)] = 0
    return found


def _added(before: JetBatch, jets: JetBatch, p4: Tensor, scalars: Tensor) -> JetBatch:
    """Put a particle (B, 4) into the first empty slot of each jet, or where its pT belongs."""
    rows, slot = torch.arange(len(jets), device=jets.device), (~jets.mask).to(torch.int8).argmax(dim=1)
    momenta, carried, mask = jets.p4.clone(), jets.scalars.clone(), jets.mask.clone()
    momenta[rows, slot], carried[rows, slot], mask[rows, slot] = p4.to(momenta.dtype), scalars, True
    columns = dict(jets.columns)
    if "jet_nparticles" in columns:
        columns["jet_nparticles"] = columns["jet_nparticles"] + 1
    added = jets.replace(p4=momenta, scalars=carried, mask=mask, columns=columns)
    return hardest(added, added.max_particles) if _is_in_order(before) else added


def _is_in_order(batch: JetBatch) -> bool:
    """Tell whether all jets are in falling order of pT, with nothing real behind an empty slot."""
    pt = kinematics.pt(batch.p4).masked_fill(~batch.mask, -1)
    return bool((pt.diff(dim=1) <= 0).all())
