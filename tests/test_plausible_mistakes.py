"""What newcomers may well type wrong: each ends in one sentence that mends it, and in a status that is not zero."""

from __future__ import annotations

import shlex
import shutil
from contextlib import suppress

import pytest

from jetsym.cli import main

TRAIN = "train --data train.root --out new --epochs 1 --device cpu"

#: A command line -> what its one line of error says, above all the remedy.
MISTAKES = {
    # commands
    "trian --data train.root": "unknown command 'trian'; the nearest are 'train'",
    "run --data train.root": "unknown command 'run'; there is 'demo'",
    "atoms relax cu.xyz": "unknown command 'relax'; there is 'train'",
    "train.root": "unknown command 'train.root'; the nearest are 'train'",
    # options that there are not
    f"{TRAIN} --epoch 3": "jetsym train has no option --epoch; the nearest are '--epochs'",
    f"{TRAIN} --batchsize 3": "has no option --batchsize; the nearest are '--batch_size'",
    f"{TRAIN} --augmentation.grup O3": "has no option --augmentation.grup; the nearest are '--augmentation.group'",
    f"{TRAIN} --options.wdth 8": "has no option 'wdth'; the nearest are 'width'",
    f"{TRAIN} -o new": "-o is no option, as options begin with two dashes, such as --out",
    "evaluate --data train.root runs/pn": "--data is no option, as its value is written without a name; expected "
    "jetsym evaluate MODEL DATA",
    "probe runs/pn --network_options.a 1": "has no option --network_options.a",
    "probe runs/pn --fixed part_d0": "is no option of jetsym probe unless --weaver is given",
    "demo --fast": "has no option --fast; there is",
    # what is missing, or too much
    "train --data train.root": "--out is missing; expected jetsym train --data DATA --out OUT [options]",
    "train train.root new": "'train.root' belongs to no option; expected jetsym train --data DATA --out OUT",
    "probe": "MODEL is missing; expected jetsym probe MODEL [options]",
    "probe runs/pn train.root": "'train.root' belongs to no option; expected jetsym probe MODEL [options]",
    "evaluate runs/pn": "DATA is missing; expected jetsym evaluate MODEL DATA",
    "predict runs/pn train.root": "--out is missing; expected jetsym predict MODEL DATA --out OUT",
    f"{TRAIN} --val": "--val is followed by no value; expected one: --val VALUE",
    f"{TRAIN} --lr --epochs 3": "--lr is followed by no value",
    "repair runs/pn": "--finding is missing; expected jetsym repair RUN --finding FINDING",
    "relax cu.xyz": "--model is missing; expected jetsym relax STRUCTURE --model MODEL",
    # values
    f"{TRAIN} --lr 1e-3x": "--lr is '1e-3x'; expected a number",
    f"{TRAIN} --epochs 2.5": "--epochs is '2.5'; expected an integer",
    f"{TRAIN} --epochs 0": "--epochs is 0; expected an integer ≥ 1",
    f"{TRAIN} --lr 0": "--lr is 0.0; expected a number > 0",
    f"{TRAIN} --precision 16": "--precision is '16'; expected one of 'auto', '32-true', 'bf16-mixed', '16-mixed'",
    f"{TRAIN} --device gpu": "--device is 'gpu'; expected 'auto', 'cpu' or 'cuda'",
    f"{TRAIN} --model transformer": "there is no model 'transformer'; there is",
    f"{TRAIN} --preset pointnt": "--preset is 'pointnt'; the nearest are 'pointnet'",
    f"{TRAIN} --options width=8": "--options.NAME VALUE",
    f"{TRAIN} --class_weights QCD=2": "--class_weights is 'QCD=2'; expected one of 'none', 'balanced' or names, each "
    "with a number: such as --class_weights.NAME VALUE",
    f"{TRAIN} --class_weights.QCD two": "--class_weights.QCD is 'two'; expected a number",
    f"{TRAIN} --augmentation O3": "given one by one; expected such as --augmentation.group VALUE",
    f"{TRAIN} --augmentation.group 'SO(3)'": "augmentation.group is 'SO(3)'; expected one of 'none', 'SO2', 'SO3'",
    f"{TRAIN} --logger tensorbord": "--logger is 'tensorbord'; expected one of 'csv', 'tensorboard', 'wandb', 'mlflow'",
    f"{TRAIN} --stream": "--stream reads all of --data in every epoch; it needs --val or --fold",
    f"{TRAIN} --resume maybe": "'maybe' belongs to no option",
    f"{TRAIN} --freeze encoder --init runs/pn": "--freeze names 'encoder', which the model does not have",
    "probe runs/pn --group 'SO(3)'": "group is 'SO(3)'; expected one of 'SO2', 'SO3', 'O3', 'boost', 'lorentz'",
    "probe runs/pn --l_max big": "l_max is 'big'; expected 'auto' or an integer ≥ 0",
    "probe runs/pn --limit 0": "limit is 0; expected an integer ≥ 1",
    "probe runs/pn --layers encoder": "layer 'encoder' matches no module of PointNet; there is 'embedding'",
    "probe runs/pn --baseline untrianed": "expected 'untrained', 'initial', a model, or the path of one",
    "evaluate runs/pn train.root --background qcd": "background is 'qcd', which is no class; there is 'QCD'",
    "evaluate runs/pn train.root --working_points 0.5": "--working_points.NAME VALUE",
    "download jetclas": "WHAT is 'jetclas'; expected one of 'weights', 'jetclass'",
    "download jetclass --split val": "--split is 'val'; the nearest are 'val_5M'",
    "repair runs/pn --finding leak": "--finding is 'leak'; the nearest are 'leakage'",
    # files and folders
    "train --data nowhere.root --out new": "nowhere.root: no such file (seen from",
    "train --data train.root --out runs/pn": "continue it with --resume, replace it with --overwrite, or choose",
    "train --data train.root --out runs/pn --resume --epochs 5 --options.width 8 --options.blocks 1 --options.heads 2 "
    "--device cpu": "for more begin another from its weights: --init runs/pn, another --out, and its other",
    f"{TRAIN} --init runs/nowhere": "runs/nowhere",
    f"{TRAIN} --config runs/pn": "--config runs/pn is a folder; expected a YAML file, such as runs/pn/config.yaml",
    f"{TRAIN} --config nowhere.yaml": "--config nowhere.yaml: there is no such file; expected a YAML file",
    f"{TRAIN} --config typo.yaml": "has no option 'learning_rate', which a file of options names; it is called lr",
    "probe pn": "there is no pn; expected a run directory or a .safetensors file",
    "probe runs/pn --inputs nowhere.root": "nowhere.root: no such file (seen from",
    "probe runs/pn --out report.pdf": "--out is 'report.pdf'; expected a name that ends in .json",
    "probe runs/pn --out runs": "--out is 'runs', a folder; expected the name of a file, such as runs/report.json",
    "predict runs/pn train.root --out scores.csv": "expected a name that ends in .root or .parquet",
    "export runs/pn --out m.pth": "expected a name that ends in .onnx, or in .pt for weaver's layout",
    "diagnose report.json": "no report can be read from report.json",
    "diagnose runs/pn": "runs/pn holds no probes of its training; train with monitor_every (--monitor_every)",
    "compare report.json": "no report can be read from report.json",
    "inspect nowhere": "nowhere: no such file (seen from",
    "demo --out train.root": "out is 'train.root', which is a file; expected a folder to write to",
    "demo --resume --overwrite": "--resume and --overwrite were both given; choose one",
}


