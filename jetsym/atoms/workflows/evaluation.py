"""Errors of a potential on structures with known energies and forces, subset by subset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from rich.markup import escape
from rich.table import Table

from jetsym.atoms.calculated import Calculated
from jetsym.atoms.frames import bare, moved_frame
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.calculators import uncertainty
from jetsym.atoms.workflows.slopes import torque
from jetsym.errors import ConfigError, DataError, expect_at_least
from jetsym.progress import progress_bar
from jetsym.spectrum import O3
from jetsym.spectrum.responses import EPS
from jetsym.storage import Stored
from jetsym.text import as_text, table_of

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["ALL", "Evaluation", "Scores", "evaluate"]

ALL = "all"
#: Where files of structures say what a structure belongs to, the first that is there: MAD-bench names data sets.
SUBSET_KEYS = ("dataset", "subset", "config_type")
#: Pairs ±R of random rotations of a structure, for A.
ROTATIONS = 3
#: Score -> of what it is the root.
TURNED = {"energy_a": "energy", "forces_a": "forces", "torque": "torque"}


@dataclass(frozen=True)
class Scores:
    """Errors on the structures of one subset. Energies are in meV/atom, forces in meV/Å, component by component.

    Parameters
    ----------
    structures, atoms
        How many.
    energy_mae, energy_rmse
        Mean absolute and root mean square error of the energy per atom; None without reference energies.
    forces_mae, forces_rmse
        The same of forces; None without reference forces.
    sigma
        Root mean square of the model's own uncertainty of the energy per atom; None where it has none.
    pull
        Root mean square of error over uncertainty: 1 where the uncertainty is right.
    energy_a, forces_a
        A of energy, and of forces component by component: the part of the errors that averaging the model over O(3)
        takes away, ⟨RMSE²⟩ = RMSE²[f̄] + A². Of a few of the structures; None where none was looked at.
    torque
        Root mean square of −∂E/∂θ of the same structures, turned as a whole, in meV/atom for a radian.
    """

    structures: int
    atoms: int
    energy_mae: float | None
    energy_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    sigma: float | None
    pull: float | None
    energy_a: float | None = None
    forces_a: float | None = None
    torque: float | None = None


@dataclass(frozen=True)
class Evaluation(Stored):
    """Errors of a potential.

    Parameters
    ----------
    scores
        By subset, in alphabetical order, and "all" last.
    meta
        Key of the subsets, how many structures were left out, and how many elements had their energy fitted.
    """

    scores: Mapping[str, Scores]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "potential"
    FORMAT: ClassVar[int] = 1

    def _content(self) -> dict[str, Any]:
        return {"scores": {name: asdict(scores) for name, scores in self.scores.items()}, "meta": dict(self.meta)}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls({name: Scores(**scores) for name, scores in data["scores"].items()}, dict(data["meta"]))

    def table(self) -> Table:
        """Return a table with a line for each subset."""
        columns = {
            "energy_mae": "E MAE [meV/atom]",
            "energy_rmse": "E RMSE [meV/atom]",
            "forces_mae": "F MAE [meV/Å]",
            "forces_rmse": "F RMSE [meV/Å]",
            "sigma": "σ(E) [meV/atom]",
            "pull": "error/σ",
            "energy_a": "E A [meV/atom]",
            "forces_a": "F A [meV/Å]",
            "torque": "−∂E/∂θ [meV/atom]",
        }
        shown = {key: name for key, name in columns.items() if getattr(self.scores[ALL], key) is not None}
        title = "energies relative to a least-squares energy of every element" if self.meta["fit_baseline"] else None
        heads = map(escape, ("structures", "atoms", *shown.values()))
        table = table_of(title, (str(self.meta["by"] or "subset"), *heads))
        for subset, scores in self.scores.items():
            values = [getattr(scores, key) for key in shown]
            cells = ["–" if value is None else f"{value:.4g}" for value in values]
            table.add_row(escape(subset), str(scores.structures), str(scores.atoms), *cells)
        return table

    def __str__(self) -> str:
        left_out = self.meta["left_out"]
        note = f"{left_out} structures with elements that the model does not know are left out\n" if left_out else ""
        elements = self.meta["fitted_elements"]
        if elements is not None and 3 * elements > self.scores[ALL].structures:
            note += (
                f"the energies of {elements} elements were fitted to {self.scores[ALL].structures} structures, so that "
                "errors of energies are too small\n"
            )
        return as_text(self.table(), width=200) + note


def evaluate(
    calculator: Calculator,
    frames: Sequence[Atoms],
    *,
    by: str | None = None,
    fit_baseline: bool = False,
    skip_unknown: bool = False,
    turned: int = 4,
    progress: bool = True,
) -> Evaluation:
    """Compare a potential with the energies and forces that structures come with.

    Parameters
    ----------
    calculator
        Any ASE calculator with energies and forces, as from :func:`jetsym.atoms.calculator`.
    frames
        Structures with energies, forces or both, as :func:`jetsym.atoms.read_frames` reads them.
    by
        Key of ``atoms.info`` that tells subsets; by default "dataset", "subset" or "config_type", the first there is.
    fit_baseline
        Take a least-squares energy of every element off the errors first: for a model whose energies have another
        zero than those of the file.
    skip_unknown
        Leave out structures with elements that the model does not know, instead of an error.
    turned
        So many structures, evenly spread over all, are turned as well, for A under O(3) and the torque: some 20
        more calls for each; 0 for none.
    progress
        Show a progress bar.

    Raises
    ------
    DataError
        No structure can be used: no energies or forces, or elements that the model does not know.
    ConfigError
        No structure has the key.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> atoms = bulk("Cu")
    >>> atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=[[0.0, 0.0, 0.1]])
    >>> scores = evaluate(EMT(), [atoms]).scores["all"]
    >>> round(scores.forces_rmse, 1), scores.structures
    (57.7, 1)
    """
    expect_at_least("turned", turned, 0)
    if by is None:
        by = next((key for key in SUBSET_KEYS if any(key in frame.info for frame in frames)), None)
    elif not any(by in frame.info for frame in frames):
        known = sorted({key for frame in frames for key in frame.info})
        raise ConfigError(f"by is {by!r}, which no structure has; they have {', '.join(known) or 'nothing'}")
    chosen = _known(calculator, frames, skip_unknown)
    errors, tested = [], None
    with progress_bar("evaluate", len(chosen), shown=progress) as advance:
        spread = set(np.linspace(0, len(chosen) - 1, min(turned, len(chosen))).astype(int).tolist())
        for place, (index, frame) in enumerate(chosen):
            errors.append(_errors(calculator, frame, index))
            if place in spread:
                tested = tested or Calculated(calculator, [frame])
                errors[-1].turned = _turned(tested, bare(frame), seed=index)
            advance(1)
    fitted = _take_off_baseline(errors, [frame for _, frame in chosen]) if fit_baseline else None
    names = [str(frame.info.get(by, "–")) if by else ALL for _, frame in chosen]
    groups = {
        name: [error for error, own in zip(errors, names, strict=True) if own == name] for name in sorted({*names})
    }
    scores = {name: _scores(members) for name, members in groups.items() if name != ALL} | {ALL: _scores(errors)}
    meta = {"by": by, "left_out": len(frames) - len(chosen), "fit_baseline": fit_baseline, "fitted_elements": fitted}
    return Evaluation(scores, meta)


@dataclass
class _Errors:
    atoms: int
    energy: float | None  # of the whole structure, eV
    forces: np.ndarray | None
    sigma: float | None
    turned: Turned | None = None


class Turned(NamedTuple):
    """A² of energy per atom and of forces per component, and the mean square torque, by eV and Å."""

    energy: float
    forces: float
    torque: float


def _turned(tested: Calculated, frame: Atoms, *, seed: int) -> Turned:
    """Measure A² at pairs ±R of random rotations, without bias, and −∂E/∂θ by differences."""
    rotations = O3().rotations((ROTATIONS,), np.random.default_rng(seed))
    found = []
    for g in np.concatenate([rotations, -rotations]):
        values = tested.evaluate(moved_frame(frame, g), ["energy", "forces"])
        found.append((float(values["energy"]), values["forces"] @ g))
    energies, forces = (np.array([pair[which] for pair in found]) for which in (0, 1))

    value, _ = torque(tested.total_energy, frame, EPS["float32"] * float(np.abs(energies).max()) * len(frame) / 1e3)
    return Turned(_unbiased(energies), _unbiased(forces), float((value**2).mean()))


def _unbiased(values: np.ndarray) -> float:
    """Return A², averaged over components, of values at R₁ … R_n, −R₁ … −R_n: the pairs are independent."""
    n = len(values) // 2
    means = (values[:n] + values[n:]) / 2
    inside = ((values[:n] - means) ** 2).mean()
    return float(inside + means.var(axis=0, ddof=1).mean())


def _known(calculator: Calculator, frames: Sequence[Atoms], skip: bool) -> list[tuple[int, Atoms]]:
    """Return the structures whose elements the model knows, with their places."""
    if not frames:
        raise DataError("there are no structures; expected at least one")
    model = getattr(calculator, "model", None) if hasattr(calculator, "run_model") else None
    if not callable(model):  # a calculator that says by an error what it does not know
        return list(enumerate(frames))
    types = set(model().capabilities().atomic_types)
    known = [(index, frame) for index, frame in enumerate(frames) if types.issuperset(frame.numbers.tolist())]
    if not skip and len(known) < len(frames):
        from ase.data import chemical_symbols

        missing = Counter(number for frame in frames for number in {*frame.numbers.tolist()} - types)
        names = ", ".join(f"{chemical_symbols[number]} (in {count})" for number, count in missing.most_common(8))
        raise DataError(
            f"{len(frames) - len(known)} of {len(frames)} structures hold elements that the model does not know: "
            f"{names}{', …' if len(missing) > 8 else ''}; leave them out with skip_unknown"
        )
    if not known:
        raise DataError("no structure is left: all hold elements that the model does not know")
    return known


def _errors(calculator: Calculator, frame: Atoms, index: int) -> _Errors:
    reference = {} if frame.calc is None else frame.calc.results
    if not {"energy", "forces"} & reference.keys():
        raise DataError(
            f"structure {index} has neither an energy nor forces to compare with; expected them as ASE reads them "
            "(energy=… and a column forces in extended XYZ)"
        )
    structure = bare(frame)
    structure.calc = calculator
    try:
        with quiet():
            forces = structure.get_forces()
            energy = structure.get_potential_energy()
    except NotImplementedError as error:  # how ASE's own potentials say that an element has no parameters
        raise DataError(f"structure {index}, {frame.get_chemical_formula()}: {error}") from error
    return _Errors(
        atoms=len(frame),
        energy=energy - reference["energy"] if "energy" in reference else None,
        forces=forces - reference["forces"] if "forces" in reference else None,
        sigma=uncertainty(calculator, structure),  # type: ignore[arg-type]  # a number, as it is of the structure
    )


def _take_off_baseline(errors: list[_Errors], frames: Sequence[Atoms]) -> int:
    """Fit the energy per atom by one of every element, and take it off; return the number of elements."""
    rows = [place for place, error in enumerate(errors) if error.energy is not None]
    elements = sorted({number for frame in frames for number in frame.numbers.tolist()})
    counts = np.array([[np.count_nonzero(frames[place].numbers == z) for z in elements] for place in rows], dtype=float)
    energies = np.array([errors[place].energy for place in rows], dtype=float)
    sizes = counts.sum(axis=1)
    shifts = np.linalg.lstsq(counts / sizes[:, None], energies / sizes, rcond=None)[0]
    for place, shift in zip(rows, counts @ shifts, strict=True):
        errors[place].energy -= shift
    return len(elements)


def _scores(errors: Sequence[_Errors]) -> Scores:
    energies = np.array([1e3 * error.energy / error.atoms for error in errors if error.energy is not None])
    forces = [1e3 * error.forces.ravel() for error in errors if error.forces is not None]
    components = np.concatenate(forces) if forces else np.array([])
    sigmas = np.array([1e3 * error.sigma / error.atoms for error in errors if error.sigma is not None])
    pulls = np.array([e.energy / e.sigma for e in errors if e.energy is not None and e.sigma])
    return Scores(
        structures=len(errors),
        atoms=sum(error.atoms for error in errors),
        energy_mae=_mean(np.abs(energies)),
        energy_rmse=_rms(energies),
        forces_mae=_mean(np.abs(components)),
        forces_rmse=_rms(components),
        sigma=_rms(sigmas),
        pull=_rms(pulls),
        **{
            name: _root_of([getattr(error.turned, of) for error in errors if error.turned])
            for name, of in TURNED.items()
        },
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _root_of(squares: Sequence[float]) -> float | None:
    """Return the root of a mean of squares, which unbiased estimates may make negative, with its sign."""
    mean = float(np.mean(squares)) if squares else None
    return None if mean is None else float(np.sign(mean) * np.sqrt(abs(mean)))


def _rms(values: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if len(values) else None
