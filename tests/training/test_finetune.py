"""Beginning from a trained tagger: what is taken, what begins anew, and what stays."""

from dataclasses import asdict

import pytest
import torch

from jetsym.cli import main
from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets import checkpoint
from jetsym.jets.models.registry import MODELS, build
from jetsym.jets.schema import CLASSES
from jetsym.training.config import TrainConfig
from jetsym.training.engine import make_fabric
from jetsym.training.finetune import adopt, freeze, starting_point
from jetsym.training.loop import train
from jetsym.training.state import begin
from jetsym.training.step import take_step

SMALL = {"width": 8, "blocks": 2, "heads": 2}
OPTIONS = {"epochs": 1, "batch_size": 16, "device": "cpu", "progress": False}

#: Small versions of every model.
SIZES = {
    "pointnet": SMALL,
    "part": {"blocks": 1, "class_blocks": 1},
    "particlenet": {"k": 4, "channels": [[8]], "hidden": 8},
    "deepsets": {},
    "lgatr": {"blocks": 1, "multivectors": 2, "channels": 4, "heads": 2},
    "lloca": {"blocks": 1, "hidden": 8, "head_scalars": 4, "head_vectors": 1, "heads": 2},
    "canonical": {"backbone": "pointnet", "options": SMALL},
}


def model(name: str = "pointnet", classes=CLASSES, seed: int = 0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(name, classes, **SIZES[name] | options)


@pytest.fixture
def source(tmp_path):
    """A checkpoint of a PointNet for other classes than JetClass's."""
    path = tmp_path / "source.safetensors"
    checkpoint.save(path, model(classes=("QCD", "top")))
    return str(path)


@pytest.mark.parametrize("name", [name for name in MODELS if ":" not in name])  # without networks of other tests
def test_all_weights_but_those_of_the_classes_are_taken(make_jets, name):
    other, tagger = model(name, ("a", "b", "c"), seed=1), model(name, ("x", "y"))
    fresh = {key: tensor.clone() for key, tensor in tagger.state_dict().items()}
    anew = adopt(tagger, other)
    assert anew
    assert all("head" in key.split(".") for key in anew)
    for key, tensor in tagger.state_dict().items():
        assert torch.equal(tensor, fresh[key] if key in anew else other.state_dict()[key])
    assert tagger(make_jets(3)).shape == (3, 2)


def test_the_same_classes_keep_their_layer_and_others_of_the_same_number_do_not():
    same, others = model(seed=1), model(classes=[f"class {number}" for number in range(10)], seed=1)
    tagger = model()
    assert adopt(tagger, same) == []
    assert all(torch.equal(tensor, same.state_dict()[key]) for key, tensor in tagger.state_dict().items())
    assert adopt(tagger, others) == ["head.4.weight", "head.4.bias"]


def test_the_head_of_a_tagger_inside_another_is_no_part_of_the_backbone():
    tagger = model("canonical")
    freeze(tagger, ["backbone"])
    trained = [name for name, weight in tagger.named_parameters() if weight.requires_grad]
    assert trained
    assert all(name.startswith("tagger.head.") for name in trained)


def test_other_sizes_are_named():
    with pytest.raises(ConfigError, match=r"'blocks\.1\.[^ ]*' is absent there and \(.*\) here; change only options"):
        adopt(model(), model(blocks=1))


def test_model_and_options_are_those_of_the_checkpoint(source):
    config, tagger = starting_point(TrainConfig("a.root", init=source, options={"dropout": 0.25}))
    assert config.model == "pointnet"
    assert config.options == asdict(tagger.config) | {"dropout": 0.25}
    assert asdict(tagger.config).items() >= SMALL.items()
    assert tagger.classes == ("QCD", "top")
    unchanged = TrainConfig("a.root")
    assert starting_point(unchanged) == (unchanged, None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": ""}, ConfigError, "--init is ''; expected a run folder, a checkpoint or published weights"),
        ({"init": "nowhere"}, CheckpointError, "there is no nowhere; expected a run directory"),
        ({"model": "part"}, ConfigError, "--model is 'part', but --init .* holds a 'pointnet'; leave --model out"),
        ({"options": {"k": 3}}, ConfigError, "model 'pointnet' has no option 'k'"),
        ({"options": {"width": 16}}, ConfigError, r"the weights of --init do not fit --options: 'blocks\.0.* is \(8"),
        ({"freeze": ["block"]}, ConfigError, "--freeze names 'block', which the model does not have; .*'blocks'"),
        ({"freeze": ["*"]}, ConfigError, "which leaves nothing to be trained"),
    ],
)
def test_mistakes_are_named(jetclass_file, tmp_path, source, options, error, message):
    with pytest.raises(error, match=message):
        train(str(jetclass_file(n=40)), tmp_path / "run", **OPTIONS | {"init": source} | options)
    assert not (tmp_path / "run").exists()


def test_a_frozen_backbone_stays_and_the_head_learns(jetclass_file, tmp_path, source):
    data = str(jetclass_file(n=60))
    run = train(data, tmp_path / "run", init=source, freeze=["backbone"], weight_decay=0.1, **OPTIONS)
    before, after = checkpoint.load(source).state_dict(), run.model().state_dict()
    moved = {key for key, tensor in after.items() if key not in before or not torch.equal(tensor, before[key])}
    assert moved == {key for key in after if key.startswith("head.")}
    again = train(data, tmp_path / "run", init=source, freeze=["backbone"], weight_decay=0.1, resume=True, **OPTIONS)
    assert again.metrics == run.metrics


def test_blocks_are_frozen_by_name():
    tagger = model()
    freeze(tagger, ["embedding", "blocks.0", "head.*.bias"])
    free = {name for name, weight in tagger.named_parameters() if weight.requires_grad}
    expected = {name for name, _ in tagger.named_parameters() if name.startswith(("blocks.1.", "head."))}
    assert free == expected - {"head.0.bias", "head.1.bias", "head.4.bias"}


def test_statistics_of_frozen_layers_stand_still(make_jets):
    config = TrainConfig("a.root", model="particlenet", options=SIZES["particlenet"], freeze=["backbone"], device="cpu")
    run = begin(make_fabric(config), config, make_jets(8))
    before = {name: tensor.clone() for name, tensor in run.tagger.named_buffers()}
    assert any("running_mean" in name for name in before)
    take_step(run, make_jets(8), size=8, rate=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.tagger.named_buffers())
    assert any(layer.training for layer in run.tagger.modules())


def test_published_weights_go_on(jetclass_file, tmp_path, real_data):
    published = real_data / "particlenet" / "ParticleNet_kin.pt"
    data = str(jetclass_file(n=40))
    run = train(data, tmp_path / "run", init=str(published), lr=1e-6, freeze=["backbone"], max_particles=16, **OPTIONS)
    ours, theirs = run.model().state_dict(), checkpoint.load(published).state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items() if not key.startswith("head."))


def test_the_preset_on_the_command_line(jetclass_file, tmp_path, source, capsys):
    words = ["train", "--preset", "finetune", "--data", str(jetclass_file(n=40)), "--out", str(tmp_path / "run")]
    assert main([*words, "--device", "cpu"]) == 1
    assert "--init is ''; expected a run folder" in capsys.readouterr().err
    assert main([*words, "--device", "cpu", "--init", source, "--epochs", "1", "--freeze", "[embedding, blocks]"]) == 0
    header, _ = checkpoint.read(tmp_path / "run")
    assert (header.config["lr"], header.config["init"]) == (1e-4, source)
    assert header.config["freeze"] == ["embedding", "blocks"]
    assert (
        main(["train", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "run"), "--resume"])
        == 0
    )
