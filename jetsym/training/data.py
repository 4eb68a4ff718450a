"""Training jets, in memory or streamed from files, and their order in an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets.batch import JetBatch, first_difference
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.schema import WEIGHT
from jetsym.jets.weights import NO_WEIGHTS, weight_column
from jetsym.training.config import TrainConfig
from jetsym.training.seeds import generator_for, seed_for
from jetsym.training.weights import expect_alike, mean_weight, weighed

__all__ = ["StreamedJets", "batches", "count_batches", "in_parts", "load_jets", "size_of_batch"]

T = TypeVar("T")

_NO_LABELS = "the files of {flag} have no label branches; expected labelled jets to train on"


class StreamedJets:
    """Training jets that are read anew in every epoch; the few that fill no batch are others each time.

    Raises
    ------
    DataError
        The files cannot be read, or have no labels.
    ConfigError
        A batch cannot be divided evenly among the processes.
    """

    def __init__(self, config: TrainConfig, *, rank: int = 0, ranks: int = 1, progress: bool = False) -> None:
        from jetsym.jets.io import JetStream

        if config.batch_size % ranks:
            raise ConfigError(f"--batch_size is {config.batch_size}; expected a multiple of the {ranks} processes")
        self._max_particles, self._batch_size = config.max_particles, config.batch_size
        self._stream = JetStream(
            config.data,
            batch_size=config.batch_size // ranks,
            seed=seed_for("shuffle", seed=config.seed),
            cache=config.cache,
            rank=rank,
            world_size=ranks,
            mapping=load_mapping(config.mapping, tree=config.tree),
            also=() if config.weights == NO_WEIGHTS else (config.weights or WEIGHT,),
        )
        self.classes = self._stream.classes
        if not self._stream.labelled:
            raise DataError(_NO_LABELS.format(flag="--data"))
        #: The column that weighs the jets, or None; with it, or for balanced classes, a first look at all files tells
        #: the sum of the weights of each class, of mean 1, and the effective number of jets.
        self.weighed_by = weight_column(self._stream.names, config.weights)
        if self.weighed_by is not None or config.class_weights == "balanced":
            jets, sums, squares = self._stream.sums(self.weighed_by, progress=progress)
            self._mean = mean_weight(jets.sum(), sums.sum(), column=self.weighed_by or "")
            self.sums, self.n_eff = sums / self._mean, float(sums.sum() ** 2 / squares.sum())

    def __len__(self) -> int:
        """Return the number of jets in an epoch, of all processes together."""
        return len(self._stream) * self._batch_size

    def fingerprint(self) -> dict[str, Any]:
        """Return what the order of the jets depends on, besides the epoch."""
        return {name: value for name, value in self._stream.state_dict().items() if name not in ("epoch", "batch")}

    def batches(self, epoch: int, device: torch.device | str, *, start: int = 0) -> Iterator[JetBatch]:
        """Yield an epoch's batches from number ``start`` on, padded on the device."""
        self._stream.load_state_dict(self._stream.state_dict() | {"epoch": epoch, "batch": start})
        on_cpu = torch.device(device).type == "cpu"
        for batch in self._stream if on_cpu else one_ahead(iter(self._stream)):
            jets = batch.to(device).to_padded(self._max_particles)
            if self.weighed_by is not None:
                jets = jets.replace(columns={WEIGHT: (jets.columns[self.weighed_by].double() / self._mean).float()})
            yield jets


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, each made by another thread while the one before it is used: an accelerator need not wait for it.

    Examples
    --------
    >>> list(one_ahead(iter(range(3))))
    [0, 1, 2]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="jetsym-ahead") as pool:
        following = pool.submit(lambda: list(islice(items, 1)))
        while found := following.result():
            following = pool.submit(lambda: list(islice(items, 1)))
            yield found[0]


def load_jets(
    config: TrainConfig, *, rank: int = 0, ranks: int = 1, progress: bool = False
) -> tuple[JetBatch | StreamedJets, JetBatch]:
    """Read a run's training and validation jets, for one of ``ranks`` processes.

    Jets in memory are the same in every process, which take their parts of each batch. Where a column weighs them, it
    is their only further one, called ``weight``, of mean 1 over the files; see :mod:`jetsym.training.weights`.

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
        "tree": config.tree,
    }
    if config.stream:
        training: JetBatch | StreamedJets = StreamedJets(config, rank=rank, ranks=ranks, progress=progress)
    else:
        training = _labelled(read(config.data, **options), "--data", config.weights)
    if config.val is not None:
        validation = _labelled(read(config.val, **options), "--val", config.weights)
        if validation.classes != training.classes:
            difference = first_difference(validation.classes, training.classes)
            raise DataError(f"the jets of --val are of other classes than those of --data: {difference}")
        expect_alike(training, validation, config)
        return training, validation
    assert isinstance(training, JetBatch)  # a stream has jets of its own to validate on
    held_out = len(training) // 10
    if not held_out:
        raise ConfigError(f"--data holds {len(training)} jets, too few to hold a tenth out; give --val as well")
    order = torch.randperm(len(training), generator=generator_for("split", seed=config.seed))
    training, validation = training[order[:-held_out]], training[order[-held_out:]]
    expect_alike(training, validation, config)
    return training, validation


def batches(
    jets: JetBatch | StreamedJets,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[JetBatch]:
    """Yield all jets once, in the random order of an epoch, in nearly equal batches of at most ``batch_size``.

    The first ``start`` batches are left out, and the others are as they would be after them. Of every batch comes the
    part of one of ``ranks`` processes. Streamed jets come on the device, others where they are.
    """
    if isinstance(jets, StreamedJets):
        yield from jets.batches(epoch, device, start=start)
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


def _labelled(jets: JetBatch, flag: str, weights: str | None) -> JetBatch:
    if jets.label is None:
        raise DataError(_NO_LABELS.format(flag=flag))
    return weighed(jets, weights, flag)
