"""Damaged files: every fault ends in one clear error that names the file, or in a counted skip; never in wrong jets."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from jetsym.errors import DataError, ResourceError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.streaming.blocks import JetFiles, cut
from jetsym.jets.io.streaming.cache import load_manifest, verify
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES

N = 600


def coarse(values: Any) -> Any:
    """Powers of two instead of random numbers, which LZ4 would store as they are, without a checksum."""
    if isinstance(values, ak.Array):
        return ak.unflatten(coarse(ak.to_numpy(ak.flatten(values))), ak.num(values))
    values = np.asarray(values)
    return (values.view("u4") & 0xFF800000).view("f4") if values.dtype == np.float32 else values


@pytest.fixture(scope="module", params=["zlib", "lzma", "lz4"])
def whole(request, tmp_path_factory, make_jets, jetclass_columns) -> Path:
    """A file whose baskets are all compressed; soft-drop mass and τ1 number its jets."""
    columns = {name: coarse(column) for name, column in jetclass_columns(make_jets(N, seed=3)).items()}
    columns |= {name: np.zeros(N) for name in JET_BRANCHES if name not in columns}
    columns |= {name: columns["part_px"] for name in PARTICLE_BRANCHES if name not in columns}
    columns |= {"jet_sdmass": np.arange(N) // 20, "jet_tau1": np.arange(N) % 20}
    path = tmp_path_factory.mktemp("faults") / "jets.root"
    write_jetclass(path, columns, compression=request.param, jets_per_basket=200)
    with uproot.open(path) as file:
        for branch in file["tree"].branches:
            for number in range(branch.num_baskets):
                assert branch.basket(number).block_compression_info, branch.name
    return path


def variants(content: bytes, n: int, seed: int):
    """Copies of a file, cut off, with flipped bits, or with a range of zeros."""
    rng = random.Random(seed)
    for number in range(n):
        damaged, place = bytearray(content), rng.randrange(len(content))
        if number % 3 == 0:
            del damaged[place:]
        elif number % 3 == 1:
            for _ in range(rng.choice([1, 1, 8])):
                damaged[place] ^= 1 << rng.randrange(8)
                place = rng.randrange(len(content))
        else:
            damaged[place : place + rng.choice([4, 64, 4096])] = bytes(len(damaged[place : place + 64]))
        yield bytes(damaged)


# 67 of each compression are 200 in all.
@pytest.mark.parametrize("n", [12, pytest.param(67, marks=pytest.mark.slow)])
def test_damage_is_an_error_with_the_files_name_or_a_skip_or_harmless(whole, tmp_path, n):
    truth, path = read(whole), tmp_path / "damaged.root"
    named, outcomes = 0, {"error": 0, "harmless": 0}
    for content in variants(whole.read_bytes(), n, seed=n):
        path.write_bytes(content)
        options = {"batch_size": 128, "shuffle": False, "columns": "all"}
        try:
            batches = list(JetStream(path, **options))
        except DataError as error:
            outcomes["error"] += 1
            named += "damaged.root" in str(error)
            batches = _skipping([whole, path], options)
        else:
            outcomes["harmless"] += 1
            assert sum(map(len, batches)) == N
        for batch in batches:
            expected = truth[(20 * batch.columns["jet_sdmass"] + batch.columns["jet_tau1"]).long()].trim()
            for name in ("p4", "scalars", "label"):
                assert torch.equal(getattr(batch.to_padded(), name), getattr(expected, name)), name
    assert named == outcomes["error"] > 0.5 * n, outcomes


def _skipping(paths: list[Path], options: dict) -> list:
    stream = JetStream(paths, skip_bad=True, **options)
    batches = list(stream)
    assert len(stream.skipped) >= 1
    assert all("damaged.root" in one.reason and one.path == paths[1] for one in stream.skipped)
    lost = sum(one.n_jets or 0 for one in stream.skipped)
    assert sum(map(len, batches)) == stream.n_jets - lost >= N
    return batches


@pytest.fixture
def bad(whole, tmp_path) -> Path:
    """A copy with a hole in one basket."""
    content = bytearray(whole.read_bytes())
    with uproot.open(whole) as file:
        place = int(file["tree/part_pz"].member("fBasketSeek")[1]) + 200
    content[place : place + 50] = bytes(50)
    (tmp_path / "bad.root").write_bytes(content)
    return tmp_path / "bad.root"


def test_a_cache_says_what_it_lacks(whole, bad, tmp_path, monkeypatch):
    monkeypatch.setattr("jetsym.jets.io.streaming.blocks.cut", lambda boundaries: cut(boundaries, smallest=100))
    (tmp_path / "worse.root").write_bytes(b"root, but not for long")
    paths = [whole, bad, tmp_path / "worse.root"]
    with pytest.raises(DataError, match="worse.root: truncated"):
        convert(paths, tmp_path / "cache", progress=False)
    folder = convert(paths, tmp_path / "cache", skip_bad=True, progress=False)
    assert JetStream(folder, batch_size=10).n_jets == N + N - 200
    skipped = json.loads((folder / "manifest.json").read_text())["skipped"]
    assert [(Path(one["path"]).name, one["jets"]) for one in skipped] == [("worse.root", None), ("bad.root", 200)]
    with pytest.raises(DataError, match="bad.root: damaged or not readable"):
        convert(paths[:2], tmp_path / "other", progress=False)


def test_no_thread_is_left_behind(whole, bad):
    before = threading.active_count()
    next(iter(JetStream(whole, batch_size=16)))
    with pytest.raises(DataError, match=r"bad.root: damaged or not readable \(\w+: .*\); check the file against"):
        list(JetStream(bad, batch_size=16))
    assert threading.active_count() == before


def test_a_file_that_goes_or_changes_during_the_epoch(numbered_files, small_blocks):
    files = numbered_files([60] * 4)
    content = files[2].read_bytes()

    def reading() -> tuple[JetStream, object]:
        stream = JetStream(files, batch_size=20, buffer=40, shuffle=False)
        batches = iter(stream)
        next(batches)
        return stream, batches

    stream, batches = reading()
    files[2].unlink()
    with pytest.raises(DataError, match=r"Hcc_002.root: cannot be opened any more \(No such file or directory\)"):
        list(batches)
    files[2].write_bytes(content)

    stream, batches = reading()
    files[2].write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"Hcc_002.root: has changed since it was first opened"):
        list(batches)
    files[2].write_bytes(content)

    stream = JetStream(files, batch_size=20, buffer=40, shuffle=False, skip_bad=True)
    batches = iter(stream)
    next(batches)
    files[2].unlink()
    assert sum(map(len, batches)) == 240 - 20 - 60
    assert sum(one.n_jets for one in stream.skipped) == 60


@pytest.mark.parametrize("error", [MemoryError("no room"), SystemExit(3), RuntimeError("lost")])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_thread_that_dies_ends_the_epoch_at_once(numbered_files, small_blocks, monkeypatch, error, skip_bad):
    files = numbered_files([60] * 4)
    stream = JetStream(files, batch_size=20, buffer=40, shuffle=False, skip_bad=skip_bad)
    expected = [batch.jet_p4 for batch in stream]
    read_block, before = JetFiles.read, threading.active_count()

    def die(self, block, arena=None):
        if block.file == 2:
            raise error
        return read_block(self, block, arena)

    stream.set_epoch(0)
    given: list[Any] = []

    def consume() -> None:
        try:
            given.extend(batch.jet_p4 for batch in stream)
        except BaseException as raised:
            given.append(raised)

    with monkeypatch.context() as patch:
        patch.setattr(JetFiles, "read", die)
        consumer = threading.Thread(target=consume, daemon=True)
        consumer.start()
        consumer.join(timeout=20)
        assert not consumer.is_alive(), "the stream hangs"
    # What was read before comes whole, and nothing after it: the error is not taken for a damaged file.
    assert given.pop() is error
    assert 0 < len(given) <= 6
    assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=False))
    assert threading.active_count() == before
    # The stream stands where it broke, and continues there.
    rest = [batch.jet_p4 for batch in stream]
    assert torch.equal(torch.cat([*given, *rest]), torch.cat(expected))


@pytest.mark.parametrize("error", [MemoryError("no room"), SystemExit(3)])
def test_a_thread_that_dies_leaves_an_unfinished_cache(numbered_files, small_blocks, tmp_path, monkeypatch, error):
    files = numbered_files([60] * 2)
    read_block = JetFiles.read

    def die(self, block, arena=None):
        if block.file == 1:
            raise error
        return read_block(self, block, arena)

    with monkeypatch.context() as patch:
        patch.setattr(JetFiles, "read", die)
        with pytest.raises(ResourceError if isinstance(error, MemoryError) else type(error)):
            convert(files, tmp_path / "cache", skip_bad=True, progress=False)
    with pytest.raises(DataError, match="one that is not finished: run jetsym convert again"):
        load_manifest(tmp_path / "cache")
    convert(files, tmp_path / "cache", progress=False)
    assert verify(tmp_path / "cache", progress=False) > 0
    assert JetStream(tmp_path / "cache", batch_size=1).n_jets == 120


@pytest.mark.parametrize("buffer", [None, 30])
def test_a_cache_that_goes_or_is_replaced_during_the_epoch(numbered_files, tmp_path, monkeypatch, buffer):
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 1500)
    first, second = numbered_files([60, 60]), numbered_files([50, 50])
    cache = convert(first, tmp_path / "cache", progress=False)
    expected = [batch.values for batch in JetStream(cache, batch_size=20, buffer=buffer)]
    for change in (
        lambda: convert(second, cache, overwrite=True, progress=False),
        lambda: shutil.rmtree(cache),
    ):
        convert(first, cache, overwrite=True, progress=False)
        batches = iter(JetStream(cache, batch_size=20, buffer=buffer))
        given = [next(batches).values]
        change()  # the files stay what they were for those who have them open
        given += [batch.values for batch in batches]
        assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))
    with pytest.raises(DataError, match="no such file"):
        JetStream(cache, batch_size=20)


def test_all_files_damaged(tmp_path):
    for name in ("a.root", "b.root"):
        (tmp_path / name).write_bytes(b"root and nothing else in this file")
    with pytest.raises(DataError, match="none of 2 files can be read; the first: .*a.root: truncated"):
        JetStream(tmp_path, batch_size=4, skip_bad=True)


@pytest.mark.parametrize("compression", ["zlib", "lzma", "lz4"])
def test_every_compression_is_read(numbered_files, compression):
    files = numbered_files([50, 30], compression=compression)
    batch = next(iter(JetStream(files, batch_size=80, shuffle=False)))
    assert torch.equal(batch.to_padded().p4, read(files).p4)


def test_what_a_damaged_file_leaves_behind_in_uproot_does_not_matter(jetclass_file, monkeypatch):
    path = jetclass_file("good.root", n=5)
    expected = read(path)
    versions = uproot.classes["TBranch"].known_versions
    for version in versions:
        monkeypatch.setitem(versions, version, object)
    assert torch.equal(read(path).p4, expected.p4)
    monkeypatch.delitem(uproot.classes, "TBranch")
    assert torch.equal(read(path).p4, expected.p4)
