"""Four-momenta in the forms that files have them, and as quantities of expressions, ``_p4_from_ptetaphim(…).px``.

The functions are those of weaver-core, with its names; a four-momentum that an expression holds is (n, 4) Cartesian
components, which may be added, subtracted and chosen, and whose parts are numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.functions import Function
from jetsym.jets.io.mapping.quantities import Quantity, apply, numeric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FOUR_MOMENTA", "PARTS", "cartesian", "part"]


def cartesian(parts: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return (E, px, py, pz) of n momenta, from any of the forms that they have; what is stored so is taken over.

    Examples
    --------
    >>> parts = {"pt": np.array([3.0]), "eta": np.array([0.0]), "phi": np.array([0.0]), "mass": np.array([4.0])}
    >>> [values.item() for values in cartesian(parts)]
    [5.0, 3.0, 0.0, 0.0]
    >>> parts["rapidity"] = parts.pop("eta") + np.arctanh(12 / 13)
    >>> [round(values.item(), 12) for values in cartesian(parts)]
    [13.0, 3.0, 0.0, 12.0]
    """
    if "px" in parts and "energy" in parts:
        return [parts[name] for name in ("energy", "px", "py", "pz")]
    with np.errstate(all="ignore"):  # what is not finite is found and counted later
        wide = {name: one.astype(np.float64) for name, one in parts.items()}
        if "px" in parts:
            px, py, pz = (parts[name] for name in ("px", "py", "pz"))
        else:
            px, py = wide["pt"] * np.cos(wide["phi"]), wide["pt"] * np.sin(wide["phi"])
        if "rapidity" in parts:  # E = mT cosh y and pz = mT sinh y, with mT² = m² + pT²
            if "energy" in parts:
                return [parts["energy"], px, py, wide["energy"] * np.tanh(wide["rapidity"])]
            transverse = np.hypot(wide["mass"], wide["pt"])
            return [transverse * np.cosh(wide["rapidity"]), px, py, transverse * np.sinh(wide["rapidity"])]
        if "eta" in parts:
            pz = wide["pt"] * np.sinh(wide["eta"])
        if "energy" in parts:
            return [parts["energy"], px, py, pz]
        squares = [one.astype(np.float64) ** 2 for one in (wide["mass"], px, py, pz)]
        return [np.sqrt(np.sum(squares, axis=0)), px, py, pz]


def _four_momentum(*names: str) -> Function:
    """Make a function of four numbers of these names."""

    def join(*values: NDArray[Any]) -> NDArray[np.float64]:
        parts = dict(zip(names, (one.astype(np.float64) for one in np.broadcast_arrays(*values)), strict=True))
        return np.stack(cartesian(parts), axis=-1)

    def compute(what: str, *operands: Quantity) -> Quantity:
        return replace(apply(join, what, *map(numeric, operands)), vectors=True)

    return Function(compute, 4, 4)


#: weaver-core's functions that make four-momenta.
FOUR_MOMENTA: dict[str, Function] = {
    "_p4_from_pxpypze": _four_momentum("px", "py", "pz", "energy"),
    "_p4_from_ptetaphie": _four_momentum("pt", "eta", "phi", "energy"),
    "_p4_from_ptetaphim": _four_momentum("pt", "eta", "phi", "mass"),
}


def _mass(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    square = vectors[..., 0] ** 2 - np.sum(vectors[..., 1:] ** 2, axis=-1)
    return np.asarray(np.copysign(np.sqrt(np.abs(square)), square))


def _pt(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(vectors[..., 1], vectors[..., 2]))


_PARTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    **{name: lambda vectors: vectors[..., 0] for name in ("energy", "E", "e")},
    "px": lambda vectors: vectors[..., 1],
    "py": lambda vectors: vectors[..., 2],
    "pz": lambda vectors: vectors[..., 3],
    "pt": _pt,
    "eta": lambda vectors: np.arcsinh(vectors[..., 3] / _pt(vectors)),
    "phi": lambda vectors: np.arctan2(vectors[..., 2], vectors[..., 1]),
    **dict.fromkeys(("mass", "M", "m"), _mass),
}
#: What can stand behind the point of a four-momentum.
PARTS = tuple(_PARTS)


def part(quantity: Quantity, name: str, what: str) -> Quantity:
    """Return a part of a four-momentum, such as px or mass (negative where E < |p|).

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> two = FOUR_MOMENTA["_p4_from_pxpypze"].compute("p", *(Quantity(np.array([x])) for x in (0.0, 3.0, 4.0, 13.0)))
    >>> [part(two, name, "p").values.item() for name in ("mass", "pt", "pz")]
    [12.0, 3.0, 4.0]
    """
    if not quantity.vectors:
        raise ConfigError(f"{what}: .{name} of what is no four-momentum; _p4_from_ptetaphie(pt, eta, phi, e) makes one")
    return replace(quantity, values=_PARTS[name](quantity.values), vectors=False)
