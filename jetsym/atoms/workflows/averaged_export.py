"""Models of atoms written for other programs (``.pt`` of metatomic), as they are or averaged over O(3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsym.arguments import at_least, checked
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.calculators import Dtype, exported
from jetsym.errors import CheckpointError, ConfigError, expect_at_least, require
from jetsym.files import check_out, finished_file
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["Exported", "export", "grid_degree"]

#: What stands for no average.
NONE = "none"
#: Lebedev rules of these degrees have negative weights, which make noise larger: the next one is taken.
NEGATIVE = {12: 14, 13: 14, 24: 28, 25: 28, 26: 28, 27: 28}
#: The largest λ of a spherical target that is turned back, and the largest degree of metatomic's rules.
LARGEST_TARGET, LARGEST_DEGREE = 6, 131
#: Outputs whose error spectra tell the degree.
AVERAGED = ("energy", "forces", "stress")
#: Degree where nothing tells it, as that of SymmetrizedCalculator.
DEFAULT_DEGREE = 4
#: Structures per call of the model inside.
BATCH = 32


@dataclass(frozen=True)
class Exported:
    """A model that was written.

    Parameters
    ----------
    path
        The file.
    degree
        Up to which λ its average is exact; None where it is not averaged.
    evaluations
        How often the model inside is evaluated for one structure.
    dtype
        "float32" or "float64".
    """

    path: Path
    degree: int | None
    evaluations: int
    dtype: str

    def __str__(self) -> str:
        if self.degree is None:
            return f"{self.path}: the model as it is, in {self.dtype}\n"
        n = self.evaluations
        return (
            f"{self.path}: averaged over O(3), exact to λ = {self.degree}, in {self.dtype}\n"
            f"Every structure is evaluated {n} times. Energies alone take the memory of {BATCH} structures at once. "
            f"With forces or stress, what the model keeps for its gradient is kept of all {n}: it takes {n} times the "
            "memory that the gradient of the plain model takes.\n"
        )


def grid_degree(l_max: int) -> int:
    """Return the ``max_angular_momentum_grid`` of metatomic for an average that removes λ = 1 to l_max.

    Lebedev rules with negative weights are left out.

    Examples
    --------
    >>> [grid_degree(l_max) for l_max in (0, 4, 12, 13, 25)]
    [0, 4, 14, 14, 28]
    """
    expect_at_least("l_max", l_max, 0)
    if l_max > LARGEST_DEGREE:
        raise ConfigError(f"l_max is {l_max}; expected at most {LARGEST_DEGREE}, where metatomic's rules end")
    return NEGATIVE.get(l_max, l_max)


@checked(l_max=at_least(0))
def export(
    model: str | Path,
    out: str | Path,
    *,
    symmetrize: str = GroupName.O3,
    l_max: int | None = None,
    report: str | Path | None = None,
    version: str | None = None,
    dtype: Dtype | None = None,
    trust: bool = False,
) -> Exported:
    """Write a model for programs that read metatomic's ``.pt``, such as LAMMPS, i-PI or ASE: as it is, or averaged.

    The average is metatomic's own, ``metatomic.torch.o3.SymmetrizedModel``, inside of the file, which asks for no
    jetsym: energies are averages over O(3), and forces and stress their derivatives. Beside every output there is
    ``o3::variance::NAME``, its variance over the group. Its own default degree would be 1 for a model of an energy,
    which leaves nearly all of a broken symmetry: it is chosen here.

    It takes the place of :class:`jetsym.atoms.SymmetrizedCalculator` where there is no Python. That one needs memory
    for a few structures at a time and knows other groups; this one keeps the whole orbit for its gradient.

    Parameters
    ----------
    model
        A .ckpt or .pt file of metatrain or the folder of a run, or a published model such as pet-mad-s.
    out
        The file to write; its name ends in .pt.
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
        Open a file that would be refused, as for :func:`jetsym.atoms.load`: whoever made it can run anything.

    Raises
    ------
    ConfigError
        Options that do not go together.
    CheckpointError
        The model cannot be read, or cannot be averaged.
    """
    if Path(out).suffix != ".pt":
        raise ConfigError(f"out is {str(out)!r}; expected a name that ends in .pt")
    over = NONE if symmetrize.lower() == NONE else str(Symmetry.parse(symmetrize, called={"group": "symmetrize"}).group)
    if over not in (NONE, GroupName.O3):
        raise ConfigError(
            f"symmetrize is {symmetrize!r}; expected 'O3', the one group that metatomic averages over, or 'none': for "
            "others there is SymmetrizedCalculator"
        )
    if over == NONE and (l_max is not None or report is not None):
        raise ConfigError("l_max and report are of an average, but symmetrize is 'none'")
    if l_max is not None and report is not None:
        raise ConfigError(f"l_max is {l_max}, and there is a report that tells it; expected one of them")
    degree = None if over == NONE else grid_degree(_degree(report) if l_max is None else l_max)
    path = check_out(out, inputs=[str(model), *([] if report is None else [str(report)])])
    plain, file = exported(model, version=version, dtype=dtype, trust=trust)
    whole = plain if degree is None else _averaged(plain, degree, file)
    with quiet(), finished_file(path) as unfinished:
        whole.save(str(unfinished))
    return Exported(path, degree, _evaluations(whole), plain.capabilities().dtype)


def _averaged(plain: Any, degree: int, file: Path) -> Any:
    """Return the average of a model, as metatomic makes it."""
    kind = require("metatomic.torch.o3", extra="atoms", purpose="averaging an export").SymmetrizedModel
    try:
        with quiet():
            return kind.wrap(
                plain,
                max_angular_momentum_target=LARGEST_TARGET,
                max_angular_momentum_grid=degree,
                batch_size=BATCH,
            )
    except (ValueError, RuntimeError, TypeError) as error:  # of names that are its own, of inputs it cannot turn
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(f"{file} cannot be averaged by metatomic: {reason}; export it as it is") from error


def _evaluations(model: Any) -> int:
    """Return how often an average evaluates the model inside for one structure: both of g and −g."""
    matrices = [tensor for name, tensor in model.named_buffers() if name.endswith("_matrices")]
    return 2 * sum(len(each) for each in matrices) or 1


def _degree(path: str | Path | None) -> int:
    """Return the degree that a report on outputs asks for, or the default one."""
    if path is None:
        return DEFAULT_DEGREE
    found = SymmetryReport.load(path)
    symmetry = Symmetry.from_dict(found.meta)
    if symmetry.group != GroupName.O3:
        raise ConfigError(f"{path} is a report on {symmetry.group}; expected one on O3, which the average is over")
    degrees = {name: averaging_degree(found.equivariance[name]) for name in AVERAGED if name in found.equivariance}
    if not degrees:
        raise ConfigError(f"{path} measures none of {', '.join(AVERAGED)}; probe these outputs, or give l_max")
    if "forces" not in degrees and degrees.get("energy"):
        degrees["forces"] = degrees["energy"] + 1  # which a derivative reaches beyond
    return max(degrees.values())
