"""Arrays mapped into memory: the same rows as in memory, and errors where the file is no longer what it was."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from jetsym.errors import DataError
from jetsym.jets.io import mapped
from jetsym.jets.io.mapped import MappedArray, first_columns, ranges_of, rows_of


@pytest.fixture(params=["float32", "int64", "uint8", "bool"])
def pair(request, tmp_path):
    """An array, and the same on the disk."""
    shape = (5000, 8) if request.param == "float32" else (5000,)
    array = np.random.default_rng(0).integers(0, 100, shape).astype(request.param)
    np.save(tmp_path / "a.npy", array)
    return array, MappedArray(tmp_path / "a.npy")


def test_rows_are_those_of_the_array(pair):
    array, other = pair
    rng = np.random.default_rng(1)
    rows = rng.integers(-5000, 5000, 3000)
    starts = rng.integers(0, 4900, 2500)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 100, 2500))])
    assert (other.shape, other.dtype, other.ndim, len(other)) == (array.shape, array.dtype, array.ndim, len(array))
    for key in (slice(None), slice(3, 3), slice(7, 2000), slice(10, 4000, 7), slice(4, -9), rows, 17, -1):
        assert np.array_equal(other[key], array[key])
    assert np.array_equal(other.take(rows, axis=0), array[rows])
    assert np.array_equal(rows_of(other, starts, offsets), rows_of(array, starts, offsets))
    assert np.array_equal(np.asarray(other), array)
    if array.ndim == 2:
        narrow = first_columns(other, 4)
        assert narrow.shape == (5000, 4)
        assert np.array_equal(narrow[3:9], array[3:9, :4])
        assert np.array_equal(narrow.take(rows), array[rows, :4])


def test_ranges(tmp_path):
    offsets = np.array([0, 2, 2, 9])
    np.save(tmp_path / "o.npy", offsets)
    for one in (offsets, MappedArray(tmp_path / "o.npy")):
        starts, counts = ranges_of(one, np.array([2, 0, 1]))
        assert (starts.tolist(), counts.tolist()) == ([2, 0, 2], [7, 2, 0])


def test_long_rows_go_another_way(tmp_path, monkeypatch):
    array = np.arange(6000.0).reshape(600, 10)
    np.save(tmp_path / "a.npy", array)
    other = MappedArray(tmp_path / "a.npy")
    starts, counts = [0, 100, 30], [50, 400, 1]
    expected = np.concatenate([array[start : start + count] for start, count in zip(starts, counts, strict=True)])
    for longest in (100, 10**6):
        monkeypatch.setattr(mapped, "_LONGEST", longest)
        assert np.array_equal(other.ranges(starts, counts), expected)
    monkeypatch.setattr(mapped, "_MOST", 40_000)
    assert np.array_equal(other.ranges(starts, counts), expected)


def test_without_the_call_of_the_system(pair, monkeypatch):
    """As on Windows."""
    array, other = pair
    rows = np.random.default_rng(1).integers(0, 5000, 300)
    monkeypatch.delattr(os, "preadv")
    assert np.array_equal(other.take(rows), array[rows])
    assert np.array_equal(other[5:50], array[5:50])


@pytest.mark.parametrize("rows", [[5000], [-5001], [2**62]])
def test_rows_that_are_not_there(pair, rows):
    with pytest.raises(IndexError, match="of 5000 in"):
        pair[1].take(np.array(rows))


@pytest.mark.parametrize("header", [b"", b"\x93NUMPY", b"rubbish, long enough for a header", b"PK\x03\x04" * 30])
def test_what_is_no_array(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises((ValueError, OSError)):
        MappedArray(tmp_path / "a.npy")


def test_a_fork_has_a_file_in_memory_of_its_own(pair):
    """Else the rows of one process would be those of the other."""
    array, other = pair
    other.take(np.array([1, 2]))
    before = mapped._DESK.open()
    told, tell = os.pipe()
    process = os.fork()
    if not process:
        other.take(np.array([3, 4]))
        os.write(tell, b"same" if mapped._DESK.open() == before else b"other")
        os._exit(0)
    os.waitpid(process, 0)
    assert os.read(told, 9) == b"other"
    assert np.array_equal(other.take(np.array([1, 2])), array[[1, 2]])
    os.close(told)
    os.close(tell)


def test_a_file_cut_short_while_it_is_read(tmp_path):
    """At any moment: the process lives, and what is given is right, or is an error."""
    array = np.arange(2**20, dtype=np.int64)
    rng = np.random.default_rng(0)
    for _ in range(10):
        np.save(tmp_path / "a.npy", array)
        other = MappedArray(tmp_path / "a.npy")
        later = threading.Timer(0.01 * rng.uniform(), os.truncate, [tmp_path / "a.npy", 4096])
        later.start()
        with pytest.raises(DataError, match="has changed since it was opened"):  # noqa: PT012
            while True:
                rows = rng.integers(0, len(array), 2000)
                assert np.array_equal(other.take(rows), rows)
        later.join()
