"""From a finding to a configuration that trains."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym.cli import main
from jetsym.errors import CheckpointError, ConfigError, DataError, JetsymError
from jetsym.jets.models.registry import build
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, MODES
from jetsym.repair import REMEDIES, repair, tagger, words
from jetsym.repair.base import RENAMED
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train

#: Mode -> remedies of a tagger, for the modes that are not the measurement's.
REPAIRS = {
    name: words(name, tagger.TaggerRun.RUNS) for name, mode in MODES.items() if MEASURE_AGAIN not in mode.remedies
}
WRITTEN = Path(__file__).parents[1] / "written_before" / "reports"
SMALL = {"width": 8, "blocks": 1, "heads": 2}


@pytest.fixture
def run(tmp_path):
    """A folder with nothing but a configuration, which can be changed."""

    def make(**changes):
        config = TrainConfig(**{"data": "train/*.root", "options": SMALL, "epochs": 1, **changes})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
        return tmp_path

    return make


def test_every_finding_has_a_remedy_or_a_word_on_where_it_is_repaired():
    assert all(REPAIRS.values())
    assert {name for names in REPAIRS.values() for name in names} == set(REMEDIES["jets"])


@pytest.mark.parametrize("finding", REPAIRS)
def test_every_remedy_of_a_finding_gives_a_configuration(run, finding):
    mirrored = {"augmentation": AugmentationConfig("O3")} if finding == "parity-blindness" else {}
    for remedy in REPAIRS[finding]:
        repaired = repair(run(**mirrored), finding=finding, remedy=remedy)
        assert repaired.changes
        before = TrainConfig("train/*.root", options=SMALL, epochs=1, **mirrored)
        assert set(repaired.changes) == set(before.differing(repaired.config))
        assert repaired.config.epochs == 1
        path = repaired.save(run() / "repaired.yaml")
        text = path.read_text()
        assert TrainConfig.from_dict(yaml.safe_load(text)) == repaired.config
        assert text.startswith(f"# {finding} of ")


@pytest.fixture
def skewed(tmp_path):
    """The report of a measurement with too few inputs."""
    points = np.random.default_rng(1).normal(size=(6, 3))
    options = {"outputs": {"output": "scalar"}, "l_max": 3, "progress": False}
    report = jetsym.probe(lambda x: (x[:, 0] > 0) * np.exp(2 * x[:, 1]), points, **options)
    return report.save(tmp_path / "skewed.json")


def test_a_measurement_is_made_again_by_its_own_errors(run, skewed, tmp_path, capsys):
    repaired = repair(run(), finding="under-resolved", report=skewed)
    (option,) = repaired.changes
    before, after = repaired.changes[option]
    assert (option, before) == ("limit", 6)
    assert after > 12
    assert f"about {after / 6:.2g} times the evaluations" in str(repaired)
    found = jetsym.diagnose(jetsym.SymmetryReport.load(skewed)).save(tmp_path / "found.json")
    assert repair(run(), finding="under-resolved", report=found).config == repaired.config
    # The command takes what was written: group, frame, l_max and all.
    assert main(["repair", str(run()), "--finding", "under-resolved", "--report", str(skewed)]) == 0
    path = tmp_path / "repair-under-resolved.yaml"
    line = f"Go on with: jetsym probe {tmp_path} --config {path} --out NEW_REPORT.json"
    assert line in capsys.readouterr().out
    known = set(inspect.signature(jetsym.probe).parameters)
    assert set(yaml.safe_load(path.read_text())) == set(repaired.config) <= known
    points = np.random.default_rng(1).normal(size=(6, 3))
    smooth = jetsym.probe(lambda x: x[:, 2], points, l_max=2, progress=False).save(tmp_path / "smooth.json")
    with pytest.raises(ConfigError, match="shows no 'saturation'; it shows leakage"):
        repair(run(), finding="saturation", report=smooth)
    with pytest.raises(ConfigError, match="'saturation' is repaired by measuring again: give the --report"):
        repair(run(), finding="saturation")
    assert repair(run(), finding="saturation", remedy="augment").config.augmentation.group == "O3"


def test_more_of_a_group_is_looked_at_where_power_is_beyond_l_max(run, tmp_path, make_jets):
    jets = make_jets(128, dtype=torch.float64, max_particles=5, min_particles=3)

    def tagger(jets):
        return torch.exp(4 * jets.p4[:, 0, 1] / jets.p4[:, 0, 0])

    options = {"outputs": {"logits": "scalar"}, "l_max": 2, "limit": 128, "progress": False}
    report = jetsym.probe(tagger, jets, group="SO3", frame="rest", **options).save(tmp_path / "report.json")
    repaired = repair(run(), finding="saturation", report=report)
    assert (repaired.config["group"], repaired.config["frame"], repaired.config["limit"]) == ("SO3", "rest", 128)
    assert repaired.changes["l_max"][1] > 2
    again = jetsym.probe(tagger, jets, outputs={"logits": "scalar"}, progress=False, **repaired.config)
    assert again.tail.max() < jetsym.SymmetryReport.load(report).tail.max()


def test_the_next_remedy_is_taken_where_the_first_is_there_already(run):
    rotated = {"augmentation": AugmentationConfig("SO3")}
    repaired = repair(run(**rotated), finding="leakage")
    assert repaired.remedy == "penalty"
    assert "3 times instead of once" in str(repaired)
    both = {**rotated, "penalty": asdict(repaired.config.penalty)}
    doubled = repair(run(**both), finding="leakage")
    assert doubled.config.penalty.weight == 2 * repaired.config.penalty.weight
    assert doubled.costs.startswith("A step of the training costs what it did, over 1 epochs")
    with pytest.raises(ConfigError, match="the run has augment already"):
        repair(run(**rotated), finding="leakage", remedy="augment")


def test_canonical_keeps_the_network_and_drops_turns_but_not_boosts(run):
    options = {"finding": "late-collapse", "remedy": "canonical"}
    repaired = repair(run(augmentation=AugmentationConfig("SO3")), **options).config
    assert repaired.options == {
        "backbone": "pointnet",
        "options": SMALL,
        "group": "O3",
        "frame": "lab",
        "signs": "moment",
    }
    assert repaired.augmentation.group == "none"
    boosts = AugmentationConfig("boost", width=0.5)
    assert repair(run(augmentation=boosts), **options).config.augmentation == boosts
    with pytest.raises(ConfigError, match="changes the network"):
        repair(run(), **options, from_weights=True)


def test_a_network_is_given_tensors_and_invariants(run):
    more = repair(run(), finding="bottleneck")
    assert more.config.options == {**SMALL, "harmonics": 2}
    assert "by 15 columns" in str(more)
    assert repair(run(options=more.config.options), finding="bottleneck").config.options["harmonics"] == 3
    early = repair(run(), finding="late-collapse")
    assert early.config.options == {**SMALL, "invariants": 16}
    assert "by 17 columns" in early.costs
    both = repair(run(options=early.config.options), finding="starvation")
    assert both.config.options == {**SMALL, "invariants": 16, "pairs": 16}
    with pytest.raises(ConfigError, match="the run has invariants already"):
        repair(run(options=early.config.options), finding="leakage", remedy="invariants")
    with pytest.raises(ConfigError, match="or it cannot be used"):
        repair(run(model="lgatr", options={}), finding="misalignment", remedy="invariants")
    with pytest.raises(ConfigError, match="or it cannot be used"):
        repair(run(model="lgatr", options={}), finding="bottleneck")


def test_mirrors_are_added_to_turns_in_their_frame(run):
    moved = AugmentationConfig("SO3", frame="rest")
    repaired = repair(run(augmentation=moved), finding="parity-contamination").config
    assert repaired.augmentation == AugmentationConfig("O3", frame="rest")


def test_a_network_that_is_blind_for_parity_is_let_see_it(run, make_jets):
    posed = {"model": "canonical", "options": {"backbone": "pointnet", "options": SMALL, "group": "O3"}}
    repaired = repair(run(**posed), finding="parity-blindness").config
    chiral = make_jets(2, dtype=torch.float64, max_particles=6, min_particles=4)
    image = rotate(chiral, torch.diag(torch.tensor([1.0, -1.0, 1.0]))[None])
    for options, blind in ((posed["options"], True), (repaired.options, False)):
        torch.manual_seed(0)
        tagger = build("canonical", **options).double().eval()
        assert torch.allclose(tagger(chiral), tagger(image), atol=1e-8) == blind
    moves = AugmentationConfig("O3", frame="rest")
    both = repair(run(augmentation=moves, penalty={"weight": 0.1, "moves": asdict(moves)}), finding="parity-blindness")
    assert both.config.augmentation == both.config.penalty.moves == AugmentationConfig("SO3", frame="rest")
    with pytest.raises(ConfigError, match="the run has no-mirror already"):
        repair(run(), finding="parity-blindness")


def test_a_drifting_run_is_watched(run):
    assert repair(run(), finding="drift").config.monitor_every == 200
    calmer = repair(run(monitor_every=50), finding="drift", remedy="lower-rate").config
    assert (calmer.monitor_every, calmer.lr, calmer.ema) == (50, 5e-4, 0.999)


def test_group_frame_and_axis_are_those_of_the_report(run, make_jets):
    jets = make_jets(8, dtype=torch.float64, max_particles=5, min_particles=3)

    def tagger(jets):
        x = jets.p4[:, 0, 1] / jets.p4[:, 0, 0]
        return torch.stack([x, -x], dim=-1)

    folder = run()
    options = {"outputs": {"logits": "logits"}, "l_max": 2, "progress": False}
    rest = jetsym.probe(tagger, jets, group="SO3", frame="rest", **options)
    found = jetsym.diagnose(rest).save(folder / "found.json")
    assert repair(folder, finding="leakage", report=found).config.augmentation == AugmentationConfig(
        "SO3", frame="rest"
    )
    assert repair(folder, finding="leakage", report=found).instead == ""  # a diagnosis holds no error spectrum
    lab = jetsym.probe(tagger, jets, group="SO3", **options).save(folder / "lab.json")
    # A component of a vector: λ = 1 is all there is in the error spectrum.
    words = "Symmetrized(tagger, 'SO3', 1, frame='lab') evaluates every jet 12 times"
    assert words in str(repair(folder, finding="leakage", report=lab))
    beam = jetsym.probe(tagger, jets, group="SO2", **options).save(folder / "beam.json")
    assert repair(folder, finding="frame-locking", report=beam).config.augmentation == AugmentationConfig("SO2")
    boost = jetsym.probe(tagger, jets, group="boost", **options).save(folder / "boost.json")
    expected = AugmentationConfig("boost", width=0.5)
    assert repair(folder, finding="frame-locking", report=boost).config.augmentation == expected
    with pytest.raises(ConfigError, match="did not find 'drift'; it found "):
        repair(folder, finding="drift", report=found)
    tilted = jetsym.probe(lambda x: x[:, 0], np.ones((2, 3)), group="SO2", axis="x", l_max=1, progress=False)
    with pytest.raises(ConfigError, match="about the axis x"):
        repair(folder, finding="leakage", report=tilted.save(folder / "x.json"))


def test_what_cannot_be_repaired_is_refused(run, tmp_path, capsys):
    with pytest.raises(ConfigError, match="--finding is 'leak'; the nearest are 'leakage'"):
        repair(run(), finding="leak")
    with pytest.raises(ConfigError, match="--remedy is 'agument'; the nearest are 'augment'"):
        repair(run(), finding="leakage", remedy="agument")
    for old, new in RENAMED.items():
        with pytest.raises(ConfigError, match=f"--remedy is '{old}', which is called '{new}' now"):
            repair(run(), finding="leakage", remedy=old)
    with pytest.raises(CheckpointError, match="holds no run"):
        repair(tmp_path / "none", finding="leakage")
    with pytest.raises(DataError, match="no report can be read"):
        repair(run(), finding="leakage", report="none.json")
    (tmp_path / "config.yaml").write_text("widths: 3")
    with pytest.raises(CheckpointError, match="is no configuration of a training"):
        repair(tmp_path, finding="leakage")
    assert main(["repair", str(tmp_path / "none"), "--finding", "leakage"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_weight_that_would_be_dropped_is_refused(run, skewed):
    with pytest.raises(ConfigError, match="--weight is 0.3, that of a new penalty, but augment "):
        repair(run(), finding="leakage", remedy="augment", weight=0.3)
    with pytest.raises(ConfigError, match="--weight is 0.3, that of a new penalty, but augment .* another --remedy"):
        repair(run(), finding="leakage", weight=0.3)  # augment is the least intrusive
    penalty = repair(run(), finding="leakage", remedy="penalty", weight=0.3).config.penalty
    assert penalty.weight == 0.3
    assert repair(run(), finding="drift", weight=0.3).config.penalty.weight == 0.3  # the penalty is the least intrusive
    with pytest.raises(ConfigError, match="--weight is 0.5, .* but penalty doubles the weight of the penalty"):
        repair(run(penalty=penalty), finding="leakage", remedy="penalty", weight=0.5)
    for weight in (0.0, -1.0, float("nan"), True, "0.1"):
        with pytest.raises(ConfigError, match=f"--weight is {weight!r}; expected the weight of a new penalty, above 0"):
            repair(run(), finding="leakage", remedy="penalty", weight=weight)
    for options in ({"weight": 0.1}, {"from_weights": True}):
        with pytest.raises(ConfigError, match=f"--{next(iter(options))} is .* is repaired by measuring again: leave"):
            repair(run(), finding="under-resolved", report=skewed, **options)


@pytest.mark.parametrize("finding", ["leakage", "under-resolved"])
@pytest.mark.parametrize("name", ["diagnosis", "o3", "so3-random", "boosts", "lorentz"])
def test_damaged_and_newer_reports_are_refused(run, tmp_path, name, finding):
    """Whatever is lacking or of another type, it is an error of the package's own, or nothing that is looked at."""
    whole = json.loads((WRITTEN / f"{name}.json").read_text())

    def attempt(data) -> str:
        (tmp_path / "report.json").write_text(json.dumps(data))
        try:
            repair(run(), finding=finding, report=tmp_path / "report.json")
        except JetsymError as error:
            return str(error)
        return ""

    assert "this jetsym reads formats up to" in attempt({**whole, "format": 99})
    for key in whole:
        for damaged in ({k: v for k, v in whole.items() if k != key}, {**whole, key: 3}, {**whole, key: []}):
            assert attempt(damaged) or key in ("format", "not_judged"), key
    for key in whole["meta"]:
        rest = {k: v for k, v in whole["meta"].items() if k != key}
        for meta in (rest, {**rest, key: None}, {**rest, key: "a"}):
            attempt({**whole, "meta": meta})


