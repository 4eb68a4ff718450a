"""MACE with random weights in float64: outputs as its calculator gives them, and the laws of all its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from potentials.crystals import crystals, error_of_forces, expect_virial, results
from potentials.table import expect_every_frame

import jetsym
from jetsym.atoms.packages.table import wrapped

pytestmark = pytest.mark.filterwarnings("ignore")
torch.serialization.add_safe_globals([slice])  # of its e3nn, which unpickles one
mace = pytest.importorskip("mace.modules")


@pytest.fixture(scope="module")
def network():
    o3 = pytest.importorskip("e3nn.o3")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        return mace.ScaleShiftMACE(
            r_max=4.0,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=mace.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=mace.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=3,
            hidden_irreps=o3.Irreps("8x0e+8x1o"),
            MLP_irreps=o3.Irreps("8x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.array([-1.0, -2.0, -3.0]),
            avg_num_neighbors=10.0,
            atomic_numbers=[11, 17, 29],
            correlation=2,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def report(network):
    return jetsym.probe(network, crystals()[:1], l_max=2, progress=False)


@pytest.fixture(scope="module")
def calculator(network):
    calculators = pytest.importorskip("mace.calculators")
    return calculators.MACECalculator(models=[network], device="cpu", default_dtype="float64")


def test_the_outputs_are_those_of_its_calculator(network, calculator):
    model = wrapped(network.eval())
    for frame in crystals():
        found, own = model(model.structures([frame])), results(calculator, frame)
        isolated = -np.searchsorted([11, 17, 29], frame.numbers).sum() - len(frame)
        assert found["energy"].item() == pytest.approx(own["energy"] - isolated, abs=1e-9)
        np.testing.assert_allclose(found["forces"][0], own["forces"], atol=1e-9)
        np.testing.assert_allclose(found["stress"][0], own["stress"], atol=1e-9)


def test_every_output_and_every_layer_has_its_law_below_the_floor(report):
    laws = report.meta["laws"]
    assert set(report.outputs) == {"energy", "energies", "forces", "stress"}
    assert laws["interactions.0.0"] == laws["interactions.1.0"] == "8x0e+8x1o+8x2e"
    assert laws["products.0"] == "8x0e+8x1o"
    assert laws["products.1"] == "8x0e"
    assert laws["spherical_harmonics"] == "1x0e+1x1o+1x2e"
    for item in report.equivariance.values():
        assert item.is_within_rounding
        assert item.noise_floor < 1e-10
    assert not any("Not believed" in note for note in report.meta["notes"])


def test_a_layer_with_a_float32_buffer_is_the_first_to_miss_its_law(network):
    product = network.products[0]
    handle = product.register_forward_hook(lambda module, given, returned: returned.float().double(), prepend=True)
    try:
        report = jetsym.probe(network, crystals()[:1], group="SO3", l_max=2, progress=False)
    finally:
        handle.remove()
    assert report.equivariance["interactions.0.0"].noise_floor < 1e-12
    assert max(abs(report.equivariance["products.0"].relative), report.equivariance["products.0"].noise_floor) > 1e-9


def test_invariant_features_are_invariant_to_rounding_edges_included(report):
    for name in ("radial_embedding", "node_embedding", "products.1", "readouts.0", "readouts.1"):
        row = report.layers.index(name)
        assert abs(report.fractions[row, 0] - 1) < 1e-6  # radial functions vanish at the cutoff
        assert np.abs(report.fractions[row, 1:]).max() < 1e-20


def test_its_calculator_says_the_same_of_rotations(calculator):
    assert error_of_forces(calculator, crystals()[0], (1, -1)) < 1e-12


def test_molecules_have_no_volume_and_a_virial(network):
    expect_virial(network)


def test_every_frame(calculator):
    expect_every_frame(calculator, "MACE")
