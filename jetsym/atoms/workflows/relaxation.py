"""Relaxation of a structure with a potential as it was trained, and with its symmetry restored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import above, at_least, checked
from jetsym.atoms.frames import expect_usable, is_left_handed, right_handed
from jetsym.atoms.workflows.dynamics import drift
from jetsym.atoms.workflows.forbidden import SYMPREC, space_groups, spurious
from jetsym.atoms.workflows.groups import notes_on_group, refined
from jetsym.atoms.workflows.relaxation_report import Relaxation, RelaxationReport
from jetsym.errors import ConfigError, DataError, refuse_unknown
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["Relaxation", "RelaxationReport", "relax"]

Optimizer = Literal["FIRE", "BFGS", "LBFGS", "BFGSLineSearch", "MDMin"]
CellFilter = Literal["frechet", "exp"]
#: Components of a strain, in Voigt's order.
STRAINS = ("xx", "yy", "zz", "yz", "xz", "xy")


@checked(
    fmax=above(0),
    steps=at_least(1),
    symprec=above(0),
    md_steps=at_least(0),
    temperature=at_least(0),
    timestep=above(0),
    seed=at_least(0),
)
def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    symmetrized: Calculator | None = None,
    cell: bool = False,
    cell_filter: CellFilter = "frechet",
    hydrostatic: bool = False,
    cell_mask: str | Sequence[str] | None = None,
    fixed_volume: bool = False,
    pressure: float = 0.0,
    fix_symmetry: bool = False,
    refine: bool = False,
    optimizer: Optimizer = "FIRE",
    fmax: float = 0.01,
    steps: int = 500,
    symprec: float = SYMPREC,
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
        The same potential averaged over a group, as by :class:`jetsym.atoms.SymmetrizedCalculator`. Where that is the
        space group of a reference, its cell keeps to the lattice it starts with.
    cell
        Relax the cell as well; all directions must be periodic, or the mask must leave out the others.
    cell_filter
        ASE's "frechet" (gradients are exact) or "exp", for the cell.
    hydrostatic
        Change the cell's volume only.
    cell_mask
        Components of the strain that may change, of xx, yy, zz, yz, xz and xy, such as "xx,yy": a slab's cell relaxes
        in its plane.
    fixed_volume
        Change the cell's shape only.
    pressure
        On the cell, in GPa.
    fix_symmetry
        Keep the space group: steps of atoms and cell are averaged over it, by ASE's ``FixSymmetry``, which starts by
        making the structure as symmetric as ``symprec`` says.
    refine
        Start from the structure whose cell and positions are those that its space group asks for.
    optimizer
        One of ASE's.
    fmax
        Where to stop: no force above it, in eV/Å.
    steps
        At most so many.
    symprec
        Tolerance, in Å, of the space group: what is forbidden, refined and kept.
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
    mask = _mask(cell_mask)
    _check(atoms, cell=cell, hydrostatic=hydrostatic, mask=mask, fixed_volume=fixed_volume, pressure=pressure)
    if not fmax > 0:
        raise ConfigError(f"fmax is {fmax}; expected a positive force in eV/Å")
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected 1 or more")
    if fix_symmetry and not atoms.pbc.all():
        raise ConfigError(f"fix_symmetry needs a crystal, periodic in all directions; its pbc is {atoms.pbc}")
    atoms = refined(atoms, symprec) if refine else atoms
    reference = getattr(symmetrized, "reference", None)
    notes = notes_on_group(atoms if reference is None else reference, symprec, symmetrized)
    calculators = {"plain": calculator} | ({} if symmetrized is None else {"symmetrized": symmetrized})
    runs = {}
    for name, potential in calculators.items():
        moving = _held(atoms, getattr(potential, "reference", None), symprec, fix_symmetry=fix_symmetry)
        moving.calc = potential
        target = _with_cell(moving, cell_filter, hydrostatic, mask, fixed_volume, pressure) if cell else moving
        with progress_bar(f"relax ({name})", steps, shown=progress) as advance:
            energies, largest = _minimise(moving, target, optimizer, fmax, steps, advance)
        final = _final(moving, atoms)
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
        "cell_mask": None if mask is None else [name for name, free in zip(STRAINS, mask, strict=True) if free],
        "fixed_volume": fixed_volume,
        "pressure_GPa": pressure,
        "fix_symmetry": fix_symmetry,
        "refine": refine,
        "optimizer": optimizer,
        "fmax": fmax,
        "steps": steps,
        "symprec": symprec,
        "md_steps": md_steps,
        "temperature_K": temperature,
        "timestep_fs": timestep,
        "seed": seed,
        "notes": notes,
    }
    return RelaxationReport(atoms.copy(), space_groups(atoms), runs, meta)


def _mask(given: str | Sequence[str] | None) -> NDArray[np.bool_] | None:
    """Return which components of a strain may change, (6,) in Voigt's order; None where all may."""
    if given is None:
        return None
    names = [name.strip().lower() for name in (given.split(",") if isinstance(given, str) else given)]
    names = [name if name in STRAINS else name[::-1] for name in names]
    for name in names:
        refuse_unknown("cell_mask", name, STRAINS)
    if not names:
        raise ConfigError(f"cell_mask is {given!r}; expected some of {', '.join(STRAINS)}")
    return np.array([name in names for name in STRAINS])


