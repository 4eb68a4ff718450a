"""Names of irreducible representations, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jetsym.arguments import among, at_least, checked
from jetsym.errors import SpectrumError, shorten

__all__ = ["Irrep", "NamedIrrep", "parse_irreps", "read_irrep"]


#: One term of irreps as e3nn writes them: how many, λ, and the parity, even or odd.
TERM = re.compile(r"(?:(\d+)x)?(\d+)([eo])")


@checked(SpectrumError, lam=at_least(0), sigma=among(-1, 0, 1))
class Irrep(NamedTuple):
    """An irreducible representation: (λ, σ) of O(3), λ of SO(3), or the mode m of SO(2).

    ``sigma`` is +1 for true tensors, −1 for pseudotensors, and None for SO(3), which has no inversion. Under the
    inversion an irrep of O(3) has the parity p = σ(−1)^λ. A mode of SO(2) has ``lam`` = m and ``sigma`` = 0: it is the
    real irrep that holds e^{imφ} and e^{−imφ} together, of dimension 2 for m > 0.

    Examples
    --------
    >>> str(Irrep(1, 1)), str(Irrep(2)), Irrep(2, -1).dimension, Irrep(1, -1).parity
    ('(1,+)', '(2)', 5, 1)
    >>> str(Irrep(3, 0)), Irrep(3, 0).dimension
    ('m=3', 2)
    """

    lam: int
    sigma: int | None = None

    @property
    def dimension(self) -> int:
        """Dimension of the representation over the real numbers."""
        if self.is_mode:
            return 2 if self.lam else 1
        return 2 * self.lam + 1

    @property
    def factor(self) -> float:
        """The c in B = c ‖∫ D(g) u(g) dμ‖²: the dimension over that of the matrices that commute with D.

        These are the multiples of 1 for an irrep that stays whole over the complex numbers, and two- or
        four-dimensional for one that falls apart there, as the modes m > 0 do.
        """
        return 1.0 if self.is_mode else float(self.dimension)

    @property
    def is_mode(self) -> bool:
        """Whether this is a mode m of SO(2)."""
        return self.sigma == 0

    @property
    def is_named(self) -> bool:
        """Whether this is an irrep of a group given by its elements, which has a name in place of λ."""
        return False

    @property
    def order(self) -> str:
        """The λ or m that irreps of either parity have in common, in words: "λ = 4"; a named irrep is its own."""
        return f"{'m' if self.is_mode else 'λ'} = {self.lam}"

    @property
    def parity(self) -> int | None:
        """Sign under the inversion, σ(−1)^λ; None where the group has no inversion."""
        return self.sigma * (-1) ** self.lam if self.sigma else None

    def to_list(self) -> list[Any]:
        """Return what :func:`read_irrep` makes an irrep of, for JSON."""
        return list(self)

    def __str__(self) -> str:
        if self.is_mode:
            return f"m={self.lam}"
        sign = {None: "", 1: ",+", -1: ",−"}[self.sigma]
        return f"({self.lam}{sign})"


@checked(SpectrumError, lam=at_least(0), size=at_least(1), commuting=among(1, 2, 4))
class NamedIrrep(Irrep):
    """A real irrep of a group given by its elements: ``lam`` is its place in the table of the group.

    Parameters
    ----------
    lam
        Its place; 0 is the invariant one.
    name
        As the tables of the group call it, such as "E".
    size
        Its dimension over the real numbers.
    commuting
        The dimension of the matrices that commute with it: 1, 2 or 4.

    Examples
    --------
    >>> turning = NamedIrrep(2, "E", 2, 2)
    >>> str(turning), turning.dimension, turning.factor, turning == read_irrep(turning.to_list())
    ('E', 2, 1.0, True)
    """

    def __new__(cls, lam: int, name: str, size: int, commuting: int) -> NamedIrrep:
        """Return an irrep of its own name."""
        made = super().__new__(cls, lam, None)
        made._table = (name, size, commuting)
        return made

    _table: tuple[str, int, int]

    @property
    def dimension(self) -> int:
        """Dimension of the representation over the real numbers."""
        return self._table[1]

    @property
    def factor(self) -> float:
        """The dimension over that of the matrices that commute with D."""
        return self._table[1] / self._table[2]

    @property
    def is_named(self) -> bool:
        """Whether this is an irrep of a group given by its elements."""
        return True

    @property
    def order(self) -> str:
        """Its name: there is no λ."""
        return str(self)

    def to_list(self) -> list[Any]:
        """Return what :func:`read_irrep` makes an irrep of, for JSON."""
        return [self.lam, *self._table]

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copies
        return tuple(self.to_list())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedIrrep) and self.to_list() == other.to_list()

    def __ne__(self, other: object) -> bool:  # or that of tuples would be taken
        return not self == other

    def __hash__(self) -> int:
        return hash(self.__getnewargs__())

    def __repr__(self) -> str:
        return f"NamedIrrep{self.__getnewargs__()}"

    def __str__(self) -> str:
        return self._table[0]


@checked(SpectrumError)
def read_irrep(values: Sequence[Any]) -> Irrep:
    """Return the irrep that a list tells, as reports hold it: (λ, σ), or place, name and dimensions of a named one.

    Raises
    ------
    SpectrumError
        It tells none.
    """
    whole = [isinstance(one, int) and not isinstance(one, bool) for one in values]
    if whole[:1] == [True] and values[0] >= 0:
        if len(values) == 2 and (values[1] is None or (whole[1] and values[1] in (-1, 0, 1))):
            return Irrep(*values)
        if len(values) == 4 and isinstance(values[1], str) and all(whole[2:]) and min(values[2:]) > 0:
            return NamedIrrep(*values)
    raise SpectrumError(f"values is {shorten(values)}, which is no irrep; expected (λ, σ), or place, name and sizes")


def parse_irreps(text: str) -> tuple[tuple[int, Irrep], ...] | None:
    """Read irreps as e3nn writes them, "8x0e+8x1o": how many of each, λ, and the parity, even or odd.

    Returns
    -------
    Numbers and irreps in their order, those of none left out; None where the text is something else. The parity is
    p = σ(−1)^λ.

    Examples
    --------
    >>> [(n, str(irrep)) for n, irrep in parse_irreps("8x0e + 1o + 2x1e")]
    [(8, '(0,+)'), (1, '(1,+)'), (2, '(1,−)')]
    """
    found = [TERM.fullmatch(term.strip()) for term in text.split("+")]
    terms = [term.groups() for term in found if term is not None]
    if len(terms) < len(found):
        return None
    parsed = [(int(n or 1), Irrep(int(lam), (1 if p == "e" else -1) * (-1) ** int(lam))) for n, lam, p in terms]
    return tuple((n, irrep) for n, irrep in parsed if n) or None
