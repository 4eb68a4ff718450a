"""Four-momenta in the forms that files have them, and as quantities of expressions, ``_p4_from_ptetaphim(…).px``.

The functions are those of weaver-core, with its names; a four-momentum that an expression holds is (n, 4) Cartesian
components, which may be added, subtracted and chosen, and whose parts are numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.mapping.functions import Function
from jetsym.jets.io.mapping.quantities import Quantity, apply, numeric

__all__ = ["FOUR_MOMENTA", "PARTS", "cartesian", "part", "refuse_space_like"]

#: Ratios of units of energy, such as of GeV and MeV.
UNITS = (1e3, 1e6)


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


def refuse_space_like(whose: str, momenta: Sequence[NDArray[Any]], said: str) -> None:
    """Refuse (E, px, py, pz) of which nearly all have E < |p|, where it can be told which of them stand for others.

    Some of measured energies and momenta may, and E = |p| is rounded to less; 1 % is let pass. A thousand tell. Made-up
    numbers, of which none can be the energy, are read as they are said.

    Parameters
    ----------
    whose
        The file, and what the momenta are of.
    momenta
        Four arrays (n,).
    said
        What gives them: a mapping, or an array.

    Raises
    ------
    DataError
        If nine in ten of twenty or more are, and another of the four can be the energy, or the energy is |p| in another
        unit; the message says which.

    Examples
    --------
    >>> px, e = np.full(30, 3.0), np.full(30, 5.0)
    >>> refuse_space_like("a.root: particles", [2 * e, px, px, px], "map.yaml")
    >>> refuse_space_like("a.root: particles", [px, 2 * e, px, px], "map.yaml")
    Traceback (most recent call last):
    jetsym.errors.DataError: a.root: particles have E < |p| in 30 of 30 that were looked at, as no momenta have; look \
at what map.yaml gives as energy, px, py and pz, and at their units; what it gives as px may be the energy
    """
    few = [one[:: max(1, len(one) // 1000)].astype(np.float64) for one in momenta]

    def space_like(place: int) -> int:
        with np.errstate(all="ignore"):
            p = np.sqrt(sum(one**2 for number, one in enumerate(few) if number != place))
            return int(np.count_nonzero(few[place] < 0.99 * p))

    found, number = space_like(0), len(few[0])
    if number < 20 or 10 * found < 9 * number:
        return
    with np.errstate(all="ignore"):
        ratio = float(np.median(np.sqrt(sum(one**2 for one in few[1:])) / few[0]))
    others = [name for place, name in enumerate(("px", "py", "pz"), 1) if not space_like(place)]
    if others:
        reason = f"what it gives as {others[0]} may be the energy"
    elif any(unit / 2 < ratio < 1.1 * unit for unit in UNITS):
        reason = f"|p| is {ratio:.3g} times the energy, as in another unit"
    else:
        return
    raise DataError(
        f"{whose} have E < |p| in {found} of {number} that were looked at, as no momenta have; look at what "
        f"{said} gives as energy, px, py and pz, and at their units; {reason}"
    )


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
