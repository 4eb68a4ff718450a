"""Checkpoints of metatrain, read without running anything that a file says.

A ``.ckpt`` of metatrain is a pickle. It is read by torch's restricted unpickler (``weights_only=True``), which builds
tensors, containers and numbers, and here in addition what metatrain writes into every checkpoint: two classes that
describe the targets, and values of metatensor and metatomic. Whatever else a file names is refused.

A ``.pt`` is an exported model: a TorchScript archive. Its code is compiled and run by torch's interpreter, which knows
the operations of torch and no Python; that is the nature of the format. Libraries that an export brings along
(``extensions/``) are not loaded.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch

from jetsym.atoms.packages import quiet, require
from jetsym.errors import CheckpointError

__all__ = ["Weights", "find", "model_from", "model_of", "read_checkpoint", "read_export"]

#: Which weights of a checkpoint: of the epoch that validated best, or of the last one.
Weights = Literal["best", "last"]

#: Where the values live that TorchScript classes may hold.
SCRIPT_CLASSES = "__torch__."
KNOWN_CLASSES = ("__torch__.torch.classes.metatensor.", "__torch__.torch.classes.metatomic.")

#: File of the trained model in the folder of a run.
FINAL = "model.ckpt"


def find(path: str | Path) -> Path:
    """Find the file meant by a ``.ckpt``, a ``.pt`` or a run's folder: its ``model.ckpt``, or else the last epoch's.

    Raises
    ------
    CheckpointError
        There is none.
    """
    path = Path(path).expanduser()
    if path.is_file():
        if path.suffix in (".ckpt", ".pt"):
            return path
        raise CheckpointError(f"{path} ends in {path.suffix!r}; expected a .ckpt or .pt file of metatrain")
    if not path.is_dir():
        raise CheckpointError(f"there is no {path}; expected a .ckpt or .pt file of metatrain, or the folder of a run")
    if (path / FINAL).is_file():
        return path / FINAL
    epochs = epochs_in(path)
    if epochs:
        return epochs[max(epochs)]
    raise CheckpointError(f"{path} holds neither {FINAL} nor model_EPOCH.ckpt; expected the folder of a training run")


def epochs_in(folder: Path) -> dict[int, Path]:
    """Find the checkpoints of a run by epoch, as metatrain writes them: ``model_EPOCH.ckpt``."""
    files = {file.stem.removeprefix("model_"): file for file in folder.glob("model_*.ckpt")}
    return {int(epoch): files[epoch] for epoch in sorted(files) if epoch.isdecimal()}


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Read the content of a ``.ckpt``.

    Raises
    ------
    CheckpointError
        It is missing, damaged, no checkpoint of metatrain, or names something that such files do not need.
    """
    file = Path(file).expanduser()
    try:
        _check_classes(file)
        with quiet(), _known_types():
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        what = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is not opened, as it holds more than metatrain writes: {what}") from None
    except (OSError, RuntimeError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} cannot be read as a checkpoint of metatrain: {reason}") from error
    # The first models with uncertainties, such as PET-MAD 1.0.2, say all about themselves in the model inside.
    if (
        not isinstance(content, dict)
        or "architecture_name" not in content
        or not {"model_data", "wrapped_model_checkpoint"} & content.keys()
    ):
        raise CheckpointError(
            f"{file} holds no model; expected a checkpoint that mtt train or jetsym atoms train wrote"
        )
    return content


def model_of(file: str | Path, *, weights: Weights = "best") -> torch.nn.Module:
    """Load the model of a ``.ckpt``, with metatrain's own upgrades of older files.

    Raises
    ------
    CheckpointError
        As for :func:`read_checkpoint` and :func:`model_from`.
    """
    return model_from(read_checkpoint(file), file, weights=weights)


def model_from(content: dict[str, Any], file: str | Path, *, weights: Weights = "best") -> torch.nn.Module:
    """Build the model of what :func:`read_checkpoint` read from a file; the content is used up.

    Raises
    ------
    CheckpointError
        metatrain cannot load it, or the architecture is not installed.
    """
    build: Callable[..., torch.nn.Module] = require("metatrain.utils.io", "jetsym.atoms").model_from_checkpoint
    # A model with uncertainties wraps another; its own best weights may be none, and those of the other count.
    missing = content.get("best_model_state_dict") is None and "wrapped_model_checkpoint" not in content
    try:
        with quiet():
            return build(content, context="restart" if weights == "last" or missing else "export")
    except (ValueError, RuntimeError, KeyError, ImportError) as error:
        raise CheckpointError(f"{file} cannot be loaded by metatrain: {' '.join(str(error).split())}") from error


def read_export(file: str | Path) -> torch.nn.Module:
    """Load the model of a ``.pt``.

    Raises
    ------
    CheckpointError
        It is damaged, or no exported model.
    """
    load: Callable[[str], torch.nn.Module] = require("metatomic.torch", "jetsym.atoms").load_atomistic_model
    try:
        with quiet():
            return load(str(file))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} cannot be read as an exported model of metatomic: {reason}") from error


@contextmanager
def _known_types() -> Iterator[None]:
    """Allow the types that a checkpoint of metatrain may name beyond torch's own."""
    require("metatrain.pet", "jetsym.atoms")  # registers the classes of metatensor and metatomic
    dataset = require("metatrain.utils.data.dataset", "jetsym.atoms").DatasetInfo
    target = require("metatrain.utils.data.target_info", "jetsym.atoms").TargetInfo
    with torch.serialization.safe_globals([dataset, target, torch.ScriptObject]):
        yield


def _check_classes(file: Path) -> None:
    """Refuse values of compiled classes that are not metatensor's or metatomic's."""
    with zipfile.ZipFile(file) as archive:
        (name,) = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"] or [""]
        if not name:
            raise ValueError("it is no archive of torch.save")
        content = archive.read(name)
    for _, argument, _ in pickletools.genops(content):
        if isinstance(argument, str) and argument.startswith(SCRIPT_CLASSES) and not argument.startswith(KNOWN_CLASSES):
            raise UnpicklingError(f"a value of the class {argument}")
