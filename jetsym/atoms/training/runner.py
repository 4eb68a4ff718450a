"""The process that trains: ``python -m jetsym.atoms.training.runner FOLDER``.

Its options are ``--no-augmentation``, ``--trust``, ``--restart FILE``, and ``--ask``: to wait at every checkpoint for
a line on the standard input that says whether to go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Queue
from typing import Any

import yaml

from jetsym.atoms.architectures import add_architectures
from jetsym.atoms.checkpoint import known_types
from jetsym.atoms.exports import TRUST, read_export
from jetsym.atoms.packages import quiet
from jetsym.errors import require
from jetsym.locks import locked

__all__ = ["FAILED", "GO_ON", "STOP", "main"]

#: What the parent writes to the input at every checkpoint, if it is asked.
GO_ON, STOP = "go on", "stop"
#: What the line with the reason starts with, when training stops.
FAILED = "training stopped: "
#: How torch says that a file holds more than tensors.
REFUSED = "Weights only load failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the ``options.yaml`` of a folder; return 0, or 1 with the reason in the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-augmentation", action="store_true")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--ask", action="store_true")
    parser.add_argument("--restart", type=Path)
    wanted = parser.parse_args(arguments)
    answers = stop_with_parent()
    with quiet():
        train = require("metatrain.cli.train", extra="atoms", purpose="jetsym atoms train").train_model
        log = require("metatrain.utils.logging", extra="atoms", purpose="jetsym atoms train")
        configuration = require("omegaconf", extra="atoms", purpose="jetsym atoms train").OmegaConf
        add_architectures()
        if wanted.no_augmentation:
            leave_out_augmentation()
    os.chdir(wanted.folder)  # metatrain writes where it is
    if not wanted.trust:
        open_without_running()
    options = configuration.create(yaml.safe_load(Path("options.yaml").read_text(encoding="utf-8")))
    # A lock of its own: this process outlives a parent that is killed by a moment, and another may be started in it.
    with (
        locked(Path.cwd(), "jetsym atoms train", name="metatrain"),
        log.setup_logging(log.ROOT_LOGGER, log_file="train.log", level=logging.INFO),
        known_types(),
    ):
        try:
            give_injection(options["architecture"])
            count_trained_epochs(options["architecture"]["name"])
            if wanted.ask:
                ask_at_checkpoints(options["architecture"]["name"], answers)
            train(options, output="model.pt", checkpoint_dir=".", restart_from=wanted.restart)
        except Exception as error:  # of any kind: it is the parent that reports it
            logging.debug("metatrain stopped", exc_info=True)
            reason = " ".join(str(error).split()) or type(error).__name__
            print(FAILED + (f"a file of pickles is not opened; {TRUST}" if REFUSED in reason else reason), flush=True)
            return 1
    return 0


def stop_with_parent() -> Queue[str]:
    """End when the process that started this one is gone, even killed: it holds the other end of the input.

    Returns
    -------
    Queue
        The lines that it writes.
    """
    lines = Queue[str]()
    if not stat.S_ISFIFO(os.fstat(0).st_mode):  # started by hand
        return lines

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return lines


class _EndedError(Exception):
    """A training that ends early, as it was told to."""


def ask_at_checkpoints(architecture: str, answers: Queue[str]) -> None:
    """Make a trainer of metatrain wait at every checkpoint, and leave its loop there if it is told to.

    All that it knows of its state was just saved, so that metatrain goes on as after the last epoch: with the model of
    the best one, and its export.

    Parameters
    ----------
    architecture
        metatrain's name of it.
    answers
        An answer for every checkpoint, :data:`GO_ON` or :data:`STOP`.
    """
    trainer = _trainer(architecture)
    train, save, inside = trainer.train, trainer.save_checkpoint, threading.Event()

    def save_and_ask(self: Any, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        if inside.is_set() and answers.get() == STOP:  # the model at the end is saved outside of train
            raise _EndedError

    def train_until_told(self: Any, *arguments: Any, **options: Any) -> None:
        inside.set()
        try:
            train(self, *arguments, **options)
        except _EndedError:
            logging.info(f"Ended after epoch {self.epoch}, as told")
        finally:
            inside.clear()

    trainer.train, trainer.save_checkpoint = train_until_told, save_and_ask


def count_trained_epochs(architecture: str) -> None:
    """Make a trainer of metatrain that has no epoch left keep the number of the last one, to which it would add one.

    It is so where a run was stopped between its last epoch and the files at the end.

    Parameters
    ----------
    architecture
        metatrain's name of it.
    """
    trainer = _trainer(architecture)
    train = trainer.train

    def train_and_count(self: Any, *arguments: Any, **options: Any) -> None:
        before = getattr(self, "epoch", None)
        train(self, *arguments, **options)
        if before is not None and before + 1 >= getattr(self, "hypers", {}).get("num_epochs", before + 2):
            self.epoch = before

    trainer.train = train_and_count


def _trainer(architecture: str) -> Any:
    architectures: Any = require("metatrain.utils.architectures", extra="atoms", purpose="jetsym atoms train")
    return architectures.import_architecture(architecture).__trainer__


def open_without_running() -> None:
    """Make metatrain open files as jetsym does: it unpickles what its options name, and loads libraries of exports."""
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # goes before what a caller of torch.load asks for
    opening: Any = require("metatrain.utils.io", extra="atoms", purpose="jetsym atoms train")
    opening.load_atomistic_model = lambda path, extensions_directory=None: read_export(path)


def give_injection(architecture: Any) -> None:
    """Make metatrain give a trained PET what its options inject, where it starts to fine-tune one that has nothing."""
    inject = architecture.get("model", {}).get("inject")
    if inject is None or "finetune" not in architecture.get("training", {}):
        return
    training: Any = require("metatrain.cli.train", extra="atoms", purpose="jetsym atoms train")
    loading = training.model_from_checkpoint
    given: Any = training.import_architecture(architecture["name"]).__model__

    def load_injected(checkpoint: dict[str, Any], context: str) -> Any:
        model = loading(checkpoint, context=context)
        return model if isinstance(model, given) else given.of_plain(model, inject)

    training.model_from_checkpoint = load_injected


def leave_out_augmentation() -> None:
    """Replace the augmentation of PET's trainer by one that does nothing, as it has no option for that."""
    trainer: Any = require("metatrain.pet.trainer", extra="atoms", purpose="jetsym atoms train")

    class Unaugmented(trainer.O3Augmenter):  # type: ignore[misc]  # metatrain has no types
        """An augmentation that returns structures and targets as they are."""

        def apply_random_augmentations(
            self, systems: Any, targets: Any, extra_data: Any = None
        ) -> tuple[Any, Any, Any]:
            return systems, targets, {} if extra_data is None else extra_data

    trainer.O3Augmenter = Unaugmented


if __name__ == "__main__":
    sys.exit(main())
