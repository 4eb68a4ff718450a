"""From the name or the file of a model to an ASE calculator: metatrain's checkpoints, exports, PET-MAD, and EMT."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch

from jetsym.atoms import checkpoint
from jetsym.atoms.packages import quiet, require
from jetsym.errors import CheckpointError, ConfigError, DownloadError, closest

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["Dtype", "calculator", "fetch", "uncertainty"]

Dtype = Literal["float32", "float64"]

#: Where upet keeps its models, in the cache of huggingface_hub.
REPOSITORY, FOLDER = "lab-cosmo/upet", "models"
NAME = re.compile(r"(?P<model>pet-\w+)-(?P<size>xs|s|m|l|xl)(-v(?P<version>\d+\.\d+\.\d+))?")


def calculator(
    model: str | Path | Calculator,
    *,
    version: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
) -> Calculator:
    """An ASE calculator with energies, forces and stress.

    Parameters
    ----------
    model
        A ``.ckpt`` or ``.pt`` file of metatrain or the folder of a run; the name of a published model, such as
        "pet-mad-s" or "pet-mad-s-v1.1.0"; "emt" for ASE's effective-medium theory of Al, Ni, Cu, Pd, Ag, Pt and Au; or
        an ASE calculator, which is returned as it is.
    version
        Of a published model, such as "1.1.0"; the newest where None.
    dtype
        "float32" or "float64"; by default float64, which small displacements need. An export keeps its own.
    device
        Such as "cpu" or "cuda"; by default the best that the model supports.

    Raises
    ------
    CheckpointError
        There is no such model, or its file cannot be used.
    DownloadError
        A published model is neither in the cache nor can it be fetched.
    ConfigError
        An option that does not go with the model.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> calculator("emt").name
    'emt'
    """
    base = require("ase.calculators.calculator", "a calculator").BaseCalculator
    if isinstance(model, base):
        return model
    if dtype not in (None, "float32", "float64"):
        raise ConfigError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
    named = str(model)
    if named == "emt":
        return require("ase.calculators.emt", "a calculator").EMT()
    if NAME.fullmatch(named) and not Path(named).exists():
        file = fetch(named, version=version)
    elif version is not None:
        raise ConfigError(f"version is {version!r}, but {named} is a file; versions are of published models")
    elif not Path(named).suffix and not Path(named).is_dir():
        raise CheckpointError(
            f"model is {named!r}; expected a .ckpt or .pt file of metatrain, the folder of a run, 'emt', or a "
            "published model such as 'pet-mad-s'"
        )
    else:
        file = checkpoint.find(named)
    return _metatomic(file, dtype, device)


def _metatomic(file: Path, dtype: Dtype | None, device: str | None) -> Calculator:
    if file.suffix == ".pt":
        if dtype is not None:
            raise ConfigError(f"dtype is {dtype!r}, but {file} is an export of a fixed type; load the .ckpt instead")
        exported: Any = checkpoint.read_export(file)
    else:
        module = checkpoint.model_of(file).to(getattr(torch, dtype or "float64"))
        with quiet():
            exported = module.export()  # type: ignore[operator]
    if "energy" not in {name.partition("/")[0] for name in exported.capabilities().outputs}:
        outputs = ", ".join(map(repr, exported.capabilities().outputs))
        raise CheckpointError(f"{file} predicts no energy, which a calculator needs; it predicts {outputs}")
    with quiet():
        kind = require("metatomic_ase", "a calculator").MetatomicCalculator
        # The threshold only makes it warn; uncertainty() gives the numbers.
        found = kind(exported, device=device, uncertainty_threshold=None)
    found.implemented_properties = ["energy", "energies", "forces", "stress"]  # it claims to have all that ASE knows
    return found


def fetch(name: str, *, version: str | None = None) -> Path:
    """The checkpoint of a published model, from upet's cache, or downloaded into it.

    Parameters
    ----------
    name
        Such as "pet-mad-s", or with its version "pet-mad-s-v1.1.0".
    version
        Such as "1.1.0"; the newest where None.

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
    hub = require("huggingface_hub", "loading a published model")
    chosen = chosen or _newest(model, size)
    file = f"{model}-{size}-v{chosen}.ckpt"
    cached = hub.try_to_load_from_cache(REPOSITORY, f"{FOLDER}/{file}")
    if isinstance(cached, str):
        return Path(cached)
    _check_network(file)
    try:
        return Path(hub.hf_hub_download(REPOSITORY, file, subfolder=FOLDER))
    except hub.errors.EntryNotFoundError as error:
        if isinstance(error, hub.errors.LocalEntryNotFoundError):
            raise _not_reached(file, error) from error
        raise ConfigError(f"there is no version {chosen} of {model}-{size}; leave it out for the newest") from error
    except (OSError, hub.errors.HfHubHTTPError) as error:
        raise _not_reached(file, error) from error


def _newest(model: str, size: str) -> str:
    """The newest version there is; without a network the newest in the cache."""
    upet = require("upet", "loading a published model")
    file = f"{model}-{size}-vVERSION.ckpt"
    try:
        _check_network(file)
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
    hub = require("huggingface_hub", "loading a published model")
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


def _check_network(file: str) -> None:
    """Without a network huggingface_hub tries for half a minute; a name that is not resolved says so at once."""
    hub = require("huggingface_hub", "loading a published model")
    host = urlsplit(hub.constants.ENDPOINT).hostname
    if hub.constants.HF_HUB_OFFLINE or getproxies():  # it says so itself, or the proxy resolves the name
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise _not_reached(file, error) from error


def _not_reached(file: str, error: Exception) -> DownloadError:
    if isinstance(error, DownloadError):
        return error
    return DownloadError(
        f"{file} is not in the cache of huggingface_hub, and {REPOSITORY} cannot be reached ({type(error).__name__}); "
        f"fetch {FOLDER}/{file} from https://huggingface.co/{REPOSITORY} where there is a network, and give the path "
        "of the file as the model"
    )


def uncertainty(calculator: Calculator, atoms: Atoms, *, per_atom: bool = False) -> np.ndarray | float | None:
    """Standard deviation of the energy by last-layer prediction rigidity (LLPR), where the model has it.

    Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024): σ² = α² fᵀ (FᵀF + ς²)⁻¹ f with f the
    last-layer features of the structure, and F those of the training set.

    Parameters
    ----------
    calculator
        From :func:`calculator`, of a model of metatrain's architecture "llpr" (PET-MAD is one).
    atoms
        The structure.
    per_atom
        Of the energy of every atom, shape (atoms,), instead of that of the structure.

    Returns
    -------
    numpy.ndarray or float or None
        In eV; None for models without.
    """
    run, model = getattr(calculator, "run_model", None), getattr(calculator, "model", None)
    if run is None or model is None:
        return None
    outputs = model().capabilities().outputs
    name = next((name for name in outputs if name.partition("/")[0] == "energy_uncertainty"), None)
    if name is None:
        return None
    output = require("metatomic.torch", "the uncertainty").ModelOutput(
        unit="eV", sample_kind="atom" if per_atom else "system"
    )
    with quiet(), torch.no_grad():
        values = run(atoms, {name: output})[name].block().values.double().cpu().numpy().ravel()
    return values if per_atom else float(values[0])
