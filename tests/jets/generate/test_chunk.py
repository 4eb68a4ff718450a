"""Generated jets: classes, selection, kinematics, categories, reproducibility. Every class is simulated once."""

from __future__ import annotations

import functools
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")

from jetsym.jets.generate.chunk import ChunkTask, JetTable, generate_chunk
from jetsym.jets.generate.matching import find_parents
from jetsym.jets.generate.processes import PROCESSES
from jetsym.jets.generate.source import EventSource
from jetsym.jets.schema import CLASSES, JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES

FAST = ("QCD", "Hqql", "Tbqq")
ALL = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CLASSES]
FLAGS = ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")
CODES = {
    "QCD": {50},
    "Hbb": {41},
    "Hcc": {42},
    "Hgg": {44},
    "H4q": {45},
    "Hqql": {46},
    "Zqq": {31, 32, 33},
    "Wqq": {21, 22},
    "Tbqq": {11, 12},
    "Tbl": {15, 16},
}


@functools.cache
def table_of(name: str) -> JetTable:
    return generate_chunk(ChunkTask(name, 24, seed=3, key=(0, 0)))


@functools.cache
def jets_of(name: str) -> ak.Array:
    return ak.zip(table_of(name).columns(), depth_limit=1)


def same(first: JetTable, second: JetTable) -> bool:
    pairs = [(first.counts, second.counts)]
    pairs += [(first.particles[name], second.particles[name]) for name in PARTICLE_BRANCHES]
    pairs += [(first.jets[name], second.jets[name]) for name in JET_BRANCHES]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ALL)
def test_schema_and_labels(name: str) -> None:
    table = table_of(name)
    assert len(table) == 24
    assert {branch: str(column.dtype) for branch, column in table.particles.items()} == PARTICLE_BRANCHES
    assert {branch: str(column.dtype) for branch, column in table.jets.items()} == JET_BRANCHES
    labels = np.stack([table.jets[branch].astype(int) for branch in LABEL_BRANCHES], axis=1)
    assert np.array_equal(labels, np.eye(10, dtype=int)[np.full(24, CLASSES.index(name))])


@pytest.mark.parametrize("name", ALL)
def test_selection_and_jet_momentum(name: str) -> None:
    jets = jets_of(name)
    assert np.all((jets.jet_pt > 500) & (jets.jet_pt < 1000) & (abs(jets.jet_eta) < 2))
    energy, px, py, pz = (
        ak.sum(ak.values_astype(jets[f"part_{c}"], "float64"), axis=1) for c in ("energy", "px", "py", "pz")
    )
    np.testing.assert_allclose(np.hypot(px, py), jets.jet_pt, rtol=1e-6)
    np.testing.assert_allclose(np.arcsinh(pz / np.hypot(px, py)), jets.jet_eta, atol=1e-6)
    np.testing.assert_allclose(np.arctan2(py, px), jets.jet_phi, atol=1e-6)
    np.testing.assert_allclose(energy, jets.jet_energy, rtol=1e-6)
    assert ak.num(jets.part_px).tolist() == jets.jet_nparticles.tolist()


@pytest.mark.parametrize("name", ALL)
def test_particles_are_sorted_and_lie_around_the_axis(name: str) -> None:
    jets = jets_of(name)
    px, py, pz, energy = (ak.values_astype(jets[f"part_{c}"], "float64") for c in ("px", "py", "pz", "energy"))
    pt = np.hypot(px, py)
    assert ak.all(pt[:, :-1] >= pt[:, 1:])
    sign = np.where(jets.jet_eta > 0, 1.0, -1.0)
    dphi = np.arctan2(py, px) - jets.jet_phi
    np.testing.assert_allclose(
        ak.flatten(jets.part_deta), ak.flatten(sign * (np.arcsinh(pz / pt) - jets.jet_eta)), atol=1e-6
    )
    np.testing.assert_allclose(
        ak.flatten(jets.part_dphi), ak.flatten(np.remainder(dphi + np.pi, 2 * np.pi) - np.pi), atol=1e-6
    )
    assert ak.max(abs(jets.part_dphi)) < 1.6
    assert ak.all(energy > 0)
    # The stored energy of a massless candidate is the modulus of its stored momentum, to the last bit.
    neutral, modulus = jets.part_charge == 0, np.sqrt(px**2 + py**2 + pz**2)
    assert ak.all(ak.values_astype(modulus, "float32")[neutral] == jets.part_energy[neutral])


