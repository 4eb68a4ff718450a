"""Trainings that are watched: what is measured, written down, and kept over kills, and where A ends them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from queue import Queue

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("ase")
pytest.importorskip("metatrain")

from jetsym import atoms, cli
from jetsym.atoms.checkpoint import epochs_in
from jetsym.atoms.packages import quiet
from jetsym.atoms.training import runner, train as training
from jetsym.atoms.training.data import Part
from jetsym.atoms.training.watch import watched_frames
from jetsym.atoms.training.watch_report import BEFORE, Bound, Watch, bounds_of
from jetsym.benchmarks.copper import train_copper
from jetsym.errors import ConfigError, DataError
from jetsym.probing.probe import probe
from jetsym.storage import DIGEST
from jetsym.text import concise

TINY = {"d_pet": 8, "d_head": 8, "d_node": 8, "d_feedforward": 8, "num_heads": 2}
ONE_LAYER = {"num_gnn_layers": 1, "num_attention_layers": 1}
#: In place of metatrain: a process that puts checkpoints into the folder, one after the other, and asks if it is to.
STUB = """
import pathlib, shutil, sys, time
folder, source = pathlib.Path(sys.argv[1]), pathlib.Path({source!r})
ask, last = "--ask" in sys.argv, -1
start = int(sys.argv[sys.argv.index("--restart") + 1].rpartition("_")[2][:-5]) if "--restart" in sys.argv else -1
for file in sorted(source.glob("model_*.ckpt")):
    epoch = int(file.stem[6:])
    if start < epoch < {epochs}:
        print("Epoch:", epoch, "| training loss: 1.0", flush=True)
        shutil.copy(file, folder / ".new"); (folder / ".new").rename(folder / file.name)
        if ask and sys.stdin.readline().strip() == "stop":
            break
