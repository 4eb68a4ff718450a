"""Universal models by name: PET-MAD and its relatives, from the repository that ``upet`` publishes them in."""

from __future__ import annotations

from jetsym.atoms.model import Model, load
from jetsym.atoms.packages import quiet, require
from jetsym.errors import DownloadError

__all__ = ["pretrained"]

REPOSITORY, FOLDER = "lab-cosmo/upet", "models"
LATEST = "latest"


def pretrained(name: str = "pet-mad", *, size: str = "s", version: str = LATEST, dtype: str | None = None) -> Model:
    """A published model of the family of PET-MAD, downloaded once and then taken from Hugging Face's cache.

    Parameters
    ----------
    name, size
        Such as "pet-mad" and "s".
    version
        Such as "1.5.0"; "latest" has to ask for what there is, so it needs a network.
    dtype
        "float32" or "float64"; by default as published.

    Raises
    ------
    DownloadError
        There is no network and nothing in the cache, or there is no such model.
    CheckpointError
        What came holds more than a checkpoint of metatrain; see :mod:`jetsym.atoms.checkpoint`.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    hub = require("huggingface_hub", "a model by name")
    number = _latest(name, size) if version == LATEST else version.removeprefix("v")
    file = f"{name}-{size}-v{number}.ckpt"
    try:
        path = hub.hf_hub_download(repo_id=REPOSITORY, filename=file, subfolder=FOLDER)
    except (OSError, ValueError) as error:  # what the hub raises for networks, repositories and names alike
        raise DownloadError(_advice(f"{file} of huggingface.co/{REPOSITORY}", error)) from error
    return load(path, dtype=dtype)


def _latest(name: str, size: str) -> str:
    """The newest version of a model."""
    version = require("packaging.version", "a model by name").Version
    try:
        with quiet():
            found = require("upet", "a model by name").list_upet(model=name, size=size, print_summary=False)
    except (OSError, ValueError) as error:
        raise DownloadError(_advice(f"the list of versions of {name}-{size}", error)) from error
    if not found:
        raise DownloadError(f"there is no model {name!r} of size {size!r}; upet.list_upet() shows what there is")
    return str(max(version(item["version"]) for item in found))


def _advice(what: str, error: Exception) -> str:
    reason = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
    return (
        f"{what} cannot be fetched ({reason}); without a network name a version that the cache holds, or point to a "
        "file: jetsym.atoms.load('model.ckpt')"
    )
