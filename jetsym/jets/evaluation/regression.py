"""How well a network predicts a number of every jet: bias and resolution, in bins of the truth, and under rotations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.arguments import at_least, checked
from jetsym.errors import DataError
from jetsym.forms import expect_facts
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import expect_finite_weights, predict_outputs
from jetsym.jets.models import Tagger
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.sampling import random_rotations
from jetsym.jets.targets import QUANTILES, target_values
from jetsym.results import Result
from jetsym.text import as_text, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Deviation", "Regression", "deviation_of", "regress"]

#: Draws of the bootstrap by which a resolution has its error.
DRAWS = 200
#: Bins of the truth, of as many jets each.
BINS = 5


@dataclass(frozen=True)
class Deviation:
    """How predictions of some jets deviate from the truth, r = predicted − true, in the unit of the target.

    Parameters
    ----------
    jets
        How many.
    truth
        Mean of the truth.
    bias, bias_stderr
        Mean of r.
    resolution, resolution_stderr
        Half the width of the central 68 % of r: the standard deviation where r is normal. The error is that of a
        bootstrap over jets.
    rmse
        √⟨r²⟩.
    coverage, coverage_stderr
        Of a network that predicts quantiles: the share of jets whose truth lies between those of 16 % and 84 %, which
        is 0.68 of a right one; else None.
    """

    jets: int
    truth: float
    bias: float
    bias_stderr: float
    resolution: float
    resolution_stderr: float
    rmse: float
    coverage: float | None = None
    coverage_stderr: float | None = None


def deviation_of(predicted: Tensor, truth: Tensor, interval: Tensor | None = None) -> Deviation:
    """Measure how predictions (B,) deviate from the truth (B,); ``interval`` (B, 2) are quantiles of 16 % and 84 %.

    Examples
    --------
    >>> found = deviation_of(torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([1.0, 1.0, 3.0, 3.0]))
    >>> found.bias, round(found.rmse, 3), round(found.resolution, 3)
    (1.0, 1.581, 1.02)
    """
    r, y = (x.double().numpy(force=True) for x in (predicted - truth, truth))
    n, rng = len(r), np.random.default_rng(0)
    drawn = [_half_width(r[rng.integers(0, n, n)]) for _ in range(DRAWS)] if n > 1 else []
    inside, inside_stderr = None, None
    if interval is not None:
        low, high = interval.double().numpy(force=True).T
        inside = float(((low <= y) & (y <= high)).mean())
        inside_stderr = math.sqrt(inside * (1 - inside) / n)
    return Deviation(
        jets=n,
        truth=float(y.mean()),
        bias=float(r.mean()),
        bias_stderr=float(r.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        resolution=_half_width(r),
        resolution_stderr=float(np.std(drawn, ddof=1)) if drawn else math.nan,
        rmse=float(np.sqrt((r**2).mean())),
        coverage=inside,
        coverage_stderr=inside_stderr,
    )


def _half_width(r: NDArray[np.float64]) -> float:
    low, high = np.quantile(r, (QUANTILES[0], QUANTILES[-1]))
    return float(high - low) / 2


@dataclass(frozen=True, eq=False)
class Regression(Result):
    """The quality of a network that predicts a number of every jet. Every jet counts once.

    Parameters
    ----------
    target
        The column that it predicts.
    overall
        Of all jets.
    bins
        (low, high) of the truth -> the jets there, low ≤ truth < high but for the last, which has its end.
    rotated
        The same network on the same jets, each after a rotation of its own; the truth stays. None where it was not
        asked for, and of a pT or a direction, which would change.
    meta
        Loss of the training, number of ``jets``, seed of the rotations, and what the caller added.
    """

    target: str
    overall: Deviation
    bins: tuple[tuple[float, float, Deviation], ...]
    rotated: Deviation | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = "regression"
    FORMAT: ClassVar[int] = 1

    def _check(self) -> None:
        expect_facts(self.meta, needed=("jets", "loss"))

    def _rows(self) -> Iterator[tuple[str, Deviation]]:
        yield "all", self.overall
        if self.rotated is not None:
            yield "all, rotated at random", self.rotated
        for low, high, found in self.bins:
            yield f"{low:.4g} to {high:.4g}", found

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row for all jets, for these rotated, and for every bin of the truth."""
        return ({"jets of": name} | asdict(found) for name, found in self._rows())

    def __str__(self) -> str:
        covers = self.overall.coverage is not None
        heads = ("truth", "jets", "bias", "resolution", "RMSE", *(["within 68 %"] if covers else []))
        table = table_of(f"{self.target}, predicted − true, in its unit", heads)
        for name, found in self._rows():
            cells = [f"{found.jets:,}", concise(found.bias, found.bias_stderr)]
            cells += [concise(found.resolution, found.resolution_stderr), f"{found.rmse:.4g}"]
            if found.coverage is not None:
                cells.append(concise(found.coverage, found.coverage_stderr or 0.0))
            table.add_row(name, *cells)
        return as_text(table, width=120) + "Resolution: half the width of the central 68 %.\n"

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw bias and resolution against the truth, bin by bin."""
        from jetsym.plotting.style import LEGEND, PALETTE, axes_of, finished

        ax = axes_of(ax, 5.6, 3.4)
        x = [found.truth for _, _, found in self.bins]
        for number, name in enumerate(("bias", "resolution")):
            values = [getattr(found, name) for _, _, found in self.bins]
            errors = np.nan_to_num([getattr(found, f"{name}_stderr") for _, _, found in self.bins])
            look: dict[str, Any] = {"color": PALETTE[number + 1], "marker": "os"[number], "markersize": 4.5}
            ax.errorbar(x, values, yerr=errors, capsize=2, label=name, **look)
        ax.axhline(0, color="black", linewidth=0.5)
        ax.set_xlabel(f"true {self.target}")
        ax.set_ylabel("predicted − true")
        if legend:
            ax.legend(**LEGEND)
        return finished(ax, "both")


@checked(DataError, batch_size=at_least(1))
def regress(model: Tagger, jets: JetBatch, *, rotated: int | None = None, batch_size: int = 512) -> Regression:
    """Measure how well a network predicts its target.

    Parameters
    ----------
    model
        A network that was trained with ``--target``.
    jets
        Jets with the target among their columns.
    rotated
        A seed: the same is then measured on the jets after a rotation of its own for each; not of a pT or a direction.
    batch_size
        Jets per forward pass.

    Raises
    ------
    DataError
        The network has no target, or the jets have no such column.
    CheckpointError
        Weights of the network are not finite.
    """
    target = model.target
    if target is None:
        raise DataError(f"the network tells the classes {', '.join(model.classes)}, and predicts no target")
    expect_finite_weights(model)
    truth = target_values(jets, target.name)

    def measured(outputs: Tensor, chosen: Any = slice(None)) -> Deviation:
        values = target.values(outputs[chosen])
        interval = values[:, [0, -1]] if len(target.outputs) > 1 else None
        return deviation_of(values[:, target.best], truth[chosen], interval)

    outputs = predict_outputs(model, jets, batch_size=batch_size)
    moved = None
    if rotated is not None and not target.turns:
        draws = random_rotations(len(jets), generator=torch.Generator().manual_seed(rotated))
        moved = measured(predict_outputs(model, rotate(jets, draws[None]), batch_size=batch_size))
    return Regression(
        target=target.name,
        overall=measured(outputs),
        bins=tuple((low, high, measured(outputs, chosen)) for low, high, chosen in _bins(truth)),
        rotated=moved,
        meta={"jets": len(jets), "loss": target.loss, "rotated": None if moved is None else rotated},
    )


def _bins(truth: Tensor) -> Iterator[tuple[float, float, Tensor]]:
    """Yield the edges of bins of about as many jets each, and which jets lie there; values that are equal stay."""
    edges = sorted({*torch.quantile(truth, torch.linspace(0, 1, BINS + 1, dtype=truth.dtype)).tolist()})
    for low, high in pairwise(edges):
        chosen = (truth >= low) & ((truth < high) | (high == edges[-1]))
        if chosen.any():
            yield low, high, chosen