shutil.copy(max(folder.glob("model_*.ckpt")), folder / "model.ckpt")
print("asked" if ask else "not asked")
"""


def checkpoint_of(model, epoch):
    """What metatrain writes of a model at an epoch; that of epoch 1 validated best."""
    made = model.get_checkpoint()
    return {**made, "epoch": epoch, "best_epoch": min(epoch, 1), "best_model_state_dict": made["model_state_dict"]}


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """Shaken water with energies and forces, after an isolated atom."""
    import ase
    import ase.io
    from ase.build import molecule
    from ase.calculators.singlepoint import SinglePointCalculator

    rng, frames = np.random.default_rng(0), [ase.Atoms("O"), *(molecule("H2O") for _ in range(4))]
    for frame in frames:
        frame.positions += rng.normal(scale=0.05, size=frame.positions.shape)
        frame.calc = SinglePointCalculator(frame, energy=1.0, forces=np.zeros((len(frame), 3)))
    file = tmp_path_factory.mktemp("data") / "water.xyz"
    ase.io.write(file, frames)
    return file


@pytest.fixture(scope="module")
def models(make_model):
    """A pretrained PET, and three of later epochs."""
    return {epoch: make_model(gradients=("positions",), **ONE_LAYER, seed=epoch + 1) for epoch in range(BEFORE, 3)}


@pytest.fixture
def source(models, tmp_path):
    """A folder of their checkpoints."""
    folder = tmp_path / "source"
    folder.mkdir()
    for epoch, model in models.items():
        torch.save(checkpoint_of(model, epoch), folder / f"{'pretrained' if epoch < 0 else f'model_{epoch}'}.ckpt")
    return folder


@pytest.fixture
def tune(source, water, tmp_path, monkeypatch):
    """``tune(epochs=3, **options)``: the fine-tuning of two structures, by the process above; returns what was seen."""

    def run(epochs=3, *, data=water, **options):
        stub = (sys.executable, "-c", STUB.format(source=str(source), epochs=epochs))
        monkeypatch.setattr("jetsym.atoms.training.process.RUNNER", stub)
        options = {"out": str(tmp_path / "run"), "watch": True, "watch_limit": 1, "progress": False, **options}
        folder = atoms.finetune(str(source / "pretrained.ckpt"), str(data), epochs=epochs, **options)
        return Watch.load(folder / "watch.json")

    return run


def errors(watch, output="forces"):
    return [report.equivariance[output].absolute for report in watch.reports]


def test_every_checkpoint_is_measured_against_the_pretrained_model(tune, models, water, tmp_path, capsys):
    found = tune(progress=True, watch_limit=2)
    said = capsys.readouterr()
    assert found.steps.tolist() == [-1, 0, 1, 2]
    assert found.before is found.reports[0]
    frames = atoms.read_frames(water)[2:5:2]  # two of the four that are no isolated atom
    for epoch, model in models.items():
        options = {"method": "icosahedral", "l_max": 2, "layers": ["gnn_layers.0"], "progress": False}
        alone, report = probe(atoms.Model(model), frames, **options), found.at(epoch)
        for output in ("energy", "forces"):
            one, two = alone.equivariance[output], report.equivariance[output]
            assert (one.absolute, one.absolute_stderr) == pytest.approx((two.absolute, two.absolute_stderr), rel=1e-9)
        layer = "gnn_layers.0_node"
        np.testing.assert_allclose(
            alone.fractions[alone.layers.index(layer)], report.fractions[found.row(layer)], atol=1e-12
        )
    assert len({*errors(found)}) == 4
    assert found.layers[:3] == ("node_embedders.0", "edge_embedder", "gnn_layers.0_node")
    assert found.layers[-2:] == ("energy", "forces")
    assert (found.kept, found.stopped, found.missing) == (1, None, {})
    assert len(found.seconds) == 4
    with Image.open(tmp_path / "run" / "watch.png") as image:
        assert min(image.size) > 500
    assert "model.ckpt holds the weights of epoch 1, which validated best: A of energy" in said.out
    assert "pretrained │" in said.out
    assert said.err.count("A of energy") == 4
    assert "not asked" in (tmp_path / "run" / "output.txt").read_text()


@pytest.mark.slow
def test_a_run_goes_on_with_what_was_measured(tune, water, monkeypatch):
    first = tune(epochs=2)
    assert first.steps.tolist() == [-1, 0, 1]
    measured, load = [], training.Watcher._measure

    def counted(self, epoch, *arguments):
        measured.append(epoch)
        load(self, epoch, *arguments)

    monkeypatch.setattr(training.Watcher, "_measure", counted)
    second = tune(epochs=3, resume=True)
    assert measured == [2]
    assert second.steps.tolist() == [-1, 0, 1, 2]
    assert errors(second)[:3] == errors(first)
    measured.clear()
    third = tune(epochs=3, resume=True, watch_limit=2)  # others are not comparable
    assert sorted(measured) == [-1, 0, 1, 2]
    assert errors(third)[0] != errors(first)[0]
    assert third.settings["structures"] == 2


@pytest.mark.slow
def test_what_was_measured_of_epochs_that_are_trained_again_is_forgotten(tune, tmp_path):
    before = tune(epochs=3)
    (tmp_path / "run" / "model_2.ckpt").write_bytes(b"torn")  # as by a kill in mid-writing
    (tmp_path / "run" / "model.ckpt").unlink()
    kept = json.loads((tmp_path / "run" / "watch.json").read_text())
    del kept[DIGEST]
    kept["reports"][-1]["equivariance"]["forces"]["absolute"] = 1e6
    kept["reports"][0]["equivariance"]["forces"]["absolute"] = 1e3
    (tmp_path / "run" / "watch.json").write_text(json.dumps(kept))
    after = tune(epochs=3, resume=True)
    assert errors(after)[0] == 1e3  # taken over
    assert errors(after)[1:] == errors(before)[1:]


@pytest.mark.parametrize(
    ("side", "factor"), [("stop_above", 1 - 1e-6), pytest.param("stop_below", 1 + 1e-6, marks=pytest.mark.slow)]
)
def test_a_run_ends_where_a_crosses_the_bound(tune, models, source, tmp_path, side, factor):
    all_of_it = tune(out=str(tmp_path / "whole"))
    values = errors(all_of_it)
    beyond = np.greater if side == "stop_above" else np.less
    later = [epoch for epoch in range(3) if beyond(values[epoch + 1], values[0])]
    assert later  # by the seeds of these models
    found = tune(**{side: {"forces": values[later[0] + 1] * factor}})
    assert found.steps.tolist() == list(range(-1, later[0] + 1))
    bound, epoch = found.stopped
    assert (bound.output, bound.above, epoch) == ("forces", side == "stop_above", later[0])
    assert (tmp_path / "run" / "model.ckpt").is_file()
    text = (tmp_path / "run" / "output.txt").read_text()
    assert "\nasked" in text
    assert f"Told to end at epoch {epoch}, with A of forces {'above' if bound.above else 'below'}" in str(found)
    assert "the training waited for them" in str(found)


@pytest.mark.slow
def test_a_run_whose_model_cannot_be_measured_goes_on(tune, models, source, make_model):
    broken = make_model(gradients=("positions",), **ONE_LAYER, seed=7)
    with torch.no_grad():
        next(broken.backend.gnn_layers.parameters()).fill_(float("nan"))
    torch.save(checkpoint_of(broken, 0), source / "model_0.ckpt")
    found = tune(stop_above={"forces": 1e6})
    assert found.steps.tolist() == [-1, 1, 2]
    assert "finite" in found.missing[0]
    assert "Epoch 0 could not be measured: " in str(found)


@pytest.mark.slow
def test_a_training_from_scratch_is_watched_without_a_pretrained_model(source, water, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "jetsym.atoms.training.process.RUNNER", (sys.executable, "-c", STUB.format(source=str(source), epochs=3))
    )
    options = {"forces": "forces", "watch": True, "watch_limit": 1, "progress": False, "epochs": 3}
    folder = atoms.train(str(water), out=str(tmp_path / "run"), watch_on=str(water), **options)
    found = Watch.load(folder / "watch.json")
    assert found.steps.tolist() == [0, 1, 2]
    assert found.before is None
    assert "One structure tells nothing of others." in found.sentences()
    assert f"watch_on: {water}" in (folder / "train.yaml").read_text()


@pytest.mark.slow
def test_a_new_head_is_compared_with_the_one_that_it_starts_from(tune, models, source, make_model):
    for epoch in range(3):
        made = make_model(
            {"energy": "energy", "energy/pbe": "energy"}, gradients=("positions",), seed=epoch, **ONE_LAYER
        )
        torch.save(checkpoint_of(made, epoch), source / f"model_{epoch}.ckpt")
    found = tune(variant="pbe")
    assert found.outputs == ("energy/pbe", "forces")
    assert found.before is not None


def test_bounds_that_say_nothing_are_refused_before_anything_is_trained(tune, tmp_path):
    base = errors(tune(epochs=1, out=str(tmp_path / "other")))[0]
    for options, message in (
        ({"stop_above": {"forces": base / 2}}, "above .* but A of the pretrained model is .* already; give another"),
        ({"stop_below": {"forces": base * 2}}, "below .* but A of the pretrained model is .* already"),
        ({"stop_below": {"forces": 1e-18}}, "which rounding alone can make"),
        ({"stop_above": {"force": 1.0}}, "stop_above is 'force'; the nearest are 'forces'"),
        ({"stop_above": {"stress": 1.0}}, "stop_above is 'stress'"),
        ({"stop_above": {"forces": -1.0}}, "stop_above of 'forces' is -1.0; expected A in its unit, a number above 0"),
        ({"stop_above": {"forces": 1.0}, "watch": False}, "stop_above is .* and watch is off; expected watch=true"),
        ({"watch_limit": 0}, "watch_limit is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            tune(**options)
        assert not (tmp_path / "run").exists()


def test_bounds_are_of_what_is_trained():
    section = {"energy": {"forces": False, "stress": {"key": "stress"}}, "mtt::dipole": {"quantity": ""}}
    found = bounds_of({"stress": 1.0}, {"mtt::dipole (1,+)": 2}, section)
    assert found == (Bound("stress", 1.0, above=True), Bound("mtt::dipole (1,+)", 2.0, above=False))
    with pytest.raises(ConfigError, match="'forces'"):
        bounds_of({"forces": 1.0}, None, {"energy": {"forces": False, "stress": {"key": "stress"}}})


def test_structures_are_taken_evenly_and_isolated_atoms_last():
    import ase

    frames = [ase.Atoms("O"), *(ase.Atoms("OH", [[0, 0, 0], [0, 0, 1 + place]]) for place in range(10))]
    lengths = [float(frame.positions[1, 2]) for frame in watched_frames(None, parts(frames), 3)]
    assert lengths == [2.0, 6.0, 9.0]
    assert len(watched_frames(None, parts(frames), 100)) == 10
    assert len(watched_frames(None, parts(frames[:1]), 4)) == 1
    own = {**parts(frames), "validation_set": parts(frames[3:4])["training_set"]}
    assert len(watched_frames(None, own, 4)) == 1
    with pytest.raises(ConfigError, match="those of the training are read by metatrain alone; give watch_on"):
        watched_frames(None, parts(None), 4)


def parts(frames):
    return {"training_set": Part({}, frames, "")}


@pytest.fixture(scope="module")
def history():
    """A quick watch of plain functions: an invariant whose error grows, with a bound."""
    points = np.random.default_rng(0).normal(size=(32, 3))
    reports = []
    for epoch, part in ((-1, 0.01), (4, 0.02), (9, 0.5)):
        report = probe(lambda x, p=part: {"size": (x**2).sum(-1) + p * x[:, 2]}, points, l_max=1, progress=False)
        reports.append(replace(report, meta={**report.meta, "step": epoch}))
    bound = Bound("size", 0.1, above=True)
    return Watch(tuple(reports), (bound,), (bound, 9), 9, {6: "why"}, {"size": "eV"}, (1.0, 2.0), {"structures": 8})


def test_a_watch_is_kept_as_json(history, tmp_path):
    history.save(tmp_path / "watch.json")
    again = Watch.load(tmp_path / "watch.json")
    assert again.to_dict() == history.to_dict()
    assert (again.stopped, again.bounds, again.missing) == (history.stopped, history.bounds, history.missing)
    with pytest.raises(DataError, match="watched at no epoch"):
        Watch((), (), None, None, {}, {}, (), {})


def test_a_watch_in_words(history):
    text = str(history)
    start, end = (history.reports[place].equivariance["size"] for place in (0, 2))
    first, last = (concise(item.absolute, item.absolute_stderr) for item in (start, end))
    assert f"A of size (eV): {first} pretrained, {last} after epoch 9; they surely differ." in text
    assert "That is size above 0.1 eV; the last that is not: 4." in text
    assert "Epoch 6 could not be measured: why." in text
    assert "2 measurements on 8 structures, 1.5 s each" in text
    assert history.table("size").count("pretrained") == 1
    assert repr(history) == "Watch(1 layers; epochs pretrained, 4, 9)"


def test_the_figure_of_a_watch(history):
    figure = history.plot()
    ax = figure.axes[-1]
    assert ax.get_xticklabels()[0].get_text() == "pretrained"
    lines = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in lines] == [0.1]
    drawn = next(line for line in ax.get_lines() if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(drawn.get_ydata(), errors(history, "size"))


def test_a_trainer_ends_at_the_checkpoint_where_it_is_told_to(monkeypatch):
    """And what is saved after its loop is no question any more."""
    with quiet():
        from metatrain.utils import architectures

    saved = []

    class Trainer:
        epoch = None

        def train(self, epochs):
            for self.epoch in range(epochs):
                self.save_checkpoint(self.epoch)

        def save_checkpoint(self, path):
            saved.append(path)

    monkeypatch.setattr(architectures, "import_architecture", lambda name: type("Module", (), {"__trainer__": Trainer}))
    answers = Queue()
    for answer in (runner.GO_ON, runner.GO_ON, runner.STOP):
        answers.put(answer)
    runner.ask_at_checkpoints("pet", answers)
    trainer = Trainer()
    trainer.train(10)
    assert (saved, trainer.epoch) == ([0, 1, 2], 2)
    late = threading.Thread(target=trainer.save_checkpoint, args=("model.ckpt",), daemon=True)
    late.start()
    late.join(5)
    assert not late.is_alive()
    assert saved[-1] == "model.ckpt"


# --- by metatrain itself ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny PET trained on copper, and what it was trained on."""
    folder = tmp_path_factory.mktemp("copper")
    train_copper(folder, structures=20, epochs=2, model=TINY, progress=False)
    return folder


