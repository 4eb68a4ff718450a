"""Jets in memory or streamed from files, and the order in which an epoch shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jetsym.errors import ConfigError, DataError
from jetsym.jets.batch import JetBatch
from jetsym.training.config import TrainConfig

__all__ = [
    "StreamedJets",
    "batches",
    "by_length",
    "count_batches",
    "generator_for",
    "labels_of",
    "load_jets",
    "seed_for",
]

#: Every use of randomness has a stream of its own, so that adding one does not change another.
STREAMS = ("initialisation", "split", "shuffle", "augmentation", "dropout")

_NO_LABELS = "the files of {flag} have no label branches; expected labelled jets to train on"


def seed_for(stream: str, *, seed: int, epoch: int = 0) -> int:
    """A 64-bit seed from a run's seed, an epoch and a stream: alike in every process, unrelated to its neighbours.

    Because an epoch's randomness depends on nothing else, a run continued from an epoch's end repeats exactly what
    the uninterrupted one would have done.
    """
    sequence = np.random.SeedSequence((seed, epoch, STREAMS.index(stream)))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_for(stream: str, *, seed: int, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded by :func:`seed_for`."""
    return torch.Generator(device=device).manual_seed(seed_for(stream, seed=seed, epoch=epoch))


class StreamedJets:
    """Training jets that are read anew in every epoch; those few that fill no batch are other ones each time.

    Raises
    ------
    DataError
        The files cannot be read, or have no labels.
    """

    def __init__(self, config: TrainConfig) -> None:
        from jetsym.jets.io import JetStream

        self._max_particles, self._batch_size = config.max_particles, config.batch_size
        seed = seed_for("shuffle", seed=config.seed)
        self._stream = JetStream(
            config.data, batch_size=config.batch_size, seed=seed, cache=config.cache, mapping=config.mapping
        )
        self.classes = self._stream.classes
        if not self._stream.labelled:
            raise DataError(_NO_LABELS.format(flag="--data"))

    def __len__(self) -> int:
        """Jets that an epoch shows."""
        return len(self._stream) * self._batch_size

    def batches(self, epoch: int, device: torch.device | str) -> Iterator[JetBatch]:
        """An epoch's batches, padded on the device."""
        self._stream.set_epoch(epoch)
        for batch in self._stream:
            yield batch.to(device).to_padded(self._max_particles)


def load_jets(config: TrainConfig) -> tuple[JetBatch | StreamedJets, JetBatch]:
    """Read a run's training and validation jets.

    Returns
    -------
    (JetBatch or StreamedJets, JetBatch)
        Training and validation; without ``config.val`` the second is the last tenth of the first, shuffled by seed.

    Raises
    ------
    DataError
        Files cannot be read, have no labels, or hold other classes for validation.
    ConfigError
        Too few jets to hold some out.
    """
    from jetsym.jets import read

    options: dict[str, Any] = {
        "limit": config.limit,
        "max_particles": config.max_particles,
        "mapping": config.mapping,
    }
    if config.stream:
        training: JetBatch | StreamedJets = StreamedJets(config)
    else:
        training = _labelled(read(config.data, **options), "--data")
    if config.val is not None:
        validation = _labelled(read(config.val, **options), "--val")
        if validation.classes != training.classes:
            difference = first_difference(validation.classes, training.classes)
            raise DataError(f"the jets of --val are of other classes than those of --data: {difference}")
        return training, validation
    assert isinstance(training, JetBatch)  # a stream has jets of its own to validate on
    held_out = len(training) // 10
    if not held_out:
        raise ConfigError(f"--data holds {len(training)} jets, too few to hold a tenth out; give --val as well")
    order = torch.randperm(len(training), generator=generator_for("split", seed=config.seed))
    return training[order[:-held_out]], training[order[-held_out:]]


def first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """Where two lists of classes part, in a few words.

    Examples
    --------
    >>> first_difference(("QCD", "Hbb"), ("QCD", "Hcc", "Tbl"))
    "2 classes where 3 are expected, number 1 is 'Hbb' where 'Hcc' is expected"
    """
    place, pair = next((i, pair) for i, pair in enumerate(zip_longest(found, expected)) if pair[0] != pair[1])
    counts = "" if len(found) == len(expected) else f"{len(found)} classes where {len(expected)} are expected, "
    return f"{counts}number {place} is {pair[0]!r} where {pair[1]!r} is expected"


def batches(
    jets: JetBatch | StreamedJets, *, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu"
) -> Iterator[JetBatch]:
    """All jets once, in the random order of an epoch, in batches of nearly the same size, none above ``batch_size``.

    Streamed jets come on the device, others where they are.
    """
    if isinstance(jets, StreamedJets):
        yield from jets.batches(epoch, device)
        return
    order = torch.randperm(len(jets), generator=generator_for("shuffle", seed=seed, epoch=epoch))
    for chosen in order.tensor_split(count_batches(jets, batch_size=batch_size)):
        yield jets[chosen].trim()


def by_length(jets: JetBatch, parts: int) -> Iterator[JetBatch]:
    """The jets in up to ``parts`` nearly equal groups, from few particles to many, each trimmed to its longest jet.

    Padding is then a small part of each: JetClass jets fill 63% of 64 slots, and nearly all of them in four groups.

    Examples
    --------
    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> jets = JetBatch(torch.zeros(2, 3, 4), mask, torch.zeros(2, 3, 10), torch.zeros(2, 4))
    >>> [part.max_particles for part in by_length(jets, 2)]
    [1, 3]
    """
    order = jets.n_particles.argsort(stable=True)
    for chosen in order.tensor_split(min(parts, len(jets))):
        yield jets[chosen].trim()


def count_batches(jets: JetBatch | StreamedJets, *, batch_size: int) -> int:
    """Steps of an epoch."""
    return -(-len(jets) // batch_size)


def labels_of(jets: JetBatch) -> Tensor:
    """The labels (B,) of jets that are known to have some.

    Raises
    ------
    DataError
        They have none.
    """
    if jets.label is None:
        raise DataError("the jets have no labels; read files with label branches")
    return jets.label


def _labelled(jets: JetBatch, flag: str) -> JetBatch:
    if jets.label is None:
        raise DataError(_NO_LABELS.format(flag=flag))
    return jets.replace(columns={})
