"""Events as arrays of four-momenta: at rest, boosted, under all of the Lorentz group, with outputs that move along."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import jetsym
from jetsym.domains.arrays import Arrays
from jetsym.errors import ProbeError
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.symmetry import Symmetry

QUIET = {"progress": False, "l_max": 2}


def dot(a, b):
    return a[..., 0] * b[..., 0] - (a[..., 1:] * b[..., 1:]).sum(-1)


@pytest.fixture
def events():
    """Four particles each, the first massless, and one event at rest."""
    rng = np.random.default_rng(0)
    p = rng.normal(size=(8, 4, 3))
    p[0, 3] = -p[0, :3].sum(0)
    mass = rng.uniform(0, 1, size=(8, 4)) * (np.arange(4) > 0)
    return np.concatenate([np.sqrt((p**2).sum(-1) + mass**2)[..., None], p], axis=-1)


def invariants(p):
    """Masses of pairs, and a matrix element of two of them: s, t → (s² + t²)/(s + t)²."""
    s, t = dot(p[:, 0] + p[:, 1], p[:, 0] + p[:, 1]), dot(p[:, 0] + p[:, 2], p[:, 0] + p[:, 2])
    return {"s": s, "element": (s**2 + t**2) / (s + t) ** 2}


def four_vectors(p):
    total = p.sum(1)
    return {"sum": total, "each": p * dot(total, total)[:, None, None]}


ALL = {"s": "scalar", "element": "scalar", "sum": "four-vector", "each": "four-vector"}
WHERE = [
    {"frame": "rest"},
    {"group": "SO3", "frame": "rest", "method": "random", "n_rotations": 4},
    {"group": "boost", "widths": [1.0]},
    {"group": "boost", "axis": [1, 2, 2], "widths": [2.0]},
    {},
]


@pytest.mark.parametrize("where", WHERE, ids=str)
@pytest.mark.parametrize("as_given", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_invariants_and_four_vectors_read_zero(events, where, as_given):
    report = jetsym.probe(
        lambda p: invariants(p) | four_vectors(p), as_given(events), outputs=ALL, **{**QUIET, **where}
    )
    for name, item in report.equivariance.items():
        assert item.is_within_rounding, (name, item.relative)
        assert item.noise_floor < 1e-13


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_what_has_another_law_does_not(events, where):
    def model(p):
        return {"energy": p[:, 1, 0] * p[:, 2, 3], "time": np.broadcast_to([1.0, 0, 0, 0], (len(p), 4)) + 0 * p[:, 0]}

    kinds = {"energy": "scalar", "time": "four-vector"}
    report = jetsym.probe(model, events, outputs=kinds, **{**QUIET, **where})
    assert report.equivariance["energy"].relative > 0.05
    if where:  # rotations in the lab keep (1, 0, 0, 0)
        assert report.equivariance["time"].relative > 0.02


def test_projections_on_the_beam_have_their_spectrum(events):
    """E* and the components of p* at rest: p*_z is (1,+), p*_z² − |p*|²/3 is (2,+), E* invariant."""
    domain = Arrays()
    _, action = domain.act(events, Symmetry("O3", frame="rest"), seed=0)

    def model(p):
        total = p.sum(1)
        energy = dot(p[:, 0], total) / np.sqrt(dot(total, total))
        beam = action.back(p, None, p[None, :, 0])[0]  # where the event is at rest
        return {"energy": energy, "z": beam[:, 3], "quadrupole": beam[:, 3] ** 2 - (beam[:, 1:] ** 2).sum(-1) / 3}

    report = jetsym.probe(model, events, frame="rest", **QUIET)
    shares = dict(zip(report.layers, report.fractions, strict=True))
    names = list(map(str, report.irreps))
    for layer, irrep in (("energy", "(0,+)"), ("z", "(1,+)"), ("quadrupole", "(2,+)")):
        np.testing.assert_allclose(shares[layer][names.index(irrep)], 1, atol=1e-12)


def test_a_boost_along_the_beam_shares_its_power_in_closed_form():
    """Of E = m cosh(y₀ + y), uniform in y, on [−1, 1] with y₀ = 0: A²/N = 1 − sinh²1 / (½ + sinh 2/4)."""
    p4 = np.array([[[2.0, 0.0, 0.0, 0.0]]])
    report = jetsym.probe(lambda p: p[:, 0, 0], p4, group="boost", widths=[1.0], progress=False, l_max=8)
    expected = 1 - np.sinh(1.0) ** 2 / (0.5 + np.sinh(2.0) / 4)
    np.testing.assert_allclose(report.squared[0, 0], expected, rtol=1e-10)


def test_boosts_are_those_of_matrices(events):
    _, action = Arrays().act(events, Symmetry("boost", axis="x"), seed=0)
    rapidity = np.array([0.3, -1.2])
    matrices = np.stack([expm(y * GENERATORS["K_x"]) for y in rapidity])
    expected = np.einsum("nij,spj->nspi", matrices, events).reshape(-1, 4, 4)
    np.testing.assert_allclose(action.move(events, rapidity), expected, rtol=1e-13, atol=1e-14)
    back = action.back(events, rapidity, expected.reshape(2, 8, 4, 4))
    np.testing.assert_allclose(back, np.stack([events, events]), rtol=1e-12, atol=1e-13)


def test_turns_at_rest_keep_the_total_and_all_products(events):
    fast = np.einsum("ij,spj->spi", expm(5.0 * (0.6 * GENERATORS["K_x"] + 0.8 * GENERATORS["K_z"])), events)
    _, action = Arrays().act(fast, Symmetry("O3", frame="rest"), seed=0)
    turns = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3, 3)))[0]
    moved = action.move(fast, turns).reshape(3, 8, 4, 4)
    np.testing.assert_allclose(moved.sum(2), np.stack([fast.sum(1)] * 3), rtol=1e-9, atol=1e-9)
    before, after = (dot(p[..., :, None, :], p[..., None, :, :]) for p in (fast, moved))
    np.testing.assert_allclose(after, np.stack([before] * 3), rtol=1e-6, atol=1e-6 * np.abs(before).max())
    assert np.abs(moved - fast).max() > 1


def test_layouts_constants_and_others_stay_in_place(events):
    """Energies last, particles last, with a column that stays: (samples, 5, particles)."""
    other = np.concatenate([events[..., [1, 2, 3, 0]], np.arange(32.0).reshape(8, 4, 1)], axis=-1).transpose(0, 2, 1)
    moves = {0: jetsym.moves("four-vector", order="px py pz e charge", axis=1)}

    def model(p):
        q = np.moveaxis(np.asarray(p), 1, -1)
        return {"charge": q[..., 4].sum(-1), **invariants(q[..., [3, 0, 1, 2]])}

    for where in ({"frame": "rest"}, {"group": "boost", "widths": [1.0]}):
        report = jetsym.probe(model, other, moves=moves, **QUIET, **where)
        assert all(item.is_within_rounding for item in report.equivariance.values())


def test_masked_points_do_not_count(events):
    mask = np.ones((8, 4), dtype=bool)
    mask[::2, 3] = False
    padded = np.where(mask[..., None], events, [1.0, 50.0, 3.0, 2.0])

    def model(p, mask):
        total = (p * mask[..., None]).sum(1)
        return {"mass": dot(total, total), "total": total}

    kinds = {"mass": "scalar", "total": "four-vector"}
    report = jetsym.probe(model, (padded, mask), outputs=kinds, frame="rest", **QUIET)
    assert "True for real points" in report.meta["moves"]["mask"]
    assert all(item.is_within_rounding for item in report.equivariance.values())


def test_incoming_particles_have_the_same_frame_at_rest(events):
    """With energies of either sign: all written as outgoing, so that the sum vanishes, or as they are."""
    half = events.sum(1, keepdims=True) / 2
    alone = jetsym.probe(lambda p: p[:, 0, 0], events, frame="rest", **QUIET)
    for sign in (1, -1):
        both = np.concatenate([events, sign * half, sign * half], axis=1)
        found = jetsym.probe(lambda p: p[:, 0, 0], both, frame="rest", **QUIET)
        np.testing.assert_allclose(found.fractions, alone.fractions, atol=1e-12)


def test_samples_without_a_rest_frame_are_named(events):
    line = np.array([[5.0, 3, 0, 4]] * 4)
    with pytest.raises(ProbeError, match="1 of 9 samples have no rest frame; the first is sample 8.*E = 20"):
        jetsym.probe(lambda p: p[:, 0, 0], np.concatenate([events, line[None]]), frame="rest", **QUIET)
    with pytest.raises(ProbeError, match=r"expected four-vectors \(…, 4\)"):
        jetsym.probe(lambda p: p[:, 0, 0], events[..., 1:], frame="rest", **QUIET)
    with pytest.raises(ProbeError, match="axis='jet' needs jets"):
        jetsym.probe(lambda p: p[:, 0, 0], events, group="boost", axis="jet", **QUIET)
    with pytest.raises(ProbeError, match="is said to be 'vector', whose law is known for rotations in the lab"):
        jetsym.probe(lambda p: p[:, 0, 1:], events, group="boost", outputs={"out": "vector"}, **QUIET)


def test_samples_of_other_sizes(events):
    records = [{"p": events[place, : 2 + place % 3]} for place in range(6)]

    def model(given):
        return {
            "sum": np.stack([one["p"].sum(0) for one in given]),
            "first": np.stack([one["p"][0, 0] for one in given]),
        }

    kinds = {"sum": "four-vector", "first": "scalar"}
    for where in ({"frame": "rest"}, {"group": "boost", "widths": [1.0]}):
        report = jetsym.probe(model, records, outputs=kinds, **QUIET, **where)
        assert report.equivariance["sum"].is_within_rounding
        assert report.equivariance["first"].relative > 0.1


def test_all_of_the_lorentz_group(events, tmp_path):
    def model(p):
        return invariants(p) | four_vectors(p) | {"time": p[:, 1, 0]}

    kinds = ALL | {"time": "scalar"}
    report = jetsym.probe(model, events, group="lorentz", outputs=kinds, limit=4, **QUIET)
    assert list(report.compact) == ["O3 rest", "O3 lab", "SO2 beam"]
    assert list(report.windows) == ["beam", "x", "y"]
    assert list(report.local) == ["beam"]
    for part in (*report.compact.values(), *report.windows.values()):
        assert {name for name, item in part.equivariance.items() if not item.is_within_rounding} <= {"time"}
    slopes = dict(zip(report.local["beam"].layers, np.sqrt(report.local["beam"].squared), strict=True))
    assert max(slopes[name].max() for name in ALL) < 1e-11  # four-vectors move as X f, which is their law
    energy = events[:4, 1]
    np.testing.assert_allclose(  # K_i takes E to p_i
        slopes["time"][3:], np.sqrt((energy[:, 1:] ** 2).sum(0) / (energy[:, 0] ** 2).sum()), rtol=1e-8
    )
    again = type(report).load(report.save(tmp_path / "report.json"))
    assert str(again) == str(report)
    report.plot()


def test_four_vectors_of_jets(make_jets):
    jets = make_jets(4, seed=3, dtype=torch.float64, max_particles=8, min_particles=4)

    def model(batch):
        return {"total": batch.p4.sum(1), "lab": batch.p4.sum(1) * batch.p4[:, 0, :1], "axis": batch.jet_p4}

    kinds = dict.fromkeys(("total", "lab", "axis"), "four-vector")
    for where in (
        {"frame": "rest"},
        {"group": "boost", "widths": [1.0]},
        {"group": "boost", "axis": "jet", "widths": [1.0]},
        {"group": "boost", "axis": "random", "widths": [1.0]},
        {"group": "boost", "axis": "x", "widths": [1.0]},
    ):
        found = jetsym.probe(model, jets, outputs=kinds, **QUIET, **where).equivariance
        assert abs(found["total"].relative) < 1e-9, where
        assert abs(found["axis"].relative) < 1e-9, where
        assert found["lab"].relative > 0.1, where
