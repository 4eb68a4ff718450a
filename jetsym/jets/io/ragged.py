"""RaggedJets: jets in numpy arrays without padding, every quantity spelled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.schema import CLASSES, SCALARS

__all__ = ["RaggedJets", "check_alike", "facts_of", "offsets_of"]


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
    >>> len(jets), jets.counts.tolist(), jets.cut(1).offsets.tolist()
    (2, [2, 1], [0, 1, 2])
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
        """Map (B,) number of particles of each jet."""
        return np.diff(self.offsets)

    def cut(self, max_particles: int) -> RaggedJets:
        """Keep the first ``max_particles`` particles of every jet, in their order."""
        counts = self.counts
        if not len(self) or counts.max() <= max_particles:
            return self
        within = np.arange(len(self.p4)) - np.repeat(self.offsets[:-1], counts) < max_particles
        offsets = offsets_of(np.minimum(counts, max_particles))
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
            check_alike(first.facts, part.facts)
        return replace(
            first,
            offsets=offsets_of(np.concatenate([part.counts for part in parts])),
            p4=np.concatenate([part.p4 for part in parts]),
            scalars=np.concatenate([part.scalars for part in parts]),
            jet_p4=np.concatenate([part.jet_p4 for part in parts]),
            label=None if first.label is None else np.concatenate([part.label for part in parts]),
            columns={name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
        )

    @property
    def facts(self) -> dict[str, Any]:
        """The properties that have to be the same in jets that are joined."""
        return facts_of(self, scalars=self.scalar_names)


def facts_of(jets: Any, *, scalars: Any) -> dict[str, Any]:
    """Return what has to be the same in jets of any form that are joined, by name."""
    labelled = jets.label is not None
    return {"labels": labelled, "classes": jets.classes, "scalars": scalars, "columns": sorted(jets.columns)}


def check_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse to join jets that do not hold the same quantities, from their :func:`facts_of`.

    Raises
    ------
    DataError
        They do not.
    """
    for name, here in one.items():
        if here != other[name]:
            raise DataError(f"jets that differ in their {name}: {here} and {other[name]}, cannot be joined")


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the particles of each jet begin (B + 1,), from the number of particles of each."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
