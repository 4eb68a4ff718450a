"""PET with injected bias, as metatrain trains, saves and exports it."""

from typing import Any, Literal

import torch
from metatomic.torch import ModelMetadata
from metatrain.pet.model import PET

from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.architectures.inject import parse_injection

from . import checkpoints
from .backend import InjectedBackend

__all__ = ["InjectedPET"]


class InjectedPET(PET):  # type: ignore[misc]  # metatrain has no types
    """A PET whose embedding of edges sees further features, see :mod:`.documentation`.

    Parameters
    ----------
    hypers
        Options: PET's, and ``inject``.
    dataset_info
        Elements and targets, as metatrain describes them.
    """

    __default_metadata__ = ModelMetadata(
        description="A PET with injected bias, trained by jetsym",
        references={"architecture": ["https://arxiv.org/abs/2305.19302v3", "https://arxiv.org/abs/2603.24638"]},
    )

    def __init__(self, hypers: dict[str, Any], dataset_info: Any) -> None:
        super().__init__(hypers, dataset_info)
        injection = parse_injection(self.hypers.get("inject"))
        if injection.features:
            with torch.random.fork_rng(devices=[]):  # all that is drawn later is as it is for PET
                backend = InjectedBackend(self.hypers, self.atomic_types, injection)
                for name, shapes in self.output_shapes.items():
                    backend.add_output(name, shapes)
            backend.load_state_dict(self.backend.state_dict(), strict=False)
            self.backend: Any = backend

    @classmethod
    def load_checkpoint(
        cls, checkpoint: dict[str, Any], context: Literal["restart", "finetune", "export"]
    ) -> "InjectedPET":
        """Load a model as PET does, from a checkpoint of any version."""
        checkpoints.upgrade(checkpoint)
        model: InjectedPET = super().load_checkpoint(checkpoint, context)
        return model

    def get_checkpoint(self) -> dict[str, Any]:
        """Return what a checkpoint holds, under the name of this architecture."""
        own = {"architecture_name": INJECTED, checkpoints.KEY: checkpoints.VERSION}
        return {**super().get_checkpoint(), **own}
