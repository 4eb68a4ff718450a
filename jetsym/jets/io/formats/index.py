"""The index of a file: its branches, and where their baskets lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import DataError
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.paths import File

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Branch", "FileIndex"]


@dataclass(frozen=True)
class Branch:
    """Where the values of a branch lie.

    Parameters
    ----------
    name
        Its name.
    dtype
        Type of one value, big-endian.
    header
        Bytes before each jet's list, or None for a branch with one number per jet.
    counter
        The branch that holds the lengths of the lists, if they are not stored beside them.
    entries
        (baskets + 1,) numbers of the first jet of each basket, and of all jets.
    seeks, sizes
        (baskets,) positions and lengths in the file.
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
    embedded: tuple[tuple[NDArray[np.uint8], NDArray[np.int64] | None], ...] = ()


@dataclass(frozen=True)
class FileIndex:
    """What is known of a file without reading its jets.

    Parameters
    ----------
    path, size, mtime_ns
        The file, and how to see that it is still the same.
    n_jets, particles
        How many there are; of particles at most so many.
    layout
        Which branches hold what.
    branches
        Where they lie.
    boundaries
        Numbers of jets where a basket of every per-particle branch begins; the first is 0, the last ``n_jets``.
    reader
        What reads its jets.
    chosen
        Bits that say which of the file's entries the jets are; None if all.
    """

    path: File
    size: int
    mtime_ns: int
    n_jets: int
    particles: int
    layout: Layout
    branches: dict[str, Branch]
    boundaries: NDArray[np.int64]
    reader: Callable[[FileIndex], Any]
    chosen: NDArray[np.uint8] | None = None

    @property
    def entries(self) -> NDArray[np.int64]:
        """(n_jets,) the entry of the file that each jet is."""
        return np.arange(self.n_jets) if self.chosen is None else np.flatnonzero(np.unpackbits(self.chosen))

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
