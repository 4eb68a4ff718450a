"""What opening a file can do, loader by loader and kind by kind: nothing but an error, and no file that it leaves.

Every kind of hostile file tries to leave a marker, by whatever runs pickles, tags, scripts or libraries. See
``notebooks/docs/security.md``, which has the same table in words.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
import yaml

import jetsym
from jetsym import cli
from jetsym.atoms.packages import quiet
from jetsym.benchmarks.fault_hostile import KINDS as KINDS_OF_THE_TABLE
from jetsym.errors import JetsymError

HERE = Path(__file__).parent
BEFORE = HERE / "written_before"
#: Needs the extra ``atoms``.
WITH_ATOMS = pytest.mark.skipif(find_spec("metatrain") is None, reason="metatrain is not installed")


class Writes:
    """What a pickle holds: an order to write a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "ran")


class WritesAtLoad(torch.nn.Module):
    """A script that writes a file when it is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    @torch.jit.export
    def __getstate__(self):
        return self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.marker = state[0]
        self.training = state[1]
        torch.save(1, state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


WritesAtLoad.__setstate__.__annotations__["state"] = tuple[str, bool]


def pickled(marker: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"state_dict": Writes(marker)}, protocol)


def torch_archive(marker: Path, **options: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"architecture_name": "pet", "model_data": Writes(marker)}, stream, **options)
    return stream.getvalue()


def script(marker: Path) -> bytes:
    stream = io.BytesIO()
    with quiet():
        torch.jit.save(torch.jit.script(WritesAtLoad(str(marker))), stream)
    return stream.getvalue()


def tags(marker: Path) -> bytes:
    return f"!!python/object/apply:subprocess.check_call [[touch, {marker}]]\n".encode()


def tag_within(marker: Path) -> bytes:
    return f"data: !!python/object/apply:os.system ['touch {marker}']\nmodel: pointnet\n".encode()


def class_path(marker: Path) -> bytes:
    values = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(marker)]}}
    return yaml.safe_dump({"data": values, "options": values, "out": "run"}).encode()


def safetensors(marker: Path) -> bytes:
    """A header that names what would run, where jetsym's own names a tagger."""
    told = {
        "model": "os:system",
        "options": {"command": f"touch {marker}"},
        "classes": ["a"],
        "version": 2,
        "digest": "",
    }
    header = json.dumps({"__metadata__": {"jetsym": json.dumps(told), "pickle": str(pickled(marker, 0))}}).encode()
    return struct.pack("<Q", len(header)) + header


