"""Windows of boosts: declared probability measures on rapidity, their Gauss nodes and orthonormal polynomials.

The boosts along a direction are a group of the kind (ℝ, +): it has no invariant probability measure, so that there is
no spectrum over irreps as for rotations. What can be measured honestly belongs to a measure μ that is declared, uniform
on [−y₀, y₀] or normal of width σ: the response u(y) expands in its orthonormal polynomials p_n, u = Σ c_n p_n with
c_n = ∫ p_n u dμ, and the window energies B_n = ‖c_n‖² add up to ∫‖u‖² dμ, those with n ≥ 1 to A² = ∫‖u − ū‖² dμ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss, hermevander
from numpy.polynomial.legendre import leggauss, legvander
from numpy.typing import NDArray
from scipy.special import gammaln

from jetsym.arguments import above, at_least, checked, shaped
from jetsym.errors import SpectrumError
from jetsym.spectrum.quadrature import Nodes
from jetsym.symmetry import Distribution

__all__ = ["Distribution", "Window", "rapidity_window", "rapidity_windows"]

#: numpy's Gauss nodes are tested up to this many.
MAX_NODES = 100


@checked(
    SpectrumError,
    width=above(0),
    rapidity=shaped("nodes"),
    weights=shaped("nodes"),
    polynomials=shaped("nodes", "nodes"),
    n_max=at_least(0),
    degree=at_least(0),
)
@dataclass(frozen=True, eq=False)
class Window(Nodes):
    """A probability measure on rapidity, as a Gauss rule with its polynomials.

    Parameters
    ----------
    distribution
        "uniform" or "normal".
    width
        y₀ of the uniform measure on [−y₀, y₀], or the standard deviation σ of the normal one.
    rapidity
        (n,) nodes y_i.
    weights
        (n,) positive weights, summing to one.
    polynomials
        (n, n) values p_k(y_i) of the orthonormal polynomials of orders k = 0 … n − 1.
    n_max
        Largest order to report.
    degree
        Σ w_i q(y_i) = ∫ q dμ for polynomials q up to this degree, 2n − 1: the energies up to n_max are exact for
        responses that are polynomials in y up to the degree − n_max, and A² up to n − 1.
    """

    distribution: Distribution
    width: float
    rapidity: NDArray[np.float64]
    weights: NDArray[np.float64]
    polynomials: NDArray[np.float64]
    n_max: int
    degree: int

    def __len__(self) -> int:
        return len(self.rapidity)

    @property
    def variance(self) -> float:
        """Var(y) of the measure."""
        return self.width**2 / 3 if self.distribution == "uniform" else self.width**2

    @checked(SpectrumError, rapidity=shaped("..."))
    def polynomials_at(self, rapidity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute p_k(y) (n, …) of the orders k = 0 … n − 1 at rapidities (…)."""
        return _polynomials(self.distribution, rapidity / self.width, len(self))

    @checked(SpectrumError, shape=at_least(0))
    def draw(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw rapidities of the measure.

        Examples
        --------
        >>> rapidity_window("uniform", 2.0, 1).draw((5, 3), np.random.default_rng(0)).shape
        (5, 3)
        """
        if self.distribution == "uniform":
            return rng.uniform(-self.width, self.width, size=shape)
        return rng.normal(scale=self.width, size=shape)


def _polynomials(distribution: Distribution, x: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Compute the orthonormal polynomials (n, …) of the orders 0 … n − 1 at rapidities (…) over the width."""
    order = np.arange(n)
    uniform = distribution == "uniform"
    vander, scale = (legvander, np.sqrt(2 * order + 1)) if uniform else (hermevander, np.exp(-gammaln(order + 1) / 2))
    return np.moveaxis(np.asarray(vander(x, n - 1) * scale, dtype=np.float64), -1, 0)


@checked(SpectrumError, width=above(0), n_max=at_least(0), degree=at_least(0))
def rapidity_window(distribution: Distribution, width: float, n_max: int, *, degree: int | None = None) -> Window:
    """Return the Gauss nodes of a measure on rapidity, for energies up to n_max.

    Parameters
    ----------
    distribution
        "uniform" on [−width, width], with Legendre's polynomials √(2n+1) P_n(y/y₀); or "normal" of mean 0 and standard
        deviation width, with the probabilists' Hermite polynomials He_n(y/σ)/√(n!).
    width
        y₀ or σ, more than 0.
    n_max
        Largest order to report, ≥ 0.
    degree
        Exactness that is asked for, at least 2·n_max; by default 4·n_max + 3, which takes 2(n_max + 1) nodes. (With the
        fewest nodes, n_max + 1, the tail beyond n_max would vanish whatever the response.)

    Raises
    ------
    SpectrumError
        Another distribution, a width that is not positive, a negative n_max, or a degree too small or too large.

    Examples
    --------
    >>> window = rapidity_window("uniform", 2.0, 1)
    >>> len(window), window.degree, float((window.weights @ window.rapidity**2).round(12)), round(window.variance, 12)
    (4, 7, 1.333333333333, 1.333333333333)
    """
    if degree is None:
        degree = 4 * n_max + 3
    if not 2 * n_max <= degree < 2 * MAX_NODES:
        raise SpectrumError(
            f"degree is {degree}; expected at least 2·n_max = {2 * n_max} and less than {2 * MAX_NODES}"
            + ("" if 2 * n_max < 2 * MAX_NODES else ": lower n_max")
        )
    n = degree // 2 + 1
    nodes, weights = leggauss(n) if distribution == "uniform" else hermegauss(n)
    polynomials = _polynomials(distribution, nodes, n)
    return Window(distribution, width, width * nodes, weights / weights.sum(), polynomials, n_max, 2 * n - 1)


@checked(SpectrumError, widths=above(0), n_max=at_least(0), degree=at_least(0))
def rapidity_windows(
    distribution: Distribution, widths: Sequence[float], n_max: int, *, degree: int | None = None
) -> tuple[Window, ...]:
    """Return windows of several widths, for curves of A and B_n over y₀ or σ; they share no nodes.

    Parameters, errors: those of :func:`rapidity_window`.

    Examples
    --------
    >>> [window.width for window in rapidity_windows("normal", [0.1, 0.5], 2)]
    [0.1, 0.5]
    """
    return tuple(rapidity_window(distribution, width, n_max, degree=degree) for width in widths)
