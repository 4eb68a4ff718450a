"""Training jet taggers: configuration, loop, checkpoints, evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.jets.checkpoint import load
    from jetsym.training.callbacks import Moment
    from jetsym.training.config import TrainConfig
    from jetsym.training.loop import Run, train
    from jetsym.training.trials import dry_run, find_lr

__all__ = ["Moment", "Run", "TrainConfig", "dry_run", "find_lr", "load", "train"]

_HOMES = {
    "Moment": "jetsym.training.callbacks",
    "Run": "jetsym.training.loop",
    "TrainConfig": "jetsym.training.config",
    "dry_run": "jetsym.training.trials",
    "find_lr": "jetsym.training.trials",
    "load": "jetsym.jets.checkpoint",
    "train": "jetsym.training.loop",
}


def __getattr__(name: str) -> Any:
    # Looked up on first use: loading a checkpoint needs no Lightning Fabric.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
