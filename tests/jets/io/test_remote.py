"""Reading from a server on this machine: the same jets as from the file itself, in ranges and without."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from jetsym.cli import main
from jetsym.errors import DataError, MissingDependencyError
from jetsym.jets import read
from jetsym.jets.io import JetStream, remote
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.streaming.convert import convert

pytest.importorskip("aiohttp")


@pytest.fixture
def served(file_server, numbered_files):
    """Two files on the server: their paths here, and their addresses."""
    paths = numbered_files([120, 90], jets_per_basket=40)
    file_server.files |= {f"data/{path.name}": path.read_bytes() for path in paths}
    return paths, [f"{file_server.url}/data/{path.name}" for path in paths]


def same(one, other) -> None:
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.columns.keys() == other.columns.keys()
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, other.columns[name])


@pytest.mark.parametrize("ranges", [True, False])
def test_reading_from_a_server(served, file_server, ranges):
    paths, urls = served
    file_server.ranges = ranges
    same(read(urls), read(paths))
    same(read(urls[0]), read(paths[0]))
    same(read(urls, limit=30), read(paths, limit=30))


def test_only_what_is_asked_for_is_transferred(file_server, jetclass_file):
    path = jetclass_file(n=2000)
    file_server.files["jets.root"] = path.read_bytes()
    read(f"{file_server.url}/jets.root", limit=5)
    asked = [wanted for method, _, wanted in file_server.asked if method == "GET"]
    assert all(asked)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("columns", ["kin", "all"])
def test_streaming_from_a_server(served, file_server, small_blocks, ranges, columns):
    paths, urls = served
    file_server.ranges = ranges
    options = {"batch_size": 16, "columns": columns, "buffer": 60, "seed": 3}
    here, there = (list(JetStream(files, **options)) for files in (paths, urls))
    assert len(here) == len(there) == 13
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.offsets, other.offsets)
        np.testing.assert_array_equal(one.label, other.label)


def test_real_jets_from_a_server(file_server, real_data):
    for name in ("jetclass/jetclass_kin_500.root", "jetclass2/JetClassII_example.root"):
        file_server.files[name] = (real_data / name).read_bytes()
        same(read(f"{file_server.url}/{name}"), read(real_data / name))


def test_inspecting_from_a_server(served, capsys):
    paths, urls = served
    assert inspect(urls).counts == inspect(paths).counts
    assert main(["inspect", urls[0]]) == 0
    assert "120 jets" in capsys.readouterr().out


def test_a_file_that_changes_is_noticed(served, file_server):
    paths, urls = served
    stream = JetStream(urls[:1], batch_size=10)
    file_server.files["data/" + paths[0].name] = paths[1].read_bytes()
    with pytest.raises(DataError, match="has changed since it was first opened"):
        list(stream)


def test_a_cut_connection_is_taken_up_again(served, file_server, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES", (0.0,) * 5)  # all cuts may fall on one request
    paths, urls = served
    same(read(urls), read(paths))
    stream = JetStream(urls, batch_size=10, columns="all")
    file_server.drops = [10, 0, 10**9, 10**9, 7, 10**9, 3]  # 10**9 cuts nothing
    assert sum(map(len, stream)) == 210
    assert file_server.drops == []


def test_a_cut_connection_is_no_jet(served, file_server, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0))
    _, urls = served
    stream = JetStream(urls, batch_size=10)
    file_server.drops = [10] * 500
    with pytest.raises(DataError, match=r"\.root: cannot be (read|opened) \(.*\); check the"):
        list(stream)
    file_server.drops = []
    assert sum(map(len, JetStream(urls, batch_size=10))) == 210


def test_damaged_files(file_server, jetclass_file):
    raw = jetclass_file().read_bytes()
    file_server.files |= {"cut.root": raw[: len(raw) // 2], "page.root": b"<html>log in</html>" * 9, "empty.root": b""}
    for name, reason in (("cut", "truncated"), ("page", "not a ROOT file"), ("empty", "empty")):
        with pytest.raises(DataError, match=rf"{name}\.root: {reason}"):
            read(f"{file_server.url}/{name}.root")


def test_missing_files_end_in_one_line(file_server, capsys):
    url = f"{file_server.url}/none.root"
    with pytest.raises(DataError, match=r"none\.root: not there \(404\); check the address"):
        read(url)
    assert main(["inspect", url]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_that_refuses(file_server, monkeypatch):
    handler = file_server.RequestHandlerClass
    monkeypatch.setattr(handler, "do_HEAD", lambda self: self.send_error(403))
    monkeypatch.setattr(handler, "do_GET", lambda self: self.send_error(403))
    with pytest.raises(DataError, match=r"cannot be opened \(the server answers 403\); check the address"):
        read(f"{file_server.url}/jets.root")


def test_no_connection(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DataError, match=r"cannot be opened \(.*Cannot connect.*\); check the address and the n"):
            read(f"http://127.0.0.1:{taken.getsockname()[1]}/jets.root")


@pytest.mark.parametrize("scheme", ["https", "s3", "root"])
def test_missing_packages_are_named(monkeypatch, scheme):
    def missing(url):
        raise ImportError("Install it")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingDependencyError, match=rf"'{remote.PACKAGES[scheme]}'.*pip install 'jetsym\[remote\]'"):
        read(f"{scheme}://example.org/jets.root")


def test_what_needs_files_on_this_machine_says_so(served, tmp_path):
    _, urls = served
    for call in (
        lambda: convert(urls, tmp_path / "cache"),
        lambda: JetStream(urls, batch_size=8, cache=tmp_path / "cache"),
    ):
        with pytest.raises(DataError, match="is on another machine; expected files on this one: fetch it first"):
            call()
    with pytest.raises(DataError, match="patterns work on this machine only"):
        read("https://example.org/*.root")
    with pytest.raises(DataError, match="from where only ROOT files are read"):
        read("https://example.org/jets.parquet")
    with pytest.raises(DataError, match="holds '::'"):
        read("https://example.org/a::file:///etc/hostname")


def test_a_body_without_an_end_is_given_up(file_server, monkeypatch):
    monkeypatch.setattr(remote, "_MOST_IN_MEMORY", 1 << 21)
    monkeypatch.setattr(remote, "_PAUSES", ())
    with pytest.raises(DataError, match="more than 2 MB at once; fetch the file first"):
        read(f"{file_server.url}/endless.root")
