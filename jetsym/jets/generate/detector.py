"""A simple detector: from stable particles to the candidates that jets are made of.

What it models, in this order: tracks of charged particles (acceptance, efficiency, momentum resolution, impact
parameters), then an electromagnetic and a hadronic calorimeter for everything that left no track, with towers that
add up what falls into them, energy resolution and thresholds. The constants are of the size of the CMS detector's as
published (tracks: arXiv:1405.6569; calorimeters: arXiv:1306.2016, arXiv:1502.02701). What it does not model: pile-up,
material (conversions, bremsstrahlung, nuclear interactions), bending between vertex and calorimeter, wrong particle
identification, energy left by tracks in the calorimeters (its subtraction is taken to be perfect), non-Gaussian tails.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError

__all__ = [
    "CHARGED_HADRON",
    "ELECTRON",
    "MUON",
    "NEUTRAL_HADRON",
    "PHOTON",
    "Candidates",
    "DetectorConfig",
    "Particles",
    "detect",
    "impact_parameters",
]

Array = NDArray[np.float64]

#: Category of a candidate, in the order of the schema's flags.
CHARGED_HADRON, NEUTRAL_HADRON, PHOTON, ELECTRON, MUON = range(5)

#: Mass in GeV given to a track: hadrons are taken for pions, as particle flow does.
_TRACK_MASS = {CHARGED_HADRON: 0.13957, ELECTRON: 0.000511, MUON: 0.10566}

#: Curvature of a unit charge: pT [GeV] = 0.2998e-3 · B [T] · ρ [mm].
_GEV_PER_TESLA_MM = 0.299792458e-3


@dataclass(frozen=True)
class DetectorConfig:
    """Constants of the detector. ⊕ adds in quadrature; η is the true pseudorapidity.

    Parameters
    ----------
    magnetic_field
        Solenoid field along the beam, in T.
    track_eta_max
        Tracks are found for |η| below this.
    track_pt_min
        Tracks are found for pT above this, in GeV.
    track_radius_max
        Tracks are found for particles produced closer to the beam than this, in mm.
    track_efficiency, track_efficiency_endcap
        Probability to find a charged hadron's or electron's track, for |η| below and above ``barrel_eta_max``.
    muon_efficiency
        Probability to find a muon.
    barrel_eta_max
        |η| where the barrel ends.
    track_pt_constant, track_pt_slope
        σ(pT)/pT = constant ⊕ slope · pT (slope in 1/GeV), twice that in the endcaps.
    electron_pt_constant
        The constant for electrons.
    d0_constant, d0_scattering
        σ(d0) = constant ⊕ scattering · √cosh(η) / pT, in mm and mm·GeV.
    dz_constant, dz_scattering
        σ(dz) = constant · cosh(η) ⊕ scattering · cosh(η)^1.5 / pT, in mm and mm·GeV.
    calorimeter_eta_max
        Calorimeters see |η| below this.
    forward_eta_min
        |η| from which both calorimeters have forward towers.
    ecal_tower, hcal_tower, forward_tower
        Width of a tower in η and φ.
    ecal_stochastic, ecal_noise, ecal_constant
        σ(E)/E = stochastic/√E ⊕ noise/E ⊕ constant of a photon tower (√GeV, GeV, 1).
    hcal_stochastic, hcal_noise, hcal_constant
        The same for a neutral-hadron tower.
    ecal_et_min, hcal_et_min
        Smallest measured transverse energy of a tower that is kept, in GeV.
    """

    magnetic_field: float = 3.8
    track_eta_max: float = 2.5
    track_pt_min: float = 0.8
    track_radius_max: float = 250.0
    track_efficiency: float = 0.95
    track_efficiency_endcap: float = 0.88
    muon_efficiency: float = 0.98
    barrel_eta_max: float = 1.5
    track_pt_constant: float = 0.01
    track_pt_slope: float = 1.5e-4
    electron_pt_constant: float = 0.02
    d0_constant: float = 0.010
    d0_scattering: float = 0.085
    dz_constant: float = 0.030
    dz_scattering: float = 0.100
    calorimeter_eta_max: float = 5.0
    forward_eta_min: float = 3.0
    ecal_tower: float = 0.0174
    hcal_tower: float = 0.087
    forward_tower: float = 0.175
    ecal_stochastic: float = 0.05
    ecal_noise: float = 0.20
    ecal_constant: float = 0.01
    hcal_stochastic: float = 1.0
    hcal_noise: float = 0.5
    hcal_constant: float = 0.07
    ecal_et_min: float = 1.0
    hcal_et_min: float = 1.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if "efficiency" in field.name else np.inf
            if not 0 <= value <= most:
                raise ConfigError(f"detector.{field.name}={value} is not possible; expected 0 to {most:g}")
            if value == 0 and (field.name == "magnetic_field" or field.name.endswith("_tower")):
                raise ConfigError(f"detector.{field.name}=0 is not possible; expected more than 0")


@dataclass(frozen=True)
class Particles:
    """Stable visible particles of a batch of events, each column of shape (particles,), grouped by event.

    Parameters
    ----------
    event
        Number of the event within the batch, rising.
    pid
        PDG number.
    charge
        Charge in units of e.
    px, py, pz, energy
        Four-momentum in GeV.
    x, y, z
        Production vertex in mm; the primary vertex is the origin.
    """

    event: NDArray[np.int64]
    pid: NDArray[np.int32]
    charge: Array
    px: Array
    py: Array
    pz: Array
    energy: Array
    x: Array
    y: Array
    z: Array

    def __getitem__(self, index: NDArray[np.bool_]) -> Particles:
        return Particles(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def pt(self) -> Array:
        """Transverse momentum in GeV."""
        return np.hypot(self.px, self.py)

    @property
    def eta(self) -> Array:
        """Pseudorapidity."""
        return np.arcsinh(self.pz / np.maximum(self.pt, 1e-12))

    @property
    def phi(self) -> Array:
        """Azimuth in radians."""
        return np.arctan2(self.py, self.px)


@dataclass(frozen=True)
class Candidates:
    """Candidates that the detector reports for a batch of events, each column (candidates,), grouped by event.

    ``category`` is one of :data:`CHARGED_HADRON`, … :data:`MUON`. Impact parameters and their resolutions are in mm, 0
    for neutral candidates. ``mass`` is the mass hypothesis; the energy is √(p² + mass²).
    """

    event: NDArray[np.int64]
    category: NDArray[np.int32]
    charge: Array
    px: Array
    py: Array
    pz: Array
    mass: Array
    d0: Array
    d0_error: Array
    dz: Array
    dz_error: Array

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        return Candidates(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def energy(self) -> Array:
        """Energy √(p² + mass²) in GeV."""
        return np.sqrt(self.px**2 + self.py**2 + self.pz**2 + self.mass**2)

    def with_momentum(self, px: Array, py: Array, pz: Array) -> Candidates:
        """Return a copy with other momenta and the same masses."""
        return replace(self, px=px, py=py, pz=pz)

    @classmethod
    def concatenate(cls, parts: list[Candidates]) -> Candidates:
        """Join candidates and group them by event."""
        joined = cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))
        return joined[np.argsort(joined.event, kind="stable")]


def detect(particles: Particles, config: DetectorConfig, *, rng: np.random.Generator) -> Candidates:
    """Simulate the candidates that the detector makes of stable visible particles.

    A charged particle that leaves no track (inefficiency, too soft, too far out) is measured by the calorimeters as if
    it were neutral; a muon is then lost.
    """
    tracked = _has_track(particles, config, rng=rng)
    pid = np.abs(particles.pid)
    shower = ~tracked & (pid != 13) & (np.abs(particles.eta) < config.calorimeter_eta_max)
    electromagnetic = (pid == 22) | (pid == 11)
    return Candidates.concatenate(
        [
            _tracks(particles[tracked], config, rng=rng),
            _towers(particles[shower & electromagnetic], config, PHOTON, rng=rng),
            _towers(particles[shower & ~electromagnetic], config, NEUTRAL_HADRON, rng=rng),
        ]
    )


def impact_parameters(particles: Particles, magnetic_field: float) -> tuple[Array, Array]:
    """Compute true transverse and longitudinal impact parameters (mm) of charged particles on helices about the beam.

    ``d0`` is the distance of the helix from the beam line in the transverse plane, with the sign of x·py − y·px for a
    straight line; ``dz`` is the z coordinate of the point of closest approach.

    Parameters
    ----------
    particles
        Charged particles; a charge of 0 is not allowed.
    magnetic_field
        Field along +z, in T.
    """
    sign, pt = np.sign(particles.charge), particles.pt
    radius = pt / (_GEV_PER_TESLA_MM * magnetic_field * np.abs(particles.charge))
    # In a field along +z a positive charge circles clockwise: the centre lies to the right of the momentum.
    centre_x = particles.x + sign * radius * particles.py / pt
    centre_y = particles.y - sign * radius * particles.px / pt
    d0 = sign * (np.hypot(centre_x, centre_y) - radius)
    # Angle about the centre from the closest approach to the vertex: in the frame of the closest approach's direction.
    out_x, out_y = particles.x - centre_x, particles.y - centre_y
    angle = np.arctan2(out_x * centre_y - out_y * centre_x, -out_x * centre_x - out_y * centre_y)
    arc = -sign * radius * angle
    return d0, particles.z - arc * particles.pz / pt


def _has_track(particles: Particles, config: DetectorConfig, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    eta = np.abs(particles.eta)
    efficiency = np.where(
        np.abs(particles.pid) == 13,
        config.muon_efficiency,
        np.where(eta < config.barrel_eta_max, config.track_efficiency, config.track_efficiency_endcap),
    )
    found: NDArray[np.bool_] = (
        (particles.charge != 0)
        & (eta < config.track_eta_max)
        & (particles.pt > config.track_pt_min)
        & (np.hypot(particles.x, particles.y) < config.track_radius_max)
        & (rng.random(len(eta)) < efficiency)
    )
    return found


def _tracks(particles: Particles, config: DetectorConfig, *, rng: np.random.Generator) -> Candidates:
    pid, pt, cosh = np.abs(particles.pid), particles.pt, np.cosh(particles.eta)
    category = np.select([pid == 11, pid == 13], [ELECTRON, MUON], CHARGED_HADRON).astype(np.int32)
    constant = np.where(category == ELECTRON, config.electron_pt_constant, config.track_pt_constant)
    endcap = np.abs(particles.eta) > config.barrel_eta_max
    resolution = np.hypot(constant, config.track_pt_slope * pt) * np.where(endcap, 2.0, 1.0)
    # The direction is far better measured than the momentum: all three components are scaled together.
    scale = _smear(np.ones_like(pt), resolution, rng=rng)
    d0, dz = impact_parameters(particles, config.magnetic_field)
    d0_error = np.hypot(config.d0_constant, config.d0_scattering * np.sqrt(cosh) / pt)
    dz_error = np.hypot(config.dz_constant * cosh, config.dz_scattering * cosh**1.5 / pt)
    return Candidates(
        event=particles.event,
        category=category,
        charge=particles.charge,
        px=particles.px * scale,
        py=particles.py * scale,
        pz=particles.pz * scale,
        mass=np.array([_TRACK_MASS.get(i, 0.0) for i in range(5)])[category],
        d0=d0 + d0_error * rng.standard_normal(len(pt)),
        d0_error=d0_error,
        dz=dz + dz_error * rng.standard_normal(len(pt)),
        dz_error=dz_error,
    )


def _towers(particles: Particles, config: DetectorConfig, category: int, *, rng: np.random.Generator) -> Candidates:
    """Make one massless candidate per tower above threshold, at a random point of the tower."""
    if category == PHOTON:
        width, threshold = config.ecal_tower, config.ecal_et_min
        stochastic, noise, constant = config.ecal_stochastic, config.ecal_noise, config.ecal_constant
    else:
        width, threshold = config.hcal_tower, config.hcal_et_min
        stochastic, noise, constant = config.hcal_stochastic, config.hcal_noise, config.hcal_constant
    eta, phi = particles.eta, particles.phi
    widths = np.where(np.abs(eta) < config.forward_eta_min, width, config.forward_tower)
    around = np.floor(2 * np.pi / widths)  # a whole number of towers around the beam
    columns = np.floor(eta / widths)
    rows = np.minimum(np.floor((phi + np.pi) * around / (2 * np.pi)), around - 1)
    cells = np.stack([particles.event, widths, around, columns, rows])
    cells, tower_of = np.unique(cells, axis=1, return_inverse=True)
    event, widths, around, columns, rows = cells
    true_energy = np.bincount(tower_of.ravel(), weights=particles.energy, minlength=len(event)).astype(np.float64)
    relative = np.sqrt(stochastic**2 / true_energy + (noise / true_energy) ** 2 + constant**2)
    energy = _smear(true_energy, relative, rng=rng)
    eta = (columns + rng.random(len(event))) * widths
    phi = (rows + rng.random(len(event))) * 2 * np.pi / around - np.pi
    pt = energy / np.cosh(eta)
    zero = np.zeros_like(pt)
    candidates = Candidates(
        event=event.astype(np.int64),
        category=np.full(len(event), category, dtype=np.int32),
        charge=zero,
        px=pt * np.cos(phi),
        py=pt * np.sin(phi),
        pz=pt * np.sinh(eta),
        mass=zero,
        d0=zero,
        d0_error=zero,
        dz=zero,
        dz_error=zero,
    )
    return candidates[pt > threshold]


def _smear(value: Array, relative: Array, *, rng: np.random.Generator) -> Array:
    """Draw log-normal values with the given means and relative standard deviations: never negative."""
    width = np.sqrt(np.log1p(relative**2))
    return value * np.exp(width * rng.standard_normal(len(value)) - width**2 / 2)
