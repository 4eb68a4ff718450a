"""Windows, the pieces of an epoch that are in memory: filled by threads while the ones before them are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.block import BadJetsError
from jetsym.jets.io.packed import PackedJets, RaggedBatch
from jetsym.jets.io.streaming.blocks import Block, JetFiles, Skipped
from jetsym.jets.io.streaming.cache import CacheFiles
from jetsym.jets.io.streaming.mixing import Mixture, Plan

__all__ = ["Reader", "Window", "batches"]

#: A part of a window: its jets, and how many others have been left out.
Part = tuple[PackedJets | None, int]


@dataclass(frozen=True)
class Window:
    """Jets in memory, and their order; −1 stands for a jet that has been left out."""

    jets: PackedJets
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.order)

    def take(self, start: int, stop: int) -> PackedJets:
        """Copy the jets from one place of the order to another."""
        chosen = self.order[start:stop]
        return self.jets.take(chosen[chosen >= 0])


@dataclass(frozen=True)
class Reader:
    """A reader of windows from a source, with ``threads`` threads; ``skip_bad`` as of a stream."""

    source: JetFiles | CacheFiles
    threads: int
    skip_bad: bool

    def in_order(self, start: int, stop: int, *, buffer: int) -> Iterator[Window]:
        """Read the jets from one place of the files to another, some ``buffer`` of them at a time."""
        plan = self._successive(start, stop, buffer)
        room = max((sum(map(self.source.particles, blocks)) for blocks in plan), default=0)
        arenas = [self.source.arena(room) for _ in plan[:2]]
        self.source.expect([block for blocks in plan for block in blocks])
        with ThreadPoolExecutor(self.threads, thread_name_prefix="jetsym-read") as pool:

            def ask(number: int) -> list[Future[Any]]:
                arena = arenas[number % 2]
                arena.clear()
                return [pool.submit(self._read, block, arena) for block in plan[number]]

            try:
                reading = [ask(0)] if plan else []
                for number, blocks in enumerate(plan):
                    # Ask for the next ones first, so that the threads have work while these are used.
                    if number + 1 < len(plan):
                        reading.append(ask(number + 1))
                    yield self._fill(blocks, reading.pop(0), arenas[number % 2])
            finally:
                self.source.expect(())
                pool.shutdown(wait=True, cancel_futures=True)

    def mixed(
        self,
        start: int,
        stop: int,
        *,
        plan: Plan,
        mixture: Mixture,
        rng: Callable[..., np.random.Generator],
    ) -> Iterator[Window]:
        """Read the jets from one place of a planned epoch to another; ``rng`` gives a generator for every place."""
        windows = range(int(np.searchsorted(plan.starts, start, "right")) - 1, int(np.searchsorted(plan.starts, stop)))
        begin, end = np.searchsorted(plan.window, [windows.start, windows.stop])
        _, first, visit = np.unique(plan.visit[begin:end], return_index=True, return_inverse=True)
        turns = np.argsort(first, kind="stable")  # visits in the order in which they are needed
        needed = plan.window[begin + first[turns]]
        rows_of = np.split(begin + np.argsort(visit, kind="stable"), np.cumsum(np.bincount(visit))[:-1])
        blocks = [self.source.blocks[number] for number in set(plan.block[begin:end].tolist())]
        room = max(map(self.source.particles, blocks), default=0)
        self.source.expect([self.source.blocks[number] for number in plan.block[begin + first[turns]].tolist()])
        free: SimpleQueue[Arena] = SimpleQueue()
        for _ in range(self.threads):
            free.put(self.source.arena(room))
        parts: dict[int, Part] = {}
        reading: deque[tuple[NDArray[np.int64], Future[Any]]] = deque()
        asked = 0
        with ThreadPoolExecutor(self.threads, thread_name_prefix="jetsym-read") as pool:
            try:
                for window in windows:
                    due = int(np.searchsorted(needed, window, side="right"))
                    # What the next one needs as well, and a block a thread, so that they have work meanwhile.
                    ahead = max(int(np.searchsorted(needed, window + 1, side="right")), due + self.threads)
                    while asked < min(ahead, len(turns)):
                        rows = rows_of[turns[asked]]
                        reading.append((rows, pool.submit(self._divide, plan, rows, mixture, rng, free)))
                        asked += 1
                    while asked - len(reading) < due:
                        parts |= self._divided(plan, *reading.popleft())
                    own = range(*np.searchsorted(plan.window, [window, window + 1]))
                    jets, places = _joined([parts.pop(row) for row in own])
                    places = places[rng(1, window).permutation(len(places))]
                    bounds = np.clip([start, stop], plan.starts[window], plan.starts[window + 1]) - plan.starts[window]
                    yield Window(jets, places[slice(*bounds)])
                    del jets
            finally:
                self.source.expect(())
                pool.shutdown(wait=True, cancel_futures=True)

    def _successive(self, start: int, stop: int, buffer: int) -> list[list[Block]]:
        """Plan what is read at a time: blocks of about ``buffer`` jets, cut where the part begins and ends."""
        # Windows of the same size, lest the last one holds a few jets only.
        size = (stop - start) / max(1, -(-(stop - start) // buffer))
        windows: dict[int, list[Block]] = {}
        passed = 0
        for block in self.source.blocks:
            first, last = max(start - passed, 0), min(stop - passed, len(block))
            begin = passed + first - start
            passed += len(block)
            if first < last:
                own = Block(block.file, block.start + first, block.start + last)
                windows.setdefault(int((begin + len(own) / 2) / size), []).append(own)
        return list(windows.values())

    def _read(self, block: Block, arena: Arena) -> tuple[PackedJets, NDArray[np.bool_] | None] | Skipped:
        try:
            return self.source.read(block, arena)
        except DataError as error:
            if not self.skip_bad or isinstance(error, BadJetsError):
                raise
            return Skipped(self.source.files[block.file], len(block), str(error))

    def _divide(
        self,
        plan: Plan,
        rows: NDArray[np.int64],
        mixture: Mixture,
        rng: Callable[..., np.random.Generator],
        free: SimpleQueue[Arena],
    ) -> list[Part] | Skipped:
        """Read a block, and copy its jets into the pieces that some rows of the plan say."""
        number = int(plan.block[rows[0]])
        arena = free.get()
        try:
            found = self._read(self.source.blocks[number], arena)
            if isinstance(found, Skipped):
                return found
            jets, orders = found[0], {}
            for stratum in np.unique(plan.stratum[rows]):
                which = mixture.members(number, int(stratum), jets)
                orders[stratum] = which[rng(2, number, int(stratum)).permutation(len(which))]
            parts: list[Part] = []
            for stratum, first, last in zip(plan.stratum[rows], plan.first[rows], plan.last[rows], strict=True):
                chosen = np.sort(orders[stratum][first:last])  # the window is shuffled anyway, and this reads faster
                there = chosen[chosen >= 0]
                parts.append((jets.take(there), len(chosen) - len(there)))
            return parts
        finally:
            arena.clear()
            free.put(arena)

    def _divided(self, plan: Plan, rows: NDArray[np.int64], future: Future[Any]) -> dict[int, Part]:
        """Wait for the pieces of a block, by row."""
        found: list[Part] | Skipped = future.result()
        if isinstance(found, Skipped):
            lost = [int(size) for size in plan.last[rows] - plan.first[rows]]
            self.source.skipped.append(Skipped(found.path, sum(lost), found.reason))
            found = [(None, size) for size in lost]
        return dict(zip(rows.tolist(), found, strict=True))

    def _fill(self, blocks: Sequence[Block], reading: list[Future[Any]], arena: Arena) -> Window:
        parts, kept = [], []
        for block, future in zip(blocks, reading, strict=True):
            found = future.result()
            if isinstance(found, Skipped):
                self.source.skipped.append(found)
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
        return Window(filled, places)


def _joined(parts: list[Part]) -> tuple[PackedJets, NDArray[np.int64]]:
    """Join parts, and say where each of their jets is; −1 for those that have been left out."""
    places, begin = [], 0
    for jets, lost in parts:
        size = 0 if jets is None else len(jets)
        places += [np.full(lost, -1), np.arange(begin, begin + size)]
        begin += size
    there = [jets for jets, _ in parts if jets is not None and len(jets)]
    parts.clear()
    return PackedJets.concatenate(there) if there else PackedJets.none(), np.concatenate(places)


def batches(windows: Iterator[Window], size: int, stop: int) -> Iterator[tuple[int, RaggedBatch | None]]:
    """Yield the batches of ``size`` jets that windows hold, ``stop`` jets in all, each with the jets until its end.

    None stands for a batch all jets of which are left out.
    """
    given = 0
    parts: list[PackedJets] = []
    for window in windows:
        place = 0
        while place < len(window):
            until = min(place + size - given % size, len(window))
            parts.append(window.take(place, until))
            given, place = given + until - place, until
            if given % size == 0 or given == stop:
                there, parts = [part for part in parts if len(part)], []
                yield given, PackedJets.concatenate(there).batch() if there else None
        del window  # the next but one is read as soon as the next is asked for
