"""State of a run: all that changes while it goes on, saved in its checkpoints and restored from them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch, first_difference
from jetsym.jets.models import Tagger
from jetsym.jets.models.registry import build
from jetsym.jets.targets import Target, outputs_of
from jetsym.training.batches import count_batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, fingerprint
from jetsym.training.finetune import adopt, freeze
from jetsym.training.folder import RunFolder
from jetsym.training.optimisation import (
    class_weights,
    load_optimizer,
    make_average,
    make_optimizer,
    optimizer_tensors,
)
from jetsym.training.seeds import forked, seed_for
from jetsym.training.weights import weighed_by

__all__ = ["CPU_PARTS", "Position", "State", "begin"]

#: Parts of similar length into which a batch is divided on a CPU.
CPU_PARTS = 4

#: Names in a checkpoint with an average: the weights under training, and how many updates the average has had.
_TRAINED, _UPDATES = "trained.", "average.updates"


@dataclass
class Position:
    """Position of a run in its epochs.

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
    passed
        Of a stream: which numbers of processes have been at it, with the jets that each has shown.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    jets: int = 0
    skipped: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    passed: list[list[int]] = field(default_factory=list)

    def count(self, ranks: int, jets: int) -> None:
        """Count a step in which each of some processes has shown so many jets of a stream."""
        if not self.passed or self.passed[-1][0] != ranks:
            self.passed.append([ranks, 0])
        self.passed[-1][1] += jets
        self.step += 1


@dataclass
class State:
    """State of a run.

    Parameters
    ----------
    fabric
        Devices, processes and precision.
    config
        Its configuration.
    tagger
        The model under training.
    model
        The same, as it is called in training: distributed, and in the run's precision.
    optimizer
        As Fabric steps it.
    steps_per_epoch
        Steps of an epoch.
    data
        Values that tell its training jets from others, so that it goes on with its own.
    average
        The average of its weights, or None.
    weights
        Factors of the loss of each class, or None.
    frozen
        Layers that stay in evaluation mode.
    position
        How far it has come.
    """

    fabric: Fabric
    config: TrainConfig
    tagger: Tagger
    model: _FabricModule
    optimizer: torch.optim.Optimizer
    steps_per_epoch: int
    data: dict[str, Any]
    average: AveragedModel | None = None
    weights: Tensor | None = None
    frozen: Sequence[nn.Module] = ()
    position: Position = field(default_factory=Position)

    @property
    def judged(self) -> Tagger:
        """The model that is validated, kept as the best, and shown to callbacks: the average if there is one."""
        return self.tagger if self.average is None else cast("Tagger", self.average.module)

    @property
    def parts(self) -> int:
        """Parts of a batch that go through the model one after the other.

        On a CPU at least four of similar length: the same gradient, for two thirds of the work. An accelerator is
        better served by one large part, and statistics of batches are to be those of all kinds of jets.
        """
        by_length = self.fabric.device.type == "cpu" and not self.normalises_batches
        return max(self.config.accumulate, CPU_PARTS if by_length else 1)

    @property
    def normalises_batches(self) -> bool:
        """True if the model has layers whose output depends on the other jets of the batch."""
        return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.tagger.modules())

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of the run."""
        return (self.position.epoch - 1) * self.steps_per_epoch + self.position.step

    def to_save(self) -> dict[str, Any]:
        """Return all of a checkpoint but the judged model, as arguments of :func:`jetsym.jets.checkpoint.save`."""
        state = optimizer_tensors(self.optimizer)
        if self.average is not None:
            state |= {_TRAINED + name: tensor for name, tensor in self.tagger.state_dict().items()}
            state[_UPDATES] = self.average.n_averaged
        progress = {"position": asdict(self.position), "data": self.data}
        if scale := self.fabric.strategy.precision.state_dict():
            progress["scale"] = scale
        return {"config": self.config.to_dict(), "progress": progress, "state": state}

    def restore(self, folder: RunFolder) -> None:
        """Restore everything as the run in ``folder`` left it, if there is one.

        With ``config.other_jets`` its files may be others, as some are gone for good; the epoch then begins anew.

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
        source = folder.path / checkpoint.LAST
        self.judged.load_state_dict(checkpoint.restore(header, tensors, source=source).state_dict())
        try:
            if self.average is not None:
                trained = {name.removeprefix(_TRAINED): t for name, t in tensors.items() if name.startswith(_TRAINED)}
                self.tagger.load_state_dict(trained)
                self.average.n_averaged.copy_(tensors[_UPDATES])
            load_optimizer(self.optimizer, tensors)
            self.fabric.strategy.precision.load_state_dict(header.progress.get("scale", {}))
            self.position = Position(**header.progress["position"])
            before = header.progress.get("data")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{source} does not say how to go on ({error!r}); begin again elsewhere") from error
        changed = self._expect_same_jets(before, folder, self.config.other_jets)
        if changed is not None:
            self._begin_anew(changed, before or {}, said=self.fabric.is_global_zero)

    def _expect_same_jets(self, earlier: Mapping[str, Any] | None, folder: RunFolder, others: bool) -> str | None:
        """Refuse other jets than the run has been trained on; where they are asked for, say in what they differ."""
        if earlier is None:  # format 1 does not say
            return None
        here, earlier = self.data, {"weights": None, **earlier}  # weights count in no run that does not say so
        if "files" in earlier and "files" in here:
            gone, new = difference(earlier["files"], here["files"])
            if not gone and not new:  # whatever they are called and wherever they are
                self.data["files"] = earlier["files"]
            elif others:
                return f"{len(gone)} files are gone ({', '.join(gone[:3]) or 'none'}), {len(new)} are new"
            else:
                raise ConfigError(
                    f"the run in {folder.path} was trained on other jets: jets was of {len(earlier['files'])} files; "
                    f"{len(gone)} are gone ({', '.join(gone[:3]) or 'none'}), and {len(new)} are new "
                    f"({', '.join(new[:3]) or 'none'}); name the same files, wherever they are, or go on all the same "
                    "with --other_jets"
                )
        for name, own in here.items():
            if (
                name in earlier
                and name not in ("files", "steps_per_epoch")
                and not (name == "version" and not self.position.step)
            ):
                if earlier[name] != own and others:
                    return f"{name} was {earlier[name]!r} and is now {own!r}"
                if earlier[name] != own:
                    raise ConfigError(
                        f"the run in {folder.path} was trained on other jets: {name} was {earlier[name]!r} and is now "
                        f"{own!r}; continue it with the same files and mapping, or begin another with --out"
                    )
        return None

    def _begin_anew(self, changed: str, earlier: Mapping[str, Any], *, said: bool) -> None:
        """Go on with other jets: at the beginning of the epoch, as its order is another one."""
        if self.config.val is None:
            raise ConfigError(
                f"--other_jets: {changed}; without --val the jets to validate on would be chosen anew, some of which "
                "have been trained on: give --val"
            )
        before, shown = earlier.get("steps_per_epoch"), self.position.step
        self.position = Position(epoch=self.position.epoch, in_a_row=self.position.in_a_row)
        if said:
            lengths = "" if before is None else f"an epoch has {self.steps_per_epoch} steps, and had {before}; "
            print(
                f"note: --data: {changed}; {lengths}epoch {self.position.epoch} begins anew (it had done {shown} "
                "steps), and the learning rate follows the new number of steps",
                file=sys.stderr,
                flush=True,
            )


