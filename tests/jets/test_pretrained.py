"""Taggers that are shared: folders, and pushes to and pulls from a hub that is served here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, serving

import jetsym
from jetsym.errors import CheckpointError, ConfigError, DownloadError, JetsymError
from jetsym.jets import checkpoint
from jetsym.jets.models import DeepSets, PointNet, Tagger, build, pretrained as module
from jetsym.jets.models.own import own_tagger
from jetsym.jets.schema import CLASSES
from jetsym.jets.targets import Target
from jetsym.testing.jets import random_jets

ROOT = Path(__file__).parents[2]
STANDARDISED = {"log_pt": {"centre": [1.0], "scale": [2.0]}}


def tagger() -> PointNet:
    torch.manual_seed(3)
    made = build("pointnet", ("QCD", "Tbqq"), width=8, heads=2, blocks=1).eval()
    assert isinstance(made, PointNet)
    made.max_particles = 24
    return made


def test_a_folder_gives_back_the_tagger(tmp_path):
    made, jets = tagger(), random_jets(1)
    made.held_out = ("1/5", "event_number")
    made.standardisation = STANDARDISED
    folder = made.save_pretrained(tmp_path / "new" / "folder")
    for found in (Tagger.from_pretrained(folder), PointNet.from_pretrained(str(folder)), jetsym.load(folder)):
        assert type(found) is PointNet
        assert not found.training
        assert found.config == made.config
        assert (found.classes, found.max_particles) == (("QCD", "Tbqq"), 24)
        assert (found.held_out, found.standardisation) == (made.held_out, STANDARDISED)
        assert all(torch.equal(found.state_dict()[name], value) for name, value in made.state_dict().items())
    found.standardisation = made.standardisation = None
    assert torch.equal(found(jets), made(jets))


def test_the_folder_says_what_it_holds_and_nothing_of_the_machine(tmp_path):
    torch.manual_seed(0)
    run = tmp_path / "run"
    checkpoint.save(run / checkpoint.BEST, tagger(), config={"data": "/secret/place/*.root", "max_particles": 16})
    folder = jetsym.load(run).save_pretrained(tmp_path / "shared")
    said = json.loads((folder / module.CONFIG).read_text())
    assert (said["library_name"], said["model"], said["classes"]) == ("jetsym", "pointnet", ["QCD", "Tbqq"])
    assert (said["options"]["width"], said["max_particles"]) == (8, 16)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not any(b"secret" in path.read_bytes() for path in folder.iterdir())


def test_a_card_of_ones_own_stays(tmp_path):
    tagger().save_pretrained(tmp_path)
    assert "It has not been measured" in (tmp_path / module.CARD).read_text()
    tagger().save_pretrained(tmp_path, card="# mine\n")
    assert (tmp_path / module.CARD).read_text() == "# mine\n"
    tagger().save_pretrained(tmp_path)
    assert (tmp_path / module.CARD).read_text() == "# mine\n"


def test_what_predicts_a_number_is_shared_as_that(tmp_path):
    made = build("pointnet", ("jet_sdmass",), width=8, heads=2, blocks=1).eval()
    made.aimed(Target("jet_sdmass", 80.0, 20.0, "mse"))
    folder = made.save_pretrained(tmp_path)
    found = Tagger.from_pretrained(folder)
    assert found.target == made.target
    assert found.probe_outputs == made.probe_outputs
    card = (folder / module.CARD).read_text()
    assert "jet_sdmass (in units of 20 above 80" in card
    assert "logit" not in card
    assert json.loads((folder / module.CONFIG).read_text())["target"] == "jet_sdmass"


def test_all_that_checkpoints_set_is_shared(tmp_path):
    made = tagger()
    made.held_out, made.standardisation = ("1/5", "event_number"), STANDARDISED
    made.aimed(Target("jet_pt", 600.0, 100.0))
    own = {name for name in vars(made) if not name.startswith("_") and name not in ("training", "classes", "config")}
    found = Tagger.from_pretrained(made.save_pretrained(tmp_path))
    assert own == {"max_particles", "held_out", "standardisation", "target", "probe_outputs"}
    assert {name: getattr(found, name) for name in own} == {name: getattr(made, name) for name in own}


def test_a_network_of_ones_own_needs_its_class(tmp_path):
    from own_network import MyNet

    torch.manual_seed(0)
    made = own_tagger(MyNet)(CLASSES).eval()
    folder = made.save_pretrained(tmp_path)
    assert 'Tagger.from_pretrained("USER/NAME", model=MyNet)' in (folder / module.CARD).read_text()
    found = Tagger.from_pretrained(folder, model=MyNet)
    assert torch.equal(found(random_jets(3)), made(random_jets(3)))
    code = f"from jetsym.jets.models import Tagger\nTagger.from_pretrained({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "CheckpointError" in done.stderr
    assert "MyNet" in done.stderr.splitlines()[-1]


def other_options(folder: Path) -> None:
    said = json.loads((folder / module.CONFIG).read_text())
    said["options"]["width"] = 16
    (folder / module.CONFIG).write_text(json.dumps(said))


def flipped(folder: Path) -> None:
    content = bytearray((folder / module.WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / module.WEIGHTS).write_bytes(content)


def pickled(folder: Path) -> None:
    torch.save({"a": 1}, folder / module.WEIGHTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_options, "differ in 'options': they are of different taggers"),
        (flipped, "is damaged"),
        (pickled, "is a pickle or a torch.save archive"),
        (lambda folder: (folder / module.WEIGHTS).unlink(), "holds no model.safetensors"),
        (lambda folder: (folder / module.CONFIG).write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / module.CONFIG).write_text("[1]"), "differ in 'model'"),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path, change, words):
    folder = tagger().save_pretrained(tmp_path)
    change(folder)
    with pytest.raises(CheckpointError, match=words):
        Tagger.from_pretrained(folder)


def test_wrong_uses_are_refused(tmp_path):
    folder = tagger().save_pretrained(tmp_path / "folder")
    with pytest.raises(CheckpointError, match="holds a 'pointnet', which is no DeepSets"):
        DeepSets.from_pretrained(folder)
    with pytest.raises(ConfigError, match="there is no folder 'nowhere', and it is no name of a repository"):
        Tagger.from_pretrained("nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        tagger().save_pretrained(tmp_path / "file")


# ------------------------------------------------------------------------------------------------------- with the hub


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub")
    with serving() as served:
        yield served


def run(hub, folder: Path, text: str, *, token: str | None = TOKEN, offline: bool = False) -> str:
    """Run lines in a process of their own, as the address of the hub is read when its package is imported."""
    home = {"HF_HOME": str(folder), "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    ours = {**os.environ, **home, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    ours |= {"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    ours |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    lines = f"import jetsym\nfrom jetsym.jets.models import Tagger\nfrom jets.test_pretrained import tagger\n{text}"
    lines = lines.replace("from jets.test_pretrained", "import sys; sys.path.insert(0, HERE)\nfrom test_pretrained")
    lines = lines.replace("HERE", repr(str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, "-c", lines], env=ours, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


PULL = "found = Tagger.from_pretrained('me/pn'); print(found.classes, sum(p.sum().item() for p in found.parameters()))"


def refused(line: str) -> str:
    return f"try:\n    {line}\nexcept jetsym.JetsymError as error:\n    print(type(error).__name__, error)\n"


@pytest.mark.slow
def test_what_is_pushed_is_pulled(hub, tmp_path):
    address = run(hub, tmp_path / "here", "print(tagger().push_to_hub('me/pn', card='# measured'))").strip()
    assert address in (f"{hub.address}/me/pn/commit/{hub.commit('me/pn')}", f"{hub.address}/me/pn/tree/main/")
    files = hub.files("me/pn")
    assert set(files) >= {module.WEIGHTS, module.CONFIG, module.CARD}
    assert files[module.CARD] == b"# measured"
    assert list(hub.large.values()) == [files[module.WEIGHTS]]  # as a large file, the others in the commit
    meant = f"('QCD', 'Tbqq') {sum(p.sum().item() for p in tagger().parameters())}\n"
    assert run(hub, tmp_path / "there", PULL, token=None) == meant  # another machine, which knows no token
    asked = len(hub.requests)
    assert run(hub, tmp_path / "there", PULL, offline=True) == meant  # from the cache
    assert len(hub.requests) == asked


@pytest.mark.slow
def test_what_the_hub_refuses_is_said(hub, tmp_path):
    run(hub, tmp_path, "tagger().push_to_hub('me/pn', private=True)\ntagger().push_to_hub('me/empty')")
    hub.repositories["me/empty"][-1].pop(module.WEIGHTS)
    hub.repositories["me/list"] = [{**hub.files("me/pn"), module.CONFIG: b"[1]"}]
    lines = "".join(map(refused, [PULL, "tagger().push_to_hub('me/pn')"]))
    said = run(hub, tmp_path / "other", lines, token=None).splitlines()
    assert re.match("DownloadError .*no such repository.*log in", said[0])
    assert re.match("DownloadError .*log in", said[1])
    wrong = ["Tagger.from_pretrained('me/empty')", "Tagger.from_pretrained('me/p n')"]
    wrong += ["Tagger.from_pretrained('me/pn', revision='none')", "Tagger.from_pretrained('me/list')"]
    said = run(hub, tmp_path / "third", "".join(map(refused, wrong))).splitlines()
    assert said[0].startswith("CheckpointError me/empty holds no model.safetensors")
    assert said[1].startswith("ConfigError 'me/p n' is no name of a repository")
    assert re.match("DownloadError .*no such repository or revision", said[2])
    assert re.match("CheckpointError .*config.json and the header of model.safetensors differ", said[3])


@pytest.mark.slow
def test_a_hub_that_is_not_there(tmp_path):
    pytest.importorskip("huggingface_hub")
    with serving() as gone:
        pass
    lines = refused("Tagger.from_pretrained('me/pn', local_files_only=True)") + refused("tagger().push_to_hub('me/pn')")
    said = run(gone, tmp_path, lines).splitlines()
    assert len(said) == 2
    assert all(re.match("DownloadError .*is not reached", line) for line in said)


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    for use in (lambda: Tagger.from_pretrained("me/pn"), lambda: tagger().push_to_hub("me/pn")):
        with pytest.raises(JetsymError, match=r"pip install 'jetsym\[hub\]'"):
            use()


def test_a_name_that_is_not_resolved_is_said_at_once(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: (_ for _ in ()).throw(OSError("no name")))
    monkeypatch.setattr("jetsym.hub.getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(DownloadError, match="is not reached for a push to me/pn"):
        tagger().push_to_hub("me/pn")
