"""Orb v3 with random weights in float64: outputs as its calculator gives them, and how far they are from any law."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from potentials.crystals import crystals, error_of_forces, molecule, results

import jetsym
from jetsym.atoms.packages.table import wrapped
from jetsym.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")
pretrained = pytest.importorskip("orb_models.forcefield.pretrained")
systems = pytest.importorskip("orb_models.forcefield.atomic_system")
HARMONICS = "model.angular_transform"


def built(architecture, dtype=torch.float64, neighbours=30, **options):
    torch.manual_seed(0)
    config = systems.SystemConfig(radius=6.0, max_num_neighbors=neighbours)
    small = {"latent_dim": 16, "base_mlp_hidden_dim": 16, "head_mlp_hidden_dim": 16, "num_message_passing_steps": 2}
    network = getattr(pretrained, f"orb_v3_{architecture}_architecture")
    return network(**small, system_config=config, device="cpu", **options).to(dtype).eval()


@pytest.fixture(scope="module", params=["conservative", "direct"])
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def calculator(architecture):
    calculators = pytest.importorskip("orb_models.forcefield.calculator")
    return calculators.ORBCalculator(built(architecture, torch.float32), device="cpu")


def test_the_outputs_are_those_of_its_calculator(architecture, calculator):
    network = built(architecture)
    model = wrapped(network)
    for frame in crystals():
        found, own = model(model.structures([frame])), results(calculator, frame)
        reference = network.heads["energy"].reference(torch.as_tensor(frame.numbers), torch.tensor([len(frame)]))
        assert found["energy"].item() == pytest.approx(own["energy"] - reference.item(), abs=2e-4)
        np.testing.assert_allclose(found["forces"][0], own["forces"], atol=2e-5)
        np.testing.assert_allclose(found["stress"][0], own["stress"], atol=2e-5)


def test_a_batch_is_what_its_structures_are_alone(architecture):
    model = wrapped(built(architecture))
    both = model.structures(crystals())
    together = [model(both[place : place + 1]) for place in range(2)]
    turned = model(both.moved(np.eye(3)[None]))
    for name, values in turned.items():
        if name in ("energy", "stress"):
            np.testing.assert_allclose(values, torch.cat([each[name] for each in together]), atol=1e-10)


def test_harmonics_have_their_law_and_the_rest_has_none(architecture, calculator):
    report = jetsym.probe(built(architecture), crystals()[:1], l_max=3, group="SO3", progress=False)
    assert report.meta["laws"] == {HARMONICS: "1x0e+1x1o+1x2e+1x3o"}
    assert report.equivariance[HARMONICS].noise_floor < 1e-10
    assert report.equivariance[HARMONICS].is_within_rounding
    assert {"model._encoder.0", "model.gnn_stacks.0.0", "model.gnn_stacks.1.1"} <= set(report.layers)
    rbf = report.layers.index("model.rbf_transform")
    assert abs(report.fractions[rbf, 0] - 1) < 1e-6
    item = report.equivariance["forces"]
    assert item.relative > 1e-3  # it learns its symmetry, and this one has learned none
    by_hand = error_of_forces(calculator, crystals()[0], (1,))
    assert item.relative == pytest.approx(by_hand, rel=0.5)


def test_charge_and_spin_reach_a_network_that_asks_for_them():
    model = wrapped(built("conservative", has_charge_spin_cond=True, has_stress=False))
    frame = molecule()
    neutral = model(model.structures([frame]))
    frame.info |= {"charge": 1, "spin": 2}
    charged = model(model.structures([frame]))
    assert set(neutral) == {"energy", "forces"}
    assert abs(neutral["energy"] - charged["energy"]).item() > 1e-6


def test_slabs_are_refused():
    frame = crystals()[0]
    frame.pbc = (True, True, False)
    with pytest.raises(DataError, match="periodic in some directions only; Orb takes"):
        jetsym.probe(built("conservative"), [frame], progress=False)
