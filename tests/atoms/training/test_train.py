"""Training by metatrain, and the symmetry of its checkpoints."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import hostile
import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym import atoms, cli
from jetsym.atoms.checkpoint import epochs_in, is_cut_off, is_whole, read_checkpoint
from jetsym.atoms.packages import quiet
from jetsym.atoms.training import folder, train as training
from jetsym.errors import CheckpointError, ConfigError, DataError, ProbeError, TrainingError
from jetsym.probing.reports.history import History
from jetsym.repair import repair

TINY = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1, "num_attention_layers": 1}
OPTIONS = {"unit": "eV", "epochs": 3, "batch_size": 4, "validation": 0.25, "progress": False}


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A PET after three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "pet"
    options = {"final_eval": False}
    made = atoms.train(str(data), out=str(folder), forces="forces", model=TINY, options=options, **OPTIONS)
    assert made == folder
    return folder


@pytest.mark.slow
def test_the_best_epoch_is_said_at_the_end(data, tmp_path, capsys):
    """A rate of learning that ruins the weights after the first epochs: the last one is not the best."""
    options, out = {"options": {"final_eval": False}, "learning_rate": 3.0}, tmp_path / "run"
    atoms.train(str(data), out=str(out), forces="forces", model=TINY, **options, **{**OPTIONS, "epochs": 4})
    said = capsys.readouterr().out.strip().splitlines()[-1]
    epoch = read_checkpoint(out / "model.ckpt")["best_epoch"]
    assert said.startswith(f"best in validation: epoch {epoch}, with validation loss ")
    assert said.endswith(f"its weights are in {out / 'model.ckpt'} and {out / 'model.pt'}")
    with (out / "train.csv").open() as file:
        names, units, *rows = csv.reader(file)
    for name, unit, value in zip(names, units, rows[epoch], strict=True):
        if name.startswith("validation"):
            assert f"{name} {value.strip()}{' ' * bool(unit)}{unit}" in said
    last = atoms.load(out / "model.ckpt")
    weights = read_checkpoint(out / "model.ckpt")["best_model_state_dict"]
    for name, value in last.module.state_dict().items():  # which are those of that epoch
        if name in weights and value.is_floating_point():
            np.testing.assert_array_equal(value.numpy(), weights[name].to(value.dtype).numpy())


def test_a_run_without_a_best_epoch_says_none(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "read_checkpoint", lambda path, trust: {"best_epoch": 7})
    assert folder.best_of(tmp_path).startswith("best in validation: epoch 7; its weights are in ")
    (tmp_path / "train.csv").write_text("Epoch,validation loss,validation forces RMSE\n,,meV/A\n 7, 0.5 ,12\n")
    assert "epoch 7, with validation loss 0.5, validation forces RMSE 12 meV/A; its weights" in folder.best_of(tmp_path)
    monkeypatch.setattr(folder, "read_checkpoint", lambda path, trust: {})
    assert not folder.best_of(tmp_path)
    monkeypatch.undo()
    (tmp_path / "model.ckpt").write_text("no checkpoint")
    assert not folder.best_of(tmp_path)


@pytest.mark.slow
def test_a_run_leaves_checkpoints_and_metrics(run):
    assert {f"model_{epoch}.ckpt" for epoch in range(3)} <= {file.name for file in run.iterdir()}
    assert (run / "model.pt").is_file()
    with (run / "train.csv").open() as file:
        assert len(list(csv.reader(file))) == 2 + 3  # names, units, epochs
    options = yaml.safe_load((run / "options.yaml").read_text())
    assert options["architecture"]["training"]["num_epochs"] == 3
    assert atoms.load(run).kinds == {"energy": "scalar", "forces": "vector"}


@pytest.mark.slow
def test_spectra_over_training(run, data, capsys, tmp_path):
    history = atoms.over_training(run, str(data), limit=2, l_max=2, layers=["gnn_layers.1_node"], progress=False)
    assert (history.steps.tolist(), history.unit) == ([0, 1, 2], "epochs")
    assert history.over_steps("fractions")[:, history.row("gnn_layers.1_node")].shape == (3, 6)
    assert np.all(history.error("relative", "forces") > 0)
    assert len(set(history.error("absolute", "energy"))) == 3  # the weights are those of the epoch
    (run / "model_2.ckpt").rename(run / "aside")  # then the last epoch is known from model.ckpt
    try:
        end = atoms.over_training(run, str(data), limit=2, l_max=2, layers=[], progress=False)
    finally:
        (run / "aside").rename(run / "model_2.ckpt")
    assert end.steps.tolist() == [0, 1, 2]
    np.testing.assert_allclose(end.error("absolute", "energy"), history.error("absolute", "energy"), rtol=1e-4)
    with pytest.raises(ProbeError, match="there is no output 'force'; the nearest are 'forces'"):
        history.error("relative", "force")
    command = ["atoms", "spectra", str(run), "--inputs", str(data), "--limit", "1", "--l_max", "1"]
    assert cli.main([*command, "--out", str(tmp_path / "spectra.json")]) == 0
    shown = capsys.readouterr().out
    assert "A of energy" in shown
    assert "epoch" in shown
    assert History.load(tmp_path / "spectra.json").reports[2].meta["model"] == "PET"
    assert (tmp_path / "spectra.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "remedy",
    [
        {"finding": "drift", "from_weights": True},
        {"finding": "late-collapse"},
        {"finding": "late-collapse", "remedy": "equivariant"},
    ],
)
def test_the_repaired_run_trains(run, tmp_path, remedy):
    path = repair(run, **remedy).save(tmp_path / "repaired.yaml")
    command = ["atoms", "train", "--config", str(path), "--out", str(tmp_path / "repaired"), "--epochs", "1"]
    assert cli.main([*command, "--progress", "false"]) == 0
    assert (tmp_path / "repaired/model.ckpt").is_file()


@pytest.mark.slow
def test_the_composition_baseline_is_left_out(run, data):
    """The energies of the net itself are small against those of its atoms."""
    model = atoms.load(run)
    frames = atoms.read_frames(data, limit=1)
    with torch.no_grad(), quiet():
        from metatomic.torch import ModelOutput

        systems = model.systems(frames)
        whole = float(model.module(systems, {"energy": ModelOutput(sample_kind="system")})["energy"].block().values)
        (baseline,) = model.module.additive_models
        offset = float(baseline(systems, {"energy": ModelOutput(sample_kind="system")})["energy"].block().values)
    assert abs(offset) > 1e-3
    assert float(model(model.structures(frames))["energy"]) == pytest.approx(whole - offset, abs=1e-4)


@pytest.mark.slow
def test_soap_bpnn_stays_equivariant(data, tmp_path):
    small = {"soap": {"max_angular": 1, "max_radial": 1}, "bpnn": {"num_neurons_per_layer": 4}}
    options = {**OPTIONS, "epochs": 1, "precision": 64, "options": {"final_eval": False}}
    folder = atoms.train(str(data), out=str(tmp_path / "soap"), architecture="soap_bpnn", model=small, **options)
    report = jetsym.probe(folder, str(data), limit=1, l_max=2, progress=False)
    found = report.equivariance["energy"]
    assert abs(found.relative) < max(1e-12, 10 * found.noise_floor)


def epochs_of(folder):
    """What the table of metrics says, below names and units."""
    with (folder / "train.csv").open(newline="") as file:
        return [int(row[0]) for row in list(csv.reader(file))[2:]]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(data, tmp_path):
    """metatrain itself: killed in mid-training, continued, and then for more epochs than it was made for."""
    folder, log = tmp_path / "run", tmp_path / "run" / "output.txt"
    options = {**OPTIONS, "checkpoint_every": 1, "model": TINY, "options": {"final_eval": False}}
    code = "import json, sys; from jetsym import atoms; atoms.train(**json.loads(sys.argv[1]))"
    words = json.dumps({"data": str(data), "out": str(folder), **options, "epochs": 1000})
    process = subprocess.Popen([sys.executable, "-c", code, words])
    try:
        while process.poll() is None and not (folder / "model_2.ckpt").exists():
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    time.sleep(1.0)  # the trainer notices that it is alone
    reached = max(epochs_in(folder))
    assert not (folder / "model.ckpt").exists()
    time.sleep(0.5)
    assert max(epochs_in(folder)) == reached
    torn = folder / f"model_{reached + 1}.ckpt"
    torn.write_bytes((folder / "model_1.ckpt").read_bytes()[:5000])  # as if it had been written right then

    atoms.train(str(data), out=str(folder), resume=True, **{**options, "epochs": reached + 2})
    text = log.read_text()
    assert "Restarting training from" in text
    assert re.findall(r"Epoch: +(\d+)", text)[-1] == str(reached + 1)
    assert epochs_of(folder) == list(range(reached + 2))
    assert atoms.load(torn).kinds == {"energy": "scalar"}  # whole now
    made = yaml.safe_load((folder / "options.yaml").read_text())["architecture"]
    assert (made["training"]["num_epochs"], made["model"]) == (reached + 2, TINY)
    first, last = (atoms.load(folder / f"model_{epoch}.ckpt", weights="last") for epoch in (0, reached + 1))
    assert not torch.equal(*(model.module.backend.edge_embedder.weight for model in (first, last)))


def test_a_checkpoint_that_was_cut_off_is_told_though_a_smaller_archive_ends_in_it(tmp_path):
    inner, whole, torn = io.BytesIO(), tmp_path / "model_1.ckpt", tmp_path / "model_2.ckpt"
    torch.save({"labels": torch.arange(3)}, inner)
    torch.save({"labels": torch.frombuffer(bytearray(inner.getvalue()), dtype=torch.uint8)}, whole)
    content = whole.read_bytes()
    torn.write_bytes(content[: content.rindex(b"PK\5\6", 0, content.rindex(b"PK\5\6")) + 30])
    assert zipfile.is_zipfile(torn)
    assert (is_whole(whole), is_whole(torn), is_whole(tmp_path / "none.ckpt")) == (True, False, False)
    assert (is_cut_off(whole), is_cut_off(torn)) == (False, True)
    other = tmp_path / "other.ckpt"
    for begin, is_one in ((b"", True), (content[:3], True), (content[:100], True), (b"\x80\x04", False)):
        other.write_bytes(begin)
        assert is_cut_off(other) == is_one
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    assert not is_cut_off(tmp_path / "arrays.npz")


def test_metrics_of_a_run_that_went_on(tmp_path):
    file = tmp_path / "train.csv"
    names, units = "Epoch,loss", ",meV"
    file.write_text(
        "\n".join([names, units, "   0,5.0", "   1,4.0", "   2,3.5", names, units, "   2,3.0", "  10,2.0", ""])
    )
    folder.join_metrics(file)
    assert file.read_text().split() == [names, units, "0,5.0", "1,4.0", "2,3.0", "10,2.0"]
    folder.join_metrics(tmp_path / "none.csv")


STUB = """
import pathlib, sys
print(*sys.argv[2:])
print("Epoch: 0")
if {fails}:
    print("training stopped: no such key")
    print("some warning at the very end")
    raise SystemExit(1)
