"""JetStream: shuffled batches of jets from many files, in bounded memory, the same in every process that asks alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked
from jetsym.errors import ConfigError, closest
from jetsym.jets.io.block import BadJets, ColumnSet
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.oddities import Oddities
from jetsym.jets.io.paths import Paths
from jetsym.jets.io.read import MappingFile
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.ahead import ahead
from jetsym.jets.io.streaming.blocks import Skipped, count_names, mixed
from jetsym.jets.io.streaming.delivery import Delivery
from jetsym.jets.io.streaming.mixing import Mixture
from jetsym.jets.io.streaming.opening import open_source
from jetsym.jets.io.streaming.places import VERSION, Stages, left_of, share, stages_until, total, upgraded
from jetsym.jets.io.streaming.scratch import Scratch
from jetsym.jets.io.streaming.windows import Reader, Window, batches
from jetsym.jets.ragged_features import FeatureSet
from jetsym.jets.weights import as_weights
from jetsym.progress import progress_bar

__all__ = ["JetStream"]

#: Jets to be held where nothing is asked for: 0.3 GB of JetClass.
BUFFER = 200_000

#: A cluster of more jets is read in parts where jets are shuffled, and decompressed as a whole for each.
_LARGEST = 131_072


class JetStream:
    """Batches of jets without padding, epoch by epoch.

    Blocks of some ten thousand jets and more, each a few whole clusters of one file, are read by threads, and their
    jets divided among many windows of 16,384 jets, so that batches hold the classes as a shuffle of all jets would,
    however the classes lie in the files; see :mod:`jetsym.jets.io.streaming.mixing`. Every block is read once in an
    epoch, and once more where an epoch or the part of a rank begins and ends within it: of a hundred blocks of each of
    ten classes that makes 1% more. The labels of files on this machine are read once more, at the beginning.

    The order depends on the seed, the epoch, the files and ``buffer``, and on nothing else: a stream continues bit for
    bit where another one has stopped, and the ranks of a distributed run divide the epoch among themselves without
    talking to each other. One that is continued by another number of ranks divides what is left of the epoch anew.

    Parameters
    ----------
    paths
        Files as in :func:`jetsym.jets.read`, or a cache made by :func:`jetsym.jets.io.streaming.cache.convert`.
    batch_size
        Jets per batch and rank.
    columns
        "kin" for momenta, axis and label; "full" for the particles' scalars as well; "all" for the further per-jet
        branches that :func:`jetsym.jets.read` gives as well.
    also
        Per-jet branches to give in any case, as far as the files have them: all, or none of them.
    shuffle
        True for training: jets in random order, and all ranks get the same number of batches, all of full size; the
        fewer than ``batch_size`` jets per rank that are left over are other ones in every epoch. False for
        evaluation: the order of the files, every jet once on one of the ranks, the last batch smaller.
    seed, epoch
        What the order depends on; the epoch counts itself on at each end.
    rank, world_size
        Number of this process among all that share the epoch, over all nodes.
    buffer
        Jets to be held in memory at a time; by default 200,000, and of a cache below 16 GB all. Where a block of every
        class is more, so many are held, up to five times ``buffer``: ten files of one cluster of 60,000 jets each are
        held whole at first. If even that is not enough, small classes follow each other.
    threads
        Threads that read.
    cache
        Folder of a cache: it is made of ``paths`` if it is not there, and then read instead of these.
    bad_jets
        "raise" or "drop", as in :func:`jetsym.jets.read`. Batches are smaller by the jets dropped.
    skip_bad
        Leave out damaged files and parts of files, instead of raising an error; :attr:`skipped` lists them.
    mapping
        As in :func:`jetsym.jets.read`, for other trees than JetClass's; a cache must have been made with the same one.
        Its column ``weight`` is one of "all" columns.

    numbered
        Give the jets the columns ``file``, the place of the file in :attr:`files`, and ``entry``, counted in it;
        columns that only some of the files have are then left out.
    scratch
        Where files are copied ahead of being read, see :mod:`jetsym.jets.io.streaming.scratch`. Of an epoch each is
        copied once, and stays until its last block has been read; the order of the jets does not depend on it.
    fold
        Give the jets of a fold alone, see :class:`jetsym.jets.io.folds.Fold`.
    features
        Give batches as a network of the field takes them, :class:`jetsym.jets.io.featured.FeaturedBatch`: with the 7
        features "kin", the 13 of "kinpid" or the 17 of "full", momenta and a mask, padded. "kin" needs no more than
        ``columns="kin"``. None gives batches without padding.
    slots
        With ``features``: particles that a jet has room for, 128 by default. Of more the first ones stay, in the order
        of the file.
    device
        Where batches are to be. Another thread brings them there, two batches ahead, from page-locked memory and
        without waiting, and computes the features there. None leaves them on the CPU.

    Raises
    ------
    DataError
        If files cannot be read, do not go together, change or vanish during the epoch.
    ConfigError
        If an option has no meaning, or there are too few jets for one batch on every rank.

    Examples
    --------
    >>> from jetsym.jets.io.sample import sample_dir
    >>> stream = JetStream(sample_dir() / "test", batch_size=256, seed=1)
    >>> len(stream), sum(len(batch) for batch in stream)
    (9, 2304)
    >>> stream.state_dict()["epoch"]
    1
    >>> batch = next(iter(JetStream(sample_dir() / "test", batch_size=256, features="full", slots=128)))
    >>> batch.features.shape, batch.p4.shape, batch.mask.shape
    (torch.Size([256, 128, 17]), torch.Size([256, 128, 4]), torch.Size([256, 128]))
    """

    @checked(
        batch_size=at_least(1),
        seed=at_least(0),
        rank=at_least(0),
        world_size=at_least(1),
        epoch=at_least(0),
        buffer=at_least(1),
        threads=at_least(1),
        slots=at_least(1),
    )
    def __init__(
        self,
        paths: Paths,
        *,
        batch_size: int,
        columns: ColumnSet = "full",
        also: Sequence[str] = (),
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        buffer: int | None = None,
        threads: int = 2,
        cache: str | os.PathLike[str] | None = None,
        bad_jets: BadJets = "raise",
        skip_bad: bool = False,
        mapping: MappingFile = None,
        numbered: bool = False,
        scratch: Scratch | None = None,
        fold: Fold | None = None,
        features: FeatureSet | None = None,
        slots: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if rank >= world_size:
            raise ConfigError(f"rank={rank}; expected less than world_size={world_size}")
        self._delivery = Delivery(features, slots, None if device is None else torch.device(device))
        known = load_mapping(mapping)
        options: dict[str, Any] = {"columns": columns, "also": tuple(also), "bad_jets": bad_jets, "skip_bad": skip_bad}
        largest = _LARGEST if shuffle else None
        further: dict[str, Any] = {"numbered": numbered, "scratch": scratch, "fold": fold}
        self._source = open_source(paths, cache, known, options, alone=world_size == 1, largest=largest, **further)
        self._delivery.expect(columns, self._source.scalars, self._source.files[0])
        self._batch_size, self._shuffle, self._seed = batch_size, shuffle, seed
        self._rank, self._world_size = rank, world_size
        self._threads, self._skip_bad = threads, skip_bad
        self._epoch = epoch
        self._passed: Stages = []  # of each number of ranks: that, and the jets that each has given
        self.n_jets = sum(map(len, self._source.blocks))
        self._whole = self._source.whole if buffer is None or buffer >= self.n_jets else None
        self._buffer = buffer or BUFFER
        if not len(self) and shuffle:
            raise ConfigError(
                f"{self.n_jets} jets are too few for one batch of {batch_size} on each of {world_size} ranks; "
                "expected a smaller batch_size, fewer ranks or more files"
            )

    def __len__(self) -> int:
        """Count the batches per epoch on this rank."""
        if self._shuffle:
            return self.n_jets // self._world_size // self._batch_size
        start, stop = share(self.n_jets, self._rank, self._world_size)
        return -(-(stop - start) // self._batch_size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self._source.classes

    @property
    def labelled(self) -> bool:
        """True if the jets have labels."""
        return self._source.labelled

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the further per-jet columns that the batches have."""
        return self._source.names

    def sums(self, column: str | None = None, *, progress: bool = False) -> NDArray[np.float64]:
        """Sum, for each class, its jets, a column of theirs and its squares, from a look at labels and column alone.

        Parameters
        ----------
        column
            One of :attr:`names`; None for 1 of every jet.
        progress
            Show a progress bar.

        Returns
        -------
        (3, classes) float64
            Jets, sums and sums of squares; of one class where the jets have no labels. Jets that ``bad_jets`` will
            leave out count.

        Raises
        ------
        DataError
            A value is NaN or infinite; or a file cannot be read.
        """
        classes = len(self.classes) if self.labelled else 1
        total = np.zeros((3, classes))
        names = () if column is None else (column,)
        with progress_bar(" and ".join(("labels", *names)), self.n_jets, shown=progress) as advance:
            for size, label, found in self._source.flat(names):
                own = as_weights(None if column is None else found[column], size)
                place = np.zeros(size, np.int64) if label is None else label
                total += [np.bincount(place, values, classes) for values in (np.ones(size), own, own**2)]
                advance(size)
        return total

    @property
    def skipped(self) -> list[Skipped]:
        """Files, and parts of files, that have been left out so far because they are damaged."""
        return self._source.skipped

    @property
    def oddities(self) -> Oddities:
        """What is odd about the jets read so far, and what has been left out of them."""
        return self._source.oddities

    @property
    def files(self) -> list[File]:
        """The files, or the folder of the cache, that are read."""
        return [*self._source.files]

    @property
    def several(self) -> list[File]:
        """Those of the files that have several jets in an entry, each of which counts as an entry."""
        return self._source.several

    @property
    def n_entries(self) -> list[int]:
        """Number of entries of each of the files, those that are no jets included."""
        return self._source.n_entries

    def fingerprint(self) -> str:
        """Digest what the order of the jets depends on besides the settings, whatever the files are called."""
        return self._source.fingerprint(names=False)

    def class_counts(self) -> dict[str, int] | None:
        """Count the jets of each class, from the labels alone; None where they would have to be fetched from afar."""
        counts = None if self._counts is None else self._counts.sum(axis=0)
        if counts is None or counts[len(self.classes) :].any():
            return None
        return dict(zip(self.classes, counts.tolist(), strict=False))

    def digest_of_labels(self) -> str | None:
        """Digest how many jets of each class are in each block; None where nobody has counted them."""
        if self._counts is None:
            return None
        return hashlib.sha256(np.ascontiguousarray(self._counts, np.int64).tobytes()).hexdigest()[:16]

    def __iter__(self) -> Iterator[Any]:
        """Give the batches that are left of the epoch: a RaggedBatch each, or a FeaturedBatch where it has features."""
        if not self._passed or self._passed[-1][0] != self._world_size:
            self._passed.append([self._world_size, 0])
        stage = self._passed[-1]
        pieces = self._left()
        windows = (window for piece in pieces for window in self._windows(*piece))
        before, found = stage[1], batches(windows, self._batch_size, total(pieces))
        delivered = ((given, None if batch is None else self._delivery(batch)) for given, batch in found)
        for given, batch in ahead(delivered) if self._delivery.works else delivered:
            stage[1] = before + given
            if batch is not None:
                yield batch
            del batch
        self._epoch, self._passed = self._epoch + 1, []

    def set_epoch(self, epoch: int, *, jets: int = 0) -> None:
        """Go to a place in an epoch: ``jets`` of it have been shown, by all processes together.

        In an epoch of which the stream has loaded a state, or in which it is, the processes are those that have really
        shown them, as far as that goes; else as many as there are now.

        Raises
        ------
        ConfigError
            If the processes cannot have shown so many.
        """
        earlier = self._passed if epoch == self._epoch else []
        passed, left = stages_until([*earlier, [self._world_size, self.n_jets // self._world_size]], jets)
        if left:
            raise ConfigError(
                f"jets={jets}; expected at most {self.n_jets}, in equal parts on each of {self._world_size} processes"
            )
        self._epoch, self._passed = epoch, passed

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: a few numbers and strings, the same on all ranks after the same batch.

        ``passed`` is what has been shown of the epoch: of each number of processes that have been at it, one after the
        other, that number and the jets that each of them has shown.
        """
        return {**self._settings(), "epoch": self._epoch, "passed": [list(stage) for stage in self._passed if stage[1]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream over the same files stood, with as many processes as there are now.

        With as many as before the next batch is the next one of that stream; with others the rest of the epoch is
        divided among them, so that every jet comes once all the same.

        Raises
        ------
        ConfigError
            If that stream had other files, or other options on which the order depends.
        """
        state = upgraded(state)
        for name, own in self._settings().items():
            if state.get(name) != own:
                raise ConfigError(
                    f"the saved stream had {name}={state.get(name)!r}, this one has {own!r}; "
                    "open it with the same files and options to continue"
                )
        if unknown := set(state) - {*self._settings(), "epoch", "passed"}:
            raise ConfigError(f"{sorted(unknown)[0]!r} is not part of a stream's state; {closest('passed', state)}")
        self._epoch, self._passed = int(state["epoch"]), [[int(n) for n in stage] for stage in state["passed"]]

    def _settings(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "buffer": None if self._whole is not None else self._buffer,
            "jets": self._source.fingerprint(),
        }

    def _left(self) -> list[tuple[int, int]]:
        """Find which parts of the epoch's sequence of jets this rank is still to show."""
        whole = self._batch_size if self._shuffle else None
        return left_of(self._passed, self.n_jets, self._rank, self._world_size, whole=whole)

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._epoch, *place))

    @cached_property
    def _counts(self) -> NDArray[np.int64] | None:
        return self._source.count()

    @cached_property
    def _mixture(self) -> Mixture:
        counts = self._counts
        if counts is None:
            counts = count_names(self._source.blocks, self._source.groups)
        return Mixture(counts, buffer=self._buffer)

    def _windows(self, start: int, stop: int) -> Iterator[Window]:
        """Read the jets from one place of the epoch's sequence to another."""
        if self._whole is not None:
            order = self._rng(0).permutation(self.n_jets)[start:stop] if self._shuffle else np.arange(start, stop)
            return iter([Window(self._whole, order if self._source.chosen is None else self._source.chosen[order])])
        reader = Reader(self._source, self._threads, self._skip_bad)
        if not self._shuffle:
            return reader.in_order(start, stop, buffer=self._buffer)
        rng = self._rng(0)
        order = mixed(self._source.blocks, self._source.groups, rng)
        plan = self._mixture.plan(order, rng)
        return reader.mixed(start, stop, plan=plan, mixture=self._mixture, rng=self._rng)
