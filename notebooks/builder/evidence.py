"""Tables of the README and of the pages, made of what was measured: ``python notebooks/builder/evidence.py``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``, and is written anew from the JSON in
``notebooks/results``. ``--keep report.json --command "jetsym probe …" --inputs "…"`` puts a report of one's own there,
with the commit and the versions that made it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from runpy import run_path
from statistics import fmean, stdev
from typing import Any

from jetsym.benchmarks.fault_trials import OUTCOMES
from jetsym.benchmarks.faults import Faults
from jetsym.benchmarks.measure import commit
from jetsym.benchmarks.memory import Memory
from jetsym.benchmarks.scaling import HEADS as LAWS, Scaling
from jetsym.files import write_atomically, write_json
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.reading import from_json
from jetsym.text import at_most, concise

__all__ = ["TABLES", "keep", "results", "rewritten", "texts"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results"

#: Networks of the atlas in the README: name -> output.
CHOSEN = {
    "ParticleNet": "logits",
    "LLoCa-Transformer": "scores",
    "L-GATr-slim": "scores",
    "Point transformer": "energy",
    "PET": "forces",
    "CHGNet": "forces",
    "SevenNet-0": "forces",
    "eSEN (fairchem)": "forces",
}


def results(name: str) -> Any:
    """Read what was measured."""
    return from_json(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def published() -> list[str]:
    """Return A of a few published networks."""
    lines = [
        "| network | weights | output | A, rotations | A, with reflections | rounding | by hand |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, output in CHOSEN.items():
        one = results("atlas")["models"][name]
        item, hand = one["outputs"][output], one["by hand"].get(output)
        weights = f"{one['weights'].partition(',')[0]}, {one['dtype']}"
        floor = max(item["SO3"]["floor"], item["O3"]["floor"])
        by_hand = "–" if hand is None else f"{hand['SO3']:.2g} / {hand['O3']:.2g}"
        errors = (said(item[group], one["n_inputs"]) for group in ("SO3", "O3"))
        cells = (name, weights, output, *errors, f"{floor:.1e}", by_hand)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def said(found: Mapping[str, float], n_inputs: int) -> str:
    """Say a relative A, in bold and with its standard error where it is more than rounding and there are two inputs."""
    if found["relative"] <= KNOWN_TO * found["floor"]:
        return f"{found['relative']:.2g}"
    stderr = found["stderr"] if n_inputs > 1 else None
    shown = f"{found['relative']:.2g}" if stderr is None else concise(found["relative"], stderr)
    return f"**{shown}**"


def gpu() -> list[str]:
    """Return all rows of the benchmark on an accelerator."""
    lines = ["| part | what | figure |", "|---|---|---|"]
    for row in results("gpu")["report"]["rows"]:
        figure = row["figure"].replace(": inf times", ": no rounding to compare with")
        lines.append(f"| {row['part']} | {row['what']} | {figure} |")
    return lines


#: Groups of the table of boosts and rotations: title -> where in the report.
GROUPS = {
    "O(3) at rest": ("compact", "O3 rest"),
    "O(3) in the lab": ("compact", "O3 lab"),
    "SO(2) about the jet": ("compact", "SO2 jet"),
    "SO(2) about the beam": ("compact", "SO2 beam"),
    "boosts, beam": ("windows", "beam"),
    "boosts, jet": ("windows", "jet"),
    "boosts, random": ("windows", "random"),
}


def particlenet() -> list[str]:
    """Return A of the public ParticleNet under the parts of the Lorentz group."""
    report = results("particlenet")["report"]
    cells = []
    for part, name in GROUPS.values():
        error = report[part][name]["equivariance"]["logits"]
        floor = KNOWN_TO * error["noise_floor"]
        rounding = f"below rounding ({at_most(floor)})"
        cells.append(rounding if error["relative"] < floor else concise(error["relative"], error["relative_stderr"]))
    return [f"| {' | '.join(GROUPS)} |", "|---" * len(GROUPS) + "|", f"| {' | '.join(cells)} |"]


#: Heads of the table of vectors and tensors by construction.
HEADS = ("tensor basis", "direct", "direct, augmented")


def tensor_basis() -> list[str]:
    """Return what heads of vectors and tensors err on molecules that they have not seen, means over seeds."""
    runs = results("tensor_basis")["report"]["runs"]
    lines = ["| | dipole | polarizability | relative A, largest |", "|---|---|---|---|"]
    for head in HEADS:
        rows = [run for run in runs if run["method"] == head]
        cells = []
        for target in ("mu", "alpha"):
            errors = [run["rmse_rotated"] for run in rows if run["target"] == target]
            cells.append(concise(fmean(errors), stdev(errors) / len(errors) ** 0.5))
        lines.append(f"| {head} | {cells[0]} | {cells[1]} | {at_most(max(run['A'] for run in rows))} |")
    return lines


def demo() -> list[str]:
    """Return what the demo finds of its two taggers, and of the same network untrained."""
    kept = results("demo")["report"]
    runs = ("plain", "rotated")
    metrics = [kept["metrics"][run] for run in runs]
    reports = [SymmetryReport.from_dict(kept[f"report_{run}"]) for run in runs]
    invariant = [report.fractions[[0, -3, -1], 0] for report in reports]
    untrained = concise(metrics[0]["relative_A_untrained"], metrics[0]["relative_A_untrained_stderr"])
    rows = [
        ["top against QCD, AUC, unrotated jets", *(f"{one['auc_top_qcd']:.3f}" for one in metrics), ""],
        ["accuracy (ten classes), unrotated jets", *(f"{100 * one['accuracy_upright']:.1f} %" for one in metrics), ""],
        ["accuracy, randomly rotated jets", *(f"{100 * one['accuracy_rotated']:.1f} %" for one in metrics), ""],
        [
            "relative A of the logits",
            *(concise(one["relative_A"], one["relative_A_stderr"]) for one in metrics),
            untrained,
        ],
        [
            "invariant fraction (0,+), embedding → last block → logits",
            *(" → ".join(f"{100 * value:.0f}" for value in shares) + " %" for shares in invariant),
            "",
        ],
        ["what rounding alone would give for A", *(at_most(one["noise_floor"]) for one in metrics), ""],
    ]
    return table(["", "trained on unrotated jets", "trained on rotated jets", "untrained"], rows)


def costs() -> list[str]:
    """Return what of the public ParticleNet's cross-entropy is owed to A, at rest and in the lab."""
    kept = results("particlenet_costs")["report"]
    rows = []
    for title, name in {"O(3) in the lab": "cost_lab", "O(3) at rest": "cost_rest"}.items():
        item = kept[name]["losses"]["logits"]
        rows.append([title, *(concise(item[part], item[f"{part}_stderr"]) for part in PARTS)])
    return table(["", "as it is", "moved", "its average", "owed to A"], rows)


