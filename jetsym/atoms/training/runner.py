"""The process that trains: ``python -m jetsym.atoms.training.runner FOLDER``.

Its options are ``--no-augmentation``, ``--trust`` and ``--restart FILE``.
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
from typing import Any

import yaml

from jetsym.atoms.architectures import add_architectures
from jetsym.atoms.checkpoint import known_types
from jetsym.atoms.exports import TRUST, read_export
from jetsym.atoms.packages import quiet
from jetsym.errors import require
from jetsym.locks import locked

__all__ = ["FAILED", "main"]

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
    parser.add_argument("--restart", type=Path)
    wanted = parser.parse_args(arguments)
    stop_with_parent()
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
            train(options, output="model.pt", checkpoint_dir=".", restart_from=wanted.restart)
        except Exception as error:  # of any kind: it is the parent that reports it
            logging.debug("metatrain stopped", exc_info=True)
            reason = " ".join(str(error).split()) or type(error).__name__
            print(FAILED + (f"a file of pickles is not opened; {TRUST}" if REFUSED in reason else reason), flush=True)
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


def open_without_running() -> None:
    """Make metatrain open files as jetsym does: it unpickles what its options name, and loads libraries of exports."""
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # goes before what a caller of torch.load asks for
    opening: Any = require("metatrain.utils.io", extra="atoms", purpose="jetsym atoms train")
    opening.load_atomistic_model = lambda path, extensions_directory=None: read_export(path)


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
