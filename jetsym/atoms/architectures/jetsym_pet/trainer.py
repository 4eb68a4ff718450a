"""The trainer of PET with injected bias: PET's own, with a penalty in its loss where one is asked for."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import metatrain.pet.trainer as pet_trainer
import numpy as np
import torch
from metatrain.utils.distributed.slurm import resolve_distributed

from jetsym.atoms.architectures.penalty import Penalty
from jetsym.errors import ConfigError

from .model import of_this_architecture

__all__ = ["Trainer"]


class Trainer(pet_trainer.Trainer):  # type: ignore[misc]  # metatrain has no types
    """PET's trainer, whose loss may hold a penalty on A²: ``penalty`` and ``penalty_on`` of its options."""

    def train(self, model: Any, *arguments: Any, **options: Any) -> None:
        """Train as PET does."""
        with self._penalised(model):
            super().train(model, *arguments, **options)

    def _penalised(self, model: Any) -> AbstractContextManager[None]:
        weight, on = self.hypers.get("penalty", 0.0), self.hypers.get("penalty_on", [])
        if not weight:
            return nullcontext()
        if resolve_distributed(self.hypers.get("distributed")):
            raise ConfigError(
                f"penalty is {weight:g}, and the training is distributed, whose gradients count one pass of a step "
                "alone; train on one device, or without the penalty"
            )
        rng = np.random.default_rng(torch.initial_seed() % 2**63)
        per_structure = self.hypers["per_structure_targets"]
        return Penalty(model, weight, on, per_structure=per_structure, rng=rng).within(pet_trainer)

    def save_checkpoint(self, model: Any, path: str | Path) -> None:
        """Save a checkpoint that goes on with this trainer, also of a PET that nothing is injected into."""
        super().save_checkpoint(_Saved(model), path)


class _Saved:
    """A model as the trainer saves it: PET's own checkpoints name PET's trainer, which knows of no penalty."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.finetune_config = model.finetune_config

    def get_checkpoint(self) -> dict[str, Any]:
        """Return that of the model, under the name of this architecture."""
        return of_this_architecture(self._model.get_checkpoint())