def test_a_report_on_the_lorentz_group_is_measured_again(run, tmp_path, make_jets):
    def tagger(jets):
        return torch.exp(2 * jets.p4[:, 0, 1] / jets.p4[:, 0, 0])

    jets = make_jets(4, dtype=torch.float64, max_particles=5, min_particles=3)
    report = jetsym.probe(tagger, jets, group="lorentz", outputs={"y": "scalar"}, l_max=1, widths=[0.1], progress=False)
    found = jetsym.diagnose(report)
    asked = next(finding for finding in found if finding.options)
    repaired = repair(run(), finding=asked.name, report=report.save(tmp_path / "lorentz.json"))
    assert (repaired.config["group"], repaired.config["l_max"], repaired.changes["limit"][0]) == ("lorentz", 1, 4)
    assert {name: after for name, (_, after) in repaired.changes.items()} == asked.options


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["augment", "penalty", "harmonics", "invariants", "pairs", "canonical"])
def test_the_repaired_run_trains(tmp_path, make_jets, jetclass_columns, write_tree, capsys, remedy):
    write_tree(tmp_path / "train.root", jetclass_columns(make_jets(60, seed=1)))
    data = str(tmp_path / "train.root")
    train(data, tmp_path / "run", epochs=1, options=SMALL, device="cpu", progress=False)
    assert main(["repair", str(tmp_path / "run"), "--finding", "leakage", "--remedy", remedy]) == 0
    printed = capsys.readouterr().out
    assert "Go on with: jetsym train --config" in printed
    config = str(tmp_path / "run/repair-leakage.yaml")
    assert main(["train", "--config", config, "--out", str(tmp_path / "repaired")]) == 0
    report = jetsym.probe(tmp_path / "repaired", data, limit=4, l_max=2, progress=False)
    broken = report.equivariance["logits"].relative > 1e-3
    assert broken == (remedy != "canonical")


@pytest.mark.slow
def test_a_repair_may_begin_from_the_weights(tmp_path, make_jets, jetclass_columns, write_tree):
    write_tree(tmp_path / "train.root", jetclass_columns(make_jets(60, seed=1)))
    data = str(tmp_path / "train.root")
    train(data, tmp_path / "run", epochs=1, options=SMALL, device="cpu", progress=False)
    path = repair(tmp_path / "run", finding="leakage", from_weights=True).save(tmp_path / "repaired.yaml")
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "repaired")]) == 0
