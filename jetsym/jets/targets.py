r"""Targets: a number of every jet that a network predicts in place of its class, such as its mass.

A network gives it in units of its spread, z = (y − c)/s with centre c and scale s of the training jets. With
d = z_predicted − z_true the losses of a jet are

=============  =======================================================================================
``mse``        d²; predicts the mean
``huber``      d²/2 where \|d\| < 1, else \|d\| − 1/2 (P. Huber, Ann. Math. Stat. 35 (1964) 73)
``logcosh``    log cosh d
``quantile``   the mean over q of max(q e, (q − 1) e), e = −d (R. Koenker, G. Bassett, Econometrica 46 (1978) 33)
=============  =======================================================================================

The last predicts the quantiles 16 %, 50 % and 84 %: the median, and an interval that holds 68 % of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from jetsym.errors import CheckpointError, ConfigError, DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.schema import CLASSES

__all__ = ["LOSSES", "QUANTILES", "Loss", "Target", "refuse_target", "target_of", "target_values"]

Loss = Literal["huber", "mse", "logcosh", "quantile"]
LOSSES: tuple[str, ...] = get_args(Loss)
QUANTILES = (0.16, 0.5, 0.84)
#: Columns that name a kind, which has no mean.
_KINDS = {"aux_genpart_pid", "aux_truth_match", "label", *(f"label_{name}" for name in CLASSES)}


@dataclass(frozen=True)
class Target:
    """The number that a network predicts.

    Parameters
    ----------
    name
        Its column.
    centre, scale
        Mean and standard deviation of the training jets, in the unit of the column.
    loss
        "huber", "mse", "logcosh" or "quantile".

    Examples
    --------
    >>> mass = Target("jet_sdmass", 80.0, 20.0, "mse")
    >>> mass.values(torch.tensor([[0.5], [-1.0]])).tolist()
    [[90.0], [60.0]]
    >>> mass.losses(torch.tensor([[0.5]]), torch.tensor([80.0])).tolist()
    [0.25]
    """

    name: str
    centre: float
    scale: float
    loss: Loss = "huber"

    @classmethod
    def of(cls, config: Mapping[str, Any], *, source: object) -> Target | None:
        """Return the target of a training, from its configuration as a file holds it; None where it tells classes.

        Raises
        ------
        CheckpointError
            It is not that of a training.
        """
        name = config.get("target")
        if name is None:
            return None
        try:
            centre, scale = map(float, config["target_scale"])
            loss = config["loss"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{source} predicts {name!r} and does not say its scale ({error!r})") from error
        if not isinstance(name, str) or loss not in LOSSES or not (math.isfinite(centre) and 0 < scale < math.inf):
            raise CheckpointError(f"{source} predicts {name!r}, with the loss {loss!r} and the scale {centre}, {scale}")
        return cls(name, centre, scale, loss)

    @property
    def turns(self) -> bool:
        """Whether its truth changes when a jet is rotated: pT and what says a direction."""
        return self.name.endswith(("_pt", "_eta", "_phi"))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers that a network gives: the target, or its quantiles."""
        if self.loss == "quantile":
            return tuple(f"{self.name} {100 * q:.0f} %" for q in QUANTILES)
        return (self.name,)

    @property
    def best(self) -> int:
        """Which of them is the prediction itself: the median of quantiles."""
        return self.outputs.index(f"{self.name} 50 %") if self.loss == "quantile" else 0

    def values(self, outputs: Tensor) -> Tensor:
        """Return what outputs (B, outputs) of the network are in the unit of the column, float64."""
        return self.centre + self.scale * outputs.double()

    def losses(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss (B,) of each jet from outputs (B, outputs), and the truth (B,) in the unit of the column."""
        wanted = (len(truth), len(self.outputs))
        if tuple(outputs.shape) != wanted:
            raise DataError(f"outputs have shape {tuple(outputs.shape)}; expected {wanted}: {', '.join(self.outputs)}")
        z = ((truth.double() - self.centre) / self.scale).float()[:, None]
        d = outputs.float() - z
        if self.loss == "mse":
            return d.square().squeeze(1)
        if self.loss == "huber":
            return F.huber_loss(outputs.float(), z, reduction="none").squeeze(1)
        if self.loss == "logcosh":
            return (d.abs() + F.softplus(-2 * d.abs()) - math.log(2)).squeeze(1)
        q = torch.tensor(QUANTILES, device=d.device)
        return torch.maximum(-q * d, (1 - q) * d).mean(dim=1)


def target_values(jets: JetBatch, name: str, flag: str = "the jets") -> Tensor:
    """Return the target (B,) of jets.

    Raises
    ------
    ConfigError
        It is a number that names a kind.
    DataError
        The jets have no such column, or it is not finite, or the same for all jets.
    """
    expect_number(name)
    if name not in jets.columns:
        raise DataError(
            f"{flag} have no column {name!r} to be predicted; expected a number of every jet beside its momentum, such "
            "as jet_sdmass or jet_tau1"
        )
    values = jets.columns[name].double()
    if values.shape != (len(jets),):
        raise DataError(f"the column {name!r} of {flag} has shape {tuple(values.shape)}; expected one number a jet")
    if wrong := int((~values.isfinite()).sum()):
        raise DataError(f"the column {name!r} of {flag} is not finite for {wrong} of {len(jets)} jets; leave these out")
    return values


def expect_number(name: str) -> None:
    """Refuse a target that is no quantity, but names a kind.

    Raises
    ------
    ConfigError
        It is such a one.
    """
    if name in _KINDS:
        raise ConfigError(f"--target is {name!r}, which names a kind; expected a quantity, such as jet_sdmass")


def scale_of(values: Tensor, name: str) -> tuple[float, float]:
    """Return mean and standard deviation of a target.

    Raises
    ------
    DataError
        It is the same for all jets.
    """
    centre, scale = float(values.mean()), float(values.std())
    if not scale > 0:
        raise DataError(f"the column {name!r} of --data is {centre:g} for all jets; there is nothing to be predicted")
    return centre, scale


def target_of(model: object) -> Target | None:
    """Return what a model predicts in place of classes; None where it tells these."""
    target = getattr(model, "target", None)
    return target if isinstance(target, Target) else None


def refuse_target(model: object, what: str) -> None:
    """Refuse a network that predicts a target where one that tells classes is needed.

    Raises
    ------
    DataError
        It predicts one.
    """
    target = target_of(model)
    if target is not None:
        raise DataError(
            f"the network predicts {target.name} and tells no classes, which {what} needs; jetsym evaluate and "
            "jetsym.jets.evaluation.regression.regress measure it"
        )


def outputs_of(target: Target | None, classes: Sequence[str]) -> Sequence[str]:
    """Return what the outputs of a network stand for: classes, or a target."""
    return classes if target is None else target.outputs
