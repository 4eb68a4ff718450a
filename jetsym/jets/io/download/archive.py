"""Taking ROOT files out of a tar archive that need not be trusted: nothing leaves its folder or is left half there."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from jetsym.errors import DownloadError, lacks_explained
from jetsym.files import is_hidden
from jetsym.jets.io.download.fetch import check_space
from jetsym.progress import progress_bar

__all__ = ["unpack"]


def unpack(archive: Path, folder: Path, *, progress: bool = True) -> dict[str, int]:
    """Put the ``*.root`` files of an archive that are not hidden into a folder, whatever folders they are in there.

    They are written into a hidden folder beside ``folder`` first, and moved when all of them are complete. One that is
    there already, from an earlier attempt, is replaced.

    Parameters
    ----------
    archive
        A tar archive without compression.
    folder
        Where the files go; made if it is not there.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Name of each file -> its size in bytes.

    Raises
    ------
    DownloadError
        The archive is damaged, holds no ROOT file, two of the same name, or anything but files and folders below its
        own; or the disk has too little room. The folder is then as it was before.
    """
    unfinished = folder.with_name(f".{archive.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    try:
        with lacks_explained(f"{archive} could not be unpacked"), tarfile.open(archive, "r:") as tar:
            members = _checked(archive, tar)
            unfinished.mkdir(parents=True)
            check_space(unfinished, sum(member.size for member in members.values()))
            with progress_bar(f"unpack {archive.name}", len(members), shown=progress) as advance:
                for name, member in members.items():
                    flat = member.replace(name=name, deep=False)
                    tar.extract(flat, unfinished, set_attrs=False, filter="data")
                    advance(1)
        folder.mkdir(exist_ok=True)
        for name in members:
            (unfinished / name).replace(folder / name)
    except tarfile.TarError as error:
        raise DownloadError(f"{archive}: not a tar archive that can be read ({error}); fetch it again") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {name: member.size for name, member in members.items()}


def _checked(archive: Path, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return the ROOT files by name; an archive with one bad member is refused as a whole."""
    files: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
            raise DownloadError(
                f"{archive}: holds {member.name!r}, which leads out of its folder; nothing was unpacked"
            )
        if member.isdir():
            continue
        if not member.isreg():
            kind = "link" if member.issym() or member.islnk() else "device"
            raise DownloadError(
                f"{archive}: holds {member.name!r}, which is a {kind}; expected files and folders; nothing was unpacked"
            )
        if path.suffix != ".root" or is_hidden(path.name):
            continue
        if path.name in files:
            raise DownloadError(f"{archive}: holds two files called {path.name!r}; nothing was unpacked")
        files[path.name] = member
    if not files:
        raise DownloadError(f"{archive}: holds no *.root files; nothing was unpacked")
    return files
