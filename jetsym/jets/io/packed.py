"""PackedJets and RaggedBatch: jets without padding, in as few bytes as their values need; for streams and caches.

A particle is a row of eight float32 and one byte. The row holds (E, px, py, pz) in GeV and d0, its error, dz and its
error in mm. The byte holds the five type flags in bits 0 to 4 and the charge in bits 5 (positive) and 6 (negative);
it is unpacked on the device where the batch is used. Where flags or charges are no such bits, as happens in files that
do not come from JetClass, the byte is replaced by six float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.arguments import at_least, checked
from jetsym.jets.batch import JetBatch
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapped import ranges_of, rows_of
from jetsym.jets.io.packed_inputs import PackedInput, join_inputs
from jetsym.jets.io.ragged import RaggedJets, check_alike, common_dtype, offsets_of
from jetsym.jets.schema import CLASSES, SCALARS

__all__ = ["DISPLACEMENTS", "KINDS", "PackedJets", "RaggedBatch", "kind_columns", "pack_kinds", "unpack_kinds"]

#: What the byte holds: the charge and five flags.
KINDS = SCALARS[:6]
#: What a row holds besides the four-momentum.
DISPLACEMENTS = SCALARS[6:]

_POSITIVE, _NEGATIVE = 5, 6


@dataclass(frozen=True, eq=False)
class PackedJets:
    """Jets in numpy arrays, as a stream's buffer and a cache hold them.

    Parameters
    ----------
    offsets
        (B + 1,) int64: the particles of jet i are ``offsets[i]`` to ``offsets[i + 1]``.
    values
        (P, 8) float32 rows of all particles, or (P, 4), their momenta alone.
    kinds
        (P,) uint8, or (P, 6) float32 where the values do not fit a byte, or None beside momenta alone.
    jet_p4, label, classes, columns
        As in :class:`jetsym.jets.batch.JetBatch`.
    inputs
        What other networks take, by name, without padding.
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.float32]
    kinds: NDArray[Any] | None
    jet_p4: NDArray[np.float32]
    label: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = CLASSES
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    inputs: Mapping[str, PackedInput] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, jets: NDArray[np.int64]) -> PackedJets:
        """Select the jets (n,) of these numbers, in their order."""
        starts, counts = ranges_of(self.offsets, jets)
        offsets = offsets_of(counts)
        taken = self._map(
            lambda values: rows_of(values, starts, offsets), lambda column: column.take(jets, axis=0), offsets
        )
        return replace(taken, inputs={name: one.take(jets) for name, one in self.inputs.items()})

    def slice(self, start: int, stop: int) -> PackedJets:
        """Select the jets ``start`` to ``stop``: views of what is in memory, but for the offsets."""
        offsets = self.offsets[start : stop + 1]
        first, last = offsets[0], offsets[-1]
        offsets = offsets - first
        sliced = self._map(lambda values: values[first:last], lambda column: column[start:stop], offsets)
        return replace(sliced, inputs={name: one.slice(start, stop) for name, one in self.inputs.items()})

    def with_jets_in_memory(self) -> PackedJets:
        """Return the same with all that is known of whole jets read: some 3% of what a cache holds, asked for often."""
        return self._map(lambda values: values, lambda column: column[:], self.offsets[:])

    @classmethod
    def concatenate(cls, parts: list[PackedJets]) -> PackedJets:
        """Join parts that hold the same quantities; the list is emptied on the way, so that no jet is held twice.

        Raises
        ------
        DataError
            If they do not, or no type holds the values of a column of all parts exactly.
        """
        first = parts[0]
        if len(parts) == 1:
            return first
        for part in parts[1:]:
            check_alike(first, part)
        offsets = offsets_of(np.concatenate([np.diff(part.offsets) for part in parts]))
        packed = all(part.kinds is not None and part.kinds.ndim == 1 for part in parts)
        joined = first._map(
            lambda values: np.empty((offsets[-1], *values.shape[1:]), values.dtype),
            lambda column: np.empty((len(offsets) - 1, *column.shape[1:]), column.dtype),
            offsets,
        )
        dtypes = {name: common_dtype([part.columns[name] for part in parts], name) for name in first.columns}
        columns = {name: np.empty(len(offsets) - 1, dtype) for name, dtype in dtypes.items()}
        joined = replace(joined, columns=columns, inputs=join_inputs([part.inputs for part in parts]))
        if first.kinds is not None and not packed:
            joined = replace(joined, kinds=np.empty((offsets[-1], len(KINDS)), np.float32))
        jet = 0
        while parts:
            part = parts.pop(0)
            if joined.kinds is not None and not packed:
                part = replace(part, kinds=part.loose_kinds())
            jets, particles = slice(jet, jet + len(part)), slice(offsets[jet], offsets[jet + len(part)])
            for target, source in zip(joined._particle_arrays(), part._particle_arrays(), strict=True):
                target[particles] = source
            for target, source in zip(joined._jet_arrays(), part._jet_arrays(), strict=True):
                target[jets] = source
            jet += len(part)
        return joined

    @classmethod
    def none(cls) -> PackedJets:
        """Make an object that holds no jets at all."""
        return cls(np.zeros(1, np.int64), np.empty((0, 8), np.float32), None, np.empty((0, 4), np.float32))

    def loose_kinds(self) -> NDArray[np.float32]:
        """Return charge and flags of every particle as (P, 6) float32."""
        if self.kinds is None or self.kinds.ndim == 2:
            return np.empty((len(self.values), 0), np.float32) if self.kinds is None else self.kinds
        return unpack_kinds(torch.from_numpy(self.kinds)).numpy()

    def ragged(self) -> RaggedJets:
        """Return the same jets with all quantities spelled out."""
        scalars = np.concatenate([self.loose_kinds(), self.values[:, 4:]], axis=1)
        return RaggedJets(
            offsets=self.offsets,
            p4=np.ascontiguousarray(self.values[:, :4]),
            scalars=scalars,
            jet_p4=self.jet_p4,
            label=self.label,
            classes=self.classes,
            scalar_names=self.scalar_names,
            columns=self.columns,
            inputs={name: one.batch().padded().numpy() for name, one in self.inputs.items()},
            input_forms=self.input_forms,
        )

    def batch(self) -> RaggedBatch:
        """Return the same memory as torch tensors."""
        counts = np.diff(self.offsets)
        return RaggedBatch(
            offsets=torch.from_numpy(self.offsets),
            values=torch.from_numpy(self.values),
            kinds=None if self.kinds is None else torch.from_numpy(self.kinds),
            jet_p4=torch.from_numpy(self.jet_p4),
            label=None if self.label is None else torch.from_numpy(self.label),
            classes=self.classes,
            columns={name: torch.from_numpy(column) for name, column in self.columns.items()},
            inputs={name: one.batch() for name, one in self.inputs.items()},
            longest=int(counts.max(initial=0)),
        )

    def _particle_arrays(self) -> list[NDArray[Any]]:
        return [self.values] if self.kinds is None else [self.values, self.kinds]

    def _jet_arrays(self) -> list[NDArray[Any]]:
        label = [] if self.label is None else [self.label]
        return [self.jet_p4, *label, *(self.columns[name] for name in sorted(self.columns))]

    def _map(
        self,
        particles: Callable[[NDArray[Any]], NDArray[Any]],
        jets: Callable[[NDArray[Any]], NDArray[Any]],
        offsets: NDArray[np.int64],
    ) -> PackedJets:
        return replace(
            self,
            offsets=offsets,
            values=particles(self.values),
            kinds=None if self.kinds is None else particles(self.kinds),
            jet_p4=jets(self.jet_p4),
            label=None if self.label is None else jets(self.label),
            columns={name: jets(column) for name, column in self.columns.items()},
        )

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of what is known of the particles besides their momenta."""
        return _scalar_names(self)

    @property
    def input_forms(self) -> dict[str, InputForm]:
        """The form of each input."""
        return {name: one.form for name, one in self.inputs.items()}


@dataclass(frozen=True, eq=False)
class RaggedBatch:
    """A batch of jets without padding, in torch tensors on any device.

    Parameters
    ----------
    offsets, values, kinds, jet_p4, label, classes, columns, inputs
        As in :class:`PackedJets`, as tensors.
    longest
        Number of particles of the fullest jet, known without asking the device.

    Examples
    --------
    >>> from jetsym.jets.io.sample import sample_dir
    >>> from jetsym.jets.io import JetStream
    >>> batch = next(iter(JetStream(sample_dir() / "val", batch_size=8)))
    >>> len(batch), batch.p4.shape[1], batch.scalars.shape[1], batch.offsets.shape
    (8, 4, 10, torch.Size([9]))
    >>> batch.to_padded(32)
    JetBatch(8 jets, 32 particles at most, 10 classes, float32, cpu)
    """

    offsets: Tensor
    values: Tensor
    kinds: Tensor | None
    jet_p4: Tensor
    label: Tensor | None = None
    classes: tuple[str, ...] = CLASSES
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    longest: int = 0
    inputs: Mapping[str, PackedInput] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def p4(self) -> Tensor:
        """(P, 4) four-momenta (E, px, py, pz) of all particles, GeV."""
        return self.values[:, :4]

    @property
    def scalars(self) -> Tensor:
        """(P, 10) what is known of the particles besides, by :attr:`scalar_names`; unpacked at every call."""
        if self.kinds is None:
            return self.values[:, 4:]
        kinds = self.kinds if self.kinds.ndim == 2 else unpack_kinds(self.kinds)
        return torch.cat([kinds, self.values[:, 4:]], dim=1)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the columns of :attr:`scalars`; none where the stream reads momenta alone."""
        return _scalar_names(self)

    @property
    def n_particles(self) -> Tensor:
        """(B,) int64 number of particles of each jet."""
        return self.offsets.diff()

    def to(self, device: torch.device | str) -> RaggedBatch:
        """Move the batch to a device; from pinned memory the copy does not block."""
        asynchronous = torch.device(device).type != "cpu"
        return self._map(lambda tensor: tensor.to(device, non_blocking=asynchronous))

    def pin_memory(self) -> RaggedBatch:
        """Copy the batch to page-locked memory, from where an accelerator fetches it fastest."""
        return self._map(lambda tensor: tensor.pin_memory())

    @checked(max_particles=at_least(1))
    def to_padded(self, max_particles: int | None = None) -> JetBatch:
        """Pad every jet, its ``max_particles`` of largest pT at most, to a JetBatch, on the device where the batch is.

        Particles stay in their order. It has as many slots as its fullest jet needs, at most ``max_particles``.
        """
        least = 0 if self.inputs else 1
        slots = max(least, self.longest if max_particles is None else min(self.longest, max_particles))
        return JetBatch.of_rows(
            self.offsets,
            self.p4,
            self.scalars,
            slots=slots,
            longest=self.longest,
            jet_p4=self.jet_p4,
            label=self.label,
            classes=self.classes,
            scalar_names=self.scalar_names,
            columns=self.columns,
            inputs={name: one.padded() for name, one in self.inputs.items()},
            input_forms={name: one.form for name, one in self.inputs.items()},
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> RaggedBatch:
        return replace(
            self,
            offsets=change(self.offsets),
            values=change(self.values),
            kinds=None if self.kinds is None else change(self.kinds),
            jet_p4=change(self.jet_p4),
            label=None if self.label is None else change(self.label),
            columns={name: change(column) for name, column in self.columns.items()},
            inputs={name: one.map(change) for name, one in self.inputs.items()},
        )


def _scalar_names(jets: PackedJets | RaggedBatch) -> tuple[str, ...]:
    return SCALARS[: len(KINDS) + jets.values.shape[1] - 4] if jets.kinds is not None else ()


def pack_kinds(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Pack charge and five flags of P particles, in the order of :data:`KINDS`, as a byte each if they fit.

    Returns
    -------
    (P,) uint8, or (P, 6) float32
        The latter if a charge is not −1, 0 or 1, or a flag not 0 or 1.

    Examples
    --------
    >>> nothing, one = np.zeros(2, "int32"), np.array([0, 1])
    >>> pack_kinds([np.array([-1.0, 1.0]), nothing, one, nothing, nothing, nothing])
    array([64, 34], dtype=uint8)
    >>> pack_kinds([np.array([-2.0, 1.0]), nothing, one, nothing, nothing, nothing]).shape
    (2, 6)
    """
    charge, *flags = columns
    positive, negative = charge == 1, charge == -1
    packed: NDArray[np.uint8] = positive.view(np.uint8) << _POSITIVE
    packed |= negative.view(np.uint8) << _NEGATIVE
    fits = bool((positive | negative | (charge == 0)).all())
    for bit, flag in enumerate(flags):
        is_set = flag == 1
        packed |= is_set.view(np.uint8) << bit
        fits = fits and np.count_nonzero(flag) == np.count_nonzero(is_set)
    if fits:
        return packed
    loose = np.empty((len(charge), len(columns)), np.float32)
    for place, column in enumerate(columns):
        loose[:, place] = column
    return loose


def unpack_kinds(packed: Tensor) -> Tensor:
    """Unpack (P,) uint8 to charge and flags (P, 6) float32; the inverse of :func:`pack_kinds`."""
    return torch.stack([column.float() for column in kind_columns(packed)], dim=1)


def kind_columns(packed: Any) -> list[Any]:
    """Unpack (P,) uint8, an array or a tensor, to charge and five flags, each (P,) int8 of the same kind."""
    bits = packed.view(torch.int8 if isinstance(packed, Tensor) else np.int8)  # the last of eight bits is never set
    charge = ((bits >> _POSITIVE) & 1) - (bits >> _NEGATIVE)
    return [charge, *((bits >> place) & 1 for place in range(5))]
