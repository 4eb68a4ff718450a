"""Checkpoints of metatrain, read without running anything that a file says.

A ``.ckpt`` of metatrain is a pickle. It is read by torch's restricted unpickler (``weights_only=True``), which builds
tensors, containers and numbers, and here in addition what metatrain writes into every checkpoint: two classes that
describe the targets, and values of metatensor and metatomic. Whatever else a file names is refused.

Its architecture decides what metatrain does with it: some take the name of another file out of the options in the
checkpoint, and unpickle that. So only those of :data:`ARCHITECTURES` are built, also where one model wraps another, and
options that name files are refused. ``trust=True`` opens a file without all that; whoever made it can then run
anything.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch

from jetsym.allocation import bounded_by
from jetsym.atoms.architectures import INJECTED, add_architectures
from jetsym.atoms.exports import TRUST
from jetsym.atoms.packages import quiet
from jetsym.atoms.torchscript import RefusedError
from jetsym.errors import CheckpointError, require
from jetsym.reading import expect_path, expect_stored

__all__ = ["ARCHITECTURES", "Weights", "find", "is_whole", "known_types", "model_from", "model_of", "read_checkpoint"]

#: Which weights of a checkpoint: of the epoch that validated best, or of the last one.
Weights = Literal["best", "last"]

#: The architectures whose models are built out of the checkpoint alone. What metatrain has besides reads other files.
ARCHITECTURES = frozenset(
    {
        INJECTED,
        "composition",
        "experimental.classifier",
        "experimental.flashmd",
        "experimental.flashmd_symplectic",
        "experimental.space",
        "llpr",
        "pet",
        "scaler",
        "soap_bpnn",
    }
)
#: Options of a model that name files, which no option of these architectures does.
NAMES_FILE = re.compile(r"(/|~|\.{1,2}/|[A-Za-z]:\\|\w+://)|.*\.(ckpt|pt|pth|model|pkl|pickle|bin)$", re.DOTALL)

#: Where the values live that TorchScript classes may hold.
SCRIPT_CLASSES = "__torch__."
KNOWN_CLASSES = ("__torch__.torch.classes.metatensor.", "__torch__.torch.classes.metatomic.")

#: How a zip archive begins, bytes of its first header, and how the first name in one of torch ends.
ZIP, HEADER, FIRST = b"PK\x03\x04", 30, b"/data.pkl"
#: File of the trained model in the folder of a run.
FINAL = "model.ckpt"


def find(path: str | Path) -> Path:
    """Find the file meant by a ``.ckpt``, a ``.pt`` or a run's folder: its ``model.ckpt``, or else the last epoch's.

    Raises
    ------
    CheckpointError
        There is none.
    """
    expect_path("the path of a model", path, CheckpointError)
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


def is_whole(file: Path) -> bool:
    """Tell whether a checkpoint was written to its end; one that was cut off may end in a smaller archive's end."""
    try:
        torch._C.PyTorchFileReader(str(file))
    except RuntimeError:
        return False
    return True


def is_cut_off(file: Path) -> bool:
    """Tell whether a file is the beginning of an archive of torch that was not written to its end."""
    with file.open("rb") as opened:
        header = opened.read(HEADER)
        name = opened.read(int.from_bytes(header[26:28], "little"))
    begins = header.startswith(ZIP) and name.endswith(FIRST) if len(header) == HEADER else ZIP.startswith(header[:4])
    return begins and not is_whole(file)


