"""Files in weaver-core's layout: which network they hold is found from the tensors' names."""

import pytest
import torch

import jetsym
from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.models import ParticleNet, ParticleTransformer, PointNet
from jetsym.jets.models.registry import build
from jetsym.jets.models.weaver import export, load, read_state
from jetsym.jets.schema import CLASSES

PART = {"features": "kin", "embedding": (16, 16), "pairs": (8,), "blocks": 1, "class_blocks": 1, "heads": 2}
SAID = {
    "particlenet": {"classes": CLASSES, "features": "kin", "k": 16, "use_counts": True},
    "part": {
        "classes": CLASSES,
        "features": "kin",
        "pair_activation": True,
        "activation": "gelu",
        "remove_self_pair": False,
        "pair_input_type": "pp",
    },
}
SMALL = {"particlenet": {"features": "kin", "k": 16, "channels": ((8,), (8, 12))}, "part": PART}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("prefix", ["", "mod."])
def test_both_networks_are_recognised(tmp_path, make_jets, name, prefix):
    model, path = build(name, **SMALL[name]).eval(), tmp_path / "weights.pt"
    model.to_weaver(path)
    torch.save({prefix + key: tensor for key, tensor in torch.load(path, weights_only=True).items()}, path)
    with pytest.raises(CheckpointError, match="do not tell classes, features, .*--weaver DIR"):
        jetsym.load(path)
    loaded = load(path, **SAID[name])
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.classes == CLASSES
    jets = make_jets(4)
    assert torch.equal(loaded(jets), model(jets))


def test_a_file_of_neither_is_named(tmp_path):
    torch.save(PointNet(width=8, heads=2, blocks=1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        CheckpointError, match="neither a ParticleTransformer .* nor a ParticleNet .* blocks.0.attention"
    ):
        jetsym.load(tmp_path / "weights.pt")


def test_a_network_without_a_layout_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="a PointNet has no layout in weaver-core"):
        export(PointNet(width=8, heads=2), tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()


def test_other_classes_need_their_names(tmp_path):
    ParticleTransformer(("QCD", "top"), **PART).to_weaver(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"has 2 outputs, but 10 classes .*from_weaver\(path, classes=…\)"):
        load(tmp_path / "weights.pt", **SAID["part"])
    said = SAID["part"] | {"classes": ("QCD", "top")}
    assert load(tmp_path / "weights.pt", **said).classes == ("QCD", "top")


@pytest.mark.parametrize("missing", ["cls_token", "pair_embed.embed.1.weight", "fc.0.bias"])
def test_a_transformer_that_lacks_a_tensor_is_still_one(tmp_path, missing):
    ParticleTransformer(**PART).to_weaver(tmp_path / "weights.pt")
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    del state[missing]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="ParticleTransformer"):
        jetsym.load(tmp_path / "weights.pt")


def test_published_weights_survive_a_round_trip(tmp_path, real_data):
    original = jetsym.load(real_data / "particlenet" / "ParticleNet_kin.pt")
    assert isinstance(original, ParticleNet)
    original.to_weaver(tmp_path / "again.pt")
    theirs, again = read_state(real_data / "particlenet" / "ParticleNet_kin.pt"), read_state(tmp_path / "again.pt")
    assert theirs.keys() == again.keys()
    for name, tensor in theirs.items():
        assert torch.equal(again[name], tensor)
