"""JetStream: shuffled batches of jets from many files, in bounded memory, the same in every process that asks alike."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jetsym.errors import ConfigError, DataError, closest, expect_one_of
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.packed import PackedJets, RaggedBatch
from jetsym.jets.io.paths import Paths, jet_files, local_files
from jetsym.jets.io.read import BadJets, ColumnSet, MappingFile, check_number
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.blocks import Block, JetFiles, Skipped, mixed
from jetsym.jets.schema import WEIGHT
from jetsym.jets.weights import as_weights
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jetsym.jets.io.streaming.cache import CacheFiles

__all__ = ["JetStream"]

#: Jets in a shuffle buffer where none is asked for: 0.3 GB of JetClass. While one is used, the next is filled.
BUFFER = 200_000


class JetStream:
    """Batches of jets without padding, epoch by epoch.

    Blocks of some ten thousand jets, each a few whole clusters of one file, are shuffled so that the files' classes
    alternate. ``buffer`` jets of successive blocks are read at once, by threads, and shuffled jet by jet, while the
    next are being read. The order depends on the seed, the epoch and the files, and on nothing else: a stream
    continues bit for bit where another one has stopped, and the ranks of a distributed run divide the epoch among
    themselves without talking to each other.

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
        Jets that are shuffled at a time, to within a block; by default 200,000, and of a cache below 16 GB all.
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
    """

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
    ) -> None:
        for name, value in (("batch_size", batch_size), ("world_size", world_size), ("threads", threads)):
            check_number(name, value, "jets" if name == "batch_size" else name)
        check_number("buffer", buffer, "jets", none="None for the default")
        for name, value in (("seed", seed), ("epoch", epoch), ("rank", rank)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"{name}={value!r}; expected a number of at least 0")
        if rank >= world_size:
            raise ConfigError(f"rank={rank}; expected less than world_size={world_size}")
        expect_one_of("columns", columns, ("all", "full", "kin"))
        expect_one_of("bad_jets", bad_jets, ("raise", "drop"))
        known = load_mapping(mapping)
        options: dict[str, Any] = {"columns": columns, "also": tuple(also), "bad_jets": bad_jets, "skip_bad": skip_bad}
        self._source = _open(paths, cache, known, options, alone=world_size == 1)
        self._batch_size, self._shuffle, self._seed = batch_size, shuffle, seed
        self._rank, self._world_size = rank, world_size
        self._threads, self._skip_bad = threads, skip_bad
        self._epoch, self._batch = epoch, 0
        self._pin = torch.cuda.is_available()
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
        start, stop = self._share
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

    def __iter__(self) -> Iterator[RaggedBatch]:
        """Give the batches that are left of the epoch."""
        batch, parts = self._batch, []
        start, stop = self._share
        position, stop = batch * self._batch_size, min(stop - start, len(self) * self._batch_size)
        for begin, end, window in self._windows(position, stop):
            while position < min(end, stop):
                full = min((batch + 1) * self._batch_size, stop)
                until = min(full, end)
                parts.append(window.take(position - begin, until - begin))
                position = until
                if position == full:
                    jets, parts = PackedJets.concatenate(parts), []
                    batch += 1
                    self._batch = batch
                    if len(jets):
                        yield jets.batch().pin_memory() if self._pin else jets.batch()
            del window  # the next but one is read as soon as the next is asked for
        self._epoch, self._batch = self._epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self._epoch, self._batch = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: a few numbers and strings, the same on all ranks after the same batch."""
        return {**self._settings(), "epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream over the same files stood: its next batch is the next one of this.

        Raises
        ------
        ConfigError
            If that stream had other files, or other options on which the order depends.
        """
        for name, own in self._settings().items():
            if state.get(name) != own:
                raise ConfigError(
                    f"the saved stream had {name}={state.get(name)!r}, this one has {own!r}; "
                    "open it with the same files and options to continue"
                )
        if unknown := set(state) - {*self._settings(), "epoch", "batch"}:
            raise ConfigError(f"{sorted(unknown)[0]!r} is not part of a stream's state; {closest('batch', state)}")
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def _settings(self) -> dict[str, Any]:
        return {
            "version": 1,
            "seed": self._seed,
            "batch_size": self._batch_size,
            "shuffle": self._shuffle,
            "world_size": self._world_size,
            "buffer": None if self._whole is not None else self._buffer,
            "jets": self._source.fingerprint(),
        }

    @property
    def _share(self) -> tuple[int, int]:
        """The part of the epoch's sequence of jets that is this rank's; the parts differ by one jet at most."""
        return tuple((self._rank + end) * self.n_jets // self._world_size for end in (0, 1))  # type: ignore[return-value]

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._epoch, *place))

    def _windows(self, position: int, stop: int) -> Iterator[tuple[int, int, _Window]]:
        """Fill the buffers from a position of this rank's sequence on; each with its first position and its end."""
        if self._whole is not None:
            start, end = self._share
            order = self._rng(0).permutation(self.n_jets)[start:end] if self._shuffle else np.arange(start, end)
            yield 0, len(order), _Window(self._whole, order)
            return
        plan = [(begin, end, blocks) for begin, end, blocks in self._plan() if position < end and begin < stop]
        room = max((sum(map(self._source.particles, blocks)) for _, _, blocks in plan), default=0)
        arenas = [self._source.arena(room) for _ in plan[:2]]
        with ThreadPoolExecutor(self._threads, thread_name_prefix="jetsym-read") as pool:

            def ask(number: int) -> list[Future[Any]]:
                arena = arenas[number % 2]
                arena.clear()
                return [pool.submit(self._read, block, arena) for block in plan[number][2]]

            try:
                reading = [ask(0)] if plan else []
                for number, (begin, end, blocks) in enumerate(plan):
                    # Ask for the next ones first, so that the threads have work while these are used.
                    if number + 1 < len(plan):
                        reading.append(ask(number + 1))
                    yield begin, end, self._fill(blocks, reading.pop(0), begin, arenas[number % 2])
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _plan(self) -> list[tuple[int, int, list[Block]]]:
        """Plan what this rank reads in the epoch, a buffer at a time: first position, end, blocks."""
        blocks = list(self._source.blocks)
        if self._shuffle:
            blocks = mixed(blocks, self._source.groups, self._rng(0))
        start, stop = self._share
        # Buffers of the same size, lest the last one holds a few blocks of a few classes only.
        size = (stop - start) / max(1, -(-(stop - start) // self._buffer))
        windows: dict[int, tuple[int, int, list[Block]]] = {}
        passed = 0
        for block in blocks:
            first, last = max(start - passed, 0), min(stop - passed, len(block))
            begin = passed + first - start
            passed += len(block)
            if first < last:
                own = Block(block.file, block.start + first, block.start + last)
                place = int((begin + len(own) / 2) / size)
                since, _, filled = windows.get(place, (begin, begin, []))
                windows[place] = since, begin + len(own), [*filled, own]
        return list(windows.values())

    def _read(self, block: Block, arena: Arena) -> tuple[PackedJets, NDArray[np.bool_] | None] | Skipped:
        try:
            return self._source.read(block, arena)
        except DataError as error:
            if not self._skip_bad:
                raise
            return Skipped(self._source.files[block.file], len(block), str(error))

    def _fill(self, blocks: Sequence[Block], reading: list[Future[Any]], begin: int, arena: Arena) -> _Window:
        parts, kept = [], []
        for block, future in zip(blocks, reading, strict=True):
            found = future.result()
            if isinstance(found, Skipped):
                self._source.skipped.append(found)
                kept.append(np.zeros(len(block), np.bool_))
            else:
                jets, those = found
                parts.append(jets)
                kept.append(np.ones(len(block), np.bool_) if those is None else those)
        reading.clear()
        there = np.concatenate(kept)
        joined = arena.join(parts)
        if joined is None:  # some block has left jets out, or needed more room
            parts = [part.slice(0, len(part)) for part in parts]
            filled, rows = PackedJets.concatenate(parts) if parts else PackedJets.none(), np.arange(there.sum())
        else:
            filled, rows = joined
        places = np.full(len(there), -1)
        places[there] = rows
        if self._shuffle:
            places = places[self._rng(1, begin).permutation(len(places))]
        return _Window(filled, places)


@dataclass(frozen=True)
class _Window:
    """A filled buffer: its jets, and their order; −1 stands for a jet that has been left out."""

    jets: PackedJets
    order: NDArray[np.int64]

    def take(self, start: int, stop: int) -> PackedJets:
        chosen = self.order[start:stop]
        return self.jets.take(chosen[chosen >= 0])


def _open(
    paths: Paths,
    cache: str | os.PathLike[str] | None,
    mapping: TreeMapping | None,
    options: dict[str, Any],
    *,
    alone: bool,
) -> JetFiles | CacheFiles:
    """Open the source that paths and cache mean."""
    from jetsym.jets.io.streaming.cache import CacheFiles, is_cache

    wanted = {name: options[name] for name in ("columns", "also")}
    if isinstance(paths, str | os.PathLike) and is_cache(Path(paths).expanduser()):
        return CacheFiles(Path(paths).expanduser(), mapping=mapping, **wanted)
    if cache is None:
        return JetFiles(jet_files(paths), **options, mapping=mapping)
    files, folder = local_files(paths), Path(cache).expanduser()
    if not is_cache(folder):
        if not alone:
            raise ConfigError(f"{folder} holds no cache yet; make it before a distributed run, with: jetsym convert")
        from jetsym.jets.io.streaming.convert import convert

        convert(files, folder, **options, mapping=mapping)
    found = CacheFiles(folder, sources=None if options["skip_bad"] else files, mapping=mapping, **wanted)
    for name in set(options["also"]).difference(found.names):
        computed = name == WEIGHT and mapping is not None and mapping.reweighting is not None
        if computed or name in index_file(files[0], mapping).layout.columns:
            raise ConfigError(
                f"{folder} is a cache without the column {name!r}, which {files[0]} has; choose another folder, or "
                "make it again: jetsym convert … --overwrite"
            )
    return found
