"""Networks of one's own as taggers: the contract, how they are made and opened, and what is refused."""

from __future__ import annotations

import sys

import own_network
import pytest
import torch
from own_network import MyNet
from torch import nn

import jetsym
from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets import checkpoint
from jetsym.jets.models import registry
from jetsym.jets.models.own import OwnNetwork, expect_logits, given_tagger, imported_network, own_tagger
from jetsym.jets.models.registry import build, name_of
from jetsym.testing import TaggerContract, random_jets

NAME = "own_network:MyNet"


class TestMyNet(TaggerContract):
    name = own_tagger(MyNet).name
    any_classes = False


@pytest.fixture
def unknown(monkeypatch):
    """Forget all networks of users, as a new process knows none."""
    known = {name: one for name, one in registry.MODELS.items() if ":" not in name}
    monkeypatch.setattr(registry, "MODELS", known)
    monkeypatch.setattr("jetsym.jets.models.own.MODELS", known)


def test_a_class_is_one_tagger_and_known_by_its_name():
    tagger = own_tagger(MyNet)
    assert own_tagger(MyNet) is tagger
    assert tagger.name == NAME
    assert name_of(tagger()) == NAME
    assert type(build(NAME)) is tagger
    assert isinstance(tagger().network, MyNet)
    assert own_tagger(type(build("pointnet"))) is type(build("pointnet"))


def test_a_class_that_is_made_anew_takes_the_place_of_the_old_one():
    def cell():
        class Net(MyNet):
            pass

        return Net

    first, second = own_tagger(cell()), own_tagger(cell())
    assert first is not second
    assert build(first.name).kind is second.kind


def test_weights_of_a_network_are_kept():
    network = MyNet()
    tagger, jets = given_tagger(network), random_jets(4)
    assert torch.equal(tagger(jets), network(jets))
    with torch.no_grad():
        tagger.network.head.bias += 1
    assert not torch.equal(tagger(jets), network(jets))  # it is a copy


def test_a_checkpoint_is_opened_with_the_class_alone(unknown, tmp_path):
    tagger, jets = given_tagger(MyNet()), random_jets(4)
    checkpoint.save(tmp_path / "best.safetensors", tagger)
    assert torch.equal(jetsym.load(tmp_path)(jets), tagger(jets))  # this process was given it

    registry.MODELS.pop(NAME)
    with pytest.raises(CheckpointError, match=f"'{NAME}' is a network of a user.*jetsym.load\\(path, model=MyNet\\)"):
        jetsym.load(tmp_path)
    with pytest.raises(CheckpointError, match=f"network of a user.*--network {NAME}"):
        jetsym.probe(str(tmp_path), l_max=1, limit=1, progress=False)
    for model in (MyNet, MyNet()):
        registry.MODELS.pop(NAME, None)
        assert torch.equal(jetsym.load(tmp_path, model=model)(jets), tagger(jets))


def test_a_class_whose_module_was_moved_opens_it_and_another_does_not(tmp_path):
    checkpoint.save(tmp_path / "best.safetensors", given_tagger(MyNet()))
    moved = type("MyNet", (MyNet,), {"__module__": "elsewhere"})
    assert isinstance(jetsym.load(tmp_path, model=moved).network, moved)

    class Other(MyNet):
        pass

    class Wider(MyNet):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(16, 12)

    with pytest.raises(CheckpointError, match=f"holds a {NAME}; expected model to be that class, not .*Other"):
        jetsym.load(tmp_path, model=Other)
    Wider.__qualname__ = "MyNet"
    with pytest.raises(CheckpointError, match=r"'network.head.bias' \(file: \(10,\), model: \(12,\)"):
        jetsym.load(tmp_path, model=Wider)
    checkpoint.save(tmp_path / "best.safetensors", build("pointnet", width=8, heads=2))
    with pytest.raises(CheckpointError, match=f"holds a 'pointnet', and no network of a user; leave model={NAME}"):
        jetsym.load(tmp_path, model=MyNet)


