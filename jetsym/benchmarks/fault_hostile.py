"""Files that try to run something, to be endless, or to ask for more than they hold, opened by what would read them."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from jetsym import cli
from jetsym.benchmarks.fault_trials import in_process
from jetsym.errors import JetsymError
from jetsym.jets import checkpoint
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.read import read
from jetsym.jets.models import PointNet
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["KINDS", "LOADERS", "trials"]


class _Writes:
    """What a pickle holds: an order to write a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "ran")


def _aliases(depth: int = 9, width: int = 9) -> str:
    lines = ["a0: &a0 [" + ", ".join("x" * width) + "]"]
    lines += [f"a{step}: &a{step} [{', '.join([f'*a{step - 1}'] * width)}]" for step in range(1, depth)]
    return "\n".join(lines)


def _class_path(marker: Path) -> bytes:
    values = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(marker)]}}
    return json.dumps({"data": values, "options": values, "out": "run"}).encode()


def _archive(marker: Path, packed: int = zipfile.ZIP_STORED, content: Any = None) -> bytes:
    stream, again = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": _Writes(marker)} if content is None else content, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(again, "w", packed) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    return again.getvalue()


def _tagger(**options: Any) -> bytes:
    """Write a checkpoint with a digest that holds, and a header that asks for another network than its tensors'."""
    model = PointNet(width=8, blocks=1)
    model.config = replace(model.config, **options)
    with TemporaryDirectory() as folder:
        checkpoint.save(Path(folder, "x.safetensors"), model)
        return Path(folder, "x.safetensors").read_bytes()


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _numpy(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, X=np.array([_Writes(marker)], dtype=object), y=np.zeros(1))
    return stream.getvalue()


def _vast_array(marker: Path) -> bytes:
    header, stream = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)})
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("X.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    return stream.getvalue()


def _deep(marker: Path) -> bytes:
    return _safetensors(json.dumps({"__metadata__": {"jetsym": "[" * 100_000}}).encode())


#: Kind -> content, given the file that it tries to leave; None for a pipe in place of a file.
KINDS: dict[str, Callable[[Path], bytes] | None] = {
    "pickle": lambda marker: pickle.dumps({"state_dict": _Writes(marker)}, 2),
    "pickle in text": lambda marker: pickle.dumps({"state_dict": _Writes(marker)}, 0),
    "archive with a pickle": _archive,
    "numpy objects": _numpy,
    "YAML tags": lambda marker: f"!!python/object/apply:os.system ['touch {marker}']\n".encode(),
    "YAML class path": _class_path,
    "YAML of aliases": lambda marker: (_aliases() + "\ndata: *a8\nout: x\n").encode(),
    "YAML that holds itself": lambda marker: b"data: &one [*one]\nout: x\n",
    "number of 5000 digits": lambda marker: b"epochs: " + b"9" * 5000,
    "another file's name": lambda marker: b"config: /etc/passwd\n",
    "deep JSON": lambda marker: b"[" * 200_000,
    "deep header": _deep,
    "header of a million blocks": lambda marker: _tagger(blocks=10**6),
    "header of vast layers": lambda marker: _tagger(width=10**6),
    "packed archive": lambda marker: _archive(
        marker, zipfile.ZIP_DEFLATED, {"state_dict": {"x": torch.zeros(10**8, dtype=torch.uint8)}}
    ),
    "vast array": _vast_array,
    "pipe": None,
}


def _command(*words: str) -> Callable[[Path], object]:
    def run(file: Path) -> str:
        status = cli.main([word.replace("FILE", str(file)).replace("OUT", str(file.parent / "out")) for word in words])
        if status:
            raise JetsymError(f"status {status}")
        return "done"

    return run


#: Loader -> how it opens a file, and the name that the file has.
LOADERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "load": (checkpoint.load, "x.safetensors"),
    "load of weights": (checkpoint.load, "x.pt"),
    "report": (SymmetryReport.load, "x.json"),
    "jets, npz": (read, "x.npz"),
    "jets, HDF5": (read, "x.h5"),
    "jets, Parquet": (read, "x.parquet"),
    "jets, ROOT": (read, "x.root"),
    "mapping": (load_mapping, "x.yaml"),
    "train --config": (_command("train", "--config", "FILE"), "x.yaml"),
    "diagnose": (_command("diagnose", "FILE"), "x.json"),
    "repair": (_command("repair", "FILE", "--finding", "leakage"), "config.yaml"),
}


def trials(folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of every kind of file at every loader, in turn; ``seed`` changes nothing."""
    cases = [(kind, loader) for kind in KINDS for loader in LOADERS]
    marker = folder / "ran"
    for number in numbers:
        kind, loader = cases[number % len(cases)]
        open_file, name = LOADERS[loader]
        place = folder / f"{number}"
        place.mkdir(parents=True)
        make = KINDS[kind]
        if make is None:
            os.mkfifo(place / name)
        else:
            (place / name).write_bytes(make(marker))
        file = place if name == "config.yaml" else place / name
        ended = in_process(lambda: str(open_file(file)), place)  # noqa: B023 (called at once)
        outcome = "executed" if marker.exists() else "refused" if ended.is_ours else "raw"
        outcome = "silent" if ended.said is not None and outcome != "executed" else outcome
        yield outcome, f"{kind}, {loader}: {ended.error or 'read'}"
        marker.unlink(missing_ok=True)
        shutil.rmtree(place)
