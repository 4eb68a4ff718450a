"""Copies of files on a disk of this machine: within their bytes, shared, removed, and never seen in what is read."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io import JetStream
from jetsym.jets.io.copies import COPIES
from jetsym.jets.io.streaming import scratch as module
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.streaming.scratch import Original, Scratch, number_of_bytes

#: Copies a file, says so, and holds the copy until it is killed.
HOLDER = """
import sys
from pathlib import Path
from jetsym.jets.io.streaming.scratch import Original, Scratch
path = Path(sys.argv[1])
scratch = Scratch(sys.argv[2], size=10**9)
scratch.keep([Original(path, path.stat().st_size, path.stat().st_mtime_ns)])
print("holds", flush=True)
sys.stdin.read()
"""


def original(path: Path) -> Original:
    return Original(path, path.stat().st_size, path.stat().st_mtime_ns)


def copies(place: Path) -> list[Path]:
    return sorted(place.glob("jetsym-scratch-*/*"))


def used(place: Path) -> int:
    return sum(path.stat().st_size for path in place.glob("jetsym-scratch-*/*"))


def numbers(stream: JetStream) -> list[list[float]]:
    return [batch.columns["jet_sdmass"].tolist() for batch in stream]


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The places at which jets are read."""
    found: list[Path] = []

    def note(path):
        found.append(COPIES.get(path, path))
        return found[-1]

    for name in ("root", "index", "opening", "parquet", "cached"):
        monkeypatch.setattr(f"jetsym.jets.io.formats.{name}.place_of", note)
    return found


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_jets_are_read_at_the_copies_alone_in_the_same_order(numbered_files, small_blocks, tmp_path, opened, kind):
    files: list[Path] = numbered_files([60, 100, 40])
    if kind == "parquet":
        files = [*convert_to_parquet(files, tmp_path / "tables")]
    plain = JetStream(files, batch_size=16, columns="all", buffer=40, seed=3)
    expected = [numbers(plain), numbers(plain)]
    scratch = Scratch(tmp_path / "local", size=10**9)
    stream = JetStream(files, batch_size=16, columns="all", buffer=40, seed=3, scratch=scratch)
    state = stream.state_dict()
    stream.class_counts()  # a look at the labels
    opened.clear()
    assert numbers(stream) == expected[0]
    assert opened
    assert not {*opened} & {*files}
    assert len(copies(tmp_path / "local")) == 3
    before = [path.stat().st_ctime_ns for path in copies(tmp_path / "local")]
    assert numbers(stream) == expected[1]
    assert [path.stat().st_ctime_ns for path in copies(tmp_path / "local")] == before  # none was copied again
    assert state == JetStream(files, batch_size=16, columns="all", buffer=40, seed=3).state_dict()
    scratch.close()
    assert not (tmp_path / "local").exists()
    assert not COPIES


def convert_to_parquet(files: list[Path], folder: Path) -> list[Path]:
    from jetsym.jets.io.streaming.convert import to_parquet

    pytest.importorskip("pyarrow")
    to_parquet([str(file) for file in files], folder, progress=False)
    return sorted(folder.glob("*.parquet"))


def test_no_more_bytes_than_asked_for(numbered_files, small_blocks, tmp_path, monkeypatch, capsys):
    files = numbered_files([60, 60, 60, 60])
    size = int(1.5 * files[0].stat().st_size)
    largest = []
    real = module._make_room

    def seen(folder, allowed):
        found = real(folder, allowed)
        largest.append(used(tmp_path))
        return found

    monkeypatch.setattr(module, "_make_room", seen)
    plain = JetStream(files, batch_size=16, columns="all", buffer=40)
    scratch = Scratch(tmp_path, size=size)
    stream = JetStream(files, batch_size=16, columns="all", buffer=40, scratch=scratch)
    for epoch in range(2):
        for batch, other in zip(stream, plain, strict=True):
            assert np.array_equal(batch.columns["jet_sdmass"], other.columns["jet_sdmass"])
            largest.append(used(tmp_path))
        scratch.say(4)
        said = capsys.readouterr().err
        assert ("of 4 files had no room in" in said) == (epoch == 0)
    assert 0 < max(largest) <= size
    scratch.close()
    assert not copies(tmp_path)


def test_files_come_one_after_the_other_where_there_is_room_for_one(numbered_files, tmp_path):
    """In the order of the files each is done with before the next: all are copied, and old ones make room."""
    files = numbered_files([60, 60, 60])
    scratch = Scratch(tmp_path, size=int(1.5 * max(path.stat().st_size for path in files)))
    scratch.expect([original(path) for path in files])
    for path in files:
        with scratch._shared.change:
            while path not in scratch._shared.held:
                scratch._shared.change.wait(10)
        with scratch.reading(path):
            assert COPIES[path].read_bytes() == path.read_bytes()
            assert [COPIES[path]] == copies(tmp_path)
        assert path not in COPIES
    scratch.close()


