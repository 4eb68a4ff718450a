"""``jetsym download toptagging``, ``jetnet``, …: public jets whose files and checksums their record lists itself.

Sources: G. Kasieczka, T. Plehn, J. Thompson, M. Russell, "Top Quark Tagging Reference Dataset", Zenodo record 2603256;
P. Komiske, E. Metodiev, J. Thaler, "Pythia8 Quark and Gluon Jets for Energy Flow", Zenodo record 3164691;
R. Kansal et al., "JetNet", Zenodo record 6975118, and "JetNet150", 6975117 (read with the mapping ``jetnet``).

The list comes from the record's page in JSON, over https. Nothing but names, sizes and md5 sums is taken from it.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from jetsym._version import __version__
from jetsym.errors import ConfigError, DownloadError, closest
from jetsym.files import mark_finished, mark_unfinished
from jetsym.jets.io.download.fetch import check_space, fetch
from jetsym.reading import parse_json

__all__ = ["PUBLIC_SETS", "PublicSet", "RecordFile", "chosen_files", "download_set", "files_of"]

_API = "https://zenodo.org/api/records"
_FILES = "https://zenodo.org/records/{record}/files/{name}"

#: Largest list of files that is read, in bytes.
_LIST_AT_MOST = 1 << 22


class PublicSet(NamedTuple):
    """A record, and the names of the files in it that hold jets."""

    record: str
    pattern: str


#: Name of the set -> where it is.
PUBLIC_SETS = {
    "toptagging": PublicSet("2603256", "*.h5"),
    "quarkgluon": PublicSet("3164691", "QG_jets*.npz"),
    "jetnet": PublicSet("6975118", "*.hdf5"),
    "jetnet150": PublicSet("6975117", "*.hdf5"),
}


class RecordFile(NamedTuple):
    """A file of a record."""

    name: str
    url: str
    size: int
    md5: str


def files_of(name: str, *, timeout: float = 60.0) -> list[RecordFile]:
    """Return the files of a public set, as its record lists them.

    Raises
    ------
    ConfigError
        There is no such set.
    DownloadError
        The record cannot be reached, or its list is not as expected.
    """
    if name not in PUBLIC_SETS:
        raise ConfigError(f"there is no public set {name!r}; {closest(name, PUBLIC_SETS)}")
    record, pattern = PUBLIC_SETS[name]
    url = f"{_API}/{record}"
    request = urllib.request.Request(url, headers={"User-Agent": f"jetsym/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            text = response.read(_LIST_AT_MOST)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"the list of files at {url} cannot be reached ({reason}); try again later") from error
    try:
        listed = [_file_of(record, entry) for entry in parse_json(text)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{url} is not a list of files as expected ({error!r}); try again later") from error
    found = [file for file in listed if fnmatchcase(file.name, pattern)]
    if not found:
        raise DownloadError(f"{url} lists no file {pattern}; it has {[file.name for file in listed][:5]}")
    return sorted(found)


def _file_of(record: str, entry: dict[str, object]) -> RecordFile:
    """Read an entry of the list; only its name, its size and its md5 are believed."""
    name, kind, md5 = str(entry["key"]), *str(entry["checksum"]).split(":", 1)
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"a file is called {name!r}")
    if kind != "md5" or not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise ValueError(f"the checksum of {name} is {entry['checksum']!r}")
    return RecordFile(name, _FILES.format(record=record, name=name), int(str(entry["size"])), md5)


def chosen_files(name: str, files: str | Sequence[str] | None = None) -> list[RecordFile]:
    """Return the files of a public set that are meant by names or patterns; all by default.

    Raises
    ------
    ConfigError
        A pattern fits none.
    """
    listed = files_of(name)
    if files is None:
        return listed
    chosen: dict[str, RecordFile] = {}
    for pattern in [files] if isinstance(files, str) else files:
        fitting = {file.name: file for file in listed if fnmatchcase(file.name, pattern)}
        if not fitting:
            raise ConfigError(f"--files is {pattern!r}; {closest(pattern, [file.name for file in listed])}")
        chosen |= fitting
    return list(chosen.values())


def download_set(
    name: str, files: str | Sequence[str] | None = None, *, out: str | Path = ".", progress: bool = True
) -> list[Path]:
    """Fetch a public set, or some of its files, each checked against the md5 of its record.

    A call that was cut off is continued by the next one with the same ``out``; what is there whole is left alone. Until
    all files that were asked for are there, the folder is not read as one of jets.

    Parameters
    ----------
    name
        A key of :data:`PUBLIC_SETS`.
    files
        Names or patterns, such as "test.h5"; all by default.
    out
        A folder; made if it is not there.
    progress
        Show progress bars.

    Returns
    -------
    list of Path
        The files, which :func:`jetsym.jets.read` reads (extra ``formats`` for HDF5).

    Raises
    ------
    ConfigError, DownloadError
        See :func:`chosen_files` and :func:`jetsym.jets.io.download.fetch.fetch`; nothing is fetched where the disk
        has too little room for all.
    """
    chosen, folder = chosen_files(name, files), Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in chosen if not (folder / file.name).exists()]
    parts = [folder / f"{file.name}.part" for file in missing]
    arrived = sum(part.stat().st_size for part in parts if part.exists())
    check_space(folder, max(sum(file.size for file in missing) - arrived, 0))
    if missing:
        mark_unfinished(folder, command="jetsym download")
    done = [fetch(file.url, folder / file.name, md5=file.md5, size=file.size, progress=progress) for file in chosen]
    mark_finished(folder)
    return done
