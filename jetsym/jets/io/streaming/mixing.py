r"""The plan of a shuffled epoch: which jets of which block go to which window, so that all windows are alike.

Blocks may be large (a cluster of 60,000 jets can only be decompressed as a whole) and of one class, so that the few
that fit into memory at a time are no fair sample of all. So an epoch is planned class by class. Classes that lie among
the blocks in the same way make up a *stratum*: one where files are mixed, ten where every file is of one class. The
blocks are dealt to m *lanes*, each in random order, and the jets of a stratum in a lane make up a *queue*. A *window*
takes the same fraction of every queue, to within one jet, and is then shuffled. A block is read once; its jets, in
random order, go to as many windows as its turn in the queue lasts. Of B jets of a window of V, the share of a class of
probability p then has the variance

.. math:: \frac{p (1 - p)}{B} \, \frac{V - B}{V - 1} + \frac{m}{6 V^2},

the first term that of drawing without replacement, the second that of rounding. Where classes of one stratum are not
quite alike, their shares follow the blocks: :data:`_ALIKE` bounds that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.packed import PackedJets

__all__ = ["Mixture", "Plan", "strata"]

#: Jets of a window at most: enough that shuffling one is as good as shuffling all, for batches of some hundreds.
_WINDOW = 16_384

#: So many times ``buffer`` is held where clusters are so large that one of every stratum does not fit otherwise.
_AT_MOST = 5

#: Classes whose jets lie in other blocks by less than this fraction, besides what chance does, are alike.
_ALIKE = 0.02

#: Queues begin in the middle of a block, so that they do not all need their next one at once, where the blocks that
#: are read twice for that are less than one in so many.
_STAGGERED = 8


@dataclass(frozen=True)
class Plan:
    """The plan of an epoch, as pieces: some jets of a block each, that go to a window together.

    Parameters
    ----------
    starts
        (windows + 1,) the place of each window's first jet in the epoch, and the number of all.
    window, block, stratum, first, last
        (pieces,) of each piece the window, and which jets of a stratum of a block it has, ``first`` to ``last`` in the
        order into which :mod:`jetsym.jets.io.streaming.windows` shuffles them; windows in order.
    visit
        (pieces,) pieces of a number are got by one reading of the block.
    """

    starts: NDArray[np.int64]
    window: NDArray[np.int64]
    block: NDArray[np.int64]
    stratum: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    visit: NDArray[np.int64]


class Mixture:
    """What is known of the blocks of a source, and how an epoch is planned with it.

    Parameters
    ----------
    counts
        (blocks, classes) jets of each class in each block, or of other kinds that should be mixed.
    buffer
        Jets to be held at a time, to within a block of each stratum.

    Examples
    --------
    Four blocks of a hundred jets, two of each class. Every window holds both classes alike:

    >>> mixture = Mixture(np.array([[100, 0], [100, 0], [0, 100], [0, 100]]), buffer=800)
    >>> plan = mixture.plan(np.arange(4), np.random.default_rng(0))
    >>> len(plan.starts) - 1, np.bincount(plan.window, weights=(plan.last - plan.first) * (plan.block < 2)).tolist()
    (4, [50.0, 50.0, 50.0, 50.0])
    """

    def __init__(self, counts: NDArray[np.int64], *, buffer: int) -> None:
        self.of_class = strata(counts, most=_AT_MOST * buffer)
        n_strata = int(self.of_class.max()) + 1
        self.counts = np.stack([counts[:, self.of_class == stratum].sum(1) for stratum in range(n_strata)], axis=1)
        self.lanes = max(1, int(buffer / _held(self.counts)))
        self._window = max(1, min(_WINDOW, buffer // 8))
        self._staggered = len(counts) >= _STAGGERED * self.lanes * n_strata

    def members(self, block: int, stratum: int, jets: PackedJets) -> NDArray[np.int64]:
        """Find which of the jets that have been read of a block are of a stratum; −1 for those that were left out.

        Raises
        ------
        DataError
            If there are more than were counted.
        """
        counts = self.counts[block]
        if jets.label is None or np.count_nonzero(counts) == 1:
            which = np.arange(len(jets))
        else:
            which = np.flatnonzero(self.of_class[jets.label] == stratum)
        if len(which) > counts[stratum]:
            raise DataError(f"{len(which)} jets were read where {counts[stratum]} had been counted; start again")
        return np.concatenate([which, np.full(counts[stratum] - len(which), -1)])

    def plan(self, order: NDArray[np.int64], rng: np.random.Generator) -> Plan:
        """Plan an epoch in which the blocks are dealt in some order."""
        n_strata, n_jets = self.counts.shape[1], int(self.counts.sum())
        windows = max(1, round(n_jets / self._window))
        lane, main = np.empty(len(order), np.int64), self.counts[order].argmax(axis=1)
        for stratum in range(n_strata):
            where = np.flatnonzero(main == stratum)
            lane[where] = (np.arange(len(where)) + rng.integers(self.lanes)) % self.lanes
        phases = (rng.permutation(self.lanes * n_strata) + 0.5) / (self.lanes * n_strata) * self._staggered
        queues = []
        for number, phase in enumerate(phases):
            blocks = order[lane == number // n_strata]
            stratum = number % n_strata
            blocks = blocks[self.counts[blocks, stratum] > 0]
            shift = int(rng.integers(windows))
            if len(blocks):
                queues.append(_queue(blocks, self.counts[blocks, stratum], stratum, windows, phase, shift))
        table = np.concatenate(queues, axis=1)
        table = table[:, np.argsort(table[0], kind="stable")]
        sizes = np.bincount(table[0], weights=table[4] - table[3], minlength=windows).astype(np.int64)
        return Plan(np.concatenate([[0], np.cumsum(sizes)]), *table)


def _queue(
    blocks: NDArray[np.int64], counts: NDArray[np.int64], stratum: int, windows: int, phase: float, shift: int
) -> NDArray[np.int64]:
    """Cut a queue into pieces, the rows of which are those of a plan."""
    total, early = int(counts.sum()), int(phase * counts[0])
    # The first block gives its last jets first, and the others at the end.
    lengths = np.append(counts, early)
    lengths[0] -= early
    begins = np.zeros(len(lengths), np.int64)
    begins[0] = early
    starts = np.concatenate([[0], np.cumsum(lengths)])
    edges = (total * np.arange(windows + 1) + shift) // windows  # to within a jet the same fraction for all windows
    cuts = np.unique(np.concatenate([starts, edges]))
    first, sizes = cuts[:-1], np.diff(cuts)
    item = np.searchsorted(starts, first, side="right") - 1
    last_of_all = item == len(blocks)
    within = begins[item] + first - starts[item]
    block = blocks[item % len(blocks)]
    return np.stack(
        [
            np.searchsorted(edges, first, side="right") - 1,
            block,
            np.full(len(first), stratum),
            within,
            within + sizes,
            2 * block + (last_of_all & (len(blocks) > 1)),
        ]
    )


def strata(counts: NDArray[np.int64], *, most: float) -> NDArray[np.int64]:
    """Find which classes lie among the blocks alike: (classes,) the number of the stratum of each.

    Two are, if the half sum of |differences| of their distributions over the blocks is not much larger than that of two
    samples of one distribution. There are no more strata than ``most`` jets can be held of; the smallest are joined.

    Examples
    --------
    >>> strata(np.array([[300, 310, 0], [305, 295, 0], [0, 0, 500]]), most=10_000).tolist()
    [0, 0, 1]
    """
    found: list[NDArray[np.int64]] = []
    of_class = np.zeros(counts.shape[1], np.int64)
    for label in np.argsort(-counts.sum(axis=0), kind="stable"):
        own = counts[:, label]
        if not own.any():
            continue
        distances = [_distance(own, other) for other in found]
        nearest = int(np.argmin(distances)) if found else -1
        if not found or distances[nearest] > 0:
            found.append(own.copy())
            nearest = len(found) - 1
        else:
            found[nearest] += own
        of_class[label] = nearest
    while len(found) > 1 and _held(np.stack(found, axis=1)) > most:
        one, other = sorted(np.argsort([group.sum() for group in found], kind="stable")[:2])
        found[one] += found.pop(other)
        of_class[of_class == other] = one
        of_class[of_class > other] -= 1
    return of_class


def _distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """How much farther from each other two distributions over the blocks are than alike ones may be."""
    n, m = int(one.sum()), int(other.sum())
    joint = (one + other) / (n + m)
    by_chance = np.sqrt(2 / np.pi * joint * (1 / n + 1 / m)).sum() / 2
    return float(np.abs(one / n - other / m).sum() / 2 - 1.5 * by_chance - _ALIKE)


def _held(counts: NDArray[np.int64]) -> float:
    """Count the jets of one block of every stratum, as they are met."""
    return float(((counts.astype(np.float64) ** 2).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)).sum())
