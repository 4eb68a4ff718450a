"""ASE calculators symmetrised at inference: any of them, averaged over O(3) or over the rotations of a crystal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import above, at_least, checked
from jetsym.atoms.workflows.forbidden import SYMPREC, distinct_rotations
from jetsym.atoms.workflows.rotated import RotatedCalculator, as_ase_has_it
from jetsym.errors import ConfigError, MissingDependencyError, SpectrumError
from jetsym.spectrum import Quadrature, group_of
from jetsym.spectrum.averaging import GroupAverage, group_average
from jetsym.symmetry import GroupName, Symmetry

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
except ImportError:
    raise MissingDependencyError.of("ase", extra="atoms", purpose="averaging an ASE calculator") from None

__all__ = [
    "SPACE",
    "SymmetrizedCalculator",
    "all_rotations",
    "orthogonal",
    "space_group_rotations",
    "symmetrized_calculator",
]

#: What stands for the rotations in the space group of the crystal.
SPACE = "space"


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
                include_inversion=all_rotations(str(group)).has_inversion,
                store_rotational_std=True,
            ),
        )
    return SymmetrizedCalculator(calculator, group, l_max, rule=rule, **options)


class SymmetrizedCalculator(RotatedCalculator):
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
        super().__init__(calculator)
        self.group = group if isinstance(group, str) else "matrices"
        self.reference, self.symprec = reference, symprec
        self._average: GroupAverage | None = None
        if reference is not None and not (isinstance(group, str) and group == SPACE):
            raise ConfigError(f"there is a reference structure, but group is {group!r}; it goes with group='space'")
        if not isinstance(group, str):
            self._average = _equal_weights(orthogonal(group))
        elif group != SPACE:
            element = group_of(all_rotations(group))
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
        super().calculate(atoms, properties, system_changes)
        names = self.wanted(properties)
        elements, weights, _ = self.average(self._kept)
        first: dict[str, Any] = {}
        mean: dict[str, Any] = {}
        square: dict[str, Any] = {}
        for weight, found in zip(weights, self.turned_back(names, elements), strict=True):
            for name, value in found.items():
                shifted = value - first.setdefault(name, value)  # so that nothing cancels in the variance
                mean[name] = mean.get(name, 0.0) + weight * shifted
                square[name] = square.get(name, 0.0) + weight * shifted**2
        for name in first:
            self.results[name] = as_ase_has_it(name, first[name] + mean[name])
            self.results[f"{name}_std"] = as_ase_has_it(name, np.sqrt(np.abs(square[name] - mean[name] ** 2)))


def all_rotations(group: str) -> Symmetry:
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


def orthogonal(elements: Any) -> NDArray[np.float64]:
    """Return matrices (n, 3, 3) as they are given for a group; refuse any that are not orthogonal."""
    matrices = np.asarray(elements, dtype=float)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3) or not len(matrices):
        raise ConfigError(f"the elements of the group have shape {matrices.shape}; expected matrices (n, 3, 3)")
    if not np.allclose(matrices @ np.swapaxes(matrices, 1, 2), np.eye(3), atol=1e-8):
        raise ConfigError("some elements of the group are not orthogonal matrices")
    return matrices


def _equal_weights(elements: NDArray[np.float64]) -> GroupAverage:
    return GroupAverage(elements, np.full(len(elements), 1 / len(elements)), None)
