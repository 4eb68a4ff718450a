"""Jets as awkward records with vector's behaviour, and back without a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from vector.backends.awkward import behavior

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.batch import JetBatch
from jetsym.jets.schema import CLASSES, SCALARS

__all__ = ["RaggedJets", "from_awkward", "records", "to_awkward"]

#: JetBatch's order of a four-momentum, in vector's names.
_MOMENTUM = ("E", "px", "py", "pz")
_RESERVED = ("jet", "constituents", "label")


def to_awkward(batch: JetBatch) -> ak.Array:
    """Jets as records: the axis, the real particles without padding, the label and the columns.

    Parameters
    ----------
    batch
        B padded jets, on any device.

    Returns
    -------
    awkward.Array
        B records with the fields ``jet`` (vector's Momentum4D with px, py, pz, E in GeV), ``constituents`` (a list of
        Momentum4D that also hold the particle scalars by name), ``label`` (int64; absent for unlabelled jets) and one
        field per column. The names of the classes travel as the parameter ``classes`` of the label. Vector's
        behaviour is attached to the array; nothing is registered globally.

    Raises
    ------
    DataError
        If a column or a particle scalar has the name of one of these fields.

    Examples
    --------
    >>> import torch
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.tensor([[True, True]]), torch.zeros(1, 2, 10), p4.sum(dim=1))
    >>> jets = to_awkward(batch)
    >>> jets.constituents.pt
    <Array [[3, 3]] type='1 * var * float32'>
    >>> bool(jets.constituents[0, 0].deltaphi(jets.constituents[0, 1]) < 0)
    True
    >>> from_awkward(jets)
    JetBatch(1 jets, 2 particles at most, unlabelled, float32, cpu)
    """
    return records(RaggedJets.from_batch(batch))


def from_awkward(jets: ak.Array, *, max_particles: int = 128) -> JetBatch:
    """The inverse of :func:`to_awkward`, bit for bit.

    Parameters
    ----------
    jets
        Records with the fields that :func:`to_awkward` describes. Fields of a constituent that are no momentum become
        scalars, fields of a jet that are none of its own become columns; the classes are the label's parameter
        ``classes``, or JetClass's where it has none.
    max_particles
        Keep the first this many particles of each jet.

    Returns
    -------
    JetBatch
        Padded to the fullest jet, in the floating-point type of the momenta.

    Raises
    ------
    DataError
        If a field is missing, is not numeric, or has missing values.
    ConfigError
        If ``max_particles`` is below 1.
    """
    if max_particles < 1:
        raise ConfigError(f"max_particles={max_particles}; expected a number of particles of at least 1")
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
    batch = RaggedJets(
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        p4=_stack(particles, _MOMENTUM, dtype),
        scalars=_stack(particles, scalar_names, dtype),
        jet_p4=_stack(jets.jet, _MOMENTUM, dtype),
        label=label,
        classes=classes,
        scalar_names=scalar_names,
        columns={name: _column(jets, name) for name in ak.fields(jets) if name not in _RESERVED},
    )
    return batch.cut(max_particles).pad()


def records(jets: RaggedJets) -> ak.Array:
    """Ragged jets as awkward records, without a copy of columns; the layout of :func:`to_awkward`."""
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
    layout = ak.contents.RecordArray(list(fields.values()), list(fields), length=len(jets))
    return ak.Array(layout, behavior=behavior)


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


def _column(array: ak.Array, name: str) -> NDArray[Any]:
    column = _complete(array[name], name)
    try:
        values = ak.to_numpy(column)
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


@dataclass(frozen=True, eq=False)
class RaggedJets:
    """Jets without padding: the particles of all jets one after the other, and where each jet begins.

    Parameters
    ----------
    offsets
        (B + 1,) int64: the particles of jet i are ``offsets[i]`` to ``offsets[i + 1]``; the first offset is 0.
    p4
        (P, 4) constituent four-momenta (E, px, py, pz) in GeV, P the number of particles of all jets.
    scalars
        (P, F) per-particle quantities that are not momenta, named by ``scalar_names``.
    jet_p4
        (B, 4) the jet axis of the file; see :class:`jetsym.jets.batch.JetBatch`.
    label
        (B,) int64 index into ``classes``, or None for unlabelled jets.
    classes
        Names of the classes, in label order.
    scalar_names
        Names of the columns of ``scalars``.
    columns
        Further per-jet columns of shape (B,), by branch name.

    Examples
    --------
    >>> p4 = np.array([[5, 3, 0, 4], [5, 0, 3, -4], [13, 12, 0, 5]], dtype="float32")
    >>> jets = RaggedJets(np.array([0, 2, 3]), p4, np.zeros((3, 10), "float32"), p4[:2])
    >>> jets.pad()
    JetBatch(2 jets, 2 particles at most, unlabelled, float32, cpu)
    >>> jets.pad().mask.tolist()
    [[True, True], [True, False]]
    """

    offsets: NDArray[np.int64]
    p4: NDArray[Any]
    scalars: NDArray[Any]
    jet_p4: NDArray[Any]
    label: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = CLASSES
    scalar_names: tuple[str, ...] = SCALARS
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """(B,) number of particles of each jet."""
        return np.diff(self.offsets)

    def select(self, keep: NDArray[np.bool_]) -> RaggedJets:
        """The jets where ``keep`` (B,) is True, in their order."""
        particles = np.repeat(keep, self.counts)
        return replace(
            self,
            offsets=_offsets(self.counts[keep]),
            p4=self.p4[particles],
            scalars=self.scalars[particles],
            jet_p4=self.jet_p4[keep],
            label=None if self.label is None else self.label[keep],
            columns={name: column[keep] for name, column in self.columns.items()},
        )

    def cut(self, max_particles: int) -> RaggedJets:
        """The first ``max_particles`` particles of every jet, in their order."""
        counts = self.counts
        if not len(self) or counts.max() <= max_particles:
            return self
        within = np.arange(len(self.p4)) - np.repeat(self.offsets[:-1], counts) < max_particles
        offsets = _offsets(np.minimum(counts, max_particles))
        return replace(self, offsets=offsets, p4=self.p4[within], scalars=self.scalars[within])

    @classmethod
    def concatenate(cls, parts: Sequence[RaggedJets]) -> RaggedJets:
        """Join parts of the same classes, scalars and columns along the jets.

        Raises
        ------
        DataError
            If the parts do not hold the same quantities.
        """
        first = parts[0]
        if len(parts) == 1:
            return first
        for part in parts[1:]:
            first._check_like(part)
        return replace(
            first,
            offsets=_offsets(np.concatenate([part.counts for part in parts])),
            p4=np.concatenate([part.p4 for part in parts]),
            scalars=np.concatenate([part.scalars for part in parts]),
            jet_p4=np.concatenate([part.jet_p4 for part in parts]),
            label=None if first.label is None else np.concatenate([part.label for part in parts]),
            columns={name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
        )

    def pad(self) -> JetBatch:
        """A JetBatch with as many slots as the fullest jet has particles (at least one)."""
        import torch

        from jetsym.jets.batch import JetBatch

        counts = self.counts
        slots = max(1, int(counts.max(initial=0)))
        mask = np.arange(slots) < counts[:, None]
        # Row-major order of the mask is the order of the particles, so one flat index places every quantity.
        places = np.flatnonzero(mask)

        def pad(values: NDArray[Any]) -> torch.Tensor:
            padded = np.zeros((mask.size, values.shape[1]), dtype=values.dtype)
            padded[places] = values
            return torch.from_numpy(padded.reshape(len(self), slots, values.shape[1]))

        return JetBatch(
            p4=pad(self.p4),
            mask=torch.from_numpy(mask),
            scalars=pad(self.scalars),
            # Copies, because torch refuses read-only and reversed memory, and a batch should own what it holds.
            jet_p4=torch.from_numpy(self.jet_p4.copy()),
            label=None if self.label is None else torch.from_numpy(self.label.copy()),
            classes=self.classes,
            scalar_names=self.scalar_names,
            columns={name: torch.from_numpy(column.copy()) for name, column in self.columns.items()},
        )

    @classmethod
    def from_batch(cls, batch: JetBatch) -> RaggedJets:
        """The real particles of a padded batch, on the CPU; the inverse of :meth:`pad` up to unused slots."""
        batch = batch.to("cpu")
        return cls(
            offsets=_offsets(batch.n_particles.numpy()),
            p4=batch.p4[batch.mask].detach().numpy(),
            scalars=batch.scalars[batch.mask].detach().numpy(),
            jet_p4=batch.jet_p4.detach().numpy().copy(),
            label=None if batch.label is None else batch.label.numpy().copy(),
            classes=batch.classes,
            scalar_names=batch.scalar_names,
            columns={name: column.detach().numpy().copy() for name, column in batch.columns.items()},
        )

    def _check_like(self, other: RaggedJets) -> None:
        facts = {
            "labels": (self.label is not None, other.label is not None),
            "classes": (self.classes, other.classes),
            "scalars": (self.scalar_names, other.scalar_names),
            "columns": (sorted(self.columns), sorted(other.columns)),
        }
        for name, (here, there) in facts.items():
            if here != there:
                raise DataError(f"jets that differ in their {name} cannot be joined: {here} and {there}")


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
