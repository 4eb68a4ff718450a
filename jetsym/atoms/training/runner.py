"""The process that trains: ``python -m jetsym.atoms.training.runner FOLDER [--no-augmentation] [--restart FILE]``."""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from jetsym.atoms.packages import quiet, require

__all__ = ["FAILED", "main"]

#: What the line with the reason starts with, when training stops.
FAILED = "training stopped: "


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the ``options.yaml`` of a folder; return 0, or 1 with the reason in the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-augmentation", action="store_true")
    parser.add_argument("--restart", type=Path)
    wanted = parser.parse_args(arguments)
    stop_with_parent()
    with quiet():
        train = require("metatrain.cli.train", "jetsym atoms train").train_model
        log = require("metatrain.utils.logging", "jetsym atoms train")
        configuration = require("omegaconf", "jetsym atoms train").OmegaConf
        if wanted.no_augmentation:
            leave_out_augmentation()
    os.chdir(wanted.folder)  # metatrain writes where it is
    options = configuration.create(yaml.safe_load(Path("options.yaml").read_text(encoding="utf-8")))
    with log.setup_logging(log.ROOT_LOGGER, log_file="train.log", level=logging.INFO):
        try:
            train(options, output="model.pt", checkpoint_dir=".", restart_from=wanted.restart)
        except Exception as error:  # of any kind: it is the parent that reports it
            logging.debug("metatrain stopped", exc_info=True)
            print(FAILED + (" ".join(str(error).split()) or type(error).__name__), flush=True)
            return 1
    return 0


def stop_with_parent() -> None:
    """End when the process that started this one is gone, even killed: it holds the other end of the input."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):  # started by hand
        return

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def leave_out_augmentation() -> None:
    """Replace the augmentation of PET's trainer by one that does nothing, as it has no option for that."""
    trainer: Any = require("metatrain.pet.trainer", "jetsym atoms train")

    class Unaugmented(trainer.O3Augmenter):  # type: ignore[misc]  # metatrain has no types
        """An augmentation that returns structures and targets as they are."""

        def apply_random_augmentations(
            self, systems: Any, targets: Any, extra_data: Any = None
        ) -> tuple[Any, Any, Any]:
            return systems, targets, {} if extra_data is None else extra_data

    trainer.O3Augmenter = Unaugmented


if __name__ == "__main__":
    sys.exit(main())
