"""Haar quadrature on SO(3) and SO(2): nodes and weights with a stated exactness degree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import lebedev_rule

from jetsym.arguments import at_least, checked, shaped
from jetsym.errors import SpectrumError, expect_at_least

__all__ = [
    "Nodes",
    "Quadrature",
    "axis_matrices",
    "circle_rule",
    "euler_angles",
    "euler_matrices",
    "icosahedral_rule",
    "lebedev_order",
    "product_rule",
]

#: Orders of Lebedev's rules with positive weights only (13, 25 and 27 exist, with negative ones).
LEBEDEV_ORDERS = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 29, 31, 35, 41, 47, 53, 59, 65, 71, 77, 83, 89, 95, 101, 107, 113)


def lebedev_order(degree: int) -> int:
    """Return the lowest order of Lebedev's rules, with positive weights, that is exact to a degree on the sphere."""
    for order in LEBEDEV_ORDERS:
        if order >= degree:
            return order
    raise SpectrumError(f"no Lebedev rule integrates degree {degree}; the largest is {LEBEDEV_ORDERS[-1]}: lower l_max")


def euler_matrices(
    alpha: NDArray[np.float64], beta: NDArray[np.float64], gamma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute rotation matrices Rz(α) Ry(β) Rz(γ), shape (…, 3, 3), of broadcast angles in radians."""
    ca, cb, cg = np.cos(alpha), np.cos(beta), np.cos(gamma)
    sa, sb, sg = np.sin(alpha), np.sin(beta), np.sin(gamma)
    rows = [
        [ca * cb * cg - sa * sg, -ca * cb * sg - sa * cg, ca * sb],
        [sa * cb * cg + ca * sg, -sa * cb * sg + ca * cg, sa * sb],
        [-sb * cg, sb * sg, cb],
    ]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


def euler_angles(
    rotations: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute angles α, β and γ in radians, (…) each, of proper rotations Rz(α) Ry(β) Rz(γ), (…, 3, 3).

    At the poles of β, where α and γ turn about one axis, γ makes up for any α.
    """
    x, y, z = np.moveaxis(rotations[..., 2], -1, 0)
    alpha, beta = np.arctan2(y, x), np.arctan2(np.hypot(x, y), z)
    left = np.swapaxes(euler_matrices(alpha, beta, np.zeros_like(alpha)), -1, -2) @ rotations
    return alpha, beta, np.arctan2(left[..., 1, 0], left[..., 0, 0])


def axis_matrices(axis: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute rotation matrices (…, 3, 3) about a unit axis (3,) by angles (…) in radians (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    along = np.outer(axis, axis)
    matrices: NDArray[np.float64] = (
        along + np.multiply.outer(np.cos(angle), np.eye(3) - along) + np.multiply.outer(np.sin(angle), cross)
    )
    return matrices


class Nodes:
    """The nodes of a rule, as they are taken in chunks."""

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def unit(self) -> int:
        """Number of nodes that stay together; here every node stands for itself."""
        return 1

    def chunks(self, size: int) -> Iterator[slice[int]]:
        """Return slices of whole units, with at most ``size`` nodes each (one unit at least).

        Examples
        --------
        >>> [chunk.stop - chunk.start for chunk in product_rule(1).chunks(15)]
        [12, 6]
        """
        step = max(1, size // self.unit) * self.unit
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))

    def units(self, chunk: slice) -> slice:
        """Return the units that a slice of nodes covers; an error if it cuts through one, or covers none."""
        start, stop, step = chunk.indices(len(self))
        if start % self.unit or stop % self.unit or step != 1 or start >= stop:
            raise SpectrumError(
                f"the chunk {start}:{stop} cuts through nodes that belong together, {self.unit} at a time; "
                "take the slices that rule.chunks(size) gives"
            )
        return slice(start // self.unit, stop // self.unit)


@checked(
    SpectrumError,
    alpha=shaped("rings"),
    beta=shaped("rings"),
    ring_weights=shaped("rings"),
    ring_size=at_least(1),
    l_max=at_least(0),
    degree=at_least(0),
    offset=shaped("rings"),
    axis=shaped(3),
)
@dataclass(frozen=True, eq=False)
class Quadrature(Nodes):
    """A rule on SO(3), R = Rz(α) Ry(β) Rz(γ₀ + γ): nodes (α, β, γ₀), and at each of them a ring of equispaced γ.

    A rule on SO(2) is the same thing with the angle α about an axis of its own, and rings of one rotation.

    Parameters
    ----------
    alpha, beta
        (rings,) angles of the rings, radians. On SO(2) α is the angle about the axis, and β is zero.
    ring_weights
        (rings,) positive weights, summing to one.
    ring_size
        K, the number of angles γ_k = 2πk/K of every ring.
    l_max
        Largest λ that the rule is meant to resolve.
    degree
        The rule integrates D^ℓ_mn exactly for every ℓ up to this degree. Coefficients of a response of bandwidth L
        are exact up to λ = degree − L.
    offset
        γ₀, where the rings start, radians: (rings,) or one number.
    axis
        (3,) unit axis of a rule on SO(2); None for SO(3).
    in_pairs
        Whether rings 2i and 2i + 1 are antipodal, (α, β) and (α + π, π − β) with one weight and γ₀ = 0, and so stay
        together in chunks: half of the arithmetic is then done for both at once.
    """

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    ring_weights: NDArray[np.float64]
    ring_size: int
    l_max: int
    degree: int
    offset: NDArray[np.float64] | float = 0.0
    axis: NDArray[np.float64] | None = None
    in_pairs: bool = False

    def __len__(self) -> int:
        return len(self.alpha) * self.ring_size

    @property
    def unit(self) -> int:
        """Number of rotations that stay together: those of a ring, or of a pair of rings."""
        return 2 * self.ring_size if self.in_pairs else self.ring_size

    @property
    def gamma(self) -> NDArray[np.float64]:
        """(K,) angles within a ring, from its start."""
        return 2 * np.pi * np.arange(self.ring_size) / self.ring_size

    @cached_property
    def rotations(self) -> NDArray[np.float64]:
        """(n, 3, 3) proper rotations, ring after ring."""
        if self.axis is not None:
            return axis_matrices(self.axis, self.alpha)
        gamma = np.broadcast_to(self.offset, self.alpha.shape)[:, None] + self.gamma
        return euler_matrices(self.alpha[:, None], self.beta[:, None], gamma).reshape(-1, 3, 3)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(n,) weights, summing to one."""
        return np.repeat(self.ring_weights / self.ring_size, self.ring_size)


def product_rule(l_max: int, *, degree: int | None = None) -> Quadrature:
    """Return the rule of Lebedev nodes on the sphere times equispaced γ, exact to ``degree`` (default 2·l_max).

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
    degree = _degree(l_max, degree)
    (x, y, z), weights = lebedev_rule(lebedev_order(degree))
    upper = (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))  # of each pair of antipodes
    alpha = np.arctan2(y, x)[upper]
    beta = np.arctan2(np.hypot(x, y), z)[upper]
    return Quadrature(
        alpha=np.stack([alpha, alpha + np.pi], axis=1).ravel(),
        beta=np.stack([beta, np.pi - beta], axis=1).ravel(),
        ring_weights=np.repeat(weights[upper] / weights.sum(), 2),
        ring_size=degree + 1,
        l_max=l_max,
        degree=degree,
        in_pairs=True,
    )


def icosahedral_rule(l_max: int, *, degree: int | None = None) -> Quadrature:
    """Return the rule of the icosahedron's 60 rotations, which integrate every D^ℓ up to ℓ = 5.

    An average over a finite group is exact for ℓ when D^ℓ restricted to it does not hold the trivial representation;
    for the icosahedral group the first that does is ℓ = 6. The group is generated from two of its elements. Its twelve
    cosets of the fivefold axis z are rings of five angles, so that the rule is used like any other.

    Parameters
    ----------
    l_max
        Largest λ to resolve, 0 to 2.
    degree
        Exactness that is asked for, at most 5; the rule has 5 in any case.

    Raises
    ------
    SpectrumError
        An l_max above 2 or a degree above 5, which these rotations cannot give.

    Examples
    --------
    >>> rule = icosahedral_rule(2)
    >>> len(rule), rule.degree
    (60, 5)
    """
    if _degree(l_max, degree) > 5:
        raise SpectrumError(
            f"l_max is {l_max} and degree {degree}; the icosahedral group is exact to degree 5, so for l_max up to 2: "
            "take the rule 'lebedev'"
        )
    starts = _one_of_each_coset(_generate(_ICOSAHEDRAL_GENERATORS))
    alpha, beta, offset = euler_angles(starts)
    return Quadrature(
        alpha=alpha,
        beta=beta,
        ring_weights=np.full(12, 1 / 12),
        ring_size=5,
        l_max=l_max,
        degree=5,
        offset=offset,
    )


#: Rotations by 2π/5 about the vertex z, and by π about the midpoint between z and the vertex at tan β = 2.
_ICOSAHEDRAL_GENERATORS = (
    axis_matrices(np.array([0.0, 0.0, 1.0]), np.array(2 * np.pi / 5)),
    axis_matrices(np.array([np.sin(np.arctan(2) / 2), 0.0, np.cos(np.arctan(2) / 2)]), np.array(np.pi)),
)


def _generate(generators: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    """Return all products (n, 3, 3) of the generators of a finite group."""
    elements = [np.eye(3)]
    for element in elements:  # the list grows while it is walked through, and ends when no product is new
        for generator in generators:
            product = generator @ element
            if not any(np.abs(product - known).max() < 1e-6 for known in elements):
                elements.append(product)
    return np.stack(elements)


def _one_of_each_coset(elements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choose one element for each image of the z axis."""
    _, first = np.unique(elements[:, :, 2].round(6) + 0.0, axis=0, return_index=True)
    return elements[np.sort(first)]


def circle_rule(l_max: int, axis: NDArray[np.float64], *, degree: int | None = None) -> Quadrature:
    """Return the rule of degree + 1 equispaced rotations about an axis, exact to ``degree`` (default 4·l_max).

    With 2·l_max + 1 angles the modes up to l_max would hold all of the norm, whatever the response: no tail would show
    what lies beyond them. With 4·l_max + 1 those up to 3·l_max are in the tail, and do not pass for lower ones.

    Parameters
    ----------
    l_max
        Largest mode m to resolve, ≥ 0.
    axis
        (3,) unit vector.
    degree
        The rule integrates e^{imφ} exactly for every |m| up to this degree, at least 2·l_max.

    Examples
    --------
    >>> rule = circle_rule(3, np.array([0.0, 0.0, 1.0]))
    >>> len(rule), rule.degree
    (13, 12)
    """
    degree = _degree(l_max, degree, default=4 * l_max)
    angle = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    return Quadrature(
        alpha=angle,
        beta=np.zeros_like(angle),
        ring_weights=np.full(degree + 1, 1 / (degree + 1)),
        ring_size=1,
        l_max=l_max,
        degree=degree,
        axis=axis,
    )


def _degree(l_max: int, degree: int | None, *, default: int | None = None) -> int:
    """Return the degree of a rule for l_max, unless one is asked for that of ``default``, or 2·l_max."""
    expect_at_least("l_max", l_max, 0, SpectrumError)
    if degree is not None and degree < 2 * l_max:
        raise SpectrumError(f"degree is {degree}; expected at least 2·l_max = {2 * l_max}")
    if degree is not None:
        return degree
    return 2 * l_max if default is None else default
