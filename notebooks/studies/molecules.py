"""Symmetry that a transformer learns from real molecules, over its training, with and without augmentation.

The same small PET is trained on ethanol as it comes, and rotated and mirrored at random; SOAP-BPNN, which is invariant
by construction, beside them. Spectra and A are measured at the checkpoints of every training, on structures that none
of them saw; then the models that validated best, with their errors on structures as they come and rotated at random:
on these, the square of the error is that of the average over all orientations, and A².

    python notebooks/studies/molecules.py [--quick] [--out DIR] [--data FILE]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from common import Table, arguments, keep, trained_once
from scipy.spatial.transform import Rotation
from titles import ACCURACY

import jetsym
from jetsym.atoms import calculator, evaluate, load, over_training, read_frames, train
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.forbidden import torque
from jetsym.files import finished_file
from jetsym.plotting import save_figure
from jetsym.plotting.style import PALETTE
from jetsym.probing.reports.history import History

#: Structures of ethanol with energies and forces in kcal/mol.
DATA = Path("atoms", "ethanol_reduced_100.xyz")
HELP = f"XYZ file with energies and forces in kcal/mol; by default {DATA} in the folder JETSYM_REAL_DATA"
#: Every tenth structure validates, and every other fifth is measured; the rest is to learn from.
VALIDATION, TEST = slice(0, None, 10), slice(1, None, 5)

#: The epochs of SOAP-BPNN take twice as long, and it needs fewer.
VARIANTS: dict[str, dict[str, Any]] = {
    "as they come": {"augment": False},
    "augmented": {"augment": True},
    "SOAP-BPNN": {"architecture": "soap_bpnn", "epochs": 50},
}
PET = {
    "d_pet": 32,
    "d_node": 32,
    "d_head": 32,
    "d_feedforward": 64,
    "num_heads": 4,
    "num_gnn_layers": 2,
    "num_attention_layers": 1,
}
SOAP = {"soap": {"max_angular": 4, "max_radial": 4}}
BUDGET = {"epochs": 150, "learning_rate": 3e-3, "batch_size": 4}
QUICK = {"epochs": 2}
LOSS = {"energy": {"type": "mse", "weight": 1.0, "forces": {"weight": 1.0}}}

#: Style of the line of each variant.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": PALETTE[1], "marker": "o", "linestyle": "-", "markersize": 3.5, "linewidth": 1.2},
    {"color": PALETTE[2], "marker": "s", "linestyle": "--", "markersize": 3.5, "linewidth": 1.2},
    {"color": PALETTE[0], "marker": "^", "linestyle": ":", "markersize": 3.5, "linewidth": 1.2},
)

#: The layer whose spectrum is drawn and told: what the readout of atoms sees.
LAYER = "gnn_layers.1_node"
LAYERS = ["gnn_layers.?_node", "gnn_layers.?_edge"]
#: Structures that are probed.
PROBED = 6

COLUMNS = ACCURACY | {
    "1 - b first": "1 − b(0,+), first",
    "1 - b last": "1 − b(0,+), last",
    "train_s": "training s",
}


def study(out: Path, data: Path, *, quick: bool = False, seeds: int = 3) -> dict[str, Any]:
    """Train, probe over training, measure and compare; trainings that are there already are taken up."""
    test = split(data, out)[: 2 if quick else None]
    table, histories = Table(), {}
    for seed in range(seeds):
        for name, options in VARIANTS.items():
            run, seconds = _trained(out, name, seed, options, quick)
            with quiet():
                inside = [] if name == "SOAP-BPNN" else LAYERS
                history = _history(run, test[:PROBED], layers=inside, l_max=1 if quick else 2)
                table.add(name, seed, measure(run, test, history, l_max=1 if quick else 4) | {"train_s": seconds})
            histories.setdefault(name, []).append(history)
    draw(histories, out)
    found = {
        "results": table.rows,
        "histories": {name: [history.to_dict() for history in many] for name, many in histories.items()},
    }
    keep(out / "molecules.json", found, table.text(COLUMNS))
    return found


def split(data: Path, out: Path) -> list[Any]:
    """Write structures to learn from and to validate on, in eV, and return those to measure."""
    from ase.io import write

    frames = read_frames(data)
    for frame in frames:
        in_ev = {
            "energy": frame.get_potential_energy() * units.kcal / units.mol,
            "forces": frame.get_forces() * units.kcal / units.mol,
        }
        frame.calc = SinglePointCalculator(frame, **in_ev)
    places = np.arange(len(frames))
    validation, test = set(places[VALIDATION]), set(places[TEST])
    parts = {
        "train": [frames[place] for place in places if place not in validation | test],
        "validation": [frames[place] for place in sorted(validation)],
    }
    for name, part in parts.items():
        with finished_file(out / f"{name}.xyz") as unfinished:
            write(unfinished, part, format="extxyz")
    return [frames[place] for place in sorted(test - validation)]


def measure(run: Path, frames: list[Any], history: History, *, l_max: int) -> dict[str, float]:
    """Measure accuracy and broken symmetry of a finished model, by component of forces and by atom."""
    potential = calculator(run)
    scores, rotated_scores = (
        evaluate(potential, many, progress=False).scores["all"] for many in (frames, rotated(frames))
    )
    report: Any = jetsym.probe(load(run), frames[:PROBED], layers=[], l_max=l_max, baseline=None, progress=False)
    atoms = len(frames[0])
    forces, energy = report.equivariance["forces"], report.equivariance["energy"]
    torques = [np.sum((torque(frame, potential) / atoms) ** 2) for frame in frames]
    values = {
        "forces": scores.forces_rmse,
        "forces rotated": rotated_scores.forces_rmse,
        "energy": scores.energy_rmse,
        "A forces": 1000 * forces.absolute / np.sqrt(3 * atoms),
        "A forces, relative": forces.relative,
        "A forces, relative, noise floor": forces.noise_floor,
        "A energy": 1000 * energy.absolute / atoms,
        "torque": 1000 * np.sqrt(np.mean(torques)),
    }
    for when, place in {"first": 0, "last": -1}.items():
        inside = LAYER in history.layers
        fractions = history.over_steps("fractions")[place, history.row(LAYER)] if inside else [float("nan")]
        values[f"1 - b {when}"] = 1 - float(fractions[0])
    return values


def rotated(frames: list[Any], *, times: int = 4) -> list[Any]:
    """Rotate every molecule with its forces at random, half of them mirrored."""
    found = []
    for place, matrix in enumerate(Rotation.random(times * len(frames), rng=0).as_matrix()):
        frame, improper = frames[place // times], (-1) ** place * matrix
        moved = frame.copy()
        moved.positions = frame.positions @ improper.T
        results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces() @ improper.T}
        moved.calc = SinglePointCalculator(moved, **results)
        found.append(moved)
    return found


def draw(histories: dict[str, list[History]], out: Path) -> None:
    """Draw A of the forces over training for all seeds, and the spectrum of a layer of PET, irrep by irrep."""
    pets = [name for name, many in histories.items() if LAYER in many[0].layers]
    figure, axes = plt.subplots(1, 1 + len(pets), figsize=(3.6 * (1 + len(pets)), 3.2), layout="constrained")
    for (name, many), style in zip(histories.items(), STYLES, strict=True):
        for seed, history in enumerate(many):
            values, stderr = (history.error(key, "forces") for key in ("over_spread", "over_spread_stderr"))
            axes[0].errorbar(history.steps, values, yerr=stderr, label=None if seed else name, capsize=2, **style)
    axes[0].set(yscale="log", xlabel="epochs", ylabel="A of the forces over their spread")
    axes[0].legend(frameon=False, fontsize="small")
    for ax, name in zip(axes[1:], pets, strict=True):
        histories[name][0].plot(ax, layer=LAYER)
        ax.set_title(f"{LAYER}, {name}", fontsize="medium")
    save_figure(figure, out / "molecules.png")
    save_figure(figure, out / "molecules.pdf")
    plt.close(figure)


def _trained(out: Path, name: str, seed: int, options: dict[str, Any], quick: bool) -> tuple[Path, float]:
    """Train a model at need; return its run, and the seconds that its training took."""
    run = out / f"{name.replace(' ', '-')}-{seed}"

    def fit() -> None:
        train(
            str(out / "train.xyz"),
            out=str(run),
            validation=str(out / "validation.xyz"),
            forces="forces",
            seed=seed,
            device="cpu",
            model=SOAP if name == "SOAP-BPNN" else PET,
            training={"loss": LOSS, "num_workers": 0},
            options={"final_eval": False},
            resume=run.is_dir(),
            progress=False,
            **(BUDGET | options | (QUICK if quick else {})),
        )

    return run, trained_once(run, fit)


def _history(run: Path, frames: list[Any], **options: Any) -> History:
    """Measure spectra at the checkpoints of a run, or read them where they are kept already."""
    path = run / "history.json"
    if not path.is_file():
        over_training(run, frames, progress=False, **options).save(path)
    return History.load(path)


def _data(data: Path | None) -> Path:
    folder = os.environ.get("JETSYM_REAL_DATA")
    if data is None and folder is None:
        raise SystemExit(f"no structures to train on; give --data: {HELP}")
    return data or Path(folder or "", DATA)


if __name__ == "__main__":
    options = arguments(__doc__ or "", out="runs/studies/molecules", data=HELP)
    study(options.out, _data(options.data), quick=options.quick, seeds=options.seeds)
