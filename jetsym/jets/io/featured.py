"""FeaturedBatch: what a network of the field takes of jets, features, momenta and mask, padded to a number of slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.io.packed import RaggedBatch
from jetsym.jets.ragged_features import FeatureSet, features_of_particles
from jetsym.jets.schema import CLASSES

__all__ = ["FeaturedBatch", "featured"]


@dataclass(frozen=True, eq=False)
class FeaturedBatch:
    """A batch of jets as a network of the field takes it, in torch tensors on any device.

    Parameters
    ----------
    features
        (B, S, F) float32 features, standardised and clipped; zero where padded. Columns are named by ``names``.
    p4
        (B, S, 4) four-momenta (E, px, py, pz) in GeV; zero where padded.
    mask
        (B, S) bool, True for a real particle.
    jet_p4, label, classes, columns
        As in :class:`jetsym.jets.batch.JetBatch`.
    names
        Names of the features, such as :data:`jetsym.jets.features.FULL_FEATURES`.

    Examples
    --------
    >>> from jetsym.jets.io import JetStream
    >>> from jetsym.jets.io.sample import sample_dir
    >>> batch = next(iter(JetStream(sample_dir() / "val", batch_size=8, features="full", slots=128)))
    >>> len(batch), batch.features.shape, batch.p4.shape, batch.mask.shape
    (8, torch.Size([8, 128, 17]), torch.Size([8, 128, 4]), torch.Size([8, 128]))
    >>> batch.features.mT.shape, batch.points.shape  # as weaver-core has them
    (torch.Size([8, 17, 128]), torch.Size([8, 128, 2]))
    """

    features: Tensor
    p4: Tensor
    mask: Tensor
    jet_p4: Tensor
    label: Tensor | None = None
    classes: tuple[str, ...] = CLASSES
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.features)

    @property
    def points(self) -> Tensor:
        """(B, S, 2) positions, Δη · sign(η_jet) and Δφ to the jet axis, which are the last two features."""
        return self.features[..., -2:]

    @property
    def n_particles(self) -> Tensor:
        """(B,) int64 number of real particles of each jet."""
        return self.mask.sum(dim=1)

    def to(self, device: torch.device | str) -> FeaturedBatch:
        """Move the batch to a device; from pinned memory the copy does not block."""
        asynchronous = torch.device(device).type != "cpu"
        return self._map(lambda tensor: tensor.to(device, non_blocking=asynchronous))

    def pin_memory(self) -> FeaturedBatch:
        """Copy the batch to page-locked memory, from where an accelerator fetches it fastest."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> FeaturedBatch:
        return replace(
            self,
            features=change(self.features),
            p4=change(self.p4),
            mask=change(self.mask),
            jet_p4=change(self.jet_p4),
            label=None if self.label is None else change(self.label),
            columns={name: change(column) for name, column in self.columns.items()},
        )


def featured(batch: RaggedBatch, features: FeatureSet, *, slots: int) -> FeaturedBatch:
    """Compute features of the particles of a batch, and put them into slots, on the device where the batch is.

    Of a jet of more particles the first ``slots`` stay, in the order of the file, as weaver-core has it.

    Parameters
    ----------
    batch
        The jets.
    features
        The set of features.
    slots
        Particles that there is room for in each jet.

    Raises
    ------
    DataError
        The batch lacks what the features are computed of.
    """
    put = _put_by_numpy if batch.values.device.type == "cpu" else _put_by_torch
    rows = features_of_particles(batch, features)
    found, p4 = put(batch, (rows, batch.p4), slots)
    return FeaturedBatch(
        features=found,
        p4=p4,
        mask=torch.arange(slots, device=batch.values.device) < batch.n_particles[:, None],
        jet_p4=batch.jet_p4,
        label=batch.label,
        classes=batch.classes,
        columns=batch.columns,
        names=FEATURE_SETS[features][1],
    )


def _put_by_numpy(batch: RaggedBatch, rows: tuple[Any, ...], slots: int) -> list[Tensor]:
    """Put rows (P, F) of each particle into slots, (B, slots, F), zero elsewhere."""
    offsets, jets = batch.offsets.numpy(), np.arange(len(batch))
    counts = np.diff(offsets)
    place = (slots * jets - offsets[:-1]).repeat(counts) + np.arange(len(batch.values))
    if batch.longest > slots:  # the others go behind the last slot of all, which is cut off
        place[place >= slots * (jets + 1).repeat(counts)] = slots * len(batch)
    padded = []
    for own in map(np.asarray, rows):
        width = own.shape[1]
        target = np.zeros((slots * len(batch) + 1, width), np.float32)
        whole = np.dtype((np.void, own.itemsize * width))  # a row is copied as one item
        target.view(whole)[:, 0][place] = own.view(whole)[:, 0]
        padded.append(torch.from_numpy(target[:-1].reshape(len(batch), slots, width)))
    return padded


def _put_by_torch(batch: RaggedBatch, rows: tuple[Any, ...], slots: int) -> list[Tensor]:
    """Do the same on an accelerator, without asking it for numbers."""
    device, particles = batch.values.device, len(batch.values)
    jets = torch.arange(len(batch), device=device)
    begins = torch.stack([slots * jets - batch.offsets[:-1], slots * (jets + 1)])
    shift, end = torch.repeat_interleave(begins, batch.n_particles, dim=1, output_size=particles)
    place = shift + torch.arange(particles, device=device)
    place = torch.where(place < end, place, slots * len(batch))
    padded = []
    for own in rows:
        target = own.new_zeros((slots * len(batch) + 1, own.shape[1]))
        padded.append(target.index_copy_(0, place, own)[:-1].view(len(batch), slots, -1))
    return padded
