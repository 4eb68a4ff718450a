"""From a finding about a model of atoms to options that train."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym.cli import main
from jetsym.errors import CheckpointError, ConfigError
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, MODES
from jetsym.repair import REMEDIES, repair, words
from jetsym.repair.dispatch import kind_of
from jetsym.repair.potential import PotentialRun
from jetsym.repair.tagger import TaggerRun

#: In place of metatrain, a process that says what it was asked for.
STUB = "import pathlib, sys; print(*sys.argv[2:]); pathlib.Path(sys.argv[1], 'model.ckpt').write_text('')"


@pytest.fixture
def run(tmp_path):
    """A folder with nothing but the options of a run, which can be changed."""

    def make(**changes):
        options = {"data": "/data/copper.xyz", "model": {"num_attention_layers": 1}, "epochs": 5, **changes}
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(options))
        (tmp_path / "options.yaml").write_text("")
        return tmp_path

    return make


@pytest.fixture
def height():
    """A report on an energy that depends on one component of positions: λ = 1 is all there is in its error."""

    def probed(**options):
        points = np.random.default_rng(0).normal(size=(8, 3))
        return jetsym.probe(lambda x: {"energy": x[:, 2]}, points, l_max=2, progress=False, **options)

    return probed


def test_every_finding_has_a_remedy_or_a_word_on_where_it_is_repaired():
    offered = {name: words(name, "atoms") for name in MODES}
    by_hand = {name for name, known in offered.items() if not known and MEASURE_AGAIN not in MODES[name].remedies}
    assert by_hand == {"parity-blindness"}
    assert {word for known in offered.values() for word in known} == set(REMEDIES["atoms"])


def test_a_folder_tells_who_repairs_it(run, tmp_path):
    assert kind_of(run()) is PotentialRun
    (tmp_path / "jets").mkdir()
    (tmp_path / "jets/config.yaml").write_text("")
    assert kind_of(tmp_path / "jets") is TaggerRun
    with pytest.raises(CheckpointError, match=r"options.yaml \(atoms\) or config.yaml \(jets\)"):
        kind_of(tmp_path / "none")


def test_augmentation_is_turned_on(run):
    repaired = repair(run(augment=False), finding="leakage")
    assert (repaired.remedy, repaired.changes) == ("augment", {"augment": (False, True)})
    assert "takes 5 epochs as before; at inference the model costs what it did" in str(repaired)
    assert "takes 7 epochs" in str(repair(run(augment=False, training={"num_epochs": 7}), finding="leakage"))
    with pytest.raises(ConfigError, match="the run has augment already"):
        repair(run(), finding="leakage", remedy="augment")
    pytest.importorskip("metatrain")
    assert repair(run(penalty=2.0), finding="leakage", remedy="equivariant").config["penalty"] == 0


def test_a_repair_may_begin_from_the_weights(run):
    folder = run(augment=False)
    start = repair(folder, finding="leakage", from_weights=True).config["training"]["finetune"]
    assert (start["method"], start["read_from"]) == ("full", str(folder / "model.ckpt"))
    with pytest.raises(ConfigError, match="changes the network"):
        repair(folder, finding="bottleneck", from_weights=True)
    started = repair(run(), finding="leakage", from_weights=True).config
    assert (started["penalty"], started["training"]["finetune"]["method"]) == (1.0, "full")


def test_the_network_may_be_another(run):
    deeper = repair(run(), finding="bottleneck", remedy="more-attention")
    assert deeper.changes == {"model": ({"num_attention_layers": 1}, {"num_attention_layers": 2})}
    assert "about 2 times as long" in str(deeper)
    pytest.importorskip("metatrain")
    deepened = repair(run(model=None), finding="bottleneck", remedy="more-attention")
    assert deepened.config["model"] == {"num_attention_layers": 3}  # of 2
    options = {"training": {"num_workers": 0, "finetune": {}, "max_atoms_per_batch": 9}, "augment": False}
    exact = repair(run(**options), finding="late-collapse", remedy="equivariant").config
    assert (exact["architecture"], exact["model"]) == ("soap_bpnn", None)
    assert exact["training"]["num_workers"] == 0
    with pytest.raises(ConfigError, match="cannot be had by its architecture"):
        repair(run(architecture="soap_bpnn"), finding="leakage")


MU = {"mtt::mu": {"key": "mu", "quantity": "", "type": {"cartesian": {"rank": 1}}}}


@pytest.fixture
def starved():
    """``starved(kind)``: a report on an output of a kind that is read from lengths alone."""

    class Lengths(torch.nn.Module):
        def __init__(self, components):
            super().__init__()
            self.length, self.components = torch.nn.Identity(), components

        def forward(self, x):
            turns = x[:, :1] * torch.arange(1, self.components + 1) / 10
            return self.length((x**2).sum(-1, keepdim=True)) * (1 + turns) + 1e-3 * turns

    def probed(lam):
        points = np.random.default_rng(0).normal(size=(10, 3))
        options = {"outputs": {"y": (lam, 1)}, "layers": ["length"], "l_max": 3, "progress": False}
        return jetsym.probe(Lengths(2 * lam + 1), points, **options)

    return probed


@pytest.mark.parametrize("saved", ["report", "diagnosis"])
def test_what_is_starved_is_injected(run, starved, tmp_path, saved):
    """λ = 2 and more as harmonics of the edges; λ = 1 is there in vectors, and takes tensors for the target."""

    def report(lam):
        found = starved(lam)
        assert [(each.name, each.irreps) for each in jetsym.diagnose(found) if each.name == "starvation"]
        return (jetsym.diagnose(found) if saved == "diagnosis" else found).save(tmp_path / f"{lam}.json")

    quadrupole = repair(run(), finding="starvation", report=report(2))
    assert quadrupole.changes == {"inject": (None, "harmonics:2")}
    assert "8 more inputs of the embedding of every edge" in str(quadrupole)
    more = repair(run(inject="harmonics:2,invariants"), finding="starvation", report=report(3))
    assert more.changes == {"inject": ("harmonics:2,invariants", "harmonics:3,invariants")}
    vector = repair(run(targets=MU), finding="starvation", report=report(1))
    assert (vector.remedy, vector.config["inject"]) == ("tensor-basis", "tensor-basis")
    assert "turn as they should; what is left of A comes from the scalars" in str(vector)
    assert repair(run(), finding="starvation", report=report(1)).remedy == "more-attention"  # of an energy
    assert repair(run(), finding="starvation").config["inject"] == "invariants"  # where no report tells


def test_deviations_of_scalars_are_penalised_or_left_out_and_those_of_tensors_made_impossible(run):
    first = repair(run(), finding="leakage")
    assert first.changes == {"penalty": (0.0, 1.0)}
    assert "a step takes one more pass of twice as many structures, without forces" in first.costs
    assert repair(run(penalty=1.0), finding="leakage").changes == {"penalty": (1.0, 2.0)}
    assert repair(run(), finding="leakage", weight=0.3).changes == {"penalty": (0.0, 0.3)}
    angles = repair(run(inject="harmonics:2"), finding="leakage", remedy="invariants")
    assert angles.changes == {"inject": ("harmonics:2", "harmonics:2,invariants")}
    assert repair(run(), finding="late-collapse").changes == {"inject": (None, "invariants")}
    for finding in ("leakage", "misalignment"):
        assert repair(run(targets=MU), finding=finding).changes == {"inject": (None, "tensor-basis")}
        assert repair(run(targets=MU, inject="tensor-basis"), finding=finding).remedy == "penalty"
    assert repair(run(), finding="bottleneck").changes == {"inject": (None, "harmonics:2")}
    assert repair(run(inject="harmonics:2"), finding="bottleneck").config["inject"] == "harmonics:3"
    assert repair(run(inject="harmonics:8"), finding="bottleneck").remedy == "more-attention"
    with pytest.raises(ConfigError, match="cannot be had by its architecture"):
        repair(run(architecture="soap_bpnn"), finding="bottleneck", remedy="harmonics")


def test_a_drifting_run_learns_more_slowly_or_goes_back(run):
    assert repair(run(), finding="drift").remedy == "penalty"
    calmer = repair(run(learning_rate=1e-3), finding="drift", remedy="lower-rate")
    assert calmer.changes == {"learning_rate": (1e-3, 5e-4)}
    assert f"jetsym atoms spectra {run()} --inputs … says at which A was smallest" in str(calmer)
    inner = repair(run(training={"learning_rate": 1e-2, "num_workers": 0}), finding="drift", remedy="lower-rate").config
    assert (inner["learning_rate"], inner["training"]) == (5e-3, {"num_workers": 0})
    pytest.importorskip("metatrain")
    assert (
        repair(run(), finding="drift", remedy="lower-rate").config["learning_rate"] == 5e-5
    )  # of metatrain's own 1e-4


def test_what_an_average_in_use_takes_is_read_off_the_report(run, height, tmp_path):
    report = height().save(tmp_path / "report.json")
    instead = repair(run(augment=False), finding="leakage", report=report).instead
    assert "SymmetrizedCalculator(calculator, 'O3', 1)" in instead
    assert "--symmetrize O3 --l_max 1, evaluates every structure 24 times" in instead  # 12 rotations and inversion
    assert "5% of A² of energy by the error spectrum. For a crystal, --symmetrize space takes 48" in instead
    half = height(group="SO3").save(tmp_path / "half.json")
    assert "'SO3', 1), in jetsym relax and phonons --symmetrize SO3 --l_max 1, evaluates every structure 12" in str(
        repair(run(augment=False), finding="leakage", report=half)
    )
    about = height(group="SO2").save(tmp_path / "about.json")
    assert repair(run(augment=False), finding="frame-locking", report=about).instead == ""
    found = jetsym.diagnose(height()).save(tmp_path / "found.json")
    assert repair(run(augment=False), finding="leakage", report=found).instead == ""  # it holds no error spectrum
    with pytest.raises(ConfigError, match="did not find 'drift'"):
        repair(run(), finding="drift", report=found)


def test_a_measurement_is_made_again(run, tmp_path):
    points = np.random.default_rng(1).normal(size=(1, 3))
    report = jetsym.probe(lambda x: {"energy": x[:, 2]}, points, l_max=2, progress=False).save(tmp_path / "one.json")
    assert repair(run(), finding="under-resolved", report=report).changes == {"limit": (1, 64)}


def test_what_cannot_be_repaired_is_refused(run, tmp_path, capsys):
    with pytest.raises(ConfigError, match="--finding is 'leak'; the nearest are 'leakage'"):
        repair(run(), finding="leak")
    with pytest.raises(ConfigError, match="--remedy is 'mirror'; there is 'augment'"):
        repair(run(), finding="leakage", remedy="mirror")
    with pytest.raises(ConfigError, match="--weight is 0.2, that of a new penalty, but augment shows PET every"):
        repair(run(augment=False), finding="leakage", weight=0.2)
    with pytest.raises(ConfigError, match="no option of such a training repairs 'parity-blindness'; by hand: Let in"):
        repair(run(), finding="parity-blindness")
    with pytest.raises(ConfigError, match="an architecture section of its own"):
        repair(run(options={"architecture": {"name": "llpr"}}), finding="leakage")
    for text in ("[]", "augment: true", "data: a.xyz\nwidth: 3", "data: [", "data: a.xyz\nout: here"):
        (tmp_path / "train.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=r"train.yaml (does not hold|cannot be read)"):
            repair(tmp_path, finding="leakage")
    (tmp_path / "train.yaml").unlink()
    assert main(["repair", str(tmp_path), "--finding", "leakage"]) == 1
    assert "does not say how it was trained" in capsys.readouterr().err


def test_the_command_trains_what_the_repair_wrote(tmp_path, monkeypatch, capsys):
    """From a run without augmentation to one with it, by the commands that are printed; metatrain is a stub."""
    pytest.importorskip("metatrain")
    monkeypatch.setattr("jetsym.atoms.training.process.RUNNER", (sys.executable, "-c", STUB))
    monkeypatch.chdir(tmp_path)
    atom = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0\nCu 0 0 0 0 0 0\n"
    (tmp_path / "some.xyz").write_text(4 * atom)
    options = ["--epochs", "3", "--forces", "forces", "--model", "{d_pet: 8}", "--progress", "false"]
    assert main(["atoms", "train", "some.xyz", "--out", "run", "--augment", "false", *options]) == 0
    assert (tmp_path / "run/output.txt").read_text() == "--no-augmentation\n"
    capsys.readouterr()
    assert main(["repair", "run", "--finding", "leakage"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Go on with: "))
    assert line == "Go on with: jetsym atoms train --config run/repair-leakage.yaml --out NEW_RUN"
    assert main([*line.replace("NEW_RUN", "repaired").split()[4:], "--progress", "false"]) == 0
    assert (tmp_path / "repaired/output.txt").read_text() == "\n"
    given, then = (yaml.safe_load((tmp_path / name / "train.yaml").read_text()) for name in ("run", "repaired"))
    assert given["data"] == str(tmp_path / "some.xyz")
    assert then == given | {"augment": True}
