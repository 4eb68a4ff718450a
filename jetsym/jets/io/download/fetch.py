"""Fetching a file over HTTP: whole, checked, and continued where an earlier attempt was cut off.

What has arrived lies beside the file, in ``NAME.part``, until it is complete and has the expected checksum; only then
does it take its name. A connection that breaks is taken up again with a Range request, in the same call or, where a
checksum will tell whether the pieces belong together, in a later one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO

from jetsym._version import __version__
from jetsym.errors import DownloadError, lacks_explained
from jetsym.files import checksum
from jetsym.locks import locked
from jetsym.progress import progress_bar

__all__ = ["check_space", "fetch", "size_of"]

_CHUNK = 1 << 20

#: Bytes that are taken of a body that does not say how many it has.
_MOST_UNSAID = 50 * 10**9

#: Statuses of a server that may answer differently a little later.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _BrokenOff(Exception):
    """The transfer ended early; going on may help."""


@dataclass
class _Transfer:
    """A file on its way: what was asked for, and what has arrived."""

    url: str
    part: BinaryIO
    name: str
    size: int | None
    algorithm: str
    expected: str | None
    timeout: float
    progress: bool
    arrived: int = 0
    reached: bool = False  # whether the server has answered in this call
    etag: str | None = None
    digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self.digest = hashlib.new(self.algorithm, usedforsecurity=False)
        while chunk := self.part.read(_CHUNK):
            self.digest.update(chunk)
            self.arrived += len(chunk)

    def matches(self) -> bool:
        """Tell whether what has arrived has the checksum expected, if there is one."""
        return self.expected is None or self.digest.hexdigest() == self.expected.lower()

    def restart(self) -> None:
        """Forget what has arrived."""
        self.part.seek(0)
        self.part.truncate()
        self.arrived, self.etag = 0, None
        self.digest = hashlib.new(self.algorithm, usedforsecurity=False)

    def go_on(self) -> None:
        """Fetch what is missing, in one request."""
        if self.arrived == self.size:
            return
        if self.expected is None and self.etag is None:
            self.restart()  # nothing would tell whether the pieces are of the same file
        try:
            with self._request() as response:
                self.reached = True
                self._receive(response, self._total(response))
        except urllib.error.HTTPError as error:
            self.reached = True
            error.close()
            if error.code == 416 and self.arrived:  # there is nothing after what has arrived: it is another file's
                self.restart()
                raise _BrokenOff("the server holds less than has arrived") from error
            reason = f"answers {error.code} ({error.reason})"
            if error.code in _PASSING:
                raise _BrokenOff(f"the server {reason}") from error
            raise DownloadError(f"{self.url} {reason}; check the address, or whether the file has moved") from error

    def _request(self) -> HTTPResponse:
        headers = {"User-Agent": f"jetsym/{__version__}"}
        if self.arrived:
            headers["Range"] = f"bytes={self.arrived}-"
            if self.etag:
                headers["If-Range"] = self.etag
        try:
            response: HTTPResponse = urllib.request.urlopen(
                urllib.request.Request(self.url, headers=headers), timeout=self.timeout
            )
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise DownloadError(f"{self.url}: the server's certificate is not valid ({cause})") from error
            reason = f"no connection ({cause or type(cause).__name__})"
            if self.reached:
                raise _BrokenOff(reason) from error
            raise DownloadError(f"{self.url}: {reason}; check the network and the address") from error
        if self.url.startswith("https:") and not response.url.startswith("https:"):
            response.close()
            raise DownloadError(f"{self.url} leads to {response.url}, which is not encrypted; nothing was fetched")
        return response

    def _total(self, response: HTTPResponse) -> int | None:
        """Return the size of the whole file as the server says; go back to the start where it sends it from there."""
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if not found or int(found[1]) != self.arrived:
                self.restart()
                raise _BrokenOff("the server sends another part than was asked for")
            total = None if found[2] == "*" else int(found[2])
        else:
            if self.arrived:
                self.restart()
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
        tag = response.headers.get("ETag")
        self.etag = tag if tag and not tag.startswith("W/") else None
        if total is not None and self.size is not None and total != self.size:
            raise DownloadError(f"{self.url} offers {total} bytes; expected {self.size}: it is not the file meant")
        return self.size if total is None else total

    def _receive(self, response: HTTPResponse, total: int | None) -> None:
        if total is not None:
            check_space(Path(self.part.name).parent, total - self.arrived)
        elif self.expected is None:
            raise DownloadError(
                f"{self.url} says no length, and neither size nor checksum is known: a whole file looks like a part"
            )
        with progress_bar(self.name, total, shown=self.progress, in_bytes=True) as advance:
            advance(self.arrived)
            while total is None or self.arrived < total:
                try:
                    chunk = response.read1(_CHUNK)
                except (OSError, HTTPException) as error:
                    raise _BrokenOff(f"the connection broke ({error or type(error).__name__})") from error
                if not chunk:
                    break
                if total is None:
                    self._expect_end(len(chunk))
                self.part.write(chunk)
                self.digest.update(chunk)
                self.arrived += len(chunk)
                advance(len(chunk))
        if total is not None and self.arrived > total:
            self.restart()
            raise DownloadError(f"{self.url} sends more than the {total} bytes expected")
        if total is not None and self.arrived < total:
            raise _BrokenOff(f"the connection ended after {self.arrived} of {total} bytes")

    def _expect_end(self, more: int) -> None:
        """Refuse a body without a length that never ends, before it fills the disk."""
        if self.arrived + more <= _MOST_UNSAID:
            return check_space(Path(self.part.name).parent, more)
        self.restart()
        raise DownloadError(
            f"{self.url} says no length, and goes on after {_MOST_UNSAID / 1e9:.0f} GB; nothing was kept"
        )


def fetch(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: bool = True,
    attempts: int = 5,
    pause: float = 2.0,
    timeout: float = 60.0,
) -> Path:
    """Fetch a file, unless it is there already.

    Parameters
    ----------
    url
        Where it is, http or https. A redirection from https to http is refused.
    path
        Where it goes. What has arrived of it is kept in ``path`` + ".part".
    sha256, md5
        The checksum it must have, in hexadecimal; one of them at most. Without one, a file that is there already is
        an error, and nothing is taken up from an earlier call.
    size
        Its size in bytes, if known.
    progress
        Show a progress bar.
    attempts
        How often in a row the transfer may break off without a byte arriving.
    pause
        Seconds before the second attempt; twice as many before each further one.
    timeout
        Seconds that the server may be silent.

    Returns
    -------
    Path
        The file, complete and checked.

    Raises
    ------
    DownloadError
        There is no connection, the server does not have the file or has another one, it keeps breaking off, there is
        too little space, or another file of that name is there.
    LockedError
        Another process is fetching the same file.
    """
    if sha256 is not None and md5 is not None:
        raise ValueError("both sha256 and md5 are given; expected one of them")
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"the address is {url!r}; expected one that begins with http:// or https://")
    final = Path(path).expanduser()
    algorithm, expected = ("md5", md5) if md5 is not None else ("sha256", sha256)
    if final.exists():
        _check_existing(final, algorithm, expected)
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    purpose = f"jetsym download of {final.name}"
    kept = "what has arrived of it is kept, and taken up again" if expected is not None else "nothing of it is kept"
    with (
        lacks_explained(f"{final} could not be fetched ({kept})"),
        locked(final.parent, purpose, name=final.name),
        _kept(final.with_name(final.name + ".part")) as part,
    ):
        if expected is None:
            part.truncate()
        transfer = _Transfer(url, part, final.name, size, algorithm, expected, timeout, progress)
        resumed = bool(transfer.arrived)
        _persist(transfer, attempts=attempts, pause=pause)
        if resumed and not transfer.matches():
            transfer.restart()  # what had arrived earlier may have been at fault
            _persist(transfer, attempts=attempts, pause=pause)
        if not transfer.matches():
            found = transfer.digest.hexdigest()
            transfer.restart()
            raise DownloadError(
                f"{url} is not the file expected: its {algorithm} is {found}, expected {expected}; nothing was kept"
            )
        part.flush()
        Path(part.name).replace(final)
    return final


def size_of(url: str, *, timeout: float = 60.0) -> int | None:
    """Ask the server for the size of a file in bytes; None where it does not say, as fetching tells what is wrong."""
    agent = {"User-Agent": f"jetsym/{__version__}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=agent, method="HEAD"), timeout=timeout
        ) as response:
            length = response.headers.get("Content-Length", "")
    except (OSError, HTTPException):
        return None
    return int(length) if length.isdigit() else None


def check_space(folder: Path, needed: int) -> None:
    """Refuse what does not fit on the disk.

    Raises
    ------
    DownloadError
        Fewer than ``needed`` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB are needed; make room or choose another"
        )


