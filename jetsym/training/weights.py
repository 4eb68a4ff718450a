"""Weights of the training jets: read, brought to a mean of one, and counted by class."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch, labels_of
from jetsym.jets.schema import WEIGHT
from jetsym.jets.weights import NO_WEIGHTS, as_weights, effective_number, weight_column
from jetsym.training.config import TrainConfig

__all__ = [
    "WeighedStream",
    "expect_alike",
    "mean_weight",
    "sums_of_classes",
    "weighed",
    "weighed_by",
    "words_on_weights",
]


class WeighedStream(Protocol):
    """Streamed jets, as far as weights go: their column, if there is one, sums of each class's weights, and n_eff."""

    weighed_by: str | None
    sums: NDArray[np.float64]
    n_eff: float

    def __len__(self) -> int: ...


def weighed(jets: JetBatch, asked: str | None, flag: str) -> JetBatch:
    """Return jets without further columns but ``weight``, in float32 and of mean 1, where some column weighs them.

    Parameters
    ----------
    jets
        As they were read.
    asked
        What ``--weights`` says; see :func:`jetsym.jets.weights.weight_column`.
    flag
        Of the files, for messages.

    Raises
    ------
    ConfigError
        There is no such column.
    DataError
        Weights are NaN or infinite, or do not sum to more than 0.

    Examples
    --------
    >>> p4 = torch.ones(3, 1, 4)
    >>> jets = JetBatch(p4, p4[..., 0] > 0, torch.zeros(3, 1, 10), p4[:, 0], columns={"weight": torch.arange(3.0)})
    >>> weighed(jets, None, "--data").columns["weight"].tolist(), weighed(jets, "none", "--data").columns
    ([0.0, 1.0, 2.0], {})
    """
    column = weight_column(jets.columns, asked)
    if column is None:
        return jets.replace(columns={})
    try:
        values = as_weights(jets.columns[column], len(jets))
    except DataError as error:
        raise DataError(f"the column {column!r} of {flag} weighs the jets: {error}") from error
    mean = mean_weight(len(values), float(values.sum()), column=column, flag=flag)
    return jets.replace(columns={WEIGHT: torch.from_numpy((values / mean).astype(np.float32))})


def mean_weight(jets: float, total: float, *, column: str, flag: str = "--data") -> float:
    """Return the mean weight of jets.

    Raises
    ------
    DataError
        It is not more than zero.
    """
    if total <= 0:
        raise DataError(
            f"the weights of the {jets:.0f} jets of {flag}, their column {column!r}, sum to {total:.4g}; expected more "
            f"than 0, so that a mean loss has a meaning: take more jets, or leave the weights out with --weights "
            f"{NO_WEIGHTS}"
        )
    return total / jets


def expect_alike(training: JetBatch | WeighedStream, validation: JetBatch, config: TrainConfig) -> None:
    """Refuse jets for training and validation of which only some have weights.

    Raises
    ------
    DataError
        They do; or the weights of the jets to validate on sum to zero or less.
    """
    if (WEIGHT in validation.columns) != (weighed_by(training, config) is not None):
        have, lack = ("--val", "--data") if WEIGHT in validation.columns else ("--data", "--val")
        raise DataError(
            f"the jets of {have} have a column {config.weights or WEIGHT!r} of weights, and those of {lack} have none; "
            f"give it to both, or leave the weights out with --weights {NO_WEIGHTS}"
        )
    if WEIGHT in validation.columns:
        total = float(validation.columns[WEIGHT].double().sum())
        mean_weight(len(validation), total, column=config.weights or WEIGHT, flag="validation")


def weighed_by(jets: JetBatch | WeighedStream, config: TrainConfig) -> str | None:
    """Return the column that weighs the training jets, or None."""
    there = WEIGHT in jets.columns if isinstance(jets, JetBatch) else jets.weighed_by is not None
    return (config.weights or WEIGHT) if there else None


def sums_of_classes(jets: JetBatch | WeighedStream) -> NDArray[np.float64]:
    """Return the sum (classes,) of the weights of each class's jets, of mean 1: their number where they have none."""
    if not isinstance(jets, JetBatch):
        return jets.sums
    own: Tensor | None = jets.columns.get(WEIGHT)
    label = labels_of(jets).numpy(force=True)
    return np.bincount(label, as_weights(own, len(jets)), len(jets.classes)).astype(np.float64)


def words_on_weights(jets: JetBatch | WeighedStream, config: TrainConfig) -> str | None:
    """Say what weighs the training jets; None where nothing does."""
    column = weighed_by(jets, config)
    if column is None:
        return None
    equal = effective_number(as_weights(jets.columns[WEIGHT], len(jets))) if isinstance(jets, JetBatch) else jets.n_eff
    return (
        f"the column {column!r} weighs the jets, in the loss and in validation: {len(jets):,} for training count as "
        f"{equal:,.4g} of equal weight (--weights {NO_WEIGHTS} leaves it out)"
    )