def read_checkpoint(file: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the content of a ``.ckpt``.

    Parameters
    ----------
    file
        What metatrain wrote.
    trust
        Unpickle whatever it holds, which can run anything.

    Raises
    ------
    CheckpointError
        It is missing, damaged, no checkpoint of metatrain, or names something that such files do not need.
    """
    file = Path(file).expanduser()
    try:
        if not trust:
            expect_stored(file)
            _check_names(file)
        with quiet(), known_types():
            content = torch.load(file, map_location="cpu", weights_only=not trust)
        if not trust:
            _check_models(content)
    except UnpicklingError as error:
        said = re.search(r"WeightsUnpickler error: ([^\n.]*)", str(error))
        what = said[1] if said else str(error).partition("\n")[0]
        raise CheckpointError(
            f"{file} is not opened, as it holds more than metatrain writes: {what}; {TRUST}"
        ) from None
    except RefusedError as error:
        raise CheckpointError(f"{file} is not opened, as it holds {error}; {TRUST}") from None
    except Exception as error:  # what torch raises over a broken file is anything, down to KeyError
        reason = str(error).strip().partition("\n")[0]
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


def model_of(file: str | Path, *, weights: Weights = "best", trust: bool = False) -> torch.nn.Module:
    """Load the model of a ``.ckpt``, with metatrain's own upgrades of older files.

    Raises
    ------
    CheckpointError
        As for :func:`read_checkpoint` and :func:`model_from`.
    """
    return model_from(read_checkpoint(file, trust=trust), file, weights=weights)


def model_from(content: dict[str, Any], file: str | Path, *, weights: Weights = "best") -> torch.nn.Module:
    """Build the model of what :func:`read_checkpoint` read from a file; the content is used up.

    Raises
    ------
    CheckpointError
        metatrain cannot load it, or the architecture is not installed.
    """
    opening: Any = require("metatrain.utils.io", extra="atoms", purpose="jetsym.atoms")
    # A model with uncertainties wraps another; its own best weights may be none, and those of the other count.
    missing = content.get("best_model_state_dict") is None and "wrapped_model_checkpoint" not in content
    try:
        with quiet(), bounded_by(_tensors_in(content)):
            add_architectures()
            context = "restart" if weights == "last" or missing else "export"
            model: torch.nn.Module = opening.model_from_checkpoint(content, context=context)
            return model
    except Exception as error:  # whatever metatrain's own code raises over values that it does not expect
        raise CheckpointError(f"{file} cannot be loaded by metatrain: {' '.join(str(error).split())}") from error


def _tensors_in(content: Any) -> list[torch.Tensor]:
    """List the tensors in a checkpoint, wherever they are."""
    found, left, seen = list[torch.Tensor](), [content], set[int]()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, (list, tuple)):
            left += value
    return found


@contextmanager
def known_types() -> Iterator[None]:
    """Allow the types that a checkpoint of metatrain may name beyond torch's own."""
    require("metatrain.pet", extra="atoms", purpose="jetsym.atoms")  # registers the classes of metatensor and metatomic
    dataset = require("metatrain.utils.data.dataset", extra="atoms", purpose="jetsym.atoms").DatasetInfo
    target = require("metatrain.utils.data.target_info", extra="atoms", purpose="jetsym.atoms").TargetInfo
    with torch.serialization.safe_globals([dataset, target, torch.ScriptObject]):
        yield


def _check_names(file: Path) -> None:
    """Refuse values of compiled classes that are not metatensor's or metatomic's, and what could spell their names."""
    content = torch._C.PyTorchFileReader(str(file)).get_record("data.pkl")  # by which torch.load finds it
    for _, argument, _ in pickletools.genops(content):
        if not isinstance(argument, str):
            continue
        if argument.startswith(SCRIPT_CLASSES) and not argument.startswith(KNOWN_CLASSES):
            raise RefusedError(f"a value of the class {argument}")
        if argument.startswith("_codecs"):
            raise RefusedError(f"the function {argument.replace(' ', '.')}")


def _check_models(content: Any) -> None:
    """Refuse architectures that read other files, wherever in a checkpoint they are, and options that name files."""
    found, seen = [content], set[int]()
    while found:
        value = found.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            if "architecture_name" in value and value["architecture_name"] not in ARCHITECTURES:
                raise RefusedError(
                    f"a model of the architecture {value['architecture_name']!r}, which may read other files"
                )
            found += value.values()
            _check_options(value.get("model_data"), set())
        elif isinstance(value, (list, tuple)):
            found += value


def _check_options(values: Any, seen: set[int]) -> None:
    """Refuse options of a model that name files; ``seen`` are containers that have been looked at."""
    if isinstance(values, str) and NAMES_FILE.match(values):
        raise RefusedError(f"an option that names a file, {values!r}")
    if isinstance(values, (Mapping, list, tuple)) and id(values) not in seen:
        seen.add(id(values))
        for value in values.values() if isinstance(values, Mapping) else values:
            _check_options(value, seen)
