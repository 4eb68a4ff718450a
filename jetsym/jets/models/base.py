"""What every tagger of jetsym has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from jetsym.jets.batch import JetBatch

__all__ = ["Tagger"]


class Tagger(nn.Module):
    """A torch module from jets to logits.

    A subclass names the dataclass of its options as ``Config``, takes ``(classes, **options)``, and sets

    - ``classes``: names of the classes, in the order of the logits;
    - ``config``: its options, an instance of ``Config`` with values that JSON can hold.

    Every parameter lives in a layer with ``reset_parameters``, so that an untrained copy can be made.
    """

    Config: ClassVar[type[Any]]
    classes: tuple[str, ...]
    config: Any
    max_particles: int = 128  # how many particles of a jet it was trained on; checkpoints set it

    def forward(self, jets: JetBatch) -> Tensor:
        """B jets → logits (B, classes)."""
        raise NotImplementedError

    def ablations(self) -> dict[str, Tagger]:
        """What the model can do without, such as reference vectors -> a copy that does without it."""
        return {}
