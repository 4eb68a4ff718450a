"""The backbone of eSEN and UMA with random weights in float64: its outputs, its laws, and what breaks them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from potentials.crystals import crystals, error_of_forces, expect_virial, molecule, results

import jetsym
from jetsym.atoms.packages.table import wrapped
from jetsym.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")
escn = pytest.importorskip("fairchem.core.models.uma.escn_md")
inference = pytest.importorskip("fairchem.core.units.mlip_unit.api.inference")
HERE = "fairchem.core."
SETTINGS = {
    "max_num_elements": 100,
    "sphere_channels": 8,
    "hidden_channels": 8,
    "edge_channels": 8,
    "num_distance_basis": 16,
    "num_layers": 2,
    "cutoff": 4.0,
    "otf_graph": True,
    "always_use_pbc": False,
    "direct_forces": False,
    "regress_stress": True,
    "dataset_mapping": {"omat": "omat"},
}
LAW = "8x0e+8x1o+8x2e"


def config(**settings):
    backbone = {"model": f"{HERE}models.uma.escn_md.eSCNMDBackbone", **SETTINGS, **settings}
    heads = {"efs": {"module": f"{HERE}models.uma.escn_md.MLP_EFS_Head"}}
    whole = {"_target_": f"{HERE}models.base.HydraModel", "backbone": backbone, "heads": heads}
    return {**whole, "otf_graph": True, "pass_through_head_outputs": True}


def built(**settings):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        return pytest.importorskip("hydra.utils").instantiate(config(**settings)).eval()
    finally:
        torch.set_default_dtype(before)


def task(name, level, dim):
    unit = f"{HERE}units.mlip_unit.mlip_unit."
    normalizer = {"_target_": f"{HERE}modules.normalization.normalizer.Normalizer", "mean": 0.0, "rmsd": 1.0}
    spec = {"_target_": f"{unit}OutputSpec", "dim": dim, "dtype": "float64"}
    own = {"name": name, "property": name, "level": level, "datasets": ["omat"]}
    return {"_target_": f"{unit}Task", "out_spec": spec, "normalizer": normalizer, **own}


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    path = tmp_path_factory.mktemp("fairchem") / "esen.pt"
    network = built()
    averaged = torch.optim.swa_utils.AveragedModel(network)
    tasks = [task("energy", "system", [1]), task("forces", "atom", [3]), task("stress", "system", [1, 9])]
    checkpoint = inference.MLIPInferenceCheckpoint(config(), network.state_dict(), averaged.state_dict(), tasks)
    torch.save(checkpoint, path)
    settings = inference.InferenceSettings(base_precision_dtype=torch.float64, activation_checkpointing=False)
    unit = pytest.importorskip("fairchem.core.units.mlip_unit.predict").MLIPPredictUnit
    calculators = pytest.importorskip("fairchem.core.calculate.ase_calculator")
    predictor = unit(str(path), device="cpu", inference_settings=settings)
    return calculators.FAIRChemCalculator(predictor, task_name="omat")


def test_the_outputs_are_those_of_its_calculator_whose_network_is_read_as_it_is(calculator):
    results(calculator, crystals()[0])
    for network in (built(), calculator.predictor.model.module):
        model = wrapped(network)
        for frame in crystals():
            found, own = model(model.structures([frame])), results(calculator, frame)
            assert found["energy"].item() == pytest.approx(own["energy"], abs=1e-6)
            np.testing.assert_allclose(found["forces"][0], own["forces"], atol=1e-6)
            np.testing.assert_allclose(found["stress"][0], own["stress"], atol=1e-6)
        assert network.backbone.otf_graph is True


def test_every_output_and_every_layer_has_its_law_below_the_floor_under_rotations():
    network = built(ff_type="spectral")
    report = jetsym.probe(network, crystals()[:1], group="SO3", l_max=2, progress=False)
    blocks = [f"backbone.blocks.{n}{part}" for n in (0, 1) for part in ("", ".edge_wise", ".atom_wise", ".norm_1")]
    assert {name: report.meta["laws"][name] for name in blocks} == dict.fromkeys(blocks, LAW)
    assert set(report.outputs) == {"energy", "forces", "stress"}
    for item in report.equivariance.values():
        assert item.is_within_rounding
        assert item.noise_floor < 1e-10


def test_parity_is_broken_first_where_edges_are_convolved_as_its_calculator_says(calculator):
    frame = crystals()[0]
    report = jetsym.probe(built(), [frame], l_max=2, progress=False)
    assert report.equivariance["backbone.blocks.0.norm_1"].is_within_rounding
    assert report.equivariance["backbone.blocks.0.edge_wise"].relative > 1e-4
    assert report.equivariance["forces"].relative == pytest.approx(error_of_forces(calculator, frame, (1, -1)), rel=0.2)


def test_what_is_computed_on_a_grid_of_directions_misses_rotations_and_the_layer_is_found():
    report = jetsym.probe(built(ff_type="grid"), crystals()[:1], group="SO3", l_max=2, progress=False)
    missing = [name for name, item in report.equivariance.items() if not item.is_within_rounding]
    assert missing[0] == "backbone.blocks.0.atom_wise"
    assert 1e-10 < report.equivariance["forces"].relative < 1e-5


def test_a_backbone_alone_has_features_with_their_law_and_molecules_a_virial():
    alone, frame = built(ff_type="spectral").backbone, molecule()
    item = jetsym.probe(alone, [frame], layers=[], group="SO3", l_max=2, progress=False).equivariance["node_embedding"]
    assert item.kind == "1x0e+1x1o+1x2e"
    assert item.is_within_rounding
    expect_virial(built(ff_type="spectral"), group="SO3")


def test_a_network_of_several_tasks_asks_which():
    network, frame = built(dataset_mapping={"omat": "omat", "omol": "omol"}), crystals()[0]
    with pytest.raises(DataError, match=r"is of task None; set its info\['task_name'\] to one of omat, omol"):
        jetsym.probe(network, [frame], progress=False)
    model, energies = wrapped(network), []
    for name in ("omat", "omol"):
        frame.info["task_name"] = name
        energies.append(model(model.structures([frame]))["energy"].item())
    assert abs(energies[0] - energies[1]) > 1e-9
