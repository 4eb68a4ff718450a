"""Reports on a crystal's phonons, with and without symmetrisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from rich.table import Table

from jetsym.arguments import checked
from jetsym.atoms.workflows.band_path import BandPath
from jetsym.atoms.workflows.forbidden import Spurious
from jetsym.atoms.workflows.residual import largest_stress
from jetsym.atoms.workflows.tables import compared, number, structure_dict, structure_of
from jetsym.errors import DataError
from jetsym.files import finished_file
from jetsym.results import Result
from jetsym.text import as_text

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from phonopy import Phonopy

__all__ = ["PHONOPY_FILES", "PhononReport", "Phonons", "Splitting"]

#: Endings of phonopy's files of a run.
PHONOPY_FILES = ("-phonopy_params.yaml", "-FORCE_CONSTANTS")


@dataclass(frozen=True)
class Splitting:
    """Bands at a high-symmetry point that symmetry makes degenerate.

    Parameters
    ----------
    point
        Name of the point.
    bands
        The bands, counted from the lowest.
    frequency
        Their mean frequency, in THz.
    splitting
        Highest minus lowest, in THz.
    floor
        What the displacements themselves may make of it, in THz; None where they have one length only.
    """

    point: str
    bands: tuple[int, ...]
    frequency: float
    splitting: float
    floor: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether the splitting is above its floor."""
        return self.floor is None or self.splitting > self.floor

    def __str__(self) -> str:
        if not self.is_told:
            return f"below the floor {self.floor:.1g} of {self.frequency:.3f}"
        floor = "" if self.floor is None else f" (floor {self.floor:.1g})"
        return f"{self.splitting:.3g} of {self.frequency:.3f}{floor}"


