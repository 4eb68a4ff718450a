"""The Lorentz group on four-momenta (E, px, py, pz): its Lie algebra, its boosts, and the products it preserves.

Products are written with what all arrays have in common, and no namespace is looked up: compiled taggers use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from jetsym.spectrum.responses import to_numpy

__all__ = [
    "GENERATORS",
    "MAX_GAMMA",
    "boost_to_rest",
    "boosted",
    "boosted_outputs",
    "has_rest_frame",
    "minkowski_products",
    "modulus",
    "openings",
]

#: Largest Lorentz factor E/M of what is taken to its rest frame. Rounding momenta to 32 bits changes M² by up to γ²ε of
#: itself, 12% at this γ: the mass of such a jet is hardly more than rounding, and so is its rest frame.
MAX_GAMMA = 1000.0


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


def boosted(p4: Any, direction: Any, factor: Any, xp: Any) -> Any:
    """Return four-momenta (…, 4) with E ± p∥ times factor^±1: as exact for any γ, where a matrix product is not.

    Parameters
    ----------
    p4
        Four-momenta in float64.
    direction, factor
        Unit vectors (…, 3), and e to the rapidity (…), that broadcast against them.
    xp
        The array library.

    Examples
    --------
    >>> boosted(np.array([5.0, 3.0, 0.0, 4.0]), np.array([0.0, 0.0, 1.0]), np.array(3.0), np)[[0, 3]]
    array([13.66666667, 13.33333333])
    """
    energy, vector = p4[..., 0], p4[..., 1:]
    along = (vector * direction).sum(-1)
    across = vector - along[..., None] * direction
    plus, minus = (energy + along) * factor, (energy - along) / factor
    moved = across + ((plus - minus) / 2)[..., None] * direction
    return xp.concat([((plus + minus) / 2)[..., None], moved], -1)


def boosted_outputs(outputs: Any, direction: Any, factor: Any) -> Any:
    """Return four-vectors (n, samples, …, 4) of any array library, boosted in float64.

    Parameters
    ----------
    outputs
        What a model returned.
    direction, factor
        (1 or samples, 3), and (1 or n, 1 or samples).
    """
    values = to_numpy(outputs).astype(np.float64)
    between = [1] * (values.ndim - 3)
    n, factor = to_numpy(direction).astype(np.float64), to_numpy(factor).astype(np.float64)
    moved = boosted(values, n.reshape(len(n), *between, 3), factor.reshape(*factor.shape, *between), np)
    return array_namespace(outputs).asarray(moved, dtype=outputs.dtype, device=device(outputs))


def has_rest_frame(total: Any) -> Any:
    """Return (…) bool, whether total momenta (…, 4) are timelike, with an energy of at most MAX_GAMMA · mass.

    Examples
    --------
    >>> has_rest_frame(np.array([[5.0, 3.0, 0.0, 0.0], [5.0, 3.0, 0.0, 4.0]]))
    array([ True, False])
    """
    p = modulus(total[..., 1:])[..., 0]
    return (total[..., 0] > 0) & ((total[..., 0] - p) * (total[..., 0] + p) * MAX_GAMMA**2 >= total[..., 0] ** 2)


def boost_to_rest(total: Any) -> tuple[Any, Any]:
    """Return direction (…, 3) and factor (…) of the boost that takes what is at rest to momenta (…, 4).

    The factor is √((E + p)/(E − p)); one over it takes the momenta to rest.

    Examples
    --------
    >>> direction, factor = boost_to_rest(np.array([5.0, 0.0, 0.0, 3.0]))
    >>> boosted(np.array([5.0, 0.0, 0.0, 3.0]), direction, 1 / factor, np)
    array([4., 0., 0., 0.])
    """
    size = modulus(total[..., 1:])
    energy, p = total[..., 0], size[..., 0]
    return total[..., 1:] / size, (energy + p) / ((energy - p) * (energy + p)) ** 0.5


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
