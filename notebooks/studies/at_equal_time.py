"""Trainings of equal time, and what is measured of them, kept after each: a study goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import Table, trained_once

from jetsym.atoms.checkpoint import epochs_in
from jetsym.files import from_json, write_json

#: Epochs of the short training that tells how long one takes; the first is left out, as it sets up.
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
        if not self.path.is_file():
            return
        found = from_json(json.loads(self.path.read_text(encoding="utf-8")))
        if found["settings"] != json.loads(json.dumps(dict(self.settings))):
            raise SystemExit(f"{self.path} holds results of other settings, {found['settings']}; choose another --out")
        self.parts = found["parts"]

    def measured(self, part: str, variant: str, seed: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """Measure what is not there yet, and keep it."""
        rows = self.parts.setdefault(part, [])
        if any((row["variant"], row["seed"]) == (variant, seed) for row in rows):
            return
        table = Table()
        table.add(variant, seed, measure())
        rows += table.rows
        write_json(self.path, {"settings": dict(self.settings), "parts": self.parts})

    def table(self, part: str) -> Table:
        """Return the numbers of a part."""
        return Table(list(self.parts.get(part, [])))


def trained(folder: Path, pilot: Path, fit: Fit, *, seconds: float) -> dict[str, float]:
    """Train for a time into ``folder``/run, where that is not done yet.

    The epochs of that time are known from a short training in ``pilot``, by the times of its checkpoints; seeds share
    it. All else, such as imports and the export, is not counted.

    Returns
    -------
    Epochs, seconds of one of them as it was, and of the whole.
    """
    known = pilot / "pilot.json"
    if not known.is_file():
        shutil.rmtree(pilot, ignore_errors=True)  # one that was stopped tells nothing
        pilot.mkdir(parents=True)
        fit(pilot / "run", PILOT, 1)
        write_json(known, {"seconds_per_epoch": _seconds_per_epoch(pilot / "run")})
    each = json.loads(known.read_text(encoding="utf-8"))["seconds_per_epoch"]
    epochs = max(2, round(seconds / each))
    whole = trained_once(folder, lambda: fit(folder / "run", epochs, None))
    return {"epochs": epochs, "epoch_s": _seconds_per_epoch(folder / "run"), "train_s": whole}


def _seconds_per_epoch(run: Path) -> float:
    times = {epoch: path.stat().st_mtime_ns * 1e-9 for epoch, path in epochs_in(run).items()}
    first, last = min(times), max(times)
    return (times[last] - times[first]) / max(1, last - first)
