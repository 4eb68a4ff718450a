"""Reports whose numbers are arrays over layers: how they are kept, and refused where they do not fit each other."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from jetsym.forms import expect_facts
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.results import Result
from jetsym.symmetry import Symmetry

__all__ = ["LayerReport", "expect_meta"]


#: Above this no square is a number.
_LARGEST = 1e150

#: Facts that all measurements of layers and outputs say.
_NEEDED = ("device", "dtype", "group", "model", "n_inputs", "notes", "seconds")


def expect_meta(meta: Mapping[str, Any], *, needed: Collection[str] = _NEEDED) -> None:
    """Refuse what are no facts of a measurement, or where some are missing: KeyError, TypeError or ValueError."""
    if not isinstance(meta["group"], str):
        raise TypeError(f"the group is {meta['group']!r}")
    expect_facts(meta, needed=needed)
    Symmetry.from_dict(meta)
    for name in {"n_inputs", *({"n_rotations", "seed"} & set(meta))}:
        operator.index(meta[name])


class LayerReport(Result):
    """A dataclass of names, arrays over them, errors of outputs, and the facts of a measurement.

    Its fields are ``layers`` and other names, the arrays, ``irreps``, ``equivariance``, ``meta`` and ``baseline``, as
    far as it has them.
    """

    layers: tuple[str, ...]
    meta: Mapping[str, Any]

    #: Array -> its axes; one that has the name of a field has the length of that field.
    ARRAYS: ClassVar[Mapping[str, tuple[str, ...]]]
    #: Facts that it says besides those that all say.
    MORE_FACTS: ClassVar[tuple[str, ...]] = ()

    @property
    def hidden(self) -> list[str]:
        """Layers that are no outputs, neither such as have a law nor others."""
        outputs = {*self.outputs, *self.meta.get("without_law", ())}
        return [layer for layer in self.layers if layer not in outputs]

    @property
    def outputs(self) -> dict[str, Equivariance]:
        """Errors of the outputs, without those of layers whose law is known (``meta["laws"]``)."""
        laws, errors = self.meta.get("laws", {}), getattr(self, "equivariance", {})
        return {name: item for name, item in errors.items() if name not in laws}

    def _heading(self) -> str:
        return f"Symmetry of {self.meta['model']}"

    def _check(self) -> None:
        expect_meta(self.meta, needed=(*_NEEDED, *self.MORE_FACTS))
        self._check_shapes()
        for item in getattr(self, "equivariance", {}).values():
            if not (math.isnan(item.noise_floor) or 0 <= item.noise_floor < _LARGEST):
                raise ValueError(f"a noise floor is {item.noise_floor}")
            if item.error_spectrum.keys() != item.error_spectrum_stderr.keys():
                raise ValueError("an error spectrum and its errors are of other irreps")

    def _check_shapes(self) -> None:
        """Refuse arrays that are empty, or do not have the lengths of their names and of each other."""
        named = {axis for axes in self.ARRAYS.values() for axis in axes} & {*self._fields()}
        lengths = {axis: len(getattr(self, axis)) for axis in named}
        for name, axes in self.ARRAYS.items():
            shape = getattr(self, name).shape
            expected = tuple(lengths.setdefault(axis, size) for axis, size in zip(axes, shape, strict=False))
            if len(shape) != len(axes) or shape != expected or 0 in shape:
                raise ValueError(f"{name} has shape {shape}; expected lengths above 0 of {', '.join(axes)}: {lengths}")
