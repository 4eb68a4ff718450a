"""The repair of a measurement: measuring again, with other options."""

from __future__ import annotations

from pathlib import Path

from jetsym.errors import ConfigError
from jetsym.probing.diagnosis.diagnose import diagnose
from jetsym.probing.diagnosis.modes import MEASURE_AGAIN
from jetsym.probing.options import RANDOM_ROTATIONS
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.read import read_report
from jetsym.repair.base import Repair, Values, facts
from jetsym.spectrum import group_of
from jetsym.storage import read_json
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["measured_again"]


def measured_again(finding: str, run: str | Path, report: str | Path | None) -> Repair:
    """Return the options of a probe that would tell what this one could not, from the errors in its report.

    Raises
    ------
    ConfigError
        There is no report, it does not have the finding, or no option would do.
    """
    if report is None:
        raise ConfigError(f"{finding!r} is repaired by measuring again: give the --report, whose errors say with what")
    meta, _ = facts(finding, report)
    saved = read_json(report).get("kind") == Diagnosis.KIND
    found = Diagnosis.load(report) if saved else diagnose(read_report(report))
    item = next((item for item in found if item.name == finding), None)
    if item is None:
        raise ConfigError(f"{report} shows no {finding!r}; it shows {', '.join(sorted(found.names)) or 'nothing'}")
    if not item.options:
        raise ConfigError(f"no option of jetsym probe repairs it: {item.text}")
    random = meta.get("method") == "random"
    asked = [name for name in Symmetry.from_dict(meta).named.takes if name in ("frame", "axis")]
    needed = {*asked, "l_max", "n_inputs", "seed", *(["n_rotations"] if random else [])} - set(meta)
    if needed:
        raise ConfigError(f"{report} does not say with what {', '.join(sorted(needed))} it was measured; probe again")
    before: Values = {
        "group": meta["group"],
        **{name: meta[name] for name in asked},
        "l_max": meta["l_max"],
        "method": "random" if random else "auto",
        **({"n_rotations": meta["n_rotations"]} if random else {}),
        "limit": meta["n_inputs"],
        "seed": meta["seed"],
    }
    after = {**before, **item.options}
    return Repair(
        finding=finding,
        remedy=MEASURE_AGAIN,
        config=after,
        changes={name: (before[name], value) for name, value in item.options.items() if before[name] != value},
        effect=item.text.removesuffix("."),
        costs=f"It takes about {_rotations(after) / _rotations(before):.2g} times the evaluations, and no training.",
        run=str(run),
        command=f"jetsym probe {run} --config {{config}} --out NEW_REPORT.json  # and --inputs as before",
    )


def _rotations(options: Values) -> int:
    """Return inputs times rotations of a probe; of all that is said of the Lorentz group, those of O(3)."""
    name = GroupName.O3 if options["group"] == GroupName.LORENTZ else options["group"]
    group = group_of(Symmetry.parse(name, axis=options.get("axis")))
    random = options["method"] == "random"
    each = options.get("n_rotations", RANDOM_ROTATIONS) if random else len(group.quadrature(options["l_max"]))
    return int(options["limit"]) * int(each)
