"""Groups given by their elements: any finite group, or a compact one by nodes and weights, with its real irreps.

With D^α real and orthogonal, and t_α the dimension of the matrices that commute with it (1, 2 or 4, as it is of real,
complex or quaternionic type), the projector on everything that turns like D^α has the kernel (d_α/t_α) χ_α, so that

    B_α(x) = (d_α/t_α) Σ_ab ‖∫ D^α_ab(g) u(g) dμ‖²,   t_α = ∫ χ_α² dμ,

which is the B_λ of SO(3) for t = 1, and the B_m of SO(2), whose m > 0 have d = t = 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jetsym.arguments import at_least, checked
from jetsym.errors import SpectrumError, shorten
from jetsym.spectrum.irreps import Irrep, NamedIrrep
from jetsym.spectrum.quadrature import Nodes

__all__ = ["FiniteGroup", "FiniteRule"]

Array = NDArray[np.float64]

#: How far matrices may be from what they are said to be.
EXACT = 1e-6
#: The metric of (E, px, py, pz), and that of vectors.
METRICS = {3: np.eye(3), 4: np.diag([1.0, -1.0, -1.0, -1.0])}


class FiniteGroup:
    """A group given by its elements, their weights, and its real irreps.

    Parameters
    ----------
    name
        As it is typed, such as "C4".
    elements
        (n, 3, 3) orthogonal matrices, proper or not, or (n, 4, 4) Lorentz transformations of (E, px, py, pz).
    irreps
        Name -> (n, d, d) orthogonal matrices D^α(g), or (n,) signs, of every real irrep that a spectrum is to tell
        apart, in the order of the elements; the first is the invariant one. What lies in none of them is the tail.
    weights
        (n,) positive weights of the elements, which sum to one; all alike if not given.

    Raises
    ------
    SpectrumError
        Matrices that are no symmetries or turn time back, elements that are no group, weights that do not average as
        one, or irreps that are none, or are not its own.

    Examples
    --------
    Four turns about z: A stays, B changes its sign with every turn, and E turns once.

    >>> turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> turns = np.stack([np.linalg.matrix_power(turn, k) for k in range(4)])
    >>> c4 = FiniteGroup("C4", turns, {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1], "E": turns[:, :2, :2]})
    >>> [(str(irrep), irrep.factor) for irrep in c4.irreps(0)]
    [('A', 1.0), ('B', 1.0), ('E', 1.0)]
    """

    #: Improper elements are among the others.
    has_inversion = False
    axis = None

    def __init__(
        self, name: str, elements: ArrayLike, irreps: Mapping[str, ArrayLike], *, weights: ArrayLike | None = None
    ) -> None:
        if not isinstance(name, str) or not name:
            raise SpectrumError(f"the name of a group is {name!r}; expected what is typed for it, such as 'C4'")
        self.name = name
        self.elements: Array = _real(f"elements of {name}", elements)
        n = len(self.elements) if self.elements.ndim else 0
        #: Whether the elements are all there are, in place of the nodes of a rule.
        self.is_finite = weights is None
        self.weights: Array = np.full(n, 1 / max(n, 1)) if weights is None else _real(f"weights of {name}", weights)
        self._check_elements()
        named = isinstance(irreps, Mapping) and all(isinstance(which, str) for which in irreps)
        if not named or not irreps or {"", "tail"} & set(irreps):
            told = [*irreps] if isinstance(irreps, Mapping) else type(irreps).__name__
            raise SpectrumError(f"irreps of {name} are {told}; expected names, and none of them '' or 'tail'")
        self.matrices: tuple[Array, ...] = tuple(_square(which, given, n) for which, given in irreps.items())
        if weights is None:
            self._check_products()
        sizes = [self._commuting(which, place) for place, which in enumerate(irreps)]
        if weights is not None:  # of a rule, whose elements need be no group by themselves, but average as one does
            self._check_weights()
            self._check_products(is_rule=True)
        self._irreps = tuple(
            NamedIrrep(place, which, matrices.shape[-1], size)
            for place, (which, matrices, size) in enumerate(zip(irreps, self.matrices, sizes, strict=True))
        )

    def is_same(self, other: object) -> bool:
        """Return whether another group has the same elements, weights and irreps, as one that is made anew."""
        if not isinstance(other, FiniteGroup):
            return False
        own, theirs = ((group.elements, group.weights, *group.matrices) for group in (self, other))
        return len(own) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(own, theirs, strict=True))

    @checked(SpectrumError, l_max=at_least(0))
    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """Return all irreps of the table, whatever l_max."""
        return self._irreps

    @checked(SpectrumError, l_max=at_least(0))
    def quadrature(self, l_max: int, *, degree: int | None = None) -> FiniteRule:
        """Return the rule of all elements, which is exact whatever l_max and degree."""
        return FiniteRule(self, l_max)

    def rotations(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> NoReturn:
        """Refuse to draw: all elements together are exact."""
        self._refuse_draws()

    def kernels(self, l_max: int, rotations: Any) -> NoReturn:
        """Refuse kernels, which random draws would take."""
        self._refuse_draws()

    def _refuse_draws(self) -> NoReturn:
        raise SpectrumError(
            f"{self.name} is given by {len(self.elements)} elements, all of which are evaluated; leave out "
            "method='random', rule='random' and n_rotations"
        )

    @checked(SpectrumError, n=at_least(0))
    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n elements (n, d, d) by their weights."""
        return self.elements[rng.choice(len(self.elements), size=n, p=self.weights)]

    @property
    def has_reflections(self) -> bool:
        """Whether some elements are improper."""
        return bool((np.linalg.det(self.elements) < 0).any())

    @property
    def on_four_vectors(self) -> bool:
        """Whether the elements are Lorentz transformations, in place of rotations and reflections."""
        return self.elements.shape[1:] == (4, 4)

    def _check_elements(self) -> None:
        shape = self.elements.shape
        if len(shape) != 3 or shape[1:] not in ((3, 3), (4, 4)) or not len(self.elements):
            raise SpectrumError(f"elements of {self.name} have shape {shape}; expected (n, 3, 3) or (n, 4, 4)")
        metric = METRICS[shape[-1]]
        defect = np.abs(np.swapaxes(self.elements, 1, 2) @ metric @ self.elements - metric).max()
        if not defect < EXACT * max(1.0, float(np.square(self.elements).max())):
            raise SpectrumError(
                f"elements of {self.name} are wrong by {defect:.1e}; expected orthogonal matrices, or 4 × 4 Lorentz "
                "transformations of (E, px, py, pz)"
            )
        if shape[-1] == 4 and (self.elements[:, 0, 0] < 0).any():
            raise SpectrumError(
                f"elements of {self.name} turn time back, as energies would be negative; expected Lorentz "
                "transformations, proper or not, with a positive element E, E"
            )
        positive = self.weights.shape == shape[:1] and (self.weights > 0).all()
        if not positive or abs(self.weights.sum() - 1) > EXACT:
            raise SpectrumError(f"weights of {self.name} are {self.weights}; expected {shape[0]} above 0 with sum 1")

    def _products(self) -> NDArray[np.intp] | None:
        """Return (n, n) the place of g h for elements g, h; None at the first row with a product that is none of them.

        The last row comes first: that of an identity, which often leads, would not tell a rule from a group.
        """
        flat = self.elements.reshape(len(self.elements), -1)
        table = np.empty((len(flat), len(flat)), dtype=np.intp)
        for place in reversed(range(len(flat))):
            products = (self.elements[place] @ self.elements).reshape(flat.shape)
            distance = np.abs(products[:, None] - flat).max(axis=-1)
            if not distance.min(axis=1).max() < EXACT * max(1.0, np.abs(flat).max()):
                return None
            table[place] = distance.argmin(axis=1)
        return table

    def _check_products(self, *, is_rule: bool = False) -> None:
        """Refuse elements that are no group, but for those of a rule, and irreps that do not follow their products."""
        table = self._products()
        repeated = table is not None and any(len(set(row)) < len(row) for row in table.tolist())
        if table is None or repeated:
            if is_rule:
                return
            what = "some come more than once" if repeated else "a product of two is none of them"
            raise SpectrumError(f"elements of {self.name} are no group: {what}")
        for which, matrices in enumerate(self.matrices):
            if (
                not max(np.abs(g @ matrices - matrices[row]).max() for g, row in zip(matrices, table, strict=True))
                < EXACT
            ):
                raise SpectrumError(
                    f"irrep number {which} of {self.name} does not follow the products of its elements; expected "
                    "D(g) D(h) = D(gh), with matrices in the order of the elements"
                )

    def _check_weights(self) -> None:
        """Refuse weights that do not average vectors, or products of two irreps' matrix elements, as a group does.

        ∫ g dμ is a projector; so is X ↦ ∫ D^α X D^αᵀ dμ, on the t_α matrices that commute with D^α; and by Schur's
        lemma ∫ D^α_ij D^β_kl dμ = 0 for two that differ.
        """
        mean = np.einsum("n,nij->ij", self.weights, self.elements)
        wrong = [np.abs(mean @ mean - mean).max() / max(1.0, float(np.square(self.elements).max()))]
        for place, one in enumerate(self.matrices):
            squares = np.einsum("n,nij,nkl->ikjl", self.weights, one, one).reshape(2 * (one.shape[-1] ** 2,))
            wrong.append(np.abs(squares @ squares - squares).max())
            for other in self.matrices[:place]:
                wrong.append(np.abs(np.einsum("n,nij,nkl->ijkl", self.weights, one, other)).max())
        if not max(wrong) < EXACT:
            raise SpectrumError(
                f"weights of {self.name} do not average as a group does; expected those of a rule of it, for which "
                "∫ g dμ is a projector and the matrix elements of the irreps are orthogonal, or none for a finite "
                "group, whose elements weigh alike"
            )

    def _commuting(self, which: str, place: int) -> int:
        """Return t of an irrep, by the orthogonality of characters."""
        matrices = self.matrices[place]
        if not np.abs(np.swapaxes(matrices, 1, 2) @ matrices - np.eye(matrices.shape[-1])).max() < EXACT:
            raise SpectrumError(f"irrep {which!r} of {self.name} has matrices that are not orthogonal")
        characters = [np.trace(other, axis1=1, axis2=2) for other in self.matrices[: place + 1]]
        *others, own = [float(self.weights @ (character * characters[-1])) for character in characters]
        if place == 0 and np.abs(characters[0] - 1).max() > EXACT:
            raise SpectrumError(f"irrep {which!r} of {self.name} comes first; expected the invariant one, all 1")
        # ∫ χ(g²) dμ is 1, 0 and −2 for irreps of the three types, and tells them from sums of several.
        squares = float(self.weights @ np.einsum("nab,nba->n", matrices, matrices))
        is_one = min(abs(own - size) for size in (1, 2, 4)) < EXACT and abs(own + squares - 2) < EXACT
        if not is_one or any(abs(other) > EXACT for other in others):
            raise SpectrumError(
                f"irrep {which!r} of {self.name} is reducible, or holds one of those before it: ∫ χ² dμ is {own:.6g} "
                f"and ∫ χ(g²) dμ {squares:.6g}; expected 1 and 1, 2 and 0, or 4 and −2, and orthogonal characters"
            )
        return round(own)

    def __repr__(self) -> str:
        return f"{self.name}({len(self.elements)} elements)"


