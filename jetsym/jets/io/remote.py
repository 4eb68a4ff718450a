"""Files on other machines: ``https://``, ``http://``, ``s3://`` and ``root://``, read through fsspec.

Only the bytes asked for are transferred, one request for each basket; a request that breaks off is sent again. A web
server that serves no ranges sends whole files; the last two of these are kept in memory.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from jetsym.errors import DataError, JetsymError, MissingDependencyError

__all__ = ["PACKAGES", "File", "RemoteFile", "is_remote", "open_remote"]

#: Kind of address -> the package that reads it, of the extra ``remote``.
PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "root": "fsspec-xrootd"}

#: What a server may say of a file that changes when the file does.
_STAMPS = ("ETag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "mtime")


#: Seconds before a request that broke off is sent again; then it is given up.
_PAUSES = (0.5, 2.0, 8.0)
#: Bytes that are read at once, and at most, of a file that its server gives no parts of.
_PIECE, _MOST_IN_MEMORY = 1 << 20, 4 << 30


@dataclass(frozen=True)
class RemoteFile:
    """The address of a file, with those attributes of a path that need no look at it.

    Examples
    --------
    >>> file = RemoteFile("https://example.org/val_5M/HToBB_120.root?download=1")
    >>> file.name, file.stem, file.suffix, file.parent.name
    ('HToBB_120.root', 'HToBB_120', '.root', 'val_5M')
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(urlsplit(self.url).path)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._path.name

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """Its suffix, with the dot."""
        return self._path.suffix

    @property
    def parent(self) -> PurePosixPath:
        """Folder of the file on its server."""
        return self._path.parent


#: A file of jets, on this machine or on another one.
File = Path | RemoteFile


def is_remote(path: object) -> bool:
    """Tell whether something is the address of a file on another machine.

    Examples
    --------
    >>> is_remote("root://eospublic.cern.ch//eos/jets.root"), is_remote("data:jets.root")
    (True, False)
    """
    return isinstance(path, str) and path.partition("://")[0] in PACKAGES and "://" in path


def open_remote(file: RemoteFile, *, ahead: bool) -> tuple[BinaryIO, int, int]:
    """Open a file.

    Parameters
    ----------
    file
        Its address.
    ahead
        Read some megabytes at a time, for many small pieces that lie together.

    Returns
    -------
    (file, int, int)
        The open file, its size in bytes, and a number that changes when the file does, as far as the server tells.

    Raises
    ------
    DataError
        It is not there, there is no connection, or the server refuses.
    MissingDependencyError
        The package for this kind of address is not installed.
    """
    url = file.url
    with _explained(url):
        files = _filesystem(url)
        info = files.info(url)
        size, stamp = info.get("size"), zlib.crc32(repr([info.get(name) for name in _STAMPS]).encode())
        over_http = urlsplit(url).scheme in ("http", "https")
        if size is None or (over_http and not _serves_ranges(url)):
            content = _whole(url, stamp)
            return io.BytesIO(content), len(content), stamp
        options = {"size": size} if over_http else {}
        opened = files.open(url, "rb", cache_type="readahead" if ahead else "none", **options)
        return cast("BinaryIO", _Patient(opened)), int(size), stamp


class _Patient:
    """An open file that reads again what did not arrive."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Patient:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        for pause in (*_PAUSES, None):
            try:
                return bytes(self._file.read(size))
            except Exception:  # each protocol has errors of its own
                if pause is None:
                    raise
                time.sleep(pause)
                self._file.seek(place)
        raise AssertionError("unreachable")


def _filesystem(url: str) -> Any:
    from fsspec.core import url_to_fs

    scheme = urlsplit(url).scheme
    if "::" in url:  # fsspec would take it for several addresses in one
        raise DataError(f"{url}: holds '::'; expected a plain address")
    try:
        return url_to_fs(url)[0]
    except ImportError as error:
        raise MissingDependencyError.of(PACKAGES[scheme], extra="remote", purpose=f"reading {scheme}://") from error


@lru_cache(maxsize=1024)
def _serves_ranges(url: str) -> bool:
    # As a stream, as a server that knows no ranges answers with everything, which may never end.
    with _filesystem(url).open(url, "rb", block_size=0, headers={"Range": "bytes=1-1"}) as stream:
        return len(stream.read(2)) == 1


@lru_cache(maxsize=2)
def _whole(url: str, stamp: int) -> bytes:
    content = bytearray()
    with _filesystem(url).open(url, "rb", block_size=0) as stream:
        while piece := stream.read(_PIECE):
            content += piece
            if len(content) > _MOST_IN_MEMORY:
                raise DataError(
                    f"{url}: its server gives no parts of it, and more than {_MOST_IN_MEMORY >> 20} MB at once; fetch "
                    "the file first"
                )
    return bytes(content)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn whatever a protocol raises on a file that cannot be had into one line."""
    try:
        yield
    except JetsymError:
        raise
    except Exception as error:
        # fsspec says of whatever happens over HTTP that there is no file, and why in the cause.
        absent = isinstance(error, FileNotFoundError)
        cause = error.__cause__ if absent and error.__cause__ is not None else error
        status = getattr(cause, "status", None)
        if status == 404 or (absent and cause is error):
            raise DataError(f"{url}: not there (404); check the address, or whether the file has moved") from error
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        reason = f"the server answers {status}" if status else reason
        raise DataError(f"{url}: cannot be opened ({reason}); check the address and the network") from error
