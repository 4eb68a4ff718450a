"""Regimes: each makes the run that it says, and all are measured alike."""

from __future__ import annotations

import pytest
import torch

import jetsym
from jetsym.benchmarks.__main__ import main
from jetsym.benchmarks.compare_regimes import FRAMES, REGIMES, Comparison, compare_runs, measure_run, regime_options
from jetsym.errors import ConfigError, DataError
from jetsym.jets import checkpoint, read
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import build
from jetsym.probing.reports.history import History
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train

SMALL = {"width": 16, "blocks": 1, "heads": 2}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("frame", ["lab", "rest"])
def test_every_regime_is_a_configuration(regime, frame):
    config = TrainConfig("a.root", **regime_options(regime, options=SMALL, group="O3", frame=frame))
    assert (config.augmentation.group == "O3") == (regime == "augmentation")
    assert bool(config.penalty.weight) == (regime in ("penalty", "generators"))
    for moves, wanted in ((config.augmentation, "augmentation"), (config.penalty.moves, "penalty")):
        assert (moves.frame == frame) == (regime == wanted)
    own = config.options.get("options", config.options)
    assert (own == SMALL) == (regime != "exact")
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("frame", ["lab", "rest"])
def test_what_should_be_invariant_by_construction_is(make_jets, frame):
    jets = make_jets(4, dtype=torch.float64, min_particles=5)
    found = {}
    for regime in ("none", "canonicalised", "exact"):
        made = regime_options(regime, options=SMALL, frame=frame)
        torch.manual_seed(0)
        model = build(made["model"], **made["options"]).double()
        report = jetsym.probe(model, jets, layers=[], group="SO3", frame=frame, l_max=1, progress=False)
        found[regime] = report.equivariance["logits"].relative
    assert found["none"] > 1e-3
    assert found["canonicalised"] < 1e-9
    assert found["exact"] < 1e-6


def test_the_exact_network_has_the_size_of_the_backbone():
    options = regime_options("exact", options={"width": 64, "blocks": 3, "heads": 4})["options"]
    assert options["heads"] * (options["head_scalars"] + 4 * options["head_vectors"]) == 64
    assert options["blocks"] == 3


def test_unknown_regimes_are_named():
    with pytest.raises(ConfigError, match="no regime 'penalti'; the nearest are 'penalty'"):
        regime_options("penalti")


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_jets, jetclass_columns, write_tree):
    folder = tmp_path_factory.mktemp("regimes")
    data = write_tree(folder / "train.root", jetclass_columns(make_jets(60, seed=1, min_particles=3)))
    options = {"epochs": 2, "batch_size": 30, "max_particles": 8, "device": "cpu", "progress": False}
    train(str(data), folder / "none-0", **options, **regime_options("none", options=SMALL))
    return folder / "none-0", read(str(data), max_particles=8)


def test_a_run_is_measured_as_by_the_functions_for_each_part(run):
    path, jets = run
    outcome = measure_run(path, jets, probed=6, n_rotations=8, symmetries=["O3 lab", "SO3 rest"])
    tagger = checkpoint.load(path)
    assert set(outcome.symmetry) == {"O3 lab", "SO3 rest"}
    places = torch.linspace(0, 59, 6).round().long()
    for name, found in outcome.symmetry.items():
        options = {"method": "random", "n_rotations": 8, "l_max": 0, "layers": [], "progress": False}
        error = jetsym.probe(tagger, jets[places], **FRAMES[name], **options).equivariance["logits"]
        assert found["relative"] == error.relative
        assert found["over_spread"] == error.over_spread
    correct = tagger(jets).argmax(dim=1) == jets.label
    assert outcome.quality["accuracy"] == pytest.approx(float(correct.float().mean()))
    assert outcome.quality["rotated_accuracy"] != outcome.quality["macro_auc_ovo"]
    assert outcome.cost["parameters"] == sum(p.numel() for p in PointNet(**SMALL).parameters())
    assert outcome.cost["epochs"] == 2
    assert outcome.cost["train_seconds"] > 0
    assert (outcome.name, outcome.regime) == ("none-0", "none-0")


def test_comparisons_are_kept_and_averaged(run, tmp_path):
    path, jets = run
    options = {"probed": 3, "n_rotations": 4, "symmetries": ["SO3 lab"]}
    found = compare_runs([(str(path), "none"), (str(path), "none"), (str(path), "again")], jets, **options)
    assert found.regimes == ("none", "again")
    mean, stderr = found.values("none", "symmetry", "SO3 lab", "relative")
    assert mean == found.outcomes[0].symmetry["SO3 lab"]["relative"]
    assert stderr == 0
    assert found.values("again", "cost", "parameters")[1] != found.values("again", "cost", "parameters")[1]  # NaN
    loaded = Comparison.load(found.save(tmp_path / "regimes.json"))
    assert loaded.outcomes == found.outcomes
    assert "A SO3 lab" in str(loaded)
    (tmp_path / "bad.json").write_text('{"kind": "regimes", "format": 1, "outcomes": [{"nam": 1}]}')
    with pytest.raises(DataError, match="damaged"):
        Comparison.load(tmp_path / "bad.json")


def test_jets_of_other_classes_are_refused(run):
    path, jets = run
    with pytest.raises(DataError, match="other classes"):
        measure_run(path, jets.replace(classes=jets.classes[::-1]))


def test_existing_runs_from_the_shell(run, tmp_path, capsys):
    path, _ = run
    words = ["regimes", "--runs", str([str(path)]), "--out", tmp_path, "--probed", 3, "--n-rotations", 4]
    assert main([*map(str, words), "--test-jets", "40"]) == 0
    assert "A O3 rest" in capsys.readouterr().out
    assert Comparison.load(tmp_path / "regimes.json").outcomes[0].name == "none-0"
    assert main(["regimes", "--names", "['noone']", "--out", str(tmp_path)]) == 1
    assert "no regime 'noone'; the nearest are 'none'" in capsys.readouterr().err


@pytest.mark.slow
def test_all_regimes_at_equal_budget(tmp_path, capsys):
    """Small, and long enough for what must be so: the two by construction are invariant, the others are not."""
    words = ["regimes", "--out", tmp_path, "--epochs", 2, "--limit", 300, "--test-jets", 100, "--probed", 6]
    words += ["--n-rotations", 6, "--monitor-every", 3, "--device", "cpu", "--progress", "false"]
    assert main([*map(str, words)]) == 0
    found = Comparison.load(tmp_path / "regimes.json")
    assert found.regimes == REGIMES
    errors = {name: found.values(name, "symmetry", "SO3 lab", "relative")[0] for name in REGIMES}
    assert errors["canonicalised"] < 1e-3
    assert errors["exact"] < 1e-2
    assert min(errors[name] for name in REGIMES[:4]) > 0.05
    assert errors["penalty"] < errors["none"]
    assert {outcome.cost["epochs"] for outcome in found.outcomes} == {2}
    assert History.load(tmp_path / "exact-0").steps.tolist() == [0, 3, 6]
    assert main([*map(str, words)]) == 0  # again: nothing to train
