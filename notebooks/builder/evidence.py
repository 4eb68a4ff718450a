"""Tables of the README and of the pages, made of what was measured: ``python notebooks/builder/evidence.py``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``, and is written anew from the JSON in
``notebooks/results``. ``--keep report.json --command "jetsym probe …" --inputs "…"`` puts a report of one's own there,
with the commit and the versions that made it.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jetsym.files import write_atomically, write_json
from jetsym.probing.reports.equivariance import KNOWN_TO
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
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


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
        cells = (name, weights, output, said(item["SO3"]), said(item["O3"]), f"{floor:.1e}", by_hand)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def said(found: Mapping[str, float]) -> str:
    """Say a relative A, in bold where it is more than rounding."""
    shown = f"{found['relative']:.2g}"
    return f"**{shown}**" if found["relative"] > KNOWN_TO * found["floor"] else shown


def gpu() -> list[str]:
    """Return all rows of the benchmark on an accelerator."""
    lines = ["| part | what | figure |", "|---|---|---|"]
    for row in results("gpu")["rows"]:
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


#: Name of a table -> what makes its lines.
TABLES: dict[str, Callable[[], list[str]]] = {
    "published": published,
    "particlenet": particlenet,
    "tensor_basis": tensor_basis,
    "gpu": gpu,
}


def rewritten(text: str) -> str:
    """Return a text with its tables as what was measured has them."""

    def anew(match: re.Match[str]) -> str:
        return "\n".join([match[1], "", *TABLES[match[2]](), "", "<!-- end of table -->"])

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?<!-- end of table -->", anew, text, flags=re.DOTALL)


def texts() -> list[Path]:
    """Return the texts that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "notebooks" / "docs").glob("*.md"))]


def keep(report: Path, command: str, inputs: str, commit: str = "HEAD") -> Path:
    """Put a report among the results, with what made it."""
    asked = subprocess.run(["git", "rev-parse", commit], cwd=ROOT, capture_output=True, text=True, check=True)
    versions = {name: version(name) for name in ("jetsym", "torch", "numpy")} | {"python": platform.python_version()}
    made_by = {"command": command, "inputs": inputs, "commit": asked.stdout.strip(), "versions": versions}
    return write_json(RESULTS / report.name, made_by | {"report": json.loads(report.read_text(encoding="utf-8"))})


def main() -> None:
    """Write the tables anew, after keeping a report where one is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a report to be kept in notebooks/results")
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
