"""Training: read it from top to bottom."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.errors import ConfigError, TerminatedError, TrainingError
from jetsym.jets import metrics
from jetsym.jets.augmentation import augment
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import Tagger
from jetsym.progress import progress_bar
from jetsym.training import checkpoint
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, batches, by_length, labels_of, load_jets
from jetsym.training.engine import make_fabric
from jetsym.training.evaluate import predict_logits
from jetsym.training.folder import RunFolder
from jetsym.training.optimisation import learning_rate, set_rate
from jetsym.training.penalty import penalties_of
from jetsym.training.seeds import forked, generator_for, seed_for
from jetsym.training.signals import noticing_sigterm
from jetsym.training.state import Position, State, begin
from jetsym.training.watching import Watch

__all__ = ["Callback", "Moment", "Penalty", "Run", "train"]

#: Groups of similar length into which a batch is divided on a CPU.
_CPU_PARTS = 4


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Parameters
    ----------
    path
        Its folder, which :func:`jetsym.training.checkpoint.load` takes.
    history
        One dictionary of metrics per epoch.
    """

    path: Path
    history: list[dict[str, Any]]

    def model(self, *, device: torch.device | str = "cpu") -> Tagger:
        """The tagger of the best epoch, in evaluation mode."""
        return checkpoint.load(self.path, device=device)


@dataclass(frozen=True)
class Moment:
    """Where a run stands when a callback is called: after every step, and once more after every epoch.

    Parameters
    ----------
    step
        Steps done since the beginning of the run.
    model
        The tagger as it would be saved now; its mode and its weights are to be left as they are found.
    folder
        The run's folder.
    loss
        Mean loss of the step's jets; NaN after an epoch.
    metrics
        The epoch's line of metrics after an epoch, None after a step.
    """

    step: int
    model: Tagger
    folder: Path
    loss: float
    metrics: Mapping[str, Any] | None = None


#: Called with a :class:`Moment`, on the first process alone. What it draws at random changes nothing in the run.
Callback = Callable[[Moment], None]

#: ``penalty(model, jets, generator)``: what is added to the mean loss of these jets, a scalar with gradients. It is
#: called for each part of a batch, with jets that are augmented already.
Penalty = Callable[[nn.Module, JetBatch, torch.Generator], Tensor]


