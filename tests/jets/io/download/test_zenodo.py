"""Public sets from a stand-in of their record on this machine: its list, its files, and lists that lie."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from jetsym.cli import main
from jetsym.errors import ConfigError, DownloadError
from jetsym.jets.io.download import zenodo as public_sets
from jetsym.jets.io.download.zenodo import chosen_files, download_set, files_of

FILES = {name: np.random.default_rng(place).bytes(40_000) for place, name in enumerate(("test.h5", "train.h5"))}


def listing(files=FILES, **changes):
    entries = [
        {"key": name, "size": len(body), "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}
        for name, body in files.items()
    ]
    return json.dumps({"files": [*entries, {"key": "README.txt", "size": 1, "checksum": "md5:" + 32 * "0"}]} | changes)


def entry(**changes):
    return json.dumps({"files": [{"key": "test.h5", "size": 1, "checksum": "md5:" + 32 * "a"} | changes]})


@pytest.fixture
def record(file_server, monkeypatch):
    """The record of the top-tagging set."""
    monkeypatch.setattr(public_sets, "_API", file_server.url)
    monkeypatch.setattr(public_sets, "_FILES", file_server.url + "/{name}")
    monkeypatch.setattr(public_sets, "fetch", lambda *a, **k: real_fetch(*a, **k, pause=0.001))
    file_server.files |= FILES | {"2603256": listing().encode()}
    return file_server


real_fetch = public_sets.fetch


def test_a_set_is_fetched_and_checked(record, tmp_path):
    record.drops = [None, 10_000]  # the list comes whole, the first file in two pieces
    assert download_set("toptagging", out=tmp_path / "new", progress=False) == [
        tmp_path / "new" / name for name in sorted(FILES)
    ]
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == FILES
    before = len(record.asked)
    download_set("toptagging", out=tmp_path / "new", progress=False)
    assert len(record.asked) == before + 1, "only the list is asked for again"


def test_some_files(record, tmp_path):
    assert [file.name for file in chosen_files("toptagging", "te*")] == ["test.h5"]
    with pytest.raises(ConfigError, match=r"--files is 'val\.h5'; .*'test\.h5'"):
        chosen_files("toptagging", ["test.h5", "val.h5"])
    with pytest.raises(ConfigError, match="no public set 'toptaging'; the nearest are 'toptagging'"):
        files_of("toptaging")


def test_wrong_bytes_are_not_kept(record, tmp_path):
    record.files["test.h5"] = b"x" * 40_000
    with pytest.raises(DownloadError, match="md5"):
        download_set("toptagging", "test.h5", out=tmp_path, progress=False)
    assert not (tmp_path / "test.h5").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "not a list of files"),
        ("{}", "not a list of files"),
        (listing({}), r"lists no file \*.h5"),
        (listing({"../test.h5": b""}), r"a file is called '\.\./test\.h5'"),
        (entry(checksum="sha1:00"), "the checksum of test.h5 is 'sha1:00'"),
        (entry(size="many"), "not a list of files"),
    ],
)  # fmt: skip
def test_lists_that_lie(record, text, message):
    record.files["2603256"] = text.encode()
    with pytest.raises(DownloadError, match=message):
        files_of("toptagging")


def test_no_record(record):
    with pytest.raises(DownloadError, match="cannot be reached"):
        files_of("quarkgluon")


def test_from_the_shell(record, tmp_path, capsys):
    assert main(["download", "toptagging", "--files", "test.h5", "--out", str(tmp_path), "--dry_run"]) == 0
    assert "40,000 bytes, md5" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main(["download", "toptagging", "--files", "test.h5", "--out", str(tmp_path), "--progress", "false"]) == 0
    assert (tmp_path / "test.h5").read_bytes() == FILES["test.h5"]
