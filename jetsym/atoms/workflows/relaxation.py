"""Relax a structure with a potential as it was trained, and with its symmetry restored, and compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from rich.table import Table

from jetsym.atoms.workflows.dynamics import Drift, drift
from jetsym.atoms.workflows.forbidden import Spurious, space_groups, spurious
from jetsym.atoms.workflows.tables import compared, number, structure_dict, structure_of
from jetsym.errors import ConfigError, DataError
from jetsym.files import finished_file
from jetsym.progress import progress_bar
from jetsym.storage import Stored
from jetsym.text import as_text

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from matplotlib.figure import Figure

__all__ = ["Relaxation", "RelaxationReport", "relax"]

Optimizer = Literal["FIRE", "BFGS", "LBFGS", "BFGSLineSearch", "MDMin"]
CellFilter = Literal["frechet", "exp"]


@dataclass(frozen=True)
class Relaxation:
    """One relaxation.

    Parameters
    ----------
    final
        The relaxed structure, with its energy and forces.
    energies
        Energy of every step, in eV, shape (steps + 1,).
    fmax
        Largest force on an atom at every step, in eV/Å; with the cell relaxed, forces on it count as well.
    converged
        Whether the last of them is below the limit.
    groups
        Space group of the relaxed structure at several tolerances in Å, see
        :func:`~jetsym.atoms.workflows.forbidden.space_groups`.
    spurious
        Forces, torque and stress that symmetry forbids, on the structure as it was given.
    drift
        Conservation in molecular dynamics from the relaxed structure; None where it was not asked for.
    """

    final: Atoms
    energies: np.ndarray
    fmax: np.ndarray
    converged: bool
    groups: Mapping[str, str]
    spurious: Spurious
    drift: Drift | None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON can hold."""
        return {
            "final": structure_dict(self.final),
            "energies": self.energies.tolist(),
            "fmax": self.fmax.tolist(),
            "converged": self.converged,
            "groups": dict(self.groups),
            "spurious": self.spurious.to_dict(),
            "drift": None if self.drift is None else self.drift.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the relaxation whose :meth:`to_dict` gave ``data``."""
        return cls(
            final=structure_of(data["final"]),
            energies=np.array(data["energies"]),
            fmax=np.array(data["fmax"]),
            converged=data["converged"],
            groups=dict(data["groups"]),
            spurious=Spurious(**data["spurious"]),
            drift=None if data["drift"] is None else Drift(**data["drift"]),
        )


@dataclass(frozen=True)
class RelaxationReport(Stored):
    """What relaxing a structure has given, with and without symmetrisation.

    Parameters
    ----------
    initial
        The structure as it was given.
    initial_groups
        Its space group at several tolerances in Å.
    runs
        "plain", and "symmetrized" where such a calculator was given.
    meta
        How it was done.
    """

    initial: Atoms
    initial_groups: Mapping[str, str]
    runs: Mapping[str, Relaxation]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "relaxation"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {
            "initial": structure_dict(self.initial),
            "initial_groups": dict(self.initial_groups),
            "runs": {name: run.to_dict() for name, run in self.runs.items()},
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            initial=structure_of(data["initial"]),
            initial_groups=dict(data["initial_groups"]),
            runs={name: Relaxation.from_dict(run) for name, run in data["runs"].items()},
            meta=dict(data["meta"]),
        )

    def write_structures(self, path: str | Path) -> list[Path]:
        """Write each relaxed structure as extended XYZ, named ``path`` with the run's name before the suffix."""
        import ase.io

        written = []
        for name, run in self.runs.items():
            target = Path(path).with_name(f"{Path(path).stem}-{name}.xyz")
            with finished_file(target) as unfinished:
                ase.io.write(unfinished, run.final, format="extxyz")
            written.append(target)
        return written

    def table(self) -> Table:
        """Return the runs side by side."""
        rows: dict[str, list[str]] = {}

        def add(name: str, cells: list[str]) -> None:
            rows[name] = cells

        runs = list(self.runs.values())
        add("steps", [f"{len(run.energies) - 1}{'' if run.converged else ' (not converged)'}" for run in runs])
        add("energy [eV/atom]", [f"{run.energies[-1] / len(run.final):.6f}" for run in runs])
        add("largest force [eV/Å]", [number(run.fmax[-1]) for run in runs])
        if self.initial.pbc.all():
            add("a, b, c [Å]", [", ".join(f"{length:.4f}" for length in run.final.cell.lengths()) for run in runs])
            add("α, β, γ [°]", [", ".join(f"{angle:.3f}" for angle in run.final.cell.angles()) for run in runs])
            for tolerance, before in self.initial_groups.items():
                add(f"space group within {tolerance} Å (was {before})", [run.groups[tolerance] for run in runs])
        add("net force, as given [eV/Å]", [number(run.spurious.net_force) for run in runs])
        add("torque, as given [eV]", [number(run.spurious.torque) for run in runs])
        if self.initial.pbc.all():
            add("force that sites forbid [eV/Å]", [number(run.spurious.forbidden_force) for run in runs])
            add("stress that the group forbids [GPa]", [number(_gpa(run.spurious.forbidden_stress)) for run in runs])
        if all(run.drift is not None for run in runs):
            drifts = [run.drift for run in runs if run.drift is not None]
            add("NVE energy drift [meV/atom/ps]", [number(found.energy_drift) for found in drifts])
            add("NVE energy fluctuation [meV/atom]", [number(found.energy_fluctuation) for found in drifts])
            if drifts[0].angular_momentum is not None:
                add("NVE change of angular momentum [ħ]", [number(found.angular_momentum) for found in drifts])
        return compared(f"{self.initial.get_chemical_formula()}: {len(self.initial)} atoms relaxed", self.runs, rows)

    def __str__(self) -> str:
        return as_text(self.table(), width=140)

    def plot(self) -> Figure:
        """Draw energy and largest force against the steps."""
        from jetsym.plotting.crystals import plot_relaxation

        return plot_relaxation(
            {name: (1e3 * run.energies / len(run.final), run.fmax) for name, run in self.runs.items()},
            fmax=self.meta["fmax"],
        )


def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    symmetrized: Calculator | None = None,
    cell: bool = False,
    cell_filter: CellFilter = "frechet",
    hydrostatic: bool = False,
    pressure: float = 0.0,
    optimizer: Optimizer = "FIRE",
    fmax: float = 0.01,
    steps: int = 500,
    symprec: float = 1e-3,
    md_steps: int = 0,
    temperature: float = 300.0,
    timestep: float = 2.0,
    seed: int = 0,
    progress: bool = True,
) -> RelaxationReport:
    """Relax a structure, and again with a symmetrised calculator where one is given.

    Parameters
    ----------
    atoms
        The structure; it is not changed. Its constraints hold for the relaxation.
    calculator
        Any ASE calculator with energies and forces, and stress for the cell.
    symmetrized
        The same potential averaged over a group, as by :class:`jetsym.atoms.SymmetrizedCalculator`.
    cell
        Relax the cell as well; all directions must be periodic.
    cell_filter
        ASE's "frechet" (gradients are exact) or "exp", for the cell.
    hydrostatic
        Change the cell's volume only.
    pressure
        On the cell, in GPa.
    optimizer
        One of ASE's.
    fmax
        Where to stop: no force above it, in eV/Å.
    steps
        At most so many.
    symprec
        Tolerance, in Å, of the space group that says what is forbidden.
    md_steps, temperature, timestep, seed
        Length of a run at constant energy from the relaxed structure, its temperature in K, time step in fs, and the
        seed of its momenta; see :func:`~jetsym.atoms.workflows.dynamics.drift`. None is made with 0 steps.
    progress
        Show a progress bar.

    Raises
    ------
    ConfigError
        An option that cannot be used.
    DataError
        Energies or forces are not finite.

    Examples
    --------
    >>> import pytest
    >>> spglib = pytest.importorskip("spglib")
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> report = relax(bulk("Cu", a=3.7, cubic=True), EMT(), cell=True)
    >>> report.runs["plain"].converged, report.runs["plain"].groups["1e-05"]
    (True, 'Fm-3m (225)')
    >>> round(float(report.runs["plain"].final.cell.lengths()[0]), 2)
    3.59
    """
    _check(atoms, cell=cell, fmax=fmax, steps=steps)
    calculators = {"plain": calculator} | ({} if symmetrized is None else {"symmetrized": symmetrized})
    runs = {}
    for name, potential in calculators.items():
        with progress_bar(f"relax ({name})", steps, shown=progress) as advance:
            final, energies, largest = _minimise(
                atoms, potential, cell, cell_filter, hydrostatic, pressure, optimizer, fmax, steps, advance
            )
        runs[name] = Relaxation(
            final=final,
            energies=energies,
            fmax=largest,
            converged=bool(largest[-1] < fmax),
            groups=space_groups(final),
            spurious=spurious(atoms, potential, symprec=symprec),
            drift=None
            if not md_steps
            else drift(final, potential, steps=md_steps, timestep=timestep, temperature=temperature, seed=seed),
        )
    meta = {
        "cell": cell,
        "cell_filter": cell_filter,
        "hydrostatic": hydrostatic,
        "pressure_GPa": pressure,
        "optimizer": optimizer,
        "fmax": fmax,
        "steps": steps,
        "symprec": symprec,
        "md_steps": md_steps,
        "temperature_K": temperature,
        "timestep_fs": timestep,
        "seed": seed,
    }
    return RelaxationReport(atoms.copy(), space_groups(atoms), runs, meta)


