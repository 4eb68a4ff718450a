"""Logs of a run for programs that draw them: CSV, TensorBoard, Weights & Biases, MLflow, by Fabric's loggers.

All of them lie in ``logs`` in the folder of the run, unless the environment of the last two names a server. A run that
is continued goes on in the same log: steps after its last checkpoint, which are done once more, are there once.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger

from jetsym.errors import ConfigError, expect_one_of, require
from jetsym.training.callbacks import Moment
from jetsym.training.config import TrainConfig
from jetsym.training.optimisation import learning_rate

__all__ = ["LOGGERS", "Log", "expect_logger"]

#: Folder of the logs, in that of the run.
LOGS = "logs"
#: What each logger needs, which is the name of the extra as well; "" for nothing.
NEEDS = {"csv": "", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


def expect_logger(name: str | None) -> None:
    """Refuse a logger that is not known or not installed, before anything is done.

    Raises
    ------
    ConfigError
        It is not known.
    MissingDependencyError
        Its package is not installed; the message holds the pip line.
    """
    if name is None:
        return
    expect_one_of("--logger", name, tuple(NEEDS), ConfigError)
    if NEEDS[name]:
        require(NEEDS[name], extra=NEEDS[name], purpose=f"--logger {name}")


class Log:
    """A callback that logs the loss of every n-th step with the learning rate, and the metrics of every epoch.

    Parameters
    ----------
    config
        Configuration of the run; its ``logger`` says which program is meant, None logs nothing.
    folder
        Folder of the run.
    steps
        Steps of the whole run.
    """

    def __init__(self, config: TrainConfig, folder: Path, *, steps: int) -> None:
        self._config, self._folder, self._steps = config, folder, steps
        self._logger: Logger | None = None

    def begin(self, step: int) -> None:
        """Open the log, which an earlier part of the run may have begun; what it says of later steps is forgotten."""
        name = self._config.logger
        if name is None:
            return
        place = self._folder / LOGS / name
        if step == 0:
            shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        self._logger = LOGGERS[name](place, step, self._config)

    def __call__(self, moment: Moment) -> None:
        """Log a step, or an epoch; what is logged is on the disk before a checkpoint is written."""
        if self._logger is None:
            return
        config = self._config
        if moment.metrics is not None:
            numbers = {name: value for name, value in moment.metrics.items() if isinstance(value, int | float)}
            self._logger.log_metrics(numbers, moment.step)
        elif moment.step % config.log_every == 0:
            rate = learning_rate(moment.step - 1, self._steps, config)
            self._logger.log_metrics({"loss_step": moment.loss, "lr_step": rate}, moment.step)
        if moment.metrics is not None or moment.step % config.checkpoint_every == 0:
            self._logger.save()

    def end(self) -> None:
        """Close the log."""
        if self._logger is not None:
            self._logger.finalize("success")


def _csv(folder: Path, step: int, config: TrainConfig) -> Logger:
    """Open ``metrics.csv``, a row for every step and epoch that is logged."""
    from lightning_fabric.loggers.csv_logs import CSVLogger

    table, earlier = folder / "metrics.csv", folder.with_name("csv-earlier.csv")
    if table.is_file():
        table.replace(earlier)  # as Fabric removes what it finds
    rows = _rows(earlier, step)
    logger = CSVLogger(folder.parent, name=folder.name, version="")
    if rows:
        logger.experiment.metrics = rows
        logger.save()
    earlier.unlink(missing_ok=True)
    return logger


def _rows(table: Path, step: int) -> list[dict[str, Any]]:
    """Read the rows of a log up to a step; the last may be torn, as the process was killed."""
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        whole = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
    kept = [row for row in whole if row.get("step", "").isdecimal() and int(row["step"]) <= step]
    return [{name: value for name, value in row.items() if value != ""} for row in kept]


def _tensorboard(folder: Path, step: int, config: TrainConfig) -> Logger:
    """Open event files; what earlier ones say of later steps is marked as superseded."""
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    again: dict[str, Any] = {"purge_step": step + 1} if step else {}
    return TensorBoardLogger(folder.parent, name=folder.name, version="", **again)


class _Recorded(Logger):
    """A logger of a run that a server, or a folder, knows by an identifier, which the log's folder keeps."""

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "run.txt"
        self._run = self._kept.read_text(encoding="utf-8").strip() if self._kept.is_file() else ""

    @property
    def name(self) -> str:
        """Name of the run, that of its folder."""
        return self._kept.parents[2].absolute().name

    @property
    def version(self) -> str:
        """Identifier of the run."""
        return self._run

    def _keep(self, run: str) -> None:
        self._run = run
        self._kept.write_text(f"{run}\n", encoding="utf-8")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is given when the run is made."""


class _WeightsAndBiases(_Recorded):
    """Logs to Weights & Biases, as its environment says: WANDB_PROJECT, WANDB_MODE and others."""

    def __init__(self, folder: Path, step: int, config: TrainConfig) -> None:
        super().__init__(folder)
        import wandb

        own = {"id": self._run, "resume": "allow"} if self._run else {}
        self._log = wandb.init(name=self.name, dir=folder, config=config.to_dict(), **own)
        self._keep(self._log.id)
        self._begun = max(step, self._log.starting_step - 1)  # what is there already stays

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step, unless they are there."""
        if step is None or step > self._begun:
            self._log.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """Send all, and close the run."""
        self._log.finish()


class _MLflow(_Recorded):
    """Logs to MLflow: to what MLFLOW_TRACKING_URI names, or to a database in the folder of the run."""

    def __init__(self, folder: Path, step: int, config: TrainConfig) -> None:
        super().__init__(folder)
        from mlflow.tracking import MlflowClient

        place = folder.absolute()
        server = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(server or f"sqlite:///{place / 'mlflow.db'}")
        if not self._run:
            title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jetsym")
            known = self._client.get_experiment_by_name(title)
            files = None if server else (place / "artifacts").as_uri()
            experiment = known.experiment_id if known else self._client.create_experiment(title, files)
            self._keep(self._client.create_run(experiment, run_name=self.name).info.run_id)
            for name, value in config.to_dict().items():
                self._client.log_param(self._run, name, value)
        self._there = {name: self._last(name) for name in self._client.get_run(self._run).data.metrics}

    def _last(self, name: str) -> int:
        return max((one.step for one in self._client.get_metric_history(self._run, name)), default=-1)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step, unless they are there."""
        for name, value in metrics.items():
            if (step is None or step > self._there.get(name, -1)) and not math.isnan(value):
                self._client.log_metric(self._run, name, value, step=step)

    def finalize(self, status: str) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


#: How each log is opened: its folder, the step that the run stands at, its configuration.
LOGGERS: dict[str, Callable[[Path, int, TrainConfig], Logger]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "wandb": _WeightsAndBiases,
    "mlflow": _MLflow,
}
