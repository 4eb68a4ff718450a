"""What metatrain says while it trains, line by line: epochs that are over, and why it stopped."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

from jetsym.atoms.architectures.penalty import PENALTY
from jetsym.atoms.training.runner import FAILED
from jetsym.errors import TrainingError

__all__ = ["Said", "losses"]

#: How metatrain says that an epoch is over.
EPOCH = re.compile(r"Epoch:\s*(\d+)\s*(.*)")
#: How it says that it trains without what it was told to train on.
DROPPED = re.compile(r"No (forces|stress|virial) found in section (\S+?)\.?$")
#: Seconds after which losses are said again, and lines of them in a run that takes no longer.
QUIET, LINES = 30.0, 20


class Said:
    """What metatrain says, line by line: epochs that are over, and what it leaves out.

    Parameters
    ----------
    epochs
        How many there are to be.
    advance
        Called with 1 after every epoch.
    keep
        Called when one is over.
    shown
        Whether to say the losses, on the standard error stream.
    """

    def __init__(self, epochs: int, advance: Callable[[int], None], keep: Callable[[], None], *, shown: bool) -> None:
        self._epochs, self._advance, self._keep, self._shown = epochs, advance, keep, shown
        self._last = time.monotonic()
        self.reason = self.last_line = self._penalty = ""
        self.began = False

    def hear(self, line: str) -> None:
        """Take one line."""
        line = line.strip()
        self.last_line = line or self.last_line
        if line.startswith(FAILED):
            self.reason = line.removeprefix(FAILED)
        if dropped := DROPPED.search(line):
            raise TrainingError(
                f"metatrain finds no {dropped[1]} for {dropped[2]}, and would train without; look there"
            )
        if PENALTY in line:
            self._penalty = f", {PENALTY}{line.partition(PENALTY)[2]}"
        if over := EPOCH.search(line):
            self._keep()
            self._advance(1)
            self.began = True
            epoch, waited = int(over[1]), time.monotonic() - self._last
            due = epoch % max(1, self._epochs // LINES) == 0 or epoch + 1 == self._epochs or waited > QUIET
            if self._shown and due:
                self._last = time.monotonic()
                print(losses(epoch, self._epochs, over[2]) + self._penalty, file=sys.stderr, flush=True)


def losses(epoch: int, epochs: int, words: str) -> str:
    """Return the losses, and errors of validation, of what metatrain says of an epoch.

    Examples
    --------
    >>> said = "| learning rate: 1e-4 | training loss: 2.0 | validation loss: 3.0 | validation forces RMSE: 4 meV/A"
    >>> losses(0, 6, said)
    'epoch 0 (1 of 6): training loss 2.0, validation loss 3.0, validation forces RMSE 4 meV/A'
    """
    said = [" ".join(part.replace(":", " ").split()) for part in words.split("|")]
    shown = [part for part in said if "loss" in part or (part.startswith("validation") and "RMSE" in part)]
    return f"epoch {epoch} ({epoch + 1} of {epochs}): {', '.join(shown)}"
