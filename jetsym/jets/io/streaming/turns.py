"""Blocks of files, read by the processes that share (:mod:`jetsym.ranks`), each in its turn, for the first to append.

In every turn each process reads one block, ahead of time in threads of its own, while the first appends those of the
turn before, in their order. So one process alone writes the cache, which has the bytes that it would have made alone.
Blocks come to it as hidden files in the folder of the cache, which all processes must see; it removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from jetsym.errors import DataError
from jetsym.jets.io.block import BadJetsError
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.streaming.appending import CachedBlock, CacheWriter
from jetsym.jets.io.streaming.blocks import Block, JetFiles, Skipped
from jetsym.ranks import here

__all__ = ["append_blocks", "remove_blocks"]

#: What the hidden files are called: of a block, by its place among those that are appended.
_PASSED = ".block-{}.rows"


def append_blocks(
    folder: Path,
    source: JetFiles,
    blocks: Sequence[Block],
    writer: CacheWriter | None,
    *,
    threads: int,
    skip_bad: bool,
    advance: Callable[[int], None],
) -> None:
    """Read blocks, and append them in their order; all the processes that share must call it.

    Parameters
    ----------
    folder
        Of the cache.
    source, blocks
        What is read.
    writer
        What appends, in the first process; None in the others.
    threads
        Threads that read, in each process.
    skip_bad
        Leave out blocks that cannot be read.
    advance
        Called with the number of entries that have been appended.

    Raises
    ------
    DataError
        A block cannot be read, or not be appended.
    JetsymError
        Another process ends with an error.
    """
    ranks = here()
    with closing(_ahead(source, blocks[ranks.rank :: ranks.size], threads=threads, skip_bad=skip_bad)) as ahead:
        turns = _Turns(folder, source, blocks, writer, ahead, advance)
        try:
            earlier: list[CachedBlock | Skipped] = []
            for first in range(0, len(blocks) + ranks.size, ranks.size):
                earlier = ranks.in_order(partial(turns.next, first, earlier))
        finally:
            turns.end()


def remove_blocks(folder: Path) -> None:
    """Remove the blocks that killed processes have left in a folder."""
    for path in folder.glob(_PASSED.format("*")):
        path.unlink(missing_ok=True)


class _Turns:
    """The turns of one process."""

    def __init__(
        self,
        folder: Path,
        source: JetFiles,
        blocks: Sequence[Block],
        writer: CacheWriter | None,
        ahead: Iterator[CachedBlock | Skipped],
        advance: Callable[[int], None],
    ) -> None:
        self._folder, self._source, self._blocks = folder, source, blocks
        self._writer, self._ahead, self._advance = writer, ahead, advance
        self._ranks = here()
        #: The block that the first process has read itself, and the file of the last one of another.
        self._kept: CachedBlock | Skipped | None = None
        self._own: Path | None = None

    def next(self, first: int, earlier: Sequence[CachedBlock | Skipped]) -> list[tuple[int, CachedBlock | Skipped]]:
        """Append the blocks of the turn before, and read the own one of those that begin with a number.

        Returns it with its number, and without its rows: these are in memory, or in a file.
        """
        if self._writer is not None:
            for number, block in enumerate(earlier, first - self._ranks.size):
                self._append(self._writer, number, block)
        number = first + self._ranks.rank
        for block in islice(self._ahead, 1):
            if self._ranks.is_first:
                self._kept = block
            elif isinstance(block, CachedBlock):
                self._own = self._passed(number)
                _save(self._own, block)
            return [(number, _without_rows(block))]
        return []

    def _append(self, writer: CacheWriter, number: int, block: CachedBlock | Skipped) -> None:
        own, path = self._blocks[number], self._passed(number)
        if number % self._ranks.size == 0:
            block = self._kept or block
            self._kept = None
        elif isinstance(block, CachedBlock):
            block = _load(path, block)
        writer.append(block, where=str(self._source.files[own.file]))
        path.unlink(missing_ok=True)
        self._advance(len(own))

    def _passed(self, number: int) -> Path:
        return self._folder / _PASSED.format(number)

    def end(self) -> None:
        """Remove blocks that nobody has taken: the process's own, or in the first all that are there."""
        if self._ranks.is_first:
            remove_blocks(self._folder)
        elif self._own is not None:
            self._own.unlink(missing_ok=True)


def _without_rows(block: CachedBlock | Skipped) -> CachedBlock | Skipped:
    if isinstance(block, Skipped):
        return block
    return replace(block, arrays={name: rows[:0] for name, rows in block.arrays.items()})


def _save(path: Path, block: CachedBlock) -> None:
    """Write the rows of a block, one array after the other."""
    with path.open("wb") as file:
        for rows in block.arrays.values():
            np.save(file, rows, allow_pickle=False)


def _load(path: Path, block: CachedBlock) -> CachedBlock:
    """Return a block with the rows that :func:`_save` has written."""
    with path.open("rb") as file:
        return replace(block, arrays={name: np.load(file, allow_pickle=False) for name in block.arrays})


def _ahead(
    source: JetFiles, blocks: Sequence[Block], *, threads: int, skip_bad: bool
) -> Generator[CachedBlock | Skipped, None, None]:
    """Give what a cache keeps of blocks, in order, some of them read in advance."""
    remaining = iter(blocks)
    with ThreadPoolExecutor(threads, thread_name_prefix="jetsym-convert") as pool:
        try:
            reading = [(block, pool.submit(source.read, block)) for block in islice(remaining, 2 * threads)]
            while reading:
                block, future = reading.pop(0)
                jets: PackedJets | Skipped
                try:
                    jets = future.result()[0]
                except DataError as error:
                    if not skip_bad or isinstance(error, BadJetsError):
                        raise
                    jets = Skipped(source.files[block.file], len(block), str(error))
                reading += [(later, pool.submit(source.read, later)) for later in islice(remaining, 1)]
                yield jets if isinstance(jets, Skipped) else CachedBlock.of(jets)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
