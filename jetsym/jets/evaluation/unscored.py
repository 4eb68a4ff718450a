"""Jets that a tagger has been shown, and for which it gives no numbers."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.streaming.blocks import ENTRY, FILE

__all__ = ["Unscored"]


@dataclass
class Unscored:
    """Jets for which a tagger gives no finite numbers: their number among some, and the place of the first."""

    jets: int = 0
    of: int = 0
    first: str = ""

    def count(self, jets: JetBatch, wrong: Tensor) -> None:
        """Count those of a batch, (B,) bool, that are."""
        self.of += len(wrong)
        if bool(wrong.any()) and not self.jets:
            place = int(wrong.nonzero()[0])
            known = [f"{name} {int(jets.columns[name][place])}" for name in (FILE, ENTRY) if name in jets.columns]
            self.first = ", ".join(known) or f"jet {self.of - len(wrong) + place}"
        self.jets += int(wrong.sum())

    def expect_some(self) -> None:
        """Refuse a tagger that gives such for all jets."""
        if self.of and self.jets == self.of:
            raise DataError(
                f"the tagger gives no finite numbers for any of {self.of:,} jets; expected probabilities: look "
                "for jets in another unit than those of its training, or at its precision"
            )

    def say(self) -> None:
        """Print how many they are, if any, as a note on the standard error stream."""
        if self.jets:
            print(
                f"note: {self.jets:,} of {self.of:,} jets have no scores, as the tagger gives no finite numbers for "
                f"them, the first at {self.first}; their scores are NaN",
                file=sys.stderr,
                flush=True,
            )
