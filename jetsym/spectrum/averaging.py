"""Elements and weights that average over a group: exact up to a degree, or at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import SpectrumError, expect_at_least
from jetsym.spectrum.finite import FiniteGroup, FiniteRule
from jetsym.spectrum.groups import SO2, SO3, Group
from jetsym.spectrum.quadrature import Quadrature

__all__ = ["RULES", "GroupAverage", "group_average"]

RULES = ("auto", "lebedev", "icosahedral", "random")
#: Degree up to which the icosahedral rotations are exact.
ICOSAHEDRAL_DEGREE = 5


class GroupAverage(NamedTuple):
    """∫ z(g) dμ ≈ Σ_i w_i z(g_i).

    Parameters
    ----------
    elements
        (n, 3, 3) orthogonal matrices, proper and improper.
    weights
        (n,) positive weights, summing to one.
    degree
        Exact for every z without content beyond this λ; None for random elements, whose error falls as 1/√n.
    """

    elements: NDArray[np.float64]
    weights: NDArray[np.float64]
    degree: int | None


def group_average(
    group: Group,
    l_max: int,
    *,
    rule: str | Quadrature = "auto",
    n_rotations: int | None = None,
    seed: int = 0,
) -> GroupAverage:
    """Return the average over a group that removes the irreps λ = 1 to l_max, and for O(3) all of the other parity.

    Parameters
    ----------
    group
        ``SO2(axis)``, ``SO3()`` or ``O3()``; for the last −R goes with every R.
    l_max
        Largest λ to be removed: the degree of the rule.
    rule
        "auto" for the fewest rotations that have the degree; "lebedev", "icosahedral" (60 rotations of degree 5);
        "random" for n_rotations of them; or a rule made by hand, which ignores l_max.
    n_rotations, seed
        Number and seed of random rotations.

    Raises
    ------
    SpectrumError
        Another name, a degree that the rule does not have, or options that do not go together.

    Examples
    --------
    >>> from jetsym.spectrum import O3
    >>> [(l_max, len(group_average(SO3(), l_max).weights)) for l_max in (2, 3, 5, 6)]
    [(2, 18), (3, 24), (5, 60), (6, 182)]
    >>> average = group_average(O3(), 4)
    >>> len(average.elements), np.linalg.det(average.elements).sum().round(9) + 0.0
    (120, np.float64(0.0))
    """
    expect_at_least("l_max", l_max, 0, SpectrumError)
    if isinstance(rule, str) and rule not in RULES:
        raise SpectrumError(f"rule is {rule!r}; expected one of {', '.join(map(repr, RULES))}, or a quadrature")
    if (rule == "random") != (n_rotations is not None):
        raise SpectrumError(
            f"rule is {rule!r} and n_rotations {n_rotations}; expected a number with rule='random' only"
        )
    if n_rotations is not None:
        expect_at_least("n_rotations", n_rotations, 1, SpectrumError)
        rotations = group.rotations((n_rotations,), np.random.default_rng(seed))
        weights, degree = np.full(n_rotations, 1.0 / n_rotations), None
    else:
        exact = rule if isinstance(rule, Quadrature) else _rule(group, l_max, str(rule))
        rotations, weights, degree = exact.rotations, exact.weights, exact.degree
    if group.has_inversion:
        rotations, weights = np.concatenate([rotations, -rotations]), np.concatenate([weights, weights]) / 2
    return GroupAverage(rotations, weights, degree)


def _rule(group: Group, degree: int, name: str) -> Quadrature | FiniteRule:
    if isinstance(group, FiniteGroup):
        return group.quadrature(0)
    if isinstance(group, SO2):
        if name == "icosahedral":
            raise SpectrumError(f"rule is 'icosahedral', which are rotations about several axes; {group} has one")
        return group.quadrature(0, degree=degree)
    if name == "auto":
        icosahedral = SO3().quadrature(0, rule="icosahedral")
        lebedev = SO3().quadrature(0, degree=degree)
        return icosahedral if degree <= ICOSAHEDRAL_DEGREE and len(icosahedral) < len(lebedev) else lebedev
    return SO3().quadrature(0, degree=degree, rule=name)  # type: ignore[arg-type]  # one of the names above
