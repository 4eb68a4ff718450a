"""The index of a file (its branches, and where their baskets lie), and what reads its jets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.remote import File

if TYPE_CHECKING:
    from jetsym.jets.io.packed import PackedJets
    from jetsym.jets.io.packed_inputs import PackedInput

__all__ = ["Branch", "EmptyFileError", "FileIndex", "InnerReader", "JetReader"]

#: Jets that are read at once where a file does not say.
_ROWS = 10_000


class EmptyFileError(DataError):
    """A whole file without a single entry: no fault where it is one among others."""


@dataclass(frozen=True)
class Branch:
    """The places where the values of a branch lie.

    Parameters
    ----------
    name
        Its name.
    dtype
        Type of one value, big-endian; of a leaf list, of all its leaves.
    header
        Bytes before each jet's list, or None for a branch with one number per jet.
    counter
        The branch that holds the lengths of the lists, if they are not stored beside them.
    entries
        (baskets + 1,) numbers of the first jet of each basket, and of all jets.
    seeks, sizes
        (baskets,) positions and lengths in the file.
    shape
        Of a fixed array of such values.
    part
        The leaf of a leaf list, or the place in the last axis of an array; None for all.
    embedded
        Further baskets that lie in the tree itself: their bytes, and where each jet begins.
    """

    name: str
    dtype: np.dtype[Any]
    header: int | None
    counter: str | None
    entries: NDArray[np.int64]
    seeks: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shape: tuple[int, ...] = ()
    part: str | int | None = None
    embedded: tuple[tuple[NDArray[np.uint8], NDArray[np.int64] | None], ...] = ()

    @property
    def itemsize(self) -> int:
        """Bytes of an entry without lists, or of an element of its list."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def number(self) -> np.dtype[Any]:
        """Type of one of the numbers that are read."""
        return self.dtype[self.part].base if isinstance(self.part, str) else self.dtype

    def values(self, data: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the numbers in the bytes of some entries, or of elements of their lists."""
        found = data.view(self.dtype).reshape(-1, *self.shape) if self.shape else data.view(self.dtype)
        if self.part is None:
            return found
        return found[self.part] if isinstance(self.part, str) else found[..., self.part]


@dataclass(frozen=True)
class FileIndex:
    """The index of a file: all that is known of it without reading its jets.

    Parameters
    ----------
    path, size, mtime_ns
        The file, and how to see that it is still the same.
    n_jets, particles
        How many there are; of particles at most so many.
    layout
        Which branches hold what.
    boundaries
        Numbers of jets where a basket of every per-particle branch begins; the first is 0, the last ``n_jets``.
    reader
        What reads its jets, as a :class:`JetReader` does.
    types
        Types of all branches by name, to be shown to users, as far as the file tells them.
    branches
        Where they lie in a ROOT file.
    depths
        Of the columns of a table: 0 for one number per entry, 1 for a list, 2 for a list of lists.
    chosen
        Bits that say which of the file's entries the jets are; None if all.
    packed
        The jets themselves, of a cache.
    total
        Number of the file's entries, where only some are jets.
    several
        Whether an entry of the file holds several jets, each of which is counted as an entry.
    """

    path: File
    size: int
    mtime_ns: int
    n_jets: int
    particles: int
    layout: Layout
    boundaries: NDArray[np.int64]
    reader: Callable[[FileIndex], JetReader]
    types: Mapping[str, str] = field(default_factory=dict)
    branches: Mapping[str, Branch] = field(default_factory=dict)
    depths: Mapping[str, int] = field(default_factory=dict)
    chosen: NDArray[np.uint8] | None = None
    total: int | None = None
    packed: PackedJets | None = None
    several: bool = False

    @classmethod
    def of(
        cls,
        path: Path,
        *,
        n_jets: int,
        particles: int,
        layout: Layout,
        reader: Callable[[FileIndex], JetReader],
        boundaries: NDArray[np.int64] | None = None,
        types: Mapping[str, str] | None = None,
        depths: Mapping[str, int] | None = None,
    ) -> FileIndex:
        """Make the index of a file on this machine as it is now; without boundaries, some thousand jets go together.

        Raises
        ------
        EmptyFileError
            If it holds no jets.
        """
        if not n_jets:
            raise EmptyFileError(f"{path}: holds no jets; expected at least one")
        if boundaries is None:
            boundaries = np.array([*range(0, n_jets, _ROWS), n_jets])
        stamp = _stamp(path)
        return cls(path, *stamp, n_jets, particles, layout, boundaries, reader, types or {}, depths=depths or {})

    @property
    def n_entries(self) -> int:
        """Number of the file's entries, those that are no jets included."""
        return self.n_jets if self.total is None else self.total

    @property
    def entries(self) -> NDArray[np.int64]:
        """(n_jets,) the entry of the file that each jet is."""
        return np.arange(self.n_jets) if self.chosen is None else np.flatnonzero(np.unpackbits(self.chosen))

    def only(self, chosen: NDArray[np.bool_], reader: Callable[[FileIndex], JetReader]) -> FileIndex:
        """Return the index of those of its jets (n_jets,) that are chosen, and what reads them."""
        before = np.concatenate([[0], np.cumsum(chosen)])
        return replace(
            self,
            n_jets=int(before[-1]),
            particles=-(-self.particles * int(before[-1]) // self.n_jets),
            boundaries=np.unique(before[self.boundaries]),
            chosen=np.packbits(chosen),
            total=self.n_entries,
            packed=None if self.packed is None else self.packed.take(np.flatnonzero(chosen)),
            reader=reader,
        )

    def check_unchanged(self, status: tuple[int, int] | None) -> None:
        """Refuse a file whose size and time are no longer those that were indexed; None stands for one that is gone.

        Raises
        ------
        DataError
            If it is not.
        """
        if status is None:
            raise DataError(f"{self.path}: cannot be opened any more; it was there before")
        if status != (self.size, self.mtime_ns):
            raise DataError(f"{self.path}: has changed since it was first opened; start again with it as it is now")


class JetReader:
    """An open file from which ranges of jets are read, branch by branch; a format derives one of its own from it.

    It says how columns are unpacked, or reads flat ones, ragged ones and nested ones each in a way of its own.
    """

    def __init__(self, index: FileIndex) -> None:
        self.index = index

    def __enter__(self) -> Self:
        path = place_of(self.index.path)
        self.index.check_unchanged(_stamp(path) if isinstance(path, Path) and path.exists() else None)
        return self

    def __exit__(self, *_: object) -> None:
        """Close what has been opened."""

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        return self.unpacked(name, start, stop)[0]

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        values, (counts,) = self.unpacked(name, start, stop)
        return values, counts

    def column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values of a further column of jets."""
        return self.flat(name, start, stop)

    def inputs(self, start: int, stop: int) -> dict[str, PackedInput]:
        """Read what other networks take of some jets, by name; nothing where nobody has said what that is."""
        return {}

    def nested(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Read the values (P,) of a list of lists per entry, the lengths of the inner lists, and those of the outer."""
        values, (outer, inner) = self.unpacked(name, start, stop)
        return values, inner, outer

    def unpacked(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
        """Read all values of some jets, one behind the other, and the lengths of their lists, the outer ones first."""
        raise NotImplementedError

    def flat_at(self, name: str, entries: NDArray[np.int64]) -> NDArray[Any]:
        """Read a number of each of some successive jets, which lie close together."""
        start, wanted = _between(entries)
        return self.flat(name, start, start + len(wanted))[wanted]

    def ragged_at(self, name: str, entries: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values of the particles of such jets, and their number in each."""
        start, wanted = _between(entries)
        values, counts = self.ragged(name, start, start + len(wanted))
        return (values, counts) if wanted.all() else (values[np.repeat(wanted, counts)], counts[wanted])


def _between(entries: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
    """Return the first of successive jets, and which of those from it to the last are meant."""
    wanted = np.zeros(int(entries[-1] - entries[0]) + 1, np.bool_)
    wanted[entries - entries[0]] = True
    return int(entries[0]), wanted


class InnerReader(JetReader):
    """An open file whose jets are read through another reader of it, that of the index ``raw``."""

    def __init__(self, raw: FileIndex, index: FileIndex) -> None:
        super().__init__(index)
        self._raw = raw

    def __enter__(self) -> Self:
        self._file = self._raw.reader(self._raw).__enter__()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._file.__exit__(*arguments)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
