"""Symmetry of a potential over its training, from the checkpoints that metatrain left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from jetsym.arguments import at_least, checked
from jetsym.atoms.checkpoint import FINAL, epochs_in, read_checkpoint
from jetsym.atoms.model import Model, load
from jetsym.errors import CheckpointError
from jetsym.probing.probe import probe
from jetsym.probing.reports.history import History
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["over_training"]


@checked(every=at_least(1))
def over_training(
    run: str | Path,
    inputs: Any,
    *,
    gradients: bool | None = None,
    every: int = 1,
    trust: bool = False,
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
        True to measure forces and stress; None for what the model was trained with.
    every
        Take every so many-th checkpoint.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`.
    options
        Options of :func:`jetsym.probe`.

    Returns
    -------
    History
        The reports, with epochs for steps.

    Raises
    ------
    CheckpointError
        The folder holds no checkpoints of epochs.
    """
    folder = Path(run).expanduser()
    files = epochs_in(folder)
    if files and (folder / FINAL).is_file():
        end = read_checkpoint(folder / FINAL, trust=trust).get("epoch")
        files |= {} if end is None else {int(end): folder / FINAL}
    if not files:
        raise CheckpointError(
            f"{folder} holds no model_EPOCH.ckpt besides a {FINAL}; expected the folder of a run of jetsym atoms "
            "train, with checkpoint_every smaller than its epochs"
        )
    epochs = tuple(sorted(files))[::every]
    reports = []
    for epoch in epochs:
        module = load(files[epoch], weights="last", trust=trust).module
        report = cast(SymmetryReport, probe(Model(module, gradients=gradients), inputs, **options))
        reports.append(replace(report, meta={**report.meta, "step": epoch, "unit": "epochs"}))
    return History(tuple(reports))
