"""Training on a target: its scale, and its loss and errors on the validation jets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from jetsym.errors import TrainingError
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import predict_outputs
from jetsym.jets.evaluation.regression import deviation_of
from jetsym.jets.models import Tagger
from jetsym.jets.schema import WEIGHT
from jetsym.jets.targets import scale_of, target_values
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets

__all__ = ["validate_target", "with_target_scale"]


def with_target_scale(
    config: TrainConfig,
    jets: JetBatch | StreamedJets,
    *,
    kept: list[float] | None = None,
    source: Tagger | None = None,
) -> TrainConfig:
    """Return the configuration with the scale of its target, if it has one.

    Parameters
    ----------
    config
        Of the run; what it says itself is taken.
    jets
        Those to train on, of which it is measured where nothing else says it.
    kept
        What the run to be continued has measured.
    source
        The network that the run begins from, whose outputs have a scale already if it predicts the same.
    """
    if config.target is None or config.target_scale is not None or not isinstance(jets, JetBatch):
        return config
    known = source.target if source is not None else None
    if kept is None and known is not None and known.name == config.target:
        kept = [known.centre, known.scale]
    measured = kept or list(scale_of(target_values(jets, config.target), config.target))
    return replace(config, target_scale=measured)


def validate_target(fabric: Fabric, model: Tagger, jets: JetBatch, *, batch_size: int) -> dict[str, float]:
    """Compute loss, bias, resolution and RMSE of the target on validation jets, each seen by one of the processes.

    Where jets have weights, the loss is Σ w l / Σ w; the errors count every jet once.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    target = model.target
    assert target is not None
    outputs = torch.zeros(len(jets), len(target.outputs), device=fabric.device)
    if len(jets) > fabric.global_rank:
        mine = slice(fabric.global_rank, None, fabric.world_size)
        with fabric.autocast():
            outputs[mine] = predict_outputs(model, jets[mine], batch_size=batch_size).float().to(fabric.device)
    outputs = cast("Tensor", fabric.all_reduce(outputs, reduce_op="sum")).cpu()
    truth = jets.columns[target.name].cpu()
    losses, weights = target.losses(outputs, truth).double(), jets.columns.get(WEIGHT)
    weights = torch.ones_like(losses) if weights is None else weights.cpu().double()
    loss = float((weights * losses).sum() / weights.sum())
    if not math.isfinite(loss):
        raise TrainingError(
            f"the validation loss is {loss}, while the weights are finite; look for jets with momenta that are not "
            "finite among those of --val, or of --data where these are held out from it"
        )
    found = deviation_of(target.values(outputs)[:, target.best], truth)
    return {"val_loss": loss, "bias": found.bias, "resolution": found.resolution, "rmse": found.rmse}
