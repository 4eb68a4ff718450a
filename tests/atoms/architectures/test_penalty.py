"""The penalty of a training on A² and on layers: against what a probe measures, and within PET's trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.atoms.model import Model
from jetsym.atoms.packages import quiet

#: Draws, of a batch that holds every structure so many times.
DRAWS, COPIES = 16, 25
TENSORS = {
    "energy": "energy",
    "mtt::mu": {"cartesian": {"rank": 1}},
    "mtt::alpha": {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 2, "o3_sigma": 1}]}},
}


@pytest.fixture(scope="module")
def penalised():
    """``penalised(model, frames, draws, on)``: by name the mean penalty over draws, and its standard error."""
    from jetsym.atoms.architectures.penalty import Penalty

    def measured(model, frames, on=(), **options):
        penalty = Penalty(model, 1.0, on, rng=np.random.default_rng(0), **options)
        systems = COPIES * Model(model).systems(frames)
        model.train()
        found = []
        with torch.no_grad(), quiet():
            for _ in range(DRAWS):
                penalty._sums = {}
                penalty(systems)
                found.append(penalty._sums)
        model.eval()
        rows = {name: np.array([each[name] for each in found]) for name in found[0]}
        return {name: (row.mean(), row.std(ddof=1) / np.sqrt(DRAWS)) for name, row in rows.items()}

    return measured


def test_its_mean_is_the_a_squared_that_a_probe_measures(make_model, molecule, penalised):
    model, frames = make_model(TENSORS), [molecule(seed=0), molecule("CH3OH", seed=1)]
    found = penalised(model, frames)
    assert set(found) == {"energy", "mtt::mu", "mtt::alpha (0,+)", "mtt::alpha (2,+)"}
    sizes = [len(frame) for frame in frames]
    expected = dict.fromkeys(found, 0.0)
    for frame, size in zip(frames, sizes, strict=True):
        report = jetsym.probe(Model(model), [frame], l_max=4, layers=[], progress=False)
        for name, item in report.equivariance.items():
            components = {"mtt::mu": 3, "mtt::alpha (2,+)": 5}.get(name, 1)
            expected[name] += item.absolute**2 / components / size**2 / len(frames)
    for name, (mean, error) in found.items():
        assert abs(mean - expected[name]) < 4 * error, name
        assert error < 0.1 * mean, name


def test_of_layers_it_is_the_share_that_is_not_invariant(make_model, molecule, penalised):
    model, frames, layers = make_model(), [molecule(seed=0)], ["gnn_layers.0_node", "gnn_layers.0.edge_embedder"]
    found = penalised(model, frames, on=layers)
    report = jetsym.probe(Model(model), frames, l_max=4, layers=layers, progress=False)
    assert set(found) == set(layers)
    for name, (mean, error) in found.items():
        expected = 1 - report.fractions[report.layers.index(name), 0]
        assert abs(mean - expected) < 4 * error + 1e-3, name
        assert error < 0.1 * mean
