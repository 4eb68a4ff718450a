"""Logs for programs that draw them: every step once, also of a run that was killed and continued."""

from __future__ import annotations

import csv
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from jetsym.errors import ConfigError, MissingDependencyError
from jetsym.jets import checkpoint
from jetsym.training.config import TrainConfig
from jetsym.training.logs import LOGGERS, NEEDS
from jetsym.training.loop import train

QUICK = {
    "epochs": 3,
    "batch_size": 16,
    "max_particles": 8,
    "options": {"width": 8, "blocks": 1, "heads": 2},
    "device": "cpu",
    "progress": False,
    "log_every": 1,
}
#: Steps of the run: 54 jets to train on, 4 steps an epoch.
STEPS = list(range(1, 13))


class Killed(Exception):
    pass


def killing_at(step: int):
    def callback(moment):
        if moment.step == step and moment.metrics is None:
            raise Killed

    return [callback]


def from_csv(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    with (folder / "logs/csv/metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name != "step":
                    found.setdefault(name, []).append((int(row["step"]), float(value)))
    return found


def from_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs/tensorboard"), purge_orphaned_data=True).Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def from_mlflow(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.absolute() / 'logs/mlflow/mlflow.db'}")
    run = (folder / "logs/mlflow/run.txt").read_text().strip()
    names = client.get_run(run).data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(run, name)] for name in names}


READ = {"csv": from_csv, "tensorboard": from_tensorboard, "mlflow": from_mlflow}


@pytest.fixture
def data(jetclass_file) -> str:
    return str(jetclass_file(n=60))


@pytest.mark.parametrize("name", READ)
@pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*:DeprecationWarning")
def test_a_killed_run_goes_on_in_the_same_log(name, data, tmp_path, monkeypatch):
    pytest.importorskip(NEEDS[name] or "csv")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole = train(data, tmp_path / "whole", logger=name, **QUICK)
    with pytest.raises(Killed):  # the last checkpoint is that of step 4: two steps are logged that are done again
        train(data, tmp_path / "run", logger=name, callbacks=killing_at(7), **QUICK)
    assert [step for step, _ in READ[name](tmp_path / "run")["loss_step"]] == STEPS[:6]
    run = train(data, tmp_path / "run", logger=name, resume=True, **QUICK)
    found, expected = READ[name](tmp_path / "run"), READ[name](tmp_path / "whole")
    assert [step for step, _ in found["loss_step"]] == STEPS
    assert [step for step, _ in found["val_loss"]] == [4, 8, 12]
    for metric in ("loss_step", "lr_step", "loss", "val_loss", "accuracy"):
        assert dict(found[metric]) == pytest.approx(dict(expected[metric])), metric
        assert len(found[metric]) == len(expected[metric]), metric
    assert [value for _, value in found["val_loss"]] == pytest.approx([one["val_loss"] for one in run.metrics])
    first, second = (checkpoint.read(one.path / checkpoint.LAST)[1] for one in (whole, run))
    assert all(torch.equal(first[part], second[part]) for part in first)


def test_a_run_that_replaces_another_begins_its_log_anew(data, tmp_path):
    train(data, tmp_path / "run", logger="csv", **QUICK)
    train(data, tmp_path / "run", logger="csv", overwrite=True, **QUICK | {"epochs": 1})
    assert [step for step, _ in from_csv(tmp_path / "run")["loss_step"]] == STEPS[:4]


def test_a_row_that_was_torn_is_left_out(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path / "run", logger="csv", callbacks=killing_at(7), **QUICK)
    table = tmp_path / "run/logs/csv/metrics.csv"
    table.write_text(table.read_text() + "0.5,0.2")
    train(data, tmp_path / "run", logger="csv", resume=True, **QUICK)
    assert [step for step, _ in from_csv(tmp_path / "run")["loss_step"]] == STEPS


def test_some_steps_are_logged_and_all_epochs(data, tmp_path):
    train(data, tmp_path / "run", logger="csv", **QUICK | {"log_every": 5})
    found = from_csv(tmp_path / "run")
    assert [step for step, _ in found["loss_step"]] == [5, 10]
    assert [step for step, _ in found["val_loss"]] == [4, 8, 12]


def test_a_run_may_be_continued_with_another_logger(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path / "run", callbacks=killing_at(7), **QUICK)
    assert not (tmp_path / "run/logs").exists()
    train(data, tmp_path / "run", logger="csv", resume=True, **QUICK | {"log_every": 2})
    assert [step for step, _ in from_csv(tmp_path / "run")["loss_step"]] == [6, 8, 10, 12]


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_without_a_server(data, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged = []
    monkeypatch.setattr(wandb.Run, "log", lambda run, numbers, step: logged.append((run.id, step, sorted(numbers))))
    with pytest.raises(Killed):
        train(data, tmp_path / "run", logger="wandb", callbacks=killing_at(7), **QUICK)
    train(data, tmp_path / "run", logger="wandb", resume=True, **QUICK)
    assert len({run for run, *_ in logged}) == 1
    assert [step for _, step, names in logged if "val_loss" in names] == [4, 8, 12]


@pytest.mark.parametrize("name", [name for name, package in NEEDS.items() if package])
def test_what_is_not_installed_is_named_with_its_pip_line(name, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, NEEDS[name], None)
    with pytest.raises(MissingDependencyError) as refused:
        train(data, tmp_path / "run", logger=name, **QUICK)
    assert f"python -m pip install 'jetsym[{name}]'" in str(refused.value)
    assert not (tmp_path / "run").exists()
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert name in extras


def test_an_unknown_logger_is_refused():
    with pytest.raises(ConfigError, match="--logger is 'neptune'; expected"):
        TrainConfig("a.root", logger="neptune")
    assert set(LOGGERS) == set(NEEDS)
