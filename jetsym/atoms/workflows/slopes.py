"""Slopes of energies by differences, with their errors: of a function, and the torque on a structure as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jetsym.atoms.frames import moved_frame
from jetsym.probing.reports.equivariance import KNOWN_TO

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["ARM", "rms", "slope", "torque"]

Array = NDArray[np.float64]

#: Fifth derivative of an energy along a displacement, eV/Å⁵: it settles the step of differences; bounds of it, Å.
FIFTH, SHORTEST, LONGEST = 1e3, 2e-4, 0.01
#: Part of the correction from second to fourth order that is taken for the error of the latter.
OF_CORRECTION = 0.5
#: How often a step is halved at most.
HALVINGS = 4
#: Å for a radian.
ARM = 3.0


def rms(values: ArrayLike) -> float:
    """Return the root mean square of all numbers.

    Examples
    --------
    >>> rms([[3.0, -4.0], [5.0, 0.0]]) == 12.5**0.5
    True
    """
    return float(np.sqrt(np.mean(np.square(values))))


def torque(energy_of: Callable[[Atoms], float], atoms: Atoms, noise: float) -> tuple[Array, float]:
    """Return −∂E/∂θ (3,) of a structure that is turned about x, y and z, its cell too, per atom, and its error.

    Both are in meV/atom for a radian; energies and their rounding in eV.
    """
    from scipy.spatial.transform import Rotation

    values, errors = [], []
    for axis in np.eye(3):

        def energy(angle: float, axis: Array = axis) -> Array:
            return np.array([energy_of(moved_frame(atoms, Rotation.from_rotvec(angle * axis).as_matrix()))])

        value, error = slope(energy, noise, arm=ARM, expected=0.0)
        values.append(-1e3 * value[0] / len(atoms))
        errors.append(1e3 * error / len(atoms))
    return np.array(values), rms(errors)


def slope(
    function: Callable[[float], Array], noise: float, *, arm: float = 1.0, expected: float | None = None
) -> tuple[Array, float]:
    """Return a slope at 0 by differences of fourth order, and its error.

    Parameters
    ----------
    function
        Of one variable, with values (n,).
    noise
        Rounding of the values; the step is that at which it weighs as much as what the order leaves out.
    arm
        Å that one unit of the variable moves.
    expected
        What the slope should be. Where it is not, the step is halved until slopes change by no more than rounding:
        energies may be less smooth than the step supposes, and no fault is to be made of that.

    Examples
    --------
    >>> value, error = slope(lambda x: np.array([np.exp(x)]), 1e-15)
    >>> bool(abs(value[0] - 1) < error < 1e-6)
    True
    """
    step = float(np.clip((noise / FIFTH) ** 0.2, SHORTEST, LONGEST)) / arm

    def second_order(step: float) -> Array:
        return (function(step) - function(-step)) / (2 * step)

    near, far = second_order(step), second_order(2 * step)
    value = (4 * near - far) / 3
    best = value, float(np.hypot(1.5 * noise / step, OF_CORRECTION * rms(value - near)))
    if expected is None or rms(value - expected) <= KNOWN_TO * best[1]:
        return best
    best = value, np.inf  # as its error may be anything
    for _ in range(HALVINGS):
        last, far, step = value, near, step / 2
        near = second_order(step)
        value, rounding = (4 * near - far) / 3, 1.5 * noise / step
        left_out = max(OF_CORRECTION * rms(value - near), rms(value - last))
        if np.hypot(rounding, left_out) < best[1]:
            best = value, float(np.hypot(rounding, left_out))
        if left_out <= rounding:
            break
    return best
