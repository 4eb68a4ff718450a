"""A of a tagger against the number of jets it learned from, as they come and rotated at random, over seeds.

The twin of the part ``sizes`` of ``least_bias.py``, with a small PointNet on the bundled jets. All trainings make as
many steps, so that all take about the same time: fewer jets are seen more often.

    python notebooks/studies/sizes_of_jets.py [--quick] [--out DIR] [--seeds 3]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from at_equal_time import Kept
from common import arguments
from jets import TAGGER, measure

import jetsym
from jetsym.benchmarks.compare_regimes import train_seconds
from jetsym.files import write_atomically
from jetsym.jets import JetBatch, read
from jetsym.jets.io.sample import sample_dir
from jetsym.training import train

#: Jets to learn from, and epochs over the most of them.
SIZES, EPOCHS = (500, 1000, 2000, 4000), 12
BUDGET: dict[str, Any] = {"batch_size": 128, "lr": 0.002, "max_particles": 40} | TAGGER
MOVED = {"as they come": "none", "augmented": "O3"}

COLUMNS = {
    "accuracy": "accuracy",
    "accuracy rotated": "rotated",
    "A": "relative A",
    "auc rotated, worst": "AUC rotated, worst",
    "train_s": "training s",
    "use_s": "use, s per 1000 jets",
}


def study(out: Path, *, quick: bool = False, seeds: int = 3) -> str:
    """Train and measure all that is not known yet; return the table."""
    kept = Kept(out / "sizes_of_jets.json", {"quick": quick, "epochs": EPOCHS})
    test = read(sample_dir() / "test", limit=100 if quick else 2000, max_particles=BUDGET["max_particles"])
    for seed in range(seeds):
        for size in SIZES[:1] if quick else SIZES:
            for words, group in MOVED.items():
                folder = out / f"{words.replace(' ', '-')}-{size}-{seed}"
                options = {"limit": size, "epochs": 1 if quick else EPOCHS * SIZES[-1] // size, "seed": seed}
                found = partial(_measured, folder, options | {"augmentation": {"group": group}}, test, quick=quick)
                kept.measured("jets", f"{words}, {size}", seed, found)
    text = kept.table("jets").text(COLUMNS)
    write_atomically(out / "sizes_of_jets.txt", text)
    return text


def _measured(folder: Path, options: dict[str, Any], test: JetBatch, *, quick: bool) -> dict[str, float]:
    """Train a tagger, where that is not done yet, and measure it."""
    files = {"val": str(sample_dir() / "val"), "resume": True, "progress": False}
    train(str(sample_dir() / "train"), folder, **BUDGET, **files, **options)
    values = measure(jetsym.load(folder), test, quick=quick)
    return {**values, "train_s": train_seconds(folder), "jets": options["limit"]}


if __name__ == "__main__":
    options = arguments(__doc__ or "", out="runs/studies/sizes_of_jets")
    print(study(options.out, quick=options.quick, seeds=options.seeds), end="")
