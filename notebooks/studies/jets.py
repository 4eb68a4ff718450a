"""A planted failure of a jet tagger: found by ``diagnose``, repaired by what it advises, compared at equal budget.

The bundled jets are rotated into one narrow cone, as if they came from one small part of a detector, and a PointNet is
trained on them. It is probed and diagnosed; every remedy that ``repair`` has for the finding is trained with the same
data, epochs and seeds; so is the plain tagger, symmetrised at inference. Every tagger is then measured on jets
as it knows them, rotated at random, and boosted. What did not help stays in the table.

    python notebooks/studies/jets.py [--quick] [--out DIR]
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from aligned import aligned_sample
from common import Table, arguments, degree, keep

import jetsym
from jetsym.benchmarks.compare_regimes import train_seconds
from jetsym.jets import JetBatch, read
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.stability import stability
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.probing.probe import probe
from jetsym.remedies import Symmetrized
from jetsym.repair import repair, words
from jetsym.training import train

#: What all taggers have in common: the network, the data, the budget.
TAGGER = {"model": "pointnet", "options": {"width": 48, "blocks": 2, "heads": 4}}
BUDGET = {"epochs": 12, "limit": 4000, "batch_size": 128, "lr": 0.002, "max_particles": 40}
QUICK = BUDGET | {"epochs": 1, "limit": 400}

#: How the test jets are moved, anew for every jet and draw.
MOVES = {"rotated": AugmentationConfig("SO3"), "boosted": AugmentationConfig("boost", axis="beam", width=0.5)}

#: The part of A² that the average over rotations may leave.
TOLERANCE = 0.01

#: The failures that are repaired, if they are found; the first one that is.
SOUGHT = ("leakage", "misalignment")


def study(out: Path, *, quick: bool = False, seeds: int = 3) -> dict[str, Any]:
    """Train, diagnose, repair and compare; everything that is there already is taken up."""
    data = aligned_sample(out / "aligned", limit=40 if quick else None)
    files = {"data": str(data / "train"), "val": str(data / "val")}
    test = read(data / "test", limit=300 if quick else 2000, max_particles=BUDGET["max_particles"])
    budget = (QUICK if quick else BUDGET) | TAGGER

    plain = [out / f"plain-{seed}" for seed in range(seeds)]
    for seed, folder in enumerate(plain):
        _train(folder, seed, files | budget)
    report: Any = probe(
        plain[0], test, group="SO3", l_max=4, limit=10 if quick else 40, baseline="untrained", progress=False
    )
    diagnosis = jetsym.diagnose(report)
    diagnosis.save(out / "diagnosis.json")
    print(diagnosis)
    finding = next((name for name in SOUGHT if name in diagnosis), None)
    if finding is None:
        raise SystemExit(f"nothing to repair: found {[found.name for found in diagnosis]}")

    table = Table()
    for seed, folder in enumerate(plain):
        tagger = jetsym.load(folder)
        table.add("plain", seed, measure(tagger, test, quick=quick) | {"train_s": train_seconds(folder)})
        for remedy in words(finding, "jets"):
            recipe = repair(folder, finding=finding, report=out / "diagnosis.json", remedy=remedy)
            repaired = out / f"{remedy}-{seed}"
            _train(repaired, seed, recipe.config.to_dict())
            values = measure(jetsym.load(repaired), test, quick=quick)
            table.add(remedy, seed, values | {"train_s": train_seconds(repaired)})
        averaged = Symmetrized(tagger, "SO3", 2 if quick else degree(report, "logits", tolerance=TOLERANCE))
        few = test[:: 10 if quick else 5]
        table.add("averaged", seed, measure(averaged, few, quick=quick) | {"train_s": train_seconds(folder)})
    found = {"finding": finding, "findings": [asdict(found) for found in diagnosis], "results": table.rows}
    keep(out / "jets.json", found, table.text(COLUMNS))
    return found


#: Column -> its title.
COLUMNS = {
    "accuracy": "accuracy",
    "accuracy rotated": "rotated",
    "auc rotated, worst": "AUC rotated, worst",
    "auc boosted, worst": "AUC boosted, worst",
    "A": "relative A",
    "train_s": "training s",
    "use_s": "use, s per 1000 jets",
}


def measure(tagger: torch.nn.Module, test: JetBatch, *, quick: bool) -> dict[str, float]:
    """Measure a tagger on jets as they are, rotated and boosted; its relative A; seconds per 1000 jets."""
    start = time.perf_counter()
    logits = predict_logits(tagger, test)
    seconds = time.perf_counter() - start
    moved = stability(tagger, test, actions=MOVES, draws=1 if quick else 3)
    report: Any = probe(
        tagger, test, group="SO3", l_max=0, n_rotations=16, limit=8 if quick else 40, layers=[], progress=False
    )
    values = {"accuracy": float((logits.argmax(-1) == test.label).float().mean())}
    for name, change in moved.changes.items():
        values[f"accuracy {name}"] = change["accuracy"].mean
        values[f"auc {name}, worst"] = change["auc"].worst
    values["A"] = report.equivariance["logits"].relative
    values["A noise floor"] = report.equivariance["logits"].noise_floor
    return values | {"use_s": 1000 * seconds / len(test)}


def _train(folder: Path, seed: int, options: dict[str, Any]) -> None:
    options = options | {"seed": seed}
    train(options.pop("data"), folder, resume=True, progress=False, **options)


if __name__ == "__main__":
    options = arguments(__doc__ or "", out="runs/studies/jets")
    study(options.out, quick=options.quick, seeds=options.seeds)