def _check(
    atoms: Atoms,
    *,
    cell: bool,
    hydrostatic: bool,
    mask: NDArray[np.bool_] | None,
    fixed_volume: bool,
    pressure: float,
) -> None:
    """Refuse what does not go together of a structure and the ways to relax its cell."""
    expect_usable(atoms)
    asked = {"hydrostatic": hydrostatic, "cell_mask": mask is not None, "fixed_volume": fixed_volume}
    of_cell = [name for name, is_there in {**asked, "pressure": pressure != 0}.items() if is_there]
    if not cell:
        if of_cell:
            raise ConfigError(
                f"{of_cell[0]} is given, but the cell is not relaxed; expected cell = True (--cell) with it"
            )
        return
    for one, other in (("hydrostatic", "fixed_volume"), ("hydrostatic", "cell_mask"), ("fixed_volume", "pressure")):
        if {one, other} <= {*of_cell}:
            raise ConfigError(f"{one} and {other} contradict each other; expected one of them")
    if atoms.pbc.all():
        return
    axes = set("".join(name for name, free in zip(STRAINS, () if mask is None else mask, strict=False) if free))
    free = [place for place, axis in enumerate("xyz") if axis in axes]
    beside = atoms.cell.array[~atoms.pbc]
    has_cell = atoms.pbc.any() and atoms.cell.rank == 3
    if mask is None or not has_cell or np.abs(beside[:, free]).max(initial=0) > 1e-8:
        raise ConfigError(
            f"cell = True needs a structure that is periodic in all directions; its pbc is {atoms.pbc}: leave the "
            "others out with cell_mask, such as cell_mask='xx,yy,xy' for a slab along x and y, whose cell has a volume"
        )


def _held(atoms: Atoms, reference: Atoms | None, symprec: float, *, fix_symmetry: bool) -> Atoms:
    """Return a copy that keeps its constraints, its space group where asked, and the lattice of a reference.

    Its cell is right-handed, as some calculators take volumes with their sign.
    """
    from ase.constraints import FixSymmetry

    class Lattice(FixSymmetry):
        """Steps of the cell averaged over a space group; atoms move as they will."""

        def adjust_positions(self, atoms: Atoms, new: Any) -> None:
            """Leave positions as they are."""

        def adjust_forces(self, atoms: Atoms, forces: Any) -> None:
            """Leave forces as they are."""

    moving: Atoms = right_handed(atoms.copy())
    held = list(moving.constraints)
    moving.set_constraint()
    try:
        if fix_symmetry:
            held.append(FixSymmetry(moving, symprec=symprec))
        elif reference is not None:
            held.append(Lattice(right_handed(reference.copy()), symprec=symprec))  # type: ignore[no-untyped-call]
    except Exception as error:  # what ASE and spglib raise of structures that they cannot refine
        raise DataError(
            f"the space group of {atoms.get_chemical_formula()} cannot be kept within symprec = {symprec} Å: {error}"
        ) from error
    moving.set_constraint(held)
    return moving


def _with_cell(
    moving: Atoms,
    cell_filter: CellFilter,
    hydrostatic: bool,
    mask: NDArray[np.bool_] | None,
    fixed_volume: bool,
    pressure: float,
) -> Any:
    """Return ASE's filter through which an optimizer moves atoms and cell."""
    import ase.filters
    from ase import units

    kind = {"frechet": ase.filters.FrechetCellFilter, "exp": ase.filters.ExpCellFilter}[cell_filter]
    return kind(
        moving,
        mask=None if mask is None else mask.astype(float),
        hydrostatic_strain=hydrostatic,
        constant_volume=fixed_volume,
        scalar_pressure=pressure * units.GPa,
    )


def _minimise(
    moving: Atoms, target: Any, optimizer: Optimizer, fmax: float, steps: int, advance: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise, and return the energy and the largest force of every step."""
    import ase.optimize

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
    return np.array(energies), np.array(largest)


def _final(moving: Atoms, given: Atoms) -> Atoms:
    """Return what a structure has become, with its energy and forces, and the constraints and hand it came with."""
    from ase.calculators.singlepoint import SinglePointCalculator

    final: Atoms = moving.copy()
    results = {"energy": moving.get_potential_energy(), "forces": moving.get_forces(apply_constraint=False)}
    final.set_constraint()
    if is_left_handed(given):
        final.set_cell(-final.cell.array, scale_atoms=False)
    final.set_constraint(given.constraints)
    final.calc = SinglePointCalculator(final, **results)
    return final
