"""Training: read it from top to bottom."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.errors import CheckpointError, ConfigError, TrainingError
from jetsym.jets import metrics
from jetsym.jets.augmentation import augment
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import Tagger, build
from jetsym.progress import progress_bar
from jetsym.training import checkpoint
from jetsym.training.config import TrainConfig
from jetsym.training.data import (
    StreamedJets,
    batches,
    by_length,
    count_batches,
    generator_for,
    labels_of,
    load_jets,
    seed_for,
)
from jetsym.training.evaluate import predict_logits
from jetsym.training.folder import RunFolder

__all__ = ["Run", "train"]

#: Steps between two looks at the loss; each look waits for the accelerator.
_CHECK_EVERY = 20

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


def train(
    data: str | list[str],
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
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
        Continue the run in ``out`` after its last finished epoch, or begin it if there is none. The result is the
        same, on a CPU bit for bit, as if it had never been interrupted.
    overwrite
        Replace the run in ``out``.
    progress
        Show a progress bar and a line per epoch.
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
    """
    try:
        config = TrainConfig(data=data, **options)
    except TypeError as error:
        raise ConfigError(f"a training option is not known or has a value of a wrong type: {error}") from error
    folder = RunFolder(out)
    folder.check(config, resume=resume, overwrite=overwrite)
    training, validation = load_jets(config)
    folder.begin(config, overwrite=overwrite)

    fabric = make_fabric(config)
    with seeded("initialisation", config=config, epoch=0):
        model = build(config.model, training.classes, **config.options)
    optimizer = make_optimizer(model, config)
    finished = restore(folder, model, optimizer)
    wrapped, optimizer = fabric.setup(model, optimizer)

    total_steps = config.epochs * count_batches(training, batch_size=config.batch_size)
    for epoch in range(finished + 1, config.epochs + 1):
        with progress_bar(f"epoch {epoch}/{config.epochs}", len(training), shown=progress) as advance:
            line = train_epoch(
                fabric, wrapped, optimizer, training, config, epoch=epoch, total_steps=total_steps, advance=advance
            )
        line |= validate(wrapped, validation, batch_size=config.batch_size)
        best = folder.finish_epoch(model, line, config=config, state=optimizer_tensors(optimizer))
        if progress:
            print(epoch_summary(line, epochs=config.epochs, best=best), file=sys.stderr, flush=True)
    return Run(path=folder.path, history=folder.history)


