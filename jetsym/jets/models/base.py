"""The base class of taggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from jetsym.arguments import checked
from jetsym.errors import ConfigError, closest
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.pretrained import Pretrained
from jetsym.jets.schema import CLASSES
from jetsym.jets.targets import Target

__all__ = ["Tagger"]


class Tagger(Pretrained, nn.Module):
    """A torch module from jets to logits.

    A subclass names the dataclass of its options as ``Config``, registers itself with
    :func:`jetsym.jets.models.registry.register`, and builds its layers from ``self.config``. Every parameter lives in a
    layer with ``reset_parameters``, so that an untrained copy can be made.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of ``Config``, with values that JSON can hold.

    Raises
    ------
    ConfigError
        There is no such option, or it cannot have that value.
    """

    Config: ClassVar[type[Any]]
    probe_outputs: ClassVar[dict[str, str | None]] = {"logits": "logits"}  # what a probe takes the outputs for
    name: ClassVar[str] = ""  # under which it is registered
    no_graph: ClassVar[str] = ""  # why it cannot be written as a graph, if it cannot
    max_particles: int = 128  # how many particles of a jet it was trained on; checkpoints set it
    standardisation: dict[str, dict[str, list[float]]] | None = None  # of inputs, as of the training; likewise
    target: Target | None = None  # what it predicts in place of classes, if it does; likewise
    held_out: tuple[str, str] | None = None  # the fold, and its column, that it was not trained on; likewise

    @checked()
    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.config: Any = self.configure(**options)

    @classmethod
    def configure(cls, **options: Any) -> Any:
        """Return the options as a ``Config``, without making a tagger; errors are those of the class."""
        known, name = [field.name for field in fields(cls.Config)], cls.name or cls.__name__
        for option in options:
            if option not in known:
                raise ConfigError(f"model {name!r} has no option {option!r}; {closest(option, known)}")
        try:
            return cls.Config(**options)
        except TypeError as error:
            raise ConfigError(
                f"an option of model {name!r} has a value of a wrong type, in {options}: {error}"
            ) from error

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        raise NotImplementedError

    def aimed(self, target: Target | None) -> Self:
        """Let it predict a target, in units of its scale, in place of classes; of None nothing changes."""
        if target is not None:
            self.target = target
            law = None if target.turns else "scalar"
            self.probe_outputs = {target.name: law}  # type: ignore[misc]  # of this network alone
        return self

    def ablations(self) -> dict[str, Tagger]:
        """Return, by what the model can do without, such as reference vectors, a copy that does without it."""
        return {}
