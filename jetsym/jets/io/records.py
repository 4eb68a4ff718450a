"""Jets as awkward records with vector's behaviour, and back without a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from vector.backends.awkward import behavior

from jetsym.errors import DataError, closest
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.ragged import RaggedJets
from jetsym.jets.schema import CLASSES

__all__ = ["from_records", "to_records"]

#: JetBatch's order of a four-momentum, in vector's names.
_MOMENTUM = ("E", "px", "py", "pz")
_RESERVED = ("jet", "constituents", "label", "inputs")


def to_records(jets: RaggedJets) -> ak.Array:
    """Return jets as records, without a copy of columns: the axis, the particles, the label and the columns.

    Returns
    -------
    awkward.Array
        B records with the fields ``jet`` (vector's Momentum4D with px, py, pz, E in GeV), ``constituents`` (a list of
        Momentum4D that also hold the particle scalars by name), ``label`` (int64; absent for unlabelled jets) and one
        field per column, and ``inputs``, a record of arrays, where there are some. The names of the classes travel as
        the parameter ``classes`` of the label, the form of an input as its parameter ``form``. Vector's behaviour is
        attached to the array; nothing is registered globally.

    Raises
    ------
    DataError
        If a column or a particle scalar has the name of one of these fields.
    """
    _refuse(set(jets.columns) & set(_RESERVED), "column")
    _refuse(set(jets.scalar_names) & set(_MOMENTUM), "particle scalar")
    particles = {name: jets.scalars[:, place] for place, name in enumerate(jets.scalar_names)}
    fields: dict[str, Any] = {
        "jet": _momenta(jets.jet_p4),
        "constituents": ak.contents.ListOffsetArray(ak.index.Index64(jets.offsets), _momenta(jets.p4, particles)),
    }
    if jets.label is not None:
        fields["label"] = ak.contents.NumpyArray(jets.label, parameters={"classes": list(jets.classes)})
    fields |= {name: ak.contents.NumpyArray(column) for name, column in jets.columns.items()}
    if jets.inputs:
        arrays = [
            ak.contents.NumpyArray(one, parameters={"form": asdict(jets.input_forms[name])})
            for name, one in jets.inputs.items()
        ]
        fields["inputs"] = ak.contents.RecordArray(arrays, list(jets.inputs), length=len(jets))
    layout = ak.contents.RecordArray(list(fields.values()), list(fields), length=len(jets))
    return ak.Array(layout, behavior=behavior)


def from_records(jets: ak.Array) -> RaggedJets:
    """Take records apart again, bit for bit.

    Parameters
    ----------
    jets
        Records with the fields that :func:`to_records` describes. Fields of a constituent that are no momentum become
        scalars, fields of a jet that are none of its own become columns; the classes are the label's parameter
        ``classes``, or JetClass's where it has none.

    Returns
    -------
    RaggedJets
        In the floating-point type of the momenta.

    Raises
    ------
    DataError
        If a field is missing, is not numeric, or has missing values.
    """
    _require(jets, ("jet", "constituents"), "jets")
    _require(jets.jet, _MOMENTUM, "jets.jet")
    _require(jets.constituents, _MOMENTUM, "jets.constituents")
    # A list of one layout with offsets from 0, whatever views, indices and options the array went through.
    constituents = ak.to_packed(jets.constituents)
    if constituents.ndim != 2:
        raise DataError(f"jets.constituents is of type {constituents.type}; expected a list of momenta per jet")
    counts = ak.to_numpy(_complete(ak.num(constituents), "jets.constituents"))
    particles = ak.flatten(constituents)
    scalar_names = tuple(name for name in ak.fields(constituents) if name not in _MOMENTUM)
    dtype = _column(particles, "px").dtype
    label, classes = _label(jets)
    forms = {name: _form(jets.inputs[name]) for name in (ak.fields(jets.inputs) if "inputs" in ak.fields(jets) else ())}
    return RaggedJets(
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        p4=_stack(particles, _MOMENTUM, dtype),
        scalars=_stack(particles, scalar_names, dtype),
        jet_p4=_stack(jets.jet, _MOMENTUM, dtype),
        label=label,
        classes=classes,
        scalar_names=scalar_names,
        columns={name: _column(jets, name) for name in ak.fields(jets) if name not in _RESERVED},
        inputs={name: ak.to_numpy(jets.inputs[name]) for name in forms},
        input_forms=forms,
    )


def _momenta(p4: NDArray[Any], others: dict[str, NDArray[Any]] | None = None) -> ak.contents.RecordArray:
    columns = {name: p4[:, place] for place, name in enumerate(_MOMENTUM)} | (others or {})
    contents = [ak.contents.NumpyArray(np.ascontiguousarray(column)) for column in columns.values()]
    return ak.contents.RecordArray(contents, list(columns), length=len(p4), parameters={"__record__": "Momentum4D"})


def _label(jets: ak.Array) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if "label" not in ak.fields(jets):
        return None, CLASSES
    label = _column(jets, "label")
    if label.dtype.kind not in "iu":
        raise DataError(f"jets.label is of type {label.dtype}; expected integers, the place of each jet's class")
    # Selections of records keep their fields behind an index, and parameters with them: pack to see these.
    classes = tuple(ak.parameters(ak.to_packed(jets.label)).get("classes", CLASSES))
    if len(label) and not 0 <= label.min() <= label.max() < len(classes):
        raise DataError(
            f"jets.label goes from {label.min()} to {label.max()}; expected 0 to {len(classes) - 1} for the "
            f"{len(classes)} classes from {classes[0]} to {classes[-1]}; give it the parameter 'classes'"
        )
    return label.astype(np.int64), classes


def _form(array: ak.Array) -> InputForm:
    said = ak.parameters(ak.to_packed(array)).get("form")
    if said is None:
        raise DataError(f"an input is of type {array.type} and says nothing of its variables; expected 'form'")
    return InputForm.read(said)


def _column(array: ak.Array, name: str) -> NDArray[Any]:
    column = _complete(array[name], name)
    try:
        values: NDArray[Any] = ak.to_numpy(column)
    except ValueError as error:
        raise DataError(f"the field {name!r} is of type {column.type}; expected one number per record") from error
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise DataError(f"the field {name!r} is of type {column.type}; expected one number per record")
    return values


def _complete(array: ak.Array, name: str) -> ak.Array:
    if ak.any(ak.is_none(array)):
        raise DataError(f"the field {name!r} has missing values (None); leave those jets out with ak.drop_none")
    return array


def _stack(array: ak.Array, names: Sequence[str], dtype: np.dtype[Any]) -> NDArray[Any]:
    stacked = np.empty((len(array), len(names)), dtype=dtype)
    for place, name in enumerate(names):
        stacked[:, place] = _column(array, name)
    return stacked


def _require(array: ak.Array, names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in ak.fields(array):
            raise DataError(f"{where} has no field {name!r}; {closest(name, ak.fields(array))}")


def _refuse(names: set[str], kind: str) -> None:
    if names:
        raise DataError(f"a {kind} is called {min(names)!r}, which the records use themselves; rename it")
