"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from jetsym.arguments import anything, checked
from jetsym.errors import ConfigError, TerminatedError, TrainingError
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch, labels_of
from jetsym.jets.evaluation import metrics
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.models import Tagger
from jetsym.jets.models.own import expect_logits
from jetsym.jets.schema import WEIGHT
from jetsym.progress import progress_bar
from jetsym.training.batches import batches, size_of_batch
from jetsym.training.callbacks import Callback, Moment, Watch
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, load_jets
from jetsym.training.engine import locked_by_first, make_fabric, total
from jetsym.training.finetune import starting_point
from jetsym.training.fingerprints import contents_of
from jetsym.training.folder import FIRST, RunFolder
from jetsym.training.logs import Log, expect_logger
from jetsym.training.optimisation import learning_rate
from jetsym.training.options import TrainOptions, with_named_model, with_options
from jetsym.training.seeds import forked
from jetsym.training.signals import noticing_sigterm
from jetsym.training.standardisation import with_standardisation
from jetsym.training.state import Position, State, begin
from jetsym.training.step import Penalty, take_step
from jetsym.training.summary import opening_lines
from jetsym.training.targets import validate_target, with_target_scale
from jetsym.training.weights import words_on_weights

__all__ = ["Run", "train"]


@checked()
@dataclass(frozen=True)
class Run:
    """A finished training run.

    Parameters
    ----------
    path
        Its folder, which :func:`jetsym.jets.checkpoint.load` takes.
    metrics
        One dictionary per epoch.
    """

    path: Path
    metrics: list[dict[str, Any]]

    @checked()
    def model(self, *, device: torch.device | str = "cpu") -> Tagger:
        """Load the tagger of the best epoch, in evaluation mode."""
        return checkpoint.load(self.path, device=device)


