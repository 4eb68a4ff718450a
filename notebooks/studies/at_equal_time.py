"""Trainings of equal time, and what is measured of them, kept after each: a study goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import Table, trained_once

from jetsym.atoms.checkpoint import epochs_in
from jetsym.files import write_json
from jetsym.reading import from_json

#: Epochs of the short training that tells how long one takes; the first sets up.
PILOT = 6

#: ``fit(run, epochs, checkpoint_every)``: trains into a folder.
Fit = Callable[[Path, int, int | None], object]


@dataclass
class Kept:
    """Numbers by part, variant and seed, in a file that is written after each of them.

    Parameters
    ----------
    path
        The JSON file.
    settings
        How they were made: numbers that were made otherwise are not mixed with them.
    """

    path: Path
    settings: Mapping[str, Any]
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read()

    def _read(self) -> None:
        if not self.path.is_file():
            return
        found = from_json(json.loads(self.path.read_text(encoding="utf-8")))
        if found["settings"] != json.loads(json.dumps(dict(self.settings))):
            raise SystemExit(f"{self.path} holds results of other settings, {found['settings']}; choose another --out")
        self.parts = found["parts"]

    def measured(self, part: str, variant: str, seed: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """Measure what is not there yet, and keep it."""
        if any((row["variant"], row["seed"]) == (variant, seed) for row in self.parts.get(part, [])):
            return
        table = Table()
        table.add(variant, seed, measure())
        self._read()  # another process may have done another part meanwhile
        self.parts.setdefault(part, []).extend(table.rows)
        write_json(self.path, {"settings": dict(self.settings), "parts": self.parts})

    def table(self, part: str) -> Table:
        """Return the numbers of a part."""
        return Table(list(self.parts.get(part, [])))


def trained(folder: Path, pilot: Path, fit: Fit, *, seconds: float) -> dict[str, float]:
    """Train for a time into ``folder``/run, where that is not done yet.

    The epochs of that time, and the seconds that are told, are those of a short training in ``pilot``, which seeds
    share: whatever else the machine does while it trains for long changes neither.

    Returns
    -------
    Epochs, seconds of one of them, and of the whole.
    """
    each = timed(pilot, fit)
    epochs = max(2, round(seconds / each))
    trained_once(folder, lambda: fit(folder / "run", epochs, None))
    return {"epochs": epochs, "epoch_s": each, "train_s": epochs * each}


def timed(pilot: Path, fit: Fit) -> float:
    """Return the seconds of an epoch, from the times of a short training's checkpoints, where that is not known yet.

    All else, such as imports and the export, is not counted.
    """
    known = pilot / "pilot.json"
    if not known.is_file():
        shutil.rmtree(pilot, ignore_errors=True)  # one that was stopped tells nothing
        pilot.mkdir(parents=True)
        fit(pilot / "run", PILOT, 1)
        write_json(known, {"seconds_per_epoch": _seconds_per_epoch(pilot / "run")})
    return float(json.loads(known.read_text(encoding="utf-8"))["seconds_per_epoch"])


def _seconds_per_epoch(run: Path) -> float:
    """Return the median of the times between checkpoints."""
    times = [path.stat().st_mtime_ns * 1e-9 for _, path in sorted(epochs_in(run).items())]
    return float(np.median(np.diff(times)))
