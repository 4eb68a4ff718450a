"""Training jet taggers: configuration, loop, checkpoints, evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.lazy import attach

if TYPE_CHECKING:
    from jetsym.jets.checkpoint import load
    from jetsym.training.callbacks import Moment
    from jetsym.training.config import TrainConfig
    from jetsym.training.loop import Run, train
    from jetsym.training.trials import dry_run, find_lr

__all__ = ["Moment", "Run", "TrainConfig", "dry_run", "find_lr", "load", "train"]

# Looked up on first use: loading a checkpoint needs no Lightning Fabric.
__getattr__, __dir__ = attach(
    __name__,
    __all__,
    {
        "Moment": "jetsym.training.callbacks",
        "Run": "jetsym.training.loop",
        "TrainConfig": "jetsym.training.config",
        "dry_run": "jetsym.training.trials",
        "find_lr": "jetsym.training.trials",
        "load": "jetsym.jets.checkpoint",
        "train": "jetsym.training.loop",
    },
)