def test_what_killed_processes_leave_is_removed(numbered_files, tmp_path):
    (path,) = numbered_files([20])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "holds\n"
        (copy,) = copies(tmp_path)
        part = copy.with_name(".other.root.part")
        part.write_bytes(b"half")  # of a process that was killed while it copied
        other = Scratch(tmp_path, size=10**9)  # one that comes meanwhile
        assert copies(tmp_path) == [copy]
        other.keep([original(path)])
        assert COPIES[path] == copy  # shared, not made again
        other.close()
        assert copies(tmp_path) == [copy]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert copies(tmp_path) == [copy]
    Scratch(tmp_path).close()
    assert not [*tmp_path.iterdir()]


def test_two_that_copy_the_same_files_at_once(numbered_files, tmp_path):
    """Each file is copied by one of them, and both read it."""
    files = numbered_files([40] * 6)
    both = [Scratch(tmp_path, size=10**9) for _ in range(2)]
    for scratch in both:
        scratch.expect([original(path) for path in files])
    for path in files:
        for scratch in both:
            with scratch.reading(path):
                assert path in scratch._shared.held
    assert len(copies(tmp_path)) == 6
    both[0].close()
    assert not copies(tmp_path)
    both[1].close()


@pytest.mark.parametrize("where", ["posix_fallocate", "utime"])
def test_a_full_disk_is_said_once_and_files_are_read_where_they_lie(
    numbered_files, small_blocks, tmp_path, monkeypatch, capsys, where
):
    files = numbered_files([60, 60])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, where, full)
    scratch = Scratch.__new__(Scratch)
    monkeypatch.setattr(module, "check_out", lambda path, **_: path)  # which sets times as well
    scratch.__init__(tmp_path, size=10**9)
    stream = JetStream(files, batch_size=16, columns="all", scratch=scratch)
    assert numbers(stream) == numbers(JetStream(files, batch_size=16, columns="all"))
    assert numbers(stream)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "was not copied (No space left on device); files are read where they lie" in said[0]
    assert not copies(tmp_path)
    scratch.close()


def test_a_copy_that_someone_removes_is_done_without(numbered_files, tmp_path):
    (path,) = numbered_files([20])
    scratch = Scratch(tmp_path, size=10**9)
    scratch.expect([original(path)] * 2)
    with scratch.reading(path):
        COPIES[path].unlink()
    with scratch.reading(path):
        assert path not in COPIES
    scratch.close()


def test_a_file_that_changes_is_refused_as_ever(numbered_files, tmp_path):
    files = numbered_files([60, 60])
    stream = JetStream(files, batch_size=16, scratch=Scratch(tmp_path, size=10**9))
    status = files[1].stat()
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(DataError, match="has changed since it was first opened"):
        list(stream)


def test_files_on_another_machine_are_fetched_once(numbered_files, small_blocks, tmp_path, file_server):
    files = numbered_files([60, 100])
    file_server.files |= {path.name: path.read_bytes() for path in files}
    urls = [f"{file_server.url}/{path.name}" for path in files]
    expected = JetStream(files, batch_size=16, columns="all", buffer=40)
    scratch = Scratch(tmp_path, size=10**9)
    stream = JetStream(urls, batch_size=16, columns="all", buffer=40, scratch=scratch)
    first = sorted(number for batch in numbers(stream) for number in batch)
    asked = len(file_server.asked)
    second = numbers(stream)
    assert all(kind == "HEAD" or wanted == "bytes=1-1" for kind, _, wanted in file_server.asked[asked:])
    assert len(second) == len(expected)
    assert len(set(first)) == len(first) == 160
    scratch.close()
    assert not copies(tmp_path)


def test_a_cache_is_copied_and_kept_to_the_end(numbered_files, tmp_path, capsys):
    cache = convert(numbered_files([60, 60]), tmp_path / "cache", progress=False)
    expected = numbers(JetStream(cache, batch_size=16, columns="all"))
    largest = max(path.stat().st_size for path in cache.glob("*.npy"))
    for size, everything in ((10**9, True), (largest - 1, False)):
        scratch = Scratch(tmp_path / "local", size=size)
        stream = JetStream(cache, batch_size=16, columns="all", scratch=scratch)
        assert (len(copies(tmp_path / "local")) == len([*cache.glob("*.npy")])) == everything
        assert used(tmp_path / "local") <= size
        assert ("had no room" in capsys.readouterr().err) != everything
        assert numbers(stream) == expected
        scratch.close()
        assert not (tmp_path / "local").exists()


def test_what_has_no_meaning_is_refused(numbered_files, tmp_path):
    (path,) = numbered_files([10])
    with pytest.raises(ConfigError, match="which is a file"):
        Scratch(path)
    for data in (str(path.parent), f"{path.parent}/**/*.root", [str(path.parent)]):
        with pytest.raises(ConfigError, match="would be read as jets"):
            Scratch(path.parent, inputs=data)
    Scratch(path.parent, inputs=f"{path.parent}/*.root").close()
    for size in ("5 apples", "-1GB", "nan", 0, "inf"):
        with pytest.raises(ConfigError, match="expected a number of bytes"):
            number_of_bytes(size)