#: Parts of a cost, in the order of the table.
PARTS = ("as_is", "moved", "of_average", "cost")


def faults() -> list[str]:
    """Return how many trials of every kind of fault ended in which way."""
    found = Faults.from_dict(results("faults")["report"])
    return table(["fault", "tried", "survived", *OUTCOMES], found.rows())


def memory() -> list[str]:
    """Return what evaluations, predictions and probes take at most, by their number of jets."""
    return table(MEMORY_COLUMNS, Memory.from_dict(results("memory")["report"]).rows())


#: Columns of the table of memory.
MEMORY_COLUMNS = ("task", "jets", "MiB at most", "MiB by which it grows", "bytes for each further jet")


def scaling() -> list[str]:
    """Return the exponents of time and memory, beside those of the work itself."""
    return table(LAWS, Scaling.from_dict(results("scaling")["report"]).rows())


def hours() -> list[str]:
    """Return the hours of one processor for 100 million jets."""
    found = Scaling.from_dict(results("scaling")["report"])
    rates = {law.task: law.rate for law in found.laws if law.axis == "jets"}
    rows = [[task, f"{1e6 * rates[task]:,.0f}", f"{value:,.1f}"] for task, value in found.hours().items()]
    return table(["task", "µs of a processor per jet", "hours of one processor"], rows)


def studied(name: str, part: str, columns: Mapping[str, str]) -> list[str]:
    """Return means over the seeds of a part of a study, with standard errors, by variant: column -> title."""
    by_variant: dict[str, list[Mapping[str, Any]]] = {}
    for row in results(name)["report"]["parts"][part]:
        by_variant.setdefault(row["variant"], []).append(row)
    rows = []
    for variant, runs in by_variant.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs]
            error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
            cells.append(concise(fmean(values), error))
        rows.append((variant, *cells))
    return table(("", *columns.values()), rows)


