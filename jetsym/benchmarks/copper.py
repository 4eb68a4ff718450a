"""Benchmark of a small PET trained on effective-medium copper: effects of its broken symmetry and of restoring it.

Copper's phonons have bands that the cubic group makes degenerate, and its relaxed cell is cubic. A PET is not exactly
invariant: bands split, and the cell is distorted. The mean over the 48 rotations of the crystal's space group restores
both exactly; that over O(3), which restores every other symmetry as well, up to what is beyond its degree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from jetsym.atoms import SymmetrizedCalculator, calculator, evaluate, read_frames, train
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.phonon_report import PhononReport
from jetsym.atoms.workflows.phonons import phonons
from jetsym.atoms.workflows.relaxation import RelaxationReport, relax
from jetsym.atoms.workflows.tables import compared
from jetsym.errors import require
from jetsym.files import check_out, finished_file
from jetsym.locks import locked

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["copper", "copper_frames", "train_copper"]

#: Lattice constant of effective-medium copper, in Å.
LATTICE = 3.59
#: A PET that trains in minutes on one core.
SMALL = {
    "cutoff": 4.5,
    "d_pet": 32,
    "d_head": 32,
    "d_node": 32,
    "d_feedforward": 32,
    "num_heads": 4,
    "num_attention_layers": 1,
    "num_gnn_layers": 1,
}
#: The error of energies per structure weighs more than that of each component of a force.
LOSS = {"energy": {"type": "mse", "weight": 1.0, "forces": {"weight": 0.03}, "stress": {"weight": 0.03}}}


def copper(
    out: str = "runs/copper",
    *,
    structures: int = 240,
    epochs: int = 60,
    l_max: int = 4,
    copies: int = 2,
    fmax: float = 1e-3,
    md_steps: int = 100,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Train a small PET on copper, relax a crystal and compute phonons with it, symmetrised at inference and not.

    Parameters
    ----------
    out
        Folder; where it holds a finished training, that model is taken.
    structures, epochs
        Size of the training: four to eight minutes on one core as by default.
    l_max
        Degree of the mean over O(3).
    copies
        Supercell of the phonons, in conventional cells along each axis.
    fmax
        Largest force at which relaxations stop, in eV/Å.
    md_steps
        Length of runs at constant energy.
    seed
        Seed of structures, weights and momenta.
    progress
        Show progress bars.
    """
    from ase.build import bulk

    console = Console()
    folder = check_out(out, folder=True)
    run = folder / "run"
    if not (run / "model.ckpt").is_file():
        train_copper(folder, structures=structures, epochs=epochs, seed=seed, progress=progress)
    with quiet():
        potential = calculator(run)
        print(evaluate(potential, read_frames(folder / "validation.xyz"), progress=progress))
        crystal = bulk("Cu", a=LATTICE * 1.01, cubic=True)
        means = {
            "space": SymmetrizedCalculator(potential, "space", reference=crystal),
            f"O3, l_max = {l_max}": SymmetrizedCalculator(potential, l_max=l_max),
        }
        relaxation = relax(
            crystal,
            potential,
            symmetrized=means["space"],
            cell=True,
            fmax=fmax,
            md_steps=md_steps,
            seed=seed,
            progress=progress,
        )
        _show(console, folder, "relax", relaxation)
        relaxed = relaxation.runs["symmetrized"].final
        found = {}
        for name, mean in means.items():
            found[name] = phonons(relaxed, potential, symmetrized=mean, supercell=[copies] * 3, progress=progress)
            _show(console, folder, f"phonons {name}", found[name])
    console.print(_summary(found))


def copper_frames(count: int, *, seed: int = 0) -> list[Atoms]:
    """Make rattled and strained cells of 4 and 8 atoms, with effective-medium energies, forces and stress.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> [len(frame) for frame in copper_frames(2)]
    [4, 8]
    """
    build = require("ase.build", extra="atoms", purpose="copper").bulk
    potential = require("ase.calculators.emt", extra="atoms", purpose="copper").EMT
    single = require("ase.calculators.singlepoint", extra="atoms", purpose="copper").SinglePointCalculator
    rng = np.random.default_rng(seed)
    frames = []
    for place in range(count):
        lattice = LATTICE * rng.uniform(0.97, 1.04)
        atoms = build("Cu", a=lattice).repeat(2) if place % 2 else build("Cu", a=lattice, cubic=True)
        strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(scale=rng.uniform(0.01, 0.1), size=atoms.positions.shape)
        atoms.calc = potential()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = single(atoms, **results)
        frames.append(atoms)
    return frames


def train_copper(
    folder: str | Path,
    *,
    structures: int = 240,
    epochs: int = 60,
    seed: int = 0,
    augment: bool = True,
    progress: bool = True,
    model: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Train a small PET on copper, on structures rotated at random with ``augment``.

    ``train.xyz`` and ``validation.xyz`` are written beside the folder of the run. Further options are those of
    :func:`jetsym.atoms.train`.

    Returns
    -------
    Path
        The folder of the run.
    """
    write = require("ase.io", extra="atoms", purpose="copper").write
    frames = copper_frames(structures, seed=seed)
    split = max(1, structures // 10)
    with locked(folder, "benchmark of copper"):
        for name, part in {"train": frames[split:], "validation": frames[:split]}.items():
            with finished_file(Path(folder) / f"{name}.xyz") as unfinished:
                write(unfinished, part, format="extxyz")
        return train(
            str(Path(folder) / "train.xyz"),
            out=str(Path(folder) / "run"),
            validation=str(Path(folder) / "validation.xyz"),
            forces="forces",
            stress="stress",
            epochs=epochs,
            batch_size=8,
            learning_rate=2e-3,
            seed=seed,
            augment=augment,
            device="cpu",
            progress=progress,
            model=SMALL | (model or {}),
            training={"loss": LOSS, "num_workers": 0},
            **options,
        )


def _show(console: Console, folder: Path, title: str, report: RelaxationReport | PhononReport) -> None:
    import matplotlib.pyplot as plt

    from jetsym.plotting import save_figure

    stem = folder / "-".join("".join(letter if letter.isalnum() else " " for letter in title).split())
    report.save(stem.with_suffix(".json"))
    figure = report.plot()
    save_figure(figure, stem.with_suffix(".png"))
    plt.close(figure)
    console.print(f"{title}: {stem}.json")
    print(report)


def _summary(found: dict[str, PhononReport]) -> Any:
    """Tabulate splittings with no mean, and with each of the means."""
    first = next(iter(found.values()))
    runs = {"as trained": first.runs["plain"]} | {name: report.runs["symmetrized"] for name, report in found.items()}
    rows = {
        f"splitting at {item.point} [THz]": [f"{run.splittings[place].splitting:.2g}" for run in runs.values()]
        for place, item in enumerate(first.runs["plain"].splittings)
    }
    return compared("bands that symmetry makes degenerate", runs, rows)
