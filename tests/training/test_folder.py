"""A run directory keeps the best epoch beside the last."""

import csv
import json

import pytest

from jetsym.errors import CheckpointError
from jetsym.jets import checkpoint
from jetsym.jets.models import PointNet
from jetsym.training.config import TrainConfig
from jetsym.training.folder import RunFolder

CONFIG = TrainConfig("a.root")


def filled(path) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(CONFIG)
    kept = [
        folder.finish_epoch(PointNet(width=8, blocks=1), {"epoch": epoch, "val_loss": loss}, config=CONFIG.to_dict())
        for epoch, loss in [(1, 1.0), (2, 0.5), (3, 0.7), (4, 0.5)]
    ]
    assert kept == [True, True, False, False]
    return folder


def test_best_is_the_first_with_the_lowest_validation_loss(tmp_path):
    filled(tmp_path)
    assert checkpoint.read(tmp_path / checkpoint.BEST)[0].epoch == 2
    assert checkpoint.read(tmp_path / checkpoint.LAST)[0].epoch == 4


def test_restoring_remembers_the_metrics(tmp_path):
    metrics = filled(tmp_path).metrics
    folder = RunFolder(tmp_path)
    header, _ = folder.restore()
    assert header.epoch == 4
    assert folder.metrics == metrics
    line = {"epoch": 5, "val_loss": 0.6}
    assert not folder.finish_epoch(PointNet(width=8, blocks=1), line, config=CONFIG.to_dict())


def test_an_empty_folder_restores_nothing(tmp_path):
    assert RunFolder(tmp_path).restore() is None


def test_broken_metrics_are_named(tmp_path):
    filled(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"epoch": 1}) + "\n{half")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl cannot be read"):
        RunFolder(tmp_path).restore()


def test_the_history_of_an_older_version_goes_on(tmp_path):
    """What was called macro_auc is the one against the rest, and stands beside the newer one in the table."""
    folder = filled(tmp_path)
    lines = [{**line, "macro_auc": 0.7 + line["epoch"] / 100} for line in folder.metrics]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = RunFolder(tmp_path)
    again.restore()
    assert [line["macro_auc_ovr"] for line in again.metrics] == pytest.approx([0.71, 0.72, 0.73, 0.74])
    line = {"epoch": 5, "val_loss": 0.4, "macro_auc_ovo": 0.8}
    assert again.finish_epoch(PointNet(width=8, blocks=1), line, config=CONFIG.to_dict())
    with (tmp_path / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["macro_auc_ovr"] for row in rows] == ["0.71", "0.72", "0.73", "0.74", ""]
    assert [row["macro_auc_ovo"] for row in rows] == ["", "", "", "", "0.8"]