def _check(atoms: Atoms, *, cell: bool, fmax: float, steps: int) -> None:
    if cell and not atoms.pbc.all():
        raise ConfigError(f"cell = True needs a structure that is periodic in all directions; its pbc is {atoms.pbc}")
    if not fmax > 0:
        raise ConfigError(f"fmax is {fmax}; expected a positive force in eV/Å")
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected 1 or more")


def _minimise(
    atoms: Atoms,
    calculator: Calculator,
    cell: bool,
    cell_filter: CellFilter,
    hydrostatic: bool,
    pressure: float,
    optimizer: Optimizer,
    fmax: float,
    steps: int,
    advance: Any,
) -> tuple[Atoms, np.ndarray, np.ndarray]:
    import ase.filters
    import ase.optimize
    from ase import units
    from ase.calculators.singlepoint import SinglePointCalculator

    moving = atoms.copy()
    moving.calc = calculator
    target: Any = moving
    if cell:
        kind = {"frechet": ase.filters.FrechetCellFilter, "exp": ase.filters.ExpCellFilter}[cell_filter]
        target = kind(moving, hydrostatic_strain=hydrostatic, scalar_pressure=pressure * units.GPa)
    energies: list[float] = []
    largest: list[float] = []

    def record() -> None:
        energies.append(float(moving.get_potential_energy()))
        largest.append(float(np.linalg.norm(target.get_forces(), axis=1).max()))
        if not (math.isfinite(energies[-1]) and math.isfinite(largest[-1])):
            raise DataError(
                f"energy or forces are not finite after {len(energies) - 1} steps; the structure may be outside what "
                "the potential was trained on: start nearer to the minimum or use a smaller step (FIRE)"
            )
        advance(1)

    dynamics = getattr(ase.optimize, optimizer)(target, logfile=None)
    dynamics.attach(record)
    dynamics.run(fmax=fmax, steps=steps)
    final = moving.copy()
    final.calc = SinglePointCalculator(
        final, energy=moving.get_potential_energy(), forces=moving.get_forces(apply_constraint=False)
    )
    return final, np.array(energies), np.array(largest)


def _gpa(stress: float | None) -> float | None:
    from ase import units

    return None if stress is None else stress / units.GPa
