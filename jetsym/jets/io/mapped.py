"""MappedArray: the array of a ``.npy`` file, mapped into memory and read so that no damage on the way goes unseen.

Whoever touches mapped memory whose file has been cut short meanwhile is killed (SIGBUS), and finds other numbers, or
zeros, where it has been written over. So it is the system that touches it: it is asked to write the rows that are
wanted into a file in memory (``pwritev``), which ends in an error where touching would end the process. After each copy
the array's file is asked for its size and time, which are to be those it was opened with.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jetsym.errors import DataError, lacks_explained

__all__ = ["MappedArray", "first_columns", "ranges_of", "rows_of"]

#: Pieces that the system writes in one call, bytes of a piece, and bytes that lie in a file in memory at a time.
_PIECES, _LONGEST, _MOST = 1024, 1 << 22, 1 << 24
#: Where a piece begins, and its bytes: the system's ``struct iovec``.
_PIECE = np.dtype([("begin", np.uintp), ("size", np.uintp)])


@cache
def _pwritev() -> Any:
    call = ctypes.CDLL(None, use_errno=True).pwritev
    call.restype = ctypes.c_ssize_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
    return call


class _Desk(threading.local):
    """A file in memory of each thread of each process, to which rows are written, and from which they are taken."""

    file: int | None = None
    process = 0

    def write(self, pieces: NDArray[Any]) -> int:
        """Write pieces of memory, one after the other; return how many bytes that made, −1 if none."""
        return int(_pwritev()(self.open(), pieces.ctypes.data, len(pieces), 0))

    def open(self) -> int:
        """Return its number, of a new one in a forked process."""
        if self.file is None or self.process != os.getpid():
            self.process = os.getpid()
            if hasattr(os, "memfd_create"):
                self.file = os.memfd_create("jetsym-rows")
            else:
                with tempfile.TemporaryFile() as file:
                    self.file = os.dup(file.fileno())
        return self.file

    def __del__(self) -> None:
        if self.file is not None and self.process == os.getpid():
            os.close(self.file)


_DESK = _Desk()


class MappedArray:
    """An array on a disk, of which rows are copied into memory as they are asked for.

    Parameters
    ----------
    path
        The ``.npy`` file.
    place
        Where its bytes are read; by default there.

    Raises
    ------
    ValueError
        It holds no array of numbers in C order, or is not as long as its header says.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> file = Path(tempfile.mkdtemp(), "a.npy")
    >>> np.save(file, np.arange(12).reshape(6, 2))
    >>> rows = MappedArray(file)
    >>> rows[4:].tolist(), rows.take(np.array([5, 0])).tolist(), rows.ranges([0, 3], [1, 2]).tolist()
    ([[8, 9], [10, 11]], [[10, 11], [0, 1]], [[0, 1], [6, 7], [8, 9]])
    >>> os.truncate(file, 150)
    >>> rows.take(np.array([5, 0]))
    Traceback (most recent call last):
    jetsym.errors.DataError: ...a.npy: has changed since it was opened; start again with it as it is now
    """

    def __init__(self, path: Path, *, place: Path | None = None) -> None:
        self.path = path
        with (path if place is None else place).open("rb") as file:
            found = os.fstat(file.fileno())
            self._stamp = found.st_size, found.st_mtime_ns
            version = npy.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"it has version {version} of the format of arrays, expected (1, 0)")
            shape, fortran, self.dtype = npy.read_array_header_1_0(file)
            self._begin = file.tell()
            self._rows, self._inner = int(shape[0]) if shape else 0, tuple(map(int, shape[1:]))
            self._width = self.dtype.itemsize * math.prod(self._inner)
            size = self._begin + self._rows * self._width
            if not shape or fortran or self.dtype.kind not in "biuf" or found.st_size != size:
                raise ValueError(f"it holds {found.st_size} bytes, expected {size} of numbers in shape {shape}")
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._file = os.dup(file.fileno())
        self._address = np.frombuffer(self._memory, np.uint8).ctypes.data + self._begin
        self._columns: slice | None = None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return self._rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as far as its columns are asked for."""
        if self._columns is None:
            return (self._rows, *self._inner)
        return (self._rows, len(range(*self._columns.indices(self._inner[0]))), *self._inner[1:])

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return len(self.shape)

    def first_columns(self, number: int) -> MappedArray:
        """Return the same array, of whose rows only the first numbers are given."""
        other = object.__new__(MappedArray)
        other.__dict__ |= self.__dict__ | {"_columns": slice(number), "_file": os.dup(self._file)}
        return other

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, stop, step = key.indices(self._rows)
            rows = self.ranges([start], [max(stop - start, 0)])
            return rows if step == 1 else rows[::step]
        if isinstance(key, int | np.integer):
            return self.take(np.array([key]))[0]
        return self.take(np.asarray(key))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def take(self, rows: NDArray[np.int64], axis: int = 0) -> NDArray[Any]:
        """Copy the rows (n,) of these numbers, in their order; those below zero count from the end."""
        rows = np.where(rows < 0, rows + self._rows, rows)
        return self.ranges(rows, np.ones(len(rows), np.int64))

    def ranges(self, starts: Any, counts: Any) -> NDArray[Any]:
        """Copy so many rows from each of these on, one range after the other.

        Raises
        ------
        DataError
            The file has been cut short, or written to, since it was opened.
        IndexError
            There are no such rows.
        """
        first, number = np.asarray(starts, np.int64), np.asarray(counts, np.int64)
        if len(first) and (first.min() < 0 or number.min() < 0 or (first + number).max() > self._rows):
            raise IndexError(f"rows {first.min()} to {(first + number).max()} of {self._rows} in {self.path}")
        found = np.empty((int(number.sum()), *self._inner), self.dtype)
        if found.size:
            self._copy(found.reshape(-1).view(np.uint8), first * self._width, number * self._width)
        self._expect_unchanged()
        return found if self._columns is None else found[:, self._columns]

    def _copy(self, found: NDArray[np.uint8], begins: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Fill memory with some pieces of the data, one after the other."""
        if not hasattr(os, "preadv"):  # as on Windows, where nobody can cut a mapped file short
            data = np.frombuffer(self._memory, np.uint8, offset=self._begin)
            ends = (begins + sizes).tolist()
            np.concatenate([data[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)], out=found)
            return
        if len(begins) == 1 or sizes.max() > _LONGEST:  # what is long is read at once
            place = 0
            for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
                self._read(found[place : place + size], begin)
                place += size
            return
        pieces = np.empty(len(begins), _PIECE)
        pieces["begin"], pieces["size"] = self._address + begins, sizes
        most = max(1, min(_PIECES, _MOST // int(sizes.max())))
        place = 0
        for start in range(0, len(pieces), most):
            part = pieces[start : start + most]
            size = int(part["size"].sum())
            written = _DESK.write(part)
            if written != size or os.preadv(_DESK.open(), [found[place : place + size].data], 0) != size:
                self._refuse(ctypes.get_errno() if written < 0 else errno.EFAULT)
            place += size

    def _read(self, found: NDArray[np.uint8], begin: int) -> None:
        """Read successive bytes of the data."""
        place = 0
        while place < len(found):
            size = os.preadv(self._file, [found[place : place + (1 << 30)].data], self._begin + begin + place)
            if not size:
                self._refuse(errno.EFAULT)
            place += size

    def _refuse(self, number: int) -> None:
        """Say why the system does not copy."""
        self._expect_unchanged()
        with lacks_explained(f"{self.path}: cannot be read"):
            if number == errno.EFAULT:
                raise DataError(f"{self.path}: cannot be read any more, as the disk has an error; copy it elsewhere")
            raise OSError(number, os.strerror(number))

    def _expect_unchanged(self) -> None:
        found = os.fstat(self._file)
        if (found.st_size, found.st_mtime_ns) != self._stamp:
            raise DataError(f"{self.path}: has changed since it was opened; start again with it as it is now")


def first_columns(values: Any, number: int) -> Any:
    """Return the first numbers of every row of an array, mapped or not."""
    return values.first_columns(number) if isinstance(values, MappedArray) else values[:, :number]


def ranges_of(offsets: Any, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the ranges of some items begin, and how long they are, from the offsets of all.

    Examples
    --------
    >>> [one.tolist() for one in ranges_of(np.array([0, 2, 5]), np.array([1, 0]))]
    [[2, 0], [3, 2]]
    """
    if isinstance(offsets, MappedArray):
        starts, ends = offsets.ranges(items, np.full(len(items), 2)).reshape(-1, 2).T
    else:
        starts, ends = offsets[items], offsets[items + 1]
    return starts, ends - starts


def rows_of(values: Any, starts: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Copy the rows of some ranges that begin at ``starts``; ``offsets`` say where they come to lie.

    Examples
    --------
    >>> rows_of(np.arange(10), np.array([7, 2]), np.array([0, 1, 3])).tolist()
    [7, 2, 3]
    """
    counts = np.diff(offsets)
    if isinstance(values, MappedArray):
        return values.ranges(starts, counts)
    rows = np.repeat(starts - offsets[:-1], counts)
    rows += np.arange(offsets[-1])
    found: NDArray[Any] = values.take(rows, axis=0)
    return found
