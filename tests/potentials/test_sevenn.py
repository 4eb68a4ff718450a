"""SevenNet-0 as its wheel has it: outputs as its calculator gives them, layers, laws, and a parity that it breaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from potentials.crystals import crystals, error_of_forces, results
from potentials.table import expect_every_frame

import jetsym
from jetsym.atoms.packages.table import wrapped
from jetsym.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")
sevenn = pytest.importorskip("sevenn.util")


def load():
    return sevenn.load_checkpoint("7net-0").build_model()


@pytest.fixture(scope="module")
def network():
    return load()


def in_float64():
    """Its weights in float64, and the 3j symbols of its tensor products as float64 has them."""
    from e3nn.o3 import wigner_3j

    network = load().double()
    for name, buffer in network.named_buffers():
        if "_w3j_" in name:
            symbol = wigner_3j(*map(int, name.rpartition("_w3j_")[2].split("_")), dtype=torch.float64)
            scale = (buffer * symbol).sum() / (symbol**2).sum()
            assert torch.allclose(buffer, scale * symbol, atol=1e-6)
            buffer.copy_(scale * symbol)
    return network


LAYERS = ["edge_embedding", "onehot_to_feature_x", "?_self_interaction_?", "?_convolution", "?_equivariant_gate"]


@pytest.fixture(scope="module")
def report():
    return jetsym.probe(in_float64(), pair(), group="SO3", layers=LAYERS, l_max=2, progress=False)


def pair():
    """Return two atoms of rock salt, moved a little."""
    frame = bulk("NaCl", "rocksalt", a=5.64)
    frame.positions[1] += [0.1, -0.2, 0.15]
    return [frame]


@pytest.fixture(scope="module")
def calculator():
    return pytest.importorskip("sevenn.calculator").SevenNetCalculator(load(), file_type="model_instance", device="cpu")


def test_the_outputs_are_those_of_its_calculator(network, calculator):
    model = wrapped(network.eval())
    shifts = np.asarray(network.rescale_atomic_energy.get_shift(network.type_map))
    for frame in crystals():
        found, own = model(model.structures([frame])), results(calculator, frame)
        shift = shifts[frame.numbers].sum()
        assert found["energy"].item() == pytest.approx(own["energy"] - shift, abs=1e-4)
        np.testing.assert_allclose(found["forces"][0], own["forces"], atol=2e-5)
        np.testing.assert_allclose(found["stress"][0], own["stress"], atol=2e-6)


def test_a_calculator_s_network_stays_as_it_was(calculator):
    model = wrapped(calculator.model)
    model(model.structures(crystals()[:1]))
    assert calculator.model.is_batch_data is False


def test_in_float64_every_output_and_every_layer_has_its_law_below_the_floor(report):
    assert set(report.outputs) == {"energy", "energies", "forces", "stress"}
    laws = report.meta["laws"]
    assert laws["edge_embedding.edge_attr"] == "1x0e+1x1e+1x2e"
    assert laws["1_self_interaction_2"] == "224x0e+64x1e+32x2e"
    assert laws["1_equivariant_gate"] == "128x0e+64x1e+32x2e"
    assert laws["1_convolution"].startswith("128x0e+64x0e+32x0e+128x1e")
    for item in report.equivariance.values():
        assert item.is_within_rounding
        assert item.noise_floor < 1e-10


def test_symbols_of_float32_show_where_they_enter():
    found = jetsym.probe(load().double(), pair(), group="SO3", layers=LAYERS, l_max=2, progress=False)
    missing = [name for name, item in found.equivariance.items() if not item.is_within_rounding]
    assert missing[0] == "1_convolution"  # of the first layer all paths start from scalars
    assert "forces" in missing
    assert 1e-12 < found.equivariance["forces"].relative < 1e-7


def test_invariant_features_are_invariant_to_rounding_edges_included(report):
    for name in ("edge_embedding.edge_embedding", "onehot_to_feature_x", "4_equivariant_gate", "0_self_interaction_1"):
        row = report.layers.index(name)
        assert abs(report.fractions[row, 0] - 1) < 1e-10
        assert np.abs(report.fractions[row, 1:]).max() < 1e-20


def test_spherical_harmonics_of_edges_have_the_power_of_their_irreps(report):
    row = report.layers.index("edge_embedding.edge_attr")
    np.testing.assert_allclose(report.fractions[row], np.array([1, 3, 5]) / 9, atol=1e-9)


def test_parity_is_broken_and_rotations_are_not_as_its_calculator_says(network, calculator):
    frame = crystals()[0]
    for group, signs in (("SO3", (1,)), ("O3", (1, -1))):
        item = jetsym.probe(network, [frame], group=group, layers=[], l_max=2, progress=False).equivariance["forces"]
        by_hand = error_of_forces(calculator, frame, signs)
        if group == "SO3":
            assert item.is_within_rounding
            assert by_hand < 5e-6
        else:
            assert item.relative > 10 * item.noise_floor
            assert item.relative == pytest.approx(by_hand, rel=0.1)


def test_elements_that_it_does_not_know_are_named(network):
    frame = crystals()[0]
    frame.numbers[2] = 118
    with pytest.raises(DataError, match=r"structure 0 .* holds atomic numbers \[118\]"):
        jetsym.probe(network, [frame], progress=False)


def test_every_frame(calculator):
    expect_every_frame(calculator, "SevenNet-0")
