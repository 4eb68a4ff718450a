"""Laws of layers: the irreps that their features are said to be, in whatever layout, and whether they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch import nn

from jetsym.errors import ProbeError, closest
from jetsym.probing.forward.dry import INPUTS
from jetsym.probing.forward.layers import Layered, match_layers
from jetsym.probing.forward.session import Session
from jetsym.spectrum.irreps import Irrep, parse_irreps
from jetsym.spectrum.matrices import irrep_matrices
from jetsym.spectrum.representations import representation, write_irreps
from jetsym.spectrum.responses import to_numpy

__all__ = ["Law", "settle_laws"]

#: The attribute in which modules of e3nn, and of what is built on it, say what their features are.
DECLARED = "irreps_out"
#: And what those are that they take, where they hand on a dictionary.
TAKEN = "irreps_in"
#: How features stand: (…, Σ n d), an irrep after the other; (…, n, Σ d), where there are n of each; and (…, Σ d, n).
FLAT, COPIES_FIRST, COPIES_LAST = "one irrep after the other", "copies first", "copies last"
#: What a law that is read may miss, as a fraction of the power of one irrep, and of what power it is looked for.
BELIEVED, SEEN = 0.01, 1e-12


@dataclass(frozen=True)
class Law:
    """The law of a layer's features.

    Parameters
    ----------
    irreps
        How many of each irrep, in their order.
    layout
        How they stand along the last axes.

    Examples
    --------
    >>> law = Law.fitting("4x0e+2x1o", (7, 10))
    >>> law.kind, law.arranged(np.zeros((7, 10))).shape
    ('2x0e+1x1o', (7, 2, 5))
    """

    irreps: tuple[tuple[int, Irrep], ...]
    layout: str = FLAT

    @classmethod
    def fitting(cls, text: str, shape: Sequence[int]) -> Self | None:
        """Return the law of features of a shape (inputs, …), or None where a text is no irreps that fit in one way."""
        if (irreps := parse_irreps(text)) is None:
            return None
        numbers, d = {n for n, _ in irreps}, sum(irrep.dimension for _, irrep in irreps)
        fits = [FLAT] if len(shape) > 1 and shape[-1] == sum(n * irrep.dimension for n, irrep in irreps) else []
        if len(numbers) == 1 and len(shape) > 2 and not fits:
            pair = (numbers.pop(), d)
            fits = [COPIES_FIRST] if tuple(shape[-2:]) == pair else []
            fits += [COPIES_LAST] if tuple(shape[-2:]) == pair[::-1] else []
        return cls(tuple(irreps), fits[0]) if len(fits) == 1 else None

    @property
    def name(self) -> str:
        """The irreps as e3nn writes them."""
        return write_irreps(self.irreps)

    @property
    def lam(self) -> int:
        """Largest λ."""
        return max(irrep.lam for _, irrep in self.irreps)

    @cached_property
    def _together(self) -> int:
        """How many objects features fall into that each have the same irreps."""
        return gcd(*(n for n, _ in self.irreps))

    @property
    def kind(self) -> str:
        """The irreps of one of these objects, as a kind of output."""
        if self.layout != FLAT:
            return write_irreps([(1, irrep) for _, irrep in self.irreps])
        return write_irreps([(n // self._together, irrep) for n, irrep in self.irreps])

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """(objects, dim) where the components of each object stand among flat features."""
        at, parts = 0, list[NDArray[np.int64]]()
        for n, irrep in self.irreps:
            parts.append(np.arange(at, at + n * irrep.dimension).reshape(self._together, -1))
            at += n * irrep.dimension
        return np.concatenate(parts, axis=1)

    def arranged(self, array: Any) -> Any:
        """Return features as (…, objects, dim), objects of the kind."""
        xp = array_namespace(array)
        if self.layout == FLAT:
            places = xp.asarray(self._places.ravel(), device=getattr(array, "device", None))
            return xp.reshape(xp.take(array, places, axis=-1), (*array.shape[:-1], *self._places.shape))
        return array if self.layout == COPIES_FIRST else xp.permute_dims(array, (*range(array.ndim - 2), -1, -2))


def settle_laws(session: Session, inputs: Any, elements: NDArray[np.float64], *, l_max: int) -> Iterator[str]:
    """Find out which layers have a law, as a caller says or as their modules do, and yield what a reader must know.

    What a module says is believed where it fits: where the shape of what it returned is that of those irreps, and what
    it returned turns as they do, roughly, along a few elements. How well is then measured.

    Parameters
    ----------
    session
        An open session, of which it is settled where responses have inputs and tokens.
    inputs, elements
        All inputs, and a few elements of the group (n, 3, 3).
    l_max
        Of the spectra: laws of a larger λ are not resolved.

    Raises
    ------
    ProbeError
        What the caller says does not fit.
    """
    session.laws.clear()
    few = session.domain.select(inputs, slice(0, min(INPUTS, session.domain.batches(inputs)[0].stop)))
    known = session.said or _of_model(session.model)
    if not known and not any(_declared(each) for each in session.modules.values()):
        return
    along = session.along(few, elements)
    layers = {name: to_numpy(array) for name, array in along.items() if name not in session.outputs}
    said = _said(session, layers)
    read = {name: law for name, array in layers.items() if name not in said if (law := _read(session, name, array))}
    wrong = []
    for name, law in {**said, **read}.items():
        if law.lam > l_max:
            yield f"{name!r} is said to be {law.name}, with λ up to {law.lam}: its law takes l_max of at least that."
        elif name in said or _holds(law, layers[name], elements):
            session.laws[name] = law
        else:
            wrong.append(f"{name!r} ({law.name})")
    unread = [
        f"{name!r} ({words})"
        for name, array in layers.items()
        if name not in {**said, **read} and (words := _own(session, name)) and array.ndim > 1
    ]
    if unread:
        yield f"Not read, as they fit what was returned in no way, or in two: the irreps of {', '.join(unread)}."
    if wrong:
        yield f"Not believed, as what they returned does not turn so: the irreps of {', '.join(wrong)}."


def _said(session: Session, layers: Mapping[str, NDArray[Any]]) -> dict[str, Law]:
    """Return the laws that the caller says."""
    found: dict[str, Law] = {}
    for pattern, kind in session.said.items():
        meant = [name for name in match_layers(pattern, list(layers)) if name not in found]
        if not meant:
            raise ProbeError(
                f"layers says {pattern!r} is {kind!r}, but no such layer was read; {closest(pattern, layers)}"
            )
        for name in meant:
            shape = layers[name].shape[1:]
            law = Law.fitting(kind, shape)
            if law is None:
                raise ProbeError(
                    f"layers says {name!r} is {kind!r}, but it is of shape {shape[1:]}; expected irreps such as "
                    "'8x0e+8x1o', with features (…, Σ n d), (…, n, Σ d) or (…, Σ d, n)"
                )
            found[name] = law
    return found


def _module_of(session: Session, name: str) -> tuple[str, str]:
    """Return the module that returned a layer, "" where there is none, and which entry of what it returned it is."""
    called = name.partition("@")[0]
    own = max(
        (each for each in session.modules if called == each or called.startswith(f"{each}.")), key=len, default=""
    )
    return own, called.removeprefix(own).lstrip(".")


def _own(session: Session, name: str) -> str:
    """Return what the very module of a layer says of it."""
    own, key = _module_of(session, name)
    said = getattr(session.modules[own], DECLARED, None) if own else None
    return str(said.get(key, "") if isinstance(said, Mapping) else said or "")


def _read(session: Session, name: str, array: NDArray[Any]) -> Law | None:
    """Return the law that the module of a layer says, or the last one within it that says something that fits."""
    own, key = _module_of(session, name)
    if not own:
        return None
    known = [irreps for pattern, irreps in _of_model(session.model).items() if match_layers(pattern, [own])]
    for text in [*reversed(_declared(session.modules[own], key)), *known]:
        if (law := Law.fitting(text, array.shape[1:])) is not None:
            return law
    return None


def _of_model(model: Any) -> Mapping[str, str]:
    """Return pattern of layers -> irreps, as a model that knows its layers says; what else has the name is its own."""
    said = getattr(model, "irreps", None) if isinstance(model, Layered) else None
    return said if isinstance(said, Mapping) else {}


def _declared(module: nn.Module, key: str = "") -> list[str]:
    """Return what a module says that it returns, after what the modules within it say, in their order."""
    found = []
    for each in [*list(module.modules())[1:], module]:
        said = getattr(each, DECLARED, None)
        if isinstance(said, Mapping):  # one for each entry of a dictionary, also of those that it hands on
            given = getattr(each, TAKEN, {})
            said = [said.get(key)] if key else [each for entry, each in said.items() if each != given.get(entry)]
        found += [str(text) for text in (said if isinstance(said, list) else [said]) if text is not None]
    return found


def _holds(law: Law, along: NDArray[Any], elements: NDArray[np.float64]) -> bool:
    """Tell whether every irrep of a law turns as it should, roughly, along elements (n, …)."""
    rho, values = representation(law.kind), law.arranged(along)
    components = rho.to_blocks(values.reshape(len(values), -1, values.shape[-1]).astype(np.float64))
    total = (components**2).sum()
    parts: dict[Irrep, list[float]] = {}
    for irrep, place in zip(rho.blocks, rho.slices, strict=True):
        z = components[..., place] @ irrep_matrices(irrep, elements)
        error, power = ((z - z.mean(axis=0)) ** 2).sum(), (z**2).sum()
        sums = parts.setdefault(irrep, [0.0, 0.0])
        sums[0], sums[1] = sums[0] + error, sums[1] + power
    return all(error <= max(BELIEVED * power, SEEN * total) for error, power in parts.values())
