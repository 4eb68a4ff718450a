"""The Lorentz group on four-momenta (E, px, py, pz): its Lie algebra, its boosts, and the products it preserves.

Products are written with what all arrays have in common, and no namespace is looked up: compiled taggers use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GENERATORS", "boost_matrices", "minkowski_products", "modulus", "openings"]


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


def minkowski_products(first: Any, second: Any) -> Any:
    """Return p · q (…, N, M) of four-momenta (…, N, 4) and (…, M, 4) in any array library.

    E_p E_q − **p**·**q** loses all digits where both are energetic and collinear. Here it is what masses make, from
    E − |p|, and what the angle makes, |p||q|(1 − cos θ): as exact as the masses that energies and momenta hold, off by
    some ε E_p E_q only for particles that have them.

    Examples
    --------
    >>> p4 = np.array([[2.0, 2.0, 0.0, 0.0], [2.0, -2.0, 0.0, 0.0]])
    >>> minkowski_products(p4, p4)
    array([[0., 8.],
           [8., 0.]])
    """
    p, q = modulus(first[..., 1:]), modulus(second[..., 1:])
    massive = (first[..., :1] - p) * second[..., :1].mT + p * (second[..., :1] - q).mT
    return p * q.mT * openings(first[..., 1:], second[..., 1:]) + massive


def openings(first: Any, second: Any) -> Any:
    """Return 1 − cos θ (…, N, M) of the angles between vectors (…, N, 3) and (…, M, 3), exact for small ones.

    Examples
    --------
    >>> openings(np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 1e-9, 0.0]]))
    array([[5.e-19]])
    """
    # From differences of directions: scalar products of parallel vectors would lose all digits.
    first, second = first / modulus(first), second / modulus(second)
    difference = first[..., :, None, :] - second[..., None, :, :]
    return (difference * difference).sum(-1) / 2


def modulus(vectors: Any) -> Any:
    """Return |v| (…, 1) of vectors (…, 3), not below 1e-15, so that quotients and derivatives are finite."""
    # A floor, not a sum with it: onnxruntime drops a small summand under a root, and divides by zero.
    return (vectors * vectors).sum(-1)[..., None].clip(1e-30) ** 0.5
