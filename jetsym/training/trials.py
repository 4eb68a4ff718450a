"""Trials before a run: one batch through everything, and a search for the learning rate. Nothing is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from jetsym.arguments import above, at_least, checked
from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.own import expect_logits
from jetsym.progress import progress_bar
from jetsym.results import Result
from jetsym.text import as_text, table_of
from jetsym.training.batches import batches, size_of_batch
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, load_jets
from jetsym.training.engine import make_fabric
from jetsym.training.finetune import starting_point
from jetsym.training.loop import validate
from jetsym.training.seeds import forked
from jetsym.training.standardisation import with_standardisation
from jetsym.training.state import State, begin
from jetsym.training.step import Penalty, take_step
from jetsym.training.targets import with_target_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RateCurve", "dry_run", "find_lr"]

#: The search ends when the loss has grown to so many times its smallest value.
_RUNAWAY = 4.0
#: Decay of the moving average by which that is judged.
_SMOOTHING = 0.9


@dataclass(frozen=True)
class RateCurve(Result):
    """The loss of a training in which the learning rate grows from step to step.

    Parameters
    ----------
    rates
        Learning rate of each step.
    losses
        Its loss.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    KIND: ClassVar[str] = "learning-rates"
    FORMAT: ClassVar[int] = 1

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses, averaged over neighbouring steps with Gaussian weights, a twelfth of them wide."""
        return cast("NDArray[np.float64]", gaussian_filter1d(self.losses, len(self.losses) / 12, mode="nearest"))

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest, per factor in the rate, before it is smallest.

        After L. Smith, "Cyclical learning rates for training neural networks", arXiv:1506.01186.
        """
        smoothed = self.smoothed
        slope = np.gradient(smoothed, np.log(self.rates))
        return float(self.rates[int(slope[: int(smoothed.argmin()) + 1].argmin())])

    def _content(self) -> dict[str, Any]:
        return {**super()._content(), "smoothed": self.smoothed.tolist(), "suggestion": self.suggestion}

    def __str__(self) -> str:
        places = np.unique(np.linspace(0, len(self.rates) - 1, 15).round().astype(int))
        shown = zip(self.rates[places], self.losses[places], self.smoothed[places], strict=True)
        rows = [(f"{rate:.2g}", f"{loss:.4f}", f"{smoothed:.4f}") for rate, loss, smoothed in shown]
        table = table_of(f"{len(self.rates)} steps", ("learning rate", "loss", "smoothed"), rows, words=0)
        return f"{as_text(table, width=80)}the loss falls fastest at --lr {self.suggestion:.2g}\n"

    def _records(self) -> Iterator[dict[str, Any]]:
        columns = zip(self.rates, self.losses, self.smoothed, strict=True)
        return ({"rate": rate, "loss": loss, "smoothed": smoothed} for rate, loss, smoothed in columns)

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Plot the loss against the learning rate, into ``ax`` or a new figure."""
        from jetsym.plotting.style import axes_of, logarithmic

        ax = axes_of(ax, 5.0, 3.4)
        ax.plot(self.rates, self.losses, color="#999999", linewidth=0.8, label="loss of a step")
        ax.plot(self.rates, self.smoothed, color="#0072B2", label="smoothed")
        ax.axvline(self.suggestion, color="#D55E00", linestyle="--", label=f"falls fastest: {self.suggestion:.2g}")
        logarithmic(ax, "x")
        ax.set(xlabel="learning rate", ylabel="loss")
        if legend:
            ax.legend(frameon=False)
        return ax


@checked(smallest=above(0), largest=above(0), steps=at_least(10))
def find_lr(
    config: TrainConfig,
    *,
    smallest: float = 1e-6,
    largest: float = 1.0,
    steps: int = 100,
    penalties: Sequence[Penalty] = (),
    progress: bool = False,
) -> RateCurve:
    """Train for some steps while the learning rate grows exponentially, until the loss runs away.

    Parameters
    ----------
    config
        The run to find a rate for; ``lr``, ``warmup`` and ``epochs`` do not matter.
    smallest, largest
        The rates of the first and of the last step.
    steps
        Number of steps; epochs follow each other until they are done.
    penalties
        Terms to add to the loss.
    progress
        Show a progress bar.

    Raises
    ------
    ConfigError
        The rates do not grow, or there are fewer than ten steps, or the loss runs away in the first ten.
    """
    if not smallest < largest:
        raise ConfigError(f"rates from {smallest} to {largest} in {steps} steps; expected growing ones")
    state, training, _ = _prepared(replace(config, max_skipped=steps))
    rates = np.geomspace(smallest, largest, steps)
    losses: list[float] = []
    moving, lowest = 0.0, math.inf
    with forked(), progress_bar("learning rates", steps, shown=progress) as advance:
        for rate, (batch, size) in zip(rates, _endless(state, training), strict=False):
            loss = take_step(state, batch, size=size, rate=float(rate), penalties=penalties)
            moving = _SMOOTHING * moving + (1 - _SMOOTHING) * loss
            average = moving / (1 - _SMOOTHING ** (len(losses) + 1))
            lowest = min(lowest, average)
            if not math.isfinite(average) or average > _RUNAWAY * lowest:
                break
            losses.append(loss)
            advance(1)
    if len(losses) < 10:
        raise ConfigError(
            f"the loss runs away at a learning rate of {rates[len(losses)]:.2g}; begin with a smaller one"
        )
    return RateCurve(rates[: len(losses)], np.array(losses))


@checked()
def dry_run(config: TrainConfig, *, penalties: Sequence[Penalty] = ()) -> dict[str, float]:
    """Train and validate on one batch, to see that everything goes together.

    Returns
    -------
    dict
        Number of ``jets`` of the batch, trainable ``parameters``, ``loss``, and the metrics of up to a batch of
        validation jets.
    """
    few = 20 * config.batch_size  # of which a tenth may be held out
    limit = config.limit if config.stream else min(few, config.limit or few)
    state, training, validation = _prepared(replace(config, limit=limit))
    with forked():
        batch, size = next(_endless(state, training))
        loss = take_step(state, batch, size=size, rate=config.lr, penalties=penalties)
        metrics = validate(state.fabric, state.judged, validation[: config.batch_size], batch_size=config.batch_size)
    parameters = sum(weight.numel() for weight in state.tagger.parameters() if weight.requires_grad)
    return {"jets": size, "parameters": parameters, "loss": loss, **metrics}


def _prepared(config: TrainConfig) -> tuple[State, JetBatch | StreamedJets, JetBatch]:
    config, source = starting_point(config)
    fabric = make_fabric(config)
    config = with_standardisation(config, fabric, source=source)
    training, validation = load_jets(config, rank=fabric.global_rank, ranks=fabric.world_size)
    config = with_target_scale(config, training, source=source)
    state = begin(fabric, config, training, source=source)
    expect_logits(state.tagger, validation[:2].to(fabric.device))
    return state, training, validation


def _endless(state: State, jets: JetBatch | StreamedJets) -> Iterator[tuple[JetBatch, int]]:
    """Yield the batches of one epoch after the other: this process's part, and the size of the whole."""
    fabric, config = state.fabric, state.config
    ranks: dict[str, Any] = {"rank": fabric.global_rank, "ranks": fabric.world_size}
    for epoch in count(1):
        order: dict[str, Any] = {"batch_size": config.batch_size, "seed": config.seed, "epoch": epoch}
        for number, batch in enumerate(batches(jets, **order, **ranks, device=fabric.device)):
            state.position.epoch, state.position.step = epoch, number
            yield batch, size_of_batch(jets, number, batch_size=config.batch_size)
