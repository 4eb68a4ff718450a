"""NequIP and Allegro with random weights in float64: outputs as their calculator gives them, and the laws of layers."""

from __future__ import annotations

import numpy as np
import pytest
from potentials.crystals import crystals, error_of_forces, expect_virial, results

import jetsym
from jetsym.atoms.packages.table import wrapped
from jetsym.errors import ProbeError

pytestmark = pytest.mark.filterwarnings("ignore")
global_state = pytest.importorskip("nequip.utils.global_state")
TYPES = ["Na", "Cl", "Cu"]
SHIFTS = {"Na": -1.0, "Cl": -2.0, "Cu": -3.0}
EMBED = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6}


def built(name, types=TYPES):
    global_state.set_global_state()
    common = {"seed": 0, "model_dtype": "float64", "type_names": types, "r_max": 4.0, "l_max": 2, "num_layers": 2}
    common |= {"avg_num_neighbors": 10.0, "per_type_energy_scales": 1.0}
    common |= {"per_type_energy_shifts": dict(zip(types, SHIFTS.values(), strict=True))}
    if name == "Allegro":
        own = {"num_scalar_features": 8, "num_tensor_features": 4, "radial_chemical_embed": EMBED}
        return pytest.importorskip("allegro.model").AllegroModel(**common, **own).eval()
    return pytest.importorskip("nequip.model").NequIPGNNModel(**common, num_features=4).eval()


@pytest.fixture(scope="module", params=["NequIP", "Allegro"])
def network(request):
    return built(request.param)


@pytest.fixture(scope="module")
def calculator(network):
    transforms = pytest.importorskip("nequip.data.transforms")
    steps = [transforms.ChemicalSpeciesToAtomTypeMapper(TYPES), transforms.NeighborListTransform(r_max=4.0)]
    return pytest.importorskip("nequip.integrations.ase").NequIPCalculator(network, "cpu", transforms=steps)


@pytest.fixture(scope="module")
def report(network):
    return jetsym.probe(network, crystals()[:1], l_max=2, progress=False)


def test_the_outputs_are_those_of_its_calculator(network, calculator):
    model = wrapped(network)
    for frame in crystals():
        found, own = model(model.structures([frame])), results(calculator, frame)
        shifts = sum(SHIFTS[symbol] for symbol in frame.symbols)
        assert found["energy"].item() == pytest.approx(own["energy"] - shifts, abs=1e-9)
        assert found["energies"].sum().item() == pytest.approx(found["energy"].item(), abs=1e-9)
        np.testing.assert_allclose(found["forces"][0], own["forces"], atol=1e-9)
        np.testing.assert_allclose(found["stress"][0], own["stress"], atol=1e-9)


def test_every_output_and_every_layer_with_a_law_has_it_below_the_floor(report):
    laws = report.meta["laws"]
    assert set(report.outputs) == {"energy", "energies", "forces", "stress"}
    if "model.func.spharm.edge_attrs" in report.layers:
        assert laws["model.func.spharm.edge_attrs"] == "1x0e+1x1o+1x2e"
        assert laws["model.func.layer0_convnet.node_features"] == "4x0e+4x1o+4x2e"
    else:
        assert laws["model.func.tensor_embed.edge_attrs"] == "1x0e+1x1o+1x2e"
    for item in report.equivariance.values():
        assert item.is_within_rounding
        assert item.noise_floor < 1e-10
    assert not any("Not believed" in note for note in report.meta["notes"])


def test_its_calculator_says_the_same_of_rotations_and_inversions(calculator):
    assert error_of_forces(calculator, crystals()[0], (1, -1)) < 1e-12


def test_molecules_have_no_volume_and_a_virial(network):
    expect_virial(network)


def test_types_that_are_no_elements_are_refused():
    with pytest.raises(ProbeError, match="has types A, B, C; networks whose types are elements are read"):
        jetsym.probe(built("NequIP", ["A", "B", "C"]), crystals(), progress=False)
