"""Haar quadrature on SO(3): nodes and weights with a stated exactness degree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import lebedev_rule

from jetsym.errors import SpectrumError

__all__ = ["Quadrature", "euler_matrices", "lebedev_order", "product_rule"]

#: Orders of Lebedev's rules with positive weights only (13, 25 and 27 exist, with negative ones).
LEBEDEV_ORDERS = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 29, 31, 35, 41, 47, 53, 59, 65, 71, 77, 83, 89, 95, 101, 107, 113)


def lebedev_order(degree: int) -> int:
    """The smallest Lebedev rule with positive weights that integrates every polynomial of a degree on the sphere."""
    for order in LEBEDEV_ORDERS:
        if order >= degree:
            return order
    raise SpectrumError(f"no Lebedev rule integrates degree {degree}; the largest is {LEBEDEV_ORDERS[-1]}: lower l_max")


def euler_matrices(
    alpha: NDArray[np.float64], beta: NDArray[np.float64], gamma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rotation matrices Rz(α) Ry(β) Rz(γ), shape (…, 3, 3), of broadcast angles in radians."""
    ca, cb, cg = np.cos(alpha), np.cos(beta), np.cos(gamma)
    sa, sb, sg = np.sin(alpha), np.sin(beta), np.sin(gamma)
    rows = [
        [ca * cb * cg - sa * sg, -ca * cb * sg - sa * cg, ca * sb],
        [sa * cb * cg + ca * sg, -sa * cb * sg + ca * cg, sa * sb],
        [-sb * cg, sb * sg, cb],
    ]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


@dataclass(frozen=True, eq=False)
class Quadrature:
    """A product rule on SO(3): nodes (α, β) on the sphere, and for each of them one ring of equispaced γ.

    Parameters
    ----------
    alpha, beta
        (rings,) angles of the rings, radians.
    ring_weights
        (rings,) positive weights, summing to one.
    ring_size
        K, the number of angles γ_k = 2πk/K of every ring.
    l_max
        Largest λ that the rule is meant to resolve.
    degree
        The rule integrates D^ℓ_mn exactly for every ℓ up to this degree. Coefficients of a response of bandwidth L
        are exact up to λ = degree − L.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    ring_weights: NDArray[np.float64]
    ring_size: int
    l_max: int
    degree: int

    def __len__(self) -> int:
        return len(self.alpha) * self.ring_size

    @property
    def gamma(self) -> NDArray[np.float64]:
        """(K,) angles within a ring."""
        return 2 * np.pi * np.arange(self.ring_size) / self.ring_size

    @property
    def rotations(self) -> NDArray[np.float64]:
        """(n, 3, 3) proper rotations, ring after ring."""
        return euler_matrices(self.alpha[:, None], self.beta[:, None], self.gamma).reshape(-1, 3, 3)

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) weights, summing to one."""
        return np.repeat(self.ring_weights / self.ring_size, self.ring_size)

    def chunks(self, size: int) -> Iterator[slice]:
        """Slices of whole γ-rings with at most ``size`` rotations each (one ring at least).

        Examples
        --------
        >>> [chunk.stop - chunk.start for chunk in product_rule(1).chunks(9)]
        [9, 9]
        """
        step = max(1, size // self.ring_size) * self.ring_size
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))

    def rings(self, chunk: slice) -> slice:
        """The rings that a slice of rotations covers; an error if it cuts through one."""
        start, stop, step = chunk.indices(len(self))
        if start % self.ring_size or stop % self.ring_size or step != 1 or start >= stop:
            raise SpectrumError(
                f"the chunk {start}:{stop} cuts through a ring of {self.ring_size} rotations; "
                "take the slices that rule.chunks(size) gives"
            )
        return slice(start // self.ring_size, stop // self.ring_size)


def product_rule(l_max: int, *, degree: int | None = None) -> Quadrature:
    """Lebedev nodes on the sphere times equispaced γ, exact to ``degree`` (default 2·l_max).

    A response band-limited at L has all its coefficients up to λ exact when degree ≥ λ + L: the default resolves
    responses whose own bandwidth is l_max. Anything beyond that aliases, which a rule of higher degree shows.

    Parameters
    ----------
    l_max
        Largest λ to resolve, ≥ 0.
    degree
        Exactness degree, at least 2·l_max.

    Raises
    ------
    SpectrumError
        Negative l_max, or a degree below 2·l_max or above what Lebedev's rules reach.

    Examples
    --------
    >>> rule = product_rule(4)
    >>> len(rule), rule.degree
    (342, 8)
    """
    if l_max < 0:
        raise SpectrumError(f"l_max is {l_max}; expected an integer ≥ 0")
    degree = 2 * l_max if degree is None else degree
    if degree < 2 * l_max:
        raise SpectrumError(f"degree is {degree}; expected at least 2·l_max = {2 * l_max}")
    (x, y, z), weights = lebedev_rule(lebedev_order(degree))
    return Quadrature(
        alpha=np.arctan2(y, x),
        beta=np.arctan2(np.hypot(x, y), z),
        ring_weights=weights / weights.sum(),
        ring_size=degree + 1,
        l_max=l_max,
        degree=degree,
    )
