"""What a run changes while it goes on, and how it is kept and restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import Tagger, build
from jetsym.training import checkpoint
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, count_batches, first_difference
from jetsym.training.folder import RunFolder
from jetsym.training.optimisation import load_optimizer, make_optimizer, optimizer_tensors
from jetsym.training.seeds import forked, seed_for

__all__ = ["Position", "State", "begin"]


@dataclass
class Position:
    """How far a run has come.

    Parameters
    ----------
    epoch
        Number of the epoch it is in, from 1.
    step
        Steps done of this epoch.
    loss
        Sum of the loss over the jets shown in this epoch.
    jets
        Number of these jets.
    skipped
        Steps left out in this epoch, as loss or gradient was not finite.
    in_a_row
        Steps left out immediately before.
    seconds
        Time spent in this epoch.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    jets: int = 0
    skipped: int = 0
    in_a_row: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """A run as it stands.

    Parameters
    ----------
    fabric
        Devices, processes and precision.
    config
        What was asked for.
    tagger
        The model under training.
    model
        The same, as it is called in training: distributed, and in the run's precision.
    optimizer
        As Fabric steps it.
    steps_per_epoch
        Steps of an epoch.
    data
        What tells its training jets from others, so that it goes on with its own.
    position
        How far it has come.
    """

    fabric: Fabric
    config: TrainConfig
    tagger: Tagger
    model: nn.Module
    optimizer: torch.optim.Optimizer
    steps_per_epoch: int
    data: dict[str, Any]
    position: Position = field(default_factory=Position)

    @property
    def judged(self) -> Tagger:
        """The model that is validated, kept as the best, and shown to callbacks."""
        return self.tagger

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of the run."""
        return (self.position.epoch - 1) * self.steps_per_epoch + self.position.step

    def to_save(self) -> dict[str, Any]:
        """What a checkpoint needs besides the judged model, as arguments of :func:`jetsym.training.checkpoint.save`."""
        return {
            "config": self.config.to_dict(),
            "progress": {"position": asdict(self.position), "data": self.data},
            "state": optimizer_tensors(self.optimizer),
        }

    def restore(self, folder: RunFolder) -> None:
        """Put everything where the run in ``folder`` left it, if there is one.

        Raises
        ------
        CheckpointError
            What it left there cannot be read, or is of other classes.
        ConfigError
            It was trained on other jets.
        """
        found = folder.restore()
        if found is None:
            return
        header, tensors = found
        if header.classes != self.tagger.classes:
            difference = first_difference(self.tagger.classes, header.classes)
            raise CheckpointError(f"the jets are of other classes than those of the run in {folder.path}: {difference}")
        self._expect_same_jets(header.progress.get("data"), folder)
        source = folder.path / checkpoint.LAST
        self.tagger.load_state_dict(checkpoint.restore(header, tensors, source=source).state_dict())
        try:
            load_optimizer(self.optimizer, tensors)
            self.position = Position(**header.progress["position"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{source} does not say how to go on ({error!r}); begin again elsewhere") from error

    def _expect_same_jets(self, earlier: Mapping[str, Any] | None, folder: RunFolder) -> None:
        if earlier is None:  # format 1 does not say
            return
        for name, own in self.data.items():
            if earlier.get(name) != own:
                raise ConfigError(
                    f"the run in {folder.path} was trained on other jets: {name} was {earlier.get(name)!r} and is now "
                    f"{own!r}; continue it with the same files and processes, or begin another with --out"
                )


def begin(fabric: Fabric, config: TrainConfig, jets: JetBatch | StreamedJets) -> State:
    """A run that has done nothing yet."""
    with forked():
        torch.manual_seed(seed_for("initialisation", seed=config.seed))
        tagger = build(config.model, jets.classes, **config.options)
    model, optimizer = fabric.setup(tagger, make_optimizer(tagger, config))
    data = jets.fingerprint() if isinstance(jets, StreamedJets) else {"jets": len(jets)}
    steps = count_batches(jets, batch_size=config.batch_size)
    return State(fabric, config, tagger, model, optimizer, steps, data)
