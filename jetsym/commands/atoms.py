"""Commands on structures: relaxation, phonons and dynamics, with models by name and files for the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.atoms.frames import expect_usable
from jetsym.atoms.packages import quiet
from jetsym.atoms.read import read_frames
from jetsym.atoms.workflows.calculators import Dtype, calculator, calculator_of
from jetsym.atoms.workflows.forbidden import SYMPREC
from jetsym.atoms.workflows.groups import refined
from jetsym.commands import check_results, keep_numbers, save
from jetsym.errors import ConfigError, DataError
from jetsym.symmetry import GroupName, Symmetry

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from jetsym.atoms.workflows.dynamics_report import DynamicsReport
    from jetsym.atoms.workflows.phonon_report import PhononReport
    from jetsym.atoms.workflows.relaxation import RelaxationReport
    from jetsym.atoms.workflows.symmetrized import SymmetrizedCalculator

__all__ = [
    "dynamics",
    "dynamics_calculator",
    "phonons",
    "phonons_calculator",
    "relax",
    "relax_calculator",
]

#: What --symmetrize may be besides the groups of all rotations.
NONE, SPACE = "none", "space"
#: Endings of the files that go beside the report of a relaxation.
RELAXED = (".png", "-plain.xyz", "-symmetrized.xyz")


def relax(
    structure: str,
    *,
    model: str,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    **options: Any,
) -> RelaxationReport:
    """Relax a structure with a model as it was trained and with its symmetry restored, and compare.

    Parameters
    ----------
    structure
        A file of structures: .xyz, .cif, .vasp, POSCAR, .traj, .json or .db.
    model
        A .ckpt or .pt file of metatrain or the folder of a run, a published model such as pet-mad-s, or emt.
    version
        Version of a published model.
    variant
        The energy of a model with several, "energy/VARIANT"; by default "energy", or the only one there is.
    dtype
        Precision of the model, float32 or float64, by default float64; an export keeps its own.
    device
        Device of the model, such as cpu or cuda; by default the best that the model supports.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`: whoever made it can run anything.
    out
        A JSON file to write the report to; relaxed structures (-plain.xyz, …) and a figure (.png) go beside it.
    """
    check_results(out, model, structure, beside=RELAXED)
    made = partial(calculator, model, version=version, variant=variant, dtype=dtype, device=device, trust=trust)
    return _relaxed(structure, made, out=out, **options)


def relax_calculator(
    structure: str, *, calculator: str = "", out: str | None = None, **options: Any
) -> RelaxationReport:
    """Relax a structure with a calculator of ASE as it is and with its symmetry restored, and compare.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    structure, out
        As for :func:`jetsym.commands.atoms.relax`.
    """
    check_results(out, structure, beside=RELAXED)
    return _relaxed(structure, partial(calculator_of, calculator), out=out, **options)


def _relaxed(
    structure: str,
    made: Callable[[], Calculator],
    *,
    symmetrize: str = SPACE,
    l_max: int = 4,
    index: int = 0,
    rattle: float = 0.0,
    symprec: float = SYMPREC,
    refine: bool = False,
    out: str | None = None,
    **options: Any,
) -> RelaxationReport:
    """Relax a structure with what makes a calculator, save what is found and print it.

    Parameters
    ----------
    symmetrize
        "space" for the mean over the rotations in the crystal's space group, "O3" or "SO3" over all, "none" to leave
        the second run out. A molecule has no space group, and needs "O3" or "none".
    l_max
        Degree of the mean over all rotations.
    index
        Number of the structure in the file, from 0.
    rattle
        Standard deviation, in Å, of random displacements of the atoms at the start; the symmetrised model keeps to the
        structure before that.
    symprec
        Tolerance, in Å, of the space group: of what is reported, averaged over, refined and kept.
    refine
        Start from the structure whose cell and positions are those that its space group asks for.
    """
    from jetsym.atoms.workflows.relaxation import relax as minimise

    atoms, potential, average = _prepared(structure, index, made, symmetrize, l_max, symprec, refine)
    if rattle:
        moves = np.random.default_rng(options.get("seed", 0)).normal(scale=rattle, size=(len(atoms), 3))
        atoms.set_positions(atoms.positions + moves)
    with quiet():
        report = minimise(atoms, potential, symmetrized=average, symprec=symprec, **options)
    report = replace(report, meta={**report.meta, "refine": refine})  # above, as the average keeps to it
    if out is not None:
        report.write_structures(out)
    save(report, out)
    print(report, end="")
    return report


def phonons(
    structure: str,
    *,
    model: str,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    **options: Any,
) -> PhononReport:
    """Compute a crystal's phonons with a model as trained and with its symmetry restored, and their degeneracies.

    Parameters
    ----------
    structure
        A file of structures: .xyz, .cif, .vasp, POSCAR, .traj, .json or .db; relaxed, as by jetsym relax.
    model
        As for :func:`jetsym.commands.atoms.relax`.
    version
        Version of a published model.
    variant, dtype, device, trust
        As for :func:`jetsym.commands.atoms.relax`.
    out
        A JSON file to write the report to; a figure (.png) goes beside it, and phonopy's files of each run,
        -plain-phonopy_params.yaml and -plain-FORCE_CONSTANTS.
    """
    check_results(out, model, structure, options.get("nac"), beside=_phonon_files())
    made = partial(calculator, model, version=version, variant=variant, dtype=dtype, device=device, trust=trust)
    return _vibrated(structure, made, out=out, **options)


def phonons_calculator(structure: str, *, calculator: str = "", out: str | None = None, **options: Any) -> PhononReport:
    """Compute a crystal's phonons with a calculator of ASE as it is and with its symmetry restored.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    structure, out
        As for :func:`jetsym.commands.atoms.phonons`.
    """
    check_results(out, structure, options.get("nac"), beside=_phonon_files())
    return _vibrated(structure, partial(calculator_of, calculator), out=out, **options)


def _phonon_files() -> tuple[str, ...]:
    """Return the endings of the files that go beside a report."""
    from jetsym.atoms.workflows.phonon_report import PHONOPY_FILES

    return (".png", *(f"-{run}{end}" for run in ("plain", "projected", "symmetrized") for end in PHONOPY_FILES))


def _vibrated(
    structure: str,
    made: Callable[[], Calculator],
    *,
    symmetrize: str = SPACE,
    l_max: int = 4,
    index: int = 0,
    symprec: float = SYMPREC,
    refine: bool = False,
    out: str | None = None,
    **options: Any,
) -> PhononReport:
    """Compute phonons with what makes a calculator, save what is found and print it.

    Parameters
    ----------
    symmetrize
        "space" for the mean over the rotations in the crystal's space group, "O3" or "SO3" over all, "none" to leave
        the second run out.
    l_max, index
        As for :func:`jetsym.commands.atoms._relaxed`.
    symprec
        Tolerance, in Å, of the space group: of what is reported, averaged over and refined.
    refine
        Take the structure whose cell and positions are those that its space group asks for.
    """
    from jetsym.atoms.workflows.phonons import phonons as measure

    atoms, potential, average = _prepared(structure, index, made, symmetrize, l_max, symprec, refine)
    with quiet():
        report = measure(atoms, potential, symmetrized=average, symprec=symprec, **options)
    if out is not None:
        report.write_phonopy(out)
    save(report, out)
    print(report, end="")
    return report


def dynamics(
    structure: str,
    *,
    model: str,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    **options: Any,
) -> DynamicsReport:
    """Run a structure at constant energy with a model as trained, averaged and in random frames, and compare the drift.

    Parameters
    ----------
    structure
        A file of structures: .xyz, .cif, .vasp, POSCAR, .traj, .json or .db; near a minimum, as by jetsym relax.
    model
        As for :func:`jetsym.commands.atoms.relax`.
    version
        Version of a published model.
    variant, dtype, device, trust
        As for :func:`jetsym.commands.atoms.relax`.
    out
        A JSON file to write the numbers to.
    """
    check_results(out, model, structure)
    made = partial(calculator, model, version=version, variant=variant, dtype=dtype, device=device, trust=trust)
    return _driven(structure, made, out=out, **options)


def dynamics_calculator(
    structure: str, *, calculator: str = "", out: str | None = None, **options: Any
) -> DynamicsReport:
    """Run a structure at constant energy with a calculator of ASE as it is, averaged and in random frames, and compare.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    structure, out
        As for :func:`jetsym.commands.atoms.dynamics`.
    """
    check_results(out, structure)
    return _driven(structure, partial(calculator_of, calculator), out=out, **options)


def _driven(
    structure: str,
    made: Callable[[], Calculator],
    *,
    frames: str = "plain,average,random",
    symmetrize: str = GroupName.O3,
    l_max: int = 4,
    index: int = 0,
    symprec: float = SYMPREC,
    runs: int = 4,
    steps: int = 200,
    timestep: float = 1.0,
    temperature: float = 300.0,
    seed: int = 0,
    progress: bool = True,
    out: str | None = None,
) -> DynamicsReport:
    """Run a structure with what makes a calculator, save what is found and print it.

    Parameters
    ----------
    frames
        Which of plain, average and random, with commas.
    symmetrize
        "O3" or "SO3" for the mean and the frames over all rotations, "space" over those of the crystal's space group.
    l_max, index
        As for :func:`jetsym.commands.atoms._relaxed`.
    symprec
        Tolerance, in Å, of the space group.
    runs
        So many of each kind, for the errors: each with momenta and random frames of its own.
    steps
        Steps of a run.
    timestep
        Their length, in fs.
    temperature
        Of the momenta at the start, in K.
    seed
        That of the first run; others follow it.
    progress
        Show a progress bar.
    """
    from jetsym.atoms.workflows.dynamics_report import dynamics as measure

    atoms, potential, average = _prepared(structure, index, made, symmetrize, l_max, symprec, refine=False)
    if average is None:
        raise ConfigError("--symmetrize is 'none', of which there is no random frame; expected O3, SO3 or space")
    choice: Any = [name.strip() for name in frames.split(",")]
    over: dict[str, Any] = {"group": average.group, "reference": average.reference, "symprec": symprec}
    with quiet():
        report = measure(
            atoms,
            potential,
            frames=choice,
            l_max=l_max,
            **over,
            runs=runs,
            steps=steps,
            timestep=timestep,
            temperature=temperature,
            seed=seed,
            progress=progress,
        )
    return keep_numbers(report, out)


def _prepared(
    structure: str,
    index: int,
    made: Callable[[], Calculator],
    symmetrize: str,
    l_max: int,
    symprec: float,
    refine: bool,
) -> tuple[Atoms, Calculator, SymmetrizedCalculator | None]:
    """Load the structure, make the calculator, and that averaged over a group."""
    over = symmetrize.lower()
    if over not in (NONE, SPACE):
        names = (NONE, SPACE, GroupName.O3, GroupName.SO3)
        over = Symmetry.parse(symmetrize, called={"group": "--symmetrize"}, groups=names).group
    frames = read_frames(structure)
    if not -len(frames) <= index < len(frames):
        raise DataError(f"--index is {index}, but {structure} holds {len(frames)} structures")
    atoms = frames[index]
    if over == SPACE and not atoms.pbc.all():
        raise ConfigError(
            f"--symmetrize is 'space', but {structure} is no crystal (its pbc is {atoms.pbc.tolist()}); "
            "use --symmetrize O3 or none"
        )
    expect_usable(atoms, f"structure {index} of {structure}")
    if refine:
        atoms = refined(atoms, symprec)
    potential = made()
    atoms.calc = None
    try:
        with quiet():
            potential.get_potential_energy(atoms)
    except (NotImplementedError, ValueError) as error:  # for elements that a potential does not know
        raise DataError(f"{structure}, {atoms.get_chemical_formula()}: {error}") from error
    if over == NONE:
        return atoms, potential, None
    from jetsym.atoms.workflows.symmetrized import SymmetrizedCalculator

    reference = atoms.copy() if over == SPACE else None
    return atoms, potential, SymmetrizedCalculator(potential, over, l_max, reference=reference, symprec=symprec)