@pytest.mark.parametrize("name", ALL)
def test_categories_charges_and_displacements_agree(name: str) -> None:
    particles = table_of(name).particles
    flags = np.stack([particles[flag] for flag in FLAGS], axis=1)
    assert np.array_equal(np.unique(flags), [0, 1])
    assert np.all(flags.sum(axis=1) == 1)
    charged = (particles["part_isNeutralHadron"] + particles["part_isPhoton"]) == 0
    assert np.array_equal(np.abs(particles["part_charge"]), charged)
    for name_ in ("part_d0err", "part_dzerr"):
        assert np.array_equal(particles[name_] > 0, charged)
    assert not particles["part_d0val"][~charged].any()
    assert not particles["part_dzval"][~charged].any()
    assert 0.3 < charged.mean() < 0.8


@pytest.mark.parametrize("name", ALL)
def test_substructure_is_sane(name: str) -> None:
    jets = table_of(name).jets
    mass = np.sqrt(np.maximum(jets["jet_energy"] ** 2 - (jets["jet_pt"] * np.cosh(jets["jet_eta"])) ** 2, 0))
    assert np.all(jets["jet_sdmass"] >= 0)
    assert np.all(jets["jet_sdmass"] < mass + 1)
    taus = np.stack([jets[f"jet_tau{i}"] for i in (1, 2, 3, 4)])
    assert np.all((taus > 0) & (taus < 1))
    assert np.mean(np.diff(taus, axis=0) < 0) > 0.98


@pytest.mark.parametrize("name", ALL)
def test_truth(name: str) -> None:
    jets = table_of(name).jets
    assert set(jets["aux_truth_match"]) <= CODES[name]
    dphi = np.remainder(jets["aux_genpart_phi"] - jets["jet_phi"] + np.pi, 2 * np.pi) - np.pi
    assert np.all(np.hypot(jets["aux_genpart_eta"] - jets["jet_eta"], dphi) < 0.8)
    pid = np.abs(jets["aux_genpart_pid"])
    assert set(pid) <= ({1, 2, 3, 4, 5, 21} if name == "QCD" else {PROCESSES[name].parent})
    assert np.all(jets["aux_genpart_pt"] > 150)


def test_the_early_filter_leaves_only_events_with_the_wanted_parents() -> None:
    for name in ("Hqql", "Zqq"):
        batch = EventSource(name, seed=1).batch(12)
        assert {len(find_parents(batch.record(i), PROCESSES[name])) for i in range(len(batch))} == {1}


def test_leptons_of_both_charges_and_kinds() -> None:
    batch = EventSource("Tbl", seed=2).batch(15)
    leptons = {int(pid) for pid in batch.pid[np.abs(batch.status) == 23] if abs(pid) in (11, 13, 15)}
    assert leptons == {-13, -11, 11, 13}


def test_neutrinos_are_invisible() -> None:
    batch = EventSource("QCD", seed=1).batch(5)
    visible = batch.visible()
    assert not np.isin(np.abs(visible.pid), [12, 14, 16]).any()
    assert np.isin(np.abs(batch.pid[batch.status > 0]), [12, 14, 16]).any()
    assert np.array_equal(np.unique(visible.event), np.arange(5))


def test_the_same_task_gives_the_same_jets_and_another_seed_or_key_gives_others() -> None:
    task = ChunkTask("QCD", 24, seed=3, key=(0, 0))
    assert same(generate_chunk(task), table_of("QCD"))
    assert not same(generate_chunk(replace(task, seed=4)), table_of("QCD"))
    assert not same(generate_chunk(replace(task, key=(0, 1))), table_of("QCD"))


def test_fewer_jets_are_the_first_of_more() -> None:
    assert same(generate_chunk(ChunkTask("QCD", 10, seed=3, key=(0, 0))), table_of("QCD")[:10])
    assert same(JetTable.concatenate([table_of("QCD")[:7], table_of("QCD")[7:]]), table_of("QCD"))
