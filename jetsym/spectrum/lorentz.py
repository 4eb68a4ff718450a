"""The Lorentz group on four-momenta (E, px, py, pz): its Lie algebra and its boosts, as real matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["GENERATORS", "boost_matrices"]


def _rotation(i: int, j: int) -> NDArray[np.float64]:
    """Return the generator of the rotations that take axis i to axis j."""
    generator = np.zeros((4, 4))
    generator[j, i], generator[i, j] = 1, -1
    return generator


def _boost(i: int) -> NDArray[np.float64]:
    generator = np.zeros((4, 4))
    generator[0, i] = generator[i, 0] = 1
    return generator


#: (4, 4) real matrices X: exp(θ J_z) rotates by the angle θ about z, exp(y K_z) boosts by the rapidity y along z.
#: [J_i, J_j] = ε_ijk J_k, [J_i, K_j] = ε_ijk K_k and [K_i, K_j] = −ε_ijk J_k.
GENERATORS: dict[str, NDArray[np.float64]] = {
    "J_x": _rotation(2, 3),
    "J_y": _rotation(3, 1),
    "J_z": _rotation(1, 2),
    "K_x": _boost(1),
    "K_y": _boost(2),
    "K_z": _boost(3),
}


def boost_matrices(rapidity: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boosts (…, 4, 4) by rapidities (…) along a unit axis (3,).

    Examples
    --------
    >>> boost_matrices(np.array(np.log(2)), np.array([0.0, 0.0, 1.0]))[0]  # cosh and sinh
    array([1.25, 0.  , 0.  , 0.75])
    """
    generator = np.zeros((4, 4))
    generator[0, 1:] = generator[1:, 0] = axis
    # K³ = K, as for every boost along one direction.
    sinh, cosh = (np.asarray(part)[..., None, None] for part in (np.sinh(rapidity), np.cosh(rapidity)))
    return np.eye(4) + sinh * generator + (cosh - 1) * (generator @ generator)