def test_a_file_imports_nothing(unknown, tmp_path, monkeypatch):
    """Whatever module it names, also one that is there to be imported."""
    marker = tmp_path / "was run"
    (tmp_path / "planted.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    tagger = given_tagger(MyNet())
    registry.MODELS["planted:Net"] = registry.MODELS.pop(NAME)
    checkpoint.save(tmp_path / "best.safetensors", tagger)
    registry.MODELS.pop("planted:Net")
    with pytest.raises(CheckpointError, match="planted:Net"):
        jetsym.load(tmp_path)
    assert not marker.exists()
    assert "planted" not in sys.modules
    with pytest.raises(ConfigError, match="expected module:Class, of a torch module"):
        imported_network("--network", "planted:Net")  # as the user says it
    assert marker.exists()


class Failing(MyNet):
    def forward(self, jets):
        return self.head(jets.p4)


class Few(MyNet):
    def forward(self, jets):
        return super().forward(jets)[:, :3]


class Words(MyNet):
    def forward(self, jets):
        return {"logits": super().forward(jets)}


class Infinite(MyNet):
    def forward(self, jets):
        return super().forward(jets) / 0


class Mixing(MyNet):
    def forward(self, jets):
        return (x := super().forward(jets)) - 30 * x.mean(0) * (len(x) - 1)


class Sighted(MyNet):
    """Takes a mean over all slots, empty ones among them."""

    def forward(self, jets):
        return super().forward(jets) * 30 / jets.max_particles


class Fixed(MyNet):
    """Takes thirty slots and no other number."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4 * 30, 10)

    def forward(self, jets):
        return self.head((jets.p4 / 100).flatten(1))


class Counting(MyNet):
    def forward(self, jets):
        return super().forward(jets).argmax(1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Failing, "fails on 3 jets: RuntimeError, .*; expected a network that takes a JetBatch"),
        (Few, r"gives torch.float32 \(3, 3\) for 3 jets; expected logits \(3, 10\), one for each of QCD, Hbb"),
        (Words, "gives a dict for 3 jets"),
        (Infinite, "logits that are not finite"),
        (Mixing, "other logits beside other jets than alone"),
        (Sighted, "other logits where jets have 7 more empty slots; .* a mean taken over jets.n_particles"),
        (Counting, r"gives torch.int64 \(3,\)"),
    ],
)
def test_what_gives_no_logits_is_refused(network, message):
    with pytest.raises(ConfigError, match=message):
        expect_logits(own_tagger(network)(), random_jets(3))


def test_a_network_for_one_number_of_slots_is_not_refused():
    expect_logits(own_tagger(Fixed)(), random_jets(3))


def test_what_gives_logits_is_not_refused():
    tagger = own_tagger(MyNet)().train()
    expect_logits(tagger, random_jets(3))
    assert tagger.training
    assert isinstance(tagger, OwnNetwork)


class Sized(MyNet):
    def __init__(self, width):
        super().__init__()
        self.head = nn.Linear(16, width)


class Optional(Sized):
    def __init__(self, width=10):
        super().__init__(width)


class Empty(nn.Module):
    pass


def test_what_cannot_be_made_without_arguments_is_refused():
    with pytest.raises(ConfigError, match="Sized cannot be made without arguments: TypeError"):
        own_tagger(Sized)()
    with pytest.raises(ConfigError, match=r"'head.weight' is \(12, 16\), where Optional\(\) has \(10, 16\)"):
        given_tagger(Optional(12))
    with pytest.raises(ConfigError, match="has no weights that could be trained"):
        own_tagger(Empty)()
    with pytest.raises(ConfigError, match="expected a name, a torch module, or a class"):
        own_tagger(print)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("pointnet", "expected module:Class"),
        ("nowhere:Net", "cannot be imported: ModuleNotFoundError"),
        ("own_network:Net", "cannot be imported: AttributeError"),
        ("own_network:CLASSES", "which is 10; expected"),
        ("pathlib:Path", "expected module:Class, of a torch module"),
    ],
)
def test_entries_that_name_no_network_are_refused(entry, message):
    assert imported_network("--model", NAME) is own_network.MyNet
    with pytest.raises(ConfigError, match=message):
        imported_network("--model", entry)
