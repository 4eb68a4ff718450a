"""Blocks, the pieces in which a stream reads: cut along the clusters of files, and mixed evenly over an epoch."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.files import fingerprint_of
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.block import BadJets, ColumnSet, read_block
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex
from jetsym.jets.io.formats.layout import labels
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.limits import cut
from jetsym.jets.io.mapping.parse import open_mapping
from jetsym.jets.io.oddities import Oddities, Skipped
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.read import MappingFile
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.scratch import Original, Scratch
from jetsym.jets.schema import SCALAR_BRANCHES

__all__ = ["ENTRY", "FILE", "Block", "JetFiles", "Skipped", "count_names", "mixed"]


#: Columns of jets that are numbered: the place of the file among those that are read, and the entry there.
FILE, ENTRY = "file", "entry"

#: Jets of a file that are looked at for what is odd.
_LOOK = 2000

#: Files whose index is kept; each takes some 50 kB.
_INDICES = 1024

#: Number of some jets, their labels if they have some, and per-jet columns.
Flat = tuple[int, "NDArray[np.int64] | None", dict[str, "NDArray[Any]"]]


@dataclass(frozen=True)
class Block:
    """Successive jets of a file, read at once; ``file`` counts the files of a source."""

    file: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class JetFiles:
    """Files as a stream's source; only what is needed to plan an epoch is kept of each."""

    #: A cache has all its jets at hand; files must be read.
    whole: PackedJets | None = None
    chosen: NDArray[np.int64] | None = None

    def __init__(
        self,
        files: Sequence[File],
        *,
        columns: ColumnSet,
        also: Sequence[str] = (),
        bad_jets: BadJets = "raise",
        skip_bad: bool = False,
        mapping: MappingFile = None,
        largest: int | None = None,
        numbered: bool = False,
        scratch: Scratch | None = None,
        fold: Fold | None = None,
    ) -> None:
        self._scratch, self._fold = scratch, fold
        self.oddities = Oddities()
        self.skipped = self.oddities.skipped
        self.blocks: list[Block] = []
        self.files: list[File] = []
        self.columns, self._also, self._bad_jets = columns, also, bad_jets
        self._mapping = open_mapping(mapping, files, skip_bad=skip_bad, fold=fold)
        self._indices: OrderedDict[int, FileIndex] = OrderedDict()
        self._lock = Lock()
        self._seen: set[File] = set()
        self._density: list[float] = []
        self._originals: list[Original | None] = []  # of files that may be copied
        #: Whether jets get the columns FILE and ENTRY; then columns that only some files have are left out.
        self._numbered = numbered
        self.n_entries: list[int] = []
        #: Files with several jets in an entry, each of which counts as one.
        self.several: list[File] = []
        kinds: list[tuple[Any, ...]] = []
        for path in files:
            try:
                index = index_file(path, self._mapping, fold)
            except EmptyFileError:
                if len(files) == 1:
                    raise
                self.oddities.empty.append(path)
                continue
            except DataError as error:
                if not skip_bad:
                    raise
                self.skipped.append(Skipped(path, None, str(error)))
                continue
            layout = index.layout
            scalars = layout.scalars if columns != "kin" else ()
            names = tuple(name for name in layout.columns if columns == "all" or name in also)
            kinds.append((bool(layout.labels), layout.classes, names, scalars))
            pieces = cut(index.boundaries) if largest is None else cut(index.boundaries, largest=largest)
            self.blocks += [Block(len(self.files), start, stop) for start, stop in pieces]
            self.files.append(path)
            self.n_entries.append(index.n_entries)
            self.several += [path] if index.several else []
            if fold is not None:
                self.oddities.folds[path] = str(fold), index.n_jets, index.n_entries
            self._density.append(index.particles / max(index.n_jets, 1))
            packed = index.packed is not None
            self._originals.append(None if packed else Original(index.path, index.size, index.mtime_ns))
            self._keep(len(self.files) - 1, index)
        if not self.files:
            first = self.skipped[0].reason if self.skipped else f"{files[0]} has no entries"
            raise DataError(f"none of {len(files)} files can be read; the first: {first}")
        if not self.blocks:
            left = "selection" if fold is None else f"selection, or {fold},"
            raise DataError(f"{self.files[0]} and the other files: the {left} leaves no jets; expected at least one")
        friends = [] if self._mapping is None else self._mapping.friends_of(self.files)
        self._friends = [fingerprint_of(one) for one in friends]
        if numbered:
            kinds = self._common(kinds)
        self._agree(kinds, columns, skip_bad)
        self.groups = [f"{path.parent.name}/{re.sub('[0-9]+$', '', path.stem)}" for path in self.files]

    def _common(self, kinds: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Leave out the columns that not all files have."""
        shared = [name for name in kinds[0][2] if all(name in kind[2] for kind in kinds)]
        self.oddities.left_out = sorted({name for kind in kinds for name in kind[2]} - {*shared})
        self.columns, self._also = "full", shared
        return [(*kind[:2], tuple(shared), *kind[3:]) for kind in kinds]

    def _agree(self, kinds: list[tuple[Any, ...]], columns: ColumnSet, skip_bad: bool) -> None:
        """Refuse, or leave out, files that hold other quantities than most."""
        usual = Counter(kinds).most_common(1)[0][0]
        self.labelled, self.classes, self.names = usual[:3]
        #: Names of what is known of the particles besides their momenta.
        self.scalars = tuple(name.removeprefix("part_") for name in usual[3])
        self._in_arena = columns == "kin" or usual[3] == SCALAR_BRANCHES  # the rows that an arena has room for
        for number, kind in enumerate(kinds):
            if kind == usual:
                continue
            what = next(
                n for n, a, b in zip(("labels", "classes", "columns", "scalars"), usual, kind, strict=True) if a != b
            )
            path, other = self.files[number], self.files[kinds.index(usual)]
            reason = f"{path} and {other} cannot be streamed together: they differ in their {what}"
            if not skip_bad:
                raise DataError(reason)
            self.skipped.append(Skipped(path, None, reason))
            self.blocks = [block for block in self.blocks if block.file != number]

    def expect(self, blocks: Sequence[Block]) -> None:
        """Say which blocks will be read, in this order, so that their files can be copied ahead."""
        if self._scratch is not None:
            visits = [self._originals[block.file] for block in blocks]
            self._scratch.expect([one for one in visits if one is not None])

    def particles(self, block: Block) -> int:
        """Estimate how many particles a block has, a little too many rather than too few."""
        return round(self._density[block.file] * len(block)) + 1

    def arena(self, particles: int) -> Arena:
        """Make room for so many particles."""
        return Arena(particles, 4 if self.columns == "kin" else 8)

    def count(self) -> NDArray[np.int64] | None:
        """Count the jets of each class in each block, (blocks, classes + 1), in the last column those that do not tell.

        None where there are no labels, or they would have to be fetched from afar.
        """
        if not self.labelled or not all(isinstance(path, Path) for path in self.files):
            return None
        sizes = np.array([len(block) for block in self.blocks])
        with ThreadPoolExecutor(thread_name_prefix="jetsym-count") as pool:
            counts = np.stack(list(pool.map(self._count, self.blocks)))
        return np.column_stack([counts, sizes - counts.sum(axis=1)])

    def _count(self, block: Block) -> NDArray[np.int64]:
        try:
            label = self._flat(block, ())[1]
        except DataError:  # which is the same when the jets are read, and raised then, or the block skipped
            label = None
        return np.bincount([] if label is None else label, minlength=len(self.classes))

    def _flat(self, block: Block, names: Sequence[str]) -> Flat:
        index = self._index(block.file)
        with index.reader(index) as file, explained(index.path):
            found = {name: file.flat(name, block.start, block.stop) for name in (*index.layout.labels, *names)}
        own = labels(index.path, found, index.layout, first=block.start)
        return len(block), own, {name: found[name] for name in names}

    def read(self, block: Block, arena: Arena | None = None) -> tuple[PackedJets, NDArray[np.bool_] | None]:
        """Read the jets of a block; see :func:`jetsym.jets.io.block.read_block`."""
        index, place = self._index(block.file), arena if self._in_arena else None
        options: dict[str, Any] = {"columns": self.columns, "also": self._also, "bad_jets": self._bad_jets}
        with nullcontext() if self._scratch is None else self._scratch.reading(index.path):
            found = read_block(index, block.start, block.stop, **options, arena=place)
        jets, kept = found
        if block.start == 0 and index.path not in self._seen:  # enough to see what is odd
            self._seen.add(index.path)
            self.oddities.see(index.path, jets.slice(0, min(len(jets), _LOOK)), counted=False)
        if kept is not None:
            self.oddities.drop(index.path, len(kept) - int(kept.sum()), part=(block.start, block.stop))
        if not self._numbered:
            return found
        entries = index.entries[block.start : block.stop]
        entries = entries if kept is None else entries[kept]
        places = {FILE: np.full(len(entries), block.file), ENTRY: entries}
        return replace(jets, columns={**jets.columns, **places}), kept

    def flat(self, names: Sequence[str]) -> Iterator[Flat]:
        """Yield number, labels and some per-jet columns of the jets of one block after the other."""
        return (self._flat(block, names) for block in self.blocks)

    def fingerprint(self, *, names: bool = True) -> str:
        """Digest names and blocks, not folders: files may be moved between two parts of an epoch."""
        facts: list[Any] = [
            self.columns,
            [path.name if names else "" for path in self.files],
            [(b.file, b.start, b.stop) for b in self.blocks],
        ]
        if self._mapping is not None:
            facts += [self._mapping.fingerprint, *self._friends]
        facts += [] if self._fold is None else [str(self._fold)]
        facts += [self.names] if self.columns != "all" and self.names else []
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _index(self, number: int) -> FileIndex:
        with self._lock:
            index = self._indices.get(number)
        if index is None:
            index = index_file(self.files[number], self._mapping, self._fold)
            self._keep(number, index)
        return index

    def _keep(self, number: int, index: FileIndex) -> None:
        with self._lock:
            self._indices[number] = index
            while len(self._indices) > _INDICES:
                self._indices.popitem(last=False)


def count_names(blocks: Sequence[Block], groups: Sequence[str]) -> NDArray[np.int64]:
    """Count the jets of each group of files in each block, (blocks, groups).

    Examples
    --------
    >>> count_names([Block(0, 0, 5), Block(1, 0, 7)], ["QCD", "Tbqq"]).tolist()
    [[5, 0], [0, 7]]
    """
    names, kinds = np.unique(np.array(groups)[[block.file for block in blocks]], return_inverse=True)
    counts = np.zeros((len(blocks), len(names)), np.int64)
    counts[np.arange(len(blocks)), kinds] = [len(block) for block in blocks]
    return counts


def mixed(blocks: Sequence[Block], groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """Give the numbers of the blocks in random order, those of each group spread evenly over the epoch.

    Examples
    --------
    >>> blocks = [Block(file, start, start + 1) for file in (0, 1) for start in range(4)]
    >>> order = mixed(blocks, ["QCD", "Tbqq"], np.random.default_rng(0))
    >>> [sum(blocks[number].file == 0 for number in half) for half in (order[:4], order[4:])]
    [2, 2]
    """
    members: dict[str, list[int]] = {}
    for number, block in enumerate(blocks):
        members.setdefault(groups[block.file], []).append(number)
    place = np.empty(len(blocks))
    for numbers in members.values():
        place[numbers] = (rng.permutation(len(numbers)) + rng.uniform(size=len(numbers))) / len(numbers)
    return np.argsort(place, kind="stable")
