"""Short molecular dynamics at constant energy, and what should be conserved in it.

Where forces are derivatives of an energy, that energy is conserved, whether or not it is invariant under rotations:
drift tells of cutoffs, of precision, or of forces that are no derivatives. The angular momentum of an isolated molecule
is conserved only if the energy is invariant. Random frames conserve neither: :func:`heating` is what they cost.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

__all__ = ["Drift", "drift", "heating"]


@dataclass(frozen=True)
class Drift:
    """Drift of what should be conserved in a run at constant energy.

    Parameters
    ----------
    energy_drift
        Slope of a straight line through the total energy, in meV/atom/ps.
    energy_fluctuation
        Standard deviation of the total energy around that line, in meV/atom.
    angular_momentum
        Largest change of the angular momentum around the centre of mass, in units of ħ; None with periodic boundaries,
        where there is no such conservation law.
    temperature
        Mean temperature, in K.
    time
        Length of the run, in ps.
    angular_momentum_drift
        Length of the slope of straight lines through its three components, in ħ/ps; None as above.
    seconds_per_step
        What a step took.
    """

    energy_drift: float
    energy_fluctuation: float
    angular_momentum: float | None
    temperature: float
    time: float
    angular_momentum_drift: float | None = None
    seconds_per_step: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        return asdict(self)


def drift(
    atoms: Atoms,
    calculator: Calculator,
    *,
    steps: int = 200,
    timestep: float = 2.0,
    temperature: float = 300.0,
    seed: int = 0,
) -> Drift:
    """Run molecular dynamics at constant energy (velocity Verlet) and measure what should be conserved.

    Parameters
    ----------
    atoms
        The structure to start from; it is not changed. Momenta are drawn anew, without a total momentum and, for
        molecules, without rotation.
    calculator
        Any ASE calculator with energies and forces.
    steps, timestep
        Number of steps and their length in fs.
    temperature
        Temperature of the momenta that are drawn, in K. Near a minimum half of it goes into potential energy.
    seed
        Seed of the momenta.

    Raises
    ------
    ConfigError
        Fewer than two steps.
    """
    from ase import units
    from ase.md.velocitydistribution import Stationary
    from ase.md.verlet import VelocityVerlet

    if steps < 2:
        raise ConfigError(f"a run of {steps} steps has no drift; expected 2 or more")
    moving = atoms.copy()
    moving.set_constraint()
    moving.calc = calculator
    isolated = not moving.pbc.any()
    spread = np.sqrt(moving.get_masses() * units.kB * temperature)
    moving.set_momenta(np.random.default_rng(seed).normal(size=(len(moving), 3)) * spread[:, None])
    if len(moving) > 1:
        Stationary(moving)
        if isolated:
            _stop_rotating(moving)

    energies: list[float] = []
    momenta: list[np.ndarray] = []
    temperatures: list[float] = []

    def record() -> None:
        energies.append(moving.get_total_energy())
        momenta.append(moving.get_angular_momentum() if isolated else np.zeros(3))
        temperatures.append(moving.get_temperature())

    dynamics = VelocityVerlet(moving, timestep=timestep * units.fs)
    dynamics.attach(record)
    start = perf_counter()
    dynamics.run(steps)
    seconds = (perf_counter() - start) / steps
    times = np.arange(len(energies)) * timestep * 1e-3  # ps
    per_atom = 1e3 * np.array(energies) / len(moving)
    slope, offset = np.polyfit(times, per_atom, 1)
    turning = np.array(momenta) / (units._hbar * units.J * units.s)
    change = np.linalg.norm(turning - turning[0], axis=1).max()
    return Drift(
        energy_drift=float(slope),
        energy_fluctuation=float(np.std(per_atom - (slope * times + offset))),
        angular_momentum=float(change) if isolated else None,
        temperature=float(np.mean(temperatures)),
        time=float(times[-1]),
        angular_momentum_drift=float(np.linalg.norm(np.polyfit(times, turning, 1)[0])) if isolated else None,
        seconds_per_step=seconds,
    )


def heating(atoms: Atoms, forces_std: NDArray[np.float64], *, timestep: float) -> float:
    """Return how fast forces with noise that is new at every step heat a run by velocity Verlet, in meV/atom/ps.

    A force F + ξ with ⟨ξ⟩ = 0 kicks a momentum by ξ δt in a step, so that the kinetic energy grows by
    Σ_i ⟨ξ_i²⟩ δt² / 2 m_i, and by Σ_i ⟨ξ_i²⟩ δt / 2 m_i per time. With random frames ⟨ξ²⟩ is the variance of the forces
    over the group, A² when it is summed.

    Parameters
    ----------
    atoms
        The structure, for its masses.
    forces_std
        (atoms, 3) standard deviation of the forces, eV/Å: ``results["forces_std"]`` of
        :class:`jetsym.atoms.SymmetrizedCalculator`.
    timestep
        In fs.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> round(heating(ase.Atoms("H"), np.full((1, 3), 0.01), timestep=1.0), 3)
    1.436
    """
    from ase import units

    rate = (np.asarray(forces_std) ** 2 / (2 * atoms.get_masses()[:, None])).sum() * timestep * units.fs
    return float(1e3 * rate * 1e3 * units.fs / len(atoms))


def _stop_rotating(atoms: Atoms) -> None:
    """Remove the rotation from the momenta; a linear molecule has none around its axis, hence the pseudo-inverse."""
    masses, arms = atoms.get_masses(), atoms.positions - atoms.get_center_of_mass()
    inertia = np.einsum(
        "a,aij->ij", masses, (arms**2).sum(axis=1)[:, None, None] * np.eye(3) - arms[:, :, None] * arms[:, None]
    )
    velocity = np.linalg.pinv(inertia, rcond=1e-10, hermitian=True) @ atoms.get_angular_momentum()
    atoms.set_momenta(atoms.get_momenta() - masses[:, None] * np.cross(velocity, arms))
