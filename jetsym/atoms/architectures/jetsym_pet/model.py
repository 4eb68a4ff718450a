"""PET with injected bias, as metatrain trains, saves and exports it."""

from typing import Any, Literal

import torch
from metatomic.torch import ModelMetadata
from metatrain.pet.model import PET

from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.architectures.inject import parse_injection
from jetsym.errors import ConfigError

from . import checkpoints
from .backend import InjectedBackend
from .tensor_basis import TensorHead, blocks_of_target

__all__ = ["InjectedPET", "of_this_architecture"]


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
        self.injection = parse_injection(self.hypers.get("inject"))
        targets = self._train_dataset_info(dataset_info).targets
        if self.injection.tensor_basis and not any(map(blocks_of_target, targets, targets.values())):
            raise ConfigError(
                f"inject is {self.hypers['inject']!r}, but the targets are scalars ({', '.join(targets)}); expected "
                "one of vectors or tensors for the tensor-basis"
            )
        if str(self.injection):
            with torch.random.fork_rng(devices=[]):  # all that is drawn later is as it is for PET
                backend = InjectedBackend(self.hypers, self.atomic_types, self.injection)
                for name, info in targets.items():
                    backend.add_output(name, self.output_shapes[name])
                    self._give_head(backend, name, info)
            own = backend.state_dict()
            plain = {key: value for key, value in self.backend.state_dict().items() if value.shape == own[key].shape}
            backend.load_state_dict(plain, strict=False)
            self.backend: Any = backend

    @classmethod
    def of_plain(cls, pet: PET, inject: str) -> "InjectedPET":
        """Return a trained PET with something injected; until it is trained further, it predicts the same, bit for bit.

        Parameters
        ----------
        pet
            A PET without an injection.
        inject
            What is injected, as :func:`~jetsym.atoms.architectures.inject.parse_injection` reads it.
        """
        model = cls({**pet.hypers, "inject": inject}, pet.dataset_info)
        model.to(next(pet.parameters()).dtype).load_state_dict(pet.state_dict(), strict=False)
        model.additive_models[0].sync_tensor_maps()
        model.scaler.sync_tensor_maps()
        model.metadata = pet.metadata
        return model

    def _add_output(self, target_name: str, target_info: Any) -> None:
        super()._add_output(target_name, target_info)
        if isinstance(self.backend, InjectedBackend):  # a target that joins a model
            self._give_head(self.backend, target_name, target_info)

    def _give_head(self, backend: InjectedBackend, name: str, info: Any) -> None:
        """Give a target a tensor head, if it is one of tensors and such heads are injected."""
        blocks = blocks_of_target(name, info) if self.injection.tensor_basis else None
        if blocks is not None:
            head = TensorHead(*blocks, self.cutoff, len(self.atomic_types))
            backend.add_tensor_output(name, self.output_shapes[name], head)

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
        return of_this_architecture(super().get_checkpoint())


def of_this_architecture(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of a PET as one of this architecture."""
    return {**checkpoint, "architecture_name": INJECTED, checkpoints.KEY: checkpoints.VERSION}
