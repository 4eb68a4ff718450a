"""The features of particles, always recomputed from the momenta and the jet axis; nothing stored is trusted.

Four sets, all pure functions of a JetBatch, on its device and in its dtype, differentiable in both AD modes:

=============================  =====================================================================================
:func:`kinematic_features`     the field's 7 "kin" features, in collider coordinates
:func:`kinpid_features`        the field's 13 "kinpid" features: kinematics, charge, particle flags
:func:`full_features`          the field's 17 "full" features: kinematics, charge, particle flags, impact parameters
:func:`cartesian_features`     vectors in Cartesian components and rotation-invariant scalars, for unconstrained models
=============================  =====================================================================================

and :func:`angular_points`, (Δη, Δφ) as they are, the points among which networks look for neighbours.

The stored ``part_deta`` and ``part_dphi`` are never used: they would stay behind when the momenta are moved. Padded
slots are exactly zero, and every value and gradient is finite, at pT = 0, E = 0 and on the jet axis as well.

Source of the three standard sets and of their constants: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet
Tagging", arXiv:2202.03772, and its public configurations ``JetClass_kin.yaml``, ``_kinpid.yaml`` and ``_full.yaml``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from jetsym.errors import DataError, closest, expect_a
from jetsym.jets import kinematics
from jetsym.jets.batch import JetBatch
from jetsym.spectrum.harmonics import couple
from jetsym.spectrum.lorentz import minkowski_products, modulus, openings

__all__ = [
    "CARTESIAN_FEATURES",
    "CARTESIAN_VECTORS",
    "FEATURE_SETS",
    "FULL_FEATURES",
    "KINEMATIC_FEATURES",
    "KINPID_FEATURES",
    "STANDARDISATION",
    "Angles",
    "angular_points",
    "cartesian_features",
    "full_features",
    "harmonic_features",
    "invariant_features",
    "kinematic_features",
    "kinematic_quantities",
    "kinpid_features",
    "pair_invariants",
]

#: Names of the 7 "kin" features, in the field's order.
KINEMATIC_FEATURES = ("pt_log", "e_log", "logptrel", "logerel", "deltaR", "deta", "dphi")

#: Names of the 5 particle flags, as in ``JetBatch.scalar_names``.
_FLAGS = ("isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
_DISPLACEMENTS = ("d0", "d0err", "dz", "dzerr")

#: Names of the 13 "kinpid" features, in the field's order.
KINPID_FEATURES = (*KINEMATIC_FEATURES[:5], "charge", *_FLAGS, *KINEMATIC_FEATURES[5:])

#: Names of the 17 "full" features, in the field's order.
FULL_FEATURES = (*KINEMATIC_FEATURES[:5], "charge", *_FLAGS, *_DISPLACEMENTS, *KINEMATIC_FEATURES[5:])

#: Feature -> (centre c, scale s) of (x − c)·s; what is not listed is used as it is. All are clipped to ±CLIP.
STANDARDISATION = {
    "pt_log": (1.7, 0.7),
    "e_log": (2.0, 0.7),
    "logptrel": (-4.7, 0.7),
    "logerel": (-4.7, 0.7),
    "deltaR": (0.2, 4.0),
}
CLIP = 5.0

#: The three vectors of :func:`cartesian_features`; each fills three consecutive columns (x, y, z).
CARTESIAN_VECTORS = ("momentum", "direction", "relative")

#: Names of the 21 columns of :func:`cartesian_features`: nine vector components, then twelve invariant scalars.
CARTESIAN_FEATURES = (
    *(f"{vector}_{axis}" for vector in CARTESIAN_VECTORS for axis in "xyz"),
    "e_log",
    "logerel",
    "charge",
    *_FLAGS,
    *_DISPLACEMENTS,
)

#: How positions along the beam are measured: as in the field, or as :func:`kinematic_features` says.
Angles = Literal["field", "unsigned", "rapidity"]

# Squares below this are taken for zero. It is a normal float32 number, and its root, 1e-15 GeV, lies far below where
# the clipping of every feature sets in, so that the floor keeps logarithms and derivatives finite and changes nothing.
SQUARE_FLOOR = 1e-30

#: log(1 + p · q / GeV²) up to which products are told apart: 1.6e5 GeV², a jet's momentum with its hardest particle.
_LARGEST_PRODUCT = 12.0


def kinematic_features(batch: JetBatch, *, angles: Angles = "field") -> Tensor:
    """Compute the 7 "kin" features (B, N, 7), named by :data:`KINEMATIC_FEATURES`.

    log pT, log E (GeV), log pT/pT_jet, log E/E_jet, ΔR to the jet axis, Δη · sign(η_jet) and Δφ, each as (x − c)·s
    with the constants of :data:`STANDARDISATION`, clipped to ±5; zero where padded.

    ``angles`` other than the "field"'s show what they do: "unsigned" leaves out the factor sign(η_jet), and "rapidity"
    takes true rapidities y in place of all pseudorapidities, of which only differences of y are the same after a boost
    along the beam. All four functions of collider coordinates take it.

    Examples
    --------
    A particle that carries the jet's whole momentum lies on the axis:

    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> kinematic_features(batch)[0, 0, 2:]
    tensor([ 3.2900,  3.2900, -0.8000,  0.0000,  0.0000])
    """
    return _stack(batch, kinematic_quantities(batch, angles), KINEMATIC_FEATURES)


def kinpid_features(batch: JetBatch, *, angles: Angles = "field") -> Tensor:
    """Compute the 13 "kinpid" features (B, N, 13), named by :data:`KINPID_FEATURES`.

    The kinematic seven with charge and the five particle flags between ΔR and Δη; zero where padded.

    Raises
    ------
    DataError
        The batch lacks one of the scalars; read it with JetClass's per-particle branches.
    """
    return _stack(batch, kinematic_quantities(batch, angles) | _particle_id(batch), KINPID_FEATURES)


def full_features(batch: JetBatch, *, angles: Angles = "field") -> Tensor:
    """Compute the 17 "full" features (B, N, 17), named by :data:`FULL_FEATURES`.

    The kinematic seven with, between ΔR and Δη: charge, the five particle flags, tanh d0, the error of d0 clipped to
    [0, 1], tanh dz and the error of dz clipped to [0, 1] (all lengths in mm); zero where padded.

    Raises
    ------
    DataError
        The batch lacks one of the scalars; read it with JetClass's per-particle branches.
    """
    return _stack(
        batch, kinematic_quantities(batch, angles) | _particle_id(batch) | _displacements(batch), FULL_FEATURES
    )


#: Name of a feature set -> the function that computes it, and the names of its columns.
FEATURE_SETS = {
    "kin": (kinematic_features, KINEMATIC_FEATURES),
    "kinpid": (kinpid_features, KINPID_FEATURES),
    "full": (full_features, FULL_FEATURES),
}


def angular_points(batch: JetBatch, *, angles: Angles = "field") -> Tensor:
    """Compute positions (B, N, 2), Δη · sign(η_jet) and Δφ to the jet axis, not clipped; zero where padded.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4[:, 0])
    >>> angular_points(batch)[0, 1]
    tensor([0.0000, 1.5708])
    """
    columns = kinematic_quantities(batch, angles)
    points = torch.stack([columns["deta"], columns["dphi"]], dim=-1)
    return points.masked_fill(~batch.mask[..., None], 0.0)


def cartesian_features(batch: JetBatch) -> Tensor:
    """Compute vectors in components and invariant scalars (B, N, 21), named by :data:`CARTESIAN_FEATURES`.

    The vectors, with n = p/|p| (0 for p = 0), and the jet's own n_jet:

    - ``momentum``: n · log(1 + |p| / GeV) / 4, compressed to order one;
    - ``direction``: n;
    - ``relative``: (n − n_jet) · E_jet / (250 GeV), where the substructure is: without it a plain network on lab
      momenta hardly tells top jets from QCD. The opening angle of a decay falls as 1/E_jet, the factor undoes that.

    They rotate as vectors, component by component, and change sign under reflection. The scalars, log E, log E/E_jet
    (standardised and clipped as in the other sets), charge, flags and impact parameters, do not change at all. Zero
    where padded.

    Raises
    ------
    DataError
        The batch lacks one of the scalars; read it with JetClass's per-particle branches.
    """
    p4 = _real_momenta(batch)
    momentum = modulus(p4[..., 1:])
    direction = p4[..., 1:] / momentum
    jet_direction = batch.jet_p4[:, 1:] / modulus(batch.jet_p4[:, 1:])
    vectors = [
        direction * (torch.log1p(momentum) / 4),
        direction,
        (direction - jet_direction[:, None]) * (batch.jet_p4[:, :1] / 250.0)[:, None],
    ]
    energy, jet_energy = _log(p4[..., 0]), _log(batch.jet_p4[:, 0])[:, None]
    columns = _particle_id(batch) | _displacements(batch) | {"e_log": energy, "logerel": energy - jet_energy}
    scalars = _stack(batch, columns, CARTESIAN_FEATURES[3 * len(CARTESIAN_VECTORS) :])
    return torch.cat([torch.cat(vectors, dim=-1).masked_fill(~batch.mask[..., None], 0.0), scalars], dim=-1)


def harmonic_features(batch: JetBatch, l_max: int) -> Tensor:
    """Compute spherical tensors, λ = 2 … l_max, of :func:`cartesian_features`' vectors, (B, N, 3·((l_max+1)² − 4)).

    |v| √(4π/(2λ+1)) Y_λ(v/|v|): as large as the vector, and turning as D^λ does. Zero where padded.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 0.0, 0.0, 5.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> harmonic_features(batch, 2)[0, 0, 5:10].round(decimals=5) + 0.0  # λ = 2 of the direction, which is z
    tensor([0., 0., 1., 0., 0.])
    """
    vectors = cartesian_features(batch)[..., : 3 * len(CARTESIAN_VECTORS)]
    vectors = vectors.unflatten(-1, (len(CARTESIAN_VECTORS), 3)).roll(-1, dims=-1)  # y, z, x: the order of λ = 1
    direction = vectors / modulus(vectors)
    tensor, found = vectors, []
    for _ in range(2, l_max + 1):
        tensor = couple(tensor, direction, xp=torch)
        found.append(tensor.flatten(-2))
    return torch.cat(found, dim=-1) if found else vectors[..., :0, 0]


def pair_invariants(batch: JetBatch) -> Tensor:
    """Compute what rotations and reflections leave alone of every pair, (B, N, N, 2); zero for padded ones.

    log m²/4 of the two together, in GeV² and without the particles' own masses, m² = 2|p₁||p₂|(1 − cos θ), and
    (6 + log(1 − cos θ))/4 of the angle between them: of order one, and clipped to ±5 as on the diagonal.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 0.0, 0.0, 5.0], [5.0, 5.0, 0.0, 0.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4[:, 0])
    >>> pair_invariants(batch)[0, 0, 1]  # log 50 / 4 and (log 1 + 6) / 4
    tensor([0.9780, 1.5000])
    """
    momenta = _real_momenta(batch)[..., 1:]
    size, opening = modulus(momenta), openings(momenta, momenta)
    mass2 = 2 * size * size.mT * opening
    both = batch.mask[:, :, None] & batch.mask[:, None]
    values = torch.stack([_log(mass2) / 4, (_log(opening) + 6) / 4], dim=-1).clamp(-CLIP, CLIP)
    return values.masked_fill(~both[..., None], 0.0)


def invariant_features(batch: JetBatch, gaussians: int) -> Tensor:
    """Count where a particle's Minkowski products with others of its jet lie, (B, N, gaussians + 1); zero if padded.

    Column k is log(1 + Σ_j exp(−(x_ij − c_k)²/2w²)), x_ij = log(1 + p_i · p_j / GeV²), over all j ≠ i: how many there
    are about the k-th of as many centres c_k, evenly from 0 to 12, with w = 12/gaussians. The last column is
    log(1 + p_i · p_jet / GeV²)/4. Products of momenta do not change under Lorentz transformations, turns and mirrors
    among them; energies, which only those leave alone, do not enter.

    In float32 a product is off by some 1e-7 E_i E_j, as the masses are that energies and momenta hold; a particle's
    own is left out, being little else.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 0.0, 0.0, 5.0], [5.0, 5.0, 0.0, 0.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4.sum(1))
    >>> invariant_features(batch, 2)[0, 0]  # x = log 26 is 3.26 away from 0, and 8.74 from 12; w = 6
    tensor([0.6221, 0.2971, 0.8145])
    """
    p4 = _real_momenta(batch)
    others = batch.mask[:, None] & ~torch.eye(batch.mask.shape[1], dtype=torch.bool, device=batch.mask.device)
    x = _log_products(p4, p4)
    columns = []
    for k in range(gaussians):  # one by one: all together are larger than any layer
        centre = _LARGEST_PRODUCT * k / max(gaussians - 1, 1)
        near = torch.exp(-((x - centre) * (gaussians / _LARGEST_PRODUCT)).square() / 2)
        columns.append(near.masked_fill(~others, 0.0).sum(dim=-1).log1p())
    columns.append(_log_products(p4, batch.jet_p4[:, None])[..., 0] / 4)
    return torch.stack(columns, dim=-1).masked_fill(~batch.mask[..., None], 0.0)


def _log_products(first: Tensor, second: Tensor) -> Tensor:
    """Return log(1 + p · q / GeV²) (B, N, M), of zero where rounding makes a product negative."""
    products: Tensor = minkowski_products(first, second)
    return products.clamp_min(0.0).log1p()


def kinematic_quantities(batch: JetBatch, angles: Angles) -> dict[str, Tensor]:
    """Compute the seven kinematic quantities, each (B, N), before standardisation."""
    p4, jet = _off_beam(_real_momenta(batch)), _off_beam(batch.jet_p4)[:, None]
    pt, jet_pt = kinematics.pt(p4), kinematics.pt(jet)
    energy, jet_energy = _log(p4[..., 0]), _log(jet[..., 0])
    along = kinematics.rapidity if angles == "rapidity" else kinematics.eta
    jet_eta = kinematics.eta(jet)
    deta = along(p4) - along(jet)
    dphi = kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(jet))
    return {
        "pt_log": pt.log(),
        "e_log": energy,
        "logptrel": pt.log() - jet_pt.log(),
        "logerel": energy - jet_energy,
        "deltaR": (deta.square() + dphi.square()).clamp_min(SQUARE_FLOOR).sqrt(),
        "deta": deta if angles == "unsigned" else torch.where(jet_eta < 0, -deta, deta),
        "dphi": dphi,
    }


def _particle_id(batch: JetBatch) -> dict[str, Tensor]:
    """Return charge and particle flags, each (B, N)."""
    return {name: _scalar(batch, name) for name in ("charge", *_FLAGS)}


def _displacements(batch: JetBatch) -> dict[str, Tensor]:
    """Return squashed impact parameters and their errors, each (B, N)."""
    return {
        "d0": _scalar(batch, "d0val").tanh(),
        "d0err": _scalar(batch, "d0err").clamp(0.0, 1.0),
        "dz": _scalar(batch, "dzval").tanh(),
        "dzerr": _scalar(batch, "dzerr").clamp(0.0, 1.0),
    }


def _stack(batch: JetBatch, columns: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """Stack columns of shape (B, N), standardised, to (B, N, len(names)), zero where padded."""
    features = torch.stack([_standardise(name, columns[name]) for name in names], dim=-1)
    return features.masked_fill(~batch.mask[..., None], 0.0)


def _standardise(name: str, values: Tensor) -> Tensor:
    centre, scale = STANDARDISATION.get(name, (0.0, 1.0))
    return ((values - centre) * scale).clamp(-CLIP, CLIP)


def _real_momenta(batch: JetBatch) -> Tensor:
    """Set the padded slots of the momenta to zero, so that rubbish there reaches neither values nor gradients."""
    expect_a("what a tagger is given", batch, JetBatch, DataError)
    if not batch.has_momenta:
        raise DataError(
            f"the jets have inputs ({', '.join(batch.inputs)}) and no momenta, from which features are computed; name "
            "the input that holds px, py, pz and energy: vectors="
        )
    return batch.p4.masked_fill(~batch.mask[..., None], 0.0)


def _off_beam(p4: Tensor) -> Tensor:
    """Give a momentum without a transverse part one of 1e-15 GeV along x: φ = 0, and finite derivatives."""
    along_beam = p4[..., 1].square() + p4[..., 2].square() < SQUARE_FLOOR
    px = p4[..., 1].masked_fill(along_beam, SQUARE_FLOOR**0.5)
    py = p4[..., 2].masked_fill(along_beam, 0.0)
    return torch.stack([p4[..., 0], px, py, p4[..., 3]], dim=-1)


def _log(energy: Tensor) -> Tensor:
    return energy.clamp_min(SQUARE_FLOOR**0.5).log()


def _scalar(batch: JetBatch, name: str) -> Tensor:
    if name not in batch.scalar_names:
        raise DataError(
            f"the jets have no scalar {name!r}, of which features are made; {closest(name, batch.scalar_names)}. "
            "Taggers of momenta alone need none, such as those of --model particlenet --options.features kin"
        )
    return batch.scalars[..., batch.scalar_names.index(name)]
