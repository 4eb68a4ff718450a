"""Training options: errors name the flag, and one definition serves Python, YAML and the command line."""

from dataclasses import asdict
from importlib.resources import files

import pytest
import yaml
from jsonargparse import ArgumentParser

from jetsym.errors import ConfigError
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models.registry import build
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train
from jetsym.training.presets import preset_names

#: Presets of a training from the beginning, without ".yaml".
TRAININGS = {"deepsets", "lgatr", "lloca", "part", "particlenet", "pointnet", "pointnet-rotated"}


def parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(train, skip={"penalties", "callbacks"})
    return parser


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ""}, "--data is ''"),
        ({"epochs": 0}, "--epochs is 0; expected an integer ≥ 1"),
        ({"batch_size": 0}, "--batch_size is 0"),
        ({"max_particles": 0}, "--max_particles is 0"),
        ({"limit": 0}, "--limit is 0"),
        ({"lr": 0.0}, "--lr is 0.0; expected a number > 0"),
        ({"lr": float("nan")}, "--lr is nan"),
        ({"clip": -1.0}, "--clip is -1.0"),
        ({"weight_decay": -0.1}, "--weight_decay is -0.1; expected a number ≥ 0"),
        ({"warmup": 1.0}, r"--warmup is 1.0; expected a number in \[0, 1\)"),
        ({"label_smoothing": 1.0}, "--label_smoothing is 1.0"),
        ({"seed": -1}, "--seed is -1"),
        ({"device": "gpu"}, "--device is 'gpu'; expected 'auto', 'cpu' or 'cuda'"),
        ({"precision": "16"}, "--precision is '16'; expected one of 'auto', '32-true', 'bf16-mixed', '16-mixed'"),
        ({"accumulate": 0}, "--accumulate is 0; expected an integer ≥ 1"),
        ({"patience": 0}, "--patience is 0"),
        ({"checkpoint_every": 0}, "--checkpoint_every is 0"),
        ({"max_skipped": 0}, "--max_skipped is 0"),
        ({"devices": 0}, "--devices is 0"),
        ({"num_nodes": -1}, "--num_nodes is -1"),
        ({"ema": 1.0}, r"--ema is 1.0; expected a number in \[0, 1\)"),
        ({"class_weights": "even"}, "--class_weights is 'even'; expected 'none', 'balanced', or a weight"),
        ({"init": ""}, "--init is ''"),
        ({"augmentation": {"gruop": "O3"}}, "--augmentation has no option 'gruop'; the nearest are 'group'"),
        ({"augmentation": "O3"}, "--augmentation is 'O3'; expected its options, such as {'group': 'O3'}"),
        (
            {"augmentation": {"group": "boost", "axis": "jet", "width": "x"}},
            "augmentation.width is 'x'",
        ),
        ({"model": "pointent"}, "no model 'pointent'"),
        ({"options": {"widht": 3}}, "no option 'widht'"),
    ],
)
def test_errors_name_the_flag(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{"data": "a.root"} | options)


def test_plain_values_and_back():
    config = TrainConfig(
        ["a.root", "b.root"],
        options={"width": 8},
        augmentation=AugmentationConfig("O3"),
        limit=5,
        class_weights={"QCD": 0.5},
        freeze=["embedding"],
    )
    text = yaml.safe_dump(config.to_dict())
    assert TrainConfig.from_dict(yaml.safe_load(text)) == config


def test_the_command_line_knows_every_field(tmp_path):
    config = TrainConfig(
        "a.root",
        lr=0.003,
        epochs=7,
        options={"width": 8},
        augmentation=AugmentationConfig("SO3"),
        class_weights={"QCD": 0.5},
        freeze=["head", "blocks.*"],
        ema=0.99,
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    arguments = parser().parse_args(["--config", str(tmp_path / "config.yaml"), "--out", "run", "--epochs", "9"])
    values = arguments.as_dict()
    assert values.pop("out") == "run"
    assert [values.pop(name) for name in ("resume", "overwrite", "progress")] == [False, False, True]
    values.pop("config")
    assert TrainConfig.from_dict(values) == TrainConfig.from_dict(config.to_dict() | {"epochs": 9})


def test_nested_flags():
    arguments = parser().parse_args(
        ["--data", "a.root", "--out", "run", "--augmentation.group", "O3", "--options.width", "32"]
    )
    assert arguments.augmentation.group == "O3"
    assert arguments.options == {"width": 32}


@pytest.mark.parametrize(
    "augmentation",
    [
        AugmentationConfig("boost", axis="jet", rapidity="normal", width=0.5, bound=1.0),
        AugmentationConfig("O3", frame="rest"),
    ],
)
def test_augmentation_from_flags_and_yaml(tmp_path, augmentation):
    values = {name: value for name, value in asdict(augmentation).items() if value is not None}
    flags = [part for name, value in values.items() for part in (f"--augmentation.{name}", str(value))]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": "a.root", "augmentation": values}))
    for source in (["--data", "a.root", *flags], ["--config", str(tmp_path / "config.yaml")]):
        arguments = parser().parse_args([*source, "--out", "run"])
        assert TrainConfig("a.root", augmentation=arguments.augmentation.as_dict()).augmentation == augmentation


def preset(name: str) -> TrainConfig:
    values = yaml.safe_load(files("jetsym").joinpath("presets", f"{name}.yaml").read_text())
    return TrainConfig.from_dict({"data": "a.root"} | values)


@pytest.mark.parametrize("name", sorted(TRAININGS))
def test_presets_are_configurations(make_jets, name):
    config = preset(name)
    assert config.augmentation.group == ("SO3" if "rotated" in name else "none")
    assert config.model == name.removesuffix("-rotated")
    model = build(config.model, ("a", "b"), **config.options)
    assert model(make_jets(3)).shape == (3, 2)


def test_the_presets_are_there():
    assert set(preset_names()) >= TRAININGS | {"finetune"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAININGS))
def test_presets_train(tmp_path, name):
    """A few steps on the bundled sample with every preset; the loss stays finite and something is saved."""
    options = preset(name).to_dict() | {"data": str(sample_dir() / "train" / "*.root"), "limit": 80, "epochs": 1}
    run = train(out=tmp_path / "run", progress=False, **(options | {"batch_size": 24}))
    assert run.metrics[-1]["val_loss"] > 0
    assert type(run.model()) is type(build(options["model"], **options["options"]))


@pytest.mark.slow
def test_a_preset_trained_and_then_finetuned(tmp_path):
    """The loss goes on from where the first run ended."""
    few = {"data": str(sample_dir() / "train" / "*.root"), "limit": 250, "progress": False, "device": "cpu"}
    first = train(out=tmp_path / "first", **preset("pointnet").to_dict() | few | {"epochs": 2, "batch_size": 24})
    values = yaml.safe_load(files("jetsym").joinpath("presets", "finetune.yaml").read_text())
    options = values | few | {"init": str(first.path), "epochs": 1}
    second = train(out=tmp_path / "second", **options)
    assert second.model().config == first.model().config
    assert second.metrics[0]["loss"] < first.metrics[0]["loss"]
    assert second.metrics[0]["val_loss"] < first.metrics[0]["val_loss"]
