"""Short molecular dynamics at constant energy, and what should be conserved in it.

Where forces are derivatives of an energy, that energy is conserved, whether or not it is invariant under rotations:
drift tells of cutoffs, of precision, or of forces that are no derivatives. The angular momentum of an isolated molecule
is conserved only if the energy is invariant.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["Drift", "drift"]


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
    """

    energy_drift: float
    energy_fluctuation: float
    angular_momentum: float | None
    temperature: float
    time: float

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
    dynamics.run(steps)
    times = np.arange(len(energies)) * timestep * 1e-3  # ps
    per_atom = 1e3 * np.array(energies) / len(moving)
    slope, offset = np.polyfit(times, per_atom, 1)
    change = np.linalg.norm(np.array(momenta) - momenta[0], axis=1).max()
    hbar = units._hbar * units.J * units.s
    return Drift(
        energy_drift=float(slope),
        energy_fluctuation=float(np.std(per_atom - (slope * times + offset))),
        angular_momentum=float(change / hbar) if isolated else None,
        temperature=float(np.mean(temperatures)),
        time=float(times[-1]),
    )


def _stop_rotating(atoms: Atoms) -> None:
    """Remove the rotation from the momenta; a linear molecule has none around its axis, hence the pseudo-inverse."""
    masses, arms = atoms.get_masses(), atoms.positions - atoms.get_center_of_mass()
    inertia = np.einsum(
        "a,aij->ij", masses, (arms**2).sum(axis=1)[:, None, None] * np.eye(3) - arms[:, :, None] * arms[:, None]
    )
    velocity = np.linalg.pinv(inertia, rcond=1e-10, hermitian=True) @ atoms.get_angular_momentum()
    atoms.set_momenta(atoms.get_momenta() - masses[:, None] * np.cross(velocity, arms))