pathlib.Path(sys.argv[1], "model.ckpt").write_text("")
"""


def stub(monkeypatch, *, fails=False):
    """In place of metatrain, a process that says what it was asked for."""
    monkeypatch.setattr("jetsym.atoms.training.process.RUNNER", (sys.executable, "-c", STUB.format(fails=fails)))


def test_a_run_that_fails_says_why(data, tmp_path, monkeypatch):
    stub(monkeypatch, fails=True)
    with pytest.raises(TrainingError, match=r"metatrain stopped: no such key \(all it said is in .*output.txt\)"):
        atoms.train(str(data), out=str(tmp_path / "run"), **OPTIONS)
    assert cli.main(["atoms", "train", str(data), "--out", str(tmp_path / "other"), "--epochs", "2"]) == 1


def test_a_run_goes_on_from_its_last_checkpoint(data, tmp_path, monkeypatch, pet):
    stub(monkeypatch)
    for epoch in (9, 10):
        torch.save(pet.get_checkpoint(), tmp_path / f"model_{epoch}.ckpt")
    (tmp_path / "model_11.ckpt").write_bytes(
        (tmp_path / "model_10.ckpt").read_bytes()[:1000]
    )  # killed as it was written
    (tmp_path / "indices").mkdir()  # metatrain would stop at those of the run so far
    atoms.train(str(data), out=str(tmp_path), resume=True, augment=False, **OPTIONS)
    said = (tmp_path / "output.txt").read_text().splitlines()[0]
    assert said == f"--no-augmentation --restart {tmp_path / 'model_10.ckpt'}"
    assert yaml.safe_load((tmp_path / "options.yaml").read_text())["architecture"]["training"]["num_workers"] == 0
    assert not (tmp_path / "indices").exists()


def test_a_run_whose_first_checkpoint_was_cut_off_begins_anew(data, tmp_path, monkeypatch, pet):
    stub(monkeypatch)
    torch.save(pet.get_checkpoint(), tmp_path / "model_0.ckpt")
    whole = (tmp_path / "model_0.ckpt").read_bytes()
    (tmp_path / "model_0.ckpt").write_bytes(whole[:1000])
    atoms.train(str(data), out=str(tmp_path), resume=True, **OPTIONS)
    assert "--restart" not in (tmp_path / "output.txt").read_text().splitlines()[0]
    (tmp_path / "model_1.ckpt").write_bytes(whole[:2000])  # two are damaged otherwise
    with pytest.raises(CheckpointError, match="model_1.ckpt cannot be read"):
        atoms.train(str(data), out=str(tmp_path), resume=True, **OPTIONS)


@pytest.mark.slow
def test_a_run_that_is_done_goes_on_with_nothing(data, run, tmp_path):
    """As one that was killed between its last epoch and the files at the end."""
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "model.ckpt").unlink()
    options = {"model": TINY, "options": {"final_eval": False}, **OPTIONS}
    atoms.train(str(data), out=str(folder), forces="forces", resume=True, **options)
    before, after = (read_checkpoint(one / "model.ckpt") for one in (run, folder))
    assert after["epoch"] == before["epoch"] == 2
    for name, values in before["model_state_dict"].items():
        if isinstance(values, torch.Tensor):
            torch.testing.assert_close(after["model_state_dict"][name], values, rtol=0, atol=0)


def test_augmentation_can_be_left_out(make_model, monkeypatch):
    """The trainer draws random rotations, and after the change none."""
    with quiet():
        from metatrain.pet import trainer

        from jetsym.atoms.training.runner import leave_out_augmentation

    original = trainer.O3Augmenter
    monkeypatch.setattr(trainer, "O3Augmenter", original)  # so that it is put back
    leave_out_augmentation()
    model = atoms.Model(make_model())
    from ase.build import molecule

    systems = model.systems([molecule("H2O")])
    targets = model.module.dataset_info.targets
    plain = trainer.O3Augmenter(targets).apply_random_augmentations(systems, {})[0][0]
    rotated = original(targets).apply_random_augmentations(systems, {})[0][0]
    torch.testing.assert_close(plain.positions, systems[0].positions)
    assert not torch.allclose(rotated.positions, systems[0].positions)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"architecture": "gap"}, ConfigError, "architecture is 'gap'; expected one of 'pet', 'soap_bpnn'"),
        ({"epochs": 0}, ConfigError, "epochs is 0"),
        ({"precision": 16}, ConfigError, "precision is 16"),
        ({"validation": 1.0}, ConfigError, "validation is 1.0; expected a fraction"),
        ({"test": "none.xyz"}, DataError, "there is no file .*none.xyz"),
    ],
)
def test_options_that_cannot_be_used(data, tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        atoms.train(str(data), out=str(tmp_path / "run"), **options)
    assert not (tmp_path / "run").exists()


def test_folders_that_cannot_be_used(data, tmp_path, pet):
    (tmp_path / "notes.txt").write_text("something")
    with pytest.raises(ConfigError, match="is not empty; choose another folder, or resume=true"):
        atoms.train(str(data), out=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"holds no model_EPOCH.ckpt"):
        atoms.over_training(tmp_path, str(data))
    torch.save({"architecture_name": "pet", "model_data": print}, tmp_path / "model_3.ckpt")
    with pytest.raises(CheckpointError, match="is not opened"):
        atoms.train(str(data), out=str(tmp_path), resume=True)


def test_the_command_line(capsys):
    assert cli.main(["atoms", "--help"]) == 0
    assert "jetsym atoms COMMAND" in capsys.readouterr().out
    assert cli.main(["atoms", "trian"]) == 2
    assert "unknown command 'trian'; the nearest are 'train'" in capsys.readouterr().err
    assert cli.main(["atoms", "train", "none.xyz", "--out", "nowhere"]) == 1
    assert "there is no file" in capsys.readouterr().err


class Writes:
    """What a pickle holds: an order to write a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return type(self.marker).write_text, (self.marker, "ran")


