"""The command line, as real processes: one line for every mistake, never a traceback."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import uproot
import yaml

import jetsym
from jetsym.cli import COMMANDS, CommandGroup, expand_presets, main
from jetsym.errors import ConfigError
from jetsym.files import recorded
from jetsym.jets import read
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.stability_report import Stability
from jetsym.probing.monitor import Monitor
from jetsym.probing.reports.attribution import Attribution
from jetsym.probing.reports.cost import Cost
from jetsym.probing.reports.history import History
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.parity import Parity
from jetsym.probing.reports.safety import Safety
from jetsym.training.presets import preset_names, preset_path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jetsym.cli", *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )


def test_overview_and_version():
    assert run("--version").stdout.strip() == jetsym.__version__
    text = run().stdout
    assert all(name in text for name in COMMANDS)


GROUPS = {name: command for name, command in COMMANDS.items() if isinstance(command, CommandGroup)}
SINGLE = [[name] for name in COMMANDS if name not in GROUPS]


@pytest.mark.parametrize(
    "words", SINGLE + [[name, part] for name, group in GROUPS.items() for part in group.commands], ids=" ".join
)
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    assert f"usage: jetsym {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_lists_its_commands(name, capsys):
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {part} " in shown for part in GROUPS[name].commands)


def test_train_evaluate_probe_from_the_shell(small_run, tmp_path):
    data = small_run.parent / "train.root"
    done = run("train", "--preset", "pointnet-rotated", "--data", data, "--out", tmp_path / "run", "--epochs", 1,
               "--options", '{"width": 8, "blocks": 1, "heads": 2}', "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["augmentation"]["group"] == "SO3"

    again = run("train", "--config", tmp_path / "run/config.yaml", "--out", tmp_path / "run", "--resume")
    assert again.returncode == 0, again.stderr

    done = run("evaluate", tmp_path / "run", data, "--out", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    found = Evaluation.load(tmp_path / "numbers.json")
    assert {"accuracy", "macro_auc_ovo"} <= set(found.metrics) & set(found.rotated.metrics)
    assert found.meta["model"] == str(tmp_path / "run")
    for name in ("roc", "confusion", "reliability"):
        assert (tmp_path / f"numbers_{name}.png").stat().st_size > 10_000

    done = run("probe", tmp_path / "run", "--inputs", data, "--l_max", 1, "--limit", 3, "--out", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert "relative A" in done.stdout
    assert {file.name for file in tmp_path.iterdir()} >= {"r.json", "r.png", "r.html"}
    report = jetsym.SymmetryReport.load(tmp_path / "r.json")
    assert report.meta["n_inputs"] == 3
    direct = jetsym.probe(tmp_path / "run", str(data), l_max=1, limit=3, progress=False)
    np.testing.assert_allclose(report.fractions, direct.fractions, atol=1e-6)


def test_the_lorentz_report_from_the_shell(small_run, tmp_path, capsys):
    words = ["probe", small_run, "--inputs", small_run.parent / "train.root", "--group", "lorentz", "--l_max", 1]
    assert main([*map(str, words), "--limit", "2", "--widths", "[0.5]", "--out", str(tmp_path / "l.json")]) == 0
    assert "Compact groups" in capsys.readouterr().out
    assert LorentzReport.load(tmp_path / "l.json").meta["n_inputs"] == 2
    assert (tmp_path / "l.png").stat().st_size > 10_000
    assert "Boosts along random" in (tmp_path / "l.html").read_text()


def test_spectra_over_training_from_the_shell(small_run, tmp_path, capsys):
    folder, run = str(small_run.parent / "train.root"), tmp_path / "run"
    shutil.copytree(small_run, run)
    assert main(["probe", str(run), "--over-training"]) == 1
    assert "holds no probes of its training; train with monitor_every" in capsys.readouterr().err
    model, jets = jetsym.load(run), read(folder, limit=3)
    for step in (0, 5):
        Monitor(run, jets, every=5)(model, step)
    assert main(["probe", str(run), "--over-training"]) == 0
    assert "invariant share in %" in capsys.readouterr().out
    assert History.load(run / "over_training.json").steps.tolist() == [0, 5]
    assert (run / "over_training.png").stat().st_size > 10_000
    assert main(["probe", str(run), "--over_training", "--out", str(tmp_path / "h.json")]) == 0
    assert {"h.json", "h.png"} <= {path.name for path in tmp_path.iterdir()}
    assert main(["probe", str(run), "--over_training", "--group", "SO3"]) == 1
    assert "--group is 'SO3', but --over_training shows what was measured earlier" in capsys.readouterr().err
    for name, value in (("bad_jets", "drop"), ("tree", "Events"), ("mapping", "map.yaml")):
        assert main(["probe", str(run), "--over_training", f"--{name}", value]) == 1
        assert f"--{name} is {value!r}, but --over_training shows" in capsys.readouterr().err


def test_stability_from_the_shell(small_run, tmp_path, jetclass_columns, make_jets, write_tree, capsys):
    data, out = small_run.parent / "train.root", tmp_path / "numbers.json"
    words = ["evaluate", small_run, data, "--stability", "--draws", 2, "--width", 0.25, "--out", out]
    assert main([str(word) for word in words]) == 0
    assert "boost random" in capsys.readouterr().out
    numbers = json.loads(out.read_text())
    assert "accuracy" in numbers["rotated"]["metrics"]
    assert numbers["stability"]["draws"] == 2
    assert set(numbers["stability"]["changes"]["O3 rest"]) >= {"flips", "macro_auc_ovo"}

    columns = {name: column for name, column in jetclass_columns(make_jets(9)).items() if "label" not in name}
    words[2] = write_tree(tmp_path / "unlabelled.root", columns)
    assert main([str(word) for word in words]) == 0
    assert "only the flips" in capsys.readouterr().out
    assert {*Stability.load(out).changes["O3 rest"]} == {"flips"}


@pytest.mark.parametrize(("more", "times"), [([], 1), (["--stability", "--draws", "2"], 2)])
def test_an_evaluation_is_written_again_only_where_more_is_measured_after_it(small_run, tmp_path, more, times):
    out = tmp_path / "numbers.json"
    with recorded() as written:
        assert main(["evaluate", str(small_run), str(small_run.parent / "train.root"), *more, "--out", str(out)]) == 0
    assert written.count(out) == times


def test_predictions_from_the_shell(small_run, tmp_path, capsys):
    words = ["predict", small_run, small_run.parent / "train.root", "--out", tmp_path / "p.root", "--progress", "false"]
    assert main([str(word) for word in words]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'p.root'}\n"
    with uproot.open(tmp_path / "p.root") as file:
        assert file["tree"].num_entries == 60


def test_attribution_from_the_shell(small_run, tmp_path, capsys):
    data, out = small_run.parent / "train.root", tmp_path / "a.json"
    words = ["attribute", small_run, "--inputs", data, "--limit", 3, "--frame", "rest", "--l_max", 1, "--out", out]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert "impact parameters" in shown
    report = Attribution.load(out)
    assert report.meta["frame"] == "rest"
    assert {"charge", "padding", "rounding", "mixed precision"} <= set(report.effects["logits"])


def test_what_a_broken_symmetry_costs_from_the_shell(small_run, tmp_path, capsys):
    data, few = small_run.parent / "train.root", ("--limit", 6)
    out = {name: tmp_path / f"{name}.json" for name in ("cost", "parity", "safety")}
    options = {
        "cost": ("--n_rotations", 4, "--group", "so2"),
        "parity": ("--mirror", "x"),
        "safety": ("--sizes", "[0, 0.1]", "--draws", 1, "--options", '{"fraction": 0.3}'),
    }
    for name, own in options.items():
        assert main([str(word) for word in (name, small_run, "--inputs", data, *few, *own, "--out", out[name])]) == 0
        assert "logits" in capsys.readouterr().out
    assert Cost.load(out["cost"]).losses["logits"].loss == "cross-entropy"
    assert Cost.load(out["cost"]).meta["group"] == "SO2"
    assert Parity.load(out["parity"]).outputs["logits"].loss == "cross-entropy"
    assert Safety.load(out["safety"]).meta["options"] == {"fraction": 0.3}
    assert (tmp_path / "safety.png").stat().st_size > 1000


def test_what_a_calculator_owes_from_the_shell(tmp_path, capsys):
    build = pytest.importorskip("ase.build")
    from ase.calculators.emt import EMT
    from ase.io import write

    copper = build.bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=0)
    copper.calc = EMT()
    copper.get_forces()
    write(tmp_path / "cu.xyz", copper)
    words = ["--calculator", "ase.calculators.emt:EMT", "--inputs", str(tmp_path / "cu.xyz")]
    assert main(["cost", *words, "--n_rotations", "4"]) == 0
    assert "forces [meV/Å]" in capsys.readouterr().out
    assert main(["parity", *words]) == 0
    assert "energy is even" in capsys.readouterr().out
    assert main(["cost", "--calculator", "ase.calculators.emt:EMT"]) == 1
    assert "--inputs names no files" in capsys.readouterr().err


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory, make_jets, jetclass_columns, write_tree) -> dict[str, Path]:
    """Files that each have one fault."""
    folder, jets = tmp_path_factory.mktemp("bad"), make_jets(4, seed=2)
    columns = jetclass_columns(jets)
    empty = jets.replace(mask=jets.mask & (torch.arange(4) != 1)[:, None])
    momenta = jets.p4.clone()
    momenta[2, 0, 1] = torch.nan
    return {
        "tree": write_tree(folder / "tree.root", columns, tree="events"),
        "branch": write_tree(folder / "branch.root", {k: v for k, v in columns.items() if k != "part_px"}),
        "zero": write_tree(folder / "zero.root", {name: column[:0] for name, column in columns.items()}),
        "empty": write_tree(folder / "empty.root", jetclass_columns(empty)),
        "nan": write_tree(folder / "nan.root", jetclass_columns(jets.replace(p4=momenta))),
        "unlabelled": write_tree(folder / "unlabelled.root", {k: v for k, v in columns.items() if "label" not in k}),
    }


def bad_command_lines(run_folder: Path, folder: Path, bad: dict[str, Path]) -> dict[str, tuple[list[object], str]]:
    data = run_folder.parent / "train.root"
    text = folder / "text.root"
    text.write_text("this is no ROOT file")
    config = folder / "config.yaml"
    config.write_text("learning_rate: 1\n")
    classes = folder / "class.yaml"
    classes.write_text("options:\n  width: {class_path: subprocess.Popen, init_args: {args: [touch, hacked]}}\n")
    train = ["train", "--data", data, "--out", folder / "new"]
    (folder / "taken.json").mkdir()
    return {
        "unknown command": (["trian"], "the nearest are 'train'"),
        "missing file": (["train", "--data", folder / "no.root", "--out", folder / "new"], "no.root"),
        "not a ROOT file": (["train", "--data", text, "--out", folder / "new"], "text.root"),
        "missing argument": (["train", "--data", data], "--out is missing"),
        "unknown option": ([*train, "--learing_rate", 1], "the nearest are '--learning_rate'"),
        "unknown key": (
            [*train, "--config", config],
            "no option 'learning_rate', which a file of options names; it is",
        ),
        "wrong type": ([*train, "--lr", "fast"], "--lr is 'fast'; expected a number"),
        "wrong value": ([*train, "--lr", -1], "--lr is -1.0"),
        "unknown preset": ([*train, "--preset", "point"], "'pointnet'"),
        "code in a config": ([*train, "--config", classes], "width"),
        "folder in use": (["train", "--data", data, "--out", run_folder], "--resume"),
        "negative l_max": (["probe", run_folder, "--inputs", data, "--l_max", -1], "l_max is -1"),
        "unknown layer": (["probe", run_folder, "--inputs", data, "--layers", "blocks.7"], "'blocks.0'"),
        "unknown group": (["probe", run_folder, "--inputs", data, "--group", "O4"], "'O3'"),
        "frame of a boost": (["probe", run_folder, "--inputs", data, "--group", "boost", "--frame", "rest"], "'boost'"),
        "no such device": (["probe", run_folder, "--inputs", data, "--device", "gpu"], "'cpu'"),
        "no such run": (["probe", folder / "nowhere", "--inputs", data], "nowhere"),
        "no such config": ([*train, "--config", folder / "none.yaml"], "none.yaml"),
        "wrong tree": (["evaluate", run_folder, bad["tree"]], "'events'"),
        "missing branch": (["evaluate", run_folder, bad["branch"]], "part_px"),
        "zero jets": (["evaluate", run_folder, bad["zero"]], "no jets"),
        "jet without particles": (["probe", run_folder, "--inputs", bad["empty"]], "1 without particles"),
        "NaN momenta": (["probe", run_folder, "--inputs", bad["nan"]], "1 with NaN"),
        "unlabelled jets": (["evaluate", run_folder, bad["unlabelled"]], "no labels"),
        "no draws": (["evaluate", run_folder, data, "--rotated", "null", "--stability", "--draws", 0], "draws is 0"),
        "unknown source": (["attribute", run_folder, "--inputs", data, "--sources", "chargge"], "'charge'"),
        "other suffix": (["probe", run_folder, "--inputs", data, "--out", folder / "r.html"], ".json"),
        "folder as output": (["evaluate", run_folder, data, "--out", folder / "taken.json"], "taken.json"),
        "numbers in a figure": (["evaluate", run_folder, data, "--out", folder / "r.png"], "ends in .json"),
        "no such background": (["evaluate", run_folder, data, "--background", "QCDD"], "the nearest are 'QCD'"),
        "efficiency in percent": (["evaluate", run_folder, data, "--working_points.Tbqq", 50], "a share in (0, 1]"),
        "predictions as text": (["predict", run_folder, data, "--out", folder / "p.txt"], ".root or .parquet"),
        "predictions over data": (["predict", run_folder, data, "--out", data], "would be lost"),
        "no such place": (["predict", run_folder, data, "--out", folder / "p.root", "--device", "tpu"], "cpu, cuda"),
        "graph as pickle": (["export", run_folder, "--out", folder / "m.pkl"], "ends in .onnx"),
        "no layout in weaver": (["export", run_folder, "--out", folder / "m.pt"], "a PointNet has no layout"),
        "no files": (["probe", run_folder, "--inputs", folder / "*.parquet"], "*.parquet"),
    }


BAD = (
    "unknown command", "missing file", "not a ROOT file", "missing argument", "unknown option", "unknown key",
    "wrong type", "wrong value", "unknown preset", "code in a config", "folder in use", "negative l_max",
    "unknown layer", "unknown group", "no such run", "no such config", "wrong tree", "missing branch", "zero jets",
    "jet without particles", "NaN momenta", "unlabelled jets", "no draws",
    "unknown source", "other suffix", "folder as output", "no files", "numbers in a figure", "no such background",
    "efficiency in percent", "predictions as text", "predictions over data", "no such place",
    "graph as pickle", "no layout in weaver",
)  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistakes_end_in_one_line(case, small_run, bad_files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, expected = bad_command_lines(small_run, tmp_path, bad_files)[case]
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert status in (1, 2)
    assert captured.out == "" or case in ("folder as output", "no draws")  # the numbers were measured and shown
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("jetsym")
    assert expected in captured.err
    assert not (tmp_path / "hacked").exists()
    assert not (tmp_path / "new/best.safetensors").exists()


def test_mistakes_in_a_real_process(tmp_path):
    done = run("probe", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("jetsym probe: error: ")


def test_interrupted_by_the_keyboard(small_run):
    data = small_run.parent / "train.root"
    words = ["probe", small_run, "--inputs", data, "--l_max", 30, "--batch_size", 64]
    # A shell's Ctrl-C; a process started in the background may be told to ignore it.
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " \
        "import jetsym.cli, jetsym.probing.probe; print('ready', flush=True); sys.exit(jetsym.cli.main())"  # fmt: skip
    command = [sys.executable, "-c", start, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "jetsym probe: error: interrupted\n"


def test_presets():
    assert {"pointnet", "pointnet-rotated"} <= set(preset_names())
    pointnet = str(preset_path("pointnet"))
    assert expand_presets(["--preset", "pointnet", "--lr", "1"]) == ["--config", pointnet, "--lr", "1"]
    assert expand_presets(["--preset=pointnet"]) == ["--config", pointnet]
    with pytest.raises(ConfigError, match="--preset is ''"):
        expand_presets(["--preset"])


def test_a_diagnosis_from_the_shell(tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(8, 3))
    report = jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=2, progress=False)
    path = report.save(tmp_path / "report.json")
    assert main(["diagnose", str(path), "--history", f'["{path}"]', "--out", str(tmp_path / "found.json")]) == 0
    assert "leakage (problem), output" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["findings"][0]["name"] == "leakage"
    assert main(["diagnose", str(path), "--thresholds", '{"deviation": 2}']) == 0
    assert "leakage (" not in capsys.readouterr().out
    assert main(["diagnose", str(path), "--thresholds", '{"deviatin": 2}']) == 1
    assert main(["diagnose", str(tmp_path / "found.json")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].endswith("there is no threshold 'deviatin'; the nearest are 'deviation'")
    assert "holds 'diagnosis'; expected a report of a probe" in errors[1]
    assert len(errors) == 2


def test_a_watched_run_is_judged_as_a_whole(tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(32, 3))
    for step, tilt in enumerate((0.5, 0.1, 0.4)):
        report = jetsym.probe(lambda x, tilt=tilt: 1 + tilt * x[:, 2], points, l_max=2, progress=False)
        replace(report, meta={**report.meta, "step": 10 * step}).save(tmp_path / f"spectra/step-{10 * step:08d}.json")
    assert main(["diagnose", str(tmp_path)]) == 0
    assert "since step 10." in " ".join(capsys.readouterr().out.split())


def test_a_comparison_from_the_shell(tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(4, 3))
    paths = []
    for l_max in (1, 2):
        report = jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=l_max, progress=False)
        paths.append(str(report.save(tmp_path / f"l{l_max}.json")))
    assert main(["compare", *paths, "--out", str(tmp_path / "both.json")]) == 0
    assert "The reports differ in l_max (l1: 1, l2: 2)" in capsys.readouterr().out
    assert {file.suffix for file in tmp_path.glob("both.*")} == {".json", ".png", ".html"}
    assert main(["compare", *paths, "--out", "both.png"]) == 1
    assert main(["compare", "--out", "both.json"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["probe", "--calculator", "ase.calculators.emt:EMT", "--inputs", "none.xyz"], "calculator: os:getcwd\n"),
        (["atoms", "check", "--calculator", "ase.calculators.emt:EMT", "none.xyz"], "calculator: os:getcwd\n"),
        (["probe", "--weaver", "net"], "weaver: other\n"),
        (["predict", "--weaver", "net", "none.root", "--out", "p.root"], "weaver: other\n"),
    ],
)
def test_whose_code_runs_is_said_on_the_command_line(
    words: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in a file of options, even where the command line names other code."""
    (tmp_path / "options.yaml").write_text(option)
    assert main([*words, "--config", str(tmp_path / "options.yaml")]) == 1
    name = option.partition(":")[0]
    assert f"{name} is {option.split()[1]!r} in a file of options" in capsys.readouterr().err
