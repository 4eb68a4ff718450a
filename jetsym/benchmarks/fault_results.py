"""Digests of what commands leave: the same whenever they are done, and an error before they are."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jetsym.errors import DataError
from jetsym.jets import checkpoint
from jetsym.jets.io.paths import jet_files
from jetsym.jets.io.read import read

__all__ = ["at", "content", "files", "graph", "jets", "numbers", "packed", "picture", "scores", "tagger", "trained_pet"]

#: Parts of results that tell of the run and not of what was found.
VOLATILE = {"seconds", "elapsed", "date", "created", "time", "host", "cost", "paths", "written", "version", "digest"}

#: Parts of an archive of TorchScript that tell when it was packed.
PACKED_WHEN = {".data/serialization_id", "extra/export-metadata"}


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def jets(path: Path) -> str:
    """Digest the momenta of jets."""
    found = read(path)
    return _digest(found.p4.numpy().tobytes(), found.mask.numpy().tobytes())


def scores(path: Path) -> str:
    """Digest all columns of a file."""
    from jetsym.jets.io.columns import open_columns

    with open_columns(path) as columns:
        return _digest(*(np.asarray(columns.read(name)).tobytes() for name in sorted(columns.names)))


def numbers(path: Path) -> str:
    """Digest what JSON holds, but for what tells of the run."""
    return _digest(json.dumps(_stable(json.loads(path.read_text())), sort_keys=True).encode())


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if not VOLATILE & set(str(key).split("_"))}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def tagger(path: Path) -> str:
    """Digest the weights of a tagger."""
    tensors = checkpoint.load(path).state_dict()
    return _digest(*(tensors[name].numpy().tobytes() for name in sorted(tensors)))


def trained_pet(folder: Path) -> str:
    """Say what a run of metatrain has come to; it draws anew what it draws where it goes on, so not the weights."""
    from jetsym.atoms.checkpoint import read_checkpoint
    from jetsym.atoms.exports import read_export

    content = read_checkpoint(folder / "model.ckpt")
    content = content.get("wrapped_model_checkpoint", content) | {"whole": content["architecture_name"]}
    state = content["model_state_dict"]
    shapes = {name: tuple(values.shape) for name, values in state.items() if isinstance(values, torch.Tensor)}
    finite = all(bool(torch.isfinite(v).all()) for v in state.values() if isinstance(v, torch.Tensor))
    read_export(folder / "model.pt")
    whole = f"{content['whole']} of epoch {content.get('epoch')}, {'all finite' if finite else 'not finite'}"
    return f"{whole}: {sorted(shapes.items())}"


def picture(path: Path) -> str:
    """Digest the pixels of a figure."""
    from matplotlib.pyplot import imread

    return _digest(imread(path).tobytes())


def packed(path: Path) -> str:
    """Digest what an archive of TorchScript holds, whenever it was packed."""
    with zipfile.ZipFile(path) as archive:
        found = {one.filename.partition("/")[2]: one.CRC for one in archive.infolist()}
    return _digest(repr(sorted((name, check) for name, check in found.items() if name not in PACKED_WHEN)).encode())


def graph(path: Path) -> str:
    """Digest the weights and the operations of a graph."""
    import onnx

    found = onnx.load(path).graph
    return _digest(*(one.raw_data for one in found.initializer), *(one.op_type.encode() for one in found.node))


def content(path: Path) -> str:
    """Digest a file."""
    if not path.is_file():
        raise DataError(f"{path} is not there")
    return _digest(path.read_bytes())


def files(folder: Path) -> str:
    """Digest the files of jets in a folder."""
    return _digest(*(Path(file).read_bytes() for file in sorted(map(str, jet_files(folder)))))


def at(name: str, result: Callable[[Path], str] = numbers) -> Callable[[Path], str]:
    """Return what digests a file or a folder of that name."""
    return lambda out: result(out / name)
