"""From a finding to the configuration of a run that repairs it, whatever the kind of run."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

from jetsym.arguments import anything, checked
from jetsym.errors import CheckpointError, ConfigError, is_positive, refuse_unknown
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN, MODES
from jetsym.repair.base import Repair, Run
from jetsym.repair.remeasure import measured_again

__all__ = ["RUNS", "kind_of", "repair", "words"]

#: File in the folder of a run -> what such runs are of, and "module:class" of their kind, whose module is imported when
#: such a run turns up.
RUNS = {
    "options.yaml": ("atoms", "jetsym.repair.potential:PotentialRun"),
    "config.yaml": ("jets", "jetsym.repair.tagger:TaggerRun"),
}


def kind_of(run: str | Path) -> type[Run]:
    """Return the kind of the run in a folder.

    Raises
    ------
    CheckpointError
        The folder holds no run.
    """
    for file, (_, place) in RUNS.items():
        if (Path(run).expanduser() / file).is_file():
            kind: type[Run] = resolve_name(place)  # whose module registers its remedies
            return kind
    expected = " or ".join(f"{file} ({name})" for file, (name, _) in RUNS.items())
    raise CheckpointError(f"{run} holds no run; expected a folder with {expected}")


@checked(runs=anything)
def words(finding: str, runs: str) -> list[str]:
    """Return the remedies that a kind of runs, "jets" or "atoms", has for a failure mode, the least intrusive first.

    Raises
    ------
    ConfigError
        There is no such failure mode, or no such kind of runs.

    Examples
    --------
    >>> words("drift", "jets")
    ['penalty', 'lower-rate']
    """
    places = dict(RUNS.values())
    refuse_unknown("finding", finding, MODES)
    refuse_unknown("runs", runs, places)
    found: list[str] = resolve_name(places[runs]).remedies(finding)
    return found


@checked(weight=anything)
def repair(
    run: str | Path,
    *,
    finding: str,
    report: str | Path | None = None,
    remedy: str | None = None,
    weight: float | None = None,
    from_weights: bool = False,
) -> Repair:
    """Return the configuration of a run that repairs what was found in another.

    Parameters
    ----------
    run
        Folder of a run of ``jetsym train`` or ``jetsym atoms train``.
    finding
        Name of what was found: a key of :data:`jetsym.probing.diagnosis.MODES`.
    report
        The report or the diagnosis it was found in, for group, frame and axis; by default O(3) in the lab, and for
        frame locking rotations about the beam. The error spectrum of a report tells what averages at inference take.
    remedy
        A word of :data:`jetsym.repair.base.REMEDIES` for such runs; by default the least intrusive one that repairs the
        finding and that the run does not have already.
    weight
        Of a new penalty; by default 0.1, and 1 for potentials, whose loss it is measured in.
    from_weights
        Begin from the best weights of the run instead of anew.

    Raises
    ------
    ConfigError
        There is no such finding or remedy, or no option that would repair it.
    CheckpointError
        The folder holds no run, or does not say how it was trained.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / "config.yaml").write_text("data: train/*.root")
    >>> repaired = repair(run, finding="leakage")
    >>> repaired.remedy, repaired.config.augmentation.group
    ('augment', 'O3')
    >>> repair(run, finding="leakage", remedy="penalty").costs
    'A step takes every jet through the network 3 times instead of once, over 20 epochs as before; at inference the \
tagger costs what it did.'
    """
    refuse_unknown("--finding", finding, MODES)
    kind = kind_of(run)
    if weight is not None and not is_positive(weight):
        raise ConfigError(f"--weight is {weight!r}; expected the weight of a new penalty, above 0, such as 0.1")
    if MEASURE_AGAIN in MODES[finding].remedies and remedy is None:
        for option, value in {"weight": weight, "from_weights": from_weights or None}.items():
            if value is not None:
                raise ConfigError(
                    f"--{option} is {value}, but {finding!r} is repaired by measuring again: leave it out"
                )
        return measured_again(finding, run, report)
    return kind(run).repaired(finding, report, remedy, weight, from_weights)
