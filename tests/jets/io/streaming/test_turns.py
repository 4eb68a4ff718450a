"""Conversion by several processes gives the bytes of one, whatever becomes of them; here the processes are threads."""

from __future__ import annotations

import contextvars
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jetsym import ranks
from jetsym.errors import DataError, LockedError
from jetsym.files import UNFINISHED
from jetsym.jets.io import JetStream
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.streaming import appending, turns
from jetsym.jets.io.streaming.appending import JOURNAL, CachedBlock, CacheWriter, open_journal
from jetsym.jets.io.streaming.blocks import JetFiles
from jetsym.jets.io.streaming.cache import MANIFEST, is_cache, verify
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.locks import locked
from jetsym.ranks import Ranks, here

SIZES = [30, 50, 20, 47]


@pytest.fixture
def files(numbered_files, small_blocks) -> list[Path]:
    return numbered_files(SIZES)


@pytest.fixture
def shared(monkeypatch) -> Callable[..., list[Any]]:
    """``shared(size, task)``: what a task returns in each of several ranks, or the error that it ends with."""

    def run(size: int, task: Callable[[], Any]) -> list[Any]:
        together, slots, found = threading.Barrier(size), [b""] * size, [None] * size

        def gather(into: list[Any], own: Any) -> None:
            slots[here().rank] = pickle.dumps(own)
            together.wait(60)
            into[:] = map(pickle.loads, slots)
            with suppress(threading.BrokenBarrierError):  # of one that ends now, and has told all
                together.wait(60)

        def begin(rank: int) -> None:
            ranks._HERE.set(Ranks(rank, size))
            try:
                found[rank] = task()
            except BaseException as error:
                found[rank] = error
                together.abort()  # the process has ended

        with monkeypatch.context() as patch:
            patch.setattr(torch.distributed, "all_gather_object", gather)
            threads = [threading.Thread(target=contextvars.Context().run, args=(begin, rank)) for rank in range(size)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return found

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_the_cache_of_several_is_that_of_one(files, tmp_path, shared, size):
    folder = tmp_path / "several"
    assert shared(size, lambda: convert(files, folder, progress=False)) == [folder] * size
    assert contents(folder) == contents(convert(files, tmp_path / "one", progress=False))
    assert verify(folder, progress=False)
    before = (folder / MANIFEST).stat().st_mtime_ns
    assert shared(size, lambda: convert(files, folder, progress=False)) == [folder] * size  # which is there
    assert (folder / MANIFEST).stat().st_mtime_ns == before


def test_what_is_left_out_is_left_out_of_both(files, tmp_path, shared, monkeypatch):
    (tmp_path / "bad.root").write_bytes(b"nothing")
    read = JetFiles.read

    def damaged(self, block, *arguments):
        if block.file == 1 and block.start < 20:
            raise DataError("a checksum differs")
        return read(self, block, *arguments)

    monkeypatch.setattr(JetFiles, "read", damaged)
    asked = [*files, tmp_path / "bad.root"]

    def made(folder: Path) -> Path:
        return convert(asked, folder, skip_bad=True, bad_jets="drop", progress=False)

    folder = tmp_path / "several"
    assert shared(3, lambda: made(folder)) == [folder] * 3
    assert contents(folder) == contents(made(tmp_path / "one"))
    assert JetStream(folder, batch_size=10).n_jets < sum(SIZES)


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize(("first", "second"), [(2, 3), (3, 1), (2, 2)])
def test_what_is_killed_goes_on_with_any_number(files, tmp_path, shared, monkeypatch, first, second, killed):
    """The first process where it notes what it has appended, another one where it passes a block on."""
    whole = contents(convert(files, tmp_path / "whole", progress=False))
    folder = tmp_path / "cache"
    module, name = (appending, "write_atomically") if killed == 0 else (turns, "_save")
    function = getattr(module, name)
    for stop in (1, 2):
        calls = []

        def dies(path, value, stop=stop, calls=calls):
            calls.append(path)
            if here().rank == killed and len(calls) > stop:
                if module is turns:
                    path.write_bytes(b"the beginning of a block")
                raise KeyboardInterrupt  # no error that could be told to others, as where a process is killed
            return function(path, value)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, dies)
            ends = shared(first, lambda: convert(files, folder, progress=False))
        assert isinstance(ends[killed], KeyboardInterrupt)
        assert all("that share has ended" in str(end) for rank, end in enumerate(ends) if rank != killed)
        assert not is_cache(folder)
        assert (folder / JOURNAL).exists()
    (folder / ".block-7.rows").write_bytes(b"of a process that was killed before it could remove it")
    assert shared(second, lambda: convert(files, folder, progress=False)) == [folder] * second
    assert contents(folder) == whole


