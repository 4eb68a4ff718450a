"""The trainer of PET with injected bias: PET's own."""

from metatrain.pet.trainer import Trainer as PETTrainer

__all__ = ["Trainer"]


class Trainer(PETTrainer):  # type: ignore[misc]  # metatrain has no types
    """PET's trainer, under the name by which metatrain finds it."""