def _persist(transfer: _Transfer, *, attempts: int, pause: float) -> None:
    """Go on until everything has arrived, as long as something does."""
    failures = 0
    while True:
        before = transfer.arrived
        try:
            return transfer.go_on()
        except _BrokenOff as broken:
            failures = 1 if transfer.arrived > before else failures + 1
            if failures >= attempts:
                raise DownloadError(f"{transfer.url}: {broken}, {failures} times in a row; try again later") from broken
        time.sleep(pause * 2 ** (failures - 1))


def _check_existing(path: Path, algorithm: str, expected: str | None) -> None:
    """Refuse a file that is there already and is not the one meant."""
    if path.is_dir():
        raise DownloadError(f"{path} is a folder; expected the name of a file")
    if expected is None:
        raise DownloadError(f"{path} is there already, and no checksum says whether it is right; move it away")
    found = checksum(path, algorithm)
    if found != expected.lower():
        raise DownloadError(
            f"{path} is there already, with another {algorithm} ({found}; expected {expected}); move it away"
        )


@contextmanager
def _kept(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to; it is removed if it stays empty."""
    with path.open("a+b") as file:
        file.seek(0)
        try:
            yield file
        finally:
            file.flush()
            if path.exists() and not path.stat().st_size:
                path.unlink()
