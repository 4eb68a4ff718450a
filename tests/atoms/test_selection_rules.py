"""What the layers of a PET cannot hold, whatever their weights are."""

from __future__ import annotations

import pytest

import jetsym
from jetsym.atoms import Model
from jetsym.probing.measure import orbit

FEATURES = ("feature", "mtt::aux::energy_last_layer_features")


def powers(report, layer, *, sigma=None, at_least=0):
    """The fraction of a layer's power in some irreps."""
    row = report.fractions[report.layers.index(layer)]
    kept = [place for place, irrep in enumerate(report.irreps) if irrep.lam >= at_least and irrep.sigma == sigma]
    return float(row[kept].sum())


@pytest.fixture(scope="module")
def embeddings(pet, molecule):
    names = ["gnn_layers.*.edge_embedder", "gnn_layers.0.compress", "edge_embedder", "node_embedders.*"]
    return jetsym.probe(Model(pet), [molecule("CH3CH2OH", 0)], layers=names, l_max=4, progress=False)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_embedding_of_a_vector_and_its_length_is_linear(embeddings, layer):
    name = f"gnn_layers.{layer}.edge_embedder"
    assert powers(embeddings, name, sigma=1, at_least=2) < 1e-14
    assert powers(embeddings, name, sigma=-1) < 1e-14
    assert powers(embeddings, name, sigma=1, at_least=1) > 0.1


@pytest.mark.parametrize("name", ["edge_embedder", "node_embedders.0"])
def test_the_embedding_of_an_element_is_invariant(embeddings, name):
    assert powers(embeddings, name, sigma=1, at_least=1) + powers(embeddings, name, sigma=-1) < 1e-14


def test_before_attention_there_are_no_pseudotensors(make_model, molecule, monkeypatch):
    """A function of one vector is even under the mirrors that keep it. What a coarse rule sees of them is aliased."""
    monkeypatch.setattr(orbit, "HELD_OUT", 0)  # which would take that out
    frames, model = [molecule("CH3CH2OH", 0)], Model(sharpened(make_model()))
    layers = ["gnn_layers.0.compress", "gnn_layers.0.trans.layers.0_node"]
    found = [jetsym.probe(model, frames, layers=layers, l_max=l_max, progress=False) for l_max in (2, 4, 8)]
    coarse, middle, fine = (powers(report, "gnn_layers.0.compress", sigma=-1) for report in found)
    assert coarse > middle > 10 * fine
    assert fine < 1e-6
    # Not so behind attention, where several neighbours meet.
    assert powers(found[-1], "gnn_layers.0.trans.layers.0_node", sigma=-1) > 10 * fine


def test_a_structure_with_a_mirror_has_no_pseudoscalars(make_model, molecule, monkeypatch):
    monkeypatch.setattr(orbit, "HELD_OUT", 0)  # what aliases falls with l_max
    model = Model(sharpened(make_model()), features=FEATURES)
    water = molecule("H2O")
    water.euler_rotate(20, 50, 70)  # the rule has mirrors of its own, which would help
    plane = [jetsym.probe(model, [water], layers=[], l_max=l_max, progress=False) for l_max in (2, 4, 8)]
    place = [str(irrep) for irrep in plane[-1].irreps].index("(0,−)")
    for name in ("energy", *FEATURES):
        coarse, middle, fine = (report.fractions[report.layers.index(name), place] for report in plane)
        assert fine < 1e-6
        assert fine < middle / 10 < coarse / 100, (name, coarse, middle, fine)
    # A structure of no symmetry has some.
    chiral = jetsym.probe(model, [molecule("CH3CH2OH", 0)], layers=[], l_max=4, progress=False)
    assert chiral.fractions[chiral.layers.index("feature"), place] > 1e-12


def sharpened(pet, factor=3.0):
    """The same net with larger weights of the vectors, so that it uses their direction."""
    for layer in pet.backend.gnn_layers:
        layer.edge_embedder.weight.data[:, :3] *= factor
    return pet


TENSORS = {
    "energy": "energy",
    "dipole": {"cartesian": {"rank": 1}},
    "mtt::quadrupole": {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}},
    "mtt::twisted": {"spherical": {"irreps": [{"o3_lambda": 1, "o3_sigma": -1}, {"o3_lambda": 0, "o3_sigma": 1}]}},
}


def test_soap_bpnn_is_equivariant(make_model, molecule):
    targets = {name: kind for name, kind in TENSORS.items() if name != "dipole"}
    model = make_model(targets, architecture="soap_bpnn", gradients=("positions",))
    report = jetsym.probe(model, [molecule("CH3CH2OH", 0), molecule("CH3OH", 1)], l_max=4, progress=False)
    expected = {"energy", "forces", "mtt::quadrupole", "mtt::twisted (1,-)", "mtt::twisted (0,+)"}
    assert set(report.equivariance) == expected
    for name, found in report.equivariance.items():
        assert abs(found.relative) < max(1e-12, 10 * found.noise_floor), name


def test_pet_is_not(make_model, molecule):
    """The same outputs of a net that is free to break the symmetry, by the same measure."""
    report = jetsym.probe(make_model(TENSORS, gradients=("positions",)), [molecule()], l_max=2, progress=False)
    assert {"dipole", "forces"} <= set(report.equivariance)
    for name, found in report.equivariance.items():
        assert found.relative > 1e-6, name
