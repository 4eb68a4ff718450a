"""Calibration of a tagger's probabilities: the share of right decisions against the confidence in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

from jetsym.errors import DataError
from jetsym.forms import made_of
from jetsym.jets.evaluation.discriminants import AT_ONCE
from jetsym.jets.evaluation.rejection import effective_counts
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.evaluation.shares import Weights, expect_ordered
from jetsym.jets.weights import as_weights

__all__ = ["Calibration", "measure_calibration"]


@dataclass(frozen=True)
class Calibration:
    """Reliability of the most probable class, bin by bin of its probability.

    Parameters
    ----------
    edges
        (bins + 1,) of the probability.
    jets
        (bins,) number of jets.
    confidence, accuracy
        (bins,) mean probability of the most probable class, and share of jets where it is the true one; None in empty
        bins, and where the weights of the jets sum to zero or less.
    low, high
        (bins,) 95 % interval of the accuracy after Clopper and Pearson; of weighted jets with the effective numbers of
        :func:`jetsym.jets.evaluation.rejection.effective_counts`.
    ece
        Expected calibration error Σ n_b |accuracy_b − confidence_b| / n, where n_b and n are sums of the jets' weights
        if these have some.
    ece_floor
        What a perfectly calibrated tagger of the same confidences would show, as n is finite.
    """

    edges: tuple[float, ...]
    jets: tuple[int, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    ece: float
    ece_floor: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Return that of which :meth:`to_dict` gave ``data``."""
        return made_of(cls, data)


def measure_calibration(
    logits: Tensor, label: Tensor, *, bins: int = 15, scores: Scores | None = None, weights: Weights = None
) -> Calibration:
    """Compare the probability of the most probable class with the share of jets in which it is the true one.

    Parameters
    ----------
    logits
        (B, classes), or one alone for two classes.
    label
        (B,) int64.
    bins
        Bins of equal width in the probability.
    scores
        What the numbers are; see :func:`jetsym.jets.evaluation.scores.as_logits`.
    weights
        (B,) of the jets, which sum to more than zero.

    Raises
    ------
    DataError
        There are no jets, the logits are probabilities, or some are NaN.

    Notes
    -----
    After C. Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599. The deviation of a bin's accuracy
    from the mean confidence is nearly normal with variance Σ w² p(1 − p)/n_b², so that without any miscalibration its
    modulus is √(2/π) of the standard deviation on average: this makes the floor.

    Examples
    --------
    >>> import torch
    >>> found = measure_calibration(torch.tensor([[0.9, 0.1]]).log().expand(10, 2), torch.arange(10) // 9)
    >>> round(found.ece, 6), round(found.ece_floor, 4)
    (0.0, 0.0757)
    """
    if not len(label):
        raise DataError("there are no jets to calibrate on; expected at least one")
    parts = [part.double().softmax(dim=-1).max(dim=-1) for part in as_logits(logits, scores).split(AT_ONCE)]
    probability = torch.cat([best for best, _ in parts]).numpy(force=True)
    right = (torch.cat([decided for _, decided in parts]) == label).numpy(force=True)
    del parts
    expect_ordered(probability)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, bins - 1)
    own = as_weights(weights, len(label))
    jets = np.bincount(place, minlength=bins)
    sums, hits, weight, variance, squares, squared_hits = (
        np.bincount(place, values, minlength=bins)
        for values in (
            *(own * probability, own * right, own, own**2 * probability * (1 - probability)),
            *(own**2, own**2 * right),
        )
    )
    there = weight > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        confidence, accuracy = sums / weight, hits / weight
        spread = (squared_hits * (1 - accuracy) ** 2 + (squares - squared_hits) * accuracy**2) / weight**2
        k, n = effective_counts(accuracy, spread, weight**2 / squares)
        low = np.where(k > 0, beta.ppf(0.025, k, n - k + 1), 0.0)
        high = np.where(k < n, beta.ppf(0.975, k + 1, n - k), 1.0)

    def known(values: Any) -> tuple[float | None, ...]:
        return tuple(float(value) if one else None for value, one in zip(values, there, strict=True))

    return Calibration(
        edges=tuple(edges.tolist()),
        jets=tuple(jets.tolist()),
        confidence=known(confidence),
        accuracy=known(accuracy),
        low=known(low),
        high=known(high),
        ece=float(np.abs(hits - sums).sum() / own.sum()),
        ece_floor=float(np.sqrt(2 / np.pi * variance).sum() / own.sum()),
    )