def difference(earlier: Sequence[Sequence[str]], here: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Name the files, of (name, fingerprint), that are gone and those that are new.

    Examples
    --------
    >>> difference([["a.root", "1"], ["b.root", "2"]], [["c.root", "2"], ["d.root", "3"]])
    (['a.root'], ['d.root'])
    """
    gone = Counter(own for _, own in earlier) - Counter(own for _, own in here)
    new = Counter(own for _, own in here) - Counter(own for _, own in earlier)
    return [name for name, own in earlier if own in gone], [name for name, own in here if own in new]


def begin(fabric: Fabric, config: TrainConfig, jets: JetBatch | StreamedJets, *, source: Tagger | None = None) -> State:
    """Begin a run: its model, optimizer, average and position.

    Raises
    ------
    ConfigError
        Options do not go with the jets, the processes or the tagger to begin from.
    """
    steps = count_batches(jets, batch_size=config.batch_size)
    if len(jets) // steps < fabric.world_size:
        raise ConfigError(
            f"a batch has {len(jets) // steps} jets for {fabric.world_size} processes; expected a larger --batch_size, "
            "or fewer processes"
        )
    with forked():
        torch.manual_seed(seed_for("initialisation", seed=config.seed))
        target = Target.of(config.to_dict(), source="the configuration")
        tagger = build(config.model, outputs_of(target, jets.classes), **config.options).aimed(target)
    if source is not None:
        adopt(tagger, source)
    frozen = freeze(tagger, config.freeze)
    weights = class_weights(config, jets.classes, jets)
    model, optimizer = fabric.setup(tagger, make_optimizer(tagger, config))
    average = make_average(tagger, config.ema) if config.ema else None
    if config.compile:
        tagger.compile(dynamic=True)
    return State(
        fabric=fabric,
        config=config,
        tagger=tagger,
        model=model,
        optimizer=optimizer,
        steps_per_epoch=steps,
        data={"weights": weighed_by(jets, config), **fingerprint(jets, config), "steps_per_epoch": steps},
        average=average,
        weights=None if weights is None else weights.to(fabric.device),
        frozen=frozen,
    )
