"""What a training run shows while it runs: a bar for the epoch under way, and a line for every finished one."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from jetsym.jets.batch import JetBatch

__all__ = ["Progress"]


class Progress:
    """A context in which a run reports.

    Parameters
    ----------
    epochs
        How many there will be.
    jets
        The training jets, for their number.
    batch_size
        For the headline.
    shown
        False for silence.
    """

    def __init__(self, epochs: int, jets: JetBatch, *, batch_size: int, shown: bool = True) -> None:
        self._epochs, self._jets, self._batch_size = epochs, len(jets), batch_size
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("jets"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._shown = shown
        self._task = self._bars.add_task("epoch", total=self._jets)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, jets: int) -> None:
        """So many more jets of this epoch have been seen."""
        self._bars.advance(self._task, jets)

    def epoch_done(self, line: dict[str, Any], *, best: bool) -> None:
        """Write an epoch's line and begin the next bar."""
        if self._shown:
            shown = ("loss", "val_loss", "accuracy", "macro_auc", "auc_top_qcd")
            numbers = "  ".join(f"{name} {line[name]:.4f}" for name in shown if name in line)
            head = f"epoch {line['epoch']:>{len(str(self._epochs))}}/{self._epochs}"
            tail = f"{line['jets_per_s']:,.0f} jets/s" + ("  best" if best else "")
            self._bars.console.print(f"{head}  {numbers}  {tail}", highlight=False, markup=False, soft_wrap=True)
        self._bars.reset(self._task, total=self._jets, description=f"epoch {line['epoch'] + 1}/{self._epochs}")