def train(
    data: str | list[str],
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    penalties: Sequence[Penalty] = (),
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Train a tagger on ROOT files.

    Parameters
    ----------
    data
        ROOT files to train on: a path, a glob pattern, or a list of them.
    out
        Folder of the run; see :mod:`jetsym.training.folder` for what it will hold.
    resume
        Continue the run in ``out`` where its last checkpoint stands, or begin it if there is none. The result is the
        same, on a CPU bit for bit, as if it had never been interrupted.
    overwrite
        Replace the run in ``out``.
    progress
        Show a progress bar and a line per epoch.
    penalties
        Terms to add to the loss, besides that of the configuration.
    callbacks
        What to call after every step and every epoch.
    options
        The other fields of :class:`~jetsym.training.config.TrainConfig`.

    Raises
    ------
    ConfigError
        A value cannot be used, or ``out`` holds a run already.
    DataError
        The files do not hold labelled jets.
    TrainingError
        The loss is no longer a finite number.
    TerminatedError
        The process was sent SIGTERM; the run can be continued where it stood.
    """
    try:
        config = TrainConfig(data=data, **options)
    except TypeError as error:
        raise ConfigError(f"a training option is not known or has a value of a wrong type: {error}") from error
    folder = RunFolder(out)
    folder.check(config, resume=resume, overwrite=overwrite)
    training, validation = load_jets(config)
    folder.begin(config, overwrite=overwrite)

    state = begin(make_fabric(config), config, training)
    state.restore(folder)
    watch = Watch(folder.path, validation, every=config.monitor_every, n_jets=config.monitor_jets)
    watch.begin(state.judged, state.steps_done)
    penalties, callbacks = [*penalties, *penalties_of(config.penalty)], [*callbacks, watch]
    with noticing_sigterm() as asked_to_end, forked():
        while state.position.epoch <= config.epochs:
            title = f"epoch {state.position.epoch}/{config.epochs}"
            with progress_bar(title, len(training), shown=progress) as advance:
                advance(state.position.jets)
                for loss, shown in train_epoch(state, training, penalties=penalties):
                    advance(shown)
                    tell(callbacks, state, folder, loss=loss)
                    keep(state, folder, ending=asked_to_end())
            line = finish_epoch(state, folder, validation, progress=progress)
            tell(callbacks, state, folder, metrics=line)
        watch.end(state.judged, state.steps_done)
    return Run(path=folder.path, history=folder.history)


def train_epoch(
    state: State, jets: JetBatch | StreamedJets, *, penalties: Sequence[Penalty] = ()
) -> Iterator[tuple[float, int]]:
    """Show the jets that are left of this epoch; yields each step's mean loss and number of jets."""
    fabric, position, config = state.fabric, state.position, state.config
    begin = time.perf_counter() - position.seconds
    order = {"batch_size": config.batch_size, "seed": config.seed, "epoch": position.epoch, "start": position.step}
    for batch in batches(jets, **order, device=fabric.device):
        place = {"seed": config.seed, "epoch": position.epoch, "step": position.step, "rank": fabric.global_rank}
        torch.manual_seed(seed_for("dropout", **place))
        rate = learning_rate(state.steps_done, state.steps, config)
        set_rate(state.optimizer, rate)
        state.model.train()
        state.optimizer.zero_grad()
        summed = add_gradient(fabric, state.model, batch, config, place=place, penalties=penalties)
        norm = fabric.clip_gradients(state.model, state.optimizer, max_norm=config.clip, error_if_nonfinite=False)
        loss = float(summed)  # waits for the accelerator, here and nowhere else
        if math.isfinite(loss) and math.isfinite(float(norm)):  # type: ignore[arg-type]
            state.optimizer.step()
            position.jets += len(batch)
            position.loss += loss * len(batch)
            position.in_a_row = 0
        else:
            skip(position, config, loss=loss, rate=rate)
        position.step += 1
        position.seconds = time.perf_counter() - begin
        yield loss, len(batch)


def add_gradient(
    fabric: Fabric,
    model: nn.Module,
    batch: JetBatch,
    config: TrainConfig,
    *,
    place: Mapping[str, int],
    penalties: Sequence[Penalty] = (),
) -> Tensor:
    """Add the gradient of a batch's mean loss; gives the loss.

    On a CPU the batch goes through the model in groups of similar length: the same gradient, for two thirds of the
    work. An accelerator is better served by one large group.
    """
    summed = torch.zeros((), device=fabric.device)
    moves = generator_for("augmentation", device=fabric.device, **place)
    draws = generator_for("penalty", device=fabric.device, **place)
    for part in by_length(batch, _CPU_PARTS if fabric.device.type == "cpu" else 1):
        jets = augment(part.to(fabric.device), config.augmentation, generator=moves)
        loss = F.cross_entropy(model(jets), labels_of(jets), label_smoothing=config.label_smoothing)
        for penalty in penalties:
            loss = loss + penalty(model, jets, draws)
        loss = loss * (len(part) / len(batch))
        fabric.backward(loss)
        summed += loss.detach()
    return summed


def skip(position: Position, config: TrainConfig, *, loss: float, rate: float) -> None:
    """Leave a step out whose loss or gradient is not finite.

    Raises
    ------
    TrainingError
        Too many have been left out one after the other.
    """
    position.skipped += 1
    position.in_a_row += 1
    if position.in_a_row >= config.max_skipped:
        raise TrainingError(
            f"the loss is {loss:.4g} with a gradient that is not finite, in epoch {position.epoch}, step "
            f"{position.step}, at a learning rate of {rate:.3g}, and {position.in_a_row} steps in a row were left out "
            "(--max_skipped); the checkpoints from before are kept. Try a smaller --lr or --clip, or look for jets "
            "with momenta that are not finite"
        )


def keep(state: State, folder: RunFolder, *, ending: bool) -> None:
    """Write ``last`` in the midst of an epoch when it is time to, and end the run if that is asked for.

    Raises
    ------
    TerminatedError
        It is.
    """
    if ending or state.steps_done % state.config.checkpoint_every == 0:
        folder.save_last(state.judged, epoch=state.position.epoch - 1, **state.to_save())
    if ending:
        raise TerminatedError(
            f"the process was asked to end (SIGTERM), and has done so after step {state.position.step} of epoch "
            f"{state.position.epoch}; {folder.path} holds all of it: continue with --resume"
        )


def finish_epoch(state: State, folder: RunFolder, validation: JetBatch, *, progress: bool) -> dict[str, Any]:
    """Validate, write everything down, and go on to the next epoch; gives the epoch's line of metrics."""
    position, config = state.position, state.config
    line = {
        "epoch": position.epoch,
        "loss": position.loss / max(position.jets, 1),
        "lr": learning_rate(state.steps_done - 1, state.steps, config),
        "skipped": position.skipped,
        "seconds": round(position.seconds, 3),
        "jets_per_s": round(position.jets / position.seconds, 1),
    }
    line |= validate(state.fabric, state.judged, validation, batch_size=config.batch_size)
    state.position = Position(epoch=position.epoch + 1, in_a_row=position.in_a_row)
    best = folder.finish_epoch(state.judged, line, **state.to_save())
    if progress:
        print(epoch_summary(line, epochs=config.epochs, best=best), file=sys.stderr, flush=True)
    return line


def validate(fabric: Fabric, model: nn.Module, jets: JetBatch, *, batch_size: int) -> dict[str, float]:
    """Loss and :func:`~jetsym.jets.metrics.summary` of upright validation jets.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    with fabric.autocast():
        logits = predict_logits(model, jets, batch_size=batch_size)
    label = labels_of(jets)
    loss = float(F.cross_entropy(logits, label))
    if not math.isfinite(loss):
        raise TrainingError(
            f"the validation loss is {loss}, while the weights are finite; look for jets with momenta that are not "
            "finite among those of --val, or of --data where these are held out from it"
        )
    return {"val_loss": loss, **metrics.summary(logits, label, classes=jets.classes, efficiencies=())}


def tell(
    callbacks: Sequence[Callback],
    state: State,
    folder: RunFolder,
    *,
    loss: float = math.nan,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Call everyone who wants to know how far the run has come."""
    for callback in callbacks:
        callback(Moment(state.steps_done, state.judged, folder.path, loss, metrics))


def epoch_summary(line: Mapping[str, Any], *, epochs: int, best: bool) -> str:
    """An epoch's metrics in one line."""
    shown = ("loss", "val_loss", "accuracy", "macro_auc", "auc_top_qcd")
    numbers = "  ".join(f"{name} {line[name]:.4f}" for name in shown if name in line)
    head = f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"
    return f"{head}  {numbers}  {line['jets_per_s']:,.0f} jets/s{'  best' if best else ''}"
