"""Clustering, soft drop and N-subjettiness against independent calculations."""

from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
from scipy.optimize import minimize

pytest.importorskip("fastjet")

from jetsym.jets.generate.detector import Candidates
from jetsym.jets.generate.substructure import JetSelection, find_jets, nsubjettiness, soft_drop_mass

SELECTION = JetSelection()


def four_momenta(pt: object, y: object, phi: object) -> np.ndarray:
    """(n, 4) massless momenta (E, px, py, pz)."""
    pt, y, phi = np.broadcast_arrays(*np.atleast_1d(pt, y, phi))
    return np.stack([pt * np.cosh(y), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(y)], axis=1)


def as_jets(*jets: np.ndarray) -> ak.Array:
    energy, px, py, pz = np.concatenate(jets).T
    columns = ak.zip({"px": px, "py": py, "pz": pz, "E": energy}, with_name="Momentum4D")
    return ak.unflatten(columns, [len(jet) for jet in jets])


def random_jet(n: int, *, seed: int) -> np.ndarray:
    """A jet astride φ = π."""
    rng = np.random.default_rng(seed)
    return four_momenta(rng.exponential(20, n) + 1, rng.normal(0.4, 0.25, n), rng.normal(np.pi, 0.25, n))


def coordinates(p4: np.ndarray) -> tuple[float, float, float]:
    energy, px, py, pz = p4
    return float(np.hypot(px, py)), float(0.5 * np.log((energy + pz) / (energy - pz))), float(np.arctan2(py, px))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    (_, y1, phi1), (_, y2, phi2) = coordinates(a), coordinates(b)
    return float(np.hypot(y1 - y2, np.remainder(phi1 - phi2 + np.pi, 2 * np.pi) - np.pi))


def mass(p4: np.ndarray) -> float:
    return float(np.sqrt(max(p4[0] ** 2 - np.sum(p4[1:] ** 2), 0.0)))


def soft_drop_by_hand(jet: np.ndarray, z_cut: float) -> float:
    """Cambridge/Aachen by brute force, then undone from the top until the branches are balanced (β = 0)."""
    nodes = [(p4, None) for p4 in jet]
    while len(nodes) > 1:
        i, j = min(
            itertools.combinations(range(len(nodes)), 2), key=lambda ij: distance(nodes[ij[0]][0], nodes[ij[1]][0])
        )
        merged = (nodes[i][0] + nodes[j][0], (nodes[i], nodes[j]))
        nodes = [node for k, node in enumerate(nodes) if k not in (i, j)] + [merged]
    node = nodes[0]
    while node[1] is not None:
        soft, hard = sorted(node[1], key=lambda branch: coordinates(branch[0])[0])
        pt_soft, pt_hard = coordinates(soft[0])[0], coordinates(hard[0])[0]
        if pt_soft / (pt_soft + pt_hard) > z_cut:
            break
        node = hard
    return mass(node[0])


@pytest.mark.parametrize("seed", range(6))
def test_soft_drop_mass_is_the_brute_force_one(seed: int) -> None:
    jets = [random_jet(n, seed=10 * seed + n) for n in (2, 5, 17, 30)]
    expected = [soft_drop_by_hand(jet, 0.1) for jet in jets]
    np.testing.assert_allclose(soft_drop_mass(as_jets(*jets), SELECTION), expected, rtol=1e-5, atol=1e-3)


def test_soft_drop_removes_a_soft_branch_and_keeps_a_balanced_one() -> None:
    core = four_momenta([300.0, 200.0], [0.0, 0.1], [0.0, 0.0])
    soft = four_momenta(40.0, 0.0, 0.6)
    jet = np.concatenate([core, soft])
    (groomed,) = soft_drop_mass(as_jets(jet), SELECTION)
    assert groomed == pytest.approx(mass(core.sum(axis=0)), rel=1e-6)
    assert groomed < 0.6 * mass(jet.sum(axis=0))
    (kept,) = soft_drop_mass(as_jets(np.concatenate([core, 2 * soft])), SELECTION)
    assert kept == pytest.approx(mass(core.sum(axis=0) + 2 * soft[0]), rel=1e-6)


