"""Graphs of structures: their pairs against ASE's, how they move, and networks on them, layers included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list
from torch import nn

import jetsym
from jetsym.atoms import graph
from jetsym.atoms.graphs import Rows
from jetsym.atoms.packages.base import full_stress
from jetsym.errors import DataError, ProbeError

O3 = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 3, 3)))[0]


def frames() -> list[Atoms]:
    """A crystal, one atom of another, a molecule, and a surface."""
    rng = np.random.default_rng(1)
    found = [bulk("NaCl", "rocksalt", a=5.6, cubic=True), bulk("Cu"), molecule("CH3CH2OH"), fcc111("Cu", (2, 2, 2))]
    for frame in found:
        frame.positions += rng.normal(size=frame.positions.shape) * 0.1
    return found


def pairs_of(graphs, place: int) -> set[tuple[int, ...]]:
    one = graphs[place : place + 1]
    return {tuple(map(int, row)) for row in torch.cat([one.edge_index.T, one.shifts.long()], dim=1)}


def test_pairs_are_those_of_ase():
    graphs = graph(frames(), 4.0)
    for place, frame in enumerate(frames()):
        i, j, shifts = neighbor_list("ijS", frame, 4.0)
        assert pairs_of(graphs, place) == {tuple(row) for row in np.column_stack([i, j, shifts]).tolist()}
    assert len(graphs) == 4
    assert graphs.pairs == [len(pairs_of(graphs, place)) for place in range(4)]


@pytest.mark.parametrize("sign", [1, -1])
def test_moved_graphs_have_the_pairs_of_moved_frames(sign):
    crystals = [frames()[0], frames()[2]]
    turn = sign * O3[0] * np.linalg.det(O3[0])
    moved = graph(crystals, 4.0).moved(turn[None])
    for place, frame in enumerate(crystals):
        new = frame.copy()
        new.positions = frame.positions @ turn.T
        new.cell = sign * frame.cell.array @ turn.T  # as right-handed as it was
        built, carried = graph([new], 4.0), moved[place : place + 1]
        assert pairs_of(built, 0) == pairs_of(carried, 0)
        first, second = (one.vectors[np.lexsort(one.vectors.numpy().round(6).T)] for one in (built, carried))
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(built.cells, carried.cells)
    before = graph(crystals, 4.0)
    torch.testing.assert_close(moved.vectors, before.vectors @ torch.as_tensor(turn).T)
    assert bool((moved.cells.det() * before.cells.det() >= 0).all())


def test_copies_come_element_by_element_and_elements_may_be_their_own():
    graphs = graph(frames()[:2], 3.5)
    moved, own = graphs.moved(O3[:3]), graphs.moved(np.stack([O3[:2], O3[2:]]))
    assert moved.counts["atoms"] == (8, 1) * 3
    for copy in range(3):
        part = moved[2 * copy : 2 * copy + 2]
        torch.testing.assert_close(part.positions, graphs.moved(O3[copy : copy + 1]).positions)
        assert torch.equal(part.edge_index, graphs.edge_index)
    torch.testing.assert_close(own[2:3].vectors, graphs[:1].vectors @ torch.as_tensor(O3[2]).T)
    torch.testing.assert_close(own[1:2].vectors, graphs[1:].vectors @ torch.as_tensor(O3[1]).T)


def test_further_rows_are_repeated_selected_and_point_to_their_own():
    graphs = graph(frames()[:2], 3.5)
    first = torch.cumsum(torch.tensor([0, *graphs.pairs]), 0)[:-1]
    angles = Rows(torch.stack([first, first + 1], dim=1), "angles", "edges")
    known = graphs.with_rows({"angles": [1, 1]}, {"angles": angles})
    moved = known.moved(O3[:2])
    assert moved.counts["angles"] == (1,) * 4
    for place in range(4):
        assert moved[place : place + 1].more["angles"].values.tolist() == [[0, 1]]
    chosen = moved.vectors[moved.more["angles"].values[:, 0]]
    torch.testing.assert_close(chosen[2], known.vectors[first[0]] @ torch.as_tensor(O3[1]).T)


def test_single_precision_and_devices():
    graphs = graph(frames()[:1], 3.5).to(dtype=torch.float32)
    assert graphs.dtype == graphs.cells.dtype == graphs.shifts.dtype == torch.float32
    assert graphs.numbers.dtype == graphs.edge_index.dtype == torch.int64


def test_what_cannot_be_a_graph():
    for cell, pbc in (((0, 0, 0), True), ([[1, 0, 0], [1, 0, 0], [0, 0, 1]], (True, True, False))):
        with pytest.raises(DataError, match=r"structure 0 .Cu. is periodic along vectors that lie in a plane"):
            graph(Atoms("Cu", cell=cell, pbc=pbc), 4.0)
    for cutoff in (0, -1.0, "5", float("inf")):
        with pytest.raises(DataError, match="expected a length"):
            graph(frames(), cutoff)
    with pytest.raises(DataError, match="there are no structures"):
        graph([], 4.0)
    with pytest.raises(DataError, match="do not follow each other"):
        graph(frames(), 4.0)[::2]


class Network(nn.Module):
    """Messages along edges, of any package that is not known."""

    def __init__(self, *, fault: str = ""):
        super().__init__()
        torch.manual_seed(0)
        self.radial = nn.Linear(6, 4)
        self.atoms = nn.Linear(4, 4)
        self.fault = fault

    def forward(self, graphs):
        vectors = graphs.vectors
        lengths = vectors.norm(dim=1, keepdim=True)
        if self.fault == "lab":
            lengths = lengths + 0.01 * vectors[:, 2:]
        edges = torch.tanh(self.radial(torch.exp(-((lengths - torch.arange(6.0, dtype=lengths.dtype)) ** 2))))
        if self.fault == "mixed":
            vectors = vectors.roll(len(vectors) // 2, dims=0)
        centre = graphs.edge_index[0]
        atoms = self.atoms(edges.new_zeros(len(graphs.positions), 4).index_add(0, centre, edges))
        forces = graphs.positions.new_zeros(len(graphs.positions), 3).index_add(0, centre, edges[:, :1] * vectors)
        energy = atoms.new_zeros(len(graphs)).index_add(0, graphs.batch, atoms[:, 0].tanh())
        return {"energy": energy, "forces": forces}


KINDS = {"energy": "scalar", "forces": "vector"}
QUIET = {"l_max": 2, "progress": False}
OPTIONS = {"outputs": KINDS, **QUIET}


def test_any_network_on_graphs_is_probed_with_its_layers():
    report = jetsym.probe(Network().double(), graph(frames(), 3.5), **OPTIONS)
    assert report.layers == ("radial", "atoms", "energy", "forces")
    assert all(item.is_within_rounding for item in report.equivariance.values())
    np.testing.assert_allclose(report.fractions[:3, 0], 1, atol=1e-9)
    assert report.equivariance["forces"].noise_floor < 1e-12


class Deep(nn.Module):
    """With what is called in lists of modules, one of which lies in another."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        both = nn.ModuleList([nn.Linear(1, 4), nn.Linear(4, 4)])
        self.lists = nn.ModuleList([nn.ModuleDict({"both": both}), nn.Sequential(nn.Linear(4, 1), nn.Tanh())])

    def forward(self, graphs):
        edges = graphs.vectors.norm(dim=1, keepdim=True)
        for layer in (*self.lists[0]["both"], self.lists[1]):
            edges = layer(edges)
        return edges.new_zeros(len(graphs)).index_add(0, graphs.batch[graphs.edge_index[0]], edges[:, 0])


