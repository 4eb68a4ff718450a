"""Fetching from a real server on this machine: one that drops connections, lies, and forgets what it was asked."""

from __future__ import annotations

import contextlib
import hashlib
import re
import resource
import shutil
import socket
import time
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetsym.cli import main
from jetsym.errors import ConfigError, DownloadError, ResourceError
from jetsym.jets.io.download import fetch as fetching, weights
from jetsym.jets.io.download.fetch import fetch
from jetsym.jets.io.download.weights import WEIGHTS, Published, download_weights

BODY = np.random.default_rng(0).bytes(3_000_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers each request as the next entry of the server's ``script`` says, and properly when it has run out."""

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.command, self.path, wanted))
        if self.headers.get("If-Range") not in (None, self.server.etag):
            wanted = None
        kind, *values = self.server.script.pop(0) if self.server.script else ("properly",)
        getattr(self, "answer_" + kind)(*values, start=int(re.findall(r"\d+", wanted)[0]) if wanted else 0)

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("ETag", self.server.etag)
        self.end_headers()

    def answer_properly(self, *, start: int, sent: int | None = None, extra: int = 0) -> None:
        body = self.server.body
        rest = body[start:]
        if start >= len(body):
            self.begin(416, Content_Range=f"bytes */{len(body)}")
        elif start:
            self.begin(206, Content_Length=len(rest), Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.begin(200, Content_Length=len(rest) + extra)
        self.wfile.write(rest[:sent])

    def answer_drop(self, sent: int, *, start: int) -> None:
        self.answer_properly(start=start, sent=sent)

    def answer_lie(self, extra: int, *, start: int) -> None:
        self.answer_properly(start=0, extra=extra)

    def answer_whole(self, *, start: int) -> None:
        self.answer_properly(start=0)

    def answer_without_length(self, sent: int | None, *, start: int) -> None:
        self.begin(200)
        self.wfile.write(self.server.body[:sent])

    def answer_other_part(self, shift: int, *, start: int) -> None:
        rest = self.server.body[start + shift :]
        self.begin(206, Content_Length=len(rest), Content_Range=f"bytes {start + shift}-{len(BODY) - 1}/{len(BODY)}")
        self.wfile.write(rest)

    def answer_status(self, status: int, *, start: int) -> None:
        self.begin(status, Content_Length=5)
        self.wfile.write(b"sorry")

    def answer_redirect(self, target: str, *, start: int) -> None:
        self.begin(302, Location=target, Content_Length=0)

    def answer_silence(self, seconds: float, *, start: int) -> None:
        self.begin(200, Content_Length=len(BODY))
        self.wfile.write(BODY[:1000])
        time.sleep(seconds)


@pytest.fixture
def server(file_server, monkeypatch) -> Any:
    """The server of files with a script of its own: it has one file, under every name."""
    for name, value in {"RequestHandlerClass": Handler, "script": [], "body": BODY, "etag": '"one"'}.items():
        monkeypatch.setattr(file_server, name, value, raising=False)
    return file_server


def ranges(server) -> list[str | None]:
    """What was asked for, request by request."""
    return [wanted for *_, wanted in server.asked]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "new" / "weights.pt"


def get(server: Any, path: Path, **options) -> Path:
    options = {"sha256": SHA256, "progress": False, "pause": 0.001, "timeout": 5} | options
    return fetch(f"{server.url}/weights.pt", path, **options)


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@pytest.mark.parametrize(
    "expected", [{"sha256": SHA256}, {"sha256": SHA256.upper()}, {"sha256": None, "md5": MD5}, {"sha256": None}]
)
def test_a_file_is_fetched_whole(server, path, expected):
    assert get(server, path, **expected) == path
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["weights.pt"]
    assert ranges(server) == [None]


def test_a_disk_that_becomes_full_keeps_what_has_arrived(server, path):
    """A limit on the size of files stands for the disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, limit[1]))
    try:
        with pytest.raises(ResourceError, match=r"weights.pt could not be fetched \(what has arrived of it is kept"):
            get(server, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not path.exists()
    get(server, path)
    assert path.read_bytes() == BODY


def test_what_is_there_is_not_fetched_again(server, path):
    get(server, path)
    get(server, path)
    assert len(ranges(server)) == 1
    with pytest.raises(DownloadError, match=r"is there already, and no checksum says whether it is right; move it"):
        get(server, path, sha256=None)
    path.write_bytes(b"precious")
    with pytest.raises(DownloadError, match="is there already, with another sha256"):
        get(server, path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(DownloadError, match="is a folder"):
        get(server, path.parent)


@pytest.mark.parametrize("expected", [{}, {"sha256": None}])
def test_a_connection_that_breaks_is_taken_up_again(server, path, expected):
    server.script = [("drop", 1_200_000), ("drop", 0), ("drop", 700_000), ("status", 503)]
    assert get(server, path, **expected).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=1200000-", "bytes=1200000-", "bytes=1900000-", "bytes=1900000-"]


def test_a_later_call_goes_on_where_the_first_stopped(server, path):
    server.script = [("drop", 1_200_000), ("drop", 0), ("drop", 0)]
    with pytest.raises(DownloadError, match=r"the connection ended after 1200000 of 3000000 bytes, 3 times in a row"):
        get(server, path, attempts=3)
    assert not path.exists()
    assert part_of(path).read_bytes() == BODY[:1_200_000]
    get(server, path)
    assert path.read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=1200000-"
    assert not part_of(path).exists()


def test_without_a_checksum_a_later_call_starts_anew(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(b"from another file")
    assert get(server, path, sha256=None).read_bytes() == BODY
    assert ranges(server) == [None]


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_wrong_beginning_is_noticed_and_fetched_again(server, path, size):
    path.parent.mkdir()
    part_of(path).write_bytes(b"x" * 1000)
    assert get(server, path, size=size).read_bytes() == BODY
    assert ranges(server) == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("beginning", [b"x" * len(BODY), b"x" * (len(BODY) + 10), BODY], ids=["other", "long", "all"])
def test_a_beginning_as_long_as_the_file(server, path, beginning, size):
    path.parent.mkdir()
    part_of(path).write_bytes(beginning)
    assert get(server, path, size=size).read_bytes() == BODY
    if (beginning, size) == (BODY, len(BODY)):
        assert ranges(server) == []


def test_a_connection_may_break_often_if_something_arrives(server, path):
    server.script = [("drop", 200_000)] * 10
    assert get(server, path, attempts=2).read_bytes() == BODY
    assert len(ranges(server)) == 11


def test_pieces_that_nothing_holds_together_are_not_joined(server, path):
    server.etag = 'W/"weak"'
    server.script = [("drop", 1_200_000)]
    assert get(server, path, sha256=None).read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_servers_without_ranges_send_everything_again(server, path):
    server.script = [("drop", 1_200_000), ("whole",)]
    assert get(server, path).read_bytes() == BODY


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server, path):
    server.script = [("without_length", 1000)] * 50
    with pytest.raises(DownloadError, match="the connection ended after 1000 of 3000000 bytes, 5 times in a row"):
        get(server, path, size=len(BODY))
    assert len(ranges(server)) == 5


def test_another_part_than_asked_for_is_not_used(server, path):
    server.script = [("drop", 1_200_000), ("other_part", 10)]
    assert get(server, path).read_bytes() == BODY


def test_a_file_that_changes_on_the_way_is_fetched_from_its_start(server, path):
    server.script = [("drop", 1_200_000)]
    original = Handler.answer_drop

    def then_change(self, sent, *, start):
        original(self, sent, start=start)
        self.server.body, self.server.etag = BODY[::-1], '"two"'

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "answer_drop", then_change)
        assert get(server, path, sha256=None).read_bytes() == BODY[::-1]


def test_silence_is_a_broken_connection(server, path):
    server.script = [("silence", 1.0)]
    start = time.perf_counter()
    assert get(server, path, timeout=0.1).read_bytes() == BODY
    assert time.perf_counter() - start < 0.9
    assert ranges(server) == [None, "bytes=1000-"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_length_that_is_too_long_is_noticed(server, path, sha256):
    server.script = [("lie", 500)] * 50
    with pytest.raises(DownloadError, match="times in a row; try again later"):
        get(server, path, sha256=sha256)
    assert not path.exists()


def test_a_length_that_is_too_short_is_noticed(server, path):
    server.script = [("lie", -500)]
    with pytest.raises(DownloadError, match=r"is not the file expected: its sha256 is \w{64}, expected"):
        get(server, path)
    assert not list(path.parent.iterdir())
    server.script = [("lie", -500)]
    with pytest.raises(DownloadError, match="offers 2999500 bytes; expected 3000000: it is not the file meant"):
        get(server, path, size=len(BODY))


def test_without_a_length_the_known_size_counts(server, path):
    server.script = [("without_length", None)]
    assert get(server, path, size=len(BODY)).read_bytes() == BODY
    path.unlink()
    server.script = [("without_length", None)]
    assert get(server, path).read_bytes() == BODY
    path.unlink()
    server.script = [("without_length", None)] * 2
    with pytest.raises(DownloadError, match="sends more than the 1000 bytes expected"):
        get(server, path, size=1000)
    assert not list(path.parent.iterdir())


def test_a_body_without_an_end_is_given_up(server, path, monkeypatch):
    monkeypatch.setattr(fetching, "_MOST_UNSAID", 2_000_000)
    server.script = [("without_length", None)]
    with pytest.raises(DownloadError, match="says no length, and goes on"):
        get(server, path)
    assert not list(path.parent.iterdir())


def test_without_length_size_and_checksum_nothing_is_believed(server, path):
    server.script = [("without_length", 1000)]
    with pytest.raises(DownloadError, match="says no length"):
        get(server, path, sha256=None)
    assert not path.exists()


@pytest.mark.parametrize("expected", [{"sha256": SHA256}, {"sha256": None, "md5": MD5}])
def test_wrong_bytes_are_not_kept(server, path, expected):
    server.body = BODY[:-1] + b"?"
    with pytest.raises(DownloadError, match="is not the file expected: its (sha256|md5) is .*; nothing was kept"):
        get(server, path, **expected)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("status", [404, 403, 410])
def test_missing_files_are_named_at_once(server, path, status):
    server.script = [("status", status)] * 9
    with pytest.raises(DownloadError, match=rf"weights\.pt answers {status} \(.*\); check the address"):
        get(server, path)
    assert len(ranges(server)) == 1
    assert not list(path.parent.iterdir())


def test_servers_in_trouble_are_asked_again(server, path):
    server.script = [("status", 500), ("status", 429)]
    assert get(server, path).read_bytes() == BODY
    path.unlink()
    server.script = [("status", 500)] * 9
    with pytest.raises(DownloadError, match=r"the server answers 500 \(.*\), 5 times in a row; try again later"):
        get(server, path)
    assert not list(path.parent.iterdir())


def test_no_connection(path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match="no connection .*refused"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/x", path, progress=False)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "weights.pt"])
def test_other_addresses_are_refused(url, path):
    with pytest.raises(DownloadError, match="expected one that begins with http:// or https://"):
        fetch(url, path)
    assert not path.parent.exists()


def test_redirections_are_followed(server, path):
    server.script = [("redirect", "/elsewhere.pt")]
    assert get(server, path).read_bytes() == BODY
    path.unlink()
    server.script = [("redirect", "file:///etc/hostname")]
    with pytest.raises(DownloadError, match="answers 302"):
        get(server, path)


def test_a_redirection_to_an_open_connection_is_refused(server, path, monkeypatch):
    def led_astray(request, **options):
        assert request.full_url.startswith("https:")
        return urllib.request.build_opener().open(server.url)

    monkeypatch.setattr("urllib.request.urlopen", led_astray)
    with pytest.raises(DownloadError, match="leads to http://127.* which is not encrypted; nothing was fetched"):
        fetch("https://example.org/weights.pt", path, sha256=SHA256)
    assert not list(path.parent.iterdir())


def test_a_full_disk_is_noticed_before_anything_is_written(server, path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 2_000_000))
    with pytest.raises(DownloadError, match=r"has 0\.00 GB free, and 0\.00 GB are needed"):
        get(server, path)
    assert not list(path.parent.iterdir())
    part_of(path).write_bytes(BODY[:1_500_000])  # what is there already needs no room
    assert get(server, path).read_bytes() == BODY


def test_an_interrupted_transfer_keeps_what_has_arrived(server, path, monkeypatch):
    @contextlib.contextmanager
    def bar(title, total, **options):
        calls = iter(range(3))

        def advance(steps):
            if next(calls, None) is None:
                raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patch:
        patch.setattr("jetsym.jets.io.download.fetch.progress_bar", bar)
        with pytest.raises(KeyboardInterrupt):
            get(server, path)
    arrived = part_of(path).read_bytes()
    assert 0 < len(arrived) < len(BODY)
    assert BODY.startswith(arrived)
    assert get(server, path).read_bytes() == BODY
    assert ranges(server) == [None, f"bytes={len(arrived)}-"]


# jetsym download weights


@pytest.fixture
def mirrored(server, monkeypatch) -> Any:
    """The public repository's stand-in: one model with a known checksum, one without."""
    monkeypatch.setattr(weights, "_REPOSITORY", server.url)
    monkeypatch.setitem(WEIGHTS, "particlenet-kin", Published("ParticleNet_kin.pt", len(BODY), SHA256))
    return server


def test_weights_from_the_command_line(mirrored, tmp_path, capsys):
    assert main(["download", "weights", "--out", str(tmp_path / "w")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "w/ParticleNet_kin.pt")]
    assert (tmp_path / "w/ParticleNet_kin.pt").read_bytes() == BODY
    assert not (tmp_path / "w/ParT_full.pt").exists()


def test_weights_without_a_checksum_only_on_demand(mirrored, tmp_path, capsys):
    assert main(["download", "weights", "--model", "part-full", "--out", str(tmp_path)]) == 1
    assert "its checksum is not known" in capsys.readouterr().err
    assert ranges(mirrored) == []
    assert main(["download", "weights", "--model", "part-full", "--out", str(tmp_path), "--allow_unverified"]) == 0
    assert f"(unverified: sha256 {SHA256})" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "ParT_full.pt").read_bytes() == BODY


