"""Files that jetsym 0.1.0 wrote are read, with their numbers; see ``tests/written_before/README.md``.

The files stay as they are. Where a format changes, its upgrade is what makes these tests pass again.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym import cli
from jetsym.benchmarks.compare_regimes import Comparison as Regimes
from jetsym.jets import read, sample
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.stability_report import Stability
from jetsym.jets.io import JetStream
from jetsym.jets.io.read import read_packed
from jetsym.probing.reports.attribution import Attribution
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.comparison import Comparison
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.generators import LocalReport
from jetsym.probing.reports.history import History
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.training.trials import RateCurve

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "written_before"
REPORTS, CONFIGS, CHECKPOINTS = HERE / "reports", HERE / "configs", HERE / "checkpoints"
RUNS, JETS, ATOMS = HERE / "runs", HERE / "jets", HERE / "atoms"
TWO_FILES = [str(ROOT / f"data/sample/test/{name}_000.root") for name in ("TTBar", "ZJetsToNuNu")]
LAYERS = ("embedding", "blocks.0", "pool", "logits")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files name the bundled jets from here."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], Path]:
    """``run(name)``: a copy of a run, which may be changed."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(RUNS / name, tmp_path / name))

    return copy


def stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def about(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


# Reports that are read back


@pytest.mark.parametrize(
    ("name", "irreps", "fraction", "relative", "facts"),
    [
        ("o3", 6, 0.9860090862053446, 0.11828353972076117, {"group": "O3", "frame": "lab", "method": "quadrature"}),
        ("so3-random", 2, 0.9930870982286694, 0.08314386189810201, {"group": "SO3", "frame": "rest", "seed": 0}),
        ("so2-jet", 3, 0.9995728471975474, 0.020667542563202395, {"group": "SO2", "axis": "jet", "l_max": 2}),
        ("o3-auto", 6, 0.9860090862053446, 0.11828353972076117, {"group": "O3", "l_max": 2}),
    ],
)
def test_spectra(name, irreps, fraction, relative, facts):
    report = jetsym.SymmetryReport.load(REPORTS / f"{name}.json")
    assert report.layers == (LAYERS if name != "o3-auto" else ("logits",))
    assert report.fractions.shape == report.stderr.shape == (len(report.layers), irreps)
    assert report.fractions[-1, 0] == about(fraction)
    error = report.equivariance["logits"]
    assert (error.relative, error.kind) == (about(relative), "logits")
    assert facts.items() <= dict(report.meta).items()
    assert report.meta["jetsym"] == "0.1.0"
    assert "logits" in str(report)


def test_a_spectrum_with_its_baseline():
    report = jetsym.SymmetryReport.load(REPORTS / "o3.json")
    assert [(irrep.lam, irrep.sigma) for irrep in report.irreps[:3]] == [(0, 1), (0, -1), (1, 1)]
    error = report.equivariance["logits"]
    assert error.error_spectrum["(1,+)"] == about(0.013359269436746745)
    assert (error.leakage, error.error_exact_to) == (about(0.013990995768872883), 2)
    assert report.baseline.equivariance["logits"].relative == about(0.07007541638546544)
    assert report.baseline.layers == LAYERS


def test_boosts():
    report = BoostReport.load(REPORTS / "boosts.json")
    assert (report.layers, report.widths.tolist()) == (LAYERS, [0.1, 0.3])
    assert report.squared[1, 3] == about(0.0002814163545263635)
    assert report.equivariance["logits"].relative == about(0.01677546977624595)
    assert report.baseline.squared.shape == (2, 4)


def test_lorentz():
    report = LorentzReport.load(REPORTS / "lorentz.json")
    assert [*report.compact] == ["O3 rest", "O3 lab", "SO2 jet", "SO2 beam"]
    assert ([*report.local], [*report.windows]) == (["jet", "beam"], ["beam", "jet", "random"])
    assert report.compact["O3 rest"].equivariance["logits"].relative == about(0.14054788509249744)
    assert report.casimir["embedding"]["local"] == about(0.08350186784343022)
    local = LocalReport.load(REPORTS / "local.json")
    assert local.generators == ("J_x", "J_y", "J_z", "K_x", "K_y", "K_z")
    assert local.squared[1, 0] == about(0.01517252672056877)
    np.testing.assert_array_equal(local.squared, report.local["jet"].squared)


def test_history():
    history = History.load(REPORTS / "history.json")
    assert (history.steps.tolist(), history.unit) == ([0, 4], "steps")
    assert history.error("relative") == pytest.approx([0.11686345615596842, 0.11880693272181245])
    folder = History.load(RUNS / "upright")
    np.testing.assert_array_equal(folder.over_steps("fractions"), history.over_steps("fractions"))


def test_attribution():
    report = Attribution.load(REPORTS / "attribution.json")
    assert report.equivariance["logits"].relative == about(0.1172474248790373)
    effects = report.effects["logits"]
    assert effects["particle flags"].difference == about(0.016458060932424662)
    assert (effects["truncation"].adds, effects["charge"].adds) == (True, False)


def test_comparison_and_diagnosis():
    compared = Comparison.load(REPORTS / "comparison.json")
    assert compared.names == ("quadrature", "random")
    assert compared.reports[1].equivariance["logits"].relative == about(0.08314386189810201)
    found = Diagnosis.load(REPORTS / "diagnosis.json")
    assert found.names == {"leakage"}
    (finding,) = found
    assert (finding.severity, finding.subject) == ("problem", "logits")
    assert finding.evidence[0].value == about(0.013990906973636972)
    assert {*found.not_judged} == {"frame-locking", "drift"}


def test_reports_are_compared_and_diagnosed_again():
    reports = [jetsym.SymmetryReport.load(REPORTS / f"{name}.json") for name in ("o3", "so3-random")]
    assert jetsym.compare(*reports, names=["a", "b"]).names == ("a", "b")
    assert "leakage" in jetsym.diagnose(reports[0])


def test_the_command_line_reads_reports(tmp_path, capsys):
    for name in ("o3", "boosts", "lorentz"):
        assert cli.main(["diagnose", str(REPORTS / f"{name}.json")]) == 0
        assert "Not judged" in capsys.readouterr().out
    paths = [str(REPORTS / f"{name}.json") for name in ("o3", "so2-jet")]
    assert cli.main(["compare", *paths]) == 0
    assert "o3: the effective bandwidth" in capsys.readouterr().out
    options = ["--finding", "leakage", "--report", str(REPORTS / "diagnosis.json"), "--out", str(tmp_path / "a.yaml")]
    assert cli.main(["repair", str(RUNS / "upright"), *options]) == 0
    assert "{group: none} -> {group: O3}" in capsys.readouterr().out
    assert cli.main(["diagnose", str(RUNS / "upright")]) == 0  # its spectra over training
    assert "leakage" in capsys.readouterr().out


def test_regimes():
    found = Regimes.load(REPORTS / "regimes.json")
    assert found.regimes == ("none", "augmentation")
    assert found.values("augmentation", "symmetry", "O3 rest", "relative")[0] == about(0.09065884054407593)
    assert "macro_auc_ovr" in str(found)
    assert found.values("augmentation", "quality", "rotated_macro_auc_ovr")[0] > 0
    assert found.values("none", "cost", "parameters")[0] == 1106


def test_evaluation():
    found = Evaluation.load(REPORTS / "evaluation.json")
    assert found.metrics["macro_auc_ovr"] == about(0.71)
    assert {"macro_auc", "macro_auc_ovo"}.isdisjoint(found.metrics)
    assert found.rotated.metrics["macro_auc_ovr"] == about(0.79)
    assert found.bins[0].metrics["macro_auc_ovr_stderr"] > 0
    assert "all others together" in str(found)
    assert found.rotated.metrics["auc_top_qcd"] == about(0.79)
    assert (found.rejections["Tbqq"].value, found.rejections["Tbqq"].passed) == (10, 1)
    assert [(each.low, each.high, each.jets) for each in found.bins] == [(500, 1000, 20)]
    assert np.sum(found.confusion) == 20
    with_stability = Evaluation.load(REPORTS / "evaluation-stability.json")
    assert (with_stability.metrics, with_stability.rotated) == (found.metrics, None)


# What had no kind and no format: it is read as format 0.


def test_stability():
    inside = Evaluation.load(REPORTS / "evaluation-stability.json").stability
    alone = Stability.load(REPORTS / "stability.json")
    for found in (inside, alone):
        actions = ["O3 lab", "O3 rest", "SO2 jet", "SO2 beam", "boost beam", "boost jet", "boost random"]
        assert [*found.changes] == actions
        assert "boost random" in str(found)
    change = inside.changes["O3 lab"]
    assert change["flips"].mean == about(0.35)
    assert "macro_auc_ovr" in change
    assert change["rejection_50"].difference == about(-6.0)
    assert (inside.signal, inside.background, inside.jets, inside.draws) == ("Tbqq", "QCD", 20, 2)
    assert [*alone.changes["O3 lab"]] == ["flips"]
    assert alone.jets == 6


def test_learning_rates():
    found = RateCurve.load(REPORTS / "learning_rate.json")
    assert len(found.rates) == len(found.losses) == 100
    assert found.losses[0] == about(2.2736246585845947)
    before = stored(REPORTS / "learning_rate.json")
    assert found.suggestion == about(before["suggestion"])
    assert found.smoothed == pytest.approx(before["smoothed"])


def test_evaluation_of_atoms():
    pytest.importorskip("metatrain")
    from jetsym import atoms

    found = atoms.Evaluation.load(ATOMS / "evaluation.json")
    assert [*found.scores] == ["first", "second", "all"]
    assert found.scores["all"].forces_rmse == about(4722.024895700663)
    assert found.meta == {"by": "dataset", "left_out": 0, "fit_baseline": True, "fitted_elements": 3}
    assert "4722" in str(found)


def test_relaxation():
    pytest.importorskip("metatrain")
    from jetsym import atoms

    found = atoms.RelaxationReport.load(ATOMS / "relaxation.json")
    assert [*found.runs] == ["plain", "symmetrized"]
    plain = found.runs["plain"]
    assert (plain.energies[0], plain.converged) == (about(0.027593198320222), True)
    assert found.initial_groups["0.01"] == "P1 (1)"
    assert plain.drift.energy_drift == about(0.6864578070379014)
    before = stored(ATOMS / "relaxation.json")
    assert found.initial.positions.tolist() == before["initial"]["positions"]
    assert plain.final.get_chemical_symbols() == before["runs"]["plain"]["final"]["symbols"]
    assert "energy [eV/atom]" in str(found)


def test_phonons():
    pytest.importorskip("metatrain")
    from jetsym import atoms

    found = atoms.PhononReport.load(ATOMS / "phonons.json")
    assert (found.group, [*found.path.points]) == ("Fm-3m (225)", ["Γ", "X"])
    plain = found.runs["plain"]
    assert plain.points["X"][2] == about(8.137783305485012)
    assert plain.splittings[0].bands == (0, 1)
    assert len(plain.dos) == len(plain.dos_frequencies)
    assert plain.force_constants is None  # which are not stored
    assert "splitting at" in str(found)


# Runs and checkpoints


@pytest.mark.parametrize("name", ["canonical", "deepsets", "part", "particlenet", "pointnet"])
def test_checkpoints_give_the_same_logits(name):
    tagger = jetsym.load(CHECKPOINTS / f"{name}.safetensors")
    expected = torch.tensor(stored(CHECKPOINTS / "logits.json")[name])
    assert (tagger.classes[0], tagger.max_particles) == ("QCD", 8)
    with torch.no_grad():
        torch.testing.assert_close(tagger(sample("test", limit=2, max_particles=8)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        # Losses of both epochs, and the last validation loss, of runs that 0.1.0 did not stop.
        ("upright", 2.326168394088745, (2.3210276126861573, 2.323066473007202)),
        ("rotated", 2.3263926029205324, (2.317304086685181, 2.323166608810425)),
        # What 0.1.0 made of a run of an earlier format, whose training differed in its second epoch.
        ("format-1", 2.336531066894531, (2.328395652770996, 2.3291900157928467)),
    ],
)
def test_runs_go_on(run, name, first, second):
    folder = run(name)
    before = jetsym.load(folder)
    assert before.config.width == 8
    assert cli.main(["train", "--config", str(folder / "config.yaml"), "--out", str(folder), "--resume"]) == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[0]["loss"] == about(first)
    assert [lines[1]["loss"], lines[1]["val_loss"]] == pytest.approx(second, rel=1e-5)
    after = jetsym.load(folder)
    assert any(not torch.equal(old, new) for old, new in zip(before.parameters(), after.parameters(), strict=True))
    if name == "upright":
        assert History.load(folder).steps.tolist() == [0, 4, 8, 10]
        assert History.load(folder).error("relative")[:2] == pytest.approx([0.11686345615596842, 0.11880693272181245])


def test_another_run_is_not_continued(run, capsys):
    """Options of the old configuration are compared, not passed over."""
    folder = run("rotated")
    options = ["--config", str(folder / "config.yaml"), "--out", str(folder), "--resume", "--lr", "0.5"]
    assert cli.main(["train", *options]) == 1
    assert "--lr is 0.5" in capsys.readouterr().err


def test_spectra_over_training_are_shown(run, capsys):
    folder = run("upright")
    assert cli.main(["probe", str(folder), "--over_training"]) == 0
    assert "Over training: A of logits" in capsys.readouterr().out
    assert History.load(folder / "over_training.json").steps.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("name", "parameters", "loss"),
    [
        ("so2", 1106, 2.222),
        ("so3", 1106, 2.215),
        ("o3-rest", 1106, 2.223),
        ("boost", 1106, 2.22),
        ("lorentz", 1106, 2.212),
        ("penalty-moves", 1106, 3.069),
        ("penalty-generators", 1106, 2.992),
        ("options", 880, 3.233),
        ("canonical", 1106, 2.227),
        ("lloca", 1541, 2.623),
        ("lgatr", 2802, 2.681),
        ("repair-leakage", 1106, 2.216),
        ("repair-penalty", 1106, 2.198),
    ],
)
def test_configurations(name, parameters, loss, tmp_path, capsys, monkeypatch):
    if name in ("lloca", "lgatr") and find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    # The losses are of the first jets of each file, which a limit took then.
    first = read_packed
    monkeypatch.setattr("jetsym.jets.io.read.read_packed", lambda paths, **how: first(paths, **how | {"first": True}))
    options = ["--config", str(CONFIGS / f"{name}.yaml"), "--out", str(tmp_path / "run"), "--dry_run"]
    options += ["--data", str(TWO_FILES), "--val", TWO_FILES[1]]  # quicker to open than all ten classes
    assert cli.main(["train", *options]) == 0
    words = capsys.readouterr().out.replace(",", "").split()
    found = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    assert found["parameters"] == parameters
    assert found["loss"] == pytest.approx(loss, abs=1.5e-3)


