"""What averaged calculators and those of random frames share: a calculator asked of rotated structures, and undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.calculated import ask, full_stress
from jetsym.atoms.frames import bare, expect_usable, moved_frame, right_handed
from jetsym.atoms.workflows.calculators import exported_model
from jetsym.errors import DataError, JetsymError, MissingDependencyError

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError:
    raise MissingDependencyError.of("ase", extra="atoms", purpose="rotating what a calculator is given") from None

__all__ = ["RotatedCalculator", "as_ase_has_it"]

#: Properties that are turned back, and how many indices in space they have; moments that are vectors are axial ones.
RANKS: Mapping[str, int] = MappingProxyType(
    {
        "energy": 0,
        "free_energy": 0,
        "energies": 0,
        "forces": 1,
        "stress": 2,
        "stresses": 2,
        "dipole": 1,
        "charges": 0,
        "magmom": 0,
        "magmoms": 0,
        "dielectric_tensor": 2,
        "born_effective_charges": 2,
    }
)
#: Properties computed together, so that a structure goes along its orbit once: forces ask for the energy as well.
TOGETHER = {"energies": ["energy"], "forces": ["energy"], "stress": ["energy", "forces"]}
#: Arrays that ASE compares by itself, and those that no potential reads.
COMPARED = ("positions", "numbers", "initial_charges", "initial_magmoms", "momenta", "masses")
#: Where a calculator takes several structures at once: so many atoms in all, to stay within caches and memory.
ATOMS_AT_ONCE = 512


class RotatedCalculator(Calculator):
    """A calculator that another is asked for in rotated frames: what both kinds of it have in common.

    Parameters
    ----------
    calculator
        Any calculator of ASE.
    """

    def __init__(self, calculator: Calculator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ASE's, without types
        self.base_calculator = calculator
        self.implemented_properties = [name for name in RANKS if name in calculator.implemented_properties]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Keep the structure, as ASE does, if anything can be computed of it; those that derive go on from here."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]  # ASE's, without types
        expect_usable(self._kept)

    @property
    def _kept(self) -> Atoms:
        """The structure, as ASE has copied it before anything is computed of it."""
        assert self.atoms is not None
        return cast("Atoms", self.atoms)

    def turned_back(
        self, names: Sequence[str], elements: NDArray[np.float64]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield g⁻¹ of properties of g·x for every element g, (n, 3, 3), and of the structure x: stress as (3, 3).

        Beside those that are named there is the free energy, which optimizers ask for next, where it comes with them.
        """
        still = right_handed(bare(self._kept))  # once, for all elements
        orbit = [moved_frame(still, element) for element in elements]
        given = list(names)
        evaluations = _evaluated(self.base_calculator, orbit, names)
        for place, element in enumerate(elements):
            found = self._next(evaluations)
            if place == 0 and "energy" in names and "free_energy" in {*found} - {*names}:
                given.append("free_energy")
            self._expect_finite({name: found[name] for name in given})
            yield {name: _rotated_back(name, found[name], element) for name in given}

    def _expect_finite(self, found: Mapping[str, Any]) -> None:
        """Refuse NaN and infinity, such as the stress of a molecule, whose volume is zero."""
        wrong = [name for name, values in found.items() if not np.isfinite(np.asarray(values, dtype=float)).all()]
        if wrong:
            raise DataError(
                f"{type(self.base_calculator).__name__} gives {', '.join(wrong)} of "
                f"{self._kept.get_chemical_formula()} (pbc = {self._kept.pbc.tolist()}) that are not finite; expected "
                "a structure that has them"
            )

    def _next(self, evaluations: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """Return what the calculator gives next; say of whatever it raises whose error it is, and of which structure.

        NotImplementedError is what ASE's calculators raise for elements and properties that they do not have.
        """
        try:
            return next(evaluations)
        except (JetsymError, MemoryError):
            raise
        except NotImplementedError as error:
            if str(error):
                raise
            name, structure = type(self.base_calculator).__name__, self._kept.get_chemical_formula()
            raise PropertyNotImplementedError(f"{name} does not compute all that is asked of {structure}") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(
                f"{type(self.base_calculator).__name__} fails for {self._kept.get_chemical_formula()} (pbc = "
                f"{self._kept.pbc.tolist()}), {reason}; expected a structure that it takes by itself"
            ) from error

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last structure: what it is told beside its atoms, as its charge, as well.

        ASE compares atoms and cell; models read charge and spin in ``atoms.info``, and further arrays.
        """
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call]
        if self.atoms is not None and not changes:
            told = [
                {**one.info, **{name: array for name, array in one.arrays.items() if name not in COMPARED}}
                for one in (self.atoms, atoms)
            ]
            changes += ["info"] if not _is_same(*told) else []
        return changes

    def wanted(self, properties: Iterable[str]) -> list[str]:
        """Return the properties to compute where some are asked for; refuse those that there are not."""
        wanted: list[str] = []
        for name in properties:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"{name!r} is not turned back here, or {type(self.base_calculator).__name__} does not compute it; "
                    f"there is {', '.join(self.implemented_properties)}"
                )
            wanted += [*TOGETHER.get(name, []), name]
        return list(dict.fromkeys(name for name in wanted if name in self.implemented_properties))


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two dictionaries hold the same, arrays as well; what cannot be compared is not the same."""
    if one.keys() != other.keys():
        return False
    try:
        return all(value is other[name] or np.array_equal(value, other[name]) for name, value in one.items())
    except (TypeError, ValueError):
        return False


def _evaluated(calculator: Calculator, orbit: Sequence[Atoms], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the properties of every structure of an orbit; by metatomic's calculators of several at once."""
    together: Any = getattr(calculator, "compute_energy", None)
    exported = None if together is None else exported_model(calculator)
    # Several at once, metatomic gives a stress of crystals only, and tells the model neither charge nor spin.
    told = exported is not None and exported.requested_inputs(use_new_names=True)
    crystal = "stress" not in names or orbit[0].pbc.all()
    if exported is None or told or not crystal or not set(names) <= {"energy", "energies", "forces", "stress"}:
        for moved in orbit:
            yield _asked(calculator, moved, names)
        return
    size = max(1, ATOMS_AT_ONCE // len(orbit[0]))
    slopes, per_atom = not {"forces", "stress"}.isdisjoint(names), "energies" in names
    for start in range(0, len(orbit), size):
        found = together(list(orbit[start : start + size]), compute_forces_and_stresses=slopes, per_atom=per_atom)
        yield from (
            dict(zip(names, values, strict=True)) for values in zip(*(found[name] for name in names), strict=True)
        )


def _asked(calculator: Calculator, atoms: Atoms, names: Sequence[str]) -> dict[str, Any]:
    """Return properties of a structure: asked for together, or one by one where a calculator refuses that."""
    try:
        found = ask(calculator, atoms, names)
    except (JetsymError, MemoryError):
        raise
    except Exception:  # whatever a calculator raises that gives some of them only by themselves
        found = {}
    for name in names:
        if name not in found:
            alone = ask(calculator, atoms, [name])
            found |= {key: value for key, value in alone.items() if key not in found}
        if name not in found:
            raise PropertyNotImplementedError(f"{type(calculator).__name__} gives no {name!r}")
    return found


def _rotated_back(name: str, value: Any, element: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return g⁻¹ of a property; stress as (3, 3)."""
    array: NDArray[np.float64] = full_stress(value) if name == "stress" else np.asarray(value, dtype=float)
    if name == "stresses" and array.shape[-1] == 6:
        array = np.stack([full_stress(row) for row in array])
    if name == "magmoms" and array.ndim == 2 and array.shape[1] == 3:  # axial vectors
        return np.asarray(array @ (np.linalg.det(element) * element))
    if RANKS[name] == 1:
        return np.asarray((array.reshape(-1, 3) if name == "forces" else array.reshape(3)) @ element)
    if RANKS[name] == 2:
        return np.asarray(element.T @ array @ element)
    return array.reshape(-1) if name in ("energies", "charges", "magmoms") else array.reshape(())


def as_ase_has_it(name: str, value: NDArray[np.float64]) -> Any:
    """Return a property in the form that ASE expects."""
    if name == "stress":
        return full_3x3_to_voigt_6_stress(value)
    if name == "stresses":
        return np.stack([full_3x3_to_voigt_6_stress(row) for row in value])
    return float(value) if np.ndim(value) == 0 else value
