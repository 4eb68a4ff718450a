"""Repairs by measuring again."""

from __future__ import annotations

from pathlib import Path

from jetsym.errors import ConfigError
from jetsym.probing.diagnosis.diagnose import diagnose
from jetsym.probing.options import RANDOM_ROTATIONS
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.read import read_report
from jetsym.repair.base import Repair, facts
from jetsym.repair.tagger_remedies import Values
from jetsym.spectrum import group_of
from jetsym.storage import read_json
from jetsym.symmetry import Symmetry

__all__ = ["MEASURED_AGAIN", "measured_again"]


#: Modes that are the measurement's rather than the model's.
MEASURED_AGAIN = ("saturation", "under-resolved")


def measured_again(finding: str, run: str | Path, report: str | Path | None) -> Repair:
    """The options of a probe that would tell what this one could not, from the errors in its report.

    Raises
    ------
    ConfigError
        There is no report, it does not have the finding, or no option would do.
    """
    if report is None:
        raise ConfigError(f"{finding!r} is mended by measuring again: give the --report, whose errors say with what")
    meta, _ = facts(finding, report)
    is_diagnosis = read_json(report).get("kind") == Diagnosis.KIND
    found = Diagnosis.load(report) if is_diagnosis else diagnose(read_report(report))
    item = next((item for item in found if item.name == finding), None)
    if item is None:
        raise ConfigError(f"{report} shows no {finding!r}; it shows {', '.join(sorted(found.names)) or 'nothing'}")
    if not item.options:
        raise ConfigError(f"no option of jetsym probe mends it: {item.text}")
    random = meta.get("method") == "random"
    before: Values = {
        "group": meta["group"],
        **({"frame": meta["frame"]} if meta["group"] in ("O3", "SO3") else {}),
        **({"axis": meta["axis"]} if meta["group"] == "SO2" else {}),
        "l_max": meta["l_max"],
        "method": "random" if random else "auto",
        **({"n_rotations": meta["n_rotations"]} if random else {}),
        "limit": meta["n_inputs"],
        "seed": meta["seed"],
    }
    after = {**before, **item.options}
    return Repair(
        finding=finding,
        remedy="measuring again",
        config=after,
        changes={name: (before[name], value) for name, value in item.options.items() if before[name] != value},
        effect=item.text.removesuffix("."),
        costs=f"It takes about {_rotations(after) / _rotations(before):.2g} times the evaluations, and no training.",
        run=str(run),
        command=f"jetsym probe {run} --config {{config}} --out NEW_REPORT.json  # and --inputs as before",
    )


def _rotations(options: Values) -> int:
    """Inputs times rotations of a probe."""
    group = group_of(
        Symmetry.parse("O3" if options["group"] == "lorentz" else options["group"], axis=options.get("axis"))
    )
    random = options["method"] == "random"
    each = options.get("n_rotations", RANDOM_ROTATIONS) if random else len(group.quadrature(options["l_max"]))
    return int(options["limit"]) * int(each)
