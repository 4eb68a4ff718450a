"""Chunks, the units of work: a fixed number of jets of one class, a pure function of its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from jetsym.jets.generate.detector import Candidates, DetectorConfig, detect
from jetsym.jets.generate.matching import Parent, find_parents, match
from jetsym.jets.generate.processes import PROCESSES
from jetsym.jets.generate.source import EventSource
from jetsym.jets.generate.substructure import Jets, JetSelection, find_jets, nsubjettiness, soft_drop_mass
from jetsym.jets.schema import CLASSES, JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES

__all__ = ["ChunkTask", "JetTable", "generate_chunk"]

#: Events that are simulated together. Part of what a seed means: another number gives other jets.
_EVENTS_PER_BATCH = 50

_FLAGS = ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")


@dataclass(frozen=True)
class ChunkTask:
    """The task of one call of :func:`generate_chunk`.

    Parameters
    ----------
    label
        Class.
    n_jets
        Number of jets.
    seed
        The sample's seed.
    key
        Numbers of the class, the split, the file and the chunk, which tell this chunk from all others of the sample.
    detector, selection
        Constants of the detector and of the selection of jets.
    """

    label: str
    n_jets: int
    seed: int
    key: tuple[int, ...]
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    selection: JetSelection = field(default_factory=JetSelection)

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}, chunk {self.key}"


@dataclass(frozen=True)
class JetTable:
    """Jets as flat columns with JetClass's names and types: cheap to send from one process to another.

    Parameters
    ----------
    counts
        (jets,) number of particles of each jet.
    particles
        Branch -> (Σ counts,) values.
    jets
        Branch -> (jets,) values.
    """

    counts: NDArray[np.int64]
    particles: dict[str, NDArray[np.generic]]
    jets: dict[str, NDArray[np.generic]]

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, jets: slice) -> JetTable:
        offsets = np.concatenate([[0], np.cumsum(self.counts)])
        start, stop, _ = jets.indices(len(self))
        inside = slice(offsets[start], offsets[stop])
        return JetTable(
            self.counts[start:stop],
            {name: column[inside] for name, column in self.particles.items()},
            {name: column[start:stop] for name, column in self.jets.items()},
        )

    @classmethod
    def concatenate(cls, tables: Sequence[JetTable]) -> JetTable:
        """Join tables along the jets."""
        first = tables[0]
        return cls(
            np.concatenate([table.counts for table in tables]),
            {name: np.concatenate([table.particles[name] for table in tables]) for name in first.particles},
            {name: np.concatenate([table.jets[name] for table in tables]) for name in first.jets},
        )

    def columns(self) -> dict[str, ak.Array | NDArray[np.generic]]:
        """Return ragged awkward arrays and flat numpy arrays by branch name, as the writer takes them."""
        offsets = ak.index.Index64(np.concatenate([[0], np.cumsum(self.counts)]))
        ragged = {
            name: ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(column)))
            for name, column in self.particles.items()
        }
        return {**ragged, **self.jets}


def generate_chunk(task: ChunkTask) -> JetTable:
    """Simulate events until the chunk is full. The same task gives the same jets, bit for bit, on the same platform."""
    for_pythia, for_detector = np.random.SeedSequence(task.seed, spawn_key=task.key).spawn(2)
    source = EventSource(task.label, seed=1 + int(for_pythia.generate_state(1, np.uint64)[0] % 900_000_000))
    rng = np.random.default_rng(for_detector)
    tables: list[JetTable] = []
    while sum(map(len, tables)) < task.n_jets:
        tables.append(_simulate(source, task, rng=rng))
    return JetTable.concatenate(tables)[: task.n_jets]


def _simulate(source: EventSource, task: ChunkTask, *, rng: np.random.Generator) -> JetTable:
    """Make all jets of the class in the next batch of events."""
    process = PROCESSES[task.label]
    batch = source.batch(_EVENTS_PER_BATCH)
    candidates = _as_stored(detect(batch.visible(), task.detector, rng=rng))
    jets = find_jets(candidates, len(batch), task.selection)
    kept: list[int] = []
    matched: list[Parent] = []
    parents: list[Parent] = []
    event = -1
    for jet in range(len(jets)):
        if jets.event[jet] != event:
            event = int(jets.event[jet])
            parents = find_parents(batch.record(event), process)
        found = match(jets.eta[jet], jets.phi[jet], parents, radius=task.selection.radius)
        if found is not None:
            kept.append(jet)
            matched.append(parents.pop(found))  # a parent makes one jet only: the first, which has the larger pT
    return _table(jets.take(kept), candidates, matched, task)


def _as_stored(candidates: Candidates) -> Candidates:
    """Round momenta as the file will hold them, so that everything computed from them agrees with it."""
    momentum = (candidates.px, candidates.py, candidates.pz)
    return candidates.with_momentum(*(component.astype(np.float32).astype(np.float64) for component in momentum))


def _table(jets: Jets, candidates: Candidates, parents: list[Parent], task: ChunkTask) -> JetTable:
    counts = np.array([len(members) for members in jets.constituents], dtype=np.int64)
    inside = candidates[np.concatenate([np.empty(0, dtype=np.int64), *jets.constituents])]
    particles = _particle_columns(inside, jets, counts)
    per_jet = {**_jet_columns(inside, jets, counts, task.selection), **_truth_columns(parents, task.label)}
    return JetTable(
        counts,
        {name: particles[name].astype(dtype) for name, dtype in PARTICLE_BRANCHES.items()},
        {name: per_jet[name].astype(dtype) for name, dtype in JET_BRANCHES.items()},
    )


def _particle_columns(inside: Candidates, jets: Jets, counts: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    axis_eta, axis_phi = np.repeat(jets.eta, counts), np.repeat(jets.phi, counts)
    eta = np.arcsinh(inside.pz / np.hypot(inside.px, inside.py))
    phi = np.arctan2(inside.py, inside.px)
    return {
        "part_px": inside.px,
        "part_py": inside.py,
        "part_pz": inside.pz,
        "part_energy": inside.energy,
        "part_deta": np.where(axis_eta > 0, 1.0, -1.0) * (eta - axis_eta),
        "part_dphi": np.remainder(phi - axis_phi + np.pi, 2 * np.pi) - np.pi,
        "part_d0val": inside.d0,
        "part_d0err": inside.d0_error,
        "part_dzval": inside.dz,
        "part_dzerr": inside.dz_error,
        "part_charge": inside.charge,
        **{flag: inside.category == category for category, flag in enumerate(_FLAGS)},
    }


def _jet_columns(
    inside: Candidates, jets: Jets, counts: NDArray[np.int64], selection: JetSelection
) -> dict[str, NDArray[np.generic]]:
    columns = {
        "jet_pt": jets.pt,
        "jet_eta": jets.eta,
        "jet_phi": jets.phi,
        "jet_energy": jets.energy,
        "jet_nparticles": counts,
        "jet_sdmass": np.empty(0),
    }
    taus = np.empty((0, 4))
    if len(jets):
        momenta = {"px": inside.px, "py": inside.py, "pz": inside.pz, "E": inside.energy}
        constituents = ak.unflatten(ak.zip(momenta, with_name="Momentum4D"), counts)
        columns["jet_sdmass"] = soft_drop_mass(constituents, selection)
        taus = nsubjettiness(constituents, selection)
    return {**columns, **{f"jet_tau{i + 1}": taus[:, i] for i in range(4)}}


def _truth_columns(parents: list[Parent], label: str) -> dict[str, NDArray[np.generic]]:
    one_hot = {
        branch: np.full(len(parents), name == label) for branch, name in zip(LABEL_BRANCHES, CLASSES, strict=True)
    }
    return {
        **one_hot,
        "aux_genpart_eta": np.array([parent.eta for parent in parents]),
        "aux_genpart_phi": np.array([parent.phi for parent in parents]),
        "aux_genpart_pid": np.array([parent.pid for parent in parents]),
        "aux_genpart_pt": np.array([parent.pt for parent in parents]),
        "aux_truth_match": np.array([parent.truth_match for parent in parents]),
    }
