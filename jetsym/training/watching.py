"""Watching the symmetry of a tagger while it is trained: spectra of its layers every so many steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import Tagger
from jetsym.probing.monitor import Monitor

if TYPE_CHECKING:
    from jetsym.training.loop import Moment

__all__ = ["Watch", "some_of"]


class Watch:
    """A callback that probes the tagger before the first step, every n steps, and after the last one.

    Parameters
    ----------
    run
        Folder of the run; see :class:`jetsym.probing.monitor.Monitor` for what it will hold.
    jets
        Validation jets; ``n_jets`` of them are probed, the same each time.
    every
        Steps from one probe to the next; 0 watches nothing.
    n_jets
        How many jets.

    Raises
    ------
    DataError
        No jet has particles.
    """

    def __init__(self, run: str | Path, jets: JetBatch, *, every: int, n_jets: int) -> None:
        self._monitor = Monitor(run, some_of(jets, n_jets), every=every) if every else None

    def begin(self, model: Tagger, step: int) -> None:
        """Forget what an earlier run saw after this step, and look at the tagger if it is the first."""
        if self._monitor is not None:
            self._monitor.forget(after=step)
            if step == 0:
                self._monitor(model, 0)

    def __call__(self, moment: Moment) -> None:
        if self._monitor is not None and moment.metrics is None:
            self._monitor(moment.model, moment.step)

    def end(self, model: Tagger, step: int) -> None:
        """Look at the tagger as it is in the end, unless that has just been done."""
        if self._monitor is not None and step % self._monitor.every:
            self._monitor(model, step, last=True)


def some_of(jets: JetBatch, n: int) -> JetBatch:
    """At most n jets with particles, evenly spread over the batch and so over the classes of files in their order.

    Examples
    --------
    >>> p4 = torch.tensor([5.0, 3.0, 0.0, 4.0]).expand(9, 1, 4)
    >>> jets = JetBatch(p4, torch.ones(9, 1, dtype=bool), torch.zeros(9, 1, 10), p4[:, 0], label=torch.arange(9))
    >>> some_of(jets, 3).label
    tensor([0, 4, 8])
    """
    filled = (jets.n_particles > 0).nonzero().flatten()
    if not len(filled):
        raise DataError("no validation jet has particles; expected some to watch the training with")
    places = torch.linspace(0, len(filled) - 1, min(n, len(filled)), device=filled.device).round().long()
    return jets[filled[places]].trim()
