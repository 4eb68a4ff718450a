"""Commands on atoms: the workflows, with models and structures by name and files for the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.atoms.packages import quiet
from jetsym.atoms.read import read_frames
from jetsym.atoms.workflows.calculators import Dtype, calculator
from jetsym.commands import check_results, save
from jetsym.errors import ConfigError, DataError
from jetsym.symmetry import GroupName, Symmetry

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from jetsym.atoms.workflows.phonon_report import PhononReport
    from jetsym.atoms.workflows.relaxation import RelaxationReport

__all__ = ["evaluate", "phonons", "relax"]

#: What --symmetrize may be besides the groups of all rotations.
NONE, SPACE = "none", "space"


def relax(
    structure: str,
    *,
    model: str,
    version: str | None = None,
    variant: str | None = None,
    symmetrize: str = SPACE,
    l_max: int = 4,
    index: int = 0,
    rattle: float = 0.0,
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
        A file of structures: .xyz, .cif, .vasp or .traj.
    model
        A .ckpt or .pt file of metatrain or the folder of a run, a published model such as pet-mad-s, or emt.
    version
        Version of a published model.
    variant
        The energy of a model with several, "energy/VARIANT"; by default "energy", or the only one there is.
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
    dtype
        Precision of the model, float32 or float64, by default float64; an export keeps its own.
    device
        Device of the model, such as cpu or cuda; by default the best that the model supports.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`: whoever made it can run anything.
    out
        A JSON file to write the report to; relaxed structures (-plain.xyz, …) and a figure (.png) go beside it.
    """
    from jetsym.atoms.workflows.relaxation import relax as minimise

    check_results(out, model, structure, beside=(".png", "-plain.xyz", "-symmetrized.xyz"))
    atoms, potential, symmetrized = _prepared(
        structure, index, model, version, variant, dtype, device, trust, symmetrize, l_max
    )
    if rattle:
        moves = np.random.default_rng(options.get("seed", 0)).normal(scale=rattle, size=(len(atoms), 3))
        atoms.set_positions(atoms.positions + moves)
    with quiet():
        report = minimise(atoms, potential, symmetrized=symmetrized, **options)
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
    symmetrize: str = SPACE,
    l_max: int = 4,
    index: int = 0,
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
        A file of structures: .xyz, .cif, .vasp or .traj; relaxed, as by jetsym relax.
    model
        A .ckpt or .pt file of metatrain or the folder of a run, a published model such as pet-mad-s, or emt.
    version
        Version of a published model.
    variant
        The energy of a model with several, "energy/VARIANT"; by default "energy", or the only one there is.
    symmetrize
        "space" for the mean over the rotations in the crystal's space group, "O3" or "SO3" over all, "none" to leave
        the second run out.
    l_max
        Degree of the mean over all rotations.
    index
        Number of the structure in the file, from 0.
    dtype
        Precision of the model, float32 or float64, by default float64; an export keeps its own.
    device
        Device of the model, such as cpu or cuda; by default the best that the model supports.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`: whoever made it can run anything.
    out
        A JSON file to write the report to; a figure (.png) goes beside it.
    """
    from jetsym.atoms.workflows.phonons import phonons as measure

    check_results(out, model, structure, beside=(".png",))
    atoms, potential, symmetrized = _prepared(
        structure, index, model, version, variant, dtype, device, trust, symmetrize, l_max
    )
    with quiet():
        report = measure(atoms, potential, symmetrized=symmetrized, **options)
    save(report, out)
    print(report, end="")
    return report


def evaluate(
    model: str,
    data: str | list[str],
    *,
    version: str | None = None,
    variant: str | None = None,
    by: str | None = None,
    fit_baseline: bool = False,
    skip_unknown: bool = False,
    limit: int | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    progress: bool = True,
) -> None:
    """Measure the errors of a model's energies and forces on a file of structures, by subset.

    Parameters
    ----------
    model
        A .ckpt or .pt file of metatrain or the folder of a run, a published model such as pet-mad-s, or emt.
    data
        Files of structures with energies and forces, such as a MAD benchmark file.
    version
        Version of a published model.
    variant
        The energy of a model with several, "energy/VARIANT"; by default "energy", or the only one there is.
    by
        Key of a structure that tells its subset; by default dataset, subset or config_type.
    fit_baseline
        Subtract a least-squares energy of every element from the errors first.
    skip_unknown
        Leave out structures with elements that the model does not know.
    limit
        At most so many structures.
    dtype
        Precision of the model, float32 or float64, by default float64; an export keeps its own.
    device
        Device of the model, such as cpu or cuda; by default the best that the model supports.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`: whoever made it can run anything.
    out
        A JSON file to write the numbers to.
    progress
        Show a progress bar.
    """
    from jetsym.atoms.workflows.evaluation import evaluate as measure

    check_results(out, model, data)
    frames = read_frames(data, limit=limit)
    found = measure(
        calculator(model, version=version, variant=variant, dtype=dtype, device=device, trust=trust),
        frames,
        by=by,
        fit_baseline=fit_baseline,
        skip_unknown=skip_unknown,
        progress=progress,
    )
    if out is not None:
        found.save(out)
    print(found, end="")


def _prepared(
    structure: str,
    index: int,
    model: str,
    version: str | None,
    variant: str | None,
    dtype: Dtype | None,
    device: str | None,
    trust: bool,
    symmetrize: str,
    l_max: int,
) -> tuple[Atoms, Calculator, Calculator | None]:
    """Load the structure, the model's calculator, and that averaged over a group."""
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
    potential = calculator(model, version=version, variant=variant, dtype=dtype, device=device, trust=trust)
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
    return atoms, potential, SymmetrizedCalculator(potential, over, l_max, reference=reference)