def test_tau1_is_the_smallest_sum_of_distances() -> None:
    jets = [random_jet(n, seed=n) for n in (3, 8, 25)]
    taus = nsubjettiness(as_jets(*jets), SELECTION)
    for jet, tau in zip(jets, taus[:, 0], strict=True):
        pt, y, phi = np.array([coordinates(p4) for p4 in jet]).T
        phi = np.remainder(phi, 2 * np.pi)  # the jets sit at φ = π
        norm = np.sum(pt) * 0.8
        best = min(
            minimize(
                lambda axis, pt=pt, y=y, phi=phi: np.sum(pt * np.hypot(y - axis[0], phi - axis[1])),
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 5000},
            ).fun
            for start in ((np.average(y, weights=pt), np.average(phi, weights=pt)), (y[pt.argmax()], phi[pt.argmax()]))
        )
        assert tau == pytest.approx(best / norm, rel=2e-3)


def test_taus_of_a_jet_of_three_particles_by_hand() -> None:
    # Axes on the hard particles are best; the particle without an axis of its own belongs to the nearest one.
    jet = four_momenta([300.0, 200.0, 50.0], [0.0, 0.5, 0.1], [0.0, 0.0, 0.0])
    (tau,) = nsubjettiness(as_jets(jet), SELECTION)
    norm = 550 * 0.8
    assert tau[0] == pytest.approx((200 * 0.5 + 50 * 0.1) / norm, rel=3e-3)  # the minimisation stops early
    assert tau[1] == pytest.approx(50 * 0.1 / norm, rel=3e-3)
    np.testing.assert_allclose(tau[2:], 0.0, atol=1e-9)


def test_taus_fall_and_tell_prongs() -> None:
    rng = np.random.default_rng(0)
    prongs = [(0.0, 0.0), (0.5, 0.0), (0.2, 0.45)]
    jets = []
    for n in (1, 2, 3):
        centre = np.array(prongs)[np.arange(30) % n]
        jets.append(four_momenta(rng.uniform(5, 30, 30), *(centre + rng.normal(0, 0.01, (30, 2))).T))
    taus = nsubjettiness(as_jets(*jets), SELECTION)
    assert np.all(np.diff(taus, axis=1) < 0)
    assert taus[0, 0] < 0.03
    assert taus[1, 1] < 0.03 < 0.2 < taus[1, 0]
    assert taus[2, 2] < 0.03 < 0.1 < taus[2, 1]


def make_candidates(events: list[np.ndarray]) -> Candidates:
    event = np.repeat(np.arange(len(events)), [len(particles) for particles in events])
    _, px, py, pz = np.concatenate(events).T
    zero = np.zeros(len(event))
    return Candidates(event, zero.astype(np.int32), zero, px, py, pz, zero, zero, zero, zero, zero)


def test_find_jets_selects_sorts_and_numbers_constituents() -> None:
    nothing = np.empty((0, 4))
    events = [
        np.concatenate([four_momenta(600.0, 0.5, 3.1), four_momenta([300.0, 400.0], [0.1, 0.2], [0.0, 0.1])]),
        nothing,
        four_momenta([499.0, 1001.0, 800.0, 501.0], [0.0, 0.0, 2.01, -1.99], [0.0, 2.0, 4.0, 5.0]),
        four_momenta([10.0, 350.0, 300.0], [0.0, 0.1, 0.05], [3.1, -3.1, 3.0]),
    ]
    jets = find_jets(make_candidates(events), 4, SELECTION)
    assert jets.event.tolist() == [0, 0, 2, 3]
    assert [members.tolist() for members in jets.constituents] == [[2, 1], [0], [6], [8, 9, 7]]
    assert np.all(np.diff(jets.pt[:2]) < 0)
    for jet, p4 in [(0, events[0][1:].sum(axis=0)), (1, events[0][0]), (2, events[2][3]), (3, events[3].sum(axis=0))]:
        pt, _, phi = coordinates(p4)
        assert (jets.pt[jet], jets.phi[jet], jets.energy[jet]) == pytest.approx((pt, phi, p4[0]))
        assert jets.eta[jet] == pytest.approx(np.arcsinh(p4[3] / pt))


def test_no_jets_at_all() -> None:
    jets = find_jets(make_candidates([four_momenta(10.0, 0.0, 0.0)]), 1, SELECTION)
    assert len(jets) == 0
    assert jets.constituents == []
