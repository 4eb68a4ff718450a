"""Small files of numbered jets, of several classes and with several clusters each."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import uproot

from jetsym.jets.io.streaming.blocks import cut
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.schema import JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES


@pytest.fixture(scope="session")
def numbered_files(tmp_path_factory, make_jets, jetclass_columns) -> Callable[..., list[Path]]:
    """``numbered_files(sizes)``: one file and class per size, ten jets a cluster, jet_sdmass counting all jets.

    Every call gives files of its own, to be damaged as one likes; alike ones are copied, not written again.
    """

    @cache
    def write(sizes: tuple[int, ...], compression: str, jets_per_basket: int) -> Path:
        folder = tmp_path_factory.mktemp("templates")
        first = 0
        for place, size in enumerate(sizes):
            columns = jetclass_columns(make_jets(size, seed=place, max_particles=6))
            labels = list(LABEL_BRANCHES)
            columns |= {name: np.full(size, name == labels[place % 10]) for name in labels}
            columns["jet_sdmass"] = np.arange(first, first + size)
            columns |= {name: np.zeros(size) for name in JET_BRANCHES if name not in columns}
            columns |= {name: columns["part_px"] for name in PARTICLE_BRANCHES if name not in columns}
            path = folder / f"{labels[place % 10].removeprefix('label_')}_{place:03d}.root"
            write_jetclass(path, columns, compression=compression, jets_per_basket=jets_per_basket)
            first += size
        return folder

    def copied(sizes: list[int], *, compression: str = "lz4", jets_per_basket: int = 10) -> list[Path]:
        folder = tmp_path_factory.mktemp("numbered")
        shutil.copytree(write(tuple(sizes), compression, jets_per_basket), folder, dirs_exist_ok=True)
        return sorted(folder.iterdir(), key=lambda path: path.stem[-3:])

    return copied


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Blocks of ten to forty jets, so that small files are made of many."""
    monkeypatch.setattr(
        "jetsym.jets.io.streaming.blocks.cut", lambda boundaries, **_: cut(boundaries, smallest=10, largest=40)
    )


def flip(path: Path, branch: str, *, basket: int = 0, at: int = 100) -> None:
    """Change bytes in the middle of a basket of a file."""
    with uproot.open(path) as file:
        place = int(file["tree"][branch].member("fBasketSeek")[basket]) + at
    content = bytearray(path.read_bytes())
    content[place : place + 8] = bytes(byte ^ 0x55 for byte in content[place : place + 8])
    path.write_bytes(content)


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by name, in ranges unless ``ranges`` is False; ``drops`` cuts the next answers short.

    ``endless.root`` has no length, and no end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FileHandler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.drops: list[int] = []
        self.asked: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that has gone away is no news."""


class _FileHandler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((self.command, name, wanted))
        if name == "endless.root":
            self.send_response(200)
            self.end_headers()
            while self.command == "GET":
                self.wfile.write(bytes(1 << 16))
            return
        body = self.server.files.get(name)
        if body is None:
            self.send_error(404)
            return
        bounds = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "") if self.server.ranges else None
        start, last = (int(bounds[1]), int(bounds[2] or len(body) - 1)) if bounds else (0, len(body) - 1)
        part = body[start : last + 1]
        self.send_response(206 if bounds else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        if bounds:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part[: self.server.drops.pop(0)] if self.server.drops else part)


@pytest.fixture
def file_server(monkeypatch) -> Iterator[FileServer]:
    """A server of files on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