@dataclass(frozen=True)
class Phonons:
    """Phonons of a crystal with one potential. Frequencies are in THz; imaginary ones are negative.

    Parameters
    ----------
    bands
        Frequencies along each segment of the path, each of shape (points, bands).
    points
        Frequencies at the high-symmetry points, by name.
    splittings
        Of all bands that symmetry makes degenerate, but for the three acoustic ones at Γ.
    gamma_acoustic
        Largest |frequency| of the three lowest bands at Γ, which should vanish.
    lowest
        The lowest frequency on the mesh; negative where the crystal is unstable.
    asymmetry
        ‖Φ − P Φ‖/‖Φ‖ of the force constants, with P the mean over the space group.
    dos_frequencies, dos
        Density of states in states per THz and primitive cell, and where.
    spurious
        Forces, torque and stress that symmetry forbids, in the cell without displacements.
    force_constants
        In eV/Å², shape (atoms, atoms, 3, 3) of the supercell; None in a report that was loaded, as they are not saved.
    residual_force
        Largest force on an atom before any displacement, in eV/Å.
    imaginary, modes
        How many modes on the mesh are imaginary by more than 0.01 THz, and how many there are.
    lowest_at
        The point of the mesh with the lowest frequency, in fractions of the primitive cell's reciprocal vectors.
    lattice
        Phonopy with the force constants; None in a report that was loaded.
    """

    bands: Sequence[np.ndarray]
    points: Mapping[str, np.ndarray]
    splittings: Sequence[Splitting]
    gamma_acoustic: float
    lowest: float
    asymmetry: float
    dos_frequencies: np.ndarray
    dos: np.ndarray
    spurious: Spurious
    force_constants: np.ndarray | None
    residual_force: float | None = None
    imaginary: int | None = None
    modes: int | None = None
    lowest_at: tuple[float, ...] | None = None
    lattice: Phonopy | None = None

    @property
    def worst(self) -> Splitting | None:
        """The largest splitting; None where symmetry asks for no degeneracy."""
        return max(self.splittings, key=lambda item: item.splitting, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the force constants as values that JSON can hold."""
        return {
            "bands_THz": [segment.tolist() for segment in self.bands],
            "points_THz": {name: values.tolist() for name, values in self.points.items()},
            "splittings": [
                {
                    "point": item.point,
                    "bands": list(item.bands),
                    "THz": item.frequency,
                    "splitting_THz": item.splitting,
                    "floor": item.floor,
                }
                for item in self.splittings
            ],
            "gamma_acoustic_THz": self.gamma_acoustic,
            "lowest_THz": self.lowest,
            "asymmetry": self.asymmetry,
            "dos_frequencies_THz": self.dos_frequencies.tolist(),
            "dos": self.dos.tolist(),
            "spurious": self.spurious.to_dict(),
            "residual_force": self.residual_force,
            "imaginary": self.imaginary,
            "modes": self.modes,
            "lowest_at": None if self.lowest_at is None else list(self.lowest_at),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the phonons whose :meth:`to_dict` gave ``data``."""
        return cls(
            bands=[np.array(segment) for segment in data["bands_THz"]],
            points={name: np.array(values) for name, values in data["points_THz"].items()},
            splittings=[
                Splitting(item["point"], tuple(item["bands"]), item["THz"], item["splitting_THz"], item.get("floor"))
                for item in data["splittings"]
            ],
            gamma_acoustic=data["gamma_acoustic_THz"],
            lowest=data["lowest_THz"],
            asymmetry=data["asymmetry"],
            dos_frequencies=np.array(data["dos_frequencies_THz"]),
            dos=np.array(data["dos"]),
            spurious=Spurious(**data["spurious"]),
            force_constants=None,
            residual_force=data.get("residual_force"),  # this and what follows are of later versions
            imaginary=data.get("imaginary"),
            modes=data.get("modes"),
            lowest_at=None if data.get("lowest_at") is None else tuple(data["lowest_at"]),
        )


@checked()
@dataclass(frozen=True)
class PhononReport(Result):
    """Phonons of a crystal, with and without symmetrisation.

    Parameters
    ----------
    structure
        The crystal as it was given.
    group
        Its space group.
    path
        Path through the Brillouin zone of the primitive cell.
    runs
        "plain", "projected" where it was asked for, and "symmetrized" where such a calculator was given.
    meta
        How it was done, with notes.
    """

    structure: Atoms
    group: str
    path: BandPath
    runs: Mapping[str, Phonons]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "phonons"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {
            "structure": structure_dict(self.structure),
            "group": self.group,
            "path": self.path.to_dict(),
            "runs": {name: run.to_dict() for name, run in self.runs.items()},
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        path = data["path"]
        return cls(
            structure=structure_of(data["structure"]),
            group=data["group"],
            path=BandPath(
                segments=[np.array(segment) for segment in path["segments"]],
                distances=[np.array(distance) for distance in path["distances"]],
                ticks=[(place, name) for place, name in path["ticks"]],
                points={name: np.array(point) for name, point in path["points"].items()},
            ),
            runs={name: Phonons.from_dict(run) for name, run in data["runs"].items()},
            meta=dict(data["meta"]),
        )

    def table(self) -> Table:
        """Return the runs side by side: splittings of degenerate bands, and what else symmetry forbids."""
        runs = list(self.runs.values())
        rows: dict[str, list[str]] = {}
        for place, item in enumerate(runs[0].splittings):
            bands = ", ".join(str(band + 1) for band in item.bands)
            rows[f"splitting at {item.point}, bands {bands} [THz]"] = [str(run.splittings[place]) for run in runs]
        rows["acoustic bands at Γ, should be 0 [THz]"] = [number(run.gamma_acoustic) for run in runs]
        rows["lowest frequency [THz]"] = [f"{round(run.lowest, 3) + 0.0:.3f}" for run in runs]
        if all(run.modes for run in runs):
            rows["imaginary modes on the mesh"] = [f"{run.imaginary} of {run.modes}" for run in runs]
        rows["largest force before displacements [eV/Å]"] = [number(run.residual_force) for run in runs]
        if any(run.spurious.stress is not None for run in runs):  # which older versions did not write
            rows["stress of the cell, largest component [GPa]"] = [number(largest_stress(run.spurious)) for run in runs]
        rows["asymmetry of force constants"] = [number(run.asymmetry) for run in runs]
        rows["torque [eV]"] = [number(run.spurious.torque) for run in runs]
        rows["force that sites forbid [eV/Å]"] = [number(run.spurious.forbidden_force) for run in runs]
        return compared(f"{self.structure.get_chemical_formula()}, {self.group}", self.runs, rows)

    def __str__(self) -> str:
        return as_text(self.table(), width=140) + "".join(f"{note}\n" for note in self.meta.get("notes", ()))

    @checked()
    def write_phonopy(self, path: str | Path) -> list[Path]:
        """Write phonopy's files of each run, named ``path`` with the run's name before the suffix.

        ``NAME-RUN-phonopy_params.yaml`` holds cells, displacements, forces, force constants and Born charges;
        ``NAME-RUN-FORCE_CONSTANTS`` the force constants alone.

        Raises
        ------
        DataError
            The report was loaded from a file, which holds no force constants.
        """
        from phonopy.file_IO import write_FORCE_CONSTANTS

        written = []
        for name, run in self.runs.items():
            if run.lattice is None or run.force_constants is None:
                raise DataError(
                    "a report that was loaded has no force constants; write phonopy's files when it is made"
                )
            stem = f"{Path(path).stem}-{name}"
            for ending in PHONOPY_FILES:
                target = Path(path).with_name(f"{stem}{ending}")
                with finished_file(target) as unfinished:
                    if ending.endswith(".yaml"):
                        run.lattice.save(unfinished, settings={"force_constants": True})
                    else:
                        write_FORCE_CONSTANTS(run.force_constants, unfinished)
                written.append(target)
        return written

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, legend: bool = True) -> Figure:
        """Draw bands along the path, and the density of states beside them, into two axes."""
        from jetsym.plotting.crystals import plot_phonons
        from jetsym.plotting.style import parts_of, with_legend

        runs = {name: (run.bands, run.dos_frequencies, run.dos) for name, run in self.runs.items()}
        drawn = plot_phonons(self.path.distances, self.path.ticks, runs, axes=parts_of(ax, 2))
        return with_legend(drawn, legend, ax)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per run, point of the path and band: its frequency in THz, negative where imaginary."""
        for name, run in self.runs.items():
            for distances, segment in zip(self.path.distances, run.bands, strict=True):
                for distance, frequencies in zip(distances, segment, strict=True):
                    for band, frequency in enumerate(frequencies):
                        yield {"run": name, "distance": distance, "band": band + 1, "frequency": frequency}
