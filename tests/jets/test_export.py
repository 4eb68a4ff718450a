"""ONNX graphs give torch's logits, at numbers of jets and particles that the exporter has not seen."""

import copy
import json
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import jetsym
from jetsym.errors import ConfigError, DataError, MissingDependencyError
from jetsym.jets import export as export_module
from jetsym.jets.batch import JetBatch
from jetsym.jets.export import check_onnx, export_onnx, onnx_inputs
from jetsym.jets.io.sample import sample
from jetsym.jets.models import PointNet
from jetsym.jets.models.padded import padded
from jetsym.jets.models.registry import build
from jetsym.jets.schema import CLASSES

SMALL = {
    "deepsets": {"features": "kin", "particles": (16, 16), "jets": (16,), "dropout": 0.5},
    "pointnet": {"width": 16, "blocks": 1, "heads": 4, "harmonics": 2, "pairs": 4, "invariants": 4},
    "part": {"embedding": (16, 16), "pairs": (8, 8), "blocks": 1, "class_blocks": 1, "heads": 4},
    "particlenet": {"k": 8, "channels": ((16, 16), (32,)), "hidden": 16},
    "lgatr": {"multivectors": 4, "channels": 8, "blocks": 1, "heads": 2, "beam": "lightlike"},
}


def make(name: str, **options):
    """A network with statistics of normalisations as after a training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(name, **options).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """``written(name)``: a small network of that name and its graph, made once."""
    made, folder = {}, tmp_path_factory.mktemp("onnx")

    def write(name: str):
        if name not in made:
            model = make(name, **SMALL[name])
            if name == "deepsets":  # the precision and the mode of a tagger are not those of its graph
                model.double().train()
            made[name] = model, export_onnx(model, folder / f"{name}.onnx")
            assert model.training == (name == "deepsets")
            model.float().eval()
        return made[name]

    return write


def with_slots(jets: JetBatch, slots: int) -> JetBatch:
    """Jets with padding up to a number of slots, and rubbish in it."""
    more = slots - jets.max_particles

    def pad(values):
        return torch.cat([values, torch.full((len(jets), more, *values.shape[2:]), 3).to(values)], dim=1)

    mask = torch.cat([jets.mask, torch.zeros(len(jets), more, dtype=torch.bool)], dim=1)
    return jets.replace(p4=pad(jets.p4), scalars=pad(jets.scalars), mask=mask)


def outputs(path, jets: JetBatch) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, onnx_inputs(jets))[0]


slow = [pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "deepsets"]
names = pytest.mark.parametrize("name", ["deepsets", *slow])


@names
def test_the_graph_gives_torchs_logits(written, make_jets, name):
    model, path = written(name)
    spread = 0.0
    for jets, particles, slots in ((1, 1, 1), (3, 4, 4), (17, 30, 30), (5, 30, 61), (2, 90, 128)):
        batch = make_jets(jets, seed=particles, max_particles=particles)
        with torch.no_grad():
            expected = model(batch).numpy()
        np.testing.assert_allclose(outputs(path, with_slots(batch, slots)), expected, atol=1e-5, rtol=0)
        spread = max(spread, float(np.ptp(expected)))
    assert spread > 0.05


@names
def test_a_jet_without_particles_stays_by_itself(written, make_jets, name):
    model, path = written(name)
    batch = make_jets(4, seed=1)
    mask = batch.mask.clone()
    mask[2] = False
    batch = batch.replace(mask=mask)
    with torch.no_grad():
        np.testing.assert_allclose(outputs(path, batch), model(batch).numpy(), atol=1e-5, rtol=0)


def test_the_graph_describes_itself(written):
    _, path = written("deepsets")
    session = onnxruntime.InferenceSession(path)
    inputs = {item.name: (item.shape, item.type) for item in session.get_inputs()}
    assert inputs == {
        "p4": (["jets", "particles", 4], "tensor(float)"),
        "mask": (["jets", "particles"], "tensor(bool)"),
        "scalars": (["jets", "particles", 10], "tensor(float)"),
        "jet_p4": (["jets", 4], "tensor(float)"),
    }
    (output,) = session.get_outputs()
    assert (output.name, output.shape) == ("logits", ["jets", 10])
    facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["classes"] == list(CLASSES)
    assert facts["model"] == "deepsets"
    assert facts["options"]["particles"] == [16, 16]
    assert "GeV" in facts["inputs"]["p4"]
    assert facts["scalars"][0] == "charge"
    assert facts["max_particles"] == 128


@pytest.mark.parametrize("name", ["part", "particlenet"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_over_slots_are_the_packed_ones(make_jets, name, dtype):
    model = make(name, **SMALL[name]).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for jets, particles, slots in ((6, 30, 40), (3, 5, 5), (4, 1, 3)):
        batch = with_slots(make_jets(jets, seed=particles, dtype=dtype, max_particles=particles), slots)
        batch.mask[1] = False  # a jet without particles
        with torch.no_grad():
            torch.testing.assert_close(padded(model)(batch), model(batch), atol=tolerance, rtol=0)
    assert model.training is False


def test_a_graph_of_another_network_is_found_out(written, tmp_path, monkeypatch):
    model, path = written("deepsets")
    assert check_onnx(path, model) < 1e-6
    other = make("deepsets", **(SMALL["deepsets"] | {"particles": (12,)}))
    assert check_onnx(path, other) > 1e-3

    class Program:
        model = SimpleNamespace(metadata_props={})

        def save(self, target, **options):
            target.write_bytes(path.read_bytes())

    monkeypatch.setattr(export_module, "_traced", lambda *arguments: Program())
    with pytest.raises(ConfigError, match="differ from torch's by .*; expected at most 1e-05: it is"):
        export_onnx(other, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []
    assert export_onnx(other, tmp_path / "wrong.onnx", tolerance=10).exists()


@pytest.mark.slow
def test_published_weights(real_data, tmp_path):
    """Their logits go beyond 20, where float32 has fewer digits after the point."""
    model = jetsym.load(real_data / "particlenet" / "ParticleNet_kin.pt")
    path, batch = export_onnx(model, tmp_path / "m.onnx"), sample("test", limit=30)
    with torch.no_grad():
        expected = model(batch)
        assert expected.abs().max() > 10
        exact = copy.deepcopy(model).double()(batch.to(torch.float64))
    found = torch.from_numpy(outputs(path, batch))
    assert (found - exact).abs().max() < 3 * (expected - exact).abs().max()
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=1e-5, rtol=0)


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch, make_jets):
    pytest.importorskip("lloca")
    with pytest.raises(ConfigError, match="a LLoCa cannot be written .*depend on the data"):
        export_onnx(build("lloca", hidden=8, blocks=1), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="expected a name that ends in .onnx"):
        export_onnx(PointNet(width=8, heads=2), tmp_path / "m.pt")

    class Branching(PointNet):
        def forward(self, jets):
            return super().forward(jets) if jets.mask.all() else jets.jet_p4

    branching = Branching(width=8, heads=2, blocks=1).eval()
    with pytest.raises(ConfigError, match="Branching is not a model of jetsym"):
        export_onnx(branching, tmp_path / "m.onnx")
    monkeypatch.setattr(export_module, "padded", lambda model: branching)
    with pytest.raises(ConfigError, match="this PointNet cannot be written as an ONNX graph: .*data-dependent"):
        export_onnx(PointNet(width=8, heads=2, blocks=1), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=r"scalars \(\); expected"):
        onnx_inputs(make_jets(2).replace(scalars=torch.zeros(2, 30, 0), scalar_names=()))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jetsym\[onnx\]'"):
        export_onnx(PointNet(width=8, heads=2), tmp_path / "m.onnx")
