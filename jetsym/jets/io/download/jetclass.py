"""``jetsym download jetclass``: the JetClass data set from its public record.

Source: H. Qu, C. Li, S. Qian, "JetClass: A Large-Scale Dataset for Deep Learning in Jet Physics", Zenodo record
6619768, 10.5281/zenodo.6619768. Twelve archives, 100M + 5M + 20M jets of ten classes, 100,000 jets a file.

Other public sets are in :mod:`jetsym.jets.io.download.zenodo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsym.errors import ConfigError, closest
from jetsym.files import UNFINISHED, mark_finished, mark_unfinished, write_json
from jetsym.jets.io.download.archive import unpack
from jetsym.jets.io.download.fetch import check_space, fetch, size_of
from jetsym.locks import locked
from jetsym.reading import parse_json, read_text

__all__ = ["JETCLASS", "Archive", "chosen_splits", "download_jetclass"]

_RECORD = "https://zenodo.org/records/6619768/files"


@dataclass(frozen=True)
class Archive:
    """An archive of JetClass's record, and the folder for its files."""

    split: str
    md5: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"JetClass_Pythia_{self.split}.tar"

    @property
    def url(self) -> str:
        """Address at Zenodo."""
        return f"{_RECORD}/{self.name}"

    @property
    def folder(self) -> str:
        """Folder of its files."""
        return self.split.partition("_part")[0]

    def is_there(self, out: Path) -> bool:
        """Tell whether the files of this archive are in their folder, whole."""
        try:
            listed = parse_json(read_text(self._list(out)))
            sizes = {name: (out / self.folder / name).stat().st_size for name in listed["files"]}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return bool(listed["md5"] == self.md5 and listed["files"] == sizes)

    def note(self, out: Path, files: dict[str, int]) -> None:
        """Write down, last of all, what this archive has given."""
        listed = {"archive": self.name, "md5": self.md5, "files": files}
        write_json(self._list(out), listed)

    def _list(self, out: Path) -> Path:
        return out / self.folder / f"{Path(self.name).stem}.files.json"


#: Name of a split, or of a part of one -> its archive.
JETCLASS = {
    split: Archive(split, md5)
    for split, md5 in {
        "train_100M_part0": "de4fd2dca2e68ab3c85d5cfd3bcc65c3",
        "train_100M_part1": "9722a359c5ef697bea0fbf79bf50f003",
        "train_100M_part2": "1e9f66cd1f915f9d10e90ae1d7761720",
        "train_100M_part3": "47348fc8985319fa4806da87500482fa",
        "train_100M_part4": "6b0ce16bd93b442a8d51914466990279",
        "train_100M_part5": "416e347512e716de51d392bee327b8e9",
        "train_100M_part6": "e9b9c1557b1b39bf0a16e4ab631ae451",
        "train_100M_part7": "5bfc6cb285ccb7680cefa9ac82ad1a2e",
        "train_100M_part8": "540c1a0d66dfad78d2b363c5740ccf86",
        "train_100M_part9": "668f40b3275167ff7104c48317c0ae2a",
        "val_5M": "7235ccb577ed85023ea3ab4d5e6160cf",
        "test_20M": "64e5156d26d101adeb43b8388207d767",
    }.items()
}


def chosen_splits(split: str | Sequence[str] = "val_5M") -> list[Archive]:
    """Return the archives meant by names of splits, each once.

    Parameters
    ----------
    split
        Keys of :data:`JETCLASS`; "train_100M" stands for its ten parts.

    Raises
    ------
    ConfigError
        There is no such split.

    Examples
    --------
    >>> [archive.name for archive in chosen_splits(["test_20M", "val_5M"])]
    ['JetClass_Pythia_test_20M.tar', 'JetClass_Pythia_val_5M.tar']
    >>> len(chosen_splits("train_100M"))
    10
    """
    found: dict[str, Archive] = {}
    for name in [split] if isinstance(split, str) else split:
        parts = [key for key, archive in JETCLASS.items() if name in (key, archive.folder)]
        if not parts:
            raise ConfigError(f"--split is {name!r}; {closest(name, ['train_100M', *JETCLASS])}")
        found |= {key: JETCLASS[key] for key in parts}
    if not found:
        raise ConfigError(f"--split names none; expected some of train_100M, {', '.join(JETCLASS)}")
    return list(found.values())


def download_jetclass(
    split: str | Sequence[str] = "val_5M",
    *,
    out: str | Path = ".",
    keep_archives: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Fetch JetClass, or parts of it, check it and unpack it.

    One archive after the other is fetched to ``out``, checked against its md5, unpacked and removed. A call that was
    cut off is continued by the next one with the same ``out``, and what is there whole is left alone. Until all parts
    that were asked for are there, their folder is not read as one of jets.

    Parameters
    ----------
    split
        As for :func:`chosen_splits`.
    out
        A folder; the files go to ``train_100M``, ``val_5M`` and ``test_20M`` in it. Beside them a list of the files
        of each archive is written when all are there.
    keep_archives
        Do not remove the archives.
    progress
        Show progress bars.

    Returns
    -------
    list of Path
        The folders that hold the files.

    Raises
    ------
    ConfigError
        There is no such split.
    DownloadError
        See :func:`jetsym.jets.io.download.fetch.fetch` and :func:`jetsym.jets.io.download.archive.unpack`; nothing is
        fetched where the disk has too little room for all.
    LockedError
        Another process is fetching one of the archives to ``out``.
    """
    archives, folder = chosen_splits(split), Path(out).expanduser()
    missing = [archive for archive in archives if not archive.is_there(folder)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, _needed(missing, folder, keep_archives=keep_archives))
    for archive in archives:
        path, place = folder / archive.name, folder / archive.folder
        if archive not in missing:
            if not keep_archives and (place / UNFINISHED).exists():  # of a call that was cut off
                path.unlink(missing_ok=True)
            continue
        with locked(folder, f"jetsym download of {archive.split}", name=archive.split):
            if archive.is_there(folder):  # by now, from another process
                continue
            fetch(archive.url, path, md5=archive.md5, progress=progress)
            place.mkdir(exist_ok=True)
            mark_unfinished(place, command="jetsym download")
            archive.note(folder, unpack(path, place, progress=progress))
            if not keep_archives:
                path.unlink()
    places = list(dict.fromkeys(folder / archive.folder for archive in archives))
    for place in places:
        mark_finished(place)
    return places


def _needed(archives: Sequence[Archive], folder: Path, *, keep_archives: bool) -> int:
    """Return the bytes for the archives and what is in them, as far as the server says their sizes."""
    sizes = [size_of(archive.url) or 0 for archive in archives]
    # What is in an archive takes as much room as the archive. Those that are not kept are there one at a time.
    held = sum(sizes) if keep_archives else max(sizes)
    names = [name for archive in archives for name in (archive.name, f"{archive.name}.part")]
    arrived = sum((folder / name).stat().st_size for name in names if (folder / name).exists())
    return sum(sizes) + max(held - arrived, 0)
