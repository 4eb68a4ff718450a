"""Checkpoints: safetensors files whose header says in JSON what they hold. Nothing is ever unpickled.

A run directory has three. ``initial.safetensors`` holds the model before the first step; ``best.safetensors`` that of
the epoch with the lowest validation loss; ``last.safetensors`` the model, the optimizer and how far the run has come,
from which it is continued. No state of a random generator is kept: every step draws from generators of its own, see
:mod:`jetsym.training.seeds`.

Files are written beside their place and moved there in one step, so that a killed run leaves a whole file; a digest of
header and tensors catches flipped bits, which the format itself would pass on. (Up to format 2 it was of the tensors
alone.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from jetsym.allocation import TooLargeError, bounded_by
from jetsym.arguments import checked
from jetsym.errors import CheckpointError, JetsymError, expect_at_least
from jetsym.files import finished_file
from jetsym.jets.models import weaver
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.own import own_tagger
from jetsym.jets.models.pretrained import Checkpoints, keep_weights_by
from jetsym.jets.models.registry import name_of, tagger_class
from jetsym.jets.targets import Target
from jetsym.lazy import is_entry
from jetsym.reading import encodable, expect_path, parse_json

__all__ = [
    "BEST",
    "FORMAT_VERSION",
    "INITIAL",
    "LAST",
    "SHARED",
    "Header",
    "digest_of",
    "find",
    "initial",
    "load",
    "read",
    "restore",
    "save",
]

#: Version of the layout of names and header. It is raised, and gets an upgrade below, when files of the old kind could
#: no longer be read as they are.
FORMAT_VERSION = 3
BEST = "best.safetensors"
LAST = "last.safetensors"
INITIAL = "initial.safetensors"
#: What a folder of a tagger that is shared has in place of these, as the Hugging Face hub names it.
SHARED = "model.safetensors"

_KEY = "jetsym"  # of the header in safetensors' string-to-string metadata
_MODEL = "model."  # prefix of the model's tensors

#: What torch and Python raise where a model is asked for in a way that makes no sense.
_UNBUILT = (RuntimeError, MemoryError, TypeError, ValueError, ArithmeticError, LookupError, AssertionError)


@dataclass(frozen=True)
class Header:
    """The header of a checkpoint.

    Parameters
    ----------
    model
        Name of the model in :data:`jetsym.jets.models.registry.MODELS`.
    options
        The model's options, fields of its ``Config``.
    classes
        Names of the classes, in the order of the logits.
    epoch
        Number of finished epochs.
    metrics
        The last epoch's line of metrics.
    config
        The run's training configuration.
    progress
        How far the run has come, for the file it is continued from; see :class:`jetsym.training.state.State`.
    version
        Format version of the file.
    """

    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    epoch: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    version: int = FORMAT_VERSION


def save(
    path: str | Path,
    model: Tagger,
    *,
    epoch: int = 0,
    metrics: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a tagger, and if wished the ``state`` of its training, to a safetensors file in one step.

    Parameters
    ----------
    path
        The file, replaced if it exists.
    model
        A model of :data:`jetsym.jets.models.registry.MODELS`.
    epoch, metrics, config, progress
        See :class:`Header`; all must be representable in JSON.
    state
        Further tensors by name, such as the optimizer's; names must not start with ``model.``.
    """
    header = Header(
        model=name_of(model),
        options=asdict(model.config),
        classes=tuple(model.classes),
        epoch=epoch,
        metrics=dict(metrics or {}),
        config=dict(config or {}),
        progress=dict(progress or {}),
    )
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()} | dict(state or {})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    values = json.loads(json.dumps(asdict(header)))
    text = json.dumps({**values, "digest": digest_of(tensors, values)})
    content = as_bytes(tensors, metadata={_KEY: text})
    with finished_file(path) as unfinished:
        unfinished.write_bytes(content)


@checked(CheckpointError)
def load(
    path: str | Path, *, device: torch.device | str = "cpu", model: type[nn.Module] | nn.Module | None = None
) -> Tagger:
    """Load a trained tagger, ready to be called.

    Parameters
    ----------
    path
        A run directory (its best epoch is taken, or the last one where there is no best), the folder of a tagger that
        is shared (see :mod:`jetsym.jets.models.pretrained`), a ``.safetensors`` file, or a
        ``.pt`` file with weights of ParticleNet or ParticleTransformer in weaver-core's layout (see
        :func:`jetsym.jets.models.weaver.load`).
    device
        Where to put it.
    model
        Of a run of a network of one's own: its class, or a network of it, as in its training. The file has its weights
        and no code.

    Returns
    -------
    Tagger
        The model in evaluation mode, with ``classes``, ``config`` and ``max_particles``.

    Raises
    ------
    CheckpointError
        There is nothing there, or it is not a whole and intact checkpoint of jetsym that this version can read, or
        its tensors do not fit its model.

    Examples
    --------
    >>> import tempfile
    >>> from jetsym.jets.models import PointNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder, "best.safetensors"), PointNet(("QCD", "Tbqq"), width=8))
    ...     load(folder).classes
    ('QCD', 'Tbqq')
    """
    file = find(path)
    if file.suffix == ".pt":
        return weaver.load(file).to(device)
    header, tensors = read(file)
    found = restore(header, tensors, source=file, tagger=None if model is None else _given(model, header, file))
    if header.config.get("fold") is not None:
        found.held_out = header.config["fold"], header.config["fold_by"]
    found.max_particles = header.config.get("max_particles", found.max_particles)
    expect_at_least(f"max_particles in {file}", found.max_particles, 1, CheckpointError)
    found.standardisation = header.config.get("standardisation")
    found.aimed(Target.of(header.config, source=file))
    return found.to(device).eval()