def test_layers_in_lists_of_modules_are_read():
    report = jetsym.probe(Deep().double(), graph(frames()[:2], 3.5), outputs={"energy": "scalar"}, **QUIET)
    assert report.layers == ("lists.0.both.0", "lists.0.both.1", "lists.1", "energy")
    np.testing.assert_allclose(report.fractions[:, 0], 1, atol=1e-9)


def test_a_fault_shows_in_the_layer_and_the_outputs():
    report = jetsym.probe(Network(fault="lab").double(), graph(frames()[:2], 3.5), **OPTIONS)
    assert report.fractions[0, 0] < 1 - 1e-6
    assert not report.equivariance["forces"].is_within_rounding


def test_what_mixes_structures_is_refused_or_left_out():
    report = jetsym.probe(Network(fault="mixed").double(), graph(frames()[2:3], 3.5), **OPTIONS | {"layers": []})
    assert set(report.equivariance) == {"energy"}
    assert any("not the same in company of another" in note for note in report.meta["notes"])


def test_a_stress_is_that_of_the_crystals_among_molecules():
    class Virial(Network):
        def forward(self, graphs):
            vectors = graphs.vectors + torch.tensor([0, 0, 0.05])
            owner = graphs.batch[graphs.edge_index[0]]
            pairs = torch.einsum("ea,eb->eab", vectors, vectors) * torch.exp(-(vectors**2).sum(1))[:, None, None]
            volumes = torch.where(graphs.volumes > 0, graphs.volumes, 1e-3)
            summed = pairs.new_zeros(len(graphs), 3, 3).index_add(0, owner, pairs)
            return {"stress": summed / volumes[:, None, None]}

    options = QUIET | {"outputs": {"stress": "rank2"}, "layers": [], "l_max": 4}
    salt, _, ethanol, slab = frames()
    alone = jetsym.probe(Virial().double(), graph([salt], 3.5), **options).equivariance["stress"]
    mixed = jetsym.probe(Virial().double(), graph([ethanol, salt, slab], 3.5), **options).equivariance["stress"]
    assert alone.relative > 1e-3
    for name in ("relative", "absolute", "leakage"):
        assert getattr(mixed, name) == pytest.approx(getattr(alone, name), rel=1e-6)


def test_a_network_of_no_known_package_asks_for_graphs():
    with pytest.raises(ProbeError, match=r"model is a Network, but the inputs are structures.*jetsym.atoms.graph"):
        jetsym.probe(Network(), frames(), progress=False)


def test_outputs_without_rows_are_named():
    class Odd(Network):
        def forward(self, graphs):
            return torch.ones(7)

    with pytest.raises(ProbeError, match=r"the Odd returned an array of shape \(7,\) for 1 structures of \[8\] atoms"):
        jetsym.probe(Odd().double(), graph(frames()[:1], 3.5), progress=False)


def test_six_components_of_a_stress():
    six = full_stress(torch.arange(6.0)[None], [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)])
    assert six.tolist() == [[[0.0, 3.0, 5.0], [3.0, 1.0, 4.0], [5.0, 4.0, 2.0]]]
