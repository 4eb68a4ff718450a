"""Universal models by name: PET-MAD and its relatives, from the repository that ``upet`` publishes them in."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from jetsym.arguments import checked
from jetsym.atoms.model import Model, load
from jetsym.atoms.packages import quiet
from jetsym.errors import ConfigError, DownloadError, closest, require
from jetsym.hub import hub as hub_of, unresolved

__all__ = ["NAME", "fetch", "pretrained"]

#: Where upet keeps its models, in the cache of huggingface_hub.
REPOSITORY, FOLDER = "lab-cosmo/upet", "models"
NAME = re.compile(r"(?P<model>pet-\w+)-(?P<size>xs|s|m|l|xl)(-v(?P<version>\d+\.\d+\.\d+))?")


@checked()
def pretrained(name: str = "pet-mad", *, size: str = "s", version: str = "latest", dtype: str | None = None) -> Model:
    """Load a published model of the family of PET-MAD, downloaded once and then taken from Hugging Face's cache.

    Parameters
    ----------
    name, size
        Name and size of the model, such as "pet-mad" and "s".
    version
        Its version, such as "1.5.0"; "latest" for the newest there is, without a network the newest in the cache.
    dtype
        "float32" or "float64"; by default as published.

    Raises
    ------
    DownloadError
        There is no network and nothing in the cache.
    ConfigError
        There is no such model.
    CheckpointError
        The file holds more than a checkpoint of metatrain; see :mod:`jetsym.atoms.checkpoint`.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    return load(
        fetch(f"{name}-{size}", version=None if version == "latest" else version.removeprefix("v")), dtype=dtype
    )


def fetch(name: str, *, version: str | None = None) -> Path:
    """Find the checkpoint of a published model in upet's cache, or download it into that.

    Parameters
    ----------
    name
        Its name, such as "pet-mad-s", or with its version "pet-mad-s-v1.1.0".
    version
        Its version, such as "1.1.0"; the newest where None.

    Raises
    ------
    ConfigError
        There is no such model or version.
    DownloadError
        It is not in the cache and cannot be fetched, as without a network.
    """
    parts = NAME.fullmatch(name)
    if parts is None:
        raise ConfigError(f"{name!r} is no name of a published model; expected one such as 'pet-mad-s'")
    if None not in (version, parts["version"]) and version != parts["version"]:
        raise ConfigError(f"{name!r} is of version {parts['version']}, but version is {version!r}; leave one out")
    model, size, chosen = parts["model"], parts["size"], version or parts["version"]
    hub = _hub()
    chosen = chosen or _newest(model, size)
    file = f"{model}-{size}-v{chosen}.ckpt"
    cached = hub.try_to_load_from_cache(REPOSITORY, f"{FOLDER}/{file}")
    if isinstance(cached, str):
        return Path(cached)
    _check_network(file)
    try:
        return Path(hub.hf_hub_download(repo_id=REPOSITORY, filename=file, subfolder=FOLDER))
    except hub.errors.EntryNotFoundError as error:
        if isinstance(error, hub.errors.LocalEntryNotFoundError):
            raise _not_reached(file, error) from error
        raise ConfigError(f"there is no version {chosen} of {model}-{size}; leave it out for the newest") from error
    except (OSError, hub.errors.HfHubHTTPError) as error:
        raise _not_reached(file, error) from error


def _newest(model: str, size: str) -> str:
    """Return the newest version there is; without a network the newest in the cache."""
    upet = require("upet", extra="atoms", purpose="loading a published model")
    file = f"{model}-{size}-vVERSION.ckpt"
    try:
        _check_network(file)
        with quiet():
            entries = upet.list_upet(print_summary=False)
    except Exception as error:  # whatever the transport below huggingface_hub raises without a network
        versions = _cached_versions(model, size)
        if not versions:
            raise _not_reached(file, error) from error
    else:
        versions = [entry["version"] for entry in entries if (entry["model"], entry["size"]) == (model, size)]
        if not versions:
            known = sorted({f"{entry['model']}-{entry['size']}" for entry in entries})
            raise ConfigError(f"there is no published model {f'{model}-{size}'!r}; {closest(f'{model}-{size}', known)}")
    return max(versions, key=lambda text: tuple(map(int, text.split("."))))


def _cached_versions(model: str, size: str) -> list[str]:
    hub = _hub()
    try:
        repositories = hub.scan_cache_dir().repos
    except hub.errors.CacheNotFound:
        return []
    files = {
        file.file_name
        for repository in repositories
        if repository.repo_id == REPOSITORY
        for revision in repository.revisions
        for file in revision.files
    }
    matches = [NAME.fullmatch(file.removesuffix(".ckpt")) for file in files]
    return [found["version"] for found in matches if found and (found["model"], found["size"]) == (model, size)]


def _hub() -> ModuleType:
    return hub_of(extra="atoms", purpose="loading a published model")


def _check_network(file: str) -> None:
    """Refuse at once where the host is not resolved: without a network huggingface_hub tries for half a minute."""
    error = unresolved(_hub())
    if error is not None:
        raise _not_reached(file, error) from error


def _not_reached(file: str, error: Exception) -> DownloadError:
    if isinstance(error, DownloadError):
        return error
    return DownloadError(
        f"{file} is not in the cache of huggingface_hub, and {REPOSITORY} cannot be reached ({type(error).__name__}); "
        f"fetch {FOLDER}/{file} from https://huggingface.co/{REPOSITORY} where there is a network, and give the path "
        "of the file as the model"
    )