def test_a_dry_run_touches_nothing(mirrored, tmp_path, capsys):
    assert main(["download", "weights", "--dry_run", "--out", str(tmp_path / "w")]) == 0
    out = capsys.readouterr().out
    assert f"{mirrored.url}/" in out
    assert f"3,000,000 bytes, sha256 {SHA256}" in out
    assert ranges(mirrored) == []
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ([("status", 404)], [], "answers 404"),
        ([("lie", -1)], [], "offers 2999999 bytes; expected 3000000"),
        ([], ["--model", "particlenet_kin"], "the nearest are 'particlenet-kin'"),
        ([], ["--model", "[particlenet-kin, part]"], "--model is 'part'"),
    ],
)
def test_mistakes_end_in_one_line(mirrored, tmp_path, capsys, script, words, message):
    mirrored.script = list(script)
    assert main(["download", "weights", "--out", str(tmp_path), *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("jetsym download: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_unknown_models_are_named():
    with pytest.raises(ConfigError, match="--model is 'part'; the nearest are"):
        download_weights("part")


def test_the_known_checksum_is_that_of_the_published_file(real_data):
    raw = (real_data / "particlenet" / "ParticleNet_kin.pt").read_bytes()
    item = WEIGHTS["particlenet-kin"]
    assert (item.size, item.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
