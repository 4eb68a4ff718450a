"""Spectra over training: a probe every n steps that leaves the training as it is, and what they add up to.

A probe takes the 60 rotations of the icosahedron and their inversions, which resolve λ ≤ 2
(:func:`jetsym.spectrum.quadrature.icosahedral_rule`), and 16 held-out elements of each input's own: 136 evaluations.
Content of λ ≥ 4 may stray into what is shown; ``unexplained`` says how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from jetsym.arguments import anything, at_least, checked
from jetsym.errors import ProbeError
from jetsym.files import remove_leftovers
from jetsym.probing.probe import probe
from jetsym.probing.reports.history import FOLDER, NAME, PATTERN
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["Monitor"]


class Monitor:
    """A probe of a model's layers every n steps of its training, on the same few inputs each time.

    The model is measured in evaluation mode and without gradients; modes, gradients and torch's random states are as
    before when it is done, so that a monitored training gives the weights of an unmonitored one, bit for bit.

    Parameters
    ----------
    run
        Folder of the run. Every probe is written, whole or not at all, to ``spectra/step-00000100.json`` in it: a
        :class:`~jetsym.SymmetryReport` with ``meta["step"]``.
    inputs
        What to probe with, as for :func:`jetsym.probe`.
    every
        Steps from one probe to the next.
    group
        "O3" or "SO3".
    frame
        "lab" or "rest".
    layers, moves, action, call
        As for :func:`jetsym.probe`.

    Raises
    ------
    ProbeError
        Another group, or ``every`` below 1.

    Examples
    --------
    >>> import tempfile
    >>> from jetsym.probing.reports.history import History
    >>> points, layer = torch.randn(4, 3), torch.nn.Linear(3, 2)
    >>> run = tempfile.mkdtemp()
    >>> monitor = Monitor(run, points, every=2)
    >>> [step for step in range(5) if monitor(layer, step)]
    [0, 2, 4]
    >>> History.load(run).steps
    array([0, 2, 4])
    """

    @checked(ProbeError, every=at_least(1), moves=anything)
    def __init__(
        self,
        run: str | Path,
        inputs: Any = None,
        *,
        every: int,
        group: str = GroupName.O3,
        frame: str | None = None,
        layers: str | Sequence[str] = "auto",
        moves: Mapping[Any, Any] | None = None,
        action: Callable[[Any, Any], Any] | None = None,
        call: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        symmetry = Symmetry.parse(group, frame, error=ProbeError)
        if not symmetry.is_orthogonal:
            raise ProbeError(f"group is {group!r}; the icosahedral rule of a monitor goes with 'O3' or 'SO3'")
        self.folder, self.every = Path(run).expanduser() / FOLDER, every
        self._inputs = inputs
        self._options: dict[str, Any] = {
            "group": symmetry.group,
            "frame": symmetry.frame,
            "layers": layers,
            "moves": moves,
            "action": action,
            "call": call,
        }

    def __call__(self, model: torch.nn.Module, step: int, *, last: bool = False) -> SymmetryReport | None:
        """Probe the model if the number of finished steps is due, or is the ``last`` one; None where it is not."""
        if step % self.every and not last:
            return None
        # No network of jetsym draws in evaluation mode, but nothing keeps another one from it.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            found = probe(
                model,
                self._inputs,
                method="icosahedral",
                l_max=2,
                progress=False,
                **self._options,
            )
        assert isinstance(found, SymmetryReport)
        report = replace(found, meta={**found.meta, "step": step})
        report.save(self.folder / NAME.format(step))
        return report

    def forget(self, *, after: int = -1) -> None:
        """Remove the probes of later steps, as of a run that begins again: all of them, if nothing is given."""
        remove_leftovers(self.folder)
        for path in self.folder.glob(PATTERN):
            if int(path.stem.rpartition("-")[2]) > after:
                path.unlink()
