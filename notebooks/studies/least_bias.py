"""The least bias put into a transformer of atoms: injections, a penalty, averages and heads at equal time of training.

Four parts, each of the same small PET, trained for the same time with and without bias, over seeds (the time is that of
an idle machine, known from short trainings that come first; parts after the first have less of it, see ``TIME``):

``ethanol``
    energies and forces of real molecules: as they come, augmented, with harmonics or invariants at the embedding, with
    a penalty on A², averaged at inference, and SOAP-BPNN, which is invariant by construction; for one seed the drift
    of the energy over 5 ps of dynamics as well;
``copper``
    a crystal of effective-medium theory: bands that should be degenerate, with the injection that did best on ethanol;
``tensors``
    dipoles and polarizabilities (λ = 0 and λ = 2) of real molecules, with tensor-basis heads and with harmonics;
``sizes``
    A of ethanol against the number of structures to learn from, with and without augmentation.

What does not help stays in the tables. They are of a hundred structures and minutes: of models that are scaled up, on
large sets, F. Bigi et al., arXiv:2601.16195, find those without constraints superior in accuracy and speed, which
numbers of this size neither show nor contradict.

    python notebooks/studies/least_bias.py [--quick] [--out DIR] [--data DIR] [--parts ethanol …] [--minutes 5]

``least_bias.json`` in the folder holds the numbers, ``least_bias.txt`` the tables, ``least_bias.png`` the figure.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk, molecule
from at_equal_time import Fit, Kept, timed, trained
from atoms import measure as measure_crystal
from common import Table
from fits import BATCH, fit_copper, fit_ethanol, fit_tensors
from molecules import rotated, split
from tensors import TENSOR_COLUMNS, TENSORS, measure_tensors, split_tensors
from titles import COLUMNS, CRYSTAL, DRIFT

from jetsym.atoms import SymmetrizedCalculator, calculator, evaluate, read_frames
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.dynamics import drift
from jetsym.benchmarks.copper import LATTICE
from jetsym.files import finished_file, write_atomically
from jetsym.plotting import save_figure
from jetsym.plotting.style import PALETTE

HELP = "folder with ethanol_reduced_100.xyz and qm7x_reduced_100_CHNO.xyz; by default atoms in JETSYM_REAL_DATA"

#: Weight of the penalty: A² of the energy, in (eV/atom)², beside the squared errors of forces, in (eV/Å)².
PENALTY = 1000.0
#: Options of the training of each variant; energies have no tensors.
ETHANOL: dict[str, dict[str, Any]] = {
    "as they come": {"augment": False},
    "augmented": {},
    "harmonics": {"inject": "harmonics:2"},
    "invariants": {"inject": "invariants"},
    "harmonics, invariants": {"inject": "harmonics:2,invariants"},
    "penalty": {"penalty": PENALTY},
    "SOAP-BPNN": {"architecture": "soap_bpnn"},
}
#: The variant that is averaged at inference, and the degree of the average over O(3).
AVERAGED, DEGREE = "augmented", 2
#: The injections, of which copper is given the best one, and the column that says which.
INJECTED = [name for name, options in ETHANOL.items() if "inject" in options]
BEST_BY = "forces rotated"
#: Structures to learn from.
SIZES = (10, 20, 40, 70)
#: The part of the time that each training has.
TIME = {"ethanol": 1.0, "copper": 0.5, "tensors": 0.5, "sizes": 0.2}
#: Steps of dynamics, of 0.5 fs.
STEPS, QUICK_STEPS = 10_000, 4
#: The variants of a small version.
QUICK = {
    "ethanol": ("augmented", "harmonics"),
    "copper": ("harmonics",),
    "tensors": ("tensor basis",),
    "sizes": ("augmented",),
}


class Study:
    """All parts, with folders of their own.

    Parameters
    ----------
    out
        Folder of the runs and of the numbers.
    data
        Folder of the structures.
    minutes, seeds, quick
        Time of a training, runs of everything, and whether all is small.
    """

    def __init__(self, out: Path, data: Path, *, minutes: float, seeds: int, quick: bool) -> None:
        self.out, self.data, self.seeds, self.quick = out, data, seeds, quick
        self.seconds = 0.1 if quick else 60 * minutes
        self.kept = Kept(out / "least_bias.json", {"minutes": minutes, "quick": quick, "penalty": PENALTY})

    def time_all(self, parts: Iterable[str]) -> None:
        """Make the short trainings of all variants in a row, so that all are timed on the same machine."""
        for part in parts:
            self.held_out(part)
            for name, fit in self.fits(part, 0, INJECTED).items():
                with quiet():
                    timed(self._pilot(part, name), fit)

    # --- ethanol ---

    def ethanol(self) -> None:
        """Train all variants, average one of them, and run dynamics with those of the first seed."""
        test = self.held_out("ethanol")
        steps = len(read_frames(self.out / "ethanol" / "train.xyz")) // BATCH
        for seed in range(self.seeds):
            for name, fit in self.fits("ethanol", seed).items():
                potential, costs = self._trained("ethanol", name, seed, fit)
                costs["step_s"] = costs["epoch_s"] / steps
                self._measured("ethanol", name, seed, test, potential, costs)
                if name == AVERAGED:
                    average = SymmetrizedCalculator(potential, "O3", 1 if self.quick else DEGREE)
                    self._measured("ethanol", "averaged", seed, test, average, costs)
                if seed == 0:
                    self.kept.measured("drift", name, seed, lambda potential=potential: self._drift(potential))

    def _measured(
        self, part: str, name: str, seed: int, frames: list[Any], potential: Any, costs: Mapping[str, float]
    ) -> None:
        self.kept.measured(part, name, seed, lambda: {**measure(potential, frames, quick=self.quick), **costs})

    def _drift(self, potential: Any) -> dict[str, float]:
        steps = QUICK_STEPS if self.quick else STEPS
        found = drift(molecule("CH3CH2OH"), potential, steps=steps, timestep=0.5)
        return {
            "drift": found.energy_drift,
            "fluctuation": found.energy_fluctuation,
            "turned": found.angular_momentum or 0.0,
        }

    # --- copper ---

    def copper(self) -> None:
        """Train on copper as it comes, augmented, and with the injection that did best on ethanol."""
        crystal, best = bulk("Cu", a=LATTICE), self.best()
        for seed in range(self.seeds):
            for name, fit in self.fits("copper", seed, [best] if best else []).items():
                potential, costs = self._trained("copper", name, seed, fit)
                frames = read_frames(self._run("copper", name, seed) / "validation.xyz")[: 2 if self.quick else None]

                def found(potential: Any = potential, frames: Any = frames, costs: Any = costs) -> dict[str, float]:
                    turned = evaluate(potential, frames, turned=1 if self.quick else 4, progress=False).scores["all"]
                    values = measure_crystal(potential, frames, crystal, quick=self.quick)
                    del values["A"]  # which that study takes from a probe
                    return {**values, "A energy": turned.energy_a, **costs}

                self.kept.measured("copper", name, seed, found)

    def best(self) -> str | None:
        """Return the injection with the smallest error on ethanol; None where that was not measured."""
        table = self.kept.table("ethanol")
        known = {name: table.mean(name, BEST_BY)[0] for name in INJECTED if name in table.variants}
        return min(known, key=lambda name: known[name]) if known else None

    # --- tensors ---

    def tensors(self) -> None:
        """Train dipoles and polarizabilities together, with heads and harmonics and without."""
        test = self.held_out("tensors")
        for seed in range(self.seeds):
            for name, fit in self.fits("tensors", seed).items():
                _, costs = self._trained("tensors", name, seed, fit)
                run = self._run("tensors", name, seed) / "run"
                self.kept.measured(
                    "tensors", name, seed, lambda run=run, costs=costs: {**measure_tensors(run, test), **costs}
                )

    # --- sizes ---

    def sizes(self) -> None:
        """Train on fewer structures of ethanol, augmented and as they come."""
        test = self.held_out("sizes")
        for seed in range(self.seeds):
            for name, fit in self.fits("sizes", seed).items():
                potential, costs = self._trained("sizes", name, seed, fit)
                costs["structures"] = int(name.split()[-1])
                self._measured("sizes", name, seed, test, potential, costs)

    def _of_sizes(self, seed: int) -> dict[str, Fit]:
        from ase.io import write

        folder, fits = self.out / "sizes", {}
        frames = read_frames(folder / "train.xyz")
        order = np.random.default_rng(seed).permutation(len(frames))
        pair = self._some({words: ETHANOL[words] for words in ("as they come", "augmented")}, QUICK["sizes"])
        for size in SIZES[:1] if self.quick else SIZES:
            data = folder / f"train-{size}-{seed}.xyz"
            with finished_file(data) as unfinished:
                write(unfinished, [frames[place] for place in order[:size]], format="extxyz")
            for words, options in pair.items():
                fits[f"{words}, {size}"] = fit_ethanol(data, folder / "validation.xyz", seed, options)
        return fits

    # --- what they share ---

    def held_out(self, part: str) -> list[Any]:
        """Write the structures to learn from, and return those to measure; copper has its own in each run."""
        divide = {
            "ethanol": (split, "ethanol_reduced_100.xyz"),
            "sizes": (split, "ethanol_reduced_100.xyz"),
            "tensors": (split_tensors, "qm7x_reduced_100_CHNO.xyz"),
        }
        if part not in divide:
            return []
        divided, name = divide[part]
        return divided(self.data / name, self.out / part)[: 2 if self.quick else None]

    def fits(self, part: str, seed: int, injected: Iterable[str] = ()) -> dict[str, Fit]:
        """Return the trainings of a part by the names of their variants; of copper with these injections."""
        if part == "sizes":
            return self._of_sizes(seed)
        files = self.out / part / "train.xyz", self.out / part / "validation.xyz"
        if part == "ethanol":
            return {n: fit_ethanol(*files, seed, o) for n, o in self._some(ETHANOL, QUICK[part]).items()}
        if part == "tensors":
            return {n: fit_tensors(*files, seed, o) for n, o in self._some(TENSORS, QUICK[part]).items()}
        variants = {name: ETHANOL[name] for name in ("as they come", "augmented", *injected)}
        return {n: fit_copper(seed, o, quick=self.quick) for n, o in self._some(variants, QUICK[part]).items()}

    def _some(self, variants: Mapping[str, dict[str, Any]], few: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        return {name: options for name, options in variants.items() if name in few or not self.quick}

    def _run(self, part: str, name: str, seed: int) -> Path:
        return self.out / part / f"{_place(name)}-{seed}"

    def _pilot(self, part: str, name: str) -> Path:
        return self.out / part / ("pilot" if self.quick else f"{_place(name)}-pilot")

    def _trained(self, part: str, name: str, seed: int, fit: Fit) -> tuple[Any, dict[str, float]]:
        """Train at need; return the potential, and what its training cost. Heads of tensors are no potential."""
        folder = self._run(part, name, seed)
        with quiet():
            costs = trained(folder, self._pilot(part, name), fit, seconds=TIME[part] * self.seconds)
        return None if part == "tensors" else calculator(folder / "run"), costs

    def show(self) -> str:
        """Return all tables, and draw accuracy against A."""
        titles = {"ethanol": COLUMNS, "drift": DRIFT, "copper": CRYSTAL, "tensors": TENSOR_COLUMNS, "sizes": COLUMNS}
        tables = {part: self.kept.table(part) for part in titles}
        shown = {part: columns for part, columns in titles.items() if tables[part].rows}
        sizes = {name: title for name, title in COLUMNS.items() if name != "step_s"}
        text = "".join(
            f"{part}\n{tables[part].text(sizes if part == 'sizes' else columns)}\n" for part, columns in shown.items()
        )
        if tables["ethanol"].rows:
            draw(tables["ethanol"], self.out / "least_bias.png")
        write_atomically(self.out / "least_bias.txt", text)
        return text


def _place(name: str) -> str:
    """Return a variant's name as a part of a path."""
    return name.replace(", ", "-").replace(" ", "-")


