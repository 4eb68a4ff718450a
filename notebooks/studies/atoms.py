"""A natural failure of an atomistic transformer: found by ``diagnose``, repaired by what it advises, at equal budget.

A small PET is trained on copper of effective-medium theory, every structure as it comes. It is probed and diagnosed;
what the diagnosis advises is done: structures rotated in training, and symmetrised at inference, over O(3) to the
degree that the error spectrum asks for, or the space group of the crystal. All are measured on held-out structures and
on what broken symmetry does to the physics: bands that should be degenerate, forbidden stress, the energy in
molecular dynamics. What did not help stays in the table.

    python notebooks/studies/atoms.py [--quick] [--out DIR]
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.build import bulk
from common import Table, arguments, degree, keep, trained_once

import jetsym
from jetsym.atoms import SymmetrizedCalculator, calculator, evaluate, phonons, read_frames
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.dynamics import drift
from jetsym.atoms.workflows.forbidden import spurious
from jetsym.benchmarks.copper import LATTICE, train_copper

BUDGET = {"structures": 100, "epochs": 25}
QUICK = {"structures": 80, "epochs": 1}

#: The part of A² that the average over O(3) may leave.
TOLERANCE = 0.1

#: The failures that are repaired, if they are found.
SOUGHT = ("leakage", "misalignment")

COLUMNS = {
    "forces": "forces RMSE, meV/Å",
    "energy": "energy RMSE, meV/atom",
    "A": "A of the energy, meV/atom",
    "torque": "torque, meV/atom",
    "splitting": "worst splitting, THz",
    "forbidden": "forbidden stress, GPa",
    "drift": "NVE drift, meV/atom/ps",
    "train_s": "training s",
    "use_s": "use, s per structure",
}


def study(out: Path, *, quick: bool = False, seeds: int = 3) -> dict[str, Any]:
    """Train, diagnose, repair and compare; trainings that are there already are taken up."""
    crystal = bulk("Cu", a=LATTICE)
    table, findings = Table(), []
    for seed in range(seeds):
        runs = {name: _trained(out / f"{name}-{seed}", name == "augment", seed, quick) for name in ("plain", "augment")}
        frames = read_frames(out / f"plain-{seed}" / "validation.xyz")[: 8 if quick else None]
        with quiet():
            potentials = {name: calculator(run) for name, (run, _) in runs.items()}
            reports = {name: _probe(run, frames, quick) for name, (run, _) in runs.items()}
            if seed == 0:
                findings = diagnose(reports["plain"], out)
            l_max = degree(reports["plain"], "energy", tolerance=TOLERANCE)
            plain = potentials["plain"]
            potentials["averaged, O3"] = SymmetrizedCalculator(plain, "O3", 1 if quick else l_max)
            potentials["averaged, space group"] = SymmetrizedCalculator(plain, "space", reference=crystal)
            for name, potential in potentials.items():
                values = measure(potential, frames, crystal, quick=quick)
                if name in reports:
                    energy = reports[name].equivariance["energy"]
                    values["A"] = 1000 * energy.absolute / (sum(map(len, frames)) / len(frames))
                values["train_s"] = runs[name if name in runs else "plain"][1]
                table.add(name, seed, values)
    found = {"findings": findings, "degree": l_max, "results": table.rows}
    keep(out / "atoms.json", found, table.text(COLUMNS))
    return found


def diagnose(report: Any, out: Path) -> list[dict[str, Any]]:
    """Diagnose the model, save and print what is found; it must be one of the failures that are sought."""
    diagnosis = jetsym.diagnose(report)
    diagnosis.save(out / "diagnosis.json")
    print(diagnosis)
    if not any(name in diagnosis for name in SOUGHT):
        raise SystemExit(f"nothing to repair: found {[finding.name for finding in diagnosis]}")
    return [asdict(finding) for finding in diagnosis]


def measure(potential: Any, frames: list[Any], crystal: Any, *, quick: bool) -> dict[str, float]:
    """Measure accuracy on held-out structures, effects on phonons, stress and molecular dynamics, and cost."""
    few = frames[: 1 if quick else 4]
    start = time.perf_counter()
    scores = evaluate(potential, few, progress=False).scores["all"]
    seconds = (time.perf_counter() - start) / len(few)
    vibrating = phonons(crystal, potential, supercell=(2, 2, 2), path="GXL", points=5, mesh=5, progress=False)
    plain = vibrating.runs["plain"]
    moving = drift(bulk("Cu", a=LATTICE, cubic=True), potential, steps=3 if quick else 20)
    return {
        "forces": scores.forces_rmse,
        "energy": scores.energy_rmse,
        "A": float("nan"),
        "splitting": plain.worst.splitting,
        "torque": 1000 * np.sqrt(np.mean([(spurious(f, potential).torque / len(f)) ** 2 for f in few[:2]])),
        "forbidden": plain.spurious.forbidden_stress / units.GPa,
        "drift": abs(moving.energy_drift),
        "use_s": seconds,
    }


def _trained(folder: Path, augment: bool, seed: int, quick: bool) -> tuple[Path, float]:
    """Train a PET at need; return its run, and the seconds that its training took."""
    budget = QUICK if quick else BUDGET
    seconds = trained_once(folder, lambda: train_copper(folder, seed=seed, augment=augment, progress=False, **budget))
    return folder / "run", seconds


def _probe(run: Path, frames: list[Any], quick: bool) -> Any:
    return jetsym.probe(jetsym.atoms.load(run), frames[:8], l_max=2 if quick else 6, baseline=None, progress=False)


if __name__ == "__main__":
    options = arguments(__doc__ or "", out="runs/studies/atoms")
    study(options.out, quick=options.quick, seeds=options.seeds)
