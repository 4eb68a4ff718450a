"""How a group moves an array: what its columns are, in which order, and along which axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device as device_of
from numpy.typing import NDArray

from jetsym.arguments import checked
from jetsym.errors import ProbeError, SpectrumError, shorten
from jetsym.spectrum.representations import NAMED, Kind, Representation, representation
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = ["HELD_FIXED", "Move", "as_move", "is_floating", "likely_order", "moves"]

#: What stays as it is.
HELD_FIXED = "scalar"
#: Kind -> its components, in the order in which they are multiplied with matrices.
COMPONENTS = {"vector": "x y z", "pseudovector": "x y z", "four-vector": "e x y z"}
#: Other words for them.
WORDS = {"energy": "e", "t": "e", "px": "x", "py": "y", "pz": "z"}
#: Columns that change as momenta move, and have no law of their own.
DERIVED = {"pt", "eta", "phi", "theta", "rapidity", "deta", "dphi", "dr"}
#: Place of the energy -> order; what rounding may take from it; and the share of momenta that are many.
ORDERS = {3: "px py pz e", 1: "px e py pz", 2: "px py e pz"}
ROUNDED, MANY = 1e-3, 0.1
#: A column without a name that stays.
NAMELESS = "_"


@dataclass(frozen=True)
class Move:
    """The way in which a group moves an array; made by :func:`moves`.

    Parameters
    ----------
    kind, order, axis
        As for :func:`moves`.

    Raises
    ------
    ProbeError
        There is no such kind, or the order or the axis does not go with it.
    """

    kind: Kind
    order: str | None = None
    axis: int | None = None

    def __post_init__(self) -> None:
        own = COMPONENTS.get(self.kind) if isinstance(self.kind, str) else None
        shape = self._representation.shape
        if self.axis is not None and (isinstance(self.axis, bool) or not isinstance(self.axis, int)):
            raise ProbeError(f"axis is {self.axis!r}; expected the number of an axis")
        if self.axis is not None and len(shape) != 1:
            raise ProbeError(
                f"axis={self.axis} does not go with {self.kind!r}, which has {len(shape)} axes; leave it out"
            )
        if self.order is None:
            return
        if own is None:
            raise ProbeError(f"order={self.order!r} goes with {', '.join(map(repr, COMPONENTS))}, not {self.kind!r}")
        if not isinstance(self.order, str) or sorted(c for c in self.columns if c in own.split()) != sorted(
            own.split()
        ):
            raise ProbeError(
                f"order is {self.order!r}; expected every component of a {self.kind} once, such as {_example(own)!r}, "
                f"and names, or {NAMELESS!r}, for columns that stay"
            )
        if derived := DERIVED & set(self.columns):
            raise ProbeError(
                f"order={self.order!r} holds {min(derived)!r}, which changes as the components move; compute it from "
                "them, with call=…"
            )

    @property
    def _representation(self) -> Representation:
        try:
            found = representation(self.kind)
        except SpectrumError as error:
            raise ProbeError(f"moves: {str(error).replace('an output', 'an input')}") from error
        if self.kind == "logits" or callable(self.kind):
            raise ProbeError(f"moves: an input is said to be {self.kind!r}; expected a kind such as 'vector'")
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns along the axis; those of components are the words for them here."""
        given = COMPONENTS[str(self.kind)] if self.order is None else self.order
        words = given.replace(",", " ").split() if isinstance(given, str) else []
        return tuple(WORDS.get(word.lower(), word.lower() if word.lower() in "exyz" else word) for word in words)

    @property
    def moves(self) -> bool:
        """Whether the group changes anything."""
        return self.kind != HELD_FIXED

    def __str__(self) -> str:
        if not self.moves:
            return "held fixed"
        more = [f"({self.order})"] if self.order else ["(E, px, py, pz)"] if self.kind == "four-vector" else []
        return " ".join([str(self._representation.name), *more, *([f"along axis {self.axis}"] if self.axis else [])])

    # --- an array (samples, …) ---

    def axes(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of an array that hold the components."""
        own = len(self._representation.shape)
        return tuple(range(ndim - own, ndim)) if self.axis is None else (self.axis % ndim,)

    def check(self, array: Any, name: str, *, leading: int = 1) -> None:
        """Refuse an array that is no such thing; ``leading`` axes are those of the samples."""
        shape, rho = tuple(array.shape), self._representation
        said = f"the input {name} of shape {shape} is said to move as {self}"
        if not self.moves:
            return
        if not is_floating(array):
            raise ProbeError(f"{said}, but has dtype {array.dtype}; expected one of {', '.join(EPS)}: convert it first")
        if self.axis is not None and not -len(shape) + leading <= self.axis < len(shape):
            raise ProbeError(f"{said}, but has no such axis; expected one of {leading} to {len(shape) - 1}")
        if self.axis is not None and self.axes(len(shape))[0] < leading:
            raise ProbeError(f"{said}, but its samples are along this axis; name another one")
        sizes = (len(self.columns),) if self.order is not None else rho.shape
        if len(shape) < leading + len(sizes) or tuple(shape[axis] for axis in self.axes(len(shape))) != sizes:
            raise ProbeError(
                f"{said}, which needs {' × '.join(map(str, sizes))} numbers along the last axes, or along another one "
                "with jetsym.moves(…, axis=…)"
            )

    def components(self, array: Any) -> Any:
        """Return the components of vectors (samples, …, 3), or four-vectors (E, px, py, pz), along the last axis."""
        xp, columns = array_namespace(array), list(self.columns)
        last = xp.moveaxis(array, self.axes(array.ndim)[0], -1)
        return _taken(last, [columns.index(component) for component in COMPONENTS[str(self.kind)].split()])

    def moved(self, array: Any, matrices: Any, *, others: float = 1.0) -> Any:
        """Move (samples, …) by n matrices, or by n of each sample's own, to (n · samples, …).

        Parameters
        ----------
        array
            Of any library.
        matrices
            Of O(3), (n, 3, 3) or (n, samples, 3, 3), or of four-vectors, (n, 4, 4) or (n, samples, 4, 4).
        others
            What columns that do not move are multiplied with: 1, or 0 for the tangents that generators give.
        """
        xp, rho = array_namespace(array), self._representation
        if not self.moves:
            return self.repeated(array, len(matrices))
        if self.kind not in COMPONENTS:
            flat = xp.reshape(array, (*array.shape[: array.ndim - len(rho.shape)], len(rho.basis)))
            return xp.reshape(_times(flat, _on(rho, matrices)), (-1, *array.shape[1:]))
        if matrices.shape[-1] == 4 and self.kind != "four-vector":
            raise ProbeError(f"a {self.kind} has no law under Lorentz transformations; expected four-vectors")
        own = "e x y z" if matrices.shape[-1] == 4 else "x y z"
        elements = _on(rho, matrices) if self.kind == "pseudovector" else matrices
        return self.changed(array, own, lambda components: _times(components, elements), others=others)

    def changed(self, array: Any, own: str, change: Callable[[Any], Any], *, others: float = 1.0) -> Any:
        """Change some components of (samples, …), by ``change`` from (samples, …, k) to (n, samples, …, k).

        Parameters
        ----------
        array
            Of any library.
        own
            The components, such as "e x y z".
        change
            What is done to them, along the last axis.
        others
            What columns that do not move are multiplied with.
        """
        xp = array_namespace(array)
        axis = self.axes(array.ndim)[0]
        last = array if axis == array.ndim - 1 else xp.moveaxis(array, axis, -1)
        columns = list(self.columns)
        places = [columns.index(component) for component in own.split()]
        left = [place for place in range(len(columns)) if place not in places]
        turned = change(_taken(last, places))
        if left:  # which stay as they are
            kept = _taken(last, left) if others == 1 else others * _taken(last, left)
            both = [xp.broadcast_to(kept, (*turned.shape[:-1], len(left))), turned]
            is_first = left[0] < places[0]
            turned = xp.concat(both if is_first else both[::-1], axis=-1)
            places = [*left, *places] if is_first else [*places, *left]
        turned = _taken(turned, np.argsort(places).tolist())
        turned = xp.reshape(turned, (-1, *turned.shape[2:]))
        return turned if axis == array.ndim - 1 else xp.moveaxis(turned, -1, axis)

    @staticmethod
    def repeated(array: Any, n: int) -> Any:
        """Return (n · samples, …) an array n times."""
        xp = array_namespace(array)
        return xp.reshape(xp.broadcast_to(array[None], (n, *array.shape)), (-1, *array.shape[1:]))


@checked(ProbeError)
def moves(kind: Kind, *, order: str | None = None, axis: int | None = None) -> Move:
    """Say how a group moves an input array, where it is laid out in another way than usual.

    Parameters
    ----------
    kind
        "vector", "pseudovector" or "four-vector", or any kind of an output, such as "rank2" or (λ, σ); "scalar" stays.
    order
        What the columns are, such as "px py pz e"; default "x y z" for vectors, and "e px py pz". Any other name is
        that of a column that stays, "_" of one without a name.
    axis
        The axis of the components in the array as it is given, which the samples are the first axis of; default the
        last.

    Returns
    -------
    A value for ``jetsym.probe(…, moves={name: …})``.

    Raises
    ------
    ProbeError
        There is no such kind, or the order or the axis does not go with it.

    Examples
    --------
    Networks of weaver take (samples, 4, particles), energies last:

    >>> moves("four-vector", order="px py pz e", axis=1)
    Move(kind='four-vector', order='px py pz e', axis=1)
    >>> str(moves("vector", order="x y z charge"))
    'vector (x y z charge)'
    """
    return Move(kind, order, axis)


def as_move(said: Any, name: str) -> Move:
    """Return what a caller says of an input: a kind, :func:`moves` of one, or None for what stays."""
    if isinstance(said, Move):
        return said
    if said is not None and not isinstance(said, str | tuple):
        raise ProbeError(
            f"moves says {shorten(said)} of {name}; expected one of {', '.join(map(repr, NAMED))}, jetsym.moves(…), or "
            "None for what stays"
        )
    return Move(HELD_FIXED if said is None else said)


def likely_order(array: Any) -> str | None:
    """Return the order in which four-vectors (…, 4) are momenta, where many of them are space-like as (E, px, py, pz).

    None too where there is no such order.
    """
    rows = to_numpy(array).astype(np.float64).reshape(-1, 4)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]

    def share(energy: int) -> float:
        size = np.linalg.norm(np.delete(rows, energy, axis=1), axis=1)
        return float((rows[:, energy] >= (1 - ROUNDED) * size).mean())

    if not len(rows) or share(0) > 1 - MANY:
        return None
    return next((order for energy, order in ORDERS.items() if share(energy) == 1), None)


def is_floating(array: Any) -> bool:
    """Return whether an array holds real floating-point numbers."""
    return str(array.dtype).rpartition(".")[2] in EPS


def _example(own: str) -> str:
    return "px py pz e" if "e" in own else own


def _taken(array: Any, places: Sequence[int]) -> Any:
    """Return some columns of the last axis, which is cheap where they are all or the last ones in order."""
    first, n = int(places[0]), len(places)
    if list(places) == list(range(first, first + n)):
        return array if n == array.shape[-1] else array[..., first : first + n]
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(np.asarray(places, dtype=np.int64), device=device_of(array)), axis=-1)


def _on(rho: Representation, matrices: Any) -> NDArray[np.float64]:
    return rho.matrices(np.asarray(matrices, dtype=np.float64))


def _times(array: Any, matrices: Any) -> Any:
    """Multiply (samples, …, d) with matrices (n, d, d) or (n, samples, d, d), to (n, samples, …, d)."""
    xp = array_namespace(array)
    g = xp.asarray(matrices, dtype=array.dtype, device=device_of(array))
    own = () if g.ndim == 4 else (1,)
    g = xp.reshape(g, (*g.shape[:-2], *own, *[1] * (array.ndim - 2), *g.shape[-2:]))
    return xp.matmul(g, array[..., None])[..., 0]