@with_options
@checked(data=anything)
def train(
    data: str | list[str],
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    penalties: Sequence[Penalty] = (),
    callbacks: Sequence[Callback] = (),
    **fields: Unpack[TrainOptions],
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
        same, on a CPU bit for bit, as if it had never been interrupted. The files may lie elsewhere: they are told by
        their contents. With another number of processes what is left of the epoch is divided among these.
    overwrite
        Replace the run in ``out``.
    progress
        Show a progress bar and a line per epoch.
    penalties
        Terms to add to the loss, besides that of the configuration.
    callbacks
        Functions to call after every step and every epoch.
    fields
        Those of :class:`~jetsym.training.config.TrainConfig`.

    Raises
    ------
    ConfigError
        A value cannot be used, or ``out`` holds a run already.
    LockedError
        Another process is writing to ``out``.
    DataError
        The files do not hold labelled jets.
    CheckpointError
        What is to be continued, or begun from, cannot be read, or does not go with the jets.
    TrainingError
        The loss is no longer a finite number.
    TerminatedError
        The process was sent SIGTERM; the run can be continued where it stood.
    """
    named, given = with_named_model(fields)
    try:
        config = TrainConfig(data=data, **named)
    except TypeError as error:
        raise ConfigError(f"a training option is not known or has a value of a wrong type: {error}") from error
    expect_logger(config.logger)
    config, source = starting_point(config, given)
    folder = RunFolder(out)
    fabric = make_fabric(config)
    with locked_by_first(fabric, folder.path, "jetsym train"), ExitStack() as stack:
        folder.check(config, resume=resume, overwrite=overwrite)
        earlier = (folder.earlier or {}).get("files", ()) if resume else ()
        config = with_standardisation(config, fabric, kept=folder.standardisation if resume else None, source=source)
        progress = progress and fabric.is_global_zero
        ranks = {"rank": fabric.global_rank, "ranks": fabric.world_size}
        first = resume and folder.takes_first
        training, validation = load_jets(config, **ranks, earlier=earlier, first=first, progress=progress)
        if isinstance(training, StreamedJets):
            stack.callback(training.close)
        config = with_target_scale(config, training, kept=folder.target_scale if resume else None, source=source)
        if progress and config.target is None and (words := words_on_weights(training, config)) is not None:
            print(words, file=sys.stderr, flush=True)
        state = begin(fabric, config, training, source=source)
        expect_logits(state.tagger, validation[:2].to(fabric.device))
        state.data |= {"validation": contents_of(validation)} | ({"limit": FIRST} if first else {})
        if not fabric.is_global_zero:  # the first process alone writes and tells
            folder.writes, callbacks = False, ()
        folder.begin(config, overwrite=overwrite)
        fabric.barrier()

        state.restore(folder)
        if state.steps_done == 0:
            folder.save_initial(state.tagger, config=config.to_dict())
        every = config.monitor_every if fabric.is_global_zero else 0
        watch = Watch(folder.path, validation, every=every, n_jets=config.monitor_jets)
        watch.begin(state.judged, state.steps_done)
        callbacks = [*callbacks, watch]
        if fabric.is_global_zero:
            log = Log(config, folder.path, steps=state.steps)
            log.begin(state.steps_done)
            stack.callback(log.end)
            callbacks.append(log)
        if progress:
            print("\n".join(opening_lines(state, training, validation, folder)), file=sys.stderr, flush=True)
        with noticing_sigterm() as asked_to_end, forked(), folder.saying_how_to_go_on():
            while not finished(state, folder, progress=progress):
                title = f"epoch {state.position.epoch}/{config.epochs}"
                with progress_bar(title, len(training), shown=progress) as advance:
                    advance(state.position.jets)
                    for loss, shown in train_epoch(state, training, penalties=penalties):
                        advance(shown)
                        tell(callbacks, state, folder, loss=loss)
                        keep(state, folder, ending=total(fabric, asked_to_end()) > 0)
                line = epoch_line(state) | validate(fabric, state.judged, validation, batch_size=config.batch_size)
                tell(callbacks, state, folder, metrics=line)
                finish_epoch(state, folder, line, progress=progress)
            watch.end(state.judged, state.steps_done)
    return Run(path=folder.path, metrics=folder.metrics)


def finished(state: State, folder: RunFolder, *, progress: bool) -> bool:
    """Tell whether the run is over: all epochs are done, or it is stopped early as they no longer help."""
    patience = state.config.patience
    if patience is not None and folder.epochs_without_gain >= patience:
        if progress:
            print(f"stopped early: no better validation loss in {patience} epochs", file=sys.stderr, flush=True)
        return True
    return state.position.epoch > state.config.epochs


def train_epoch(
    state: State, jets: JetBatch | StreamedJets, *, penalties: Sequence[Penalty] = ()
) -> Iterator[tuple[float, int]]:
    """Train on the jets that are left of this epoch, and yield each step's mean loss and number of jets."""
    fabric, position, config = state.fabric, state.position, state.config
    begin = time.perf_counter() - position.seconds
    order = {"batch_size": config.batch_size, "seed": config.seed, "epoch": position.epoch, "start": position.step}
    ranks = {"rank": fabric.global_rank, "ranks": fabric.world_size}
    loses = isinstance(jets, StreamedJets) and jets.loses
    for batch in batches(jets, **order, **ranks, passed=position.passed, device=fabric.device):
        size = size_of_batch(jets, position.step, batch_size=config.batch_size)
        size = int(total(fabric, len(batch))) if loses else size
        rate = learning_rate(state.steps_done, state.steps, config)
        loss = take_step(state, batch, size=size, rate=rate, penalties=penalties)
        position.count(fabric.world_size, config.batch_size // fabric.world_size)
        position.seconds = time.perf_counter() - begin
        yield loss, size


def keep(state: State, folder: RunFolder, *, ending: bool) -> None:
    """Write the last checkpoint within an epoch when it is time to, and end the run when the process has to.

    Raises
    ------
    TerminatedError
        The process was asked to end.
    """
    if ending or state.steps_done % state.config.checkpoint_every == 0:
        folder.save_last(state.judged, epoch=state.position.epoch - 1, **state.to_save())
    if ending:
        state.fabric.barrier()  # no process ends before the first one has written
        raise TerminatedError(
            f"the process was asked to end (SIGTERM), and has done so after step {state.position.step} of epoch "
            f"{state.position.epoch}; {folder.path} holds all of it: continue with --resume"
        )


def epoch_line(state: State) -> dict[str, Any]:
    """Return the metrics of the training in a finished epoch."""
    position = state.position
    return {
        "epoch": position.epoch,
        "loss": position.loss / position.jets if position.jets else math.nan,  # every step was left out
        "lr": learning_rate(state.steps_done - 1, state.steps, state.config),
        "skipped": position.skipped,
        "seconds": round(position.seconds, 3),
        "jets_per_s": round(position.jets / position.seconds, 1),
    }


def finish_epoch(state: State, folder: RunFolder, line: dict[str, Any], *, progress: bool) -> None:
    """Go on to the next epoch, and write metrics and checkpoints."""
    before = state.position
    state.position = Position(epoch=before.epoch + 1, in_a_row=before.in_a_row, passed=before.passed)
    best = folder.finish_epoch(state.judged, line, **state.to_save())
    if progress:
        print(epoch_summary(line, epochs=state.config.epochs, best=best), file=sys.stderr, flush=True)


def validate(fabric: Fabric, model: Tagger, jets: JetBatch, *, batch_size: int) -> dict[str, float]:
    """Compute loss and metrics of unrotated validation jets, each seen by one of the processes.

    Where jets have weights, the loss is Σ w l / Σ w, and the metrics are those of
    :mod:`jetsym.jets.evaluation.metrics` with weights.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    mine = slice(fabric.global_rank, None, fabric.world_size)
    for buffer in model.buffers() if fabric.world_size > 1 else ():  # statistics of batches differ between processes
        torch.distributed.broadcast(buffer, src=0)
    if model.target is not None:
        return validate_target(fabric, model, jets, batch_size=batch_size)
    label = labels_of(jets)
    logits = torch.zeros(len(jets), len(jets.classes), device=fabric.device)
    if len(jets) > fabric.global_rank:
        with fabric.autocast():
            own = predict_logits(model, jets[mine], batch_size=batch_size, scores="logits")
            logits[mine] = own.to(fabric.device)
    logits = cast("Tensor", fabric.all_reduce(logits, reduce_op="sum")).cpu()
    weights = jets.columns.get(WEIGHT)
    if weights is None:
        loss = float(F.cross_entropy(logits, label))
    else:
        weights = weights.cpu().double()
        losses = F.cross_entropy(logits.double(), label, reduction="none")
        loss = float((weights * losses).sum() / weights.sum())
    if not math.isfinite(loss):
        raise TrainingError(
            f"the validation loss is {loss}, while the weights are finite; look for jets with momenta that are not "
            "finite among those of --val, or of --data where these are held out from it"
        )
    found = metrics.summary(logits, label, classes=jets.classes, efficiencies=(), scores="logits", weights=weights)
    return {"val_loss": loss, **found}


def tell(
    callbacks: Sequence[Callback],
    state: State,
    folder: RunFolder,
    *,
    loss: float = math.nan,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Call all callbacks with the state of the run."""
    for callback in callbacks:
        callback(Moment(state.steps_done, state.judged, folder.path, loss, metrics))


def epoch_summary(line: Mapping[str, Any], *, epochs: int, best: bool) -> str:
    """Format an epoch's metrics as one line."""
    shown = ("loss", "val_loss", "accuracy", "macro_auc_ovo", "auc_top_qcd", "bias", "resolution")
    numbers = "  ".join(f"{name} {line[name]:.4f}" for name in shown if name in line)
    head = f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"
    return f"{head}  {numbers}  {line['jets_per_s']:,.0f} jets/s{'  best' if best else ''}"
