"""The ragged cache: a folder of plain arrays, ready to be mapped into memory, made of files of jets in one pass.

It holds one ``.npy`` file per quantity, in the form of :class:`jetsym.jets.io.packed.PackedJets`, and
``manifest.json``,
which is written last: what has no manifest is no cache. The manifest names the sources with their sizes, times and
sha256, so that a cache of other files than those asked for is refused, and the sha256 of its own files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError, closest
from jetsym.files import checksum
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.block import ColumnSet, narrowed
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.formats.cached import (
    FORMAT,
    MANIFEST,
    SourceFile,
    check_sources,
    column_file,
    expect_mapping,
    input_file,
    is_cache,
    load_manifest,
    open_jets,
)
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.oddities import Oddities, Skipped
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.blocks import ENTRY, FILE, Block, Flat
from jetsym.jets.io.streaming.scratch import Original, Scratch
from jetsym.progress import progress_bar
from jetsym.ranks import here
from jetsym.reading import parse_json, read_text

__all__ = [
    "FORMAT",
    "MANIFEST",
    "CacheFiles",
    "SourceFile",
    "column_file",
    "input_file",
    "is_cache",
    "load_manifest",
    "verify",
]


#: Up to this size all jets of a cache are shuffled at once; beyond, blocks of successive ones are.
_AT_ONCE = 16e9
#: Bytes of a block: long enough for a disk to read it at full speed.
_BLOCK = 2_000_000


class CacheFiles:
    """A cache as a stream's source.

    Parameters
    ----------
    folder
        Of the cache.
    sources
        The files that it should hold, in this order; None for whatever it holds.
    mapping
        The one that it should have been made with; None, where no ``sources`` are given, for whatever it was.
    columns, also, numbered, skip_bad, scratch, fold
        As for :class:`jetsym.jets.io.streaming.stream.JetStream`.

    Raises
    ------
    DataError
        If the folder holds no cache, or one that is damaged, of another version, or of other files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sources: Sequence[Path] | None = None,
        mapping: TreeMapping | None = None,
        columns: ColumnSet = "full",
        also: Sequence[str] = (),
        numbered: bool = False,
        skip_bad: bool = False,
        scratch: Scratch | None = None,
        fold: Fold | None = None,
    ) -> None:
        manifest = load_manifest(folder)
        expect_mapping(folder, manifest, mapping, strict=sources is not None)
        check_sources(folder, manifest, sources, skip_bad=skip_bad)
        order = ("kin", "full", "all")
        if order.index(columns) > order.index(manifest["columns"]):
            raise DataError(
                f"{folder} holds columns={manifest['columns']!r}, and {columns!r} are asked for; "
                "make it again: jetsym convert … --overwrite"
            )
        if scratch is not None:  # for as long as it lives: jets are anywhere in it
            stamps = {folder / name: (folder / name).stat() for name in manifest["files"] if (folder / name).is_file()}
            scratch.keep([Original(path, found.st_size, found.st_mtime_ns) for path, found in stamps.items()])
        narrow = columns == "kin" and manifest["columns"] != "kin"
        self.files = [folder]
        self.oddities = Oddities()
        self._fold = "" if fold is None else str(fold)
        self.skipped: list[Skipped] = self.oddities.skipped
        self.groups = [""]
        self.classes = tuple(manifest["classes"])
        self._columns = columns
        self.names = tuple(name for name in manifest["names"] if columns == "all" or name in also)
        self._sha256 = hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()[:16]
        jets = open_jets(folder, manifest, mapping)
        #: Which of its jets are meant; None for all.
        self.chosen = None if fold is None else self._of_fold(folder, jets, fold)
        self._jets = narrowed(jets, columns=columns, also=also)
        self.labelled = self._jets.label is not None
        self.scalars = self._jets.scalar_names
        self.n_entries = [len(self._jets)]
        self.several: list[File] = []
        n_jets = len(self._jets) if self.chosen is None else len(self.chosen)
        if numbered:
            places = {FILE: np.zeros(len(self._jets), np.int64), ENTRY: np.arange(len(self._jets))}
            self._jets = replace(self._jets, columns={**self._jets.columns, **places})
        some = np.unique(np.linspace(0, n_jets - 1, min(n_jets, 2000)).astype(np.int64))
        self.oddities.see(folder, self._jets.take(self._rows(some)), counted=False)
        size = sum(entry["bytes"] for entry in manifest["files"].values())
        self.whole = None if narrow or size > _AT_ONCE else self._jets.with_jets_in_memory()
        step = max(1, -(-_BLOCK * n_jets // size))
        self.blocks = [Block(0, start, min(start + step, n_jets)) for start in range(0, n_jets, step)]

    def count(self) -> NDArray[np.int64] | None:
        """Count the jets of each class in each block, (blocks, classes); None without labels."""
        label = self._jets.label
        if label is None:
            return None
        parts = (label[self._rows(slice(block.start, block.stop))] for block in self.blocks)
        return np.stack([np.bincount(part, minlength=len(self.classes)) for part in parts])

    def expect(self, blocks: Sequence[Block]) -> None:
        """Say which blocks will be read: any, as far as a cache goes."""

    def particles(self, block: Block) -> int:
        """Count the particles of a block."""
        offsets, rows = self._jets.offsets, self._rows(slice(block.start, block.stop))
        if isinstance(rows, slice):
            return int(offsets[block.stop] - offsets[block.start])
        return int((offsets[rows + 1] - offsets[rows]).sum())

    def arena(self, particles: int) -> Arena:
        """Make room for so many particles."""
        width = self._jets.values.shape[1]
        known = (width > 4) == (self._jets.kinds is not None)  # else rows are of another form than an arena's
        return Arena(particles if known else 0, width)

    def read(self, block: Block, arena: Arena) -> tuple[PackedJets, None]:
        """Read the jets of a block from the disk."""
        rows = self._rows(slice(block.start, block.stop))
        jets = self._jets.slice(block.start, block.stop) if isinstance(rows, slice) else self._jets.take(rows)
        place = arena.reserve(len(jets.values))
        if place is not None:
            arena.values[place : place + len(jets.values)] = jets.values
            return arena.move(jets, place), None
        return jets, None

    def flat(self, names: Sequence[str]) -> Iterator[Flat]:
        """Yield number, labels and some per-jet columns of all jets."""
        rows, label = self._rows(slice(None)), self._jets.label
        found = {name: self._jets.columns[name][rows] for name in names}
        yield sum(map(len, self.blocks)), None if label is None else label[rows], found

    def fingerprint(self, *, names: bool = True) -> str:
        """Digest the arrays, which know no names of files."""
        own = " ".join(self.names) if self._columns != "all" else ""
        return f"{self._sha256} {self._columns} {own} {self._fold}".rstrip()

    def _of_fold(self, folder: Path, jets: PackedJets, fold: Fold) -> NDArray[np.int64]:
        if fold.column not in jets.columns:
            raise DataError(
                f"{folder} is a cache without the column {fold.column!r} to tell folds apart; "
                f"{closest(fold.column, jets.columns)}; or make it again with a mapping that has it: jetsym convert …"
            )
        found = np.flatnonzero(fold.choose(jets.columns[fold.column][:], where=f"{folder}: "))
        self.oddities.folds[folder] = str(fold), len(found), len(jets)
        if not len(found):
            raise DataError(f"{folder}: {fold} has no jets; expected at least one")
        return found

    def _rows(self, rows: Any) -> Any:
        """Return where the jets of some numbers are, of those that are meant."""
        return rows if self.chosen is None else self.chosen[rows]


def verify(folder: str | Path, *, progress: bool = True) -> int:
    """Compare all files of a cache, or of a generated sample, with the sha256 in its manifest; gives their number.

    Raises
    ------
    DataError
        If there is no manifest, or a file is missing or differs; the message names the first.
    """
    folder = Path(folder)
    try:
        entries = parse_json(read_text(folder / MANIFEST))["files"]
        expected = {str(name): str(entry["sha256"]) for name, entry in entries.items()}
    except OSError as error:
        raise DataError(f"{folder}: no {MANIFEST} that says what its files should be ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / MANIFEST} is not a manifest with checksums") from error
    with progress_bar("verify", len(expected), shown=progress) as advance:
        for name, sha256 in expected.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{folder / MANIFEST} names {name!r}, which lies outside of its folder")
            if not path.is_file():
                raise DataError(f"{path}: missing; {MANIFEST} lists it")
            if (found := checksum(path)) != sha256:
                raise DataError(f"{path}: damaged; its sha256 is {found[:12]}…, and {MANIFEST} says {sha256[:12]}…")
            advance(1)
    return len(expected)


def describe(paths: Sequence[Path], *, progress: bool) -> list[dict[str, Any]]:
    """Describe the sources of a cache as its manifest lists them; processes that share take them in turn."""
    ranks = here()
    own = [*enumerate(paths)][ranks.rank :: ranks.size]
    with progress_bar("checksums", len(own), shown=progress) as advance:

        def described() -> list[tuple[int, dict[str, Any]]]:
            found = []
            for place, path in own:
                found.append((place, asdict(SourceFile.of(path))))
                advance(1)
            return found

        return ranks.in_order(described)
