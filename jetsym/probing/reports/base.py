"""Reports whose numbers are arrays over layers: how they are kept, and refused where they do not fit each other."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

import numpy as np

from jetsym.forms import expect_facts
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.results import Result
from jetsym.spectrum import read_irrep
from jetsym.symmetry import Symmetry

__all__ = ["LayerReport", "read_meta"]


#: Above this no square is a number.
_LARGEST = 1e150

#: Facts that all measurements of layers and outputs say.
_NEEDED = ("device", "dtype", "group", "model", "n_inputs", "notes", "seconds")


def read_meta(meta: Mapping[str, Any], *, needed: Collection[str] = _NEEDED) -> dict[str, Any]:
    """Return the facts of a measurement; KeyError, TypeError or ValueError where they are none, or some are missing."""
    if not isinstance(meta["group"], str):
        raise TypeError(f"the group is {meta['group']!r}")
    expect_facts(meta, needed=needed)
    Symmetry.from_dict(meta)
    for name in {"n_inputs", *({"n_rotations", "seed"} & set(meta))}:
        operator.index(meta[name])
    return dict(meta)


def _read_equivariance(item: Mapping[str, Any]) -> Equivariance:
    found = Equivariance(**item)
    if not (math.isnan(found.noise_floor) or 0 <= found.noise_floor < _LARGEST):
        raise ValueError(f"a noise floor is {found.noise_floor}")
    if found.error_spectrum.keys() != found.error_spectrum_stderr.keys():
        raise ValueError("an error spectrum and its errors are of other irreps")
    return found


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

    def _content(self) -> dict[str, Any]:
        return {name: self._written(name, getattr(self, name)) for name in self._fields()}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        report = cls(**{name: cls._as_read(name, data[name]) for name in cls._fields()})
        report._check_shapes()
        return report

    @classmethod
    def _fields(cls) -> list[str]:
        return [field.name for field in fields(cls)]  # type: ignore[arg-type]  # every report is a dataclass

    @classmethod
    def _written(cls, name: str, value: Any) -> Any:
        if name in cls.ARRAYS:
            return value.tolist()
        if name == "irreps":
            return [irrep.to_list() for irrep in value]
        if name == "equivariance":
            return {output: asdict(item) for output, item in value.items()}
        if name == "baseline":
            return None if value is None else value.to_dict()
        return dict(value) if name == "meta" else list(value)

    @classmethod
    def _as_read(cls, name: str, value: Any) -> Any:
        if name in cls.ARRAYS:
            return np.array(value, dtype=float)
        if name == "irreps":
            return tuple(map(read_irrep, value))
        if name == "equivariance":
            return {output: _read_equivariance(item) for output, item in value.items()}
        if name == "baseline":
            return None if value is None else cls.from_dict(value)
        return read_meta(value, needed=(*_NEEDED, *cls.MORE_FACTS)) if name == "meta" else tuple(value)

    def _check_shapes(self) -> None:
        """Refuse arrays that are empty, or do not have the lengths of their names and of each other."""
        named = {axis for axes in self.ARRAYS.values() for axis in axes} & {*self._fields()}
        lengths = {axis: len(getattr(self, axis)) for axis in named}
        for name, axes in self.ARRAYS.items():
            shape = getattr(self, name).shape
            expected = tuple(lengths.setdefault(axis, size) for axis, size in zip(axes, shape, strict=False))
            if len(shape) != len(axes) or shape != expected or 0 in shape:
                raise ValueError(f"{name} has shape {shape}; expected lengths above 0 of {', '.join(axes)}: {lengths}")