def _given(model: type[nn.Module] | nn.Module, header: Header, file: Path) -> type[Tagger]:
    """Return the class of taggers for the network that a user gives, if it is that of a file."""
    kind = model if isinstance(model, type) else type(model)
    own = f"{kind.__module__}:{kind.__qualname__}"
    if not is_entry(header.model):
        raise CheckpointError(f"{file} holds a {header.model!r}, and no network of a user; leave model={own} out")
    if header.model.partition(":")[2] != kind.__qualname__:  # its module may have been moved
        raise CheckpointError(f"{file} holds a {header.model}; expected model to be that class, not {own}")
    return own_tagger(kind)


def read(path: str | Path) -> tuple[Header, dict[str, Tensor]]:
    """Read a checkpoint's header and all its tensors, on the CPU; arguments and errors as of :func:`load`."""
    file = find(path)
    _refuse_pickle(file)
    try:
        with encodable(file) as place, safe_open(place, framework="pt") as content:
            text = (content.metadata() or {}).get(_KEY)
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({error}); it may be cut short: copy it again"
        ) from error
    if text is None:
        raise CheckpointError(f"{file} has no header of jetsym; expected a file written by jetsym train")
    try:
        values = parse_json(text)
        digest, version = values.pop("digest"), values["version"]
        if version != FORMAT_VERSION and version not in _UPGRADES:
            raise CheckpointError(
                f"{file} has checkpoint format {version!r}; this version of jetsym reads formats up to "
                f"{FORMAT_VERSION}: install the version that wrote it, or train again"
            )
        if digest != (digest_of(tensors, values) if version > 2 else _digest_of_tensors(tensors)):
            raise CheckpointError(
                f"{file} is damaged: its header and tensors do not have the digest that it names; copy it again"
            )
        while values["version"] != FORMAT_VERSION:
            values = _UPGRADES[values["version"]](values)
        header = Header(**values | {"classes": tuple(values["classes"])})
        if not all(isinstance(one, dict) for one in (header.options, header.config, header.metrics, header.progress)):
            raise TypeError("options, config, metrics and progress are tables")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file} has a header that cannot be read ({error!r}); copy it again") from error
    return header, tensors


def restore(
    header: Header, tensors: Mapping[str, Tensor], *, source: Path, tagger: type[Tagger] | None = None
) -> Tagger:
    """Build the model of a header and fill it with the tensors named ``model.*``; ``source`` is for the errors.

    ``tagger`` is its class, where it is not to be found by its name.
    """
    try:
        with bounded_by(tensors.values()):
            model = (tagger or tagger_class(header.model))(header.classes, **header.options)
    except (*_UNBUILT, JetsymError, TooLargeError) as error:
        raise CheckpointError(f"{source} holds a model that cannot be built: {_first_line(error)}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name.removeprefix(_MODEL): tuple(t.shape) for name, t in tensors.items() if name.startswith(_MODEL)}
    if wanted != found:
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        first = differing[0]
        raise CheckpointError(
            f"{source} does not fit model {header.model!r}: {len(differing)} tensors differ, the first is {first!r} "
            f"(file: {found.get(first, 'absent')}, model: {wanted.get(first, 'absent')})"
        )
    model.load_state_dict({name: tensors[_MODEL + name] for name in wanted})
    return model


def find(path: str | Path) -> Path:
    """Find the checkpoint file meant by a run directory or a file.

    Raises
    ------
    CheckpointError
        There is none.
    """
    expect_path("the path of a model", path, CheckpointError)
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"there is no {path}; expected a run directory or a .safetensors file")
    for name in (BEST, LAST, SHARED):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        f"{path} holds none of {BEST}, {LAST} and {SHARED}; expected the folder of a run of jetsym train"
    )


def initial(path: str | Path) -> Path:
    """Find the weights before the first step that the run of a folder, or of one of its checkpoints, has kept.

    Raises
    ------
    CheckpointError
        It has not kept them.
    """
    file = find(path).with_name(INITIAL)
    if not file.is_file():
        raise CheckpointError(f"there is no {file}; runs keep it since version 0.2.0: give another baseline")
    return file


def _from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Add how far the run has come: format 1, written at the end of epochs only, did not say more."""
    return values | {"version": 2, "progress": {"position": {"epoch": values["epoch"] + 1}}}


#: Format -> what makes its header one of the following format.
_UPGRADES: dict[Any, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: lambda values: values | {"version": 3},  # whose digest is of the tensors alone
}


def _refuse_pickle(file: Path) -> None:
    """Say so when a file is one that torch.save or pickle wrote; their content could run anything when loaded."""
    with file.open("rb") as stream:
        start = stream.read(9)
    # A safetensors file begins with the length of its header, whose first byte may be any, and then its header in JSON.
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[8:] != b"{"):
        hint = "; checkpoints of metatrain are for jetsym.atoms.load" if file.suffix == ".ckpt" else ""
        raise CheckpointError(
            f"{file} is a pickle or a torch.save archive, which jetsym does not open; expected a safetensors file{hint}"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def digest_of(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of the values of a header, as JSON gives them back, and of all that the tensors are."""
    forms = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()}
    facts = json.dumps([values, forms, _digest_of_tensors(tensors)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def _digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of names and contents, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


keep_weights_by(Checkpoints(save, read, load))
