"""Runs of ``jetsym train``: which of their options a repair changes, and what a change costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from jetsym.errors import CheckpointError, ConfigError
from jetsym.repair import tagger_remedies  # noqa: F401  registers its remedies
from jetsym.repair.base import Run, Values, facts
from jetsym.symmetry import GroupName, Symmetry
from jetsym.training.config import TrainConfig
from jetsym.training.folder import CONFIG

__all__ = ["TaggerRun"]

#: Steps between two looks at a run that drifted.
MONITOR_EVERY = 200
#: What locks an output to the detector, where no report tells.
ABOUT_THE_BEAM, ALONG_THE_BEAM = Symmetry(GroupName.SO2), Symmetry(GroupName.BOOST, width=0.5)


class TaggerRun(Run):
    """A run of ``jetsym train``."""

    RUNS, COMMAND, OPTIONS = "jets", "jetsym train", CONFIG
    NETWORK = frozenset({"model", "options"})
    CANNOT = "used under {}"
    AVERAGED, INPUT = ("logits",), "jet"

    def _checked(self, found: Any, path: Path) -> Values:
        try:
            return TrainConfig.from_dict(found).to_dict()
        except (TypeError, ConfigError) as error:
            raise CheckpointError(f"{path} is no configuration of a training: {error}") from error

    def _symmetry(self, finding: str, report: str | Path | None) -> Symmetry:
        locked = finding == "frame-locking"
        if report is None:
            return ABOUT_THE_BEAM if locked else Symmetry()
        meta, evidence = facts(finding, report)
        found = Symmetry.from_dict(meta)
        if found.group == GroupName.LORENTZ:
            if evidence and locked:
                return ALONG_THE_BEAM if all("boosts" in what for what in evidence) else ABOUT_THE_BEAM
            return Symmetry(frame="rest")
        if found.axis is not None and not found.is_about_beam and found.axis not in ("jet", "random"):
            raise ConfigError(
                f"the report is about the axis {meta['axis']}; training moves jets about 'beam', 'jet' or 'random'"
            )
        return found if found.is_compact else replace(found, width=ALONG_THE_BEAM.width)

    def _from_weights(self, values: Values) -> Values:
        return {"init": self.name, "options": {}}

    def _configured(self, values: Values, finding: str) -> TrainConfig:
        watched = {"monitor_every": values["monitor_every"] or MONITOR_EVERY} if finding == "drift" else {}
        return TrainConfig.from_dict(values | watched)

    def _costs(self, values: Values, more: str) -> str:
        passes, were = _passes(values), _passes(self.values)
        text = "A step of the training costs what it did"
        if passes != were:
            text = f"A step takes every jet through the network {_times(passes)} instead of {_times(were)}"
        used = f"here and at inference comes {more}." if more else "at inference the tagger costs what it did."
        return f"{text}, over {values['epochs']} epochs as before; {used}"

    def _symmetrized(self, symmetry: Symmetry, degree: int) -> str:
        return f"jetsym.remedies.Symmetrized(tagger, {symmetry.group!r}, {degree}, frame={symmetry.frame!r})"


def _passes(config: Values) -> int:
    """Return jets through the network per jet of a step: itself, and for a penalty two positions, or per generator."""
    return 1 + 2 * max(1, len(config["penalty"]["generators"])) if config["penalty"]["weight"] else 1


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
