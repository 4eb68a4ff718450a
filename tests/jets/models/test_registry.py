"""Taggers register themselves: one that jetsym does not know takes one file, in a notebook or in another package."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import jetsym
from jetsym.errors import ConfigError
from jetsym.jets import checkpoint
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models import MODELS, DeepSets, ParticleNet, PointNet, Tagger, build, name_of, register
from jetsym.jets.models.options import Options, option
from jetsym.training.loop import train

#: What somebody else writes: the whole of a new tagger.
LINEAR = """
from dataclasses import dataclass

from torch import nn

from jetsym.jets.features import cartesian_features
from jetsym.jets.models import Tagger, register
from jetsym.jets.models.options import Options, option


@dataclass(frozen=True)
class LinearConfig(Options):
    width: int = 8
    scale: float = 1.0
    activation: str = option("relu", choices=("relu", "tanh"))


@register("linear")
class Linear(Tagger):
    Config = LinearConfig

    def __init__(self, classes=("QCD", "Tbqq"), **options):
        super().__init__(classes, **options)
        self.embedding = nn.Linear(21, self.config.width)
        self.head = nn.Linear(self.config.width, len(self.classes))

    def forward(self, jets):
        hidden = getattr(self.embedding(cartesian_features(jets)), self.config.activation)()
        return self.head(self.config.scale * (hidden * jets.mask[..., None]).sum(dim=1))
"""


@pytest.fixture(autouse=True)
def own_registry():
    """What a test registers is forgotten after it."""
    known = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(known)
    sys.modules.pop("other_taggers", None)


@pytest.fixture
def other_package(tmp_path, monkeypatch) -> Path:
    """A folder on the path with the module ``other_taggers``."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "other_taggers.py").write_text(LINEAR)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_tagger_of_one_file_is_trained_saved_and_loaded(tmp_path, other_package, make_jets):
    __import__("other_taggers")
    train(
        str(sample_dir() / "train"),
        out=tmp_path / "run",
        model="linear",
        options={"width": 4},
        epochs=1,
        limit=40,
        batch_size=20,
        progress=False,
    )
    loaded = jetsym.load(tmp_path / "run")
    assert (name_of(loaded), loaded.config.width) == ("linear", 4)
    jets = make_jets(3)
    checkpoint.save(tmp_path / "again.safetensors", loaded)
    assert torch.equal(checkpoint.load(tmp_path / "again.safetensors")(jets), loaded(jets))


def test_entry_points_of_installed_packages_are_found(other_package, make_jets):
    with pytest.raises(ConfigError, match="there is no model 'linear'"):
        build("linear")
    described = other_package / "other_taggers-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: other-taggers\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[jetsym.taggers]\nlinear = other_taggers:Linear\n")
    with pytest.raises(ConfigError, match="there is no model 'liner'; the nearest are 'linear'"):
        build("liner")
    assert build("linear", ("a", "b", "c"), width=2)(make_jets(2)).shape == (2, 3)


def test_a_name_belongs_to_one_class():
    @register("mine")
    class Mine(PointNet):
        pass

    assert name_of(build("mine", width=8, heads=2)) == "mine"
    with pytest.raises(ConfigError, match="the model 'mine' is .*Mine; choose another name"):
        register("mine")(DeepSets)
    assert DeepSets.name == "deepsets"
    again = type("Mine", (PointNet,), {"__module__": Mine.__module__, "__qualname__": Mine.__qualname__})
    assert register("mine")(again) is again  # a cell of a notebook that runs again
    assert type(build("mine")) is again


@pytest.mark.parametrize("given", [object, torch.nn.Linear, lambda: None, PointNet(width=8, heads=2), "pointnet"])
def test_what_is_no_class_of_taggers_is_refused(given):
    with pytest.raises(ConfigError, match="the model 'mine' is .*; expected a class derived from Tagger"):
        register("mine")(given)
    assert "mine" not in MODELS
    with pytest.raises(ConfigError, match="the name of a model is <class .*; expected a str"):
        register(PointNet)  # without its brackets


def test_all_taggers_of_jetsym_are_registered():
    assert set(MODELS) >= {"canonical", "deepsets", "lgatr", "lloca", "part", "particlenet", "pointnet"}
    assert all(issubclass(tagger, Tagger) and tagger.name == name for name, tagger in MODELS.items())


def test_options_are_those_of_the_config():
    model = PointNet(("QCD", "Tbqq"), width=32)
    assert (model.classes, model.config.width, model.config.blocks) == (("QCD", "Tbqq"), 32, 3)
    with pytest.raises(ConfigError, match="model 'pointnet' has no option 'widht'; the nearest are 'width'"):
        PointNet(widht=32)
    assert ParticleNet(channels=[[8, 8]], hidden=4).config.channels == ((8, 8),)  # as JSON and YAML hand it over


@dataclass(frozen=True)
class EveryConfig(Options):
    """An option of every kind."""

    flag: bool = False
    text: str = "a"
    kind: str = option("a", choices=("a", "b"))
    whole: int = 3
    share: float = option(0.0, below=1)
    sizes: tuple[int, ...] = (1,)
    nested: tuple[tuple[int, ...], ...] = ((1,),)
    some: tuple[int, ...] = option((), empty=True, least=0)
    free: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flag": 1}, "Every option flag is 1; expected True or False"),
        ({"text": 3}, "Every option text is 3; expected a text"),
        ({"kind": "c"}, "Every option kind is 'c'; there is 'a', 'b'"),
        ({"whole": 0}, "Every option whole is 0; expected a whole number from 1"),
        ({"whole": True}, "Every option whole is True; expected a whole number from 1"),
        ({"whole": "3"}, "Every option whole is '3'; expected a whole number from 1"),
        ({"share": 1}, "Every option share is 1; expected 0 or more and less than 1"),
        ({"share": float("nan")}, "Every option share is nan; expected 0 or more and less than 1"),
        ({"share": "0.1"}, "Every option share is '0.1'; expected 0 or more and less than 1"),
        ({"share": False}, "Every option share is False; expected 0 or more and less than 1"),
        ({"sizes": []}, r"Every option sizes is \(\); expected one or more whole numbers from 1"),
        ({"sizes": (1, 2.5)}, r"Every option sizes is \(1, 2.5\); expected one or more whole numbers from 1"),
        ({"nested": [[1], []]}, r"Every option nested is \(\(1,\), \(\)\); expected one or more whole numbers from 1"),
        ({"some": [-1]}, r"Every option some is \(-1,\); expected whole numbers from 0"),
    ],
)
def test_an_option_takes_what_its_default_is(options, message):
    with pytest.raises(ConfigError, match=message):
        EveryConfig(**options)


def test_options_that_will_do():
    found = EveryConfig(flag=True, kind="b", whole=1, share=0, sizes=[2, 3], nested=[[1], [2]], some=[0], free={"a": 1})
    assert (found.sizes, found.nested, found.some) == ((2, 3), ((1,), (2,)), (0,))
    assert EveryConfig().some == ()
