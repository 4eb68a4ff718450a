"""RaggedJets: jets as flat numpy columns and offsets, the form in which files hold them and JetBatch's ragged twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import DataError
from jetsym.jets.schema import CLASSES, SCALARS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jetsym.jets.batch import JetBatch

__all__ = ["RaggedJets"]


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
