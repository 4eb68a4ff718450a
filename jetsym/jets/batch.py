"""JetBatch: a padded batch of jets as torch tensors, the form in which every model and every action sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.arguments import at_least, checked
from jetsym.errors import DataError, expect_a, shorten
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.ragged import RaggedJets, check_alike, common_dtype, leading_places, offsets_of
from jetsym.jets.schema import CLASSES, SCALARS

if TYPE_CHECKING:
    import awkward as ak

__all__ = ["JetBatch", "labels_of"]


@dataclass(frozen=True, eq=False)
class JetBatch:
    """Jets padded to a common number of particles.

    Parameters
    ----------
    p4
        (B, N, 4) constituent four-momenta (E, px, py, pz) in GeV; zero where padded.
    mask
        (B, N) bool, True for a real particle.
    scalars
        (B, N, F) per-particle quantities that are not momenta, named by ``scalar_names``; zero where padded.
    jet_p4
        (B, 4) the jet axis of the file, from its stored pt, eta, phi and energy: the reference of every relative
        feature. It is not the vector sum of the stored constituents, and every move acts on it together with p4.
    label
        (B,) int64 index into ``classes``, or None for unlabelled jets.
    classes
        Names of the classes, in label order.
    scalar_names
        Names of the columns of ``scalars``.
    columns
        Further per-jet columns of shape (B,), by branch name (soft-drop mass, N-subjettiness, truth).
    inputs
        What networks of other stacks take, by name: (B, V, length), or (B, V) without a length; see
        :mod:`jetsym.jets.inputs`. They are not padded with the momenta, nor trimmed.
    input_forms
        The form of each input, with the names of its V variables.

    Raises
    ------
    DataError
        If the shapes do not go together, the mask is not bool, or the label is not int64.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]], [[5.0, 3.0, 0.0, 4.0], [3.0, 0.0, 3.0, 0.0]]])
    >>> jets = JetBatch(p4, p4[..., 0] > 0, torch.zeros(2, 2, 10), p4.sum(dim=1), label=torch.tensor([0, 9]))
    >>> jets
    JetBatch(2 jets, 2 particles at most, 10 classes, float32, cpu)
    >>> jets.n_particles
    tensor([1, 2])
    >>> jets[jets.label == 0].trim()
    JetBatch(1 jets, 1 particles at most, 10 classes, float32, cpu)
    """

    p4: Tensor
    mask: Tensor
    scalars: Tensor
    jet_p4: Tensor
    label: Tensor | None = None
    classes: tuple[str, ...] = CLASSES
    scalar_names: tuple[str, ...] = SCALARS
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    input_forms: Mapping[str, InputForm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.p4.ndim != 3 or self.p4.shape[-1] != 4:
            raise DataError(f"p4 has shape {tuple(self.p4.shape)}; expected (jets, particles, 4) as (E, px, py, pz)")
        jets, particles = self.p4.shape[:2]
        if self.inputs.keys() != self.input_forms.keys():
            raise DataError(
                f"the inputs are {', '.join(self.inputs) or 'none'}, and forms are given of "
                f"{', '.join(self.input_forms) or 'none'}; expected an InputForm for each"
            )
        expected = {
            "mask": (self.mask, (jets, particles)),
            "scalars": (self.scalars, (jets, particles, len(self.scalar_names))),
            "jet_p4": (self.jet_p4, (jets, 4)),
            **({} if self.label is None else {"label": (self.label, (jets,))}),
            **{name: (column, (jets,)) for name, column in self.columns.items()},
            **{name: (one, (jets, *self.input_forms[name].shape)) for name, one in self.inputs.items()},
        }
        for name, (tensor, shape) in expected.items():
            if tuple(tensor.shape) != shape:
                raise DataError(
                    f"{name} has shape {tuple(tensor.shape)}; expected {shape} to go with p4 {tuple(self.p4.shape)}"
                )
        if self.mask.dtype != torch.bool:
            raise DataError(f"mask has dtype {self.mask.dtype}; expected torch.bool: convert it with mask.bool()")
        if self.label is not None and self.label.dtype != torch.int64:
            raise DataError(f"label has dtype {self.label.dtype}; expected torch.int64: convert it with label.long()")

        if self.label is not None and self.label.device.type == "cpu" and not torch.compiler.is_compiling():
            # On other devices this would wait for what they have to do.
            least, largest = (int(one) for one in self.label.aminmax()) if len(self.label) else (0, -1)
            if least < 0 or largest >= len(self.classes):
                raise DataError(
                    f"label holds {least if least < 0 else largest}; expected places in classes, "
                    f"0 … {len(self.classes) - 1}"
                )

    def _check_kinds(self) -> None:
        """Refuse what is of another type than said, by a few tests, as batches are made at every step."""
        for name in ("p4", "mask", "scalars", "jet_p4"):
            expect_a(name, getattr(self, name), Tensor, DataError)
        if self.label is not None:
            expect_a("label", self.label, Tensor, DataError)
        for name in ("classes", "scalar_names"):
            names = getattr(self, name)
            if not isinstance(names, (tuple, list)) or not {*map(type, names)} <= {str}:
                raise DataError(f"{name} is {shorten(names)}; expected names, as a tuple of texts")
        for name, kind in (("columns", Tensor), ("inputs", Tensor), ("input_forms", InputForm)):
            named = getattr(self, name)
            expect_a(name, named, Mapping, DataError)
            if not all(isinstance(one, kind) for one in named.values()):
                raise DataError(f"{name} are {shorten(named)}; expected a {kind.__name__} by each name")

    def __len__(self) -> int:
        return int(self.p4.shape[0])

    def __repr__(self) -> str:
        labelled = "unlabelled" if self.label is None else f"{len(self.classes)} classes"
        dtype, device = str(self.p4.dtype).removeprefix("torch."), self.p4.device
        return f"JetBatch({len(self)} jets, {self.max_particles} particles at most, {labelled}, {dtype}, {device})"

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | NDArray[Any] | Tensor) -> JetBatch:
        """Select jets by a number, a slice, or a sequence, array or tensor of numbers or bools; always a JetBatch."""
        if isinstance(index, slice):
            if index.step is not None and index.step < 0:  # torch has no negative steps
                return self[range(len(self))[index]]
            return self._map(lambda tensor: tensor[index])
        chosen = torch.as_tensor(index, device=self.device)
        if not chosen.numel():
            chosen = chosen.long()  # an empty list has no type of its own
        if chosen.ndim == 0:
            if not -len(self) <= int(chosen) < len(self):
                raise IndexError(f"jet {int(chosen)} of {len(self)}")
            chosen = chosen[None]
        return self._map(lambda tensor: tensor[chosen])

    @property
    def max_particles(self) -> int:
        """Number of particle slots N, padding included."""
        return int(self.p4.shape[1])

    @property
    def has_momenta(self) -> bool:
        """False for jets of which inputs alone are known: they have no slots for particles, and cannot be moved."""
        return not self.inputs or self.max_particles > 0  # in this order: a traced number of slots stays free

    @property
    def n_particles(self) -> Tensor:
        """(B,) int64 number of real particles of each jet."""
        return self.mask.sum(dim=1)

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.p4.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the momenta."""
        return self.p4.dtype

    def replace(self, **changes: Any) -> JetBatch:
        """Make a copy with some fields exchanged."""
        return replace(self, **changes)

    @checked(DataError)
    def to(self, target: torch.device | torch.dtype | str) -> JetBatch:
        """Move to a device, or convert the floating-point tensors to a dtype (masks and labels keep theirs)."""
        if isinstance(target, torch.dtype):
            return self._map(lambda tensor: tensor.to(target) if tensor.is_floating_point() else tensor)
        # A copy to the CPU that does not block could be read before it has arrived.
        asynchronous = torch.device(target).type != "cpu"
        return self._map(lambda tensor: tensor.to(target, non_blocking=asynchronous))

    def trim(self) -> JetBatch:
        """Drop the slots that are padding in every jet (at least one slot stays, if there is any); inputs stay."""
        used = self.mask.any(dim=0).nonzero()
        last = int(used.max()) + 1 if len(used) else 1
        return self.replace(p4=self.p4[:, :last], mask=self.mask[:, :last], scalars=self.scalars[:, :last])

    @checked(DataError)
    def widen(self, slots: int) -> JetBatch:
        """Add empty slots behind those that the jets have, up to so many."""
        if slots < self.max_particles:
            raise DataError(f"slots is {slots}; expected no fewer than the jets have, {self.max_particles}")

        def pad(tensor: Tensor) -> Tensor:
            empty = tensor.new_zeros((len(self), slots - self.max_particles, *tensor.shape[2:]))
            return torch.cat([tensor, empty], dim=1)

        return self.replace(p4=pad(self.p4), mask=pad(self.mask), scalars=pad(self.scalars))

    @classmethod
    @checked(DataError)
    def concatenate(cls, batches: Sequence[JetBatch]) -> JetBatch:
        """Join batches of the same classes, scalars, columns and inputs along the jets, padding to the longest."""
        if not batches:
            raise DataError("no batches to concatenate; expected at least one")
        first, slots = batches[0], max(batch.max_particles for batch in batches)
        for batch in batches[1:]:
            check_alike(first, batch)

        batches = [batch.widen(slots) for batch in batches]
        return first.replace(
            p4=torch.cat([batch.p4 for batch in batches]),
            mask=torch.cat([batch.mask for batch in batches]),
            scalars=torch.cat([batch.scalars for batch in batches]),
            jet_p4=torch.cat([batch.jet_p4 for batch in batches]),
            label=None if first.label is None else torch.cat([batch.label for batch in batches]),  # type: ignore[misc]
            columns={name: _joined([batch.columns[name] for batch in batches], name) for name in first.columns},
            inputs={name: torch.cat([batch.inputs[name] for batch in batches]) for name in first.inputs},
        )

    def ragged(self) -> RaggedJets:
        """Return the real particles without padding, on the CPU."""
        batch = self.to("cpu")
        return RaggedJets(
            offsets=offsets_of(batch.n_particles.numpy()),
            p4=batch.p4[batch.mask].detach().numpy(),
            scalars=batch.scalars[batch.mask].detach().numpy(),
            jet_p4=batch.jet_p4.detach().numpy().copy(),
            label=None if batch.label is None else batch.label.numpy().copy(),
            classes=batch.classes,
            scalar_names=batch.scalar_names,
            columns={name: column.detach().numpy().copy() for name, column in batch.columns.items()},
            inputs={name: one.detach().numpy().copy() for name, one in batch.inputs.items()},
            input_forms=batch.input_forms,
        )

    @classmethod
    def of_rows(
        cls, offsets: Tensor, p4: Tensor, scalars: Tensor, *, slots: int, longest: int, **others: Any
    ) -> JetBatch:
        """Pad particles (P, 4) and (P, F) that stand one after the other, each jet's from its offset (B + 1,) on.

        Those of largest pT are kept where the fullest jet, of ``longest`` particles, has more than there are slots.
        """
        place = leading_places(offsets, p4, slots=slots, longest=longest)
        mask = place < offsets.diff()[:, None]
        # Padding points at the first particle of all, and is overwritten by zeros.
        rows = torch.where(mask, offsets[:-1, None] + place, 0)

        def pad(values: Tensor) -> Tensor:
            if not len(values):
                return values.new_zeros((*rows.shape, values.shape[1]))
            return torch.where(mask[..., None], values[rows], 0)

        return cls(p4=pad(p4), mask=mask, scalars=pad(scalars), **others)

    @classmethod
    @checked(DataError, max_particles=at_least(0))
    def from_ragged(cls, jets: RaggedJets, *, max_particles: int | None = None) -> JetBatch:
        """Pad jets, the ``max_particles`` of largest pT at most, to as many slots as the fullest needs (at least one).

        Examples
        --------
        >>> jets = RaggedJets(np.array([0, 2, 3]), np.ones((3, 4)), np.zeros((3, 10)), np.ones((2, 4)))
        >>> JetBatch.from_ragged(jets).mask.tolist()
        [[True, True], [True, False]]
        """
        longest = int(jets.counts.max(initial=0))

        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.array(values))  # torch refuses read-only and reversed memory

        return cls.of_rows(
            *map(tensor, (jets.offsets, jets.p4, jets.scalars)),
            slots=max(0 if jets.inputs else 1, longest if max_particles is None else min(longest, max_particles)),
            longest=longest,
            jet_p4=tensor(jets.jet_p4),
            label=None if jets.label is None else tensor(jets.label),
            classes=jets.classes,
            scalar_names=jets.scalar_names,
            columns={name: tensor(column) for name, column in jets.columns.items()},
            inputs={name: tensor(one) for name, one in jets.inputs.items()},
            input_forms=jets.input_forms,
        )

    def to_awkward(self) -> ak.Array:
        """Return the jets as awkward records with vector's behaviour; see :func:`jetsym.jets.io.records.to_records`.

        Examples
        --------
        >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 3.0, 4.0]]])
        >>> batch = JetBatch(p4, torch.tensor([[True, True]]), torch.zeros(1, 2, 10), p4.sum(dim=1))
        >>> jets = batch.to_awkward()
        >>> jets.constituents.pt
        <Array [[3, 3]] type='1 * var * float32'>
        >>> bool(jets.constituents[0, 0].deltaphi(jets.constituents[0, 1]) < 0)
        True
        >>> JetBatch.from_awkward(jets)
        JetBatch(1 jets, 2 particles at most, unlabelled, float32, cpu)
        """
        from jetsym.jets.io.records import to_records

        return to_records(self.ragged())

    @classmethod
    @checked(max_particles=at_least(1))
    def from_awkward(cls, jets: ak.Array, *, max_particles: int = 128) -> JetBatch:
        """Make a batch of what :meth:`to_awkward` gives, bit for bit; see :func:`jetsym.jets.io.records.from_records`.

        Parameters
        ----------
        jets
            Awkward records.
        max_particles
            Keep this many particles of each jet, those of largest pT, in their order.

        Raises
        ------
        DataError
            If a field is missing, is not numeric, or has missing values.
        ConfigError
            If ``max_particles`` is below 1.
        """
        from jetsym.jets.io.records import from_records

        return cls.from_ragged(from_records(jets), max_particles=max_particles)

    def _map(self, change: Any) -> JetBatch:
        return self.replace(
            p4=change(self.p4),
            mask=change(self.mask),
            scalars=change(self.scalars),
            jet_p4=change(self.jet_p4),
            label=None if self.label is None else change(self.label),
            columns={name: change(column) for name, column in self.columns.items()},
            inputs={name: change(one) for name, one in self.inputs.items()},
        )


def first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """Say where two lists of classes part, in a few words.

    Examples
    --------
    >>> first_difference(("QCD", "Hbb"), ("QCD", "Hcc", "Tbl"))
    "2 classes where 3 are expected, number 1 is 'Hbb' where 'Hcc' is expected"
    """
    place, pair = next((i, pair) for i, pair in enumerate(zip_longest(found, expected)) if pair[0] != pair[1])
    counts = "" if len(found) == len(expected) else f"{len(found)} classes where {len(expected)} are expected, "
    return f"{counts}number {place} is {pair[0]!r} where {pair[1]!r} is expected"


def _joined(columns: Sequence[Tensor], name: str) -> Tensor:
    if len({column.dtype for column in columns}) > 1:
        dtype = common_dtype([column.detach().cpu().numpy() for column in columns], name)
        columns = [column.to(getattr(torch, dtype.name)) for column in columns]
    return torch.cat(list(columns))


def labels_of(jets: JetBatch) -> Tensor:
    """Return the labels (B,) of jets that are known to have some.

    Raises
    ------
    DataError
        They have none.
    """
    if jets.label is None:
        raise DataError("the jets have no labels; read files with label branches")
    return jets.label