def numpy_objects(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Writes(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def numpy_archive(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, X=np.array([Writes(marker)], dtype=object), y=np.zeros(1))
    return stream.getvalue()


def hdf5(marker: Path) -> bytes:
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        table = file.create_dataset("table/table", data=np.zeros(2, [("index", "i8"), ("values_block_0", "f4", (4,))]))
        for name in ("values_block_0_kind", "pandas_type", "CLASS"):
            table.attrs[name] = np.void(pickled(marker, 0))
    return stream.getvalue()


def native(marker: Path) -> bytes:
    return hostile.library(marker.parent / "library", marker).read_bytes()


def export_with_library(marker: Path) -> bytes:
    """An archive that has the records of an export, and names a library."""
    made = hostile.library(marker.parent / "library", marker)
    stream = io.BytesIO(script(marker))
    entries = json.dumps([{"name": str(made), "path": str(made), "sha256": ""}])
    with zipfile.ZipFile(stream, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        for record, content in {
            "metatomic-version": "0.1.19",
            "torch-version": "2.9",
            "extensions": entries,
            "extensions-deps": entries,
        }.items():
            archive.writestr(f"{folder}/extra/{record}", content)
    return stream.getvalue()


def unpickles_another(marker: Path) -> bytes:
    """A checkpoint without any order, whose architecture reads a second file."""
    second = marker.parent / "second.model"
    second.write_bytes(torch_archive(marker))
    stream = io.BytesIO()
    inner = {"architecture_name": "experimental.mace", "model_data": {"hypers": {"mace_model": str(second)}}}
    torch.save({"architecture_name": "llpr", "model_data": {}, "wrapped_model_checkpoint": inner}, stream)
    return stream.getvalue()


#: Files that ask for more memory or time than they look like.
BOMBS = (
    *("YAML of aliases", "YAML that holds itself", "number of 5000 digits", "deep JSON", "deep header"),
    *("header of a million blocks", "header of vast layers", "packed archive", "vast array"),
)
#: Kind of file -> its content, given the file that it tries to leave.
KINDS: dict[str, Callable[[Path], bytes]] = {
    "pickle": pickled,
    "pickle in text": lambda marker: pickled(marker, 0),
    "newest pickle": lambda marker: pickled(marker, 5),
    "archive with a pickle": torch_archive,
    "older file of torch": lambda marker: torch_archive(marker, _use_new_zipfile_serialization=False),
    "YAML tags": tags,
    "YAML tag within": tag_within,
    "YAML class path": class_path,
    "TorchScript": script,
    "native library": native,
    "export with a library": export_with_library,
    "checkpoint of another file": unpickles_another,
    "safetensors header": safetensors,
    "numpy objects": numpy_objects,
    "numpy archive of objects": numpy_archive,
    "HDF5 with pickles": hdf5,
    "picture and archive": lambda marker: b"GIF89a" + torch_archive(marker),
    "pickle and archive": lambda marker: pickled(marker) + torch_archive(marker),
    "safetensors and archive": lambda marker: safetensors(marker) + torch_archive(marker),
    "library and archive": lambda marker: native(marker) + export_with_library(marker),
    "script and pickle": lambda marker: script(marker) + pickled(marker),
    "YAML and archive": lambda marker: tags(marker) + torch_archive(marker),
    "packed pickle": lambda marker: gzip.compress(pickled(marker)),
    **{name: KINDS_OF_THE_TABLE[name] for name in BOMBS},
}

#: Loaders that read all jets of a run first, and the kinds that they meet.
SLOWEST = ("train --resume",)
FEW = ("pickle", "archive with a pickle", "TorchScript", "native library", "safetensors header", "YAML tags")

Open = Callable[[Path], object]


def command(*words: str) -> Open:
    """Run a command in which FILE is the file, FOLDER its folder, and OUT a folder to write to."""

    def run(file: Path) -> int:
        named = {"FILE": str(file), "FOLDER": str(file.parent), "OUT": str(file.parent / "out")}
        filled = list(words)
        for name, value in named.items():
            filled = [word.replace(name, value) for word in filled]
        return cli.main(filled)

    return run


def atoms_load(file: Path) -> object:
    from jetsym import atoms

    return atoms.load(file)


def atoms_calculator(file: Path) -> object:
    from jetsym import atoms

    return atoms.calculator(file)


def read_jets(file: Path) -> object:
    from jetsym.jets import read

    return read(file)


def read_mapped(file: Path) -> object:
    from jetsym.jets import read

    return read(file, mapping="jetnet")


def read_frames(file: Path) -> object:
    from jetsym.atoms import read_frames

    return read_frames(file)


def kept_forces(file: Path) -> int:
    """Put it in the place of forces of a displacement."""
    place = file.parent / "plain" / "forces-0001.json"
    place.parent.mkdir()
    file.rename(place)
    crystal = str(BEFORE / "atoms" / "copper.xyz")
    return cli.main(["phonons", crystal, "--model", "emt", "--supercell", "1", "--folder", str(file.parent)])


def in_cache(file: Path) -> object:
    """Put it in the place of an array of a cache."""
    from jetsym.jets.io.streaming.cache import CacheFiles

    folder = file.parent / "cache"
    shutil.copytree(BEFORE / "jets" / "cache", folder)
    entry = json.loads((folder / "manifest.json").read_text())
    shutil.copy(file, folder / "values.npy")
    entry["files"]["values.npy"]["bytes"] = file.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(entry))
    return CacheFiles(folder)


def resume(file: Path, *, place: str = "last.safetensors") -> int:
    """Put it in the place of the last checkpoint of a run, and continue that."""
    folder = file.parent / "run"
    shutil.copytree(BEFORE / "runs" / "upright", folder)
    configuration = shutil.copy(folder / "config.yaml", file.parent / "asked.yaml")
    shutil.copy(file, folder / place)
    with chdir(HERE.parent):  # where the data of the run are
        words = ("--config", str(configuration), "--out", str(folder), "--resume", *SMALL[2:])
        return cli.main(["train", *words])


def resume_configured(file: Path) -> int:
    """Put it in the place of the configuration of a run, and continue that."""
    return resume(file, place="config.yaml")


SMALL = ("--epochs", "1", "--progress", "false")
FRAMES = str(BEFORE / "atoms" / "methanol.xyz")

#: Loader -> (how it opens a file, the name that the file has, further marks).
LOADERS: dict[str, tuple[Open, str, bool]] = {
    "jetsym.load": (jetsym.load, "x.safetensors", False),
    "jetsym.load of weights": (jetsym.load, "x.pt", False),
    "jetsym.load of a checkpoint": (jetsym.load, "x.ckpt", False),
    "jetsym.load of a run": (lambda file: jetsym.load(file.parent), "best.safetensors", False),
    "jetsym.probe": (lambda file: jetsym.probe(file, progress=False), "x.safetensors", False),
    "jetsym.probe of weights": (lambda file: jetsym.probe(str(file), progress=False), "x.pt", False),
    "jetsym.diagnose": (lambda file: jetsym.SymmetryReport.load(file), "x.json", False),
    "jets.read": (read_jets, "x.npz", False),
    "jets.read of HDF5": (read_jets, "x.h5", False),
    "jets.read of HDF5 through a mapping": (read_mapped, "x.h5", False),
    "jets.read of npz through a mapping": (read_mapped, "x.npz", False),
    "jets.read of Parquet": (read_jets, "x.parquet", False),
    "jets.read of ROOT": (read_jets, "x.root", False),
    "cache": (in_cache, "x.npy", False),
    "probe": (command("probe", "FILE", "--progress", "false"), "x.pt", False),
    "probe --inputs": (
        command("probe", str(BEFORE / "checkpoints" / "deepsets.safetensors"), "--inputs", "FILE"),
        "x.h5",
        False,
    ),
    "probe --over_training": (command("probe", "FILE", "--over_training"), "x.json", False),
    "attribute": (command("attribute", "FILE", "--progress", "false"), "x.safetensors", False),
    "cost": (command("cost", "FILE", "--progress", "false"), "x.safetensors", False),
    "parity": (command("parity", "FILE"), "x.pt", False),
    "safety": (command("safety", "FILE", "--progress", "false"), "x.safetensors", False),
    "evaluate": (command("evaluate", "FILE", "FILE"), "x.pt", False),
    "evaluate --scores of HDF5": (command("evaluate", "FILE", "--scores", "*"), "x.h5", False),
    "evaluate --scores of Parquet": (command("evaluate", "FILE", "--scores", "*"), "x.parquet", False),
    "evaluate --scores of ROOT": (command("evaluate", "FILE", "--scores", "*"), "x.root", False),
    "evaluate --scores of npz": (command("evaluate", "FILE", "--scores", "*"), "x.npz", False),
    "predict": (command("predict", "FILE", "FILE", "--out", "OUT.root"), "x.safetensors", False),
    "export": (command("export", "FILE", "--out", "OUT.onnx"), "x.pt", False),
    "diagnose": (command("diagnose", "FILE"), "x.json", False),
    "diagnose of a run": (command("diagnose", "FOLDER"), "step-000000000.json", False),
    "compare": (command("compare", "FILE", "FILE"), "x.json", False),
    "inspect": (command("inspect", "FILE"), "x.parquet", False),
    "convert": (command("convert", "FILE", "--out", "OUT"), "x.npz", False),
    "--mapping": (command("inspect", "FILE", "--mapping", "FILE"), "x.yaml", False),
    "train": (command("train", "--data", "FILE", "--out", "OUT", *SMALL), "x.h5", False),
    "train --config": (command("train", "--config", "FILE"), "x.yaml", False),
    "train --init": (command("train", "--data", "FILE", "--out", "OUT", "--init", "FILE", *SMALL), "x.pt", False),
    "train --resume": (resume, "x.safetensors", False),
    "train --resume of a configuration": (resume_configured, "x.yaml", False),
    "repair": (command("repair", "FOLDER", "--finding", "leakage"), "config.yaml", False),
    "repair --report": (
        command("repair", str(BEFORE / "runs" / "upright"), "--finding", "leakage", "--report", "FILE", "--out", "OUT"),
        "x.json",
        False,
    ),
    "atoms.load": (atoms_load, "x.ckpt", True),
    "atoms.load of an export": (atoms_load, "x.pt", True),
    "atoms.load of a run": (lambda file: atoms_load(file.parent), "model.ckpt", True),
    "atoms.calculator": (atoms_calculator, "x.pt", True),
    "atoms.calculator of a checkpoint": (atoms_calculator, "x.ckpt", True),
    "atoms.read_frames": (read_frames, "x.traj", True),
    "atoms.read_frames of text": (read_frames, "x.xyz", True),
    "atoms.read_frames of CIF": (read_frames, "x.cif", True),
    "atoms.read_frames of VASP": (read_frames, "x.vasp", True),
    "atoms.read_frames of VASP by its name": (read_frames, "POSCAR", True),
    "atoms.read_frames of a database": (read_frames, "x.db", True),
    "atoms.read_frames of a database of text": (read_frames, "x.json", True),
    "probe of atoms": (command("probe", "FILE", "--inputs", FRAMES, "--progress", "false"), "x.pt", True),
    "probe of a checkpoint": (command("probe", "FILE", "--inputs", FRAMES, "--progress", "false"), "x.ckpt", True),
    "atoms evaluate": (command("atoms", "evaluate", "FILE", FRAMES), "x.pt", True),
    "atoms spectra": (command("atoms", "spectra", "FOLDER", "--inputs", FRAMES), "model_1.ckpt", True),
    "atoms finetune": (command("atoms", "finetune", "FILE", FRAMES, "--out", "OUT"), "x.ckpt", True),
    "atoms uncertainty": (command("atoms", "uncertainty", "FILE", FRAMES, "--out", "OUT"), "x.ckpt", True),
    "atoms train --config": (command("atoms", "train", "--config", "FILE"), "x.yaml", True),
    "atoms train --resume": (command("atoms", "train", FRAMES, "--out", "FOLDER", "--resume"), "model_0.ckpt", True),
    "atoms train, a checkpoint in its options": (
        command("atoms", "train", FRAMES, "--out", "OUT", "--training", '{"atomic_baseline": "FILE"}'),
        "x.ckpt",
        True,
    ),
    "atoms train, an export in its options": (
        command("atoms", "train", FRAMES, "--out", "OUT", "--training", '{"fixed_scaling_weights": "FILE"}'),
        "x.pt",
        True,
    ),
    "relax": (command("relax", FRAMES, "--model", "FILE", "--symmetrize", "none"), "x.pt", True),
    "phonons": (command("phonons", str(BEFORE / "atoms" / "copper.xyz"), "--model", "FILE"), "x.ckpt", True),
    "phonons --nac": (
        command("phonons", str(BEFORE / "atoms" / "copper.xyz"), "--model", "emt", "--supercell", "1", "--nac", "FILE"),
        "BORN",
        True,
    ),
    "phonons --folder": (kept_forces, "x.json", True),
    "repair of atoms": (command("repair", "FOLDER", "--finding", "starvation"), "train.yaml", True),
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The content of every kind, made once; all want to leave the same file."""
    marker = tmp_path_factory.mktemp("marker") / "ran"
    made: dict[str, bytes] = {}

    def content(kind: str) -> tuple[bytes, Path]:
        if kind not in made:
            made[kind] = KINDS[kind](marker)
        return made[kind], marker

    return content


def _marks(loader: str) -> list[pytest.MarkDecorator]:
    """Commands take their time."""
    slow = [] if loader.startswith(("jetsym.", "jets.", "atoms.", "cache")) else [pytest.mark.slow]
    return slow + [WITH_ATOMS] * LOADERS[loader][2]


@pytest.mark.parametrize("loader", [pytest.param(name, marks=_marks(name)) for name in LOADERS])
@pytest.mark.filterwarnings("ignore")
def test_opening_a_hostile_file_executes_nothing(contents, tmp_path, loader, capsys, monkeypatch):
    """Nothing is left behind; there is an error of jetsym, or one line of the command line and its status."""
    monkeypatch.chdir(tmp_path)
    open_file, name, _ = LOADERS[loader]
    for kind in FEW if loader in SLOWEST else KINDS:
        content, marker = contents(kind)
        folder = tmp_path / kind.replace(" ", "-")
        folder.mkdir()
        (folder / name).write_bytes(content)
        if name == "train.yaml":
            (folder / "options.yaml").write_bytes(content)
        capsys.readouterr()
        try:
            status = open_file(folder / name)
        except JetsymError as error:
            status, said = 1, str(error)
        else:
            said = capsys.readouterr().err.strip()
        assert not marker.exists(), kind
        assert isinstance(status, int), (kind, status)
        assert status, kind
        last = said.splitlines()[-1] if said else ""
        assert last, kind
        assert "Traceback" not in said, kind


@pytest.mark.parametrize(
    "kind", ["pickle", "newest pickle", "archive with a pickle", "TorchScript", "YAML tags", "native library"]
)
def test_the_files_are_hostile(tmp_path, kind):
    """So that the test above could fail: what opens each of them without care leaves the marker."""
    marker, file = tmp_path / "ran", tmp_path / "file"
    file.write_bytes(KINDS[kind](marker))
    careless = {
        "pickle": "import pickle; pickle.load(open(FILE, 'rb'))",
        "newest pickle": "import pickle; pickle.load(open(FILE, 'rb'))",
        "archive with a pickle": "import torch; torch.load(FILE, weights_only=False)",
        "TorchScript": "import torch; torch.jit.load(FILE)",
        "YAML tags": "import yaml; yaml.unsafe_load(open(FILE))",
        "native library": "import ctypes; ctypes.CDLL(FILE)",
    }
    code = careless[kind].replace("FILE", repr(str(file)))
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert marker.exists()
