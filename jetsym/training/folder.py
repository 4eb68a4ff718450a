"""The folder of a run: its configuration, its metrics epoch by epoch, and the weights.

======================  =============================================================================
``config.yaml``         the configuration, as ``jetsym train --config`` takes it
``metrics.jsonl``       one JSON object per epoch
``metrics.csv``         the same as a table
``last.safetensors``    model, optimizer and how far the run has come, every so many steps and after each epoch
``initial.safetensors`` model before the first step
``best.safetensors``    model of the epoch with the lowest validation loss
``logs``                a log for another program, where ``--logger`` names one
``spectra``             layer spectra over training, a JSON file each, where they were asked for
======================  =============================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from jetsym.errors import CheckpointError, ConfigError, ResourceError
from jetsym.files import check_out, remove_leftovers, write_atomically
from jetsym.jets import checkpoint
from jetsym.jets.models import Tagger
from jetsym.reading import parse_json, parse_yaml, read_text
from jetsym.storage import one_against_the_rest
from jetsym.training.config import TrainConfig

__all__ = ["RunFolder"]

CONFIG, TABLE, LINES = "config.yaml", "metrics.csv", "metrics.jsonl"
_RESULTS = (TABLE, LINES, checkpoint.BEST, checkpoint.LAST)

#: Options that may be others when a run is continued; everything else is part of the result.
_NO_RESULT = (
    *("device", "devices", "num_nodes", "compile", "weights"),  # the column that weighs the jets is told with these
    *("checkpoint_every", "max_skipped", "monitor_every", "monitor_jets", "bad_jets", "skip_bad", "other_jets"),
    *("scratch", "scratch_size", "logger", "log_every"),
)
#: Options that say where files are; what was in them is told by its fingerprint.
_PLACES = ("data", "val", "mapping", "cache")

#: What checkpoints say of a limit that took the first jets of each file; limits cover whole files now.
FIRST = "first jets"


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path
        The folder; it is made by :meth:`begin`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.metrics: list[dict[str, Any]] = []
        #: Whether this process writes; of several only the first does.
        self.writes = True

    def check(self, config: TrainConfig, *, resume: bool = False, overwrite: bool = False) -> None:
        """Check whether a run may be put there, without changing anything.

        Parameters
        ----------
        config
            The configuration of the run.
        resume
            Continue what is there; a folder without a finished epoch is begun from the start.
        overwrite
            Replace what an earlier run left there.

        Raises
        ------
        ConfigError
            The folder is in use, and neither was asked for; the run there has another configuration; nothing can be
            written there; or it holds the jets or the run that this one begins from.
        """
        if resume and overwrite:
            raise ConfigError("--resume and --overwrite were both given; choose one")
        if self.writes:
            check_out(self.path, inputs=[config.data, config.val, *([] if resume else [config.init])], folder=True)
        used = any((self.path / name).exists() for name in _RESULTS)
        if used and not (resume or overwrite):
            raise ConfigError(
                f"--out is {self.path}, which holds a run already; continue it with --resume, replace it with "
                f"--overwrite, or choose another folder (with --init {self.path} to begin from its weights)"
            )
        if resume and used and (self.path / CONFIG).is_file():
            self._check_same(config)

    def begin(self, config: TrainConfig, *, overwrite: bool = False) -> None:
        """Make the folder and write the configuration; with ``overwrite``, remove the files named above."""
        if not self.writes:
            return
        remove_leftovers(self.path)
        for name in (*_RESULTS, checkpoint.INITIAL) if overwrite else ():
            (self.path / name).unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))

    @cached_property
    def earlier(self) -> dict[str, Any] | None:
        """Facts of the training jets in the last checkpoint of the run to be continued; None if there is none."""
        last = self.path / checkpoint.LAST
        return dict(checkpoint.read(last)[0].progress.get("data") or {}) if last.is_file() else None

    @property
    def standardisation(self) -> dict[str, dict[str, list[float]]] | None:
        """What the run to be continued has measured on its training jets; None if nothing, or if there is no run."""
        if not (self.path / CONFIG).is_file():
            return None
        return self._configuration().standardisation

    @property
    def target_scale(self) -> list[float] | None:
        """The scale of the target of the run to be continued; None if it has none, or if there is no run."""
        return self._configuration().target_scale if (self.path / CONFIG).is_file() else None

    @property
    def takes_first(self) -> bool:
        """Whether the run to be continued takes the first jets of each file up to its limit, as older runs do."""
        known = self.earlier
        return known is not None and (known.get("limit") == FIRST or "files" not in known)

    def restore(self) -> tuple[checkpoint.Header, dict[str, Tensor]] | None:
        """Return header and tensors of the last checkpoint, or None; the metrics up to there go into ``metrics``."""
        last = self.path / checkpoint.LAST
        if not last.is_file():
            return None
        header, tensors = checkpoint.read(last)
        # A run killed between the two writes of an epoch has a line of metrics too many.
        lines = read_text(self.path / LINES).splitlines() if (self.path / LINES).is_file() else []
        try:
            kept = [line for line in map(parse_json, lines) if line["epoch"] <= header.epoch]
            self.metrics = [one_against_the_rest(line) for line in kept]
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{self.path / LINES} cannot be read ({error!r}); remove the broken line") from error
        return header, tensors

    @contextmanager
    def saying_how_to_go_on(self) -> Iterator[None]:
        """Say in errors about what the machine lacks what of the run is kept, and how it goes on."""
        try:
            yield
        except ResourceError as error:
            if not (self.path / checkpoint.LAST).is_file():
                raise
            kept = f"{self.path / checkpoint.LAST} holds the run up to its last checkpoint"
            raise ResourceError(f"{error}; {kept}: continue with --resume") from error

    @property
    def epochs_without_gain(self) -> int:
        """Epochs since the one with the lowest validation loss; the first of equal ones."""
        losses = [line["val_loss"] for line in self.metrics]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def finish_epoch(self, model: Tagger, line: dict[str, Any], **saved: Any) -> bool:
        """Write an epoch's metrics and checkpoints, and return whether it is the best so far.

        ``saved`` are arguments of :func:`jetsym.jets.checkpoint.save`: ``config``, and what only the last
        checkpoint holds, ``state`` and ``progress``.
        """
        best = all(line["val_loss"] < earlier["val_loss"] for earlier in self.metrics)
        self.metrics.append(line)
        if not self.writes:
            return best
        write_atomically(self.path / LINES, "".join(json.dumps(entry) + "\n" for entry in self.metrics))
        table = io.StringIO()
        names = dict.fromkeys([*line, *(name for earlier in self.metrics for name in earlier)])
        writer = csv.DictWriter(table, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.metrics)
        write_atomically(self.path / TABLE, table.getvalue())
        if best:
            said = {"epoch": line["epoch"], "metrics": line, "config": saved["config"]}
            checkpoint.save(self.path / checkpoint.BEST, model, **said)
        self.save_last(model, epoch=line["epoch"], **saved)
        return best

    def save_initial(self, model: Tagger, *, config: dict[str, Any]) -> None:
        """Write the weights before the first step, to compare those of later ones with."""
        if self.writes:
            checkpoint.save(self.path / checkpoint.INITIAL, model, config=config)

    def save_last(self, model: Tagger, *, epoch: int, **saved: Any) -> None:
        """Write the checkpoint that a run is continued from, after ``epoch`` finished epochs; arguments as above."""
        if not self.writes:
            return
        metrics = self.metrics[-1] if self.metrics else {}
        checkpoint.save(self.path / checkpoint.LAST, model, epoch=epoch, metrics=metrics, **saved)

    def _configuration(self) -> TrainConfig:
        try:
            return TrainConfig.from_dict(parse_yaml(read_text(self.path / CONFIG)))
        except (OSError, yaml.YAMLError, TypeError, ConfigError) as error:
            raise ConfigError(f"{self.path / CONFIG} is not the configuration of a run ({error})") from error

    def _check_same(self, config: TrainConfig) -> None:
        earlier = self._configuration()
        told = self.earlier is None or "files" in self.earlier
        # What has been measured is not measured again.
        known = [name for name in ("standardisation", "target_scale") if getattr(config, name) is None]
        free = (*_NO_RESULT, *known, *(_PLACES if told else ()))
        changed = [name for name in config.differing(earlier) if name not in free]
        if "epochs" in changed and self.earlier is not None:
            raise ConfigError(
                f"--epochs is {config.epochs}, but the run in {self.path} is one of {earlier.epochs}, over which its "
                f"learning rate was planned; continue it with --epochs {earlier.epochs}, or for more begin another "
                f"from its weights: --init {self.path}, another --out, and its other options once more, which "
                f"{self.path / CONFIG} has: weights bring none"
            )
        if changed:
            name = changed[0]
            raise ConfigError(
                f"--{name} is {getattr(config, name)!r}, but the run in {self.path} has {getattr(earlier, name)!r}; "
                "continue with its own configuration, replace it with --overwrite, or choose another --out"
            )
