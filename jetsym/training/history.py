"""The symmetry of a model of atoms over its training, from the checkpoints that metatrain left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.checkpoint import FINAL, epochs_in, read_checkpoint
from jetsym.atoms.model import Model, load
from jetsym.errors import CheckpointError, ProbeError, closest
from jetsym.probing.equivariance import Equivariance
from jetsym.probing.probe import probe
from jetsym.probing.report import SymmetryReport

__all__ = ["History", "over_training"]


@dataclass(frozen=True, eq=False)
class History:
    """Reports by epoch.

    Parameters
    ----------
    epochs
        Epochs of the checkpoints, rising.
    reports
        What the model was like after each of them.
    """

    epochs: tuple[int, ...]
    reports: tuple[SymmetryReport, ...]

    def relative(self, output: str) -> NDArray[np.float64]:
        """(epochs,) relative equivariance error √(ΣA²/ΣN) of an output."""
        return self._of(output, lambda found: found.relative)

    def absolute(self, output: str) -> NDArray[np.float64]:
        """(epochs,) equivariance error A of an output, in its unit."""
        return self._of(output, lambda found: found.absolute)

    def fractions(self, layer: str) -> NDArray[np.float64]:
        """(epochs, irreps) fractions of a layer's power."""
        layers = self.reports[0].layers
        if layer not in layers:
            raise ProbeError(f"there is no layer {layer!r}; {closest(layer, layers)}")
        return np.stack([report.fractions[report.layers.index(layer)] for report in self.reports])

    def save(self, folder: str | Path) -> None:
        """Write every report as ``epoch_N.json``."""
        for epoch, report in zip(self.epochs, self.reports, strict=True):
            report.save(Path(folder) / f"epoch_{epoch}.json")

    def __str__(self) -> str:
        outputs = list(self.reports[0].equivariance)
        columns = [[f"{output}: A", *(f"{value:.3g}" for value in self.absolute(output))] for output in outputs]
        columns += [[f"{output}: relative", *(f"{value:.3g}" for value in self.relative(output))] for output in outputs]
        rows = zip(["epoch", *map(str, self.epochs)], *columns, strict=True)
        widths = [max(5, *map(len, column)) for column in columns]
        return "\n".join(
            f"{first:>6}" + "".join(f"  {cell:>{width}}" for cell, width in zip(rest, widths, strict=True))
            for first, *rest in rows
        )

    def _of(self, output: str, value: Callable[[Equivariance], float]) -> NDArray[np.float64]:
        known = self.reports[0].equivariance
        if output not in known:
            raise ProbeError(f"there is no output {output!r}; {closest(output, known)}")
        return np.array([value(report.equivariance[output]) for report in self.reports])


def over_training(
    run: str | Path,
    inputs: Any,
    *,
    gradients: bool | None = None,
    every: int = 1,
    **options: Any,
) -> History:
    """Probe every checkpoint of a run of :func:`jetsym.atoms.train`, with the weights that the model had then.

    The last one is that of the final epoch, of ``model.ckpt``.

    Parameters
    ----------
    run
        Folder of the run, with its ``model_EPOCH.ckpt``.
    inputs
        Structures, or files of them.
    gradients
        Whether to measure forces and stress: None for what the model was trained with.
    every
        Only every so many checkpoints.
    options
        Those of :func:`jetsym.probe`.

    Returns
    -------
    History

    Raises
    ------
    CheckpointError
        The folder holds no checkpoints of epochs.
    """
    folder = Path(run).expanduser()
    files = epochs_in(folder)
    if files and (folder / FINAL).is_file():
        end = read_checkpoint(folder / FINAL).get("epoch")
        files |= {} if end is None else {int(end): folder / FINAL}
    if not files:
        raise CheckpointError(
            f"{folder} holds no model_EPOCH.ckpt besides a {FINAL}; expected the folder of a run of jetsym atoms "
            "train, with checkpoint_every smaller than its epochs"
        )
    epochs = tuple(sorted(files))[::every]
    reports = []
    for epoch in epochs:
        module = load(files[epoch], weights="last").module
        reports.append(cast(SymmetryReport, probe(Model(module, gradients=gradients), inputs, **options)))
    return History(epochs, tuple(reports))
