"""Reports on relaxations of a structure, with and without symmetrisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from rich.table import Table

from jetsym.arguments import checked
from jetsym.atoms.workflows.dynamics import Drift
from jetsym.atoms.workflows.forbidden import Spurious
from jetsym.atoms.workflows.tables import compared, number, structure_dict, structure_of
from jetsym.files import finished_file
from jetsym.results import Result
from jetsym.text import as_text

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Relaxation", "RelaxationReport"]


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


@checked()
@dataclass(frozen=True)
class RelaxationReport(Result):
    """Relaxations of a structure, with and without symmetrisation.

    Parameters
    ----------
    initial
        The structure as it was given.
    initial_groups
        Its space group at several tolerances in Å.
    runs
        "plain", and "symmetrized" where such a calculator was given.
    meta
        How it was done, with notes.
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

    @checked()
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
        return as_text(self.table(), width=140) + "".join(f"{note}\n" for note in self.meta.get("notes", ()))

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, legend: bool = True) -> Figure:
        """Draw energy and largest force against the steps, into two axes."""
        from jetsym.plotting.crystals import plot_relaxation
        from jetsym.plotting.style import parts_of, with_legend

        runs = {name: (1e3 * run.energies / len(run.final), run.fmax) for name, run in self.runs.items()}
        return with_legend(plot_relaxation(runs, fmax=self.meta["fmax"], axes=parts_of(ax, 2)), legend, ax)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per run and step: energy in eV, largest force in eV/Å."""
        for name, run in self.runs.items():
            for step, (energy, largest) in enumerate(zip(run.energies, run.fmax, strict=True)):
                yield {"run": name, "step": step, "energy": energy, "largest_force": largest}


def _gpa(stress: float | None) -> float | None:
    from ase import units

    return None if stress is None else stress / units.GPa