def test_work_that_is_done_is_not_done_again(files, tmp_path, shared, monkeypatch):
    read, blocks = JetFiles.read, []
    folder = tmp_path / "cache"

    def stops(self, block, *arguments):
        blocks.append(block)
        if block.stop == SIZES[3]:
            raise DataError("the file server does not answer")
        return read(self, block, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(JetFiles, "read", stops)
        ends = shared(2, lambda: convert(files, folder, threads=1, progress=False))
    assert all("the file server does not answer" in str(end) for end in ends)
    assert sum(str(end).startswith("process ") for end in ends) == 1
    seen = [*blocks]
    blocks.clear()
    with monkeypatch.context() as patch:
        patch.setattr(JetFiles, "read", lambda self, block, *rest: blocks.append(block) or read(self, block, *rest))
        shared(3, lambda: convert(files, folder, progress=False))
    assert len(blocks) < len(seen)
    assert {block.file for block in blocks} >= {3}
    assert contents(folder) == contents(convert(files, tmp_path / "one", progress=False))


def test_mistakes_end_all(files, tmp_path, shared):
    (tmp_path / "thesis.txt").write_text("years of work")
    ends = shared(2, lambda: convert(files, tmp_path, progress=False))
    assert isinstance(ends[0], DataError)
    assert str(ends[1]) == f"process 0 of 2 ended with: {ends[0]}"
    with locked(tmp_path / "busy", "somebody"):
        ends = shared(2, lambda: convert(files, tmp_path / "busy", progress=False))
    assert isinstance(ends[0], LockedError)
    assert "is being written by somebody" in str(ends[1])
    assert not (tmp_path / "busy").exists()


@pytest.mark.parametrize("made", [convert, to_parquet])
def test_processes_that_see_other_files_are_refused(files, tmp_path, shared, made):
    ends = shared(3, lambda: made(files[: 4 - here().rank // 2], tmp_path / "out", progress=False))
    assert [str(end) for end in ends] == [
        "process 2 of 3 finds other files than process 0; expected the same on all machines"
    ] * 3


@pytest.mark.parametrize("size", [2, 3, 6])
def test_every_parquet_file_is_one_processs(files, tmp_path, shared, monkeypatch, size):
    pytest.importorskip("pyarrow")
    from jetsym.jets.io.streaming import convert as module

    write, writers = module.write_parquet, {}

    def written(path, target, **options):
        writers.setdefault(path.name, []).append(here().rank)
        return write(path, target, **options)

    monkeypatch.setattr(module, "write_parquet", written)
    whole = contents(to_parquet(files, tmp_path / "one", progress=False))
    writers.clear()
    folder = tmp_path / "several"
    assert shared(size, lambda: to_parquet(files, folder, progress=False)) == [folder] * size
    assert contents(folder) == whole
    assert writers == {path.name: [place % size] for place, path in enumerate(files)}
    (folder / f"{files[2].stem}.parquet").unlink()
    writers.clear()
    shared(size, lambda: to_parquet(files, folder, progress=False))  # goes on with what is not there
    assert writers == {files[2].name: [0]}
    assert contents(folder) == whole
    shared(size, lambda: to_parquet(files[:1], folder, overwrite=True, progress=False))
    assert {*contents(folder)} == {f"{files[0].stem}.parquet"}


def test_a_parquet_file_that_fails_ends_all_and_the_others_stay(files, tmp_path, shared):
    pytest.importorskip("pyarrow")
    kept = files[1].read_bytes()
    files[1].write_bytes(kept[: len(kept) // 2])
    ends = shared(2, lambda: to_parquet(files, tmp_path / "out", progress=False))
    assert isinstance(ends[1], DataError)
    assert str(ends[0]).startswith("process 1 of 2 ended with: ")
    assert {*contents(tmp_path / "out")} == {UNFINISHED, f"{files[0].stem}.parquet"}
    files[1].write_bytes(kept)
    shared(3, lambda: to_parquet(files, tmp_path / "out", progress=False))
    assert contents(tmp_path / "out") == contents(to_parquet(files, tmp_path / "one", progress=False))


def test_a_column_may_be_called_like_offsets(tmp_path):
    """Only offsets begin with a zero."""
    p4 = np.ones((3, 4), np.float32)
    jets = PackedJets(np.array([0, 2, 3]), p4, None, p4[:2], columns={"my_offsets": np.array([7.0, 8.0])})
    with CacheWriter(tmp_path, open_journal(tmp_path, "plan")) as writer:
        for _ in range(2):
            writer.append(CachedBlock.of(jets), where="a.root")
    assert np.load(tmp_path / "column_my_offsets.npy").tolist() == [7, 8, 7, 8]
    assert np.load(tmp_path / "offsets.npy").tolist() == [0, 2, 3, 5, 6]
