"""What the commands of the fault table read, each made once and small: jets, taggers, a run, a PET, a server."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
import uproot

from jetsym import cli
from jetsym.benchmarks.calls.world import World
from jetsym.errors import JetsymError
from jetsym.files import checksum
from jetsym.jets import checkpoint
from jetsym.jets.io.read import read
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.models import ParticleNet, PointNet
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES
from jetsym.probing.probe import probe

__all__ = ["INPUTS", "from_server"]

#: Jets of a class.
N_JETS = 32
#: A network as weaver-core's users write it, and its data configuration.
NETWORK = """
import torch


class Net(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.layer = torch.nn.Linear(features, classes)

    def forward(self, points, features, lorentz_vectors, mask):
        return self.layer((features * mask).mean(-1))


def get_model(data_config, **options):
    model = Net(len(data_config.input_dicts["pf_features"]), len(data_config.label_value))
    return model, {"input_names": list(data_config.input_names)}
"""
CONFIGURATION = """
new_variables:
   part_mask: ak.ones_like(part_energy)
   part_pt_log: np.log(np.hypot(part_px, part_py))
   part_e_log: np.log(part_energy)
   rest: 1 - label_QCD - label_Hbb
preprocess: {method: manual, data_fraction: 0.5}
inputs:
   pf_points: {length: 16, pad_mode: wrap, vars: [[part_deta, null], [part_dphi, null]]}
   pf_features: {length: 16, pad_mode: wrap, vars: [[part_pt_log, 1.7, 0.7], [part_e_log, 2.0, 0.7]]}
   pf_vectors:
      length: 16
      pad_mode: wrap
      vars: [[part_px, null], [part_py, null], [part_pz, null], [part_energy, null]]
   pf_mask: {length: 16, pad_mode: constant, vars: [[part_mask, null]]}
labels: {type: simple, value: [label_QCD, label_Hbb, rest]}
observers: [jet_pt, jet_eta]
"""


def _jets(folder: Path) -> None:
    for file in sorted((sample_dir() / "test").glob("*.root"))[:2]:
        with uproot.open(file) as opened:
            columns = opened["tree"].arrays([*PARTICLE_BRANCHES, *JET_BRANCHES], entry_stop=N_JETS)
        write_jetclass(folder / "jets" / file.name, {name: columns[name] for name in columns.fields})


def _tagger(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PointNet(read(folder / "jets", limit=1).classes, width=8, blocks=1)
    checkpoint.save(folder / "tagger.safetensors", model)


def _particlenet(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ParticleNet(k=4, channels=((8, 8),), hidden=8)
    checkpoint.save(folder / "particlenet.safetensors", model)


def _reports(folder: Path) -> None:
    points = np.random.default_rng(0).normal(size=(4, 3))
    for l_max, name in ((1, "a"), (2, "b")):
        probe(lambda x: x[:, 0] + 1, points, l_max=l_max, progress=False).save(folder / f"{name}.json")


def _scores(folder: Path) -> None:
    _done("predict", f"{folder}/tagger.safetensors", f"{folder}/jets", "--out", f"{folder}/scores/p.root")


def _run(folder: Path) -> None:
    """Train for two steps, and look at the symmetry at each of them."""
    jets, small = str(folder / "jets"), '{"width": 8, "blocks": 1}'
    words = ["--data", jets, "--val", jets, "--out", f"{folder}/run", "--batch_size", "32"]
    watch = ["--monitor_every", "1", "--monitor_jets", "2"]
    _done("train", *words, *watch, "--epochs", "1", "--options", small, "--device", "cpu")


def _weaver(folder: Path) -> None:
    place = folder / "weaver"
    place.mkdir()
    (place / "network.py").write_text(NETWORK, encoding="utf-8")
    (place / "data.yaml").write_text(CONFIGURATION, encoding="utf-8")
    rng = torch.Generator().manual_seed(0)
    torch.save({"layer.weight": torch.randn(3, 2, generator=rng), "layer.bias": torch.zeros(3)}, place / "net_state.pt")


def _structures(folder: Path) -> None:
    from ase.build import bulk
    from ase.io import write

    from jetsym.benchmarks.copper import copper_frames

    write(folder / "frames.xyz", copper_frames(8)[::2], format="extxyz")
    write(folder / "copper.xyz", bulk("Cu"), format="extxyz")


def _pet(folder: Path) -> None:
    """Write an untrained PET as the checkpoints of a training."""
    model: Any = World(folder).pet.to(torch.float32)
    (folder / "pet").mkdir()
    for name, epoch in (("model_0", 0), ("model_1", 1), ("model", 1)):
        torch.save(model.get_checkpoint() | {"epoch": epoch}, folder / "pet" / f"{name}.ckpt")


def _server(folder: Path) -> None:
    """Serve what stands for published weights, for JetClass and for a record of public jets."""
    place = folder / "server"
    (place / "weights/models").mkdir(parents=True)
    shutil.copy(folder / "tagger.safetensors", place / "weights/models/net.pt")
    jets = sorted((folder / "jets").glob("*.root"))
    with tarfile.open(place / "JetClass_Pythia_val_5M.tar", "w") as archive:
        for file in jets:
            archive.add(file, f"JetClass/{file.name}")
    (place / "record").mkdir()
    listed = []
    for number, file in enumerate(jets):
        content = file.read_bytes()
        (place / "record" / f"{number}.h5").write_bytes(content)
        entry = {"key": f"{number}.h5", "size": len(content), "checksum": f"md5:{_md5(content)}"}
        listed.append(entry)
    (place / "list").mkdir()
    (place / "list/2603256").write_text(json.dumps({"files": listed}), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(place)))
    Thread(target=server.serve_forever, daemon=True).start()
    (place / "address").write_text(f"http://127.0.0.1:{server.server_port}", encoding="utf-8")


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        return


def _md5(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()


def from_server(folder: Path) -> None:
    """Let this process download from the server of this machine in place of those of the world."""
    from jetsym.jets.io.download import jetclass, weights, zenodo

    os.environ["no_proxy"] = "127.0.0.1"
    place = folder / "server"
    address = (place / "address").read_text(encoding="utf-8")
    file, archive = place / "weights/models/net.pt", place / "JetClass_Pythia_val_5M.tar"
    weights._REPOSITORY, weights._COMMIT = address, "weights"
    known = weights.Published(file.name, file.stat().st_size, checksum(file))
    weights.WEIGHTS = {"particlenet-kin": known}
    jetclass._RECORD = address
    jetclass.JETCLASS = {"val_5M": jetclass.Archive("val_5M", _md5(archive.read_bytes()))}
    zenodo._API, zenodo._FILES = f"{address}/list", f"{address}/record/{{name}}"


def _done(*words: str) -> None:
    with redirect_stdout(io.StringIO()):
        status = cli.main([*words, "--progress", "false"])
    if status:
        raise JetsymError(f"jetsym {' '.join(words)} does not work without any fault")


#: Name -> what makes it in a folder; those that need others stand after them.
INPUTS: dict[str, Callable[[Path], None]] = {
    "jets": _jets,
    "tagger": _tagger,
    "particlenet": _particlenet,
    "reports": _reports,
    "scores": _scores,
    "run": _run,
    "weaver": _weaver,
    "structures": _structures,
    "pet": _pet,
    "server": _server,
}
