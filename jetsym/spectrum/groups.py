"""The compact groups whose spectra can be measured: their irreps, elements and rules."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.quadrature import Quadrature, product_rule

__all__ = ["O3", "SO3", "Irrep"]


class Irrep(NamedTuple):
    """An irreducible representation (λ, σ).

    ``sigma`` is +1 for true tensors, −1 for pseudotensors, and None where the group has no inversion. Under the
    inversion an irrep of O(3) has the parity p = σ(−1)^λ.

    Examples
    --------
    >>> str(Irrep(1, 1)), str(Irrep(2)), Irrep(2, -1).dimension, Irrep(1, -1).parity
    ('(1,+)', '(2)', 5, 1)
    """

    lam: int
    sigma: int | None = None

    @property
    def dimension(self) -> int:
        return 2 * self.lam + 1

    @property
    def parity(self) -> int | None:
        """Sign under the inversion, σ(−1)^λ."""
        return None if self.sigma is None else self.sigma * (-1) ** self.lam

    def __str__(self) -> str:
        sign = {None: "", 1: ",+", -1: ",−"}[self.sigma]
        return f"({self.lam}{sign})"


class SO3:
    """Proper rotations. Irreps λ = 0, 1, …; elements are 3×3 rotation matrices."""

    name = "SO3"
    has_inversion = False

    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """All irreps up to l_max, by rising λ."""
        _check(l_max)
        return tuple(Irrep(lam) for lam in range(l_max + 1))

    def quadrature(self, l_max: int, *, degree: int | None = None) -> Quadrature:
        """The rule of proper rotations for l_max; see :func:`jetsym.spectrum.quadrature.product_rule`."""
        return product_rule(l_max, degree=degree)

    def rotations(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Haar-uniform proper rotations (*shape, 3, 3), from normalised Gaussian quaternions.

        Examples
        --------
        >>> SO3().rotations(5, np.random.default_rng(0)).shape
        (5, 3, 3)
        """
        shape = (shape,) if isinstance(shape, int) else shape
        q = rng.normal(size=(*shape, 4))
        w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """n Haar-uniform elements (n, 3, 3) of the group."""
        return self.rotations(n, rng)

    def __repr__(self) -> str:
        return f"{self.name}()"


class O3(SO3):
    """Rotations and inversion. Irreps (λ, ±); elements are orthogonal 3×3 matrices, R and −R.

    Rules and random draws hold the proper rotations only: R and −R are always evaluated together, because the halves
    (u(R) ± u(−R))/2 then split the parity exactly.
    """

    name = "O3"
    has_inversion = True

    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """All irreps up to l_max, by rising λ, true tensors before pseudotensors."""
        _check(l_max)
        return tuple(Irrep(lam, sigma) for lam in range(l_max + 1) for sigma in (1, -1))

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """n Haar-uniform elements (n, 3, 3) of the group, each proper or improper with equal chance."""
        return self.rotations(n, rng) * rng.choice([-1.0, 1.0], size=(n, 1, 1))


def _check(l_max: int) -> None:
    if l_max < 0:
        raise SpectrumError(f"l_max is {l_max}; expected an integer ≥ 0")
