"""Isolated atoms among other structures, as they stand in files for training: probed with them, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("metatrain")

from ase import Atoms
from ase.build import bulk

import jetsym
from jetsym.atoms import Model, graph

ALONE = Atoms("Cu", [[0, 0, 0]])
APART = Atoms("Cu2", [[0, 0, 0], [9, 0, 0]])
BOXED = Atoms("C", [[1, 1, 1]], cell=[20, 20, 20], pbc=True)


@pytest.fixture(scope="module")
def crystals():
    made = [bulk("Cu", a=3.6, cubic=True), bulk("Cu", a=3.5)]
    for place, atoms in enumerate(made):
        atoms.rattle(0.05, seed=place)
    return made


@pytest.fixture(scope="module")
def model(make_model):
    return Model(make_model(gradients=("positions",), cutoff=4.0, num_gnn_layers=1, num_attention_layers=1))


@pytest.fixture(scope="module")
def without(model, crystals):
    return jetsym.probe(model, crystals, l_max=1, progress=False)


@pytest.mark.parametrize("kind", ["first", "last", "several"])
def test_layers_of_pairs_leave_them_out_and_say_so(model, crystals, without, kind):
    frames, places = {
        "first": ([ALONE, *crystals], (0,)),
        "last": ([*crystals, ALONE], (2,)),
        "several": ([ALONE, crystals[0], BOXED, crystals[1]], (0, 2)),
    }[kind]
    report = jetsym.probe(model, frames, l_max=1, progress=False)
    assert report.layers == without.layers
    (note,) = [note for note in report.meta["notes"] if "without pairs of neighbours" in note]
    for place in places:
        assert f"structure {place} of 1 atom" in note
    assert "edge_embedder" in note
    assert "node_embedders.0" not in note
    row = report.layers.index("edge_embedder")
    np.testing.assert_allclose(report.fractions[row], without.fractions[row], atol=1e-9)
    row = report.layers.index("node_embedders.0")
    assert report.norm[row] > 0
    assert report.equivariance.keys() == without.equivariance.keys()


def test_nothing_but_isolated_atoms_is_probed_as_it_is(model):
    report = jetsym.probe(model, [ALONE, BOXED], l_max=1, progress=False)
    assert "edge_embedder" not in report.layers
    assert not [note for note in report.meta["notes"] if "without pairs of neighbours" in note]


class Pairs(nn.Module):
    """A network on graphs with a layer of pairs, which says what it is, and one that mixes the structures."""

    def __init__(self):
        super().__init__()
        self.pair, self.atom, self.mixed = nn.Linear(1, 6, bias=False).double(), nn.Identity(), nn.Identity()
        self.pair.irreps_out = "6x0e"

    def forward(self, graphs):
        features = graphs.numbers[:, None].double().sqrt()
        if graphs.edge_index.shape[1]:
            centre = graphs.edge_index[0]
            pairs = self.pair(graphs.vectors.norm(dim=1, keepdim=True)).sum(dim=1, keepdim=True)
            features = features + torch.zeros_like(features).index_add(0, centre, pairs)
        self.mixed(features * len(graphs))
        energies = torch.zeros(len(graphs), dtype=features.dtype)
        return energies.index_add(0, graphs.batch, self.atom(features * 1.0)[:, 0])


@pytest.mark.parametrize("places", [(0,), (2,), (0, 2)])
def test_they_go_with_layers_that_are_left_out_and_layers_with_a_law(crystals, places):
    torch.manual_seed(0)
    another = crystals[0].copy()
    another.rattle(0.05, seed=2)
    net, frames = Pairs(), [crystals[0], another]
    without = jetsym.probe(net, graph(frames, 4.0), l_max=1, progress=False)
    for place in places:
        frames.insert(place, APART)
    report = jetsym.probe(net, graph(frames, 4.0), l_max=1, progress=False)
    assert "mixed" not in report.layers
    assert any("mixed" in note and "in company of another" in note for note in report.meta["notes"])
    assert report.layers == without.layers
    assert report.meta["laws"] == without.meta["laws"] == {"pair": "6x0e"}
    row = report.layers.index("pair")
    np.testing.assert_allclose(report.fractions[row], without.fractions[row], atol=1e-9)
    assert report.equivariance["pair"].is_within_rounding


def test_layers_of_atoms_run_for_a_lone_atom_and_layers_of_pairs_do_not(crystals):
    """Rows of one atom for each structure look like rows of structures."""
    torch.manual_seed(0)
    net = Pairs()
    apart = jetsym.probe(net, graph([crystals[0], APART], 4.0), l_max=1, progress=False)
    alone = jetsym.probe(net, graph([ALONE, crystals[0]], 4.0), l_max=1, progress=False)
    assert alone.layers == apart.layers
    (note,) = [note for note in alone.meta["notes"] if "without pairs of neighbours" in note]
    assert note.startswith("pair do not run for structure 0 of 1 atom, ")
    row = alone.layers.index("atom")
    only = jetsym.probe(net, graph([crystals[0]], 4.0), l_max=1, progress=False)
    # √29 for the lone copper, beside what the crystal gives by itself: the mean power is that of both.
    assert alone.norm[row] == pytest.approx((only.norm[row] + 29.0) / 2, rel=1e-9)


def test_the_power_of_a_layer_is_that_of_the_structures_that_it_runs_for(crystals):
    torch.manual_seed(0)
    net = Pairs()
    only = jetsym.probe(net, graph([crystals[0]], 4.0), l_max=1, progress=False)
    for frames in ([ALONE, crystals[0]], [crystals[0], APART, ALONE]):
        found = jetsym.probe(net, graph(frames, 4.0), l_max=1, progress=False)
        pair = found.layers.index("pair")
        assert found.norm[pair] == pytest.approx(only.norm[only.layers.index("pair")], rel=1e-9)


def test_a_layer_of_pairs_with_a_law_over_structures_with_other_numbers_of_pairs(crystals):
    """There is no row that all have, about whose mean they could spread; A is there all the same."""
    torch.manual_seed(0)
    net, graphs = Pairs(), graph(crystals, 4.0)
    assert len({*graphs.pairs}) == 2
    found = jetsym.probe(net, graphs, l_max=1, progress=False).equivariance["pair"]
    assert found.is_within_rounding
    assert np.isfinite([found.absolute, found.relative]).all()
    assert np.isnan(found.over_spread)