def train_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    jets: JetBatch | StreamedJets,
    config: TrainConfig,
    *,
    epoch: int,
    total_steps: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Show every jet once; gives the epoch's number, mean loss, last learning rate, seconds and speed."""
    steps = count_batches(jets, batch_size=config.batch_size)
    moves = generator_for("augmentation", seed=config.seed, epoch=epoch, device=fabric.device)
    summed, rate, begin = torch.zeros((), device=fabric.device), 0.0, time.perf_counter()
    model.train()
    with seeded("dropout", config=config, epoch=epoch):
        order = {"batch_size": config.batch_size, "seed": config.seed, "epoch": epoch}
        for step, batch in enumerate(batches(jets, **order, device=fabric.device)):
            rate = learning_rate((epoch - 1) * steps + step, total_steps, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = accumulate(fabric, model, batch, config, moves=moves)
            fabric.clip_gradients(model, optimizer, max_norm=config.clip, error_if_nonfinite=False)
            optimizer.step()
            summed += loss * len(batch)
            if step % _CHECK_EVERY == 0 or step == steps - 1:
                guard(summed, epoch=epoch, step=step, rate=rate)
            advance(len(batch))
    seconds = time.perf_counter() - begin
    return {
        "epoch": epoch,
        "loss": float(summed) / len(jets),
        "lr": rate,
        "seconds": round(seconds, 3),
        "jets_per_s": round(len(jets) / seconds, 1),
    }


def accumulate(
    fabric: Fabric, model: nn.Module, batch: JetBatch, config: TrainConfig, *, moves: torch.Generator
) -> Tensor:
    """Add the gradient of a batch's mean loss; gives the loss.

    On a CPU the batch goes through the model in groups of similar length: the same gradient, for two thirds of the
    work. An accelerator is better served by one large group.
    """
    total = torch.zeros((), device=fabric.device)
    for part in by_length(batch, _CPU_PARTS if fabric.device.type == "cpu" else 1):
        moved = augment(part.to(fabric.device), config.augmentation, generator=moves)
        loss = F.cross_entropy(model(moved), labels_of(moved), label_smoothing=config.label_smoothing)
        loss = loss * (len(part) / len(batch))
        fabric.backward(loss)
        total += loss.detach()
    return total


def validate(model: nn.Module, jets: JetBatch, *, batch_size: int) -> dict[str, float]:
    """Loss and :func:`~jetsym.jets.metrics.summary` of upright validation jets."""
    logits, label = predict_logits(model, jets, batch_size=batch_size), labels_of(jets)
    loss = float(F.cross_entropy(logits, label))
    return {"val_loss": loss, **metrics.summary(logits, label, classes=jets.classes, efficiencies=())}


def epoch_summary(line: Mapping[str, Any], *, epochs: int, best: bool) -> str:
    """An epoch's metrics in one line."""
    shown = ("loss", "val_loss", "accuracy", "macro_auc", "auc_top_qcd")
    numbers = "  ".join(f"{name} {line[name]:.4f}" for name in shown if name in line)
    head = f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"
    return f"{head}  {numbers}  {line['jets_per_s']:,.0f} jets/s{'  best' if best else ''}"


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to zero at the end."""
    warm_steps = max(1, round(config.warmup * total_steps))
    if step < warm_steps:
        return config.lr * (step + 1) / warm_steps
    share = (step - warm_steps) / max(1, total_steps - warm_steps)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * share))


def guard(summed: Tensor, *, epoch: int, step: int, rate: float) -> None:
    """Stop, before anything is saved, when the loss is no longer finite.

    Raises
    ------
    TrainingError
        It is not.
    """
    if not math.isfinite(float(summed)):
        raise TrainingError(
            f"the loss is {float(summed)} in epoch {epoch}, step {step}, at a learning rate of {rate:.3g}; "
            "the checkpoints of earlier epochs are kept. Try a smaller --lr or --clip, or look for jets with "
            "momenta that are not finite"
        )


def make_fabric(config: TrainConfig) -> Fabric:
    """One device, and a precision in which JetBatches go to the model as they are."""
    accelerator = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no CUDA device; use --device cpu or auto")
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    plugin = _Float32() if precision == "32-true" else _BFloat16("bf16-mixed", device=accelerator)
    return Fabric(accelerator=accelerator, devices=1, plugins=[plugin])


class _Untouched:
    """Fabric casts the inputs of a model to its precision; momenta must not be rounded to 16 bits."""

    def convert_input(self, data: Any) -> Any:
        return data


class _Float32(_Untouched, Precision):
    precision = "32-true"


class _BFloat16(_Untouched, MixedPrecision):
    pass


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays weight matrices, not biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named ``optimizer.<parameter number>.<quantity>``."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def restore(folder: RunFolder, model: Tagger, optimizer: torch.optim.Optimizer) -> int:
    """Put model and optimizer where the run in ``folder`` left them; gives the number of finished epochs."""
    found = folder.restore()
    if found is None:
        return 0
    header, tensors = found
    if header.classes != model.classes:
        raise CheckpointError(f"{folder.path} was trained on {header.classes}; the jets have {model.classes}")
    model.load_state_dict(checkpoint.restore(header, tensors, source=folder.path / checkpoint.LAST).state_dict())
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return header.epoch


@contextmanager
def seeded(stream: str, *, config: TrainConfig, epoch: int) -> Iterator[None]:
    """Initialisers and dropout know only torch's global generators: seed these, and put them back afterwards."""
    # torch.manual_seed reaches every accelerator, so the state of each is put back.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed_for(stream, seed=config.seed, epoch=epoch))
        yield
