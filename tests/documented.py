"""What the code of the documentation takes for granted: a model, inputs, files under the names that its blocks use.

``NAMES`` says for a word of a block what it needs; all blocks have ``jetsym``, and what blocks of the same page before
it have made.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import torch
from torch import nn

import jetsym
from jetsym.jets.io.sample import sample_dir

__all__ = ["ELSEWHERE", "FILES", "NAMES"]

ROOT = Path(__file__).parents[1]


class Lengths(nn.Module):
    """An invariant network: on the lengths of points, and on charges."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, points: torch.Tensor, charges: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits of three classes."""
        return {"logits": self.head(self.encoder(points.square().sum(-1, keepdim=True) + charges[..., None]).mean(1))}


def network_and_inputs() -> dict[str, Any]:
    """Make a module with an encoder, and what it is called with."""
    torch.manual_seed(0)
    inputs = {"points": torch.randn(6, 5, 3), "charges": torch.randn(6, 5)}
    other = jetsym.probe(Lengths(), inputs, moves={"points": "vector"}, l_max=1, progress=False)
    return {"model": Lengths(), "inputs": inputs, "other": other}


def clouds() -> dict[str, Any]:
    """Make a function of points, or of momenta in weaver-core's order, with what stays beside them."""

    def model(points=None, colours=None, types=None, real=None, *, x=None, v=None, mask=None):
        if points is not None:
            return points.square().sum((1, 2)) + colours.sum((1, 2)) + types.sum(1) + 0.0 * real.sum(1)
        p = v.movedim(1, -1)
        return ((p[..., 3] ** 2 - p[..., :3].square().sum(-1)) * mask).sum(1) + x.sum(1)

    momenta = torch.randn(5, 4, 3).double()
    energy = (momenta.square().sum(-1, keepdim=True) + 1).sqrt()
    mask = torch.ones(5, 4, dtype=torch.bool)
    return {
        "model": model,
        "points": torch.randn(5, 4, 3).double(),
        "colours": torch.rand(5, 4, 3).double(),
        "types": torch.randint(0, 5, (5, 4)),
        "mask": mask,
        "x": torch.randn(5, 2).double(),
        "v": torch.cat([momenta, energy], -1).movedim(-1, 1),
    }


def events() -> dict[str, Any]:
    """Make functions of four-momenta (E, px, py, pz): a mass, and the sum."""

    def model(p4=None, mask=None, *, leptons=None, jets=None):
        p4 = torch.cat([leptons, jets], 1) if p4 is None else p4
        total = (p4 if mask is None else p4 * mask[..., None]).sum(1)
        mass = (total[:, 0] ** 2 - total[:, 1:].square().sum(-1)).sqrt()
        return {"mass": mass, "met": total} if mask is None and leptons is None else {"mass": mass}

    momenta = torch.randn(5, 4, 3).double()
    p4 = torch.cat([(momenta.square().sum(-1, keepdim=True) + 1).sqrt(), momenta], -1)
    mask = torch.arange(4) < torch.tensor([[3], [4], [2], [4], [3]])
    return {"model": model, "p4": p4 * mask[..., None], "mask": mask, "leptons": p4[:, :2], "jets": p4[:, 2:]}


def positions() -> dict[str, Any]:
    """Make the energy of springs between points, and its forces."""

    def model(points):
        difference = points[:, :, None] - points[:, None]
        return {"energy": difference.square().sum((1, 2, 3)) / 4, "forces": -difference.sum(2)}

    return {"model": model, "positions": torch.randn(4, 5, 3).double()}


def crystals() -> dict[str, Any]:
    """Make structures of copper, and a calculator for them."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    frames = [bulk("Cu", a=a, cubic=True) for a in (3.5, 3.6)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
    return {"frames": frames, "calculator": EMT()}


def network_of_features() -> dict[str, Any]:
    """Make a network that takes the inputs of the configuration by their names."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 10)])

        def forward(self, pf_features, pf_mask, **_):
            x = pf_features.transpose(1, 2)
            for block in self.blocks:
                x = block(x).tanh()
            return (x * pf_mask.transpose(1, 2)).sum(1)

    return {"files": "jets.root", "network": Network().double()}


#: A word of a block -> what makes the names that it takes for granted.
NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    'baseline="untrained"': network_and_inputs,
    "colours": clouds,
    '"met": "four-vector"': events,
    "test_my_potential": positions,
    "jetsym.atoms.check(": crystals,
    "jets.inputs": network_of_features,
}

#: A word of a block -> the test that runs it, in an environment of its own.
ELSEWHERE = {"omnilearned": "tests/jets/test_omnilearned.py", "from chgnet": "tests/potentials/test_chgnet.py"}


def runs(folder: Path) -> None:
    """Train a tagger for a moment, under the names that the pages give to runs."""
    from jetsym.training import train

    options = {"options": {"width": 8, "blocks": 1, "heads": 1}, "epochs": 1, "limit": 60, "max_particles": 16}
    train(
        str(sample_dir() / "train"),
        folder / "runs/demo/rotated",
        val=str(sample_dir() / "val"),
        progress=False,
        **options,
    )


def jets(folder: Path) -> None:
    """Put files of jets where the pages read some."""
    files = sorted((sample_dir() / "val").glob("*.root"))  # each of another class
    shutil.copy(files[0], folder / "jets.root")
    (folder / "data/JetClass/train_100M").mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder / "data/JetClass/train_100M")


def weaver(folder: Path) -> None:
    """Write the network, the configuration and the weights of the notebook on models from elsewhere."""
    from weaver.nn.model.ParticleNet import ParticleNet

    jets(folder)
    cells = nbformat.read(ROOT / "notebooks" / "03_probe_your_own_model.ipynb", as_version=4).cells
    for cell in cells:
        head, _, text = cell.source.partition("\n")
        if head == "%%writefile network.py":
            (folder / "example_ParticleNet.py").write_text(text)
        if head == "%%writefile data.yaml":
            for name in ("JetClass_kin.yaml", "JetClass_full.yaml"):
                (folder / name).write_text(text)
    drawn = ParticleNet(3, 10, conv_params=[(8, (16, 16)), (8, (32, 32))])
    torch.save({f"mod.{name}": tensor for name, tensor in drawn.state_dict().items()}, folder / "ParticleNet_kin.pt")


#: A word of a block -> what writes the files that it reads.
FILES: dict[str, Callable[[Path], None]] = {
    "runs/demo/rotated": runs,
    "train_100M": jets,
    "jetsym.jets.weaver(": weaver,
    "jets.inputs": weaver,
}
