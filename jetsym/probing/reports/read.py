"""Reports of any kind from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from jetsym.errors import DataError
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.storage import read_json

__all__ = ["Report", "read_report"]

#: What a probe gives: of compact groups, of boosts, and of all that can be said of the Lorentz group.
Report = SymmetryReport | BoostReport | LorentzReport

KINDS: dict[str, type[Report | ReportsOver]] = {kind.KIND: kind for kind in (*get_args(Report), ReportsOver)}


def read_report(path: str | Path) -> Report:
    """Read the report that :func:`jetsym.probe` gave and its ``save`` wrote, whatever its kind; also reports over.

    Raises
    ------
    DataError
        No such file, or it does not hold a report of a probe.
    """
    data: dict[str, Any] = read_json(path)
    # The first two formats of spectra did not say their kind, and there was no other.
    kind = data.get("kind", SymmetryReport.KIND if data.get("format") in (1, 2) else None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"{path} holds {kind!r}; expected a report of a probe: {', '.join(map(repr, KINDS))}")
    return cast(Report, KINDS[kind].from_dict(data))
