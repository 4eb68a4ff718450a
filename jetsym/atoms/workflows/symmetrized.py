"""ASE calculators symmetrised at inference: any of them, averaged over O(3) or over the rotations of a crystal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import above, at_least, checked
from jetsym.atoms.calculated import ask, full_stress
from jetsym.atoms.frames import bare, expect_usable, moved_frame, right_handed
from jetsym.atoms.workflows.calculators import exported_model
from jetsym.atoms.workflows.forbidden import SYMPREC, distinct_rotations
from jetsym.errors import ConfigError, JetsymError, MissingDependencyError, SpectrumError
from jetsym.spectrum import Quadrature, group_of
from jetsym.spectrum.averaging import GroupAverage, group_average
from jetsym.symmetry import GroupName, Symmetry

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError:
    raise MissingDependencyError.of("ase", extra="atoms", purpose="averaging an ASE calculator") from None

__all__ = ["SymmetrizedCalculator", "space_group_rotations", "symmetrized_calculator"]

#: What stands for the rotations in the space group of the crystal.
SPACE = "space"
#: Properties that are averaged, and how many indices in space they have; moments that are vectors are axial ones.
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


def symmetrized_calculator(
    calculator: Calculator,
    group: str | NDArray[np.float64] = GroupName.O3,
    l_max: int = 4,
    *,
    rule: str | Quadrature = "auto",
    batch_size: int | None = None,
    **options: Any,
) -> Calculator:
    """Average a calculator over a group: by metatomic's own average where it serves, else by ours.

    Parameters
    ----------
    calculator
        Any calculator of ASE.
    group, l_max, rule
        As for :class:`SymmetrizedCalculator`. A ``metatomic_ase.MetatomicCalculator`` is averaged over "O3" or "SO3"
        by ``metatomic_ase.SymmetrizedCalculator``, if the rule is "auto": Lebedev nodes times 2·l_max + 1 angles.
    batch_size
        Structures per evaluation for metatomic's (None: all at once).
    options
        Further options of :class:`SymmetrizedCalculator`.
    """
    metatomic = sys.modules.get("metatomic_ase")  # imported, if this is one of its calculators
    plain = isinstance(group, str) and group != SPACE and rule == "auto" and not options
    if plain and metatomic is not None and isinstance(calculator, metatomic.MetatomicCalculator):
        return cast(
            "Calculator",
            metatomic.SymmetrizedCalculator(
                calculator,
                l_max=l_max,
                batch_size=batch_size,
                include_inversion=_all_rotations(str(group)).has_inversion,
                store_rotational_std=True,
            ),
        )
    return SymmetrizedCalculator(calculator, group, l_max, rule=rule, **options)


class SymmetrizedCalculator(Calculator):
    """A calculator averaged over a group, property by property: ⟨E(g·x)⟩, ⟨g⁻¹ F(g·x)⟩, ….

    The averaged forces and stress are the derivatives of the averaged energy, where those of the calculator are those
    of its energy and the elements do not depend on the positions: for "O3", "SO3", given elements, and "space" with a
    ``reference``. Standard deviations over the group go beside every property, as ``results["energy_std"]``,
    ``results["forces_std"]``, …: an uncertainty that costs nothing more.

    For a crystal whose degeneracies are exact, and whose energy is invariant under all rotations up to a degree, take
    the mean over the space group of the mean over O(3), ``SymmetrizedCalculator(SymmetrizedCalculator(calculator,
    "O3", l_max), "space", reference=crystal)``: as many evaluations as the product of both. This order alone is exact,
    as the elements of the space group are those of the crystal as it lies; standard deviations are of the outer mean.

    Parameters
    ----------
    calculator
        Any calculator of ASE, one of these as well. It is called once for every element, or where it is metatomic's for
        many at once.
    group
        "O3" or "SO3"; "space" for the rotations in the space group of the crystal, which are few and restore its
        degeneracies but not the invariance of its energy under other rotations; or orthogonal matrices (n, 3, 3), such
        as the point group of a molecule.
    l_max
        Degree of the average over O(3) or SO(3): the largest λ in which the energy of a rotating structure breaks the
        symmetry, plus one for forces, plus two for stress. The space group has no use for it.
    rule, n_rotations, seed
        As for :func:`jetsym.spectrum.averaging.group_average`.
    reference
        The crystal whose space group it is; None for that of each structure as it comes. Phonons and dynamics need one:
        a displaced atom breaks the group of its structure.
    symprec
        Tolerance of spglib, Å.

    Raises
    ------
    JetsymError
        Options that do not go together, or a space group of a structure without periodic boundaries.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> copper = bulk("Cu")
    >>> copper.calc = SymmetrizedCalculator(EMT(), "space")
    >>> len(copper.calc.average(copper).weights), bool(copper.get_forces().std() < 1e-12)
    (48, True)
    """

    @checked(l_max=at_least(0), n_rotations=at_least(1), seed=at_least(0), symprec=above(0))
    def __init__(
        self,
        calculator: Calculator,
        group: str | NDArray[np.float64] = GroupName.O3,
        l_max: int = 4,
        *,
        rule: str | Quadrature = "auto",
        n_rotations: int | None = None,
        seed: int = 0,
        reference: Atoms | None = None,
        symprec: float = SYMPREC,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ASE's, without types
        self.base_calculator = calculator
        self.implemented_properties = [name for name in RANKS if name in calculator.implemented_properties]
        self.group = group if isinstance(group, str) else "matrices"
        self.reference, self.symprec = reference, symprec
        self._average: GroupAverage | None = None
        if reference is not None and not (isinstance(group, str) and group == SPACE):
            raise ConfigError(f"there is a reference structure, but group is {group!r}; it goes with group='space'")
        if not isinstance(group, str):
            self._average = _equal_weights(np.asarray(group, dtype=float))
        elif group != SPACE:
            element = group_of(_all_rotations(group))
            try:
                self._average = group_average(element, l_max, rule=rule, n_rotations=n_rotations, seed=seed)
            except SpectrumError as error:
                raise ConfigError(str(error)) from error
        elif reference is not None:
            self._average = _equal_weights(space_group_rotations(reference, symprec=symprec))

    def average(self, atoms: Atoms) -> GroupAverage:
        """Return the elements and weights that the properties of a structure are averaged over."""
        if self._average is not None:
            return self._average
        return _equal_weights(space_group_rotations(atoms, symprec=self.symprec))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute properties as ASE asks for them, each averaged over the group."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]  # ASE's, without types
        assert self.atoms is not None  # set by ASE
        names = self._wanted(properties)
        expect_usable(self.atoms)
        elements, weights, _ = self.average(self.atoms)
        still = right_handed(bare(self.atoms))  # once, for all elements
        orbit = [moved_frame(still, element) for element in elements]
        first: dict[str, Any] = {}
        mean, square = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for element, weight, found in zip(
            elements, weights, _evaluated(self.base_calculator, orbit, names), strict=True
        ):
            if (
                not first and "energy" in names and "free_energy" in {*found} - {*names}
            ):  # which optimizers ask for next
                names.append("free_energy")
                mean["free_energy"] = square["free_energy"] = 0.0
            for name in names:
                value = _rotated_back(name, found[name], element)
                shifted = value - first.setdefault(name, value)  # so that nothing cancels in the variance
                mean[name] = mean[name] + weight * shifted
                square[name] = square[name] + weight * shifted**2
        for name in names:
            self.results[name] = _layout(name, first[name] + mean[name])
            self.results[f"{name}_std"] = _layout(name, np.sqrt(np.abs(square[name] - mean[name] ** 2)))

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

    def _wanted(self, properties: Iterable[str]) -> list[str]:
        wanted: list[str] = []
        for name in properties:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"{name!r} is not averaged, or {type(self.base_calculator).__name__} does not compute it; "
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


def _all_rotations(group: str) -> Symmetry:
    """Return O(3) or SO(3) by its name; refuse others."""
    return Symmetry.parse(group, groups=(GroupName.O3, GroupName.SO3, SPACE))


def space_group_rotations(atoms: Atoms, *, symprec: float = SYMPREC) -> NDArray[np.float64]:
    """Return the orthogonal parts of the operations of a crystal's space group, each once, by spglib.

    Parameters
    ----------
    atoms
        A structure with periodic boundaries in all three directions.
    symprec
        Tolerance, Å.

    Returns
    -------
    (n, 3, 3) orthogonal matrices that act on Cartesian coordinates, 1 to 48 of them.

    Raises
    ------
    ConfigError
        Other boundaries.
    DataError
        spglib finds no space group, as where two atoms coincide.

    Examples
    --------
    >>> from ase.build import bulk
    >>> [len(space_group_rotations(bulk(*crystal))) for crystal in [("Cu", "fcc", 3.6), ("Ru", "hcp", 2.7)]]
    [48, 24]
    """
    if not atoms.pbc.all():
        raise ConfigError(
            f"the structure {atoms.get_chemical_formula()} has boundaries pbc = {atoms.pbc.tolist()}; a space group "
            "needs a crystal, with periodic ones in all directions: give orthogonal matrices as the group instead"
        )
    return distinct_rotations(atoms, symprec)


def _equal_weights(elements: NDArray[np.float64]) -> GroupAverage:
    if elements.ndim != 3 or elements.shape[1:] != (3, 3) or not len(elements):
        raise ConfigError(f"the elements of the group have shape {elements.shape}; expected matrices (n, 3, 3)")
    if not np.allclose(elements @ np.swapaxes(elements, 1, 2), np.eye(3), atol=1e-8):
        raise ConfigError("some elements of the group are not orthogonal matrices")
    return GroupAverage(elements, np.full(len(elements), 1 / len(elements)), None)


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


def _layout(name: str, value: NDArray[np.float64]) -> Any:
    """Return a property in the form that ASE expects."""
    if name == "stress":
        return full_3x3_to_voigt_6_stress(value)
    if name == "stresses":
        return np.stack([full_3x3_to_voigt_6_stress(row) for row in value])
    return float(value) if np.ndim(value) == 0 else value