@pytest.fixture(scope="module")
def desk(small_run, tmp_path_factory):
    """A folder as a newcomer has it: jets, a run, and a file of options with a wrong name in it."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(small_run, folder / "runs/pn")
    shutil.copy(small_run.parent / "train.root", folder / "train.root")
    (folder / "typo.yaml").write_text("learning_rate: 0.1\n")
    return folder


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_ends_in_one_sentence_that_mends_it(line, desk, capsys, monkeypatch):
    monkeypatch.chdir(desk)
    if line.startswith("relax"):
        pytest.importorskip("ase")
    before = {path: path.stat().st_mtime_ns for path in desk.rglob("*") if path.is_file()}
    status = main(shlex.split(line))
    said = capsys.readouterr()
    assert status in (1, 2)
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert MISTAKES[line] in said.err
    assert not {"Parser key", "<class", "typing.", "Union", "Traceback", "NestedArg"} & {*said.err.split()}
    assert {path: path.stat().st_mtime_ns for path in desk.rglob("*") if path.is_file()} == before


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--learning_rate 0.1", {"lr": 0.1}),
        ("--learning-rate=0.1 --wd 0", {"lr": 0.1, "weight_decay": 0.0}),
        ("--start-lr 0.1 --num-epochs 3 --data-val v.root", {"lr": 0.1, "epochs": 3, "val": "v.root"}),
        ("--max_epochs 3", {"epochs": 3}),
        ("--no-progress", {"progress": False}),
        ("--progress no --resume yes", {"progress": False, "resume": True}),
        ("--freeze backbone", {"freeze": ["backbone"]}),
        ("--freeze embedding --freeze blocks.*", {"freeze": ["embedding", "blocks.*"]}),
    ],
)
def test_what_the_field_types_is_understood(line, meant, monkeypatch):
    given = {}
    monkeypatch.setattr("jetsym.commands.training.train", given_to(given))
    assert main(["train", "--data", "a.root", "--output", "new", *line.split()]) == 0
    assert {name: given[name] for name in meant} == meant
    assert given["out"] == "new"


def given_to(given):
    """Return the function behind ``jetsym train``, but for its work."""
    from functools import wraps

    from jetsym.commands.training import train

    @wraps(train)
    def note(**options):
        given.update(options)

    return note


@pytest.mark.parametrize(
    "line", ["help", "help train", "train --help", "atoms help", "atoms --help train", "--help probe"]
)
def test_help_is_found(line, capsys):
    with suppress(SystemExit):  # as the parser ends the process
        assert main(line.split()) == 0
    said = capsys.readouterr()
    assert "usage: jetsym" in said.out
    assert said.err == ""
