"""Commands on potentials: their errors, their check, and their export for other programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetsym.atoms.read import read_frames
from jetsym.atoms.workflows.calculators import Dtype, calculator, calculator_of
from jetsym.commands import check_results, save
from jetsym.errors import FaultError
from jetsym.files import write_atomically
from jetsym.symmetry import GroupName

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from jetsym.atoms.workflows.check_report import Check

__all__ = ["check", "check_calculator", "evaluate", "evaluate_calculator", "export"]


def evaluate(
    model: str,
    data: str | list[str],
    *,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    **options: Any,
) -> None:
    """Measure the errors of a model on a file of structures, by subset: energies, forces, stress and other outputs.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.atoms.relax`.
    data
        Files of structures with references, such as a MAD benchmark file.
    version
        Version of a published model.
    variant, dtype, device, trust
        As for :func:`jetsym.commands.atoms.relax`.
    out
        A JSON file to write the numbers to; a figure (.png) of predictions against references goes beside it.
    """
    check_results(out, model, data, beside=(".png",))
    more: dict[str, Any] = {"device": device, "trust": trust, "energy": not options.get("targets")}
    made = partial(calculator, model, version=version, variant=variant, dtype=dtype, **more)
    _evaluated(data, made, out=out, **options)


def evaluate_calculator(data: str | list[str], *, calculator: str = "", out: str | None = None, **options: Any) -> None:
    """Measure the errors of a calculator of ASE on a file of structures, by subset.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    data, out
        As for :func:`jetsym.commands.potentials.evaluate`.
    """
    check_results(out, data, beside=(".png",))
    _evaluated(data, partial(calculator_of, calculator), out=out, **options)


def _evaluated(
    data: str | list[str],
    made: Callable[[], Calculator],
    *,
    by: str | None = None,
    energy: str | None = "energy",
    forces: str | None = "forces",
    stress: str | None = "stress",
    virial: str | None = None,
    targets: dict[str, str] | None = None,
    unit: str | None = None,
    fit_baseline: bool = False,
    skip_unknown: bool = False,
    turned: int = 4,
    limit: int | None = None,
    progress: bool = True,
    out: str | None = None,
) -> None:
    """Measure errors with what makes a calculator, save them and print them.

    Parameters
    ----------
    by
        Key of a structure that tells its subset; by default dataset, subset, config_type or split.
    energy, forces, stress
        Names of the references in the file; null to compare without.
    virial
        Name of the virial −V σ in the file, in place of the stress.
    targets
        Further outputs of the model and the names of their references, such as '{"mtt::dipole": "dipole"}'; of a
        calculator its dipole, charges and magmoms.
    unit
        Of the energies in the file, and with Å of forces and stress, such as kcal/mol; by default the model's.
    fit_baseline
        Subtract a least-squares energy of every element from the errors first.
    skip_unknown
        Leave out structures with elements that the model does not know.
    turned
        So many structures are turned as well, for A under O(3) and the torque −∂E/∂θ; 0 for none.
    limit
        At most so many structures.
    progress
        Show a progress bar.
    """
    from jetsym.atoms.workflows.evaluation import evaluate as measure

    frames = read_frames(data, limit=limit)
    found = measure(
        made(),
        frames,
        by=by,
        energy=energy,
        forces=forces,
        stress=stress,
        virial=virial,
        targets=targets,
        unit=unit,
        fit_baseline=fit_baseline,
        skip_unknown=skip_unknown,
        turned=turned,
        progress=progress,
    )
    save(found, out)
    print(found, end="")


def export(
    model: str,
    out: str,
    *,
    symmetrize: str = GroupName.O3,
    l_max: int | None = None,
    report: str | None = None,
    version: str | None = None,
    dtype: Dtype | None = None,
    trust: bool = False,
) -> None:
    """Write a model, as it is or averaged over O(3), as a file that LAMMPS and others read by metatomic.

    Parameters
    ----------
    model
        A .ckpt or .pt file of metatrain or the folder of a run, or a published model such as pet-mad-s.
    out
        The file to write, .pt.
    symmetrize
        "O3" for the average, "none" to write the model as it is.
    l_max
        Degree of the average: the largest λ in which the energy of a rotating structure breaks the symmetry, plus one
        for forces, plus two for stress. By default 4, or what the report asks for.
    report
        Report of jetsym probe on this model, whose error spectra tell the degree.
    version
        Version of a published model.
    dtype
        Precision of the model, float32 or float64; by default its own. An export keeps its own.
    trust
        As for :func:`jetsym.commands.atoms.relax`.
    """
    from jetsym.atoms.workflows.averaged_export import export as write

    found = write(
        model, out, symmetrize=symmetrize, l_max=l_max, report=report, version=version, dtype=dtype, trust=trust
    )
    print(found, end="")


def check(
    model: str,
    frames: str | list[str],
    *,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    out: str | None = None,
    **options: Any,
) -> None:
    """Check a potential; see :func:`jetsym.atoms.check`. The exit status is 3 where a fault is found, 0 where none is.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.atoms.relax`.
    frames
        Files of structures.
    version
        Version of a published model.
    variant, dtype, device, trust
        As for :func:`jetsym.commands.atoms.relax`.
    out
        A JSON file to write the numbers to; a page (.html) of the same name goes beside it.
    """
    from jetsym.atoms.workflows.check import check as measure

    check_results(out, model, frames, beside=(".html",))
    potential = calculator(model, version=version, variant=variant, dtype=dtype, device=device, trust=trust)
    _keep(measure(potential, frames, **options), out)


def check_calculator(
    frames: str | list[str],
    *,
    calculator: str = "",
    out: str | None = None,
    **options: Any,
) -> None:
    """Check a calculator of ASE; see :func:`jetsym.atoms.check`. The exit status is 3 where a fault is found.

    Parameters
    ----------
    frames
        Files of structures.
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    out
        A JSON file to write the numbers to; a page (.html) of the same name goes beside it.
    """
    from jetsym.atoms.workflows.check import check as measure

    check_results(out, frames, beside=(".html",))
    _keep(measure(calculator_of(calculator), frames, **options), out)


def _keep(found: Check, out: str | None) -> None:
    """Save a check and print it; raise where a fault is found."""
    if out is not None:
        found.save(out)
        write_atomically(Path(out).with_suffix(".html"), found.page())
    print(found, end="")
    if not found.is_clean:
        raise FaultError(found.verdict())
