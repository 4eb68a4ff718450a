"""Symmetry of a tagger while it is trained: spectra of its layers every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsym.arguments import at_least, checked, number
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import Tagger
from jetsym.jets.sources import some_of
from jetsym.probing.monitor import Monitor

__all__ = ["Callback", "Moment", "Watch"]


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
        """Remove what an earlier run measured after this step, and probe the tagger if it is the first."""
        if self._monitor is not None:
            self._monitor.forget(after=step)
            if step == 0:
                self._monitor(model, 0)

    def __call__(self, moment: Moment) -> None:
        """Probe the tagger if it is time to."""
        if self._monitor is not None and moment.metrics is None:
            self._monitor(moment.model, moment.step)

    def end(self, model: Tagger, step: int) -> None:
        """Probe the tagger as it is in the end, unless that has just been done."""
        if self._monitor is not None and step % self._monitor.every:
            self._monitor(model, step, last=True)


@checked(step=at_least(0), loss=number)
@dataclass(frozen=True)
class Moment:
    """State of a run when a callback is called: after every step, and once more after every epoch.

    Parameters
    ----------
    step
        Steps done since the beginning of the run.
    model
        The tagger as it would be saved now; its mode and its weights are to be left as they are found.
    folder
        The run's folder.
    loss
        Mean loss of the step's jets; NaN after an epoch.
    metrics
        The epoch's line of metrics after an epoch, None after a step.
    """

    step: int
    model: Tagger
    folder: Path
    loss: float
    metrics: Mapping[str, Any] | None = None


#: Called with a :class:`Moment`, on the first process alone, before a checkpoint of that moment is written: a run that
#: is killed and continued may call it again for the same step. What it draws at random changes nothing in the run.
Callback = Callable[[Moment], None]