@pytest.mark.slow
def test_metatrain_ends_well_where_a_crosses_the_bound(trained, tmp_path, capsys):
    """At a large learning rate A leaves that of the pretrained model soon; there is a model then, and a calculator."""
    options = ["--out", str(tmp_path / "new"), "--epochs", "200", "--checkpoint_every", "1", "--learning_rate", "0.01"]
    words = ["atoms", "finetune", str(trained / "run"), str(trained / "train.xyz"), *options, "--progress", "false"]
    assert cli.main([*words, "--watch", "--watch_limit", "1", "--stop_above", '{"forces": 0.004}']) == 0
    found = Watch.load(tmp_path / "new" / "watch.json")
    _, epoch = found.stopped
    assert epoch < 100
    assert max(epochs_in(tmp_path / "new")) == epoch == found.steps[-1]
    values = errors(found)
    assert max(values[:-1]) <= 0.004 < values[-1]
    assert "Told to end at epoch" in capsys.readouterr().out
    assert "as told" in (tmp_path / "new" / "output.txt").read_text()
    frames = atoms.read_frames(trained / "validation.xyz")
    assert np.isfinite(atoms.calculator(tmp_path / "new").get_potential_energy(frames[0]))
    assert atoms.load(tmp_path / "new" / "model.pt").kinds["energy"] == "scalar"


@pytest.mark.slow
def test_a_watched_run_that_was_killed_goes_on(trained, tmp_path):
    folder = tmp_path / "run"
    options = {"model": str(trained / "run"), "data": str(trained / "train.xyz"), "out": str(folder)}
    options |= {"checkpoint_every": 1, "watch": True, "watch_limit": 1, "progress": False}
    code = "import json, sys; from jetsym import atoms; atoms.finetune(**json.loads(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps({**options, "epochs": 10_000})])
    try:
        while process.poll() is None and not ((folder / "watch.json").exists() and len(epochs_in(folder)) > 3):
            time.sleep(0.05)
        while process.poll() is None and Watch.load(folder / "watch.json").steps[-1] < 0:
            time.sleep(0.05)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    time.sleep(1.0)  # the trainer notices that it is alone
    before = Watch.load(folder / "watch.json")
    reached = max(epochs_in(folder))
    atoms.finetune(**options, epochs=reached + 2, resume=True)
    after = Watch.load(folder / "watch.json")
    assert {*range(-1, reached)} <= {*after.steps.tolist()}
    for report in before.reports:
        again = after.at(report.meta["step"])
        assert again.equivariance["forces"].absolute == report.equivariance["forces"].absolute
    assert after.kept is not None