#: The titles that the study of the least bias has in its own tables.
TITLES = run_path(str(ROOT / "notebooks" / "studies" / "titles.py"))


def but(columns: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return titles without those of some columns."""
    return {name: title for name, title in columns.items() if name not in names}


#: Part of the study of the least bias -> the columns of its table.
LEAST_BIAS = {
    "ethanol": but(TITLES["COLUMNS"], "train_s"),
    "drift": TITLES["DRIFT"],
    "copper": but(TITLES["CRYSTAL"], "epoch_s", "train_s"),
    "tensors": {
        "mtt::mu rotated": "μ, RMSE rotated",
        "mtt::alpha0 rotated": "α λ=0",
        "mtt::alpha2 rotated": "α λ=2",
        "A mtt::mu": "A of μ",
        "A mtt::alpha0": "A of α λ=0",
        "A mtt::alpha2": "A of α λ=2",
        "epoch_s": "s per epoch",
    },
    "sizes": {
        "forces rotated": "forces RMSE, rotated, meV/Å",
        "A forces": "A of forces, meV/Å",
        "A energy": "A of energy, meV/atom",
    },
}
#: The same of that of jets.
SIZES_OF_JETS = {"accuracy": "accuracy", "accuracy rotated": "accuracy, rotated jets", "A": "relative A"}


def recorded(name: str) -> list[str]:
    """Return a table as it was printed, of runs whose files were not kept."""
    kept = results(name)["report"]
    return table(kept["columns"], kept["rows"])


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [heads, *rows]]
    return [lines[0], "|---" * (lines[0].count("|") - 1) + "|", *lines[1:]]


#: Tables of runs whose files were not kept: they show a record of what was printed.
RECORDED = (
    *("jets_repaired", "copper_repaired", "ethanol_augmented"),
    *("cost_of_a_probe", "cost_of_the_guards", "cost_beside_metatomic", "estimator", "loader"),
)

#: Name of a table -> what makes its lines.
TABLES: dict[str, Callable[[], list[str]]] = {
    "published": published,
    "particlenet": particlenet,
    "tensor_basis": tensor_basis,
    "gpu": gpu,
    "demo": demo,
    "costs": costs,
    "faults": faults,
    "memory": memory,
    "hours": hours,
    "scaling": scaling,
    **{name: partial(recorded, name) for name in RECORDED},
    **{f"least_bias_{part}": partial(studied, "least_bias", part, columns) for part, columns in LEAST_BIAS.items()},
    "sizes_of_jets": partial(studied, "sizes_of_jets", "jets", SIZES_OF_JETS),
}


def rewritten(text: str) -> str:
    """Return a text with its tables as what was measured has them."""

    def anew(match: re.Match[str]) -> str:
        return "\n".join([match[1], "", *TABLES[match[2]](), "", "<!-- end of table -->"])

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?<!-- end of table -->", anew, text, flags=re.DOTALL)


def texts() -> list[Path]:
    """Return the texts that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "notebooks" / "docs").glob("*.md"))]


def keep(report: Path, command: str, inputs: str, ran_at: str = "HEAD") -> Path:
    """Put a report, or all reports of a folder, among the results, with what made them."""
    versions = {name: version(name) for name in ("jetsym", "torch", "numpy")} | {"python": platform.python_version()}
    made_by = {"command": command, "inputs": inputs, "commit": commit(ran_at), "versions": versions}
    files = sorted(report.glob("*.json")) if report.is_dir() else [report]
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    kept = made_by | {"report": found if report.is_dir() else found[report.stem]}
    return write_json(RESULTS / f"{report.stem}.json", kept)


def main() -> None:
    """Write the tables anew, after keeping a report where one is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a report, or a folder of them, to be kept")
    parser.add_argument("--command", help="the command that made it")
    parser.add_argument("--inputs", help="what was measured, where it comes from, and its checksum")
    parser.add_argument("--commit", default="HEAD", help="the commit that the command ran at")
    arguments = parser.parse_args()
    if arguments.keep:
        if not (arguments.command and arguments.inputs):
            parser.error("--keep needs the --command that made the report, and its --inputs")
        print(keep(arguments.keep, arguments.command, arguments.inputs, arguments.commit))
    for path in texts():
        text = path.read_text(encoding="utf-8")
        if (anew := rewritten(text)) != text:
            print(write_atomically(path, anew))


if __name__ == "__main__":
    main()
