"""Networks on graphs, of several arguments, are given features of their atoms or edges."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError
from jetsym.remedies.injected import HarmonicFeatures, Injected, InvariantFeatures
from tests.geometric import geometric

C = 8


class Network(nn.Module):
    """Sums over edges of what is linear in their vectors and in the elements of their atoms."""

    def __init__(self):
        super().__init__()
        self.embed, self.edge = nn.Embedding(10, C), nn.Linear(3, C)
        self.update, self.read = nn.Linear(C, C), nn.Linear(C, 1)

    def forward(self, positions, numbers, *, pairs):
        centre, neighbour = pairs
        h = self.embed(numbers)
        edges = self.edge(positions[neighbour] - positions[centre])
        messages = torch.zeros_like(h).index_add(0, centre, torch.tanh(edges) * h[neighbour])
        return self.read(h + self.update(messages))[:, 0]


def vectors(positions, numbers, *, pairs):
    return positions[pairs[1]] - positions[pairs[0]]


def molecule(seed=0, atoms=5):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(atoms, 3, generator=generator, dtype=torch.float64)
    numbers = torch.randint(1, 9, (atoms,), generator=generator)
    return positions, numbers, (1 - torch.eye(atoms)).nonzero().T


def double(module, seed=0):
    torch.manual_seed(seed)
    return module().double()


@pytest.mark.parametrize(
    ("layer", "features", "rows"),
    [
        ("edge", lambda: HarmonicFeatures(2, vectors), 20),
        ("embed", lambda: InvariantFeatures(lambda positions, numbers, *, pairs: positions, width=6), 5),
    ],
    ids=["edges", "atoms"],
)
def test_features_see_all_that_a_network_is_given(layer, features, rows):
    positions, numbers, pairs = molecule()
    model = double(Network)
    injected = Injected(model, layer, features()).double()
    seen = []
    model.get_submodule(layer).register_forward_hook(lambda module, given, output: seen.append(output))
    before = model(positions, numbers, pairs=pairs)
    assert torch.equal(injected(positions, numbers, pairs=pairs), before)
    nn.init.normal_(injected.mix.weight)
    after = injected(positions, numbers=numbers, pairs=pairs)
    assert (after - before).abs().max() > 1e-3
    expected = injected.mix(injected.features(positions, numbers, pairs=pairs))
    assert expected.shape == (rows, C)
    torch.testing.assert_close(seen[2] - seen[0], expected)
    assert torch.equal(model(positions, numbers, pairs=pairs), before)


def test_harmonics_of_edges_fill_the_irrep_that_is_missing():
    pytest.importorskip("ase")
    from ase.build import molecule as of_ase

    from jetsym.atoms.graphs import graph

    class OfGraphs(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Injected(Network(), "edge", HarmonicFeatures(2, vectors))

        def forward(self, graphs):
            return {"energy": self.net(graphs.positions, graphs.numbers, pairs=graphs.edge_index)}

    model = double(OfGraphs)
    graphs = graph([of_ase("CH3CH2OH")], 3.0)

    def content():
        report = jetsym.probe(model, graphs, l_max=3, layers=["net.model.edge"], progress=False)
        return report.fractions[0, [str(irrep) for irrep in report.irreps].index("(2,+)")]

    assert content() < 1e-14
    nn.init.normal_(model.net.mix.weight)
    assert content() > 0.01


def test_schnet_is_given_what_its_distances_do_not_tell():
    """SchNet of torch_geometric sees distances; harmonics at the filters of its edges make it turn, invariants not."""
    networks = geometric("nn.models.schnet")
    positions, numbers, pairs = molecule()

    def neighbours(pos, batch):
        return pairs, (pos[pairs[0]] - pos[pairs[1]]).norm(dim=1)

    def schnet():
        return networks.SchNet(C, C, num_interactions=2, num_gaussians=6, interaction_graph=neighbours)

    def turned(model):
        q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
        return float((model(numbers, positions @ q.T) - model(numbers, positions)).detach().abs().max())

    edges = HarmonicFeatures(2, lambda z, pos, batch=None: pos[pairs[1]] - pos[pairs[0]])
    atoms = InvariantFeatures(lambda z, pos, batch=None: pos, width=6)
    for layer, features, channels, turns in (
        ("interactions.0.mlp", edges, C, True),
        ("embedding", atoms, None, False),
    ):
        model = double(schnet)
        injected = Injected(model, layer, features, channels=channels).double()
        before = model(numbers, positions)
        assert torch.equal(injected(numbers, positions), before)
        nn.init.normal_(injected.mix.weight)
        assert (injected(numbers, positions) - before).abs().max() > 1e-4
        assert (turned(injected) > 1e-4) == turns
        assert turned(model) < 1e-12


def test_a_layer_of_pet_is_given_harmonics_of_its_edges():
    """(atoms, neighbours, C) inside a layer of eight arguments, which takes the place of the layer that it holds."""
    transformer = pytest.importorskip("metatrain.pet.modules.transformer")
    options = ("LayerNorm", "SiLU", 1.0, "PreLN", 10, True)
    layer = double(lambda: transformer.CartesianTransformer(4.5, 0.5, C, 2, C, C, 1, *options)).eval()
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    nodes, messages, r = drawn(4, C), drawn(4, 3, C), drawn(4, 3, 3)
    real = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    given = (nodes, messages, torch.zeros(4, 3, dtype=torch.long), r, real, r.norm(dim=2), real.double(), True)
    injected = Injected(layer, "edge_embedder", HarmonicFeatures(2, lambda *arguments: arguments[3])).double()
    before = layer(*given)
    assert all(map(torch.equal, injected(*given), before))
    nn.init.normal_(injected.mix.weight)
    assert (injected(*given)[0] - before[0]).abs().max() > 1e-3


def test_features_that_do_not_fit_are_refused_and_not_spread():
    positions, numbers, pairs = molecule()
    whole = Injected(
        double(Network), "edge", HarmonicFeatures(2, lambda *x, pairs: x[0].mean(0, keepdim=True))
    ).double()
    with pytest.raises(ConfigError, match=r"'edge' returned \(20, 8\), and the features are \(1, 8\)"):
        whole(positions, numbers, pairs=pairs)

    class Twice(nn.Module):
        def __init__(self, times):
            super().__init__()
            self.edge, self.times = nn.Linear(3, 3), times

        def forward(self, x):
            for _ in range(self.times):
                x = self.edge(x)
            return x

    for times in (0, 2):
        model = Injected(Twice(times), "edge", HarmonicFeatures(1, lambda x: x))
        with pytest.raises(ConfigError, match=f"was called {times} times in a pass"):
            model(torch.zeros(2, 3))

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.GRU(3, C)

        def forward(self, x):
            return self.cells(x)[0]

    model = Injected(Pair(), "cells", HarmonicFeatures(1, lambda x: x), channels=C)
    with pytest.raises(ConfigError, match="'cells' returned a tuple"):
        model(torch.zeros(2, 3))
