"""Losses of a training by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jetsym.arguments import checked
from jetsym.errors import DataError, shorten
from jetsym.plotting.style import LEGEND, PALETTE, axes_of, finished
from jetsym.reading import parse_json, read_text

__all__ = ["plot_losses"]

#: File of a run that holds a line per epoch.
LINES = "metrics.jsonl"
#: What is drawn -> its words.
SHOWN = {"loss": "training", "val_loss": "validation"}


@checked()
def plot_losses(run: str | Path | Sequence[Mapping[str, Any]], ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draw the losses of a training and of its validation against epochs; a dotted line marks the best epoch.

    The training's loss is the mean over an epoch, of the weights as they were in it, with all that augments jets and
    penalises; that of the validation is of the weights at its end, on jets as they are. The two are no gap by
    themselves.

    Parameters
    ----------
    run
        The folder of a run, its ``metrics.jsonl``, or what the lines of that hold.
    ax
        Axes to draw into; a new figure where None.
    legend
        Whether to name the lines.

    Raises
    ------
    DataError
        There is no such file, or it holds no epochs.
    """
    epochs = _read(Path(run)) if isinstance(run, (str, Path)) else list(run)
    if not epochs or not all({"epoch", *SHOWN} <= {*one} for one in epochs):
        raise DataError(f"{shorten(run)} holds no epochs with {', '.join(SHOWN)}; expected the lines of a training")
    ax = axes_of(ax, 5.6, 3.4)
    number = np.array([one["epoch"] for one in epochs], dtype=float)
    for (name, words), colour in zip(SHOWN.items(), (PALETTE[2], PALETTE[1]), strict=True):
        values = np.array([one[name] for one in epochs], dtype=float)
        ax.plot(number, values, color=colour, marker="o", markersize=3.5, linewidth=1.4, label=words)
    losses = np.array([one["val_loss"] for one in epochs], dtype=float)
    if np.isfinite(losses).any():
        best = int(np.nanargmin(losses))
        label = f"best: epoch {number[best]:g}, {losses[best]:.4g}"
        ax.axvline(number[best], color="black", linestyle=":", linewidth=1.0, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("cross-entropy [nats]")
    if legend:
        ax.legend(**LEGEND)
    return finished(ax, "both")


def _read(path: Path) -> list[Any]:
    """Read the lines of a run."""
    file = path / LINES if path.is_dir() else path
    try:
        return [parse_json(line) for line in read_text(file).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"no losses can be read from {file}: {error}; expected the folder of a run") from error
