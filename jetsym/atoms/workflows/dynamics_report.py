"""Dynamics as trained, averaged and in random frames, side by side: drift of energy and angular momentum, and costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
from rich.table import Table

from jetsym.arguments import above, at_least, checked
from jetsym.atoms.workflows.dynamics import Drift, drift, heating
from jetsym.atoms.workflows.forbidden import SYMPREC
from jetsym.atoms.workflows.tables import compared, structure_dict, structure_of
from jetsym.errors import ConfigError, expect_one_of
from jetsym.progress import progress_bar
from jetsym.results import Result
from jetsym.symmetry import GroupName
from jetsym.text import as_text, concise

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["DynamicsReport", "FrameChoice", "dynamics"]

#: In which frames a model is asked for: its own, all of them in the mean, or a fresh one at every step.
FrameChoice = Literal["plain", "average", "random"]
#: What is reported of every run: field of :class:`~jetsym.atoms.workflows.dynamics.Drift` -> what it is called.
ROWS = {
    "energy_drift": "drift of the energy [meV/atom/ps]",
    "energy_fluctuation": "fluctuation of the energy [meV/atom]",
    "angular_momentum_drift": "drift of angular momentum [ħ/ps]",
    "angular_momentum": "largest change of angular momentum [ħ]",
    "temperature": "temperature [K]",
    "seconds_per_step": "seconds per step",
}


@checked(expected_heating=at_least(0), heating_at_end=at_least(0))
@dataclass(frozen=True)
class DynamicsReport(Result):
    """Runs at constant energy of one structure, with a model in several frames.

    Parameters
    ----------
    structure
        The structure that every run starts from.
    runs
        "plain", "average" or "random" -> its runs, the n-th of each with the same momenta at the start.
    expected_heating
        What random frames cost by the variance of the forces over the group at the start, in meV/atom/ps; None where
        they were not asked for.
    meta
        How it was done.
    heating_at_end
        The same where the runs ended, in the mean over them: a model is often worse in hot structures.
    """

    structure: Atoms
    runs: Mapping[str, Sequence[Drift]]
    expected_heating: float | None
    meta: Mapping[str, Any]
    heating_at_end: float | None = None

    KIND: ClassVar[str] = "dynamics"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {
            "structure": structure_dict(self.structure),
            "runs": {name: [run.to_dict() for run in runs] for name, runs in self.runs.items()},
            "expected_heating": self.expected_heating,
            "meta": dict(self.meta),
            "heating_at_end": self.heating_at_end,
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            structure=structure_of(data["structure"]),
            runs={name: [Drift(**run) for run in runs] for name, runs in data["runs"].items()},
            expected_heating=data["expected_heating"],
            meta=dict(data["meta"]),
            heating_at_end=data["heating_at_end"],
        )

    def mean(self, frames: str, quantity: str) -> tuple[float, float]:
        """Return the mean over runs of a quantity of :class:`~jetsym.atoms.workflows.dynamics.Drift`, and its error.

        The standard error is that of the mean over runs, NaN of a single one. A line through one run cannot tell it:
        what random frames do to the energy is a walk, whose steps are not independent of one another.

        Parameters
        ----------
        frames
            "plain", "average" or "random".
        quantity
            Such as "energy_drift".

        Raises
        ------
        ConfigError
            There are no such runs, or no such quantity.
        """
        expect_one_of("frames", frames, tuple(self.runs))
        expect_one_of("quantity", quantity, tuple(ROWS))
        values = [getattr(run, quantity) for run in self.runs[frames]]
        if any(value is None for value in values):
            return math.nan, math.nan
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(np.mean(values)), float(error)

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the drift of the energy in every kind of frames, the mean over runs."""
        from jetsym.plotting.measured import Measured, plot_measured

        rows = [Measured(frames, ROWS["energy_drift"], *self.mean(frames, "energy_drift")) for frames in self.runs]
        return plot_measured(rows, ROWS["energy_drift"], ax, legend=legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per kind of frames and run."""
        for frames, runs in self.runs.items():
            yield from ({"frames": frames, "run": number} | run.to_dict() for number, run in enumerate(runs))

    def table(self) -> Table:
        """Return the frames side by side."""
        rows = {
            label: [concise(*self.mean(frames, quantity)) for frames in self.runs] for quantity, label in ROWS.items()
        }
        rows = {label: cells for label, cells in rows.items() if set(cells) != {concise(math.nan)}}
        for where, heat in (("start", self.expected_heating), ("end", self.heating_at_end)):
            if heat is not None:
                rows[f"heating expected at the {where} [meV/atom/ps]"] = [
                    concise(heat if frames == "random" else math.nan) for frames in self.runs
                ]
        some = next(iter(self.runs.values()))
        title = f"{self.structure.get_chemical_formula()}: {len(some)} runs of {some[0].time:.3g} ps at constant energy"
        return compared(title, self.runs, rows)

    def __str__(self) -> str:
        return as_text(self.table(), width=140) + "".join(f"{note}\n" for note in self.meta.get("notes", ()))


@checked(
    l_max=at_least(0),
    symprec=above(0),
    runs=at_least(1),
    steps=at_least(1),
    timestep=above(0),
    temperature=at_least(0),
    seed=at_least(0),
)
def dynamics(
    atoms: Atoms,
    calculator: Calculator,
    *,
    frames: Sequence[FrameChoice] | FrameChoice = ("plain", "average", "random"),
    group: str | NDArray[np.float64] = GroupName.O3,
    l_max: int = 4,
    reference: Atoms | None = None,
    symprec: float = SYMPREC,
    runs: int = 4,
    steps: int = 200,
    timestep: float = 1.0,
    temperature: float = 300.0,
    seed: int = 0,
    progress: bool = True,
) -> DynamicsReport:
    """Run a structure at constant energy with a model as it is, averaged, and in random frames, and compare the drift.

    Parameters
    ----------
    atoms
        The structure to start from, near a minimum; it is not changed.
    calculator
        Any ASE calculator with energies and forces.
    frames
        Which of "plain", "average" and "random", see :class:`jetsym.atoms.SymmetrizedCalculator` and
        :class:`jetsym.atoms.RandomFrameCalculator`.
    group, l_max, reference, symprec
        The group of the average and of the random frames, as for these.
    runs
        So many of each, for the errors: each with momenta and random frames of its own.
    steps, timestep, temperature
        Of every run, see :func:`jetsym.atoms.workflows.dynamics.drift`: fs, and K.
    seed
        That of the first run; others follow it.
    progress
        Show a progress bar.

    Raises
    ------
    ConfigError
        Options that do not go together.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> report = dynamics(molecule("H2O"), EMT(), frames=["plain", "random"], runs=2, steps=4, progress=False)
    >>> list(report.runs), report.expected_heating < 1e-9
    (['plain', 'random'], True)
    """
    names: list[str] = [frames] if isinstance(frames, str) else list(frames)
    if not names:
        raise ConfigError(f"frames is {frames!r}; expected some of {', '.join(get_args(FrameChoice))}")
    makers = _makers(calculator, group, l_max, reference, symprec)
    options: dict[str, Any] = {"steps": steps, "timestep": timestep, "temperature": temperature}
    found: dict[str, list[Drift]] = {name: [] for name in dict.fromkeys(names)}
    ends: list[Atoms] = []
    with progress_bar("dynamics", runs * len(found), shown=progress) as advance:
        for number in range(seed, seed + runs):
            for name, results in found.items():
                potential: Any = makers[name](number)
                results.append(drift(atoms, potential, seed=number, **options))
                if name == "random":
                    ends.append(potential.atoms)
                advance(1)
    average = makers["average"](0)
    heats = [_heating(one, average, timestep) for one in (atoms, *ends)] if ends else []
    meta = {
        **options,
        "group": group if isinstance(group, str) else "matrices",
        "l_max": l_max,
        "seed": seed,
        "notes": _notes(runs),
    }
    start, end = (heats[0], float(np.mean(heats[1:]))) if heats else (None, None)
    return DynamicsReport(atoms.copy(), found, start, meta, end)


def _heating(atoms: Atoms, average: Calculator, timestep: float) -> float:
    """Return the heating of random frames at a structure, by the spread of the forces that an average takes."""
    average.calculate(atoms.copy(), ["forces"], ["positions"])
    return heating(atoms, average.results["forces_std"], timestep=timestep)


def _makers(
    calculator: Calculator, group: Any, l_max: int, reference: Atoms | None, symprec: float
) -> dict[str, Callable[[int], Calculator]]:
    """Return how the calculator of each kind of frames is made, by the number of the run."""
    from jetsym.atoms.workflows.random_frames import RandomFrameCalculator
    from jetsym.atoms.workflows.symmetrized import SymmetrizedCalculator

    common: dict[str, Any] = {"reference": reference, "symprec": symprec}
    return {
        "plain": lambda seed: calculator,
        "average": lambda seed: SymmetrizedCalculator(calculator, group, l_max, **common),
        "random": lambda seed: RandomFrameCalculator(calculator, group, seed=seed, **common),
    }


def _notes(runs: int) -> list[str]:
    return [
        f"Errors are standard errors of the mean over {runs} runs."
        if runs > 1
        else "One run tells no errors; runs=4 or more does."
    ]
