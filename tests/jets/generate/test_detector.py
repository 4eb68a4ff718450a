"""The detector: helices, resolutions, towers, categories."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from jetsym.errors import ConfigError
from jetsym.jets.generate.detector import (
    CHARGED_HADRON,
    ELECTRON,
    MUON,
    NEUTRAL_HADRON,
    PHOTON,
    Candidates,
    DetectorConfig,
    Particles,
    detect,
    impact_parameters,
)


def make_particles(
    pid: int, charge: float, pt: float, eta: float, phi: float, *, n: int = 1, vertex: tuple[float, ...] = (0, 0, 0)
) -> Particles:
    """``n`` times the same massless particle."""
    momentum = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)
    columns = [np.full(n, value, dtype=np.float64) for value in (charge, *momentum, *vertex)]
    return Particles(np.arange(n), np.full(n, pid, dtype=np.int32), *columns)


def join(*parts: Particles) -> Particles:
    """Particles of several kinds, in one event."""
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Particles)}
    return Particles(**{**columns, "event": np.zeros(len(columns["pid"]), dtype=np.int64)})


def run(particles: Particles, *, seed: int = 0, **changes: float) -> Candidates:
    return detect(particles, replace(DetectorConfig(), **changes), rng=np.random.default_rng(seed))


def pt_of(candidates: Candidates) -> np.ndarray:
    return np.hypot(candidates.px, candidates.py)


@pytest.mark.parametrize("charge", [1.0, -1.0])
@pytest.mark.parametrize("pt", [0.9, 3.0, 40.0])
@pytest.mark.parametrize("phi", [0.3, 2.9, -1.7])
def test_impact_parameters_are_those_of_a_numerically_followed_helix(charge: float, pt: float, phi: float) -> None:
    vertex, field, eta = np.array([12.0, -31.0, 7.0]), 3.8, 0.7
    particles = make_particles(211, charge, pt, eta, phi, vertex=tuple(vertex))
    direction = np.array([np.cos(phi), np.sin(phi), np.sinh(eta)])

    def motion(_: float, state: np.ndarray) -> np.ndarray:
        # d(direction)/ds = κ direction × ẑ, with the curvature κ = 0.2998e-3 q B / pT per mm.
        turning = 0.299792458e-3 * charge * field / pt * np.cross(state[3:], [0, 0, 1])
        return np.concatenate([state[3:], turning])

    def position(arc: float) -> np.ndarray:
        state = np.concatenate([vertex, direction])
        return solve_ivp(motion, (0, arc), state, rtol=1e-10, atol=1e-12).y[:, -1]

    closest = minimize_scalar(
        lambda arc: np.hypot(*position(arc)[:2]), bounds=(-80, 80), method="bounded", options={"xatol": 1e-9}
    )
    x, y, z, dx, dy, _ = position(closest.x)
    d0, dz = impact_parameters(particles, field)
    assert d0[0] == pytest.approx(x * dy - y * dx, abs=1e-5)
    assert dz[0] == pytest.approx(z, abs=1e-5)


def test_impact_parameters_of_a_stiff_track_are_those_of_a_straight_line() -> None:
    particles = make_particles(211, -1.0, 1e5, -1.1, 0.8, vertex=(3.0, 1.0, -2.0))
    d0, dz = impact_parameters(particles, 3.8)
    along = 3.0 * np.cos(0.8) + 1.0 * np.sin(0.8)
    assert d0[0] == pytest.approx(3.0 * np.sin(0.8) - 1.0 * np.cos(0.8), abs=1e-4)
    assert dz[0] == pytest.approx(-2.0 - along * np.sinh(-1.1), abs=1e-4)


def test_prompt_tracks_have_the_resolution_that_is_stored() -> None:
    tracks = run(make_particles(211, 1.0, 5.0, 1.0, 0.4, n=20000), track_efficiency=1.0)
    assert np.mean(tracks.d0) == pytest.approx(0, abs=5 * tracks.d0_error[0] / np.sqrt(len(tracks)))
    assert np.std(tracks.d0 / tracks.d0_error) == pytest.approx(1, abs=0.03)
    assert np.std(tracks.dz / tracks.dz_error) == pytest.approx(1, abs=0.03)
    assert tracks.d0_error[0] == pytest.approx(np.hypot(0.010, 0.085 * np.sqrt(np.cosh(1.0)) / 5))
    assert run(make_particles(211, 1.0, 50.0, 1.0, 0.4), track_efficiency=1.0).d0_error[0] < tracks.d0_error[0]


@pytest.mark.parametrize(
    ("pid", "charge", "category", "mass"),
    [
        (211, 1, CHARGED_HADRON, 0.13957),
        (-321, -1, CHARGED_HADRON, 0.13957),
        (11, -1, ELECTRON, 0.000511),
        (-13, 1, MUON, 0.10566),
        (22, 0, PHOTON, 0.0),
        (130, 0, NEUTRAL_HADRON, 0.0),
        (2112, 0, NEUTRAL_HADRON, 0.0),
    ],
)
def test_categories(pid: int, charge: int, category: int, mass: float) -> None:
    (found,) = run(make_particles(pid, charge, 30.0, 0.3, 1.0), track_efficiency=1.0, muon_efficiency=1.0).category
    assert found == category
    candidates = run(make_particles(pid, charge, 30.0, 0.3, 1.0), track_efficiency=1.0, muon_efficiency=1.0)
    assert candidates.charge[0] == charge
    momentum2 = candidates.px**2 + candidates.py**2 + candidates.pz**2
    assert candidates.energy[0] ** 2 - momentum2[0] == pytest.approx(mass**2, abs=1e-9)
    displacement = np.array([candidates.d0, candidates.d0_error, candidates.dz, candidates.dz_error])
    assert np.all((displacement != 0) == (charge != 0))


@pytest.mark.parametrize(
    ("pid", "category", "change"),
    [
        (211, NEUTRAL_HADRON, {"track_efficiency": 0.0}),
        (11, PHOTON, {"track_efficiency": 0.0}),
        (211, NEUTRAL_HADRON, {"track_pt_min": 50.0}),
        (211, NEUTRAL_HADRON, {"track_radius_max": 3.0}),
        (211, NEUTRAL_HADRON, {"track_eta_max": 0.2}),
        (13, None, {"muon_efficiency": 0.0}),
    ],
)
def test_what_leaves_no_track_is_measured_by_the_calorimeters(pid: int, category: int | None, change: dict) -> None:
    found = run(make_particles(pid, 1, 40.0, 0.3, 1.0, vertex=(4.0, 0, 0)), **change)
    assert found.category.tolist() == ([] if category is None else [category])
    assert not found.charge.any()


def test_efficiency_and_momentum_resolution() -> None:
    tracks = run(make_particles(211, 1.0, 100.0, 0.4, 1.0, n=20000), hcal_et_min=1e9)
    assert len(tracks) / 20000 == pytest.approx(0.95, abs=0.006)
    assert np.mean(pt_of(tracks)) == pytest.approx(100, abs=0.07)
    assert np.std(pt_of(tracks)) == pytest.approx(100 * np.hypot(0.01, 0.015), rel=0.03)
    np.testing.assert_allclose(np.arctan2(tracks.py, tracks.px), 1.0, atol=1e-12)


@pytest.mark.parametrize(("pid", "stochastic", "noise", "constant"), [(22, 0.05, 0.2, 0.01), (2112, 1.0, 0.5, 0.07)])
def test_calorimeter_resolution(pid: int, stochastic: float, noise: float, constant: float) -> None:
    towers = run(make_particles(pid, 0, 50.0, 0.01, 1.0, n=20000))
    sigma = np.sqrt(stochastic**2 / 50 + (noise / 50) ** 2 + constant**2)
    assert np.mean(towers.energy) == pytest.approx(50, rel=4 * sigma / np.sqrt(20000))
    assert np.std(towers.energy) / 50 == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize(("pid", "width"), [(22, 0.0174), (2112, 0.087)])
@pytest.mark.parametrize("phi", [-np.pi, 0.0, np.pi, 3.1])
def test_towers_cover_the_particle_they_measure(pid: int, width: float, phi: float) -> None:
    towers = run(make_particles(pid, 0, 50.0, -1.234, phi, n=500))
    eta = np.arcsinh(towers.pz / pt_of(towers))
    dphi = np.remainder(np.arctan2(towers.py, towers.px) - phi + np.pi, 2 * np.pi) - np.pi
    assert len(towers) == 500
    assert np.ptp(eta) < width
    assert np.abs(eta + 1.234).max() < width
    assert np.abs(dphi).max() < 1.02 * width


def test_a_tower_adds_up_what_falls_into_it_and_different_events_do_not_mix() -> None:
    photon = make_particles(22, 0, 20.0, 0.005, 1.0)
    assert len(run(join(photon, photon, photon))) == 1
    assert run(join(photon, photon, photon)).energy[0] == pytest.approx(60, rel=0.1)
    assert len(run(join(photon, make_particles(22, 0, 20.0, 0.105, 1.0)))) == 2
    assert len(run(make_particles(22, 0, 20.0, 0.005, 1.0, n=3))) == 3
    assert len(run(join(photon, make_particles(130, 0, 20.0, 0.005, 1.0)))) == 2


def test_thresholds_and_acceptance() -> None:
    assert len(run(make_particles(22, 0, 0.3, 0.0, 1.0, n=20))) == 0
    assert len(run(make_particles(22, 0, 50.0, 5.1, 1.0, n=20))) == 0
    assert len(run(make_particles(22, 0, 50.0, 4.9, 1.0, n=20))) == 20
    assert len(run(make_particles(211, 1, 50.0, 2.6, 1.0, n=20), hcal_et_min=1e9)) == 0


def test_candidates_are_grouped_by_event_and_reproducible() -> None:
    rng = np.random.default_rng(1)
    n = 400
    pt, eta, phi = rng.exponential(5, n), rng.normal(0, 1.5, n), rng.uniform(-np.pi, np.pi, n)
    pid = rng.choice([211, 22, 130, 11, 13], n).astype(np.int32)
    charge = np.where(np.isin(pid, [22, 130]), 0.0, 1.0)
    momentum = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)
    particles = Particles(np.sort(rng.integers(0, 5, n)), pid, charge, *momentum, *np.zeros((3, n)))
    first, second, other = run(particles), run(particles), run(particles, seed=1)
    assert np.all(np.diff(first.event) >= 0)
    assert np.array_equal(first.px, second.px)
    assert not np.array_equal(first.px[:50], other.px[:50])


def test_impossible_constants_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"detector\.track_efficiency=1\.5 is not possible; expected 0 to 1"):
        DetectorConfig(track_efficiency=1.5)
    with pytest.raises(ConfigError, match=r"detector\.ecal_tower=0 is not possible"):
        DetectorConfig(ecal_tower=0.0)
    with pytest.raises(ConfigError, match=r"detector\.d0_constant=-1"):
        DetectorConfig(d0_constant=-1)