@pytest.mark.slow
@pytest.mark.parametrize("trust", [False, True])
def test_metatrain_unpickles_nothing_that_the_options_name(data, tmp_path, trust):
    """In its own process, where it would unpickle the file whatever its name; with trust it does."""
    marker, file = tmp_path / "ran", tmp_path / "composition.model"
    torch.save({"architecture_name": "composition", "further": Writes(marker)}, file)
    options = {**OPTIONS, "training": {"atomic_baseline": str(file)}, "model": TINY}
    reason = "metatrain stopped" if trust else r"a file of pickles is not opened; .* \(--trust\)"
    with pytest.raises(TrainingError, match=reason):
        atoms.train(data, out=tmp_path / "run", trust=trust, **options)
    assert marker.exists() == trust
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_metatrain_loads_no_library_that_an_export_in_the_options_names(data, tmp_path):
    marker, file = tmp_path / "ran", tmp_path / "composition.model"
    made = hostile.library(tmp_path / "library", marker)
    with quiet():
        honest = hostile.records_of(hostile.write_honest_export(tmp_path / "honest.pt"))
    hostile.write_records(file, hostile.with_libraries(honest, [{"name": "evil", "path": str(made)}]))
    options = {**OPTIONS, "training": {"atomic_baseline": str(file)}, "model": TINY}
    with pytest.raises(TrainingError, match="names the native library"):
        atoms.train(data, out=tmp_path / "run", **options)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["atomic_baseline", "fixed_scaling_weights", "finetune", "model_checkpoint"])
def test_checkpoints_that_the_options_name_are_looked_at_first(data, tmp_path, monkeypatch, place):
    monkeypatch.setattr(training, "run", lambda *a, **k: pytest.fail("it was started"))
    marker, file = tmp_path / "ran", tmp_path / "other.ckpt"
    torch.save({"architecture_name": "composition", "further": Writes(marker)}, file)
    named = {"read_from": str(file), "method": "full"} if place == "finetune" else str(file)
    with pytest.raises(CheckpointError, match=r"other.ckpt is not opened, .* \(--trust\)"):
        atoms.train(data, out=tmp_path / "run", training={place: named}, **OPTIONS)
    architecture = {"name": "llpr", "training": {place: named}}
    with pytest.raises(CheckpointError, match=r"other.ckpt is not opened, .* \(--trust\)"):
        atoms.train(data, out=tmp_path / "run", options={"architecture": architecture}, **OPTIONS)
    assert not marker.exists()
    assert not (tmp_path / "run").exists()
