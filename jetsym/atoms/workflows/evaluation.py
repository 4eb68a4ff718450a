"""Errors of a potential on structures with known energies, forces, stress and other quantities, subset by subset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked
from jetsym.atoms.calculated import UNITS, Calculated
from jetsym.atoms.frames import bare, expect_usable
from jetsym.atoms.workflows.calculators import exported_model, uncertainty
from jetsym.atoms.workflows.evaluation_report import ALL, Evaluation, Scores
from jetsym.atoms.workflows.references import Asked, further, in_units, references, unit_of
from jetsym.atoms.workflows.slopes import rms
from jetsym.atoms.workflows.turned import Turned, scores_of, spread_of_energies, turned as turn
from jetsym.errors import ConfigError, DataError, JetsymError, expect_at_least
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["evaluate"]

Array = NDArray[np.float64]

#: Where files of structures say what a structure belongs to, the first that is there: MAD-bench names data sets.
SUBSET_KEYS = ("dataset", "subset", "config_type", "split")
#: Components of an output that are kept for its figure.
KEPT = 2000
#: Outputs with scores of their own, and their unit.
MEASURED = {name: UNITS[name] for name in ("energy", "forces", "stress")}


@checked(turned=at_least(0))
def evaluate(
    calculator: Calculator,
    frames: Sequence[Atoms],
    *,
    by: str | None = None,
    energy: str | None = "energy",
    forces: str | None = "forces",
    stress: str | None = "stress",
    virial: str | None = None,
    targets: Mapping[str, str] | None = None,
    unit: str | None = None,
    fit_baseline: bool = False,
    skip_unknown: bool = False,
    turned: int = 4,
    progress: bool = True,
) -> Evaluation:
    """Compare a potential with the energies, forces, stress and other quantities that structures come with.

    What a structure lacks, or has as NaN, is left out, and counted.

    Parameters
    ----------
    calculator
        Any ASE calculator, as from :func:`jetsym.atoms.calculator`.
    frames
        Structures, as :func:`jetsym.atoms.read_frames` reads them.
    by
        Key of ``atoms.info`` that tells subsets; by default "dataset", "subset", "config_type" or "split", the first
        there is.
    energy, forces, stress
        Names of the references; None to compare without. A stress is that of crystals, (3, 3), positive under tension.
    virial
        Name of the virial −V σ, in place of the stress.
    targets
        Further outputs -> names of their references: those of metatomic's models, in the model's own units, or ASE's
        dipole, charges and magmoms. Non-conservative forces and stress are compared by themselves.
    unit
        Of the energy in the file, and with Å of forces and stress; by default that of the model, or eV.
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
        No structure can be used, or a reference cannot be read; none has a name that was given.
    ConfigError
        No structure has the key of the subsets; an unknown unit or output.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> atoms = bulk("Cu")
    >>> atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=[[0.0, 0.0, 0.1]])
    >>> scores = evaluate(EMT(), [atoms], progress=False).scores["all"]
    >>> round(scores.forces_rmse, 1), scores.structures
    (57.7, 1)
    """
    expect_at_least("turned", turned, 0)
    by = _subsets(frames, by)
    for index, frame in enumerate(frames):
        expect_usable(frame, f"structure {index}")
    asked = Asked(energy, forces, stress, virial, dict(targets or {}), unit_of(calculator) if unit is None else unit)
    chosen = _known(calculator, frames, skip_unknown)
    expected, notes = references(frames, [index for index, _ in chosen], asked)
    held = {name for own in expected for name in own}
    model = _Predictor(calculator, [frame for _, frame in chosen], asked, held, notes)
    errors = []
    with progress_bar("evaluate", len(chosen), shown=progress) as advance:
        spread = set(np.linspace(0, len(chosen) - 1, min(turned, len(chosen))).astype(int).tolist())
        for place, (index, frame) in enumerate(chosen):
            errors.append(model.compare(frame, expected[place], index))
            if place in spread and model.tested is not None and {"energy", "forces"} <= model.tested.kinds.keys():
                errors[-1].turned = turn(model.tested, bare(frame), seed=index)
            advance(1)
    fitted = _take_off_baseline(errors, [frame for _, frame in chosen]) if fit_baseline else None
    parity = _parity(errors, model.units)
    meta = {
        "by": by,
        "unit": asked.unit or "eV",
        "left_out": len(frames) - len(chosen),
        "fit_baseline": fit_baseline,
        "fitted_elements": fitted,
        "notes": [*notes, *in_units(parity.get("forces"), asked.unit)],
    }
    return Evaluation(_by_subset(errors, [frame for _, frame in chosen], by), meta, parity)


@dataclass
class _Errors:
    """References and predictions of a structure, by output: (components,) without NaN."""

    atoms: int
    formula: str
    pairs: dict[str, tuple[Array, Array]]
    sigma: float | None  # of the whole structure, eV
    turned: Turned | None = None

    def of(self, name: str) -> Array:
        """Return the differences of an output, or none."""
        expected, found = self.pairs.get(name, (np.zeros(0), np.zeros(0)))
        return found - expected


@dataclass
class _Predictor:
    """A calculator, and the further outputs of a model of metatomic in it."""

    calculator: Calculator
    frames: Sequence[Atoms]
    asked: Asked
    held: set[str]
    notes: list[str]
    tested: Calculated | None = None
    units: dict[str, str] = field(default_factory=lambda: dict(MEASURED))

    def __post_init__(self) -> None:
        if getattr(self.calculator, "implemented_properties", None) != []:  # a model without an energy has none
            self.tested = Calculated(self.calculator, self.frames)
        given = {} if self.tested is None else self.tested.kinds
        self.further, notes = further(self.calculator, self.frames, self.asked, self.held, given)
        self.notes += notes
        self.units |= {one.name: MEASURED.get(one.of, one.unit) for one in self.further}
        self.units |= {name: UNITS[name] for name in self.asked.targets if name in given}
        if lacking := [name for name in MEASURED if name in self.held and name not in given]:
            name = type(self.calculator).__name__
            self.notes.append(f"{', '.join(lacking)} not compared: {name} gives none")

    def compare(self, frame: Atoms, expected: Mapping[str, Array], index: int) -> _Errors:
        """Evaluate a structure where there is something to compare it with."""
        structure, found, sigma = bare(frame), dict[str, tuple[str, Array]](), None
        own = [] if self.tested is None else [name for name in self.tested.kinds if name in expected]
        try:
            if own and self.tested is not None:
                found |= {name: (name, values) for name, values in self.tested.evaluate(structure, own).items()}
            for one in self.further:
                if one.of in expected:
                    found[one.name] = one.of, one.ask(self.calculator, structure)
            if found:
                structure.calc = self.calculator
                sigma = uncertainty(self.calculator, structure)
        except JetsymError:
            raise
        except Exception as error:  # such as NotImplementedError, of elements without parameters
            raise DataError(f"structure {index}, {frame.get_chemical_formula()}: {error}") from error
        pairs = {}
        for name, (of, values) in found.items():
            if values.size != expected[of].size:
                raise DataError(
                    f"{name} of structure {index} has {expected[of].size} numbers in the file and {values.size} of the "
                    "model; expected as many"
                )
            held = ~np.isnan(expected[of].ravel())
            pairs[name] = expected[of].ravel()[held], values.ravel()[held]
        return _Errors(len(frame), frame.get_chemical_formula(), pairs, sigma)  # type: ignore[arg-type]  # a number, as it is of the structure


def _subsets(frames: Sequence[Atoms], by: str | None) -> str | None:
    """Return the key of the subsets."""
    if by is None:
        return next((key for key in SUBSET_KEYS if any(key in frame.info for frame in frames)), None)
    if not any(by in frame.info for frame in frames):
        known = sorted({key for frame in frames for key in frame.info})
        raise ConfigError(f"by is {by!r}, which no structure has; they have {', '.join(known) or 'nothing'}")
    return by


def _by_subset(errors: Sequence[_Errors], frames: Sequence[Atoms], by: str | None) -> dict[str, Scores]:
    """Return the scores of every subset and, last, of all."""
    names = [str(frame.info.get(by, "–")) for frame in frames] if by else []
    members: dict[str, list[_Errors]] = {}
    for name, error in sorted(zip(names, errors, strict=bool(by)), key=lambda pair: pair[0]) if by else ():
        members.setdefault(f"{by}={ALL}" if name == ALL else name, []).append(error)
    return {name: _scores(own) for name, own in members.items()} | {ALL: _scores(errors)}


def _known(calculator: Calculator, frames: Sequence[Atoms], skip: bool) -> list[tuple[int, Atoms]]:
    """Return the structures whose elements the model knows, with their places."""
    if not frames:
        raise DataError("there are no structures; expected at least one")
    model = exported_model(calculator)
    if model is None:  # a calculator that says by an error what it does not know
        return list(enumerate(frames))
    types = set(model.capabilities().atomic_types)
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


def _take_off_baseline(errors: list[_Errors], frames: Sequence[Atoms]) -> int:
    """Fit the energy per atom by one of every element, and take it off; return the number of elements."""
    rows = [place for place, error in enumerate(errors) if error.of("energy").size]
    elements = sorted({number for frame in frames for number in frame.numbers.tolist()})
    if not rows:
        return len(elements)
    shares = np.array([[np.mean(frames[place].numbers == z) for z in elements] for place in rows], dtype=float)
    energies = np.concatenate([errors[place].of("energy") for place in rows])
    shifts = np.linalg.lstsq(shares, energies, rcond=None)[0]
    for place, shift in zip(rows, shares @ shifts, strict=True):
        expected, found = errors[place].pairs["energy"]
        errors[place].pairs["energy"] = expected, found - shift
    return len(elements)


def _scores(errors: Sequence[_Errors]) -> Scores:
    names = {name: None for error in errors for name in error.pairs}
    values = {name: np.concatenate([error.of(name) for error in errors]) for name in (*MEASURED, *names)}
    sigmas = np.array([1e3 * error.sigma / error.atoms for error in errors if error.sigma is not None])
    pulls = [e.of("energy") * e.atoms / 1e3 / e.sigma for e in errors if e.sigma]
    measured: dict[str, Any] = {
        **{f"{name}_mae": _mean(np.abs(values[name])) for name in MEASURED},
        **{f"{name}_rmse": _rms(values[name]) for name in MEASURED},
        **scores_of([error.turned for error in errors if error.turned], _spreads(errors)),
    }
    return Scores(
        structures=len(errors),
        atoms=sum(error.atoms for error in errors),
        sigma=_rms(sigmas),
        pull=_rms(np.concatenate(pulls)) if pulls else None,
        others={
            name: {"mae": float(np.abs(values[name]).mean()), "rmse": rms(values[name])}
            for name in names
            if name not in MEASURED and len(values[name])
        },
        **measured,
    )


def _spreads(errors: Sequence[_Errors]) -> dict[str, float | None]:
    """Return the mean square of what is predicted, about the mean of the composition for energies."""
    with_energy = [error for error in errors if error.of("energy").size]
    energies = np.array([float(error.pairs["energy"][1][0]) for error in with_energy])
    forces = [error.pairs["forces"][1] for error in errors if error.of("forces").size]
    return {
        "energy": spread_of_energies([error.formula for error in with_energy], energies),
        "forces": float(np.concatenate(forces).var()) if forces else None,
    }


def _parity(errors: Sequence[_Errors], units: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return references and predictions of every output, evenly spread over all components."""
    found = {}
    for name in dict.fromkeys(name for error in errors for name in error.pairs):
        pairs = [error.pairs[name] for error in errors if name in error.pairs]
        both = [np.concatenate([pair[which] for pair in pairs]) for which in (0, 1)]
        if len(both[0]):
            kept = np.unique(np.linspace(0, len(both[0]) - 1, min(KEPT, len(both[0]))).astype(int))
            reference, predicted = (values[kept].tolist() for values in both)
            found[name] = {"reference": reference, "predicted": predicted, "unit": units.get(name, "")}
    return found


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _rms(values: np.ndarray) -> float | None:
    return rms(values) if len(values) else None