def measure(potential: Any, frames: list[Any], *, quick: bool = False) -> dict[str, float]:
    """Measure errors on structures as they come and rotated, A, the torque, and what one call costs."""
    used = frames[0].copy()
    used.calc = potential
    with quiet():
        used.get_forces()  # the first call sets up
        used.rattle(1e-3)
        start = time.process_time()
        used.get_forces()
        seconds = time.process_time() - start
        given = evaluate(potential, frames, turned=1 if quick else len(frames), progress=False).scores["all"]
        moved = evaluate(potential, rotated(frames), turned=0, progress=False).scores["all"]
    return {
        "forces": given.forces_rmse,
        "forces rotated": moved.forces_rmse,
        "energy": given.energy_rmse,
        "A energy": given.energy_a,
        "A forces": given.forces_a,
        "torque": given.torque,
        "use_s": seconds,
    }


def draw(table: Table, path: Path) -> None:
    """Draw the error of forces on rotated structures against A of the forces, with standard errors over seeds."""
    figure, ax = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    for place, name in enumerate(table.variants):
        (error, of_error), (a, of_a) = (table.mean(name, column) for column in ("forces rotated", "A forces"))
        style = {"color": PALETTE[place % len(PALETTE)], "marker": "os^vDP*X"[place % 8], "linestyle": "none"}
        ax.errorbar(error, a, xerr=np.nan_to_num(of_error), yerr=np.nan_to_num(of_a), label=name, capsize=2, **style)
    ax.set(xscale="log", yscale="symlog", xlabel="forces RMSE, rotated, meV/Å", ylabel="A of forces, meV/Å")
    ax.set_yscale("symlog", linthresh=1e-2)
    ax.legend(frameon=False, fontsize="x-small")
    save_figure(figure, path)
    plt.close(figure)


def main() -> None:
    """Do the parts that are asked for, and show all that is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/studies/least_bias"), help="folder for all of it")
    parser.add_argument("--data", type=Path, help=HELP)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what to do")
    parser.add_argument("--minutes", type=float, default=5.0, help="time of a training")
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3, help="runs of everything")
    parser.add_argument("--quick", action="store_true", help="a small version: to see that it works, not to learn from")
    options = parser.parse_args()
    folder = os.environ.get("JETSYM_REAL_DATA")
    if options.data is None and folder is None:
        raise SystemExit(f"no structures to train on; give --data: {HELP}")
    data = options.data or Path(folder or "", "atoms")
    study = Study(options.out, data, minutes=options.minutes, seeds=options.seeds, quick=options.quick)
    study.time_all(options.parts)
    for part in options.parts:
        getattr(study, part)()
    print(study.show(), end="")


PARTS = tuple(TIME)

if __name__ == "__main__":
    plt.switch_backend("Agg")
    main()
