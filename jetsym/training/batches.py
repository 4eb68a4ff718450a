"""The batches of an epoch: their order, their sizes, and their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from jetsym.jets.batch import JetBatch
from jetsym.training.data import StreamedJets
from jetsym.training.seeds import generator_for

__all__ = ["batches", "count_batches", "in_parts", "size_of_batch"]


def batches(
    jets: JetBatch | StreamedJets,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
    passed: Sequence[Sequence[int]] = (),
    device: torch.device | str = "cpu",
) -> Iterator[JetBatch]:
    """Yield all jets once, in the random order of an epoch, in nearly equal batches of at most ``batch_size``.

    The first ``start`` batches are left out, and the others are as they would be after them. Of every batch comes the
    part of one of ``ranks`` processes. Streamed jets come on the device, others where they are; ``passed`` is what
    processes, perhaps of another number, have shown of these.
    """
    if isinstance(jets, StreamedJets):
        yield from jets.batches(epoch, device, start=start, passed=passed)
        return
    order = torch.randperm(len(jets), generator=generator_for("shuffle", seed=seed, epoch=epoch))
    for chosen in order.tensor_split(count_batches(jets, batch_size=batch_size))[start:]:
        yield jets[chosen.tensor_split(ranks)[rank]].trim()


def in_parts(jets: JetBatch, parts: int, *, by_length: bool = True) -> list[JetBatch]:
    """Divide jets into up to ``parts`` nearly equal parts, each trimmed to its longest jet.

    They stay in their order, or are sorted from few particles to many. Padding is then a small part of each: JetClass
    jets fill 63% of 64 slots, and nearly all of them in four parts.

    Examples
    --------
    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> jets = JetBatch(torch.zeros(2, 3, 4), mask, torch.zeros(2, 3, 10), torch.zeros(2, 4))
    >>> [part.max_particles for part in in_parts(jets, 2)]
    [1, 3]
    """
    order = jets.n_particles.argsort(stable=True) if by_length else torch.arange(len(jets), device=jets.device)
    return [jets[chosen].trim() for chosen in order.tensor_split(min(parts, len(jets)))]


def count_batches(jets: JetBatch | StreamedJets, *, batch_size: int) -> int:
    """Return the number of steps of an epoch."""
    return -(-len(jets) // batch_size)


def size_of_batch(jets: JetBatch | StreamedJets, number: int, *, batch_size: int) -> int:
    """Return the number of jets of a batch, on all processes together; the first batches are larger, by one jet.

    Examples
    --------
    >>> p4 = torch.zeros(10, 1, 4)
    >>> jets = JetBatch(p4, torch.ones(10, 1, dtype=bool), torch.zeros(10, 1, 10), p4[:, 0])
    >>> [size_of_batch(jets, number, batch_size=4) for number in range(3)]
    [4, 3, 3]
    """
    least, larger = divmod(len(jets), count_batches(jets, batch_size=batch_size))
    return least + (number < larger)