def test_the_measurement_that_a_repair_asked_for(capsys):
    config = str(CONFIGS / "repair-under-resolved.yaml")
    assert cli.main(["probe", str(RUNS / "upright"), "--config", config, "--progress", "false"]) == 0
    assert "Power per irrep of SO3" in capsys.readouterr().out


# Files of jets


def test_the_cache(capsys):
    assert cli.main(["inspect", str(JETS / "cache"), "--verify"]) == 0
    assert "16 files are as" in capsys.readouterr().out
    (batch,) = JetStream(JETS / "cache", batch_size=6, columns="all", shuffle=False)
    assert batch.label.tolist() == [0, 0, 0, 8, 8, 8]
    assert float(batch.jet_p4[0, 0]) == pytest.approx(601.1611, rel=1e-6)
    assert "jet_tau4" in batch.columns


def test_the_mapping_and_its_cache(tmp_path, capsys):
    mapping = JETS / "mapping.yaml"
    jets = read(TWO_FILES, mapping=mapping)
    assert (jets.classes, jets.label.bincount().tolist()) == (("QCD", "Tbqq"), [6, 6])
    assert float(jets.columns["weight"].max()) == pytest.approx(3.0)
    # The cache belongs to these files by name and checksum, wherever they are now.
    cache = shutil.copytree(JETS / "cache-mapped", tmp_path / "cache")
    (batch,) = JetStream(TWO_FILES, cache=cache, mapping=mapping, batch_size=12, columns="all", shuffle=False)
    assert torch.equal(batch.jet_p4, jets.jet_p4)
    assert torch.equal(batch.columns["weight"], jets.columns["weight"])
    assert len(read(TWO_FILES[0], mapping=JETS / "mapping-unlabelled.yaml")) == 6
    options = ["--stream", "--cache", str(cache), "--mapping", str(mapping), "--batch_size", "12", "--device", "cpu"]
    options += ["--data", str(TWO_FILES), "--val", TWO_FILES[0], "--model", "deepsets", "--options", "{features: kin}"]
    assert cli.main(["train", *options, "--out", str(tmp_path / "run"), "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith("jets 12\n")


# Atoms


@pytest.fixture
def atoms_run(tmp_path: Path) -> Path:
    """The folder of a run of ``jetsym atoms train``, with its model."""
    folder = Path(shutil.copytree(ATOMS / "run", tmp_path / "atoms"))
    packed = folder / "model.ckpt.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def test_reports_on_atoms():
    report = jetsym.SymmetryReport.load(ATOMS / "report.json")
    assert report.layers[-2:] == ("energy", "forces")
    assert report.equivariance["forces"].kind == "vector"
    assert report.equivariance["forces"].misalignment == about(0.11073416094030049)
    history = History.load(ATOMS / "spectra.json")
    assert (history.steps.tolist(), history.unit) == ([0, 1], "epochs")
    assert history.error("relative", "energy") == pytest.approx([0.0025319556674190404, 0.0025405156949676075])


def test_the_model_of_atoms_gives_its_report_again(atoms_run):
    pytest.importorskip("metatrain")
    pytest.importorskip("ase")
    from jetsym import atoms

    assert atoms.load(atoms_run).kinds == {"energy": "scalar", "forces": "vector"}
    data = str(ATOMS / "methanol.xyz")
    found = jetsym.probe(str(atoms_run), data, layers=[], limit=2, l_max=1, progress=False)
    before = jetsym.SymmetryReport.load(ATOMS / "report.json")
    for name, error in before.equivariance.items():
        # It read what aliases at l_max 1 as it came; held-out elements take that out.
        assert found.equivariance[name].relative == pytest.approx(error.relative, rel=5e-2)


def test_a_run_of_atoms_is_repaired(atoms_run, tmp_path, capsys):
    pytest.importorskip("metatrain")
    out = tmp_path / "repaired.yaml"
    words = ["--finding", "starvation", "--remedy", "more-attention", "--out", str(out)]
    assert cli.main(["repair", str(atoms_run), *words]) == 0
    assert "starvation of" in capsys.readouterr().out
    made = yaml.safe_load(out.read_text(encoding="utf-8"))
    before = yaml.safe_load((ATOMS / "repair-starvation.yaml").read_text(encoding="utf-8"))
    for values in (made, before):
        assert values["model"]["num_attention_layers"] == 2
    assert before.items() <= made.items()
