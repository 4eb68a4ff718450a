"""One step of the training: the gradient of the loss of a batch, followed unless it is not finite.

The loss of a batch of n jets, of all processes and parts together, is

    L = Σ_i w_i c_{y_i} l_i / n + penalties,

with the cross-entropy l_i of a jet, its weight w_i of mean 1 over all training jets, and the factor c of its class
(``class_weights``). The mean is not taken over the weights of the batch, so that the gradient of a batch is an unbiased
estimate of that of Σ w c l / Σ w over all jets, also with negative weights, whose sum over a batch may vanish.
Penalties are means over jets that count once each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.errors import TrainingError, lacks_explained
from jetsym.jets.batch import JetBatch, labels_of
from jetsym.jets.evaluation.scores import as_logits
from jetsym.jets.moves.augmentation import augment
from jetsym.jets.schema import WEIGHT
from jetsym.training.batches import in_parts
from jetsym.training.config import TrainConfig
from jetsym.training.engine import total
from jetsym.training.optimisation import set_rate
from jetsym.training.penalty import penalties_of
from jetsym.training.seeds import generator_for, seed_for
from jetsym.training.state import Position, State

__all__ = ["Penalty", "add_gradient", "take_step"]

#: ``penalty(model, jets, generator)``: what is added to the mean loss of these jets, a scalar with gradients. It is
#: called for each part of a batch, with jets that are augmented already.
Penalty = Callable[[nn.Module, JetBatch, torch.Generator], Tensor]


def take_step(state: State, batch: JetBatch, *, size: int, rate: float, penalties: Sequence[Penalty] = ()) -> float:
    """Follow the gradient of the mean loss of ``size`` jets, of which ``batch`` are this process's; return the loss."""
    position, config = state.position, state.config
    place = {"epoch": position.epoch, "step": position.step, "seed": config.seed, "rank": state.fabric.global_rank}
    torch.manual_seed(seed_for("dropout", **place))
    set_rate(state.optimizer, rate)
    state.model.train()
    for layer in state.frozen:
        layer.eval()
    state.optimizer.zero_grad()
    helps = "choose a smaller --batch_size or a larger --accumulate for another run, or continue elsewhere"
    with lacks_explained(f"a batch of {len(batch)} jets cannot be trained on (checkpoints are kept)", memory=helps):
        summed = add_gradient(state, batch, size=size, place=place, penalties=penalties)
    norm = state.fabric.clip_gradients(state.model, state.optimizer, max_norm=config.clip, error_if_nonfinite=False)
    loss = total(state.fabric, float(summed))  # waits for the accelerator
    if math.isfinite(loss) and math.isfinite(float(norm)):  # type: ignore[arg-type]
        state.optimizer.step()
        if state.average is not None:
            state.average.update_parameters(state.tagger)
        position.jets += size
        position.loss += loss * size
        position.in_a_row = 0
    else:
        if config.precision == "16-mixed":
            state.optimizer.step()  # which leaves the step out by itself, and lowers the scale of the loss
        skip(position, config, loss=loss, rate=rate)
    return loss


def add_gradient(
    state: State, batch: JetBatch, *, size: int, place: Mapping[str, int], penalties: Sequence[Penalty] = ()
) -> Tensor:
    """Add the gradient of the jets' part of a mean over ``size`` jets; return this part of the loss."""
    fabric, model, config = state.fabric, state.model, state.config
    summed = torch.zeros((), device=fabric.device)
    moves = generator_for("augmentation", device=fabric.device, **place)
    draws = generator_for("penalty", device=fabric.device, **place)
    parts = in_parts(batch, state.parts, by_length=not state.normalises_batches)
    for number, part in enumerate(parts):
        with fabric.no_backward_sync(model, enabled=number < len(parts) - 1):
            jets = augment(part.to(fabric.device), config.augmentation, generator=moves)
            each = losses_of(state, jets)
            loss = (each * jets.columns[WEIGHT] if WEIGHT in jets.columns else each).mean()
            for penalty in (*penalties, *penalties_of(config.penalty)):
                loss = loss + penalty(model, jets, draws)
            loss = loss * (len(part) / size)
            fabric.backward(loss * fabric.world_size)  # gradients are averaged over the processes
            summed += loss.detach()
    return summed


def losses_of(state: State, jets: JetBatch) -> Tensor:
    """Compute the loss (B,) of each jet, without its own weight: that of its class, or of its target."""
    outputs, target = state.model(jets), state.tagger.target
    if target is not None:
        return target.losses(outputs, jets.columns[target.name])
    label = labels_of(jets)
    logits = as_logits(outputs, "logits", classes=jets.classes)
    each = F.cross_entropy(logits, label, label_smoothing=state.config.label_smoothing, reduction="none")
    return each if state.weights is None else each * state.weights[label]


def skip(position: Position, config: TrainConfig, *, loss: float, rate: float) -> None:
    """Leave out a step whose loss or gradient is not finite.

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
