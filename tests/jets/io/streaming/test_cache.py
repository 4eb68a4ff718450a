"""The ragged cache: made once, whole or not at all, and never of other files than those asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.files import write_atomically
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.streaming.appending import JOURNAL
from jetsym.jets.io.streaming.cache import MANIFEST, is_cache, load_manifest, verify
from jetsym.jets.io.streaming.convert import convert

SIZES = [30, 50, 20]


@pytest.fixture
def files(numbered_files, small_blocks) -> list[Path]:
    return numbered_files(SIZES)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_plain_arrays_and_a_manifest(files, tmp_path):
    folder = convert(files, tmp_path / "cache", progress=False)
    assert not (folder / JOURNAL).exists()
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["jets"], manifest["classes"][0]) == (100, "QCD")
    assert [Path(source["path"]).name for source in manifest["sources"]] == [path.name for path in files]
    offsets, values = np.load(folder / "offsets.npy"), np.load(folder / "values.npy")
    assert values.shape == (offsets[-1], 8)
    assert np.load(folder / "kinds.npy").dtype == np.uint8
    assert np.load(folder / "column_jet_sdmass.npy").tolist() == list(range(100))
    assert verify(folder) == len(manifest["files"])


def test_a_finished_cache_is_left_alone_and_another_one_is_refused(files, tmp_path):
    folder = convert(files, tmp_path / "cache", progress=False)
    before = (folder / "values.npy").stat().st_mtime_ns
    convert(files, folder, progress=False)
    assert (folder / "values.npy").stat().st_mtime_ns == before
    for other, message in [(files[:2], "a cache of 3 files, and 2 are asked for"), (files[::-1], "of other files")]:
        with pytest.raises(ConfigError, match=message):
            convert(other, folder, progress=False)
        with pytest.raises(ConfigError, match=message):
            JetStream(other, batch_size=5, cache=folder)
    convert(files[:2], folder, overwrite=True, progress=False)
    assert JetStream(folder, batch_size=5).n_jets == 80


def test_files_left_out_of_a_cache_are_those_that_were_bad_alone(files, tmp_path):
    (tmp_path / "bad.root").write_bytes(b"nothing")
    asked = [*files, tmp_path / "bad.root"]
    cache = tmp_path / "cache"
    n_jets = JetStream(asked, batch_size=8, cache=cache, skip_bad=True).n_jets
    assert JetStream(asked, batch_size=8, cache=cache, skip_bad=True).n_jets == n_jets
    with pytest.raises(ConfigError, match="and .* are asked for"):
        JetStream(asked, batch_size=8, cache=cache)
    with pytest.raises(ConfigError, match="and .* are asked for"):
        JetStream([asked[0], asked[-1]], batch_size=8, cache=cache, skip_bad=True)
    with pytest.raises(ConfigError, match="is a cache of other files"):
        JetStream(
            [*files[:-1], shutil.copy(files[-1], tmp_path / "other.root")], batch_size=8, cache=cache, skip_bad=True
        )


def test_a_stale_cache_is_refused(files, numbered_files, tmp_path):
    folder = convert(files, tmp_path / "cache", progress=False)
    status = files[0].stat()
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    JetStream(files, batch_size=5, cache=folder)  # touched, but the same by its checksum
    content = bytearray(files[0].read_bytes())
    content[-1] ^= 1
    files[0].write_bytes(content)
    for source in (files, folder):
        with pytest.raises(DataError, match=r"is stale: it was made of .*QCD_000.root, but its contents have changed"):
            JetStream(source, batch_size=5, cache=None if source is folder else folder)
    files[0].write_bytes(bytes(content) + b"more")
    with pytest.raises(DataError, match="is stale.*it holds .* bytes, and held"):
        JetStream(folder, batch_size=5)
    files[0].unlink()
    assert JetStream(folder, batch_size=5).n_jets == 100  # the sources may be gone


def test_a_stream_makes_its_cache(files, tmp_path):
    direct = JetStream(files, batch_size=10, shuffle=False)
    for _ in range(2):
        cached = JetStream(files, batch_size=10, shuffle=False, cache=tmp_path / "cache")
        pairs = zip(direct, cached, strict=True)
        assert all(torch.equal(one.values, other.values) for one, other in pairs)
    with pytest.raises(ConfigError, match="make it before a distributed run"):
        JetStream(files, batch_size=10, cache=tmp_path / "none", world_size=2)


def test_columns_that_a_cache_does_not_hold(files, tmp_path):
    folder = convert(files, tmp_path / "cache", columns="kin", progress=False)
    assert next(iter(JetStream(folder, batch_size=10, columns="kin"))).values.shape[1] == 4
    with pytest.raises(DataError, match="holds columns='kin', and 'full' are asked for"):
        JetStream(folder, batch_size=10)


def test_an_interrupted_cache_is_continued(files, tmp_path, monkeypatch):
    whole = contents(convert(files, tmp_path / "whole", progress=False))
    folder = tmp_path / "cache"
    for stop in (1, 2, 4):
        calls = []

        def die(path, text, stop=stop, calls=calls):
            calls.append(path)
            if len(calls) > stop:
                raise KeyboardInterrupt
            return write_atomically(path, text)

        with monkeypatch.context() as patch:
            patch.setattr("jetsym.jets.io.streaming.appending.write_atomically", die)
            with pytest.raises(KeyboardInterrupt):
                convert(files, folder, progress=False)
        assert not is_cache(folder)
        with pytest.raises(DataError, match="not finished: run jetsym convert again"):
            load_manifest(folder)
    convert(files, folder, progress=False)
    assert contents(folder) == whole
    assert verify(folder)


def test_an_unfinished_cache_of_other_files_is_begun_anew(files, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / JOURNAL).write_text('{"plan": 1}')
    (folder / "values.npy").write_bytes(b"rubbish")
    convert(files, folder, progress=False)
    assert contents(folder) == contents(convert(files, tmp_path / "whole", progress=False))


@pytest.mark.parametrize("change", ["cut", "emptied", "overwritten", "zeros"])
def test_a_cache_that_changes_in_mid_epoch_is_an_error(files, tmp_path, monkeypatch, change):
    """Mapped memory would end the process (SIGBUS), or give zeros and other jets."""
    whole = convert(files, tmp_path / "cache", progress=False)
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 2000)
    for name in ("offsets", "values", "kinds", "jet_p4", "label"):
        for buffer in (None, 4):  # all of it at once, and block by block
            folder = Path(shutil.copytree(whole, tmp_path / f"{name}-{buffer}"))
            stream = JetStream(folder, batch_size=2, buffer=buffer, shuffle=False, threads=1)
            expected = [batch.jet_p4 for batch in stream]
            batches = iter(stream)
            next(batches)
            path = folder / f"{name}.npy"
            size = path.stat().st_size
            if change in ("cut", "emptied"):
                os.truncate(path, 140 if change == "cut" else 0)
            else:
                with path.open("r+b") as file:
                    file.seek(128)
                    file.write((size - 128) * (b"\0" if change == "zeros" else b"\1"))
            if buffer is None and name in ("offsets", "jet_p4", "label"):  # which are in memory
                assert all(map(torch.equal, expected[1:], [batch.jet_p4 for batch in batches]))
                continue
            with pytest.raises(DataError, match=f"{name}.npy: has changed since it was opened"):
                list(batches)


def test_a_cache_that_is_replaced_in_mid_epoch_stays_what_it_was(files, tmp_path):
    """Whoever has opened the files keeps them, as when a file is replaced in one step."""
    folder = convert(files, tmp_path / "cache", progress=False)
    expected = [batch.values for batch in JetStream(folder, batch_size=2, seed=1)]
    batches = iter(JetStream(folder, batch_size=2, seed=1))
    first = next(batches)
    for path in folder.glob("*.npy"):
        path.unlink()
        path.write_bytes(b"rubbish")
    assert all(map(torch.equal, expected, [first.values, *(batch.values for batch in batches)]))


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("offsets", 0, 1, "offsets go from 1 to"),
        ("offsets", 3, -5, "offsets fall behind jet 0"),
        ("offsets", 3, 10**6, "offsets fall behind jet 0"),
        ("offsets", -1, 0, "offsets go from 0 to 0, expected 0 to"),
        ("label", 0, 10, "labels are .* to 10 for 10 classes"),
        ("label", -1, -1, "labels are -1 to"),
    ],
)
def test_offsets_and_labels_that_lead_nowhere_are_found_on_opening(files, tmp_path, name, place, value, message):
    folder = convert(files, tmp_path / "cache", progress=False)
    array = np.load(folder / f"{name}.npy", mmap_mode="r+")
    array[place] = value
    array.flush()
    for opened in (lambda: JetStream(folder, batch_size=5), lambda: read(folder)):
        with pytest.raises(DataError, match=f"is a cache that is damaged \\({message}"):
            opened()


@pytest.mark.parametrize("change", ["shorter", "transposed", "other type", "objects"])
def test_arrays_of_another_form_are_refused(files, tmp_path, change):
    whole = convert(files, tmp_path / "cache", columns="all", progress=False)
    for name in ("offsets", "values", "kinds", "jet_p4", "label", "column_jet_sdmass"):
        folder = Path(shutil.copytree(whole, tmp_path / name))
        path = folder / f"{name}.npy"
        array = np.load(path)
        if change == "transposed" and array.ndim == 1:
            continue
        changed = {
            "shorter": array[:-1],
            "transposed": np.asfortranarray(array),
            "other type": array.astype("complex64"),
            "objects": array.astype(object),
        }[change]
        np.save(path, changed, allow_pickle=True)
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][path.name]["bytes"] = path.stat().st_size
        (folder / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(DataError, match="damaged"):
            JetStream(folder, batch_size=5, columns="all")


def test_a_folder_of_something_else_is_left_alone(files, tmp_path):
    (tmp_path / "thesis.npy").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="holds 'thesis.npy' and no cache"):
            convert(files, tmp_path, overwrite=overwrite, progress=False)
    with pytest.raises(DataError, match="is a file; expected a folder"):
        convert(files, tmp_path / "thesis.npy", progress=False)


def test_damage_is_found(files, tmp_path):
    folder = convert(files, tmp_path / "cache", progress=False)
    path = folder / "values.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"values.npy: damaged; its sha256 is"):
        verify(folder)
    path.write_bytes(content[:-8])
    with pytest.raises(DataError, match=r"values.npy: damaged \(it holds \d+ bytes, expected \d+\)"):
        JetStream(folder, batch_size=5)
    path.unlink()
    with pytest.raises(DataError, match="values.npy: missing"):
        verify(folder)
    with pytest.raises(DataError, match=r"values.npy: damaged .*No such file"):
        JetStream(folder, batch_size=5)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"version": 9}))
    with pytest.raises(DataError, match="a cache of version 9; this jetsym reads 1"):
        JetStream(folder, batch_size=5)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"files": {"../secret": {"sha256": "", "bytes": 1}}}))
    with pytest.raises(DataError, match="lies outside of its folder"):
        verify(folder)
    with pytest.raises(DataError, match="no manifest.json"):
        verify(tmp_path)


def test_the_space_is_checked_first(files, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(DataError, match="needs 0.0 GB, and the disk has 0.0 GB free"):
        convert(files, tmp_path / "cache", progress=False)


def test_a_disk_that_becomes_full(files, tmp_path):
    """A limit on the size of files stands for the disk: writing fails in the same place."""
    folder = tmp_path / "cache"
    code = (
        "import resource, sys; from jetsym.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); sys.exit(main(sys.argv[1:]))"
    )
    words = ["convert", f"[{','.join(map(str, files))}]", "--out", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the cache could not be written" in done.stderr
    assert len(done.stderr.split("\n\n")[-1].splitlines()) == 1  # behind what is left of a progress bar
    assert not is_cache(folder)
    convert(files, folder, progress=False)
    assert contents(folder) == contents(convert(files, tmp_path / "whole", progress=False))


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_is_used(numbered_files, tmp_path):
    files = numbered_files([1500] * 4, jets_per_basket=100)
    folder = tmp_path / "cache"
    code = (
        "import sys, jetsym.jets.io.streaming.blocks as s; cut = s.cut;"
        "from jetsym.jets.io.streaming.convert import convert;"
        "s.cut = lambda b: cut(b, smallest=100, largest=100); convert(sys.argv[2:], sys.argv[1], progress=False)"
    )
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code, str(folder), *map(str, files)])
        while process.poll() is None and not (folder / JOURNAL).exists():
            time.sleep(0.01)
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        assert not is_cache(folder)
    else:
        subprocess.run([sys.executable, "-c", code, str(folder), *map(str, files)], check=True)
    assert verify(folder)
    assert contents(folder) == contents(convert(files, tmp_path / "whole", progress=False))
