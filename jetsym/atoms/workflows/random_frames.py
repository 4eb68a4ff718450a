"""Calculators of ASE in random frames: a fresh rotation at every step, in place of an average over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import above, at_least, checked
from jetsym.atoms.workflows.forbidden import SYMPREC
from jetsym.atoms.workflows.rotated import RotatedCalculator, as_ase_has_it
from jetsym.atoms.workflows.symmetrized import SPACE, all_rotations, orthogonal, space_group_rotations
from jetsym.errors import ConfigError, MissingDependencyError, expect_at_least
from jetsym.spectrum import group_of
from jetsym.symmetry import GroupName

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
except ImportError:
    raise MissingDependencyError.of("ase", extra="atoms", purpose="a calculator in random frames") from None

__all__ = ["RandomFrameCalculator"]


class RandomFrameCalculator(RotatedCalculator):
    """A calculator asked for in a fresh random frame at every step: E(g·x), g⁻¹ F(g·x), …, with g drawn from a group.

    A step costs what one of the calculator costs, where an average costs tens to hundreds. In the mean over frames,
    energies, forces and stress are those of the average over the group: nothing favours a direction any longer, and no
    rule has a degree. A single step still has the whole error, now as noise that is new at every step:

    - the forces of a step are minus the gradient of the energy in that step's frame. Of a run they are no gradient of
      anything: energy is not conserved, and a run without a thermostat heats. With velocity Verlet the kinetic energy
      grows by Σ_i Var(F_i) δt / 2 m_i per time (see :func:`jetsym.atoms.workflows.dynamics.heating`): in proportion to
      A² of the forces and to the timestep. A thermostat with friction takes it out again, and samples at a
      temperature that is too high by what it has to take;
    - the energy jumps from step to step by A of the energy. Do not accept or reject by it;
    - the angular momentum of a molecule, of which a fixed frame makes a drift, does a random walk;
    - optimizers and NEB stop where forces are below the noise, and not further.

    A structure that is asked for again, before any other, keeps its frame and what was found in it, as ASE caches
    results: energy, forces and stress of one step belong to one frame, asked for together or one by one. The frame of
    calculation n is that of (seed, n) whatever came before, so that a run with the same seed is the same run.

    Images of a band: one such calculator for all of them (``NEB(…, allow_shared_calculator=True)``) draws a frame for
    each; calculators of their own need seeds of their own, or their errors are the same and do not average out.

    Parameters
    ----------
    calculator
        Any calculator of ASE.
    group
        "O3" or "SO3"; "space" for the rotations in the space group of the crystal ``reference``; or orthogonal matrices
        (n, 3, 3), of which each is as likely.
    seed
        Seed of the frames.
    drawn
        So many frames count as drawn: of a run that goes on, the ``drawn`` that its calculator had.
    reference
        The crystal whose space group it is.
    symprec
        Tolerance of spglib, Å.

    Attributes
    ----------
    element : numpy.ndarray or None
        The orthogonal matrix (3, 3) of the last frame, which acted on the structure; None before the first.
    drawn : int
        How many frames have been drawn.

    Raises
    ------
    JetsymError
        Options that do not go together.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> copper = bulk("Cu", cubic=True)
    >>> copper.calc = RandomFrameCalculator(EMT(), "O3", seed=1)
    >>> energy, _ = copper.get_potential_energy(), copper.get_forces()
    >>> copper.calc.drawn, copper.calc.element.shape
    (1, (3, 3))
    >>> copper.rattle(0.01, seed=0)
    >>> _ = copper.get_forces(), copper.get_stress()
    >>> copper.calc.drawn
    2
    """

    @checked(seed=at_least(0), drawn=at_least(0), symprec=above(0))
    def __init__(
        self,
        calculator: Calculator,
        group: str | NDArray[np.float64] = GroupName.O3,
        *,
        seed: int = 0,
        drawn: int = 0,
        reference: Atoms | None = None,
        symprec: float = SYMPREC,
    ) -> None:
        super().__init__(calculator)
        expect_at_least("seed", seed, 0)
        expect_at_least("drawn", drawn, 0)
        self.group = group if isinstance(group, str) else "matrices"
        self.seed, self.drawn = seed, drawn
        self.element: NDArray[np.float64] | None = None
        self._elements: NDArray[np.float64] | None = None
        if (reference is not None) != (self.group == SPACE):
            raise ConfigError(
                f"group is {self.group!r} and the reference structure {'none' if reference is None else 'one'}; "
                "expected reference=CRYSTAL with group='space' only"
            )
        if not isinstance(group, str):
            self._elements = orthogonal(group)
        elif reference is not None:
            self._elements = space_group_rotations(reference, symprec=symprec)
        else:
            self._group = group_of(all_rotations(group))

    def frame(self, number: int) -> NDArray[np.float64]:
        """Return the orthogonal matrix (3, 3) of a calculation, by its number from 0."""
        rng = np.random.default_rng([self.seed, number])
        drawn = self._group.sample(1, rng) if self._elements is None else rng.choice(self._elements, size=1)
        return np.asarray(drawn[0])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute properties in a fresh frame, or in the last one where nothing has changed since."""
        super().calculate(atoms, properties, system_changes)
        names = self.wanted(properties)
        if system_changes or self.element is None:
            self.element, self.results = self.frame(self.drawn), {}
            self.drawn += 1
        found: dict[str, Any] = next(self.turned_back(names, self.element[None]))
        self.results |= {name: as_ase_has_it(name, value) for name, value in found.items()}