@checked(SpectrumError, l_max=at_least(0))
@dataclass(frozen=True, eq=False)
class FiniteRule(Nodes):
    """All elements of a :class:`FiniteGroup`, as a rule.

    Parameters
    ----------
    group
        The group.
    l_max
        What was asked for; the rule is exact in any case.
    """

    group: FiniteGroup
    l_max: int

    axis: ClassVar[None] = None
    degree: ClassVar[None] = None
    ring_size: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.group.elements)

    @property
    def rotations(self) -> Array:
        """(n, d, d) elements."""
        return self.group.elements

    @property
    def weights(self) -> Array:
        """(n,) weights, summing to one."""
        return self.group.weights

    @property
    def irreps(self) -> Sequence[tuple[Irrep, Array]]:
        """Every irrep with its matrices (n, d, d)."""
        return list(zip(self.group.irreps(self.l_max), self.group.matrices, strict=True))


def _square(which: str, given: ArrayLike, n: int) -> Array:
    """Return matrices (n, d, d) of an irrep, also of one that is given by signs (n,)."""
    matrices = _real(f"matrices of the irrep {which!r}", given)
    matrices = matrices[:, None, None] if matrices.ndim == 1 else matrices
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or len(matrices) != n:
        raise SpectrumError(f"irrep {which!r} has shape {matrices.shape}; expected ({n}, d, d), or ({n},) signs")
    return matrices


def _real(what: str, given: ArrayLike) -> Array:
    """Return an array of real numbers, or refuse what is none."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError):  # lists of several lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        held = "complex numbers" if array.dtype.kind == "c" else shorten(given)
        raise SpectrumError(f"{what} are {held}; expected one array of real numbers")
    return array.astype(float)
